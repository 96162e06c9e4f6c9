"""Assignment 1, last part: many dual steps, and how long a step may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from . import tables
from .fair import fair
from .statements import TURNED, Claims, four_of, truth

Array = np.ndarray
Move = Callable[[float, float], float]
"""The next multiplier from the present one and from step (E[c] - C)."""

ROUNDS = 8


def _draw_walk(rng: np.random.Generator) -> Inputs:
    """Return a walk that starts too high, with a step so long that the first one ends at the wall.

    Steps stay below 4, or a walk by factors would run off beyond every number.
    """
    while True:
        drawn = tables.draw_tables(rng)
        lam_star = float(rng.uniform(0.3, 0.8))
        limit = tables.cost_at(**drawn, lam=lam_star)
        start = lam_star + float(rng.uniform(0.4, 1.0))
        room = limit - tables.cost_at(**drawn, lam=start)
        step = start / room * float(rng.uniform(1.1, 1.6))
        if step < 4:
            return drawn | {"limit": limit, "start": start, "step": step, "rounds": ROUNDS}


def _projected(lam: float, push: float) -> float:
    return max(0.0, lam + push)


def _unprojected(lam: float, push: float) -> float:
    return lam + push


def _multiplied(lam: float, push: float) -> float:
    return lam * float(np.exp(push))


def _walk(move: Move, *, sign: int = 1, at: str = "lam") -> Callable[..., Array]:
    """Return the walk by ``move``; the cost is measured at this round's lam, the last one's, or never."""

    def walked(limit: float, start: float, step: float, rounds: int, **drawn: Any) -> Array:
        lams = [start]
        for place in range(rounds):
            if at == "reference":
                cost = tables.expected(drawn["reference"], drawn["cost"], drawn["weights"])
            else:
                cost = tables.cost_at(**drawn, lam=lams[max(0, place - (at == "late"))])
            lams.append(move(lams[-1], sign * step * (cost - limit)))
        return np.array(lams)

    return walked


def _own(name: str, move: Move) -> tuple[Wrong, ...]:
    """Return the mistakes that can be made with both rules."""
    return (
        Wrong(
            "cost of the reference",
            _walk(move, at="reference"),
            "Your step looks at the reference's cost in every round, which never changes. Measure the policy "
            "that the present price makes.",
            variants=(name,),
        ),
        Wrong(
            "a round late",
            _walk(move, at="late"),
            "Your cost is that of the round before. Make the policy for the present price first, then "
            "measure it.",
            variants=(name,),
        ),
        Wrong(
            "flipped sign",
            _walk(move, sign=-1),
            "Your price falls while the limit is broken, and rises while there is room.",
            variants=(name,),
        ),
        Wrong(
            "start left out",
            lambda **inputs: _walk(move)(**inputs)[1:],
            "Your walk does not begin with the multiplier it starts from: rounds + 1 numbers are asked for.",
            variants=(name,),
        ),
    )


WALK_ORACLES = {"standard": _walk(_projected), "log": _walk(_multiplied)}
WALK_WRONG = (
    *_own("standard", _projected),
    Wrong(
        "no projection",
        _walk(_unprojected),
        "Your walk leaves lam >= 0 on its first step. Project after each step, not at the end.",
        variants=("standard",),
    ),
    *_own("log", _multiplied),
)
WALK = Exercise(
    key="dual_walk",
    title="A loop of dual steps",
    kind="implement",
    points=4,
    minutes=20,
    difficulty="medium",
    draw=fair(_draw_walk, WALK_ORACLES, WALK_WRONG),
    oracles=WALK_ORACLES,
    wrong=WALK_WRONG,
    tolerance=1e-5,
)

RATIO = 1.6
"""From one step size on the dial to the next."""

CLAIMS: Claims = (
    (
        "A step a little longer than the longest that settles makes lam jump from side to side of lam*.",
        "A step a little longer than the longest that settles makes lam creep towards lam* from one side.",
    ),
    (
        "With half the cost's variance under the tilted policy, steps may be twice as long.",
        "With half the cost's variance under the tilted policy, steps may be half as long.",
    ),
    (
        "If every cost and the limit are doubled, the longest step that settles is a quarter as long.",
        "If every cost and the limit are doubled, the longest step that settles is half as long.",
    ),
    (
        "A walk that swings for ever is cured by a shorter step, with the same limit.",
        "A walk that swings for ever shows that no policy meets the limit.",
    ),
    (
        "While the limit is broken, a longer step raises the price faster.",
        "While the limit is broken, a longer step lowers the price.",
    ),
)


def _draw_dial(rng: np.random.Generator) -> Inputs:
    """Return a problem and eight step sizes, of which between three and five settle."""
    while True:
        drawn = tables.draw_tables(rng, prompts=2, responses=3)
        lam_star = float(rng.uniform(0.5, 1.2))
        longest = 2 / _curvature(**drawn, lam_star=lam_star)
        if not 0.3 < longest < 6:
            continue
        first = longest / RATIO ** (rng.integers(2, 5) + rng.uniform(0.35, 0.65))
        steps = [round(float(first * RATIO**k), 3) for k in range(8)]
        limit = tables.cost_at(**drawn, lam=lam_star)
        dial = {"limit": limit, "lam_star": lam_star, "steps": steps}
        if _seen_to_settle(drawn, limit, lam_star, [s for s in steps if s < longest][-1]):
            return drawn | dial | {"statements": four_of(rng, CLAIMS)}


def _seen_to_settle(drawn: Inputs, limit: float, lam_star: float, step: float) -> bool:
    """Return whether a walk from 0 arrives, as one expects who tries it."""
    walk = WALK_ORACLES["standard"](**drawn, limit=limit, start=0.0, step=step, rounds=80)
    return abs(walk[-1] - lam_star) < 1e-3


def _curvature(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam_star: float
) -> float:
    """Return D''(lam*) = E_x Var(c | x)/beta."""
    policy = tables.tilted(reference, reward, cost, lam_star, beta)
    return tables.variance(policy, cost, weights) / beta


def _below(bound: float, steps: list[float]) -> float:
    return max((step for step in steps if step < bound), default=min(steps))


def _dial(factor: float = 2.0, **changed: float) -> Callable[..., dict[str, Any]]:
    """Return the answer by the bound ``factor``/D'', with something in D'' changed."""

    def answered(limit: float, steps: list[float], statements: list[str], **drawn: Any) -> dict[str, Any]:
        bound = factor / _curvature(**(drawn | changed))
        return {"step": _below(bound, steps), "statements": truth(statements, CLAIMS)}

    return answered


def _under_the_reference(reference: Array, reward: Array, **rest: Any) -> dict[str, Any]:
    return _dial(lam_star=0.0)(reference=reference, reward=0 * reward, **rest)


def _all_settle(**inputs: Any) -> dict[str, Any]:
    return DIAL_ORACLES["standard"](**inputs) | {"step": max(inputs["steps"])}


def _statements_turned(**inputs: Any) -> dict[str, Any]:
    found = DIAL_ORACLES["standard"](**inputs)
    return found | {"statements": [not true for true in found["statements"]]}


DIAL_ORACLES = {"standard": _dial()}
DIAL_WRONG = (
    Wrong(
        "one over the curvature",
        _dial(1.0),
        "With this step lam comes near lam* from one side. Longer ones overshoot, and some of those still "
        "settle: how much may one overshoot?",
    ),
    Wrong(
        "beta left out",
        _dial(beta=1.0),
        "Your bound does not know beta. The slope of D changes faster when the tie to the reference is weak.",
    ),
    Wrong(
        "variance under the reference",
        _under_the_reference,
        "You measured the cost's variance under the reference. The curvature near lam* is that of the policy "
        "of lam*.",
    ),
    Wrong(
        "the longest of all",
        _all_settle,
        "At this step size lam does not settle. Run the walk with it and print the last few multipliers.",
    ),
    Wrong("statements turned round", _statements_turned, TURNED),
)
DIAL = Exercise(
    key="longest_step",
    title="How long may a step be?",
    kind="dial",
    points=3,
    minutes=18,
    difficulty="medium",
    draw=fair(_draw_dial, DIAL_ORACLES, DIAL_WRONG, apart=1e-6),
    oracles=DIAL_ORACLES,
    wrong=DIAL_WRONG,
)
