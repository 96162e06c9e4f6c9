"""Draw a league: closeness to the exact optimum against violation of the limit, one mark per method.

Left out: the numbers themselves (`plot_data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from ..plot_data import standings_data
from .ink import EXACT, LIMIT, LIMIT_INK, REFERENCE, RUN, SERIES, TANGENT, dressed_axes, house_style
from .labels import Label, place

if TYPE_CHECKING:
    from ..league import Standing

OURS, TOLD = "C-DPO", "exact lam"


def plot_standings(
    standings: Sequence[Standing], *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw each method's mean with its 95 % intervals over seeds, and how many policies it had to train.

    Top left is best: at the exact optimum (the dashed line), not over the limit (the vermillion one). Blue is
    constrained DPO, black the method that is told the exact multiplier.

    Parameters
    ----------
    standings : sequence of Standing
    title : str, optional
        In place of the sentence of `describe`.
    ax : Axes, optional

    Other errors: `standings_data`.
    """
    data = standings_data(standings)
    with house_style():
        ax = dressed_axes(ax, "violation", "closeness", data.describe() if title is None else title)
        ax.axvline(0.0, color=LIMIT, linewidth=3)
        ax.axhline(1.0, color=EXACT, linestyle="--", linewidth=2)
        others = iter((colour, mark) for colour, mark in SERIES if colour not in (RUN, REFERENCE, TANGENT))
        labels = []
        for k, name in enumerate(data.methods):
            special = {OURS: (RUN, "o"), TOLD: (EXACT, "P")}
            colour, mark = special[name] if name in special else next(others)
            (x, left, right), (y, low, high) = data.violation[k], data.closeness[k]
            ax.plot([left, right], [y, y], color=colour, linewidth=3, alpha=0.6)
            ax.plot([x, x], [low, high], color=colour, linewidth=3, alpha=0.6)
            ax.plot(x, y, mark, color=colour, markersize=14, markeredgecolor="white", zorder=5)
            tried = f", {data.trials[k]:.0f} trials" if data.trials[k] > 1 and "tried" not in name else ""
            labels.append(
                Label((name + tried).replace(", ", ",\n", 1), [(x, y)])
            )  # narrow: intervals are near
        ax.margins(0.12)
        (start, end), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        along = np.linspace(0.05, 0.9, 8)
        labels += [
            Label("the limit", [(0.0, bottom + part * (top - bottom)) for part in along], LIMIT_INK),
            Label("exact optimum", [(end - part * (end - start), 1.0) for part in along]),
        ]
        place(ax, labels, foot=0.0)
    return ax
