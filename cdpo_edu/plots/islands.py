"""Draw the comparison graph of one prompt: responses at score and implicit reward, pairs as lines.

Left out: the numbers themselves (`plot_data`).

Reference: Rafailov et al. 2023, arXiv 2305.18290, eq. 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike

from ..exact import FiniteProblem
from ..plot_data import IslandsData, islands_data
from .ink import EXACT, LIMIT, REFERENCE, RUN, dressed_axes, house_style

AREA, LEAST = 3600.0, 34.0
"""Area of a response that holds all the mass, and of one that holds none, in square points."""


def plot_islands(
    problem: FiniteProblem, edges: ArrayLike, *, lam: float, prompt: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw what pairs fix: each response at its score and its implicit reward, compared ones joined.

    The dashed line is the exact optimum, on which all responses lie. Filled points stand in a pair: blue with
    a cost up to C, a vermillion square above it. Hollow grey ones do not. Areas grow with the probability.

    Parameters and errors: `islands_data`.
    """
    data = islands_data(problem, edges, lam=lam, prompt=prompt)
    with house_style():
        ax = dressed_axes(ax, "score", "implicit", data.describe())
        ends = np.array([data.score.min(), data.score.max()])
        pad = 0.04 * (ends[1] - ends[0]) * np.array([-1, 1])
        ax.plot(ends + pad, ends + pad - data.shift, "--", color=EXACT, linewidth=2, label="exact optimum")
        places = np.column_stack([data.score, data.implicit])
        ax.add_collection(LineCollection(list(places[data.lines]), colors=EXACT, linewidths=1.2, alpha=0.5))
        _draw_responses(ax, data)
        ax.legend(loc="upper left", fontsize=13, framealpha=0.9)
    return ax


def _draw_responses(ax: Axes, data: IslandsData) -> None:
    """Draw the three kinds of responses, those in no pair first."""
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("unseen", ~data.seen, {"facecolor": "none", "edgecolor": REFERENCE, "marker": "o"}),
        ("seen, c ≤ C", data.seen & ~data.above, {"facecolor": RUN, "edgecolor": "white", "marker": "o"}),
        ("seen, c > C", data.seen & data.above, {"facecolor": LIMIT, "edgecolor": "white", "marker": "s"}),
    ]
    for rank, (name, which, look) in enumerate(kinds):
        look["linewidth"], areas = 1.2, LEAST + AREA * data.probs[which]
        ax.scatter(data.score[which], data.implicit[which], s=areas, zorder=3 + rank, **look)
        ax.scatter([], [], s=80, label=name, **look)
