"""The numbers of the picture of over-refusal: who gets an empty plate along the limit, under three costs.

Left out: ink, and the solving itself (`laboratories.refusal`).

Reference: Röttger et al. 2024, arXiv 2308.01263.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..laboratories.refusal import OverRefusal, RefusalReading, refusal_floor
from ..types import InputError
from .words import Array, num


@dataclass(frozen=True, eq=False)
class RefusalData:
    """What `plot_refusal` draws: probabilities of the empty plate along ``limits`` (L,), which rise.

    ``true``, ``shifted`` and ``spoiled`` have shape (2, L): guests with an allergy, then harmless ones; nan
    where no policy meets the limit. ``reference`` has shape (2,). ``floor`` (L,) is the least share over all
    guests with which the limit on the spoiled cost can be met.
    """

    limits: Array
    true: Array
    shifted: Array
    spoiled: Array
    floor: Array
    reference: Array

    def describe(self) -> str:
        """Return what the tightest limit does to harmless guests under each cost, two lines."""
        ends = [row[1, 0] for row in (self.true, self.shifted, self.spoiled)]
        true, shifted, spoiled = ("out of reach" if np.isnan(end) else num(end, 2) for end in ends)
        return (
            f"C = {num(self.limits[0])}, harmless guests refused: true cost {true},\n"
            f"shifted {shifted}, spoiled {spoiled}; by the reference {num(self.reference[1], 2)}"
        )


def refusal_data(found: OverRefusal) -> RefusalData:
    """Return the rates of refusal along the limit.

    Raises
    ------
    InputError
        When there are fewer than two limits.

    >>> from cdpo_edu import Kitchen, over_refusal
    >>> kitchen = Kitchen(portions=1, refusals=0.2, harmless=True)
    >>> print(refusal_data(over_refusal(kitchen, limits=[0.0, -0.45, -0.49])).describe())
    C = −0.49, harmless guests refused: true cost 0.045,
    shifted out of reach, spoiled 0.94; by the reference 0.2
    """
    if len(found.true) < 2:
        raise InputError(f"found: a line needs at least two limits, and this has {len(found.true)}")
    limits = np.array([reading.cost_limit for reading in found.true])
    order = np.argsort(limits, kind="stable")

    def rates(readings: tuple[RefusalReading, ...]) -> Array:
        return np.array([(reading.allergic, reading.harmless) for reading in readings])[order].T

    return RefusalData(
        limits=limits[order],
        true=rates(found.true),
        shifted=rates(found.shifted),
        spoiled=rates(found.spoiled),
        floor=np.array([refusal_floor(limit, found.fear) for limit in limits[order]]),
        reference=np.array(found.reference),
    )
