"""Four multipliers: everything computed anew for each, what does not depend on them kept, and a warm start.

* anew: for every multiplier the model and two score models are loaded, the pairs scored, the reference's
  log-probabilities computed, and DPO run from fresh adapters with one row per answer;
* kept: scores and reference log-probabilities once, a new label per multiplier, the same fresh adapters each
  time, prompts shared. It changes no result beyond rounding: the losses at its end are compared;
* warm: kept, and from the second multiplier on the adapters go on from the last one with half the steps. That
  *is* another result: such a policy has trained longer than a fresh one, and on other labels before.

Scorers are of the policy's own size. Anew is kinder to itself than a trainer with a live reference, which
would read the reference in every step. Losses are taken on all pairs after every fit, outside the clock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from cdpo_edu.backbone import no_bars
from cdpo_edu.language_model import LanguageModelPolicy
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Pairs, Preferences
from cdpo_edu.scorers import CostModel, RewardModel, ScoreSettings

from .measured import Figures, Measured
from .step_pairs import BETA, BUDGET, adapted, causal_model, material

WAYS = ("anew", "kept", "warm")


def measure_sweep(options: argparse.Namespace) -> Measured:
    """Let the three ways take turns, after a first turn that is thrown away."""
    torch.set_num_threads(1)
    data = material(options.pairs, seed=options.seed)
    lams = [options.lam_max * k / 3 for k in range(4)]
    rounds: list[Figures] = []
    with tempfile.TemporaryDirectory() as name, no_bars():
        folder = Path(name)
        prepare(folder, data, options)
        for turn in range(options.rounds + 1):
            row = {way: run(way, folder, data.pairs, lams, options) for way in WAYS}
            if turn:
                rounds.append(row)
    figures = {way: _summary([row[way] for row in rounds]) for way in WAYS}
    spent = {way: figures[way]["cpu_seconds"] for way in WAYS}
    apart = max(
        abs(a - b)
        for row in rounds
        for a, b in zip(row["anew"]["losses"], row["kept"]["losses"], strict=True)
    )
    return Measured(
        ratio=spent["anew"] / spent["warm"],
        meaning="CPU seconds of everything anew over kept and warm-started; kept without a warm start "
        f"{spent['anew'] / spent['kept']:.2f}, its losses equal to {apart:.1g} nats",
        ours=figures["warm"],
        peer=figures["anew"],
        settings={k: getattr(options, k) for k in ("pairs", "batch", "steps", "rounds", "seed")}
        | {"multipliers": lams, "source": data.source, "kept": figures["kept"]},
        rounds=rounds,
        packages=("cdpo_edu", "torch", "transformers", "peft"),
    )


def prepare(folder: Path, data: Any, options: argparse.Namespace) -> None:
    """Save a policy with fresh adapters and two scorers that have seen the pairs' labels for some steps."""
    model = causal_model("tiny", data.tokenizer, seed=options.seed)
    for kind in (RewardModel, CostModel):
        scorer = kind(model, data.tokenizer, settings=ScoreSettings(*BUDGET, batch_size=8))
        scorer.fit(data.pairs, steps=10, seed=options.seed).save(folder / kind.__name__)
    adapted(model, data.tokenizer, batch=options.batch, seed=options.seed).save(folder / "policy")


def run(way: str, folder: Path, pairs: Pairs, lams: list[float], options: argparse.Namespace) -> Figures:
    """Align at every multiplier and return CPU seconds, the part spent in DPO, and the loss after each."""
    seconds = dpo = 0.0
    losses: list[float] = []
    policy = scored = None
    for lam in lams:
        started = time.process_time()
        if way == "anew" or policy is None or scored is None:
            policy = LanguageModelPolicy.load(folder / "policy")
            policy.engine = policy.engine._replace(share_prompts=way != "anew")
            reward, cost = (kind.load(folder / kind.__name__) for kind in (RewardModel, CostModel))
            scored = pairs.score(reward, cost, policy.frozen())
        elif way == "kept":
            policy.restore(folder / "policy")
        labelled = scored.label(lam)
        steps = options.steps if way != "warm" or lam == lams[0] else max(1, options.steps // 2)
        before = time.process_time()
        policy.fit(labelled, beta=BETA, steps=steps, seed=options.seed)
        ended = time.process_time()
        seconds, dpo = seconds + ended - started, dpo + ended - before
        losses.append(loss_on_all(policy, labelled))
    return {"cpu_seconds": seconds, "dpo_seconds": dpo, "losses": losses}


def loss_on_all(policy: LanguageModelPolicy, labelled: Preferences) -> float:
    """Return the mean DPO loss on all pairs."""
    sides = (labelled.y0, labelled.y1)
    logp = torch.stack([policy.log_prob(labelled.prompts, side) for side in sides], dim=1)
    return float(dpo_loss(logp, labelled.ref_logp, labelled.target, BETA).mean())


def _summary(rows: list[Figures]) -> Figures:
    middle = {name: statistics.median(row[name] for row in rows) for name in ("cpu_seconds", "dpo_seconds")}
    return middle | {"losses": [round(loss, 4) for loss in rows[0]["losses"]]}
