"""Assignment 5, last part: how long a step of the price may be, and a round that has to be repaired."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from . import run_histories as runs
from .fair import fair
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_step(rng: np.random.Generator) -> Inputs:
    """Return a run at its best price, with a step that is plainly too long or plainly not."""
    kitchen, lam = runs.draw_kitchen(rng), float(rng.uniform(1.5, 2.5))
    ratio = float(rng.choice([rng.uniform(0.3, 0.8), rng.uniform(1.3, 1.8)]))
    step = ratio * 2 * kitchen.beta / runs.variance(kitchen, lam)
    tables = {name: getattr(kitchen, name) for name in ("weights", "reference", "reward", "cost", "beta")}
    return {"lam_star": lam, "step": step} | tables


def long_step(lam_star: float, step: float, **tables: Any) -> dict[str, Any]:
    """Return 2 beta / E_x Var(c | x), above which a walk leaves lam*, and whether ``step`` is below it."""
    kitchen = runs.Kitchen(**tables, limit=0.0, step=1.0)
    largest = 2 * kitchen.beta / runs.variance(kitchen, lam_star)
    return {"largest_step": largest, "settles": bool(step < largest)}


def _judged(largest: float, step: float) -> dict[str, Any]:
    return {"largest_step": largest, "settles": bool(step < largest)}


def _pooled_variance(lam_star: float, step: float, **tables: Any) -> dict[str, Any]:
    kitchen = runs.Kitchen(**tables, limit=0.0, step=1.0)
    joint = kitchen.weights[:, None] * runs.tilted(kitchen, lam_star)
    mean = (joint * kitchen.cost).sum()
    return _judged(2 * kitchen.beta / float((joint * (kitchen.cost - mean) ** 2).sum()), step)


STEP_WRONG = (
    Wrong(
        "the Newton step",
        lambda step, **rest: _judged(long_step(step=step, **rest)["largest_step"] / 2, step),
        "That is one over the curvature: the step that goes to the bottom at once. One twice as long "
        "still settles.",
    ),
    Wrong(
        "one variance for all prompts",
        _pooled_variance,
        "Your variance holds the differences between prompts. The price cannot move those: take the "
        "variance within "
        "each prompt, then the mean.",
    ),
    Wrong(
        "beta left out",
        lambda step, beta, **rest: _judged(
            long_step(step=step, beta=beta, **rest)["largest_step"] / beta, step
        ),
        "The curvature of the dual is the variance divided by beta.",
    ),
    Wrong(
        "settles turned round",
        lambda **inputs: long_step(**inputs) | {"settles": not long_step(**inputs)["settles"]},
        "The number is right. Does a step above it come nearer with each round, or go further?",
    ),
)
STEP = Exercise(
    key="long_step",
    title="How long may a step be?",
    kind="predict",
    points=2,
    minutes=10,
    difficulty="hard",
    draw=fair(_draw_step, {"standard": long_step}, STEP_WRONG),
    oracles={"standard": long_step},
    wrong=STEP_WRONG,
    tolerance=1e-3,
)


def _draw_samples(rng: np.random.Generator) -> Inputs:
    """Return a round's own samples and its pairs, with a price that stays above 0 when all is right."""
    lam, limit = float(rng.uniform(1.0, 2.0)), float(rng.uniform(0.1, 0.3))
    return {
        "lam": lam,
        "limit": limit,
        "step": float(rng.uniform(0.5, 1.0)),
        "sample_cost": rng.normal(0.6, 0.8, size=(3, 4)),
        "pair_reward": rng.normal(0, 1, size=(5, 2)),
        "pair_cost": rng.normal(0.2, 0.8, size=(5, 2)),
    }


def _from_rate(inputs: Inputs) -> Inputs:
    """Return costs that are 1 for an unsafe answer, one whose cost is above 0, and else 0."""
    return inputs | {name: (inputs[name] > 0).astype(float) for name in ("sample_cost", "pair_cost")}


def _round(
    lam: float,
    limit: float,
    step: float,
    sample_cost: Array,
    pair_reward: Array,
    pair_cost: Array,
    *,
    bugs: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the next price and the labels for it, or what they are with the mistakes named."""
    measured = float(sample_cost.sum() if "sum" in bugs else sample_cost.mean())
    moved = max(0.0, lam + (-step if "sign" in bugs else step) * (measured - limit))
    score = pair_reward - (lam if "stale" in bugs else moved) * pair_cost
    return {"lam": moved, "target": 1 / (1 + np.exp(score[:, 0] - score[:, 1]))}


def repaired_round(**inputs: Any) -> dict[str, Any]:
    """Return the next price and the labels for it."""
    return _round(**inputs)


def _left(name: str, *bugs: str, message: str) -> Wrong:
    return Wrong(name, lambda **inputs: _round(**inputs, bugs=bugs), message)


ROUND_ORACLES = {"standard": repaired_round, "rate": reworded(repaired_round, _from_rate)}
ROUND_WRONG = in_both(
    (
        _left(
            "as it was given",
            "sum",
            "sign",
            "stale",
            message="This is still the broken round: none of its mistakes is repaired.",
        ),
        _left(
            "sum left in",
            "sum",
            message="The price still depends on how many samples were drawn. What stands for an expectation?",
        ),
        _left(
            "sign left in",
            "sign",
            message="The price still falls when the limit is broken.",
        ),
        _left(
            "labels left stale",
            "stale",
            message="The labels are still those of the price before the step, so training lags a round.",
        ),
        _left(
            "sum and labels left in",
            "sum",
            "stale",
            message="Two mistakes are left, one in the measurement and one in the order of lines.",
        ),
    ),
    "rate",
    _from_rate,
)
ROUND = Exercise(
    key="repaired_round",
    title="Repair a round",
    kind="implement",
    points=4,
    minutes=12,
    difficulty="medium",
    draw=fair(_draw_samples, ROUND_ORACLES, ROUND_WRONG),
    oracles=ROUND_ORACLES,
    wrong=ROUND_WRONG,
)
