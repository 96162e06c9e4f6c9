"""Assignment 1: one step of dual gradient descent, from the tilted policy to the new multiplier."""

from __future__ import annotations

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong


def _draw_step(rng: np.random.Generator) -> Inputs:
    """Return a step that sometimes, but not often, ends at the wall lam = 0."""
    cost, limit = rng.uniform(-1, 1, size=2)
    step = rng.uniform(0.5, 2.0)
    return {
        "lam": float(rng.uniform(0, 1.5)),
        "cost": float(cost),
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
    wrong=(
        Wrong(
            "flipped sign",
            lambda lam, cost, limit, step: max(0.0, lam - step * (cost - limit)),
            "Your multiplier falls when the limit is broken. Which way must the price of harm go then?",
            variants=("standard",),
        ),
        Wrong(
            "no projection",
            lambda lam, cost, limit, step: lam + step * (cost - limit),
            "Your multiplier can become negative: that would pay for harm. Project it to lam >= 0.",
            variants=("standard",),
        ),
        Wrong(
            "limit left out",
            lambda lam, cost, limit, step: max(0.0, lam + step * cost),
            "Your step looks at the cost alone. It must stop moving when the cost is at the limit.",
            variants=("standard",),
        ),
    ),
)

ASSIGNMENT = Assignment("01_the_dual_step", "The dual step", (STEP,))
