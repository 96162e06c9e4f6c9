"""The range that a cost is stated to have, without which no finite sample says anything about rare harm.

Left out: who judges, and which statement wins (`judgement`, `sample_size`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..types import Scorer
from .betting import Bounds


def stated_bounds(scorer: Scorer) -> tuple[float, float] | None:
    """Return the range that a scorer says it has (its attribute ``bounds``), or None."""
    bounds = getattr(scorer, "bounds", None)
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def assumed_bounds(costs: Tensor) -> Bounds:
    """Return the range of the training answers' costs, widened on each side by its own width.

    >>> assumed_bounds(torch.tensor([[0.0, 1.0], [2.0, 0.5]]))
    Bounds(low=-2.0, high=4.0, origin='assumed')
    """
    low, high = (float(end) for end in torch.aminmax(costs.double()))
    return Bounds(low - (high - low), high + (high - low), "assumed")
