"""The numbers of the stacked picture of mass: what chosen, rejected and unseen responses hold at every step.

Left out: ink, and the training itself (`laboratories.mass`).

Reference: Razin et al. 2024, arXiv 2410.08847.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..laboratories.mass import KINDS, MassPath
from .words import Array, against, num


@dataclass(frozen=True, eq=False)
class MassData:
    """What `plot_mass` draws: ``shares`` (4, T) of `KINDS` at ``steps`` (T,), and the ``optimum``'s (4,).

    ``chosen_logp`` and ``rejected_logp`` are the changes of the mean log pi of the pairs at the end, in nats;
    ``cost`` and ``closeness`` are those of the last policy.
    """

    steps: NDArray[np.int64]
    shares: Array
    optimum: Array
    chosen_logp: float
    rejected_logp: float
    cost: float
    cost_limit: float
    closeness: float | None

    @property
    def unseen(self) -> Array:
        """Return the mass of all responses that stand in no pair, shape (T,)."""
        total: Array = self.shares[2:].sum(axis=0)
        return total

    def describe(self) -> str:
        """Return how the masses moved, then the log's own numbers beside the limit and the closeness."""
        rows = [*zip(KINDS[:2], self.shares[:2], strict=True), ("unseen", self.unseen)]
        moved = ", ".join(f"{name} {row[0]:.2f} → {row[-1]:.2f}" for name, row in rows)
        close = "" if self.closeness is None else f", closeness {num(self.closeness, 2)}"
        log = f"log π: chosen {num(self.chosen_logp, 2)}, rejected {num(self.rejected_logp, 2)} nats"
        return f"{moved}\n{log}\n{against(self.cost, self.cost_limit)}{close}"


def mass_data(path: MassPath) -> MassData:
    """Return the masses along a training run.

    >>> from cdpo_edu.laboratories.mass import MassRecord
    >>> start = MassRecord(0, np.array([0.1, 0.1, 0.2, 0.6]), 0.0, 0.0, 1.0, 0.5, 0.0, 0.0)
    >>> end = MassRecord(5, np.array([0.1, 0.0, 0.5, 0.4]), -1.0, -3.0, 2.0, 0.25, 0.7, 0.5)
    >>> print(mass_data(MassPath((start, end), np.array([0.2, 0.0, 0.8, 0.0]), 0.25)).describe())
    chosen 0.10 → 0.10, rejected 0.10 → 0.00, unseen 0.80 → 0.90
    log π: chosen −1, rejected −3 nats
    limit met, E[c] = 0.25 ≤ C = 0.25, closeness 0.5
    """
    last = path.records[-1]
    return MassData(
        steps=path.steps,
        shares=path.masses.T,
        optimum=path.optimum,
        chosen_logp=last.chosen_logp,
        rejected_logp=last.rejected_logp,
        cost=last.cost,
        cost_limit=path.cost_limit,
        closeness=last.closeness,
    )
