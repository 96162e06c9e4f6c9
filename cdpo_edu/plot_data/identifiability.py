"""The numbers of the picture of a cost without a zero: what a limit on equally good fits does.

Left out: ink, and the fits themselves (`laboratories`).

Reference: Dai et al. 2024, arXiv 2310.12773 (the sign terms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..laboratories.identifiability import Identifiability
from ..types import InputError
from .words import Array, num


@dataclass(frozen=True, eq=False)
class IdentifiabilityData:
    """What `plot_identifiability` draws: one value per fit, shape (K,), the lowest offset first.

    ``offset`` is what a fit is off by in the mean; ``absolute`` and ``relative`` are the true costs of the
    policies that the two limits on it give, nan where no policy meets the limit. ``anchored`` is (offset,
    cost) of the fit that saw the flags. ``loss`` is the comparisons' loss of the best fit, ``loss_spread``
    how far the others are from it.
    """

    offset: Array
    absolute: Array
    relative: Array
    anchored: tuple[float, float]
    cost_limit: float
    loss: float
    loss_spread: float

    def describe(self) -> str:
        """Return what the comparisons tell apart, then where the policies end up, two lines."""
        fits, found = len(self.offset), self.absolute[np.isfinite(self.absolute)]
        broken = int(np.sum(found > self.cost_limit + 1e-9))
        out = fits - len(found)
        same = "equal to 9 digits" if self.loss_spread < 1e-9 else f"apart by {num(self.loss_spread, 1)}"
        return (
            f"{fits} fits, loss per comparison {num(self.loss)} nats, {same}\n"
            f"absolute limit {num(self.cost_limit)}: broken by {broken}, out of reach for {out}"
        )


def identifiability_data(lab: Identifiability) -> IdentifiabilityData:
    """Return the true cost of the policy that each equally good fit leads to, along what the fit is off by.

    Parameters
    ----------
    lab : Identifiability
        From `cdpo_edu.laboratories.identifiability`.

    Raises
    ------
    InputError
        When it holds fewer than two fits.

    >>> from cdpo_edu import SafetyBandit
    >>> from cdpo_edu.laboratories.identifiability import identifiability
    >>> print(identifiability_data(identifiability(SafetyBandit.demo(), starts=[-2.0, 0.0, 2.0])).describe())
    3 fits, loss per comparison 0.567 nats, equal to 9 digits
    absolute limit −0.5: broken by 1, out of reach for 1
    """
    if len(lab.absolute) < 2:
        raise InputError(f"lab: {len(lab.absolute)} fit is too few for a picture; give at least two starts")
    offset = np.array([reading.offset for reading in lab.absolute])
    losses = np.array([reading.comparison_loss for reading in lab.absolute])
    order = np.argsort(offset, kind="stable")
    return IdentifiabilityData(
        offset=offset[order],
        absolute=np.array([reading.cost for reading in lab.absolute])[order],
        relative=np.array([reading.cost for reading in lab.relative])[order],
        anchored=(lab.anchored.offset, lab.anchored.cost),
        cost_limit=lab.cost_limit,
        loss=float(losses.min()),
        loss_spread=float(np.ptp(losses)),
    )
