"""Draw where the mass went: chosen, rejected and unseen responses, stacked over training.

Left out: the numbers themselves (`plot_data`).

Reference: Razin et al. 2024, arXiv 2410.08847.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..laboratories.mass import KINDS, MassPath
from ..plot_data import MassData, mass_data
from .ink import EXACT, INK, dressed_axes, house_style

BANDS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7")
"""One colour for each of `KINDS`: the two blues stand in pairs, the other two do not."""

HATCHES = ("", "..", "", "//")
"""The losing kinds are hatched, so that the bands are told apart without colour."""

GAP, WIDTH = 0.05, 0.11
"""Where the column of the exact optimum stands right of the run, and how wide, in units of the run."""

APART = 0.075
"""The least distance of two names beside the column."""


def plot_mass(path: MassPath, *, ax: Axes | None = None) -> Axes:
    """Draw the probability of chosen, rejected and unseen responses at every step, one band each.

    The column on the right is the exact optimum; each band's name stands beside it with two numbers: what it
    holds at the end of the run, and at the optimum.

    Parameters and errors: `follow_mass`, whose record this draws.
    """
    data = mass_data(path)
    end = float(data.steps[-1])
    with house_style():
        ax = dressed_axes(ax, "steps", "mass", data.describe())
        ax.set(xlim=(0, end * (1 + GAP + WIDTH)), ylim=(0, 1))
        ax.grid(visible=False)
        bands = ax.stackplot(data.steps, data.shares, colors=BANDS, edgecolor="white", linewidth=1.5)
        for band, hatch in zip(bands, HATCHES, strict=True):
            band.set_hatch(hatch)
        _draw_optimum(ax, data, end)
        _name_bands(ax, data, end)
        ax.set_xticks([tick for tick in ax.get_xticks() if tick <= end])
    return ax


def _draw_optimum(ax: Axes, data: MassData, end: float) -> None:
    """Draw the column of the exact optimum's masses beside the run."""
    left, bottom = end * (1 + GAP), 0.0
    for share, colour, hatch in zip(data.optimum, BANDS, HATCHES, strict=True):
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 1.5}
        ax.bar(left, share, width=end * WIDTH, bottom=bottom, align="edge", **look)
        bottom += share
    frame: dict[str, Any] = {"facecolor": "none", "edgecolor": EXACT, "linestyle": "--", "linewidth": 2.5}
    ax.bar(left, 1.0, width=end * WIDTH, align="edge", clip_on=False, **frame)
    ax.annotate(
        "exact\noptimum", (left + end * WIDTH / 2, -0.02), va="top", ha="center", annotation_clip=False
    )


def _name_bands(ax: Axes, data: MassData, end: float) -> None:
    """Write each band's name and its two numbers beside its place in the column, kept apart."""
    heights = spread(data.optimum.cumsum() - data.optimum / 2)
    size = plt.rcParams["font.size"]
    for name, height, last, best in zip(KINDS, heights, data.shares[:, -1], data.optimum, strict=True):
        words = f"{name}\n{last:.2f}, optimum {best:.2f}"
        look: dict[str, Any] = {"va": "center", "color": INK, "fontsize": size, "annotation_clip": False}
        ax.annotate(words, (end * (1 + GAP + WIDTH), height), (10, 0), textcoords="offset points", **look)


def spread(heights: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Return rising heights moved as little as needed to be two lines of text apart and below the top.

    >>> spread(np.array([0.1, 0.12, 0.5, 0.99]))
    [0.1, 0.25, 0.5, 0.925]
    """
    up: list[float] = []
    for height in heights.tolist():
        up.append(max(height, up[-1] + 2 * APART if up else APART))
    down: list[float] = []
    for height in reversed(up):
        down.insert(0, min(height, down[0] - 2 * APART if down else 1 - APART))
    return down
