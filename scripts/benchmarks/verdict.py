"""How often a verdict passes a policy that sits exactly at its limit, and how soon it passes a better one.

* ours: the bets of `cdpo_edu.verdict`, at level alpha;
* peer: Student's t-test on the same per-prompt means, as published comparisons use it.

Every simulated run draws prompts, and four answers to each, of one of three costs whose mean is the limit 0:
``normal`` (clipped on both sides alike, so that its mean stays 0), ``skewed`` (lognormal, cut off and then
centred by its exact mean: most answers a little safe, some very harmful) and ``rare harm`` (one prompt in 25
is dangerous, half its answers cost 24.5, every other -0.5). *Peeking over prompts* looks after each prompt,
*peeking over answers* after each further answer to the same prompts; a run counts as passed if it ever
passes. On the route over people's labels unsafe answers come at the boundary rate, while a scorer calls all
of them safe.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cdpo_edu.verdict import log_wealth, wealth_path

from .measured import Figures, Measured, cpu_seconds

Array = NDArray[np.float64]
ANSWERS, SIZES = 4, (30, 100, 300)
RATE = 0.05
"""The unsafe rate at which the label route is at its boundary."""

SPREAD, CUT = 1.0, 30.0
"""Of the lognormal: standard deviation of the log, and where it is cut off (P(beyond) is 0.0003)."""

CENTRE = math.exp(SPREAD**2 / 2) * stats.norm.cdf(math.log(CUT) / SPREAD - SPREAD) + CUT * stats.norm.sf(
    math.log(CUT) / SPREAD
)
"""E min(exp(N(0, SPREAD^2)), CUT), in closed form."""


def normal(rng: np.random.Generator, shape: tuple[int, int, int], distance: float = 0.0) -> Array:
    """Return answers (runs, prompts, m) of standard normal costs clipped to +-4, mean -distance."""
    return np.clip(_correlated(rng, shape), -4, 4) - distance


def skewed(rng: np.random.Generator, shape: tuple[int, int, int], distance: float = 0.0) -> Array:
    """Return lognormal costs, cut off and centred by their exact mean, mean -distance."""
    return np.minimum(np.exp(SPREAD * _correlated(rng, shape)), CUT) - CENTRE - distance


def rare_harm(rng: np.random.Generator, shape: tuple[int, int, int], distance: float = 0.0) -> Array:
    """Return costs of -0.5 but for 2 per cent of 24.5, which come in dangerous prompts; mean -distance."""
    dangerous = rng.random((*shape[:2], 1)) < 0.04
    harmful = rng.random(shape) < 0.5
    return np.where(dangerous & harmful, 24.5, -0.5) - distance


def _correlated(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """Return standard normals, half of whose variance is the prompt's."""
    own, shared = rng.standard_normal(shape), rng.standard_normal((*shape[:2], 1))
    mixed: Array = (own + shared) / math.sqrt(2)
    return mixed


COSTS: dict[str, tuple[Callable[..., Array], float, float]] = {
    "normal": (normal, 4.0, 0.79),
    "skewed": (skewed, CUT - CENTRE, 1.5),
    "rare harm": (rare_harm, 24.5, 2.8),
}
"""Cost -> how to draw it, the bound stated for it, and about how far its per-prompt means spread."""


def bets(means: Array, high: float, alpha: float) -> NDArray[np.bool_]:
    """Say which runs (n prompts along the last axis) ours passes at the limit 0."""
    return np.asarray(log_wealth(means, 0.0, high) >= -math.log(alpha))


def t_test(means: Array, alpha: float) -> NDArray[np.bool_]:
    """Say which runs the one-sided t-test passes at the limit 0."""
    n = means.shape[-1]
    error = means.std(axis=-1, ddof=1) / math.sqrt(n)
    return np.asarray(means.mean(axis=-1) + stats.t.ppf(1 - alpha, n - 1) * error <= 0)


def t_test_looking(means: Array, alpha: float) -> NDArray[np.bool_]:
    """Say which runs the t-test passes at any of the looks after 10, 11, ... prompts."""
    n = np.arange(1, means.shape[-1] + 1)
    mean = means.cumsum(axis=-1) / n
    square = np.maximum((means**2).cumsum(axis=-1) / n - mean**2, 0)
    error = np.sqrt(square / np.maximum(n - 1, 1))
    passed = mean + stats.t.ppf(1 - alpha, np.maximum(n - 1, 1)) * error <= 0
    return np.asarray(passed[..., 9:].any(axis=-1))


