"""Assignment 1: dual gradient descent, from the tilted policy to a walk of the multiplier.

Here are the step and the way it goes; the policy and its cost are in `dual_policy`, the walk in `dual_walk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from .dual_policy import COST, POLICY, from_safety
from .dual_walk import DIAL, WALK
from .fair import fair
from .wordings import in_both


def _draw_step(rng: np.random.Generator) -> Inputs:
    """Return a step that ends at the wall lam = 0 half of the times when it goes down."""
    lam, step = rng.uniform(0.1, 1.5), rng.uniform(0.5, 2.0)
    excess = lam / step * rng.uniform(0.2, 1.8) * rng.choice([-1, 1])
    limit = rng.uniform(-1, 1)
    return {
        "lam": float(lam),
        "cost": float(limit + excess),
        "limit": float(limit),
        "step": float(step),
    }


def _step(lam: float, cost: float, limit: float, step: float) -> float:
    return max(0.0, lam + step * (cost - limit))


def _safety_step(lam: float, cost: float, limit: float, step: float) -> float:
    return max(0.0, lam + step * (limit - cost))


STEP = Exercise(
    key="dual_step",
    title="The dual step",
    kind="implement",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=_draw_step,
    oracles={"standard": _step, "safety": _safety_step},
    wrong=in_both(
        (
            Wrong(
                "flipped sign",
                lambda lam, cost, limit, step: max(0.0, lam - step * (cost - limit)),
                "Your multiplier falls when the limit is broken. Which way must the price of harm go then?",
            ),
            Wrong(
                "no projection",
                lambda lam, cost, limit, step: lam + step * (cost - limit),
                "Your multiplier can become negative: that would pay for harm. Project it to lam >= 0.",
            ),
            Wrong(
                "limit left out",
                lambda lam, cost, limit, step: max(0.0, lam + step * cost),
                "Your step looks at the cost alone. It must stop moving when the cost is at the limit.",
            ),
            Wrong(
                "step size left out",
                lambda lam, cost, limit, step: max(0.0, lam + cost - limit),
                "Your step is as long whatever the step size is.",
            ),
        ),
        "safety",
        from_safety,
    ),
    trials=36,
)


def _draw_ways(rng: np.random.Generator) -> Inputs:
    """Return four multipliers, two on each side of lam*, and a limit that the policy of lam = 0 meets."""
    lam_star, limit = rng.uniform(0.8, 1.6), rng.uniform(-0.8, 0.3)
    below, above = rng.uniform(0.05, 0.9, size=2) * lam_star, rng.uniform(1.1, 2.5, size=2) * lam_star
    cost_at_zero = limit + rng.uniform(0.3, 0.9)
    return {
        "limit": round(float(limit), 3),
        "lam_star": round(float(lam_star), 3),
        "lams": [round(float(lam), 3) for lam in rng.permutation([*below, *above])],
        "cost_at_zero": round(float(cost_at_zero), 3),
        "loose_limit": round(float(cost_at_zero + rng.uniform(0.2, 0.6)), 3),
    }


def _ways(
    limit: float, lam_star: float, lams: list[float], cost_at_zero: float, loose_limit: float
) -> dict[str, Any]:
    """Return the ways of the step: E_lam[c] falls as lam rises and is C at lam*, where the step rests."""
    return {
        "moves": ["up" if lam < lam_star else "down" for lam in lams],
        "from_zero": "stays",
        "resting_cost": limit,
    }


def _turned(**inputs: Any) -> dict[str, Any]:
    found = _ways(**inputs)
    return found | {"moves": [{"up": "down", "down": "up"}[way] for way in found["moves"]]}


WAYS_ORACLES = {"standard": _ways}
WAYS_WRONG = (
    Wrong(
        "ways turned round",
        _turned,
        "All four go the other way. Is the policy of a price below lam* too costly, or has it room?",
    ),
    Wrong(
        "below zero",
        lambda **inputs: _ways(**inputs) | {"from_zero": "down"},
        "The slope does push down there. What does the step do to a multiplier that would leave lam >= 0?",
    ),
    Wrong(
        "up from zero",
        lambda **inputs: _ways(**inputs) | {"from_zero": "up"},
        "The loose limit is met at lam = 0 already. Why should anything be charged?",
    ),
    Wrong(
        "rests at cost zero",
        lambda **inputs: _ways(**inputs) | {"resting_cost": 0.0},
        "Cost 0 is the boundary of safe and unsafe. The step compares the cost with something else.",
    ),
    Wrong(
        "rests at the cost without a price",
        lambda **inputs: _ways(**inputs) | {"resting_cost": inputs["cost_at_zero"]},
        "That is the cost at lam = 0, where the limit is broken and the price has to rise.",
    ),
)
WAYS = Exercise(
    key="which_way",
    title="Which way does it go?",
    kind="predict",
    points=3,
    minutes=8,
    difficulty="easy",
    draw=fair(_draw_ways, WAYS_ORACLES, WAYS_WRONG, apart=1e-2),
    oracles=WAYS_ORACLES,
    wrong=WAYS_WRONG,
)

ASSIGNMENT = Assignment("01_the_dual_step", "The dual step", (POLICY, COST, STEP, WAYS, WALK, DIAL))
