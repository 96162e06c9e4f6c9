"""Assignment 3, second part: which regime a limit is in, and the multiplier that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from . import tables
from .fair import fair
from .wordings import in_both, reworded

Array = np.ndarray


def _marks(drawn: Inputs) -> tuple[float, float, float]:
    """Return the least cost of any policy, the reference's and that of the best policy without a price."""
    reference, cost, weights = drawn["reference"], drawn["cost"], drawn["weights"]
    return (
        tables.least_cost(cost, weights),
        tables.expected(reference, cost, weights),
        tables.cost_at(**drawn, lam=0.0),
    )


def _draw_regimes(rng: np.random.Generator) -> Inputs:
    """Return four limits: unreachable, below and above the reference's cost but binding, and slack."""
    while True:
        drawn = tables.draw_tables(rng, prompts=2, responses=4)
        least, habit, free = _marks(drawn)
        cheapest = drawn["cost"].min()
        if free - habit > 0.3 and habit - least > 0.3 and least - cheapest > 0.15:
            break
    limits = [
        least - 0.7 * (least - cheapest),
        least + rng.uniform(0.3, 0.7) * (habit - least),
        habit + rng.uniform(0.3, 0.7) * (free - habit),
        free + rng.uniform(0.15, 0.4),
    ]
    return drawn | {"limits": [round(float(limit), 3) for limit in rng.permutation(limits)]}


def _named(limits: list[float], least: float, free: float) -> list[str]:
    return ["infeasible" if c < least else "slack" if c >= free else "binding" for c in limits]


def _regimes(limits: list[float], **drawn: Any) -> dict[str, Any]:
    """Return the regime of each limit, the least cost of any policy, and the cost without a price."""
    least, _, free = _marks(drawn)
    return {"regimes": _named(limits, least, free), "least": least, "free": free}


def _slack_by_reference(limits: list[float], **drawn: Any) -> dict[str, Any]:
    least, habit, _ = _marks(drawn)
    return {"regimes": _named(limits, least, habit), "least": least, "free": habit}


def _least_of_the_table(limits: list[float], **drawn: Any) -> dict[str, Any]:
    least, free = float(drawn["cost"].min()), _marks(drawn)[2]
    return {"regimes": _named(limits, least, free), "least": least, "free": free}


def _mean_of_the_cheapest(limits: list[float], **drawn: Any) -> dict[str, Any]:
    return _regimes(limits, **drawn) | {"least": float(drawn["cost"].min(axis=1).mean())}


def _slack_and_binding_turned(limits: list[float], **drawn: Any) -> dict[str, Any]:
    other = {"slack": "binding", "binding": "slack", "infeasible": "infeasible"}
    found = _regimes(limits, **drawn)
    return found | {"regimes": [other[name] for name in found["regimes"]]}


REGIME_ORACLES = {"standard": _regimes}
REGIME_WRONG = (
    Wrong(
        "slack by the reference",
        _slack_by_reference,
        "You compare with the reference's cost. Without a price the best policy is not the reference: "
        "the reward tilts it too.",
    ),
    Wrong(
        "cheapest dish of the table",
        _least_of_the_table,
        "You took the cheapest dish of the whole table. Each guest must be served one of her own row.",
    ),
    Wrong(
        "guests counted alike",
        _mean_of_the_cheapest,
        "Your least cost counts the two guests alike. Weigh each one's cheapest dish by how often she comes.",
    ),
    Wrong(
        "slack and binding turned round",
        _slack_and_binding_turned,
        "A slack limit is one that is met at price 0, and a binding one needs a price. You have it the other "
        "way round.",
    ),
)
REGIMES = Exercise(
    key="regimes",
    title="Which regime?",
    kind="predict",
    points=3,
    minutes=12,
    difficulty="medium",
    draw=fair(_draw_regimes, REGIME_ORACLES, REGIME_WRONG, apart=1e-2),
    oracles=REGIME_ORACLES,
    wrong=REGIME_WRONG,
    tolerance=1e-3,
)


def _draw_limits(rng: np.random.Generator) -> Inputs:
    """Return eight limits of one problem, in every regime.

    The same numbers must do where they are about safety, so four are made for the costs and four for their
    negatives; all are judged in both wordings.
    """
    while True:
        drawn = tables.draw_tables(rng)
        limits = [*_limits(rng, drawn), *(-limit for limit in _limits(rng, _turned(drawn)))]
        inputs = drawn | {"limits": [float(limit) for limit in rng.permutation(limits)]}
        if all(_mixed(_multipliers(**one)) for one in (inputs, _turned(inputs))):
            return inputs


