"""The numbers of the relabelling laboratory's picture, in words.

Left out: ink, and the experiment itself (`laboratories.relabelling`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..laboratories.relabelling import Relabelling


@dataclass(frozen=True, eq=False)
class RelabellingData:
    """What `plot_relabelling` draws: the finding, and a sentence for each of its three panels."""

    found: Relabelling

    def describe(self, panel: int) -> str:
        """Return the words of panel 0 (noise), 1 (flips) or 2 (margins)."""
        found = self.found
        if panel == 0:
            ratio = found.variance[0] / found.variance[-1]
            more = found.copies[-1] / found.copies[0]
            return f"{more:.0f} times as many labels per pair:\n{ratio:.0f} times less variance"
        if panel == 1:
            common, fresh = (100 * float(part.mean()) for part in (found.flipped_common, found.flipped_fresh))
            shares = f"{common:.1f} % with one draw, {fresh:.0f} % with fresh ones"
            return f"labels that flip from one λ to the next:\n{shares}"
        soft, hard = found.soft[-1], found.hard[-1]
        start = f"after {found.steps[-1]:,.0f} steps: soft margin {soft:.1f},"
        return f"{start}\nhard margin {hard:.1f} and growing"


def relabelling_data(found: Relabelling) -> RelabellingData:
    """Return the words and numbers of a finding of `relabelling`."""
    return RelabellingData(found)
