"""How near a run on learned scores comes to the true optimum, and what its scorers lose against simpler ones.

* ours: the toy tier as it ships: two score models fitted to rankings of eight dishes, read as a sum over the
  tokens, then constrained DPO; held against the gold problem, part by part;
* peer: score models fitted to single pairs of as many dishes, in as many steps, and read at the last token,
  as published score models are. Their exact optimum alone is judged: no training is lost there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cdpo_edu import presets, tiers
from cdpo_edu.certificate import enumerated
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.gap_split import exact_rungs, gold_problem, ladder
from cdpo_edu.language_model import LanguageModelPolicy
from cdpo_edu.scorers import CostModel, RewardModel
from cdpo_edu.toy_language import SIZES, Kitchen
from cdpo_edu.toy_models import RANKINGS, fitted_scorer

from .measured import Figures, Measured, cpu_seconds

NEAR, OVER = 0.9, 0.05


def measure_quality(options: argparse.Namespace) -> Measured:
    """Run every seed, and fit the simpler scorers beside it."""
    rounds: list[dict[str, Any]] = []
    for seed in range(options.seed, options.seed + options.rounds):
        with TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            config = presets.configure("toy", size=options.size, seed=seed)
            spent, _ = cpu_seconds(lambda config=config, out=out: list(tiers.train(config, out)))  # type: ignore[misc]
            mine = ours(out) | {"cpu_seconds": spent}
            rounds.append({"seed": seed, "ours": mine, "peer": peer(out, options.size, seed)})
    met = [one["ours"]["closeness"] >= NEAR and one["ours"]["over_the_limit"] <= OVER for one in rounds]
    lost = [statistics.median(one[way]["scorer_error"] for one in rounds) for way in ("ours", "peer")]
    return Measured(
        ratio=lost[1] / lost[0],
        meaning="closeness that the simpler scorers lose over what ours lose; ours has gold closeness of at "
        f"least {NEAR} and gold cost at most {OVER} over the limit on {sum(met)} of {len(met)} seeds",
        ours=_summary([one["ours"] for one in rounds]),
        peer=_summary([one["peer"] for one in rounds]),
        settings={
            name: value for name, value in vars(options).items() if name not in ("run", "json", "name")
        },
        rounds=rounds,
        packages=("cdpo_edu", "torch", "transformers"),
    )


def ours(out: Path) -> Figures:
    """Return what the finished run says of itself, held against the gold problem."""
    rows = json.loads((out / "split.json").read_text())
    parts = {row["part"].replace(" ", "_"): row["lost"] for row in rows}
    certificate = json.loads((out / "certificate.json").read_text())
    steps = sum(json.loads(line)["grad_steps"] for line in (out / "history.jsonl").read_text().splitlines())
    found: Figures = {"closeness": rows[-1]["closeness"], "over_the_limit": rows[-1]["over"], "steps": steps}
    return found | parts | {"closeness_to_posed": certificate["closeness"]}


def peer(out: Path, size: str, seed: int) -> Figures:
    """Return what the exact optimum on the simpler scorers loses."""
    kitchen, policy = Kitchen(portions=SIZES[size]), LanguageModelPolicy.load(out / "reference")
    pairs = kitchen.pairs(policy, 4 * RANKINGS, seed=seed)
    tables = [
        kitchen.table(fitted_scorer(kind, kitchen, policy, pairs, seed=seed, readout="last")).numpy()
        / kitchen.sharpness
        for kind in (RewardModel, CostModel)
    ]
    posed = FiniteProblem(
        prompt_probs=kitchen.prompt_probs.numpy(),
        reference=enumerated(kitchen, policy).numpy(),
        reward=tables[0],
        cost=tables[1],
        beta=0.5,
        cost_limit=-0.4,
    )
    gold = gold_problem(posed, kitchen, (kitchen.reward, kitchen.cost))
    row = ladder(gold, exact_rungs(posed, lam=0.0)[:1])[0]
    return {"scorer_error": row["lost"], "over_the_limit": row["over"]}


def _summary(rows: list[Figures]) -> Figures:
    """Return the median of every figure and the worst of the two that count."""
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    worst = {"largest_over_the_limit": max(row["over_the_limit"] for row in rows)}
    if "closeness" in middle:
        worst["least_closeness"] = min(row["closeness"] for row in rows)
    return middle | worst
