"""Draw over-refusal: the probability of an empty plate along the limit, under three costs.

Left out: the numbers themselves (`plot_data`).

Reference: Röttger et al. 2024, arXiv 2308.01263.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..laboratories.refusal import OverRefusal
from ..plot_data import RefusalData, refusal_data
from ..plot_data.words import Array, num
from .ink import EXACT, REFERENCE, RUN, dressed_axes, house_style
from .labels import Label, place

GREEN, PURPLE = "#009E73", "#CC79A7"
GREEN_INK, PURPLE_INK = "#00644A", "#8C3F6B"
TICKS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]


def plot_refusal(found: OverRefusal, *, ax: Axes | None = None) -> Axes:
    """Draw how often guests are refused by the exact optimum along the limit, the tight limits on the left.

    Solid lines are harmless guests, dotted ones guests with an allergy. Blue is the true cost, green squares
    the shifted one, purple the spoiled one. Black dash-dot is `refusal_floor`: no policy that meets the limit
    on the spoiled cost refuses less, over all guests. Grey: the reference.

    Parameters and errors: `refusal_data`.
    """
    data = refusal_data(found)
    with house_style():
        ax = dressed_axes(ax, "limit", "refusal", data.describe())
        _set_scale(ax, data)
        ax.axhline(data.reference[1], color=REFERENCE, linewidth=2.5, zorder=1)
        ax.plot(data.limits, _seen(data.floor, ax), "-.", color=EXACT, linewidth=2.5, zorder=5)
        for rates, colour in ((data.spoiled, PURPLE), (data.true, RUN)):
            ax.plot(data.limits, rates[0], ":", color=colour, linewidth=3)
            ax.plot(data.limits, rates[1], "-", color=colour, linewidth=4)
        few = slice(None, None, max(1, len(data.limits) // 10))
        look: dict[str, Any] = {"markeredgecolor": "white", "markersize": 10, "zorder": 6}
        ax.plot(data.limits[few], data.shifted[1][few], "s", color=GREEN, **look)
        ax.annotate("← tighter", (0.015, 0.03), xycoords="axes fraction", color="#4A4A4A")
        place(ax, _labels(data, ax), foot=0.0)
    return ax


def _set_scale(ax: Axes, data: RefusalData) -> None:
    """Set logarithmic heights with readable ticks, and room for words below the lowest line."""
    rates = np.concatenate([data.true, data.shifted, data.spoiled, data.reference[:, None]], axis=1)
    ax.set(yscale="log", ylim=(float(np.nanmin(rates)) / 2, 1.25))
    ax.yaxis.set_major_locator(FixedLocator(TICKS))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _seen(floor: Array, ax: Axes) -> Array:
    """Return the floor where it lies inside the picture; a floor of 0 has no place on a log scale."""
    inside: Array = np.where(floor > ax.get_ylim()[0], floor, np.nan)
    return inside


def _labels(data: RefusalData, ax: Axes) -> list[Label]:
    """Return the words of the lines, the most important first."""
    lines = {
        "harmless, spoiled cost": (data.spoiled[1], PURPLE_INK),
        "harmless, true cost": (data.true[1], RUN),
        "allergic, spoiled": (data.spoiled[0], PURPLE_INK),
        "allergic, true": (data.true[0], RUN),
        "harmless, shifted": (data.shifted[1], GREEN_INK),
        "floor of the spoiled limit": (_seen(data.floor, ax), EXACT),
        f"reference {num(data.reference[1], 2)}": (np.full(len(data.limits), data.reference[1]), "#4A4A4A"),
    }
    labels = []
    for words, (heights, colour) in lines.items():
        points = np.column_stack([data.limits, heights])[np.isfinite(heights)]
        if len(points):
            labels.append(Label(words, points[:: max(1, len(points) // 10)].tolist(), colour))
    return labels
