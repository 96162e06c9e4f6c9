"""The numbers of the comparison graph of one prompt: where pairs fix the implicit reward, and where not.

A response stands at its score s = r - lam c and at its implicit reward beta log(pi/pi_ref). At the exact
optimum the two differ by one constant, so all responses lie on one line of slope 1. Pairs can only promise
that for the responses of one island: every island has its own line, and the unseen keep the reference's odds.

Left out: ink, and the graph itself (`laboratories.coverage`).

Reference: Rafailov et al. 2023, arXiv 2305.18290, eq. 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exact import FiniteProblem
from ..laboratories.coverage import fitted_table, islands
from ..types import InputError
from .words import Array, num, single_limit


@dataclass(frozen=True, eq=False)
class IslandsData:
    """What `plot_islands` draws of one prompt, for the policy that DPO on a table ends at.

    ``score``, ``implicit`` (both in nats) and ``probs`` of each response, shape (Y,); ``seen`` says that it
    stands in a pair, ``above`` that it costs more than C. ``lines`` (m, 2) are the pairs, ``shift`` is
    beta log Z: the exact optimum lies on implicit = score - shift. ``cost`` is E[c] of this prompt.
    """

    score: Array
    implicit: Array
    probs: Array
    seen: NDArray[np.bool_]
    above: NDArray[np.bool_]
    lines: NDArray[np.int64]
    islands: int
    shift: float
    cost: float

    @property
    def unseen_mass(self) -> float:
        """Return the probability of the responses in no pair."""
        return float(self.probs[~self.seen].sum())

    def describe(self) -> str:
        """Return the size of the graph, then what the unseen hold and what it costs, two lines."""
        pairs = "1 pair" if len(self.lines) == 1 else f"{len(self.lines)} pairs"
        parts = "1 island" if self.islands == 1 else f"{self.islands} islands"
        return (
            f"{pairs} of {len(self.score)} responses: {parts}\n"
            f"unseen mass {self.unseen_mass:.2f}, E[c] of this prompt {num(self.cost, 2)}"
        )


def islands_data(problem: FiniteProblem, edges: ArrayLike, *, lam: float, prompt: int = 0) -> IslandsData:
    """Return the comparison graph of one prompt and the policy that DPO on a table makes of it.

    Parameters
    ----------
    problem : FiniteProblem
        With one limit.
    edges : array_like of int, shape (m, 3)
        (prompt, first response, second response), as `comparisons` returns them.
    lam : float, at least 0
        The multiplier of the labels.
    prompt : int

    Raises
    ------
    InputError
        When there is no such prompt, an edge does not fit the tables, or the problem has several limits.

    Odds 1 : 1 : 2, the first two compared: one island of two and one alone.

    >>> problem = FiniteProblem([[0.25, 0.25, 0.5]], [[1, 0, 0]], [[1, 0, 0]], beta=1, cost_limit=0.5)
    >>> data = islands_data(problem, [[0, 0, 1]], lam=0.0)
    >>> data.islands, data.seen.tolist(), round(float(data.implicit[0] - data.implicit[1]), 9)
    (2, [True, True, False], 1.0)
    """
    limit, (count, width) = single_limit(problem.cost_limit), problem.reference.shape
    if not 0 <= prompt < count:
        raise InputError(f"prompt: {prompt} is none of the {count}, which are numbered from 0")
    rows = np.asarray(edges, dtype=np.int64).reshape(-1, 3)
    label = islands((count, width), rows)[prompt]
    own = np.unique(np.sort(rows[rows[:, 0] == prompt][:, 1:], axis=1), axis=0)
    own = own[own[:, 0] != own[:, 1]]
    probs, reference = fitted_table(problem, rows, lam)[prompt], problem.reference[prompt]
    score = problem.reward[prompt] - lam * problem.cost[prompt]
    top = float(score.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        implicit = problem.beta * (np.log(probs) - np.log(reference))
    return IslandsData(
        score=score,
        implicit=implicit,
        probs=probs,
        seen=np.isin(np.arange(len(score)), own),
        above=problem.cost[prompt] > limit,
        lines=own,
        islands=len(np.unique(label)),
        shift=top + problem.beta * float(np.log(reference @ np.exp((score - top) / problem.beta))),
        cost=float(probs @ problem.cost[prompt]),
    )
