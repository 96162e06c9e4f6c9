"""Where the distance to the true optimum comes from: one thing at a time is switched to its exact version.

Start at the optimum of the gold problem and undo one exactness after the other, down to the policy that was
trained. Each rung of this ladder is held against the gold optimum pi*; what closeness falls from one rung
to the next is that step's part, and the parts add up to what is missing to 1.

Left out: training the rungs that need it (`split_run`).

Reference: the measure is that of the certificate, 1 - KL(pi || pi*) / KL(pi_ref || pi*).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .exact import FiniteProblem
from .types import Scorer, World

Array = NDArray[np.float64]


class Rung(NamedTuple):
    """A policy on the way: what the step to it costs (``part``), in words, its probabilities (X, Y)."""

    part: str
    words: str
    probs: Array


def ladder(gold: FiniteProblem, rungs: Sequence[Rung]) -> list[dict[str, Any]]:
    """Return each rung's closeness to the gold optimum, its gold cost, and the closeness that its step lost.

    Parameters
    ----------
    gold : FiniteProblem
        With an optimum that the limit leaves room for.
    rungs : sequence of Rung
        From the one nearest to the optimum down to the trained policy.

    Returns
    -------
    list of dict
        ``part``, ``words``, ``closeness``, ``lost`` (the fall from the rung before; negative where a step
        brought the policy nearer), ``reward``, ``cost`` and ``over`` (cost minus limit), gold units.

    The reference itself as the only rung loses everything, closeness 1 to 0:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 0.0]], beta=1.0, cost_limit=1.0)
    >>> [row["lost"] for row in ladder(problem, [Rung("all", "no training", problem.reference)])]
    [1.0]
    """
    rows: list[dict[str, Any]] = []
    before = 1.0
    for rung in rungs:
        own, closeness = gold.evaluate(rung.probs), gold.certify(rung.probs).closeness
        if closeness is None:
            raise ValueError("the gold problem has no optimum to be close to")
        row = {"part": rung.part, "words": rung.words, "closeness": float(closeness)}
        row |= {"lost": before - float(closeness), "reward": float(own.reward)}
        row |= {"cost": float(own.cost), "over": float(np.subtract(own.cost, gold.cost_limit))}  # type: ignore[arg-type]
        rows.append(row)
        before = float(closeness)
    return rows


def gold_problem(posed: FiniteProblem, world: World, gold: tuple[Scorer, Scorer]) -> FiniteProblem:
    """Return the problem of the gold reward and cost, with the reference, beta and limit of ``posed``."""
    reward, cost = (world.table(score).numpy() for score in gold)
    return FiniteProblem(
        prompt_probs=posed.prompt_probs,
        reference=posed.reference,
        reward=reward,
        cost=cost,
        beta=posed.beta,
        cost_limit=posed.cost_limit,
    )


def exact_rungs(posed: FiniteProblem, *, lam: float) -> list[Rung]:
    """Return the rungs that need no training: the optimum of the posed problem, and its policy at ``lam``."""
    best = posed.solve()
    assert best.probs is not None
    return [
        Rung("scorer error", "the exact optimum on the run's own scores", best.probs),
        Rung("multiplier error", "the exact tilted policy at the run's last multiplier", posed.policy(lam)),
    ]
