"""Draw the README's picture from a finished toy run: python scripts/readme_picture.py RUN docs/toy_run.png"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from cdpo_edu.history import read_history
from cdpo_edu.plot_data import DualCurve
from cdpo_edu.plots import house_style, plot_dual, plot_frontier


def main(run: Path, picture: Path) -> None:
    """Draw the dual with its walk, and the frontier with the run's path, side by side."""
    exact = json.loads((run / "exact.json").read_text())
    limit = json.loads((run / "certificate.json").read_text())["cost_limit"]
    columns = {name: np.array(exact[name]) for name in ("lam", "dual", "reward", "cost", "kl")}
    curve = DualCurve(
        **columns, cost_limit=limit, lam_exact=exact["lam_exact"], dual_bound=exact["dual_bound"]
    )
    history = read_history(run / "history.jsonl")
    with house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 5.4), layout="constrained")
        plot_dual(curve, lam=history[-1].lam, iterates=[record.lam for record in history], ax=left)
        plot_frontier(curve, run=history, ax=right)
        figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
