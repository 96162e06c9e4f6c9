"""The multiplier for the price of one run: constrained DPO as it ships, one plain DPO run, the paper's loop.

All begin with the same cook, the same scored pairs, gold scores and soft labels, and are judged by
enumeration of every dish. Two answers of a pair are two rows of the model; a step reads 256 rows in each way.

* ours: start at the one-shot multiplier, correct it by what the policy does, recycle what was measured,
  compare all answers of a set, Muon on the hidden matrices;
* cold: one fit from the cook at the multiplier that ours ended with, on its pairs, with as many steps: it
  shows what ours lost by moving lam on the way;
* plain: one DPO run on the pairs as they are, at the exactly right multiplier, which nobody knows beforehand;
* paper: a DPO run from the reference for every multiplier, a fixed step, the same pairs for all.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from typing import Any, NamedTuple

import numpy as np
import torch

from cdpo_edu.certificate import enumerated, world_problem
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.evaluate import mean_over_prompts, measure
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.lagrangian import dual_step
from cdpo_edu.language_model import Engine, LanguageModelPolicy
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.toy_language import SIZES, Kitchen
from cdpo_edu.toy_models import cook

from .measured import Figures, Measured, cpu_seconds

BETA, LIMIT, SAMPLES = 0.5, -0.4, 128
CLOSE, OVER = 0.99, 0.02
PLAIN = Engine(128, 2e-3, 2048, group_by_length=False)
"""AdamW on 128 pairs a step, as plain DPO is trained."""


class Lesson(NamedTuple):
    """What every way begins with on one seed."""

    cook: LanguageModelPolicy
    pairs: ScoredPairs
    problem: FiniteProblem

    def fresh(self, engine: Engine) -> LanguageModelPolicy:
        """Return an untrained copy of the cook."""
        policy = copy.deepcopy(self.cook)
        policy.engine = engine
        return policy

    def judged(self, policy: LanguageModelPolicy) -> Figures:
        """Return closeness and violation of a policy, by enumeration."""
        assert self.pairs.world is not None
        probs = enumerated(self.pairs.world, policy).numpy()
        own, found = self.problem.evaluate(probs), self.problem.certify(probs)
        return {"closeness": found.closeness, "over_the_limit": float(np.subtract(own.cost, LIMIT))}


def lesson(seed: int, size: str) -> Lesson:
    """Return the cook of one seed, 8,192 pairs of its dishes with gold scores, and the exact problem."""
    kitchen = Kitchen(portions=SIZES[size])
    policy = cook(kitchen, seed)
    pairs = kitchen.pairs(policy, 8192, seed=seed).score(kitchen.reward, kitchen.cost, policy.frozen())
    return Lesson(policy, pairs, world_problem(pairs, beta=BETA, cost_limit=LIMIT))


def ours(given: Lesson, options: argparse.Namespace) -> tuple[Figures, Figures]:
    """Run constrained DPO as the toy tier ships it, then fit once more, cold, at its last lam."""
    policy = given.fresh(given.cook.engine)
    run = ConstrainedDPO(
        policy,
        beta=BETA,
        cost_limit=LIMIT,
        rounds=options.dual_rounds,
        steps=options.dual_steps,
        samples=SAMPLES,
        early_stop=False,  # it would ask the exact optimum, which nobody has outside a toy
        seed=options.seed,
    )
    spent, _ = cpu_seconds(lambda: run.fit(given.pairs.compared(8, seed=options.seed)))
    steps = sum(record.grad_steps for record in run.history_)
    drawn, lam = len(run.history_) * 16 * SAMPLES, run.history_[-1].lam
    figures: Figures = {"steps": steps, "answers_scored": drawn, "lam": lam}
    figures |= {"labels_flipped": sum(record.labels_flipped for record in run.history_)}
    again = given.fresh(given.cook.engine)
    assert run.state_ is not None
    labels = run.state_.pairs.label(lam)
    cold_spent, _ = cpu_seconds(lambda: again.fit(labels, beta=BETA, steps=steps, seed=options.seed))
    cold = {"steps": steps, "answers_scored": 0, "lam": lam} | _seconds(cold_spent, given.judged(again))
    return figures | _seconds(spent, given.judged(policy)), cold


def plain(given: Lesson, options: argparse.Namespace) -> Figures:
    """Run DPO once at the exact multiplier."""
    policy, lam = given.fresh(PLAIN), float(given.problem.solve().lam)  # type: ignore[arg-type]
    spent, fit = cpu_seconds(
        lambda: policy.fit(given.pairs.label(lam), beta=BETA, steps=options.plain_steps, seed=options.seed)
    )
    return {"steps": fit.grad_steps, "answers_scored": 0, "lam": lam} | _seconds(spent, given.judged(policy))


def paper(given: Lesson, options: argparse.Namespace) -> Figures:
    """Run DPO from the reference for every multiplier, from 0 on, with half the step that surely settles."""
    eta, lam, steps, drawn, total = given.problem.step_bounds().on_bracket or 1.0, 0.0, 0, 0, 0.0
    policy = given.fresh(PLAIN)
    for number in range(options.paper_rounds):
        policy = given.fresh(PLAIN)
        labels, at = given.pairs.label(lam), options.seed + number
        spent, fit = cpu_seconds(
            lambda policy=policy, labels=labels, at=at: policy.fit(  # type: ignore[misc]
                labels, beta=BETA, steps=options.plain_steps, seed=at
            )
        )
        generator = torch.Generator().manual_seed(at)
        cost = mean_over_prompts(
            measure(policy, given.pairs, n=SAMPLES, generator=generator).cost, given.pairs
        )
        last, lam = lam, dual_step(lam, cost.value, LIMIT, eta=eta / 2)
        steps, drawn, total = steps + fit.grad_steps, drawn + 16 * SAMPLES, total + spent
    return {"steps": steps, "answers_scored": drawn, "lam": last} | _seconds(total, given.judged(policy))


def measure_economy(options: argparse.Namespace) -> Measured:
    """Run all ways on every seed, one after another."""
    rounds: list[dict[str, Any]] = []
    for seed in range(options.seed, options.seed + options.rounds):
        given, mine = lesson(seed, options.size), argparse.Namespace(**vars(options) | {"seed": seed})
        warm, cold = ours(given, mine)
        row = {"seed": seed, "lam_exact": given.problem.solve().lam, "ours": warm, "cold": cold}
        row |= {"plain": plain(given, mine)}
        if options.paper_rounds:
            row["paper"] = paper(given, mine)
        rounds.append(row)
    met = [one["ours"]["closeness"] >= CLOSE and one["ours"]["over_the_limit"] <= OVER for one in rounds]
    steps = statistics.median(one["ours"]["steps"] for one in rounds)
    return Measured(
        ratio=options.plain_steps / steps if all(met) else 0.0,
        meaning=f"gradient steps of one plain DPO run over ours, 0 unless ours is close and allowed on every "
        f"seed: closeness {CLOSE} and at most {OVER} over the limit on {sum(met)} of {len(met)}",
        ours=_summary([one["ours"] for one in rounds]),
        peer=_summary([one["plain"] for one in rounds]),
        settings={
            name: value for name, value in vars(options).items() if name not in ("run", "json", "name")
        },
        rounds=rounds,
        packages=("cdpo_edu", "torch", "transformers"),
    )


def _seconds(spent: float, verdict: Figures) -> Figures:
    return {"cpu_seconds": spent} | verdict


def _summary(rows: list[Figures]) -> Figures:
    """Return the median of every figure, and the worst of the two that count."""
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return middle | {
        "least_closeness": min(row["closeness"] for row in rows),
        "largest_over_the_limit": max(row["over_the_limit"] for row in rows),
    }
