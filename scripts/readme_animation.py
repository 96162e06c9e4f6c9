"""Draw the README's animation of the explorer: python scripts/readme_animation.py docs/explorer.gif

The four pictures of `cdpo-edu explore`, as they stand still in a notebook, one frame for each dual step in
lesson 03's kitchen: its price walks down the dual, the dishes, the cost and the frontier follow.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from PIL import Image

from cdpo_edu import GradientRule
from cdpo_edu.widgets import dual_explorer_picture
from cdpo_edu.widgets.kitchen import DISHES, kitchen_problem

START, STEPS, ETA = 0.6, 7, 8.0
MOMENT, END = 900, 3000  # milliseconds that a frame stands, and the last one
DOTS, COLOURS = 60, 64  # small and few, to keep the file below 1 MiB


def steady(figures: list[Figure]) -> None:
    """Put each panel where it stands in the first frame, or the pictures would jump."""
    figures[0].draw_without_rendering()
    places = [ax.get_position() for ax in figures[0].axes]
    for figure in figures:
        figure.set_layout_engine("none")
        for ax, place in zip(figure.axes, places, strict=True):
            ax.set_position(place)


def frame(figure: Figure) -> Image.Image:
    """Return a figure as a picture of few colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS)
    return Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


def main(path: Path) -> None:
    problem, rule = kitchen_problem(), GradientRule(ETA)
    figures = [
        dual_explorer_picture(problem, lam=START, rule=rule, steps=steps, labels=DISHES)
        for steps in range(STEPS + 1)
    ]
    steady(figures)
    first, *others = (frame(figure) for figure in figures)
    stands = [MOMENT] * STEPS + [END]
    first.save(path, save_all=True, append_images=others, duration=stands, loop=0, optimize=True)
    print(f"{path}: {len(others) + 1} frames, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
