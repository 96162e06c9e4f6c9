"""Draw the relabelling laboratory: noise against labels per pair, flips, and margins over training.

Left out: the numbers themselves (`plot_data`).
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from ..laboratories.relabelling import Relabelling
from ..plot_data import relabelling_data
from .ink import EXACT, LIMIT, RUN, blank_axes, dressed_axes, house_style


def plot_relabelling(found: Relabelling, *, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """Draw three panels.

    Variance of the fitted policy against labels per pair, with the law of 1/m; labels that flip between
    neighbouring multipliers; and the margin of one pair over gradient steps, hard and soft.
    """
    data = relabelling_data(found)
    with house_style():
        own = list(axes) if axes is not None else [blank_axes() for _ in range(3)]
        noise = dressed_axes(own[0], "copies", "variance", data.describe(0))
        noise.loglog(found.copies, found.predicted, "--", color=EXACT, label="predicted, 1/m")
        noise.loglog(found.copies, found.variance, "o", color=RUN, markersize=9, label="measured")
        flips = dressed_axes(own[1], "lam", "flips", data.describe(1))
        middle = (found.lams[1:] + found.lams[:-1]) / 2
        flips.plot(middle, 100 * found.flipped_fresh, "s--", color=LIMIT, label="fresh uniforms")
        flips.plot(middle, 100 * found.flipped_common, "o-", color=RUN, label="one uniform per pair")
        flips.set_ylim(bottom=0)
        path = dressed_axes(own[2], "steps", "margin", data.describe(2))
        path.semilogx(found.steps, found.hard, "--", color=LIMIT, linewidth=2.5, label="hard label")
        path.semilogx(found.steps, found.soft, "-", color=RUN, linewidth=2.5, label="soft label")
        path.axhline(found.gap, color=EXACT, linestyle=":", label="gap of r − λc")
        for ax in own:
            ax.legend(fontsize=13, framealpha=0.9)
    return own