def false_passes(runs: int, seed: int, alpha: float) -> list[Figures]:
    """Return the share of runs at the boundary that each way passes, one row per cost and way of looking."""
    rows = []
    for name, (draw, high, _) in COSTS.items():
        rng = np.random.default_rng([seed, len(rows)])
        for n in SIZES:
            means = draw(rng, (runs, n, ANSWERS)).mean(axis=-1)
            rows.append(_row(name, f"{n} prompts", bets(means, high, alpha), t_test(means, alpha)))
        means = draw(rng, (runs, SIZES[-1], ANSWERS)).mean(axis=-1)
        ever = (wealth_path(means, 0.0, high) >= -math.log(alpha)).any(axis=-1)
        rows.append(_row(name, "peeking over 300 prompts", ever, t_test_looking(means, alpha)))
        grown = draw(rng, (runs, 100, 4 * ANSWERS))
        looks = [grown[..., : m + 1].mean(axis=-1) for m in range(4 * ANSWERS)]
        ever = np.any([bets(look, high, alpha) for look in looks], axis=0)
        other = np.any([t_test(look, alpha) for look in looks], axis=0)
        rows.append(_row(name, "peeking over 16 answers to 100 prompts", ever, other))
    return rows


def by_labels(runs: int, seed: int, alpha: float) -> list[Figures]:
    """Return false passes on people's labels at the boundary rate, beside a scorer that calls all safe."""
    rng, rows = np.random.default_rng([seed, 99]), []
    for n in SIZES:
        unsafe = (rng.random((runs, n)) < RATE).astype(float)
        ever = (wealth_path(unsafe, RATE, 1.0) >= -math.log(alpha)).any(axis=-1)
        row = _row("people's labels", f"peeking over {n} prompts", ever, t_test_looking(unsafe - RATE, alpha))
        blind = bets(np.zeros((runs, n)) - RATE, 1.0 - RATE, alpha)
        rows.append(row | {"wrong_scorer_instead": float(blind.mean())})
    return rows


def _row(cost: str, looking: str, ours: NDArray[np.bool_], peer: NDArray[np.bool_]) -> Figures:
    return {"cost": cost, "looking": looking, "ours": float(ours.mean()), "t_test": float(peer.mean())}


def power(runs: int, seed: int, alpha: float) -> list[Figures]:
    """Return the share of runs passed, by the distance to the limit in spreads of a prompt's mean."""
    rows = []
    for name, (draw, high, spread) in COSTS.items():
        rng = np.random.default_rng([seed, 7, len(rows)])
        for distance in (0.1, 0.2, 0.3, 0.5, 1.0):
            row: Figures = {"cost": name, "spreads_below": distance}
            for n in (*SIZES, 1000):
                means = draw(rng, (max(1, runs // 5), n, ANSWERS), distance * spread).mean(axis=-1)
                row |= {f"passed_{n}": float(bets(means, high, alpha).mean())}
                row |= {f"t_test_{n}": float(t_test(means, alpha).mean())}
            rows.append(row)
    return rows


def allowed(runs: int, alpha: float) -> float:
    """Return alpha plus three standard errors of a share of ``runs``.

    The largest count that a level of 5 % explains among 1,000: 50 and three times 6.9.
    """
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def measure_verdict(options: argparse.Namespace) -> Measured:
    """Return the largest false-pass shares of both ways, every row, and the power curve."""
    runs, alpha, seed = options.runs, options.alpha, options.seed
    seconds, (rows, labels, curve) = cpu_seconds(
        lambda: (false_passes(runs, seed, alpha), by_labels(runs, seed, alpha), power(runs, seed, alpha))
    )
    every = rows + labels
    worst = {key: max(row[key] for row in every) for key in ("ours", "t_test")}
    skew = [row["t_test"] for row in rows if row["cost"] == "skewed" and "peeking" not in row["looking"]]
    fixed = [row["ours"] for row in rows if row["cost"] == "skewed" and "peeking" not in row["looking"]]

    def figures(key: str, skewed_ones: list[float]) -> Figures:
        return {
            "largest_false_pass_share": worst[key],
            "most_that_the_level_explains": allowed(runs, alpha),
            "rows_above_it": sum(row[key] > allowed(runs, alpha) for row in every),
            "skewed_without_peeking": max(skewed_ones),
        }

    return Measured(
        worst["t_test"] / max(worst["ours"], 1 / runs),
        f"largest share of false passes, t-test over ours, at a nominal {alpha:g}",
        figures("ours", fixed),
        figures("t_test", skew),
        {"runs": runs, "alpha": alpha, "seed": seed, "answers": ANSWERS, "cpu_seconds": round(seconds, 1)},
        every + curve,
        ("cdpo_edu", "numpy", "scipy"),
    )


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the rows for people: false passes first, then the power curve."""
    shown = [f"{'cost':<16}{'looking':<41}{'ours':>7}{'t-test':>8}"]
    for row in rows:
        if "looking" in row:
            wrong = row.get("wrong_scorer_instead")
            tail = "" if wrong is None else f"   by the wrong scorer instead: {wrong:.3f}"
            shown.append(
                f"{row['cost']:<16}{row['looking']:<41}{row['ours']:>7.3f}{row['t_test']:>8.3f}{tail}"
            )
    sizes = (*SIZES, 1000)
    shown += ["", f"{'passed: cost':<16}{'below, in spreads':<19}" + "".join(f"{n:>8}" for n in sizes)]
    for row in rows:
        if "spreads_below" in row:
            cells = "".join(f"{row[f'passed_{n}']:>8.2f}" for n in sizes)
            shown.append(f"{row['cost']:<16}{row['spreads_below']:<19}{cells}")
    return shown
