"""Assignment 3: the dual function, from D and its slope to the multiplier of a limit.

Here are D and its slope; the search for the multiplier and the regimes are in `multipliers`, the certificate
and the dial in `certificates`.
"""

from __future__ import annotations

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from . import tables
from .certificates import CERTIFICATE, DIAL
from .dual_policy import from_safety
from .fair import fair
from .multipliers import MULTIPLIERS, REGIMES
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_dual(rng: np.random.Generator) -> Inputs:
    """Return a problem with a small beta, in which one guest's rewards stand 80 nats above the others'."""
    drawn = tables.draw_tables(rng)
    drawn["reward"][rng.integers(3)] += 80.0
    drawn["beta"] = float(rng.uniform(0.05, 0.1))
    return drawn | {"lam": float(rng.uniform(0.3, 1.5)), "limit": float(rng.uniform(-0.8, -0.2))}


def _dual(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float, limit: float
) -> float:
    """Return D(lam) = beta E_x log Z_lam(x) + lam C."""
    return float(beta * weights @ tables.log_z(reference, reward, cost, lam, beta) + lam * limit)


def _grand_mean(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float, limit: float
) -> float:
    """Return beta log E_x Z + lam C, the logarithm of the mean in place of the mean of the logarithms."""
    inside = np.log(weights) + tables.log_z(reference, reward, cost, lam, beta)
    return float(beta * np.logaddexp.reduce(inside) + lam * limit)


def _overflowing(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float, limit: float
) -> float:
    with np.errstate(all="ignore"):
        z = (reference * np.exp((reward - lam * cost) / beta)).sum(axis=1)
        return float(beta * weights @ np.log(z) + lam * limit)


DUAL_ORACLES = {"standard": _dual, "safety": reworded(_dual, from_safety)}
DUAL_WRONG = in_both(
    (
        Wrong(
            "log of the grand mean",
            _grand_mean,
            "You take one logarithm of the mean over guests. D averages the logarithms, one for each "
            "guest; the logarithm of the mean is never smaller.",
        ),
        Wrong(
            "overflow",
            _overflowing,
            "Your number is not finite: exp of a large reward overflows. Take the largest exponent of "
            "each guest out of the sum, or use logaddexp.reduce.",
        ),
        Wrong(
            "guests counted alike",
            lambda weights, **rest: _dual(weights=np.full(3, 1 / 3), **rest),
            "You count every guest alike. Guests who come more often weigh more in E_x.",
        ),
        Wrong(
            "limit's sign",
            lambda limit, **rest: _dual(limit=-limit, **rest),
            "The limit comes in with the wrong sign. A looser limit must make the bound D higher.",
        ),
        Wrong(
            "limit left out",
            lambda limit, **rest: _dual(limit=0.0, **rest),
            "Your D does not know the limit.",
        ),
        Wrong(
            "reference left out",
            lambda reference, **rest: _dual(reference=np.ones_like(reference), **rest),
            "Your Z does not know the reference: every dish counts as equally habitual.",
        ),
    ),
    "safety",
    from_safety,
)
DUAL = Exercise(
    key="dual_value",
    title="The dual function",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_dual, DUAL_ORACLES, DUAL_WRONG),
    oracles=DUAL_ORACLES,
    wrong=DUAL_WRONG,
)


def _draw_slope(rng: np.random.Generator) -> Inputs:
    drawn = tables.draw_tables(rng)
    return drawn | {"lam": float(rng.uniform(0.3, 1.5)), "limit": float(rng.uniform(-0.8, 0.8))}


def _slope(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float, limit: float
) -> float:
    """Return D'(lam) = C - E_lam[c]."""
    return limit - tables.cost_at(reference, reward, cost, weights, beta, lam)


def _one_policy(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float, limit: float
) -> float:
    """Return the slope when guests and dishes are normalised together, as the grand mean would have it."""
    logits = tables.log_weights(reference, reward, cost, lam, beta) + np.log(weights)[:, None]
    joint = np.exp(logits - np.logaddexp.reduce(logits, axis=None))
    return float(limit - (joint * cost).sum())


SLOPE_ORACLES = {"standard": _slope, "safety": reworded(_slope, from_safety)}
SLOPE_WRONG = in_both(
    (
        Wrong(
            "sign of the slope",
            lambda **inputs: -_slope(**inputs),
            "Your slope has the wrong sign: where the limit is broken, D falls as the price rises.",
        ),
        Wrong(
            "the reference's cost",
            lambda reference, cost, weights, limit, **rest: limit - tables.expected(reference, cost, weights),
            "Your slope is that of the reference at every price. Measure the policy that the price makes.",
        ),
        Wrong(
            "one normalisation for all guests",
            _one_policy,
            "You normalise the whole table at once, so guests with high rewards come more often. Prices "
            "change what is served, not who comes.",
        ),
        Wrong(
            "guests counted alike",
            lambda weights, **rest: _slope(weights=np.full(3, 1 / 3), **rest),
            "You count every guest alike. Guests who come more often weigh more in E_x.",
        ),
        Wrong(
            "limit left out",
            lambda limit, **rest: _slope(limit=0.0, **rest),
            "Your slope does not know the limit: it must be 0 when the expected cost is the limit.",
        ),
    ),
    "safety",
    from_safety,
)
SLOPE = Exercise(
    key="dual_slope",
    title="Its slope",
    kind="implement",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_slope, SLOPE_ORACLES, SLOPE_WRONG),
    oracles=SLOPE_ORACLES,
    wrong=SLOPE_WRONG,
)

ASSIGNMENT = Assignment(
    "03_the_dual_function",
    "The dual function",
    (DUAL, SLOPE, REGIMES, MULTIPLIERS, CERTIFICATE, DIAL),
)