def _limits(rng: np.random.Generator, drawn: Inputs) -> list[float]:
    """Return a limit out of reach, one with a price above 1, one with a price below 1 and a slack one."""
    least, _, free = _marks(drawn)
    low, high = rng.uniform(0.2, 0.8), rng.uniform(1.5, 4.0)
    return [
        least - rng.uniform(0.1, 0.5),
        tables.cost_at(**drawn, lam=float(high)),
        tables.cost_at(**drawn, lam=float(low)),
        free + rng.uniform(0.1, 0.3),
    ]


def _turned(inputs: Inputs) -> Inputs:
    """Return costs and limits of a wording that speaks of safety."""
    limits = {"limits": [-limit for limit in inputs["limits"]]} if "limits" in inputs else {}
    return inputs | {"cost": -inputs["cost"]} | limits


def _mixed(found: list[float | None]) -> bool:
    """Return whether every regime occurs, with prices on both sides of 1, none of them enormous."""
    prices = [lam for lam in found if lam]
    return None in found and 0.0 in found and min(prices) < 0.85 and 1.2 < max(prices) < 20


def _multipliers(limits: list[float], **drawn: Any) -> list[float | None]:
    return [tables.multiplier(**drawn, limit=limit) for limit in limits]


def _unprojected(limits: list[float], **drawn: Any) -> list[float | None]:
    """Return prices below 0 for slack limits, as a root search on the whole line finds them."""
    most = float(drawn["weights"] @ drawn["cost"].max(axis=1))

    def root(limit: float) -> float | None:
        lam = tables.multiplier(**drawn, limit=limit)
        if lam != 0.0 or limit >= most:
            return lam
        low, high = -1.0, 0.0
        while tables.cost_at(**drawn, lam=low) < limit:
            low *= 2
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if tables.cost_at(**drawn, lam=middle) > limit else (low, middle)
        return high

    return [root(limit) for limit in limits]


def _at_most_one(limits: list[float], **drawn: Any) -> list[float | None]:
    return [None if lam is None else min(lam, 1.0) for lam in _multipliers(limits, **drawn)]


def _zero_for_none(limits: list[float], **drawn: Any) -> list[float | None]:
    return [lam or 0.0 for lam in _multipliers(limits, **drawn)]


def _none_for_zero(limits: list[float], **drawn: Any) -> list[float | None]:
    return [lam or None for lam in _multipliers(limits, **drawn)]


def _without_reward(limits: list[float], **drawn: Any) -> list[float | None]:
    return _multipliers(limits, **(drawn | {"reward": 0 * drawn["reward"]}))


MULTIPLIER_ORACLES = {"standard": _multipliers, "safety": reworded(_multipliers, _turned)}
MULTIPLIER_WRONG = in_both(
    (
        Wrong(
            "negative price",
            _unprojected,
            "A slack limit got a price below 0, which pays for harm. A limit that is met at price 0 "
            "needs none.",
        ),
        Wrong(
            "bracket that ends at 1",
            _at_most_one,
            "None of your prices is above 1, where your bracket ends. Double its upper end until the "
            "limit is met.",
        ),
        Wrong(
            "price 0 where nothing helps",
            _zero_for_none,
            "A limit that no policy meets got the price 0. That one is for a limit that is met for nothing.",
        ),
        Wrong(
            "None for slack",
            _none_for_zero,
            "A slack limit got None. It has a multiplier, the least one there is.",
        ),
        Wrong(
            "reward left out",
            _without_reward,
            "Your prices are those of a world without rewards. The tilted policy needs both scores.",
        ),
    ),
    "safety",
    _turned,
)
MULTIPLIERS = Exercise(
    key="multipliers",
    title="The multiplier of a limit",
    kind="implement",
    points=4,
    minutes=22,
    difficulty="hard",
    draw=fair(_draw_limits, MULTIPLIER_ORACLES, MULTIPLIER_WRONG),
    oracles=MULTIPLIER_ORACLES,
    wrong=MULTIPLIER_WRONG,
    tolerance=1e-4,
    trials=4,
)
