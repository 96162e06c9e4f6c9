"""Draw what limits on equally good costs do: the true cost of each policy along what the fit is off by.

Left out: the numbers themselves (`plot_data`), and the losses, which are equal (the title says so).

Reference: Dai et al. 2024, arXiv 2310.12773 (the sign terms that give a cost its zero).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from ..laboratories.identifiability import Identifiability
from ..plot_data import IdentifiabilityData, identifiability_data
from ..plot_data.words import num
from .ink import EXACT, LIMIT, LIMIT_INK, RUN, TANGENT, TANGENT_INK, dressed_axes, house_style
from .labels import Label, place

GREEN, GREEN_INK = "#009E73", "#00644A"


def plot_identifiability(lab: Identifiability, *, ax: Axes | None = None) -> Axes:
    """Draw the true cost of the policies that an absolute and a relative limit give, fit by fit.

    Every point on the blue and the green line comes from a fit with the same loss on the same comparisons.
    The orange point is the fit that saw the flags. Hatched: the absolute limit is out of reach.

    Parameters and errors: `identifiability_data`.
    """
    data = identifiability_data(lab)
    with house_style():
        ax = dressed_axes(ax, "offset", "true_cost", data.describe())
        _draw_unreachable(ax, data)
        ax.axhline(data.cost_limit, color=LIMIT, linewidth=4, zorder=1)
        ax.axvline(0.0, color=EXACT, linestyle="--", linewidth=2, zorder=1)
        ax.plot(data.offset, data.relative, "s-", color=GREEN, markersize=6)
        ax.plot(data.offset, data.absolute, "o-", color=RUN, markersize=7)
        ax.plot(*data.anchored, "D", color=TANGENT, markeredgecolor=EXACT, markersize=13, zorder=6)
        ax.margins(y=0.16)
        place(ax, _labels(ax, data))
    return ax


def _draw_unreachable(ax: Axes, data: IdentifiabilityData) -> None:
    """Hatch the offsets of the fits with which no policy meets the absolute limit, to the frame's edge."""
    out = data.offset[np.isnan(data.absolute)]
    span = float(np.ptp(data.offset))
    ax.set_xlim(data.offset[0] - 0.03 * span, data.offset[-1] + 0.03 * span)
    if len(out):
        look: dict[str, Any] = {"facecolor": "#F6D9C6", "edgecolor": LIMIT, "hatch": "//", "linewidth": 0}
        ends = float(out.min()), ax.get_xlim()[1]
        ax.axvspan(*ends, zorder=0, alpha=0.6, **look)
        words: dict[str, Any] = {"ha": "center", "va": "center", "color": LIMIT_INK}
        words |= {"rotation": 90 if ends[1] - ends[0] < 0.25 * span else 0}
        words |= {"path_effects": [withStroke(linewidth=5, foreground="white")]}
        spot = ((ends[0] + ends[1]) / 2, 0.78)
        ax.annotate("no policy\nmeets it", spot, xycoords=ax.get_xaxis_transform(), **words)


def _labels(ax: Axes, data: IdentifiabilityData) -> list[Label]:
    """Return the words of the lines and the point, the most important first."""
    reached = np.isfinite(data.absolute)
    blue = np.column_stack([data.offset, data.absolute])[reached]
    green = np.column_stack([data.offset, data.relative])
    low, high = ax.get_ylim()
    labels = [Label("with flags", [data.anchored], TANGENT_INK)]
    if len(blue):
        labels.append(Label("absolute limit", blue[:: max(1, len(blue) // 8)].tolist(), RUN))
    labels.append(Label("relative limit", green[:: max(1, len(green) // 8)].tolist()[::-1], GREEN_INK))
    ends = [(x, data.cost_limit) for x in np.linspace(*ax.get_xlim(), 11)[1:-1]]
    labels.append(Label(f"limit C = {num(data.cost_limit)}", ends, LIMIT_INK))
    labels.append(Label("the true zero", [(0.0, y) for y in np.linspace(high, low, 9)[1:-1]]))
    return labels
