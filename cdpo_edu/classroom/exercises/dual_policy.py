"""Assignment 1, first part: the policy that a price of harm makes, and what it costs.

The step itself is in `dual_step`, where the assignment is put together.
"""

from __future__ import annotations

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from .fair import fair
from .tables import draw_tables, expected, tilted
from .wordings import in_both, reworded

Array = np.ndarray


def from_safety(inputs: Inputs) -> Inputs:
    """Return the costs, and the limit where there is one, of a wording that speaks of safety."""
    limit = {"limit": -inputs["limit"]} if "limit" in inputs else {}
    return inputs | {"cost": -inputs["cost"]} | limit


def _draw_policy(rng: np.random.Generator) -> Inputs:
    """Return a table in which one guest's rewards are counted from another zero, 800 nats away."""
    tables = draw_tables(rng)
    del tables["weights"]
    tables["reward"][rng.integers(3)] += 800.0
    return tables | {"lam": float(rng.uniform(0.5, 2.0))}


def _overflowing(reference: Array, reward: Array, cost: Array, lam: float, beta: float) -> Array:
    with np.errstate(all="ignore"):
        weight = reference * np.exp((reward - lam * cost) / beta)
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _over_the_table(reference: Array, reward: Array, cost: Array, lam: float, beta: float) -> Array:
    policy = tilted(reference, reward, cost, lam, beta)
    return policy / policy.sum()


POLICY_ORACLES = {"standard": tilted, "safety": reworded(tilted, from_safety)}
POLICY_WRONG = in_both(
    (
        Wrong(
            "overflow",
            _overflowing,
            "Some of your numbers are not finite: exp of a large reward overflows. What can you subtract "
            "from every exponent of a guest without changing that guest's row?",
        ),
        Wrong(
            "reference left out",
            lambda reference, reward, cost, lam, beta: tilted(
                np.ones_like(reference), reward, cost, lam, beta
            ),
            "Your policy does not know the reference: it treats every dish as equally habitual.",
        ),
        Wrong(
            "beta left out",
            lambda reference, reward, cost, lam, beta: tilted(reference, reward, cost, lam, 1.0),
            "Your policy does not know beta. A weak tie to the reference must sharpen it.",
        ),
        Wrong(
            "price left out",
            lambda reference, reward, cost, lam, beta: tilted(reference, reward, cost, 0.0, beta),
            "Your policy is the same at every price. The score is the reward and the priced harm together.",
        ),
        Wrong(
            "normalised over the whole table",
            _over_the_table,
            "Your whole table adds up to 1. Each guest gets a dish, so each row must.",
        ),
    ),
    "safety",
    from_safety,
)
POLICY = Exercise(
    key="tilted_policy",
    title="The policy for a price",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_policy, POLICY_ORACLES, POLICY_WRONG),
    oracles=POLICY_ORACLES,
    wrong=POLICY_WRONG,
)


def _draw_mean(rng: np.random.Generator) -> Inputs:
    tables = draw_tables(rng)
    return {
        "policy": rng.dirichlet(np.full(4, 2.0), size=3),
        "cost": tables["cost"],
        "weights": tables["weights"],
    }


def _expected_cost(policy: Array, cost: Array, weights: Array) -> float:
    return expected(policy, cost, weights)


def _from_flags(inputs: Inputs) -> Inputs:
    """Return 1 for an unsafe dish and 0 for a safe one in place of the cost."""
    return inputs | {"cost": (inputs["cost"] > 0).astype(float)}


COST_ORACLES = {"standard": _expected_cost, "unsafe_share": reworded(_expected_cost, _from_flags)}
COST_WRONG = in_both(
    (
        Wrong(
            "every guest counted alike",
            lambda policy, cost, weights: float((policy * cost).sum(axis=1).mean()),
            "You count every guest alike. Guests who come more often weigh more.",
        ),
        Wrong(
            "mean of the table",
            lambda policy, cost, weights: float(weights @ cost.mean(axis=1)),
            "Your number is the same for every cook. Dishes count as often as this policy serves them.",
        ),
        Wrong(
            "one number a guest",
            lambda policy, cost, weights: (policy * cost).sum(axis=1),
            "You return a number for each guest. The limit is on one number, the mean over guests.",
        ),
        Wrong(
            "summed over guests",
            lambda policy, cost, weights: float((policy * cost).sum()),
            "You add up over guests. A mean does not grow when more guests come.",
        ),
    ),
    "unsafe_share",
    _from_flags,
)
COST = Exercise(
    key="expected_cost",
    title="The expected cost",
    kind="implement",
    points=3,
    minutes=8,
    difficulty="easy",
    draw=fair(_draw_mean, COST_ORACLES, COST_WRONG),
    oracles=COST_ORACLES,
    wrong=COST_WRONG,
)
