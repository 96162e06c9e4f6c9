"""Assignment 2, second part: a cost that knows its zero, and one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from .fair import fair
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_flagged(rng: np.random.Generator) -> Inputs:
    """Return five comparisons whose ten flags are four unsafe, four safe and two unknown."""
    flags = rng.permutation([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, np.nan, np.nan])
    return {
        "cost0": rng.normal(0, 1.5, size=5),
        "cost1": rng.normal(0, 1.5, size=5),
        "safer": rng.permutation([0.0, 0.0, 1.0, 1.0, 1.0]),
        "unsafe": flags.reshape(5, 2),
    }


def _cross_entropy(margin: Array, target: Array) -> Array:
    """Return log(1 + e^m) - p m, and 0 where p is unknown."""
    loss = np.logaddexp(0.0, margin) - np.nan_to_num(target) * margin
    return np.where(np.isnan(target), 0.0, loss)


def _signs(cost0: Array, cost1: Array, unsafe: Array) -> Array:
    return _cross_entropy(np.stack([cost0, cost1], axis=1), unsafe)  # (n, 2)


def _anchored(cost0: Array, cost1: Array, safer: Array, unsafe: Array) -> Array:
    return _cross_entropy(cost0 - cost1, safer) + _signs(cost0, cost1, unsafe).sum(axis=1)


def _from_safe_flags(inputs: Inputs) -> Inputs:
    """Return flags of being unsafe from flags of being safe; what is unknown stays so."""
    return inputs | {"unsafe": 1 - inputs["unsafe"]}


ANCHORED_ORACLES = {"standard": _anchored, "safe_flags": reworded(_anchored, _from_safe_flags)}
UNKNOWN = "You count a flag that nobody gave. An unknown flag (nan) adds nothing to the loss."
ANCHORED_WRONG = (
    *in_both(
        (
            Wrong(
                "comparison turned round",
                lambda cost0, cost1, safer, unsafe: _anchored(cost0, cost1, 1 - safer, unsafe),
                "Your comparison rewards the safer dish with the higher cost. Costs are of harm: the "
                "safer one is the cheaper.",
            ),
            Wrong(
                "flags left out",
                lambda cost0, cost1, safer, unsafe: _cross_entropy(cost0 - cost1, safer),
                "Your loss is only a comparison. A shift of all costs leaves it as it is, so it cannot "
                "find a zero.",
            ),
            Wrong(
                "comparison left out",
                lambda cost0, cost1, safer, unsafe: _signs(cost0, cost1, unsafe).sum(axis=1),
                "Your loss looks at the flags alone. Of two unsafe dishes people still know the worse one.",
            ),
            Wrong(
                "unknown read as safe",
                lambda cost0, cost1, safer, unsafe: _anchored(cost0, cost1, safer, np.nan_to_num(unsafe)),
                UNKNOWN,
                variants=("standard",),
            ),
            Wrong(
                "unknown spoils the row",
                lambda cost0, cost1, safer, unsafe: (
                    _anchored(cost0, cost1, safer, unsafe) + 0 * unsafe.sum(axis=1)
                ),
                "A row with an unknown flag is nan with you. Its comparison and its other flag are "
                "known: keep them.",
            ),
            Wrong(
                "one flag of two",
                lambda cost0, cost1, safer, unsafe: (
                    _cross_entropy(cost0 - cost1, safer) + _signs(cost0, cost1, unsafe)[:, 1]
                ),
                "You use the flag of one dish. Both have one.",
            ),
        ),
        "safe_flags",
        _from_safe_flags,
    ),
    Wrong(
        "unknown read as unsafe",
        lambda cost0, cost1, safer, unsafe: _anchored(cost0, cost1, safer, 1 - np.nan_to_num(unsafe)),
        UNKNOWN,
        variants=("safe_flags",),
    ),
)
ANCHORED = Exercise(
    key="anchored_cost_loss",
    title="A cost that knows its zero",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_flagged, ANCHORED_ORACLES, ANCHORED_WRONG),
    oracles=ANCHORED_ORACLES,
    wrong=ANCHORED_WRONG,
)


def _draw_two_costs(rng: np.random.Generator) -> Inputs:
    """Return an anchored cost and the same one shifted for each guest, in either order."""
    while True:
        cost = np.round(rng.normal(0, 1.2, size=(2, 4)), 2)
        shift = np.round(rng.uniform(0.4, 2.5, size=2) * rng.choice([-1, 1], size=2), 2)
        unsafe = cost > 0
        wrong = ((cost + shift[:, None] > 0) != unsafe).sum(axis=1)
        if np.abs(cost).min() > 0.1 and wrong.tolist() == [1, 1] and (unsafe.sum(axis=1) == 2).all():
            break
    costs = [cost, np.round(cost + shift[:, None], 2)]
    first, second = costs if rng.integers(2) else costs[::-1]
    return {"first": first, "second": second, "unsafe": unsafe.astype(int)}


def _which_zero(first: Array, second: Array, unsafe: Array) -> dict[str, Any]:
    """Return the cost whose sign is the flag, and by how much the other one is off for each guest."""
    anchored = bool(((first > 0) == (unsafe == 1)).all())
    off = (second - first if anchored else first - second).mean(axis=1)
    return {"anchored": "first" if anchored else "second", "off": off, "same_comparisons": True}


def _the_other(first: Array, second: Array, unsafe: Array) -> dict[str, Any]:
    return _which_zero(second, first, unsafe) | {
        "anchored": _which_zero(second, first, unsafe)["anchored"],
        "off": -_which_zero(first, second, unsafe)["off"],
    }


def _one_shift(**inputs: Array) -> dict[str, Any]:
    found = _which_zero(**inputs)
    return found | {"off": np.full(2, found["off"].mean())}


ZERO_ORACLES = {"standard": _which_zero}
ZERO_WRONG = (
    Wrong(
        "the other one",
        _the_other,
        "The flags contradict this one. Of which cost is every unsafe dish above 0 and every safe one below?",
    ),
    Wrong(
        "one shift for all",
        _one_shift,
        "You give both guests the same shift. Comparisons are made within a guest, so each guest has an "
        "own one.",
    ),
    Wrong(
        "sign of the shift",
        lambda **inputs: _which_zero(**inputs) | {"off": -_which_zero(**inputs)["off"]},
        "Your numbers have the wrong sign: they are to be the cost without a zero minus the anchored one.",
    ),
    Wrong(
        "comparisons differ",
        lambda **inputs: _which_zero(**inputs) | {"same_comparisons": False},
        "Take any two dishes of one guest: what does a shift of both do to their difference?",
    ),
)
ZERO = Exercise(
    key="which_zero",
    title="Which cost has a zero?",
    kind="predict",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_two_costs, ZERO_ORACLES, ZERO_WRONG, apart=1e-2),
    oracles=ZERO_ORACLES,
    wrong=ZERO_WRONG,
    tolerance=1e-3,
)
