"""When a run has learned what it can: certified, settled, out of reach; and when it hovers.

Where every answer can be listed the certificate decides. Elsewhere confidence does, in standard errors of
the measured cost, over two rounds in a row, because one round may be luck.

Left out: how the multiplier moves (`lagrangian`), how the cost is measured (`evaluate`).

Reference: averages of a dual walk: Nedic & Ozdaglar 2009, "Approximate primal solutions and rate analysis
for dual subgradient methods", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .lagrangian import Visit

SIGNIFICANT = 2.0
"""Standard errors that an excess must exceed to count as one."""

PATIENCE = 2
"""Rounds in a row that must say the same."""

WINDOW = 4
"""Rounds in which a multiplier that goes back and forth is recognised."""


class Stop(NamedTuple):
    """Why a run ends before its last round: one word of three, and a sentence."""

    reason: str
    words: str


def settled(walk: Sequence[Visit], cost_limit: float) -> Stop | None:
    """Say that the last `PATIENCE` costs cannot be told from the limit, or meet it at lam = 0; else None.

    >>> settled([Visit(1.0, 0.03, 0.02, 1.0), Visit(1.1, -0.01, 0.02, 1.0)], 0.0).reason
    'settled'
    """
    last = walk[-PATIENCE:]
    if len(last) < PATIENCE:
        return None
    if all(visit.lam == 0 and not _above(visit, cost_limit) for visit in last):
        return Stop(
            "settled", f"lam stayed at 0 for {PATIENCE} rounds and the limit was met: it does not bind"
        )
    if any(abs(visit.cost - cost_limit) > SIGNIFICANT * visit.stderr for visit in last):
        return None
    words = (
        f"in the last {PATIENCE} rounds the measured cost lay within {SIGNIFICANT:.0f} standard errors of "
        "the limit; more rounds with as many samples would follow noise"
    )
    return Stop("settled", words)


def out_of_reach(walk: Sequence[Visit], cost_limit: float, costs: Tensor) -> Stop | None:
    """Say that a rising lam no longer lowers the cost and re-weighting the samples cannot; else None.

    Parameters
    ----------
    walk : sequence of Visit
    cost_limit : float
    costs : Tensor, shape (X, n)
        Of the last policy's own samples.

    The limit that *is* reachable among these samples is E_x min_k c, the cost of the safest answer to each
    prompt. It is a statement about these samples, never a proof.

    >>> import torch
    >>> walk = [Visit(8.0, 0.5, 0.01, 0.1), Visit(9.0, 0.5, 0.01, 0.1)]
    >>> print(out_of_reach(walk, 0.0, torch.tensor([[0.6, 0.2], [0.5, 0.4]])).words)
    lam rose from 8 to 9 and the cost stayed at 0.5; even the safest answer to each prompt costs 0.3 on
    average, so a limit below 0.3 is not reachable among these samples
    """
    least = reachable_limit(costs)
    if len(walk) < PATIENCE or least <= cost_limit:
        return None
    before, last = walk[-PATIENCE], walk[-1]
    noise = SIGNIFICANT * (before.stderr**2 + last.stderr**2) ** 0.5
    stuck = last.lam > before.lam and before.cost - last.cost <= noise
    if not (stuck and _above(before, cost_limit) and _above(last, cost_limit)):
        return None
    words = (
        f"lam rose from {before.lam:.4g} to {last.lam:.4g} and the cost stayed at {last.cost:.4g}; even the "
        f"safest answer to each prompt costs {least:.4g} on average, so a limit below {least:.4g} is not "
        "reachable among these samples"
    )
    return Stop("out of reach", words)


def reachable_limit(costs: Tensor) -> float:
    """Return E_x min_k c of samples (X, n): the least cost that re-weighting them can reach."""
    return float(costs.double().min(dim=1).values.mean())


def averaged_lam(walk: Sequence[Visit], cost_limit: float) -> float | None:
    """Return the mean multiplier of a walk that hovers, else None.

    It hovers when the excess E[c] - C of the last `WINDOW` rounds changed its sign at least twice, each time
    significantly, and did not shrink to less than half: the step is too long, and the walk goes back and
    forth across lam*. The mean of the multipliers is then nearer to it than any of them.

    Costs of -lam + 2 at steps of twice the right length, lam* = 2:

    >>> walk = [Visit(lam, 2.0 - lam, 0.01, 1.0) for lam in (1.0, 3.0, 1.0, 3.0)]
    >>> averaged_lam(walk, 0.0)
    2.0
    """
    last = walk[-WINDOW:]
    excess = [visit.cost - cost_limit for visit in last]
    if len(last) < WINDOW or any(abs(e) <= SIGNIFICANT * v.stderr for e, v in zip(excess, last, strict=True)):
        return None
    turns = sum((a > 0) != (b > 0) for a, b in zip(excess, excess[1:], strict=False))
    sizes = [abs(e) for e in excess]
    if turns < 2 or max(sizes[-2:]) < 0.5 * max(sizes[:2]):
        return None
    return sum(visit.lam for visit in last) / WINDOW


def _above(visit: Visit, cost_limit: float) -> bool:
    return visit.cost - cost_limit > SIGNIFICANT * visit.stderr
