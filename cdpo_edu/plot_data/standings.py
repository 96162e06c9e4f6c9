"""The numbers of a league's picture: closeness against violation per method, with intervals over seeds.

Left out: ink, and how the standings came about (`league`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..types import InputError
from .words import Array, num

if TYPE_CHECKING:
    from ..league import Standing


@dataclass(frozen=True, eq=False)
class StandingsData:
    """What `plot_standings` draws: one entry per method, in the order of the standings.

    ``closeness`` and ``violation`` have shape (M, 3): mean, low and high end of the 95 % interval over seeds.
    A violation is never negative, so its interval is cut at 0. ``trials`` counts the policies trained to
    choose among, shape (M,).
    """

    methods: tuple[str, ...]
    closeness: Array
    violation: Array
    trials: Array

    def describe(self) -> str:
        """Return which method came closest and which broke the limit most, two lines."""
        best, worst = int(self.closeness[:, 0].argmax()), int(self.violation[:, 0].argmax())
        broken = self.violation[worst, 0]
        over = f"{self.methods[worst]} is over most, {num(broken, 2)}" if broken > 0 else "none over"
        return f"{self.methods[best]} is closest, {num(self.closeness[best, 0], 2)}\n{over}"


def standings_data(standings: Sequence[Standing]) -> StandingsData:
    """Return the picture of a league's standings.

    Parameters
    ----------
    standings : sequence of Standing
        From `League.standings`, of two seeds at least, so that there are intervals.

    Raises
    ------
    InputError
        When there is no standing, or one without a finite interval.
    """
    if not standings:
        raise InputError("standings: there is none to draw")
    closeness, violation = (
        np.array([getattr(row, column)[:3] for row in standings], dtype=np.float64)
        for column in ("closeness", "violation")
    )
    if not (np.isfinite(closeness).all() and np.isfinite(violation).all()):
        raise InputError("standings: an interval over seeds needs two seeds at least")
    return StandingsData(
        methods=tuple(row.method for row in standings),
        closeness=closeness,
        violation=np.maximum(violation, 0.0),
        trials=np.array([row.trials for row in standings]),
    )
