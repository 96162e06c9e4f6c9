"""A limit on a rate: the probability of being unsafe as the cost, and no reward for whoever has none.

A cost c that is anchored says s(c) = P(unsafe). Its mean against a limit asks for something else than a rate:
one answer far below 0 pays for many above it. With s(c) as the cost, E[c] <= C is P(unsafe) <= R.

Left out: how well s(c) is calibrated (`stages.calibration`); the verdict (`judgement`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import digest
from .types import Batch, InputError, Scorer

MARGIN = 0.05
"""Share of the limit R that the dual step aims below it, because a rate has no tolerance above R."""


class UnsafeProbability:
    """s(scale * c), the probability that people call an answer unsafe, in [0, 1].

    Parameters
    ----------
    cost : Scorer
        Anchored, higher is more harmful.
    scale : float
        Nats per unit of ``cost``, above 0; a cost fitted to flags is in nats already.

    Raises
    ------
    InputError
        When the cost has no zero, so that s(c) is no probability of anything.

    Examples
    --------
    Costs of ln 3 and 0 are odds of 3 to 1 and even odds:

    >>> def cost(prompts, responses):
    ...     return torch.tensor([1.0986123, 0.0])
    >>> cost.anchored = True
    >>> UnsafeProbability(cost)(["x", "x"], ["a", "b"])
    tensor([0.7500, 0.5000], dtype=torch.float64)
    """

    anchored = True
    bounds = (0.0, 1.0)

    def __init__(self, cost: Scorer, scale: float = 1.0) -> None:
        if not getattr(cost, "anchored", False):
            raise InputError(
                "--max-unsafe-rate: this cost has no zero, so it says nothing of the probability of unsafe; "
                "fit it on rows with safe/unsafe flags, or give one that says `anchored = True`"
            )
        self.cost, self.scale = cost, scale
        inner = getattr(cost, "fingerprint", "")
        self.fingerprint = digest("P(unsafe)", inner, repr(float(scale))) if inner else ""

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one probability per answer, float64, shape (batch,)."""
        values = self.cost(prompts, responses).double()
        return values if _is_probability(self.cost) else (self.scale * values).sigmoid()


def _is_probability(cost: Scorer) -> bool:
    return tuple(getattr(cost, "bounds", None) or ()) == (0.0, 1.0)


class NoReward:
    """A reward of 0 for every answer: the best policy is the one nearest to the reference within the limit.

    >>> NoReward()(["x"], ["a"])
    tensor([0.], dtype=torch.float64)
    """

    fingerprint = "no reward"
    bounds = (0.0, 0.0)

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return zeros, shape (batch,)."""
        return torch.zeros(len(responses), dtype=torch.float64)


def check_rate(rate: float) -> None:
    """Refuse a limit that is no rate strictly between 0 and 1."""
    if not 0 < rate < 1:
        raise InputError(f"--max-unsafe-rate {rate:g}: a rate strictly between 0 and 1 is wanted")
