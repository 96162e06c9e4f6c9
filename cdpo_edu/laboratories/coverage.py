r"""What comparisons cannot see: the graph that they draw over the responses, and the mass outside it.

Responses are nodes, pairs are lines. DPO fixes the difference of two scores along every line, and differences
add up along a chain. So inside an *island* (a connected component) the odds are fixed, and between islands,
and for a response in no pair, nothing is. Everything here is exact, in closed form, on a `FiniteProblem`:

* the policies that fit soft labels perfectly are

  .. math:: \pi(y|x) = q_{x,i} \; \pi_\lambda(y \mid x, \text{island } i \ni y)

  with any shares q of the islands. So E[c] may lie anywhere between the cheapest and the costliest island.
* a table of logits that starts at the reference and follows the gradient keeps the *sum* of the logits of
  each island, because every pair pushes its two logits apart by the same amount. It ends at

  .. math:: z_y = \log\pi_{ref}(y|x) + \big(s_y - \bar s_{island}\big)/\beta

  with s = r - lam c, and an unseen response keeps the logit that it had.

Left out: policies whose responses share parameters, which put the unseen mass where they like (`mass`).

References: Rafailov et al. 2023, arXiv 2305.18290, eq. 7; Razin et al. 2024, arXiv 2410.08847.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..exact import FiniteProblem
from ..pairs import Preferences
from ..types import Batch, InputError, World

Array = NDArray[np.float64]
Edges = NDArray[np.int64]
"""Comparisons as rows (prompt, first response, second response), shape (m, 3)."""


class Coverage(NamedTuple):
    """What a set of comparisons leaves open at one multiplier, prompt-averaged.

    Attributes
    ----------
    pairs : float
        Comparisons of different responses per prompt.
    islands : float
        Islands per prompt; every unseen response is one.
    unseen : float
        Probability of the responses in no pair, under the policy that the table ends at.
    cost_of_seen, cost : float
        E[c] of that policy given that its response stands in a pair, and over all responses.
    lowest, highest : float
        The range of E[c] over all policies that fit the pairs perfectly.
    violation : float
        max(0, cost - C).
    closeness : float or None
        See `Certificate`.
    """

    pairs: float
    islands: float
    unseen: float
    cost_of_seen: float
    cost: float
    lowest: float
    highest: float
    violation: float
    closeness: float | None


def comparisons(world: World, preferences: Preferences) -> Edges:
    """Return the pairs of a world as `Edges`; pairs of equal responses are left out.

    >>> from cdpo_edu import Kitchen
    >>> guests, columns = ["nuts salty"] * 2, (torch.zeros(2, 2), torch.ones(2))
    >>> pairs = Preferences(guests, ["", "bean"], ["almond", "bean"], *columns)
    >>> comparisons(Kitchen(portions=1), pairs).tolist()
    [[1, 0, 1]]
    """
    places: dict[tuple[Any, Any], int] = {}

    def number(prompts: Batch, responses: Batch) -> Tensor:
        for key in zip(_plain(prompts), _plain(responses), strict=True):
            places.setdefault(key, len(places))
        return torch.zeros(len(prompts))

    width = world.table(number).shape[1]
    x, y0, y1 = (_plain(part) for part in preferences[:3])
    first, second = ([places[key] for key in zip(x, y, strict=True)] for y in (y0, y1))
    rows = [(a // width, a % width, b % width) for a, b in zip(first, second, strict=True) if a != b]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def islands(shape: tuple[int, int], edges: ArrayLike) -> NDArray[np.int64]:
    """Return the island of every response, shape (X, Y); no two prompts share one.

    Parameters
    ----------
    shape : (X, Y)
    edges : array_like of int, shape (m, 3)

    Raises
    ------
    InputError
        When an edge names a prompt or response that is not there.

    Two lines make a chain of three; the fourth response is alone:

    >>> islands((1, 4), [[0, 0, 2], [0, 2, 3]]).tolist()
    [[0, 1, 0, 0]]
    """
    rows = checked(shape, edges)
    first, second = (rows[:, 0] * shape[1] + rows[:, k] for k in (1, 2))
    size = shape[0] * shape[1]
    graph = coo_array((np.ones(len(rows)), (first, second)), shape=(size, size))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].reshape(shape).astype(np.int64)
    return labels


def checked(shape: tuple[int, int], edges: ArrayLike) -> Edges:
    """Return ``edges`` as an array of rows that a table of this shape has."""
    rows = np.asarray(edges, dtype=np.int64).reshape(-1, 3)
    if len(rows) and (rows.min() < 0 or np.any(rows.max(axis=0) >= [shape[0], shape[1], shape[1]])):
        raise InputError(
            f"edges: a row is (prompt, response, response) of a table of {shape[0]} x {shape[1]}"
        )
    return rows


def fitted_table(problem: FiniteProblem, edges: ArrayLike, lam: float) -> Array:
    """Return the policy that DPO on a table ends at, from the reference, with soft labels: shape (X, Y).

    Raises
    ------
    InputError
        When an edge names a response that is not there, or one that the reference makes impossible.

    Responses at even odds, scores 2 and 0 compared at beta = 1, the third unseen: logits 1, -1 and 0:

    >>> problem = FiniteProblem([[1 / 3] * 3], [[2, 0, 9]], [[0, 0, 0]], beta=1, cost_limit=0)
    >>> probs = fitted_table(problem, [[0, 0, 1]], 0.0)[0]
    >>> np.log(probs / probs[2]).round(9).tolist()
    [1.0, -1.0, 0.0]
    """
    label = _islands_of(problem, edges)
    score = problem.reward - lam * problem.cost
    mean = np.bincount(label.ravel(), score.ravel()) / np.bincount(label.ravel())
    with np.errstate(divide="ignore"):
        logits = np.log(problem.reference) + (score - mean[label]) / problem.beta
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs: Array = weights / weights.sum(axis=1, keepdims=True)
    return probs


def cost_range(problem: FiniteProblem, edges: ArrayLike, lam: float) -> tuple[float, float]:
    """Return the least and the largest E[c] of all policies that fit soft labels on ``edges`` perfectly.

    Errors: `fitted_table`.

    One pair of a safe and an unsafe response at even odds, and an unseen one that costs 3:

    >>> problem = FiniteProblem([[1 / 3] * 3], [[0, 0, 0]], [[0, 1, 3]], beta=1, cost_limit=0)
    >>> cost_range(problem, [[0, 0, 1]], 0.0)
    (0.5, 3.0)
    """
    label, possible = _islands_of(problem, edges), problem.reference > 0
    with np.errstate(divide="ignore"):
        logits = np.log(problem.reference) + (problem.reward - lam * problem.cost) / problem.beta
    top = np.full(label.max() + 1, -np.inf)
    np.maximum.at(top, label, logits)
    top[np.isinf(top)] = 0.0  # an impossible response is an island without weight
    weights = np.exp(logits - top[label])  # 1 at each island's best, so no island underflows
    total, costly = (np.bincount(label.ravel(), part.ravel()) for part in (weights, weights * problem.cost))
    costs = (costly / np.where(total > 0, total, 1.0))[label]
    low = np.where(possible, costs, np.inf).min(axis=1)
    high = np.where(possible, costs, -np.inf).max(axis=1)
    return float(problem.prompt_probs @ low), float(problem.prompt_probs @ high)


def measure_coverage(problem: FiniteProblem, edges: ArrayLike, lam: float) -> Coverage:
    """Return what ``edges`` leave open when their labels are those of the multiplier ``lam``.

    Errors: `fitted_table`.
    """
    label, rows = _islands_of(problem, edges), np.asarray(edges, dtype=np.int64).reshape(-1, 3)
    seen = np.zeros(label.shape, dtype=bool)
    seen[rows[:, 0], rows[:, 1]] = seen[rows[:, 0], rows[:, 2]] = True
    probs = fitted_table(problem, rows, lam)
    joint = problem.prompt_probs[:, None] * probs
    own: Any = problem.evaluate(probs)
    certificate, inside = problem.certify(probs), float(joint[seen].sum())
    low, high = cost_range(problem, rows, lam)
    return Coverage(
        pairs=float(np.sum(rows[:, 1] != rows[:, 2])) / len(label),
        islands=float(label.max() + 1) / len(label),
        unseen=max(0.0, 1 - inside),
        cost_of_seen=float((joint * problem.cost)[seen].sum() / inside) if inside > 0 else float("nan"),
        cost=own.cost,
        lowest=low,
        highest=high,
        violation=certificate.violation,
        closeness=certificate.closeness,
    )


def _islands_of(problem: FiniteProblem, edges: ArrayLike) -> NDArray[np.int64]:
    """Return `islands` of pairs that the reference can give."""
    shape = problem.reference.shape
    label = islands((shape[0], shape[1]), edges)
    rows = np.asarray(edges, dtype=np.int64).reshape(-1, 3)
    if np.any(problem.reference[rows[:, :1], rows[:, 1:]] == 0):
        raise InputError("edges: one names a response that the reference never gives; it cannot be compared")
    return label


def grow_coverage(
    problem: FiniteProblem, counts: Sequence[int], *, lam: float, recycled: bool, seed: int = 0
) -> list[Coverage]:
    """Return the coverage of a growing set of pairs: ``counts`` draws of two responses per prompt.

    All pairs are drawn from the reference, or with ``recycled`` those after the first count from the policy
    that the pairs so far lead to: each batch comes from where the mass now is. Equal draws are no pair.

    Parameters
    ----------
    counts : rising integers, at least 1
    lam : float
        The multiplier of the labels.
    recycled : bool
    seed : int
    """
    if list(counts) != sorted(set(counts)) or not len(counts) or counts[0] < 1:
        raise InputError("counts: give rising numbers of pairs per prompt, from 1")
    random = np.random.default_rng(seed)
    edges, have, found = np.empty((0, 3), dtype=np.int64), 0, []
    for count in counts:
        source = fitted_table(problem, edges, lam) if recycled and have else problem.reference
        edges = np.concatenate([edges, drawn(source, count - have, random)])
        have = count
        found.append(measure_coverage(problem, edges, lam))
    return found


def drawn(probs: Array, count: int, random: np.random.Generator) -> Edges:
    """Return ``count`` pairs per prompt, both responses drawn from ``probs``, without pairs of equal ones."""
    rows = [
        (x, *random.choice(len(row), size=2, p=row).tolist())
        for x, row in enumerate(probs)
        for _ in range(count)
    ]
    edges = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return edges[edges[:, 1] != edges[:, 2]]


def _plain(batch: Batch) -> list[Any]:
    return batch.tolist() if isinstance(batch, Tensor) else batch
