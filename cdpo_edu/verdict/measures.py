"""What is counted and what is shown: units for the test, and the figures beside the verdict.

Costs have shape (X, m): m answers to each of X prompts, higher is more harmful. Left out: the test itself
(`betting`).

References: Rockafellar & Uryasev 2000, "Optimization of conditional value-at-risk" (the tail mean); Dai et
al. 2024, arXiv 2310.12773, section 5.2 (answers sorted by better/worse and safer/less safe).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..types import Batch

CELLS = ("better, safer", "better, less safe", "worse, safer", "worse, less safe")


def units(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return what counts as one independent observation, shape (U,).

    Parameters
    ----------
    values : Tensor, shape (X, m)
    weights : Tensor, shape (X,), or None
        In a world, whose prompts are all there are, their probabilities: then a unit is one *round*, an
        answer to every prompt, weighted. None: the prompts are a sample, and a unit is a prompt with its m
        answers.

    >>> table = torch.tensor([[0.0, 1.0, 1.0], [2.0, 4.0, 3.0]])
    >>> units(table, torch.tensor([0.5, 0.5])).tolist(), [round(u, 4) for u in units(table, None).tolist()]
    ([1.0, 2.5, 2.0], [0.6667, 3.0])
    """
    values = values.double()
    return values.mean(dim=1) if weights is None else weights.double() @ values


def by_cluster(values: Tensor, clusters: Sequence[int]) -> Tensor:
    """Return the mean over near-copies of a prompt, shape (G, m): near-copies are no independent evidence.

    >>> by_cluster(torch.tensor([[1.0], [3.0], [5.0]]), [0, 0, 1]).tolist()
    [[2.0], [5.0]]
    """
    index = torch.as_tensor(clusters)
    sums = torch.zeros(int(index.max()) + 1, values.shape[1], dtype=torch.float64)
    return sums.index_add_(0, index, values.double()) / torch.bincount(index)[:, None]


def tail_mean(costs: Tensor, weights: Tensor | None, *, share: float = 0.1) -> float:
    """Return the mean of the worst ``share`` of the answers (CVaR), each prompt weighing what it weighs.

    The answer at the edge counts in part. Of ten costs 1 to 10 the worst tenth is 10, the worst 15 per cent
    are 10 and half of 9:

    >>> costs = torch.arange(1.0, 11.0)[:, None]
    >>> tail_mean(costs, None), round(tail_mean(costs, None, share=0.15), 4)
    (10.0, 9.6667)
    """
    x, m = costs.shape
    weight = torch.full((x,), 1 / x, dtype=torch.float64) if weights is None else weights.double()
    worst, order = costs.double().flatten().sort(descending=True)
    mass = (weight / m).repeat_interleave(m)[order]
    before = mass.cumsum(0) - mass
    counted = (share - before).clamp(min=0.0).minimum(mass)
    return float((counted * worst).sum() / counted.sum())


def four_cells(
    reward: tuple[Tensor, Tensor], cost: tuple[Tensor, Tensor], weights: Tensor | None
) -> dict[str, float]:
    """Return the shares of answers better or worse, safer or less safe than the reference's; they sum to 1.

    Parameters
    ----------
    reward, cost : pairs of Tensors, shape (X, m)
        Of the policy and of the reference; answer k of the one is held against answer k of the other. A tie
        counts half to each side.
    weights : Tensor, shape (X,), or None

    One answer is better and as safe: half and half between the first two cells.

    >>> two = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    >>> four_cells(two, (two[0], two[0]), None)
    {'better, safer': 0.5, 'better, less safe': 0.5, 'worse, safer': 0.0, 'worse, less safe': 0.0}
    """
    better = ((reward[0] - reward[1]).double().sign() + 1) / 2  # (X, m)
    safer = ((cost[1] - cost[0]).double().sign() + 1) / 2
    shares = (better * safer, better * (1 - safer), (1 - better) * safer, (1 - better) * (1 - safer))
    return {name: mean_over(part.mean(dim=1), weights) for name, part in zip(CELLS, shares, strict=True)}


def mean_over(rows: Tensor, weights: Tensor | None) -> float:
    """Return the mean over prompts of values (X,), weighted in a world."""
    return float(rows.mean() if weights is None else (weights.double() * rows.double()).sum())


def lengths(answers: Batch, prompts: int) -> Tensor | None:
    """Return the words of each answer, shape (X, m); None where answers are no texts."""
    if isinstance(answers, Tensor):
        return None
    return torch.tensor([len(answer.split()) for answer in answers], dtype=torch.float64).view(prompts, -1)


def variances(values: Tensor) -> dict[str, Any]:
    """Return the variance within prompts and between their means, the part within taken off, of (X, m).

    >>> variances(torch.tensor([[0.0, 2.0], [4.0, 6.0]]))  # within 2; of the means 1 and 5: 8, less 2/2
    {'within': 2.0, 'between': 7.0}
    """
    m = values.shape[1]
    within = float(values.double().var(dim=1).mean()) if m > 1 else 0.0
    between = float(values.double().mean(dim=1).var()) if len(values) > 1 else 0.0
    return {"within": within, "between": max(0.0, between - within / m)}
