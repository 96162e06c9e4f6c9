"""Draw the dual, a run, a policy, the frontier and the comparison of policies.

Each picture comes in two steps. A ``*_data`` function returns every number that will be drawn, and its
``describe()`` says in one sentence what the picture shows (the text alternative). The ``plot_*`` function
of the same name only puts ink on axes: data first, everything else by keyword, ``ax=None`` opens a new
figure, the axes come back. Colours carry one meaning everywhere: blue is the run or the policy shown,
black dashed the exact optimum, vermillion the limit C and everything above it, grey the reference.

Left out: anything that moves (the widgets draw the same data), and problems with several limits at once.

Reference: Liu, Sun and Zheng 2024, arXiv 2403.02475; colours: Okabe and Ito 2008.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from .exact import FiniteProblem, PerLimit, frontier
from .types import InputError

Array = NDArray[np.float64]

RUN, LIMIT, EXACT, REFERENCE, TANGENT = "#0072B2", "#D55E00", "#000000", "#6E6E6E", "#E69F00"
MARKS = {  # policy of the four-way table -> marker, colour; shape tells them apart without colour
    "reference": ("o", REFERENCE),
    "reward-only DPO": ("s", "#E69F00"),
    "cost-only DPO": ("^", "#009E73"),
    "constrained DPO": ("D", RUN),
}
COST_COLOURS = LinearSegmentedColormap.from_list("cost around C", [RUN, "#F2F2F2", LIMIT])
AXIS = {
    "lam": "multiplier λ (nats per cost unit)",
    "dual": "dual function D(λ) (nats)",
    "reward": "expected reward E[r] (nats)",
    "cost": "expected cost E[c] (cost units)",
    "kl": "KL to the reference (nats)",
    "round": "dual round",
    "probs": "probability π(y|x)",
}
SPOTS = [
    (angle, reach)
    for reach in (12.0, 22.0, 36.0, 54.0, 76.0)
    for angle in (45, 135, 315, 225, 90, 270, 0, 180)
]
"""Where a text may stand about its point: degrees, and how far in typographic points."""

STRIP = 0.075
"""Height of the strip at the foot of a picture, as a part of the axes."""

INK, TANGENT_INK = "#202020", "#8A5A00"
"""Text: black, and the tangent's orange dark enough to read."""


class Label(NamedTuple):
    """A text and the points it may stand by, in data coordinates, the first the best."""

    words: str
    points: Sequence[Sequence[float]]
    colour: str = INK


# ---- the numbers ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DualCurve:
    """D and the tilted policy's expectations along lam, all of shape (L,), with the exact optimum.

    ``cost_limit - cost`` is the slope of ``dual``. ``lam_exact`` and ``dual_bound`` are None where no
    finite multiplier or no finite minimum exists.
    """

    lam: Array
    dual: Array
    reward: Array
    cost: Array
    kl: Array
    cost_limit: float
    lam_exact: float | None
    dual_bound: float | None

    def at(self, lams: ArrayLike) -> DualCurve:
        """Return the curve read off at other multipliers: cubic in between, with D's slopes known.

        Raises
        ------
        InputError
            When a multiplier lies outside the curve.
        """
        points = np.atleast_1d(np.asarray(lams, dtype=np.float64))
        if not np.all((points >= self.lam[0]) & (points <= self.lam[-1])):
            raise InputError(f"lam: the curve covers {_num(self.lam[0])} to {_num(self.lam[-1])} only")
        smooth = CubicSpline(self.lam, np.column_stack([self.reward, self.cost, self.kl]))
        dual = CubicHermiteSpline(self.lam, self.dual, self.cost_limit - self.cost)(points)
        reward, cost, kl = smooth(points).T
        return replace(self, lam=points, dual=dual, reward=reward, cost=cost, kl=kl)

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, fit for JSON: what ``exact.json`` of a run folder holds."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class DualData:
    """What `plot_dual` draws: the curve, the point (lam, value) with its slope C - E[c], the iterates."""

    curve: DualCurve
    lam: float
    value: float
    slope: float
    iterates: Array
    iterate_values: Array

    @property
    def gap(self) -> float | None:
        """D(lam) - min D in nats, at least 0 (float rounding dropped); None where D has no minimum."""
        if self.curve.dual_bound is None:
            return None
        gap = self.value - self.curve.dual_bound
        return gap if gap > 1e-12 * max(1.0, abs(self.value)) else 0.0

    def describe(self) -> str:
        """Return the picture in words, two lines: lam and the limit, then the distance from the minimum."""
        limit = self.curve.cost_limit
        first = f"λ = {_num(self.lam)}: {_against(limit - self.slope, limit)}"
        if self.gap is None:
            return f"{first}\nno policy meets the limit: D falls without bound"
        return f"{first}\ngap D(λ) − min D = {_num(self.gap)} nats"


@dataclass(frozen=True, eq=False)
class DualPathData:
    """What `plot_dual_path` draws: one value per round, shape (R,); ``exact`` holds lam, cost, reward, kl."""

    round: Array
    lam: Array
    cost: Array
    cost_low: Array
    cost_high: Array
    reward: Array
    kl: Array
    cost_limit: float
    exact: dict[str, float]

    def describe(self, *columns: str) -> str:
        """Return where each column (default lam, cost, reward, kl) starts and ends, a sentence each."""
        sentences = []
        for name in columns or ("lam", "cost", "reward", "kl"):
            values = getattr(self, name)
            words = f"{AXIS[name]} from {_num(values[0])} in round {self.round[0]:.0f} to "
            words += f"{_num(values[-1])} in round {self.round[-1]:.0f}"
            if name == "cost":
                words += f" (95 % interval {_num(self.cost_low[-1])} to {_num(self.cost_high[-1])})"
                words += f", limit C = {_num(self.cost_limit)}"
            if name in self.exact:
                words += f", exact optimum {_num(self.exact[name])}"
            sentences.append(words[0].upper() + words[1:] + ".")
        return " ".join(sentences)


@dataclass(frozen=True, eq=False)
class PolicyData:
    """What `plot_policy` draws: one prompt's rows, each of shape (Y,), and E[c] over all prompts."""

    labels: list[str]
    probs: Array
    reference: Array
    cost: Array
    cost_limit: float
    cost_spread: float
    prompt: int
    prompt_cost: float
    expected_cost: float

    def describe(self) -> str:
        """Return the expected costs against the limit, two lines."""
        return (
            f"prompt {self.prompt}: E[c|x] = {_num(self.prompt_cost)}\n"
            f"all prompts: {_against(self.expected_cost, self.cost_limit)}"
        )


@dataclass(frozen=True, eq=False)
class FrontierData:
    """What `plot_frontier` draws: (lam, cost, reward) along the exact curve and along a run's rounds.

    Either may be empty. ``chosen`` is the marked point (lam, cost, reward): the exact optimum, the wanted
    multiplier, or a run's last round where there is no curve; None where no multiplier meets the limit.
    """

    lam: Array
    cost: Array
    reward: Array
    run_lam: Array
    run_cost: Array
    run_reward: Array
    chosen: tuple[float, float, float] | None
    cost_limit: float

    def describe(self) -> str:
        """Return the marked point against the limit, two lines."""
        limit = _num(self.cost_limit)
        if self.chosen is None:
            return f"no multiplier brings E[c] down to C = {limit}"
        lam, cost, reward = self.chosen
        if not len(self.lam):
            words = f"last round, λ = {_num(lam)}: measured E[c] = {_num(cost)}, C = {limit}"
        else:
            words = f"λ = {_num(lam)}: {_against(cost, self.cost_limit)}"
        return f"{words}\nE[r] = {_num(reward)} nats"


@dataclass(frozen=True, eq=False)
class ComparisonData:
    """What `plot_comparison` draws: per policy, (mean, low, high) of cost and of reward, shape (P, 3)."""

    policy: list[str]
    cost: Array
    reward: Array
    cost_limit: float

    def describe(self) -> str:
        """Return every policy's cost and reward, in one sentence."""
        parts = (
            f"{name}: cost {_num(c[0])}, reward {_num(r[0])}"
            for name, c, r in zip(self.policy, self.cost, self.reward, strict=True)
        )
        return "; ".join(parts) + f"; the limit on the cost is C = {_num(self.cost_limit)}."


def dual_curve(problem: FiniteProblem, lams: ArrayLike | None = None) -> DualCurve:
    """Return D(lam) and the expectations of pi_lam on ``lams``, with the exact optimum.

    D(lam) = beta E_x log Z_lam(x) + lam C, of slope C - E[c].

    Parameters
    ----------
    problem : FiniteProblem
        With one limit.
    lams : array_like of shape (L,), at least 0, optional
        Default: 201 values from 0 to two and a half times the optimal multiplier.

    Raises
    ------
    InputError
        When the problem has several limits, or ``lams`` holds a negative or non-finite value.

    At lam = 1 reward and penalty cancel, so pi_lam is the reference and D is lam C:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> curve = dual_curve(problem, [1.0])
    >>> curve.dual.round(9).tolist(), curve.cost.round(9).tolist()
    ([0.25], [0.5])
    """
    limit, best = _single(problem.cost_limit), problem.solve()
    lam_exact = None if best.lam is None else _single(best.lam)
    along = frontier(problem, _grid(problem, lam_exact) if lams is None else np.atleast_1d(lams))
    return DualCurve(
        lam=along.lam,
        dual=np.array([problem.dual(lam) for lam in along.lam.tolist()], dtype=np.float64),
        reward=along.reward,
        cost=along.cost,
        kl=along.kl,
        cost_limit=limit,
        lam_exact=lam_exact,
        dual_bound=best.dual_bound,
    )


def dual_data(
    source: FiniteProblem | DualCurve, *, lam: float, iterates: ArrayLike | None = None
) -> DualData:
    """Return what `plot_dual` draws; a `DualCurve` as source is interpolated (cubic, its slopes known).

    Raises
    ------
    InputError
        When ``lam`` or an iterate is negative, not finite, or outside the given curve.

    The slope at lam = 1 is C - E[c] = 0.25 - 0.5:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> round(dual_data(problem, lam=1.0).slope, 9)
    -0.25
    """
    walk = np.atleast_1d(np.asarray([] if iterates is None else iterates, dtype=np.float64))
    points = np.concatenate([[lam], walk])
    if isinstance(source, DualCurve):
        curve, at = source, source.at(points)
    else:
        at = dual_curve(source, points)
        curve = dual_curve(source, _grid(source, at.lam_exact, reach=float(points.max())))
    slope = curve.cost_limit - float(at.cost[0])
    return DualData(curve, float(lam), float(at.dual[0]), slope, walk, at.dual[1:])


def dual_path_data(history: Iterable[Any], *, exact: Any = None) -> DualPathData:
    """Return the columns that `plot_dual_path` draws.

    Parameters
    ----------
    history : iterable of records (mappings, or objects with the columns as attributes)
    exact : Solution or mapping, optional
        With ``lam``, ``cost``, ``reward``, ``kl``; those that are None are left out.

    >>> first = dict(round=0, lam=0, cost=0.4, cost_low=0.3, cost_high=0.5, reward=1, kl=0, cost_limit=0.2)
    >>> dual_path_data([first, first | {"round": 1, "lam": 0.5}]).lam.tolist()
    [0.0, 0.5]
    """
    records = list(history)
    if not records:
        raise InputError("history: it holds no round, so there is nothing to draw")
    names = ("round", "lam", "cost", "cost_low", "cost_high", "reward", "kl")
    columns = {name: np.array([_value(row, name) for row in records]) for name in names}
    goal = {} if exact is None else {name: _value(exact, name) for name in ("lam", "cost", "reward", "kl")}
    return DualPathData(
        **columns,
        cost_limit=_value(records[-1], "cost_limit"),
        exact={name: value for name, value in goal.items() if math.isfinite(value)},
    )


def policy_data(
    problem: FiniteProblem,
    lam_or_probs: float | ArrayLike,
    *,
    prompt: int = 0,
    labels: Sequence[str] | None = None,
) -> PolicyData:
    """Return the rows of one prompt: pi(y|x), the reference and the cost, with E[c] over all prompts.

    Parameters
    ----------
    lam_or_probs : float or array of shape (X, Y)
        A multiplier (pi_lam is drawn), or the whole policy.
    prompt : int
        Row of the tables.
    labels : sequence of Y str, optional
        Names of the responses; default y0, y1, ...

    Raises
    ------
    InputError
        When ``prompt`` is no row, ``labels`` are not Y, or the policy has another shape.

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> policy_data(problem, 1.0).probs.tolist()
    [0.5, 0.5]
    """
    prompts, responses = np.shape(problem.reference)
    scalar = np.ndim(lam_or_probs) == 0
    probs = np.asarray(problem.policy(float(lam_or_probs)) if scalar else lam_or_probs, dtype=np.float64)  # type: ignore[arg-type]
    if probs.shape != (prompts, responses):
        raise InputError(f"probs: shape {probs.shape}, but the tables are {(prompts, responses)}")
    if not 0 <= prompt < prompts:
        raise InputError(f"prompt: {prompt} is no row of a table with {prompts} prompts (0 to {prompts - 1})")
    names = [f"y{i}" for i in range(responses)] if labels is None else [str(name) for name in labels]
    if len(names) != responses:
        raise InputError(f"labels: {len(names)} names for {responses} responses")
    cost, limit = np.asarray(problem.cost, dtype=np.float64), _single(problem.cost_limit)
    return PolicyData(
        labels=names,
        probs=probs[prompt],
        reference=np.asarray(problem.reference, dtype=np.float64)[prompt],
        cost=cost[prompt],
        cost_limit=limit,
        cost_spread=float(np.abs(cost - limit).max()) or 1.0,
        prompt=prompt,
        prompt_cost=float(probs[prompt] @ cost[prompt]),
        expected_cost=float(np.asarray(problem.prompt_probs) @ (probs * cost).sum(axis=1)),
    )


def frontier_data(
    source: FiniteProblem | DualCurve | Iterable[Any],
    *,
    run: Iterable[Any] | None = None,
    lam: float | None = None,
) -> FrontierData:
    """Return reward and cost along every lam, and along a run's rounds, with the point to mark.

    Parameters
    ----------
    source : FiniteProblem, DualCurve or a history
    run : a history, optional
        Drawn over the exact curve.
    lam : float, optional
        Multiplier of the marked point; default the exact one, or the last round where there is no curve.

    The optimum of this problem takes the whole limit, a quarter, and its reward is the same quarter:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> [round(value, 4) for value in frontier_data(problem).chosen]
    [2.0986, 0.25, 0.25]
    """
    if not isinstance(source, (FiniteProblem, DualCurve)):
        path = dual_path_data(source)
        none = np.empty(0)
        chosen = (float(path.lam[-1]), float(path.cost[-1]), float(path.reward[-1]))
        return FrontierData(none, none, none, path.lam, path.cost, path.reward, chosen, path.cost_limit)
    curve = source if isinstance(source, DualCurve) else dual_curve(source)
    goal = curve.lam_exact if lam is None else lam
    rounds = [] if run is None else list(run)
    mark = None
    if goal is not None:
        at = curve.at(goal) if isinstance(source, DualCurve) else dual_curve(source, [goal])
        mark = (float(goal), float(at.cost[0]), float(at.reward[0]))
    walk = {
        f"run_{name}": np.array([_value(row, name) for row in rounds]) for name in ("lam", "cost", "reward")
    }
    return FrontierData(
        lam=curve.lam, cost=curve.cost, reward=curve.reward, **walk, chosen=mark, cost_limit=curve.cost_limit
    )


def comparison_data(rows: Iterable[Mapping[str, Any]], *, cost_limit: float) -> ComparisonData:
    """Return the points and intervals of the four-way table.

    >>> row = dict(policy="reference", cost=0.4, cost_low=0.3, cost_high=0.5, reward=1, reward_low=0)
    >>> row["reward_high"] = 2
    >>> comparison_data([row], cost_limit=0.2).cost.tolist()
    [[0.4, 0.3, 0.5]]
    """
    table = list(rows)
    if not table:
        raise InputError("comparison: it holds no policy, so there is nothing to draw")

    def triples(name: str) -> Array:
        return np.array([[_value(row, name + end) for end in ("", "_low", "_high")] for row in table])

    return ComparisonData(
        [str(row["policy"]) for row in table], triples("cost"), triples("reward"), float(cost_limit)
    )


# ---- the pictures ---------------------------------------------------------------------------------


def plot_dual(
    source: FiniteProblem | DualCurve,
    *,
    lam: float,
    iterates: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw D with its tangent at ``lam`` (slope C - E[c]), the iterates walking on it and the gap as a band.

    The strip at the foot is the limit seen from here: left of the minimum it is not met, right of it it is.
    Parameters and errors: `dual_data`.
    """
    data = dual_data(source, lam=lam, iterates=iterates)
    curve, (low, high) = data.curve, _dual_frame(data)
    right = float(curve.lam[-1])
    border = right if curve.lam_exact is None else min(curve.lam_exact, right)
    with house_style():
        ax = _axes(ax, "lam", "dual", data.describe())
        ax.set(xlim=(0.0, right), ylim=(low, high))
        _draw_gap(ax, data)
        _draw_strip(ax, (0.0, border), "limit not met")
        _draw_strip(ax, (border, right), "limit met")
        ax.plot(curve.lam, curve.dual, color=RUN)
        ax.plot(*_tangent(data).T, color=TANGENT, linewidth=3.2)
        _draw_walk(ax, data)
        foot = data.value if curve.dual_bound is None else curve.dual_bound
        ax.plot([data.lam] * 2, [low, foot], color=TANGENT, linestyle=":", linewidth=2.5)
        ax.plot(data.lam, data.value, "o", color=TANGENT, markeredgecolor=EXACT, markersize=13, zorder=6)
        _place(ax, _dual_labels(data))
    return ax


def plot_dual_path(
    history: Iterable[Any], *, exact: Any = None, axes: Sequence[Axes] | None = None
) -> list[Axes]:
    """Draw lam, E[c] with its interval and the limit, E[r] and KL per round; the exact optimum is dashed.

    ``axes`` are four, in that order; default a new figure of two rows. The rest: `dual_path_data`.
    """
    data = dual_path_data(history, exact=exact)
    with house_style():
        panels = list(plt.subplots(2, 2, figsize=(12.0, 8.8))[1].ravel()) if axes is None else list(axes)
        if len(panels) != 4:
            raise InputError(f"axes: four panels are drawn (lam, cost, reward, KL), {len(panels)} axes given")
        for ax, name in zip(panels, ("lam", "cost", "reward", "kl"), strict=True):
            _draw_column(_axes(ax, "round", name, ""), data, name)
    return panels


def plot_policy(
    problem: FiniteProblem,
    lam_or_probs: float | ArrayLike,
    *,
    prompt: int = 0,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw pi(y|x) of one prompt as bars coloured by cost (blue below C, vermillion above).

    The reference is outlined, and the scale beside the bars carries the limit.

    Parameters and errors: `policy_data`.
    """
    data = policy_data(problem, lam_or_probs, prompt=prompt, labels=labels)
    with house_style():
        ax = _axes(ax, "probs", "probs", data.describe() + "\nfilled: the policy, outline: the reference")
        rows, tone = np.arange(len(data.labels)), Normalize(-data.cost_spread, data.cost_spread)
        fill, heavy = COST_COLOURS(tone(data.cost - data.cost_limit)), 2.2 if len(rows) <= 24 else 1.2
        ax.barh(rows, data.probs, height=0.76, color=fill, edgecolor=REFERENCE, linewidth=0.8)
        ax.barh(rows, data.reference, height=0.76, facecolor="none", edgecolor=EXACT, linewidth=heavy)
        step = max(1, math.ceil(len(rows) / 16))
        ax.set_yticks(rows[::step], [_short(name) for name in data.labels[::step]])
        ax.set(ylabel="response y", ylim=(len(rows) - 0.4, -0.6), xlim=(0.0, None))
        ax.grid(axis="y", visible=False)
        _draw_cost_scale(ax, data)
    return ax


def plot_frontier(
    source: FiniteProblem | DualCurve | Iterable[Any],
    *,
    run: Iterable[Any] | None = None,
    lam: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw reward against cost for every lam, a run's rounds, the chosen point and the limit.

    Parameters: `frontier_data`.
    """
    data = frontier_data(source, run=run, lam=lam)
    with house_style():
        ax = _axes(ax, "cost", "reward", data.describe())
        _frame_costs(
            ax, np.append(data.cost, data.run_cost), np.append(data.reward, data.run_reward), data.cost_limit
        )
        labels: list[Label] = []
        if data.chosen is not None and len(data.lam):
            ax.plot(*data.chosen[1:], "*", color=TANGENT, markeredgecolor=EXACT, markersize=24, zorder=6)
            words = "exact: λ*" if lam is None else "chosen: λ"
            labels.append(Label(f"{words} = {_num(data.chosen[0])}", [data.chosen[1:]]))
        if len(data.run_lam):
            labels += _draw_rounds(ax, data)
        if len(data.lam):
            ax.plot(data.cost, data.reward, color=EXACT, linestyle="--")
            labels += _draw_stops(ax, data)
        _place(ax, [*labels, _draw_limit(ax, data.cost_limit)])
    return ax


def plot_comparison(rows: Iterable[Mapping[str, Any]], *, cost_limit: float, ax: Axes | None = None) -> Axes:
    """Draw reward against cost of the policies of the four-way table, each with its interval cross."""
    data = comparison_data(rows, cost_limit=cost_limit)
    with house_style():
        ax = _axes(ax, "cost", "reward", "crosses: 95 % intervals")
        _frame_costs(ax, data.cost.ravel(), data.reward.ravel(), data.cost_limit)
        labels: list[Label] = []
        for name, cost, reward in zip(data.policy, data.cost, data.reward, strict=True):
            mark, colour = MARKS.get(name, ("o", EXACT))
            ax.plot(cost[1:], reward[[0, 0]], color=colour)
            ax.plot(cost[[0, 0]], reward[1:], color=colour)
            ax.plot(cost[0], reward[0], mark, color=colour, markeredgecolor=EXACT, markersize=13, zorder=6)
            labels.append(Label(name, [(cost[0], reward[0])]))
        _place(ax, [*labels, _draw_limit(ax, data.cost_limit)])
    return ax


def house_style() -> AbstractContextManager[None]:
    """Return the package's style as a context: ``with house_style(): fig, axes = plt.subplots(1, 2)``."""
    return matplotlib.style.context(Path(__file__).with_name("house.mplstyle"))


def blank_axes(*, size: tuple[float, float] = (7.0, 5.0)) -> Axes:
    """Return axes on a figure of ``size`` inches that no window and no notebook cell knows of, for files."""
    with house_style():
        return Figure(figsize=size).add_subplot()


def svg_bytes(ax: Axes) -> bytes:
    """Return the figure of ``ax`` as an SVG file: equal numbers give equal bytes, and no date is in it."""
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with house_style(), io.BytesIO() as file:
        _figure(ax).savefig(file, format="svg", metadata=nothing)
        return file.getvalue()


# ---- ink ------------------------------------------------------------------------------------------


def _axes(ax: Axes | None, x: str, y: str, title: str) -> Axes:
    """Return dressed axes. Ticks are made lazily, outside the style, so their look is fixed here."""
    ax = plt.subplots()[1] if ax is None else ax
    rc = plt.rcParams
    ax.set_xlabel(AXIS[x], fontsize=rc["axes.labelsize"])
    ax.set_ylabel(AXIS[y], fontsize=rc["axes.labelsize"])
    ax.set_title(title, loc="left", fontsize=rc["axes.titlesize"])
    ax.tick_params(labelsize=rc["xtick.labelsize"], grid_color=rc["grid.color"], grid_linewidth=1.0)
    ax.spines[["top", "right"]].set_visible(False)
    steps = [1, 2, 2.5, 5, 10]
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=steps, integer=x == "round"))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=steps))
    return ax


def _dual_frame(data: DualData) -> tuple[float, float]:
    """Return the y range: the curve, the point and the walk, with room at the foot for strip and labels."""
    tall = np.concatenate([data.curve.dual, data.iterate_values, [data.value]])
    spread = float(np.ptp(tall)) or 1.0
    return float(tall.min()) - 0.30 * spread, float(tall.max()) + 0.06 * spread


def _tangent(data: DualData) -> Array:
    """Return the two ends of the tangent drawn at lam, inside the frame and clear of the strip, (2, 2)."""
    (low, high), right = _dual_frame(data), float(data.curve.lam[-1])
    floor = low + 0.10 * (high - low)
    steep = max(abs(data.slope), 1e-12)
    down, up = min(0.22 * right, (data.value - floor) / steep), min(0.22 * right, (high - data.value) / steep)
    ends = data.lam + np.array([-up, down] if data.slope < 0 else [-down, up])
    ends = np.clip(ends, 0.0, right)
    return np.column_stack([ends, data.value + data.slope * (ends - data.lam)])


def _draw_gap(ax: Axes, data: DualData) -> None:
    """Draw the gap between D(lam) and the minimum as a band across, with a bracket at lam."""
    bound = data.curve.dual_bound
    if bound is not None:
        ax.axhspan(bound, data.value, color=RUN, alpha=0.13, linewidth=0)
        ax.axhline(bound, color=EXACT, linestyle="--", linewidth=2)
        ax.plot([data.lam] * 2, [bound, data.value], "_-", color=EXACT, linewidth=3, markersize=14)


def _draw_strip(ax: Axes, span: tuple[float, float], words: str) -> None:
    """Draw one stretch of the strip at the foot that says where the limit is met; words where they fit."""
    (start, end), (left, right) = span, ax.get_xlim()
    if end > start:
        ax.axvspan(start, end, ymin=0.0, ymax=STRIP, color=LIMIT if "not" in words else RUN, linewidth=0)
    if end - start > 0.27 * (right - left):
        spot = ((start + end) / 2, STRIP / 2)
        look: dict[str, Any] = {"color": "white", "weight": "bold", "ha": "center", "va": "center"}
        ax.annotate(words, spot, xycoords=ax.get_xaxis_transform(), **look)


def _draw_walk(ax: Axes, data: DualData) -> None:
    """Join the iterates in the order they were taken: by arrows while they are few, else by a line."""
    points = np.column_stack([data.iterates, data.iterate_values])
    few = len(points) <= 12
    look: dict[str, Any] = {
        "color": REFERENCE,
        "markerfacecolor": "white",
        "markeredgecolor": EXACT,
        "markeredgewidth": 2,
    }
    ax.plot(*points.T, "o" if few else "o-", linewidth=2, zorder=5, **look)
    arrow = {"arrowstyle": "-|>", "color": REFERENCE, "linewidth": 1.8, "connectionstyle": "arc3,rad=-0.25"}
    for start, end in zip(points, points[1:] if few else [], strict=False):
        if abs(end[0] - start[0]) > 0.03 * data.curve.lam[-1]:
            ax.annotate("", end, start, arrowprops=arrow | {"shrinkA": 5, "shrinkB": 5}, zorder=4)


def _dual_labels(data: DualData) -> list[Label]:
    """Return the words on the dual picture, each with the points it may stand by, most important first."""
    curve, bound, best = data.curve, data.curve.dual_bound, data.curve.lam_exact
    cost, limit = curve.cost_limit - data.slope, curve.cost_limit
    there = best is not None and abs(best - data.lam) < 0.01 * curve.lam[-1]
    labels = [Label(f"λ = {'λ* = ' if there else ''}{_num(data.lam)}", [(data.lam, data.value)])]
    words = f"slope C − E[c]\n= {_num(limit)} − {_num(cost)} = {_num(data.slope)}".replace("− −", "+ ")
    labels.append(
        Label(words, np.linspace(_tangent(data)[0], _tangent(data)[1], 7)[[6, 0, 5, 1]].tolist(), TANGENT_INK)
    )
    if best is not None and bound is not None and not there:
        labels.append(Label(f"λ* = {_num(best)}", [(best, bound)]))
    if data.gap and bound is not None:
        heights = bound + data.gap * np.array([0.5, 0.3, 0.7])
        labels.append(Label(f"gap {_num(data.gap)}", [(data.lam, height) for height in heights]))
    some = (np.linspace(0.95, 0.1, 12) * (len(curve.lam) - 1)).astype(int)
    return [*labels, Label("D(λ)", [(curve.lam[i], curve.dual[i]) for i in some], RUN)]


def _draw_column(ax: Axes, data: DualPathData, name: str) -> None:
    """Draw one column of the history against the round."""
    values, exact = getattr(data, name), data.exact.get(name)
    lines = {} if exact is None else {f"exact {_num(exact)}": exact}
    if name == "cost":
        ax.fill_between(data.round, data.cost_low, data.cost_high, color=RUN, alpha=0.2, linewidth=0)
        ax.vlines(data.round, data.cost_low, data.cost_high, color=RUN, linewidth=2, alpha=0.5)
        ax.axhline(data.cost_limit, color=LIMIT, linewidth=4)
        words = f"limit C = {_num(data.cost_limit)}"
        same = exact is not None and abs(exact - data.cost_limit) < 0.02 * float(np.ptp(ax.get_ylim()))
        lines = {f"{words} = exact E[c]": data.cost_limit} if same else lines | {words: data.cost_limit}
    ax.plot(data.round, values, color=RUN, marker="o", markersize=7 if len(values) < 40 else 0)
    if exact is not None:
        ax.axhline(exact, color=EXACT, linestyle="--", linewidth=2)
    ax.margins(x=0.06, y=0.18)
    along = np.linspace(data.round[0], data.round[-1], 9)
    _place(ax, [Label(words, [(x, height) for x in along]) for words, height in lines.items()])


def _draw_cost_scale(ax: Axes, data: PolicyData) -> None:
    """Draw the colour scale of the cost beside the bars, with the limit on it."""
    ends = data.cost_limit - data.cost_spread, data.cost_limit + data.cost_spread
    bar = ax.figure.colorbar(
        ScalarMappable(Normalize(*ends), COST_COLOURS), cax=ax.inset_axes((1.04, 0.0, 0.05, 1.0))
    )
    bar.set_label("cost c(x,y) (cost units)", fontsize=plt.rcParams["axes.labelsize"], labelpad=10)
    bar.ax.axhline(data.cost_limit, color=EXACT, linewidth=3)
    bar.set_ticks([ends[0], data.cost_limit, ends[1]])
    bar.set_ticklabels([_num(ends[0]), f"C = {_num(data.cost_limit)}", _num(ends[1])])
    bar.ax.tick_params(labelsize=plt.rcParams["ytick.labelsize"])


def _draw_rounds(ax: Axes, data: FrontierData) -> list[Label]:
    """Draw a run from the reference to its last round; return the labels of both ends."""
    ax.plot(data.run_cost, data.run_reward, color=RUN, marker="o", markersize=5, linewidth=2)
    labels: list[Label] = []
    for i, (name, words) in enumerate((("reference", "reference"), ("constrained DPO", "last"))):
        mark, colour = MARKS[name]
        spot = (data.run_cost[-i], data.run_reward[-i])
        ax.plot(*spot, mark, color=colour, markeredgecolor=EXACT, markersize=12, zorder=6)
        labels.append(Label(words if i == 0 else f"{words}: λ = {_num(data.run_lam[-1])}", [spot]))
    return labels


def _draw_stops(ax: Axes, data: FrontierData) -> list[Label]:
    """Mark a few multipliers along the exact curve, evenly in ink and clear of the chosen one."""
    scale = np.array([np.ptp(data.cost) or 1.0, np.ptp(data.reward) or 1.0])
    ink = np.column_stack([data.cost, data.reward]) / scale
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ink, axis=0).T))])
    count = 2 if len(data.run_lam) else 5
    stops = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], count) * (1 - 1e-12)))
    if data.chosen is not None:
        stops = stops[np.hypot(*(ink[stops] - np.array(data.chosen[1:]) / scale).T) > 0.15]
    ax.plot(
        data.cost[stops], data.reward[stops], "o", color="white", markeredgecolor=EXACT, markeredgewidth=2
    )
    return [Label(f"λ = {_num(data.lam[i])}", [(data.cost[i], data.reward[i])]) for i in stops]


def _frame_costs(ax: Axes, cost: Array, reward: Array, limit: float) -> None:
    """Set the ranges of a reward-against-cost picture: data and limit with room, the strip's at the foot."""
    wide, tall = np.append(cost[np.isfinite(cost)], limit), reward[np.isfinite(reward)]
    room, height = 0.14 * (float(np.ptp(wide)) or 1.0), float(np.ptp(tall)) or 1.0
    ax.set_xlim(wide.min() - room, wide.max() + room)
    ax.set_ylim(tall.min() - 0.25 * height, tall.max() + 0.15 * height)


def _draw_limit(ax: Axes, limit: float) -> Label:
    """Draw the limit on a cost axis, the side beyond it shaded; return its label."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    ax.axvspan(limit, right, color=LIMIT, alpha=0.08, linewidth=0)
    ax.axvline(limit, color=LIMIT, linewidth=4, zorder=1.5)
    _draw_strip(ax, (left, limit), "limit met")
    _draw_strip(ax, (limit, right), "limit not met")
    heights = low + np.linspace(0.95, 0.15, 9) * (high - low)
    return Label(f"limit C = {_num(limit)}", [(limit, height) for height in heights])


def _place(ax: Axes, labels: Sequence[Label]) -> None:
    """Write each text beside one of its points, on the one of `SPOTS` where it covers least."""
    figure = _figure(ax)
    figure.draw_without_rendering()  # settles the layout, so that a pixel means something
    scale, ink = figure.dpi / 72, _ink(ax)
    frame = np.array(ax.get_window_extent().extents) + [0.0, STRIP * ax.get_window_extent().height, 0.0, 0.0]
    taken = [np.array(text.get_window_extent().extents) for text in ax.texts if text.get_text()]
    for words, points, colour in labels:
        note = ax.annotate(
            words, (points[0][0], points[0][1]), (0, 0), textcoords="offset points", color=colour
        )
        note.set(zorder=7, path_effects=[withStroke(linewidth=4, foreground="white")])
        size = np.array(note.get_window_extent().size)
        tries = [(_pixel(ax, point), point, angle, reach) for point in points for angle, reach in SPOTS]
        boxes = [_box(at, size, angle, reach * scale) for at, _, angle, reach in tries]
        hooks = [_leader(t[0], box) if t[3] > 30 else t[0][None] for t, box in zip(tries, boxes, strict=True)]
        costs = [_crowding(b, h, ink, taken, frame) for b, h in zip(boxes, hooks, strict=True)]
        best = int(np.argmin([c + 0.03 * t[3] for c, t in zip(costs, tries, strict=True)]))
        (at, point, _, _), box, hook = tries[best], boxes[best], hooks[best]
        note.xy = (point[0], point[1])
        note.set_position(tuple((box[:2] - at) / scale))
        taken.append(box)
        if len(hook) > 1:
            line = {"arrowstyle": "-", "color": colour, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 4}
            ax.annotate(
                "", note.xy, tuple((hook[-1] - at) / scale), textcoords="offset points", arrowprops=line
            )
            ink = np.concatenate([ink, hook])


def _leader(point: Array, box: Array) -> Array:
    """Return points in pixels on the straight line from ``point`` to the nearest edge of ``box``, (20, 2)."""
    return np.linspace(point, np.clip(point, box[:2], box[2:]), 20)


def _figure(ax: Axes) -> Figure:
    """Return the whole figure that ``ax`` stands on."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("ax: these axes stand on no figure any more")
    return figure


def _pixel(ax: Axes, point: Sequence[float]) -> Array:
    """Return a point given in data coordinates in pixels, shape (2,)."""
    return np.array(ax.transData.transform(point), dtype=np.float64)


def _box(point: Array, size: Array, angle: float, reach: float) -> Array:
    """Return (left, bottom, right, top) in pixels of a text ``reach`` away from ``point`` at ``angle``."""
    way = np.round([math.cos(math.radians(angle)), math.sin(math.radians(angle))], 9)
    corner = point + reach * way - size * (0.5 - 0.5 * np.sign(way))
    return np.concatenate([corner, corner + size])


def _crowding(box: Array, hook: Array, ink: Array, taken: Sequence[Array], frame: Array) -> float:
    """Count what a text at ``box`` would cover: drawn points, other texts (heavier), the frame's edge.

    A leader ``hook`` that runs through another text counts as well.
    """
    left, bottom, right, top = box + np.array([-5, -5, 5, 5])
    inside = (ink[:, 0] > left) & (ink[:, 0] < right) & (ink[:, 1] > bottom) & (ink[:, 1] < top)
    hits = sum(left < t[2] and t[0] < right and bottom < t[3] and t[1] < top for t in taken)
    hits += sum(bool(np.any(np.all((hook > t[:2] - 5) & (hook < t[2:] + 5), axis=1))) for t in taken)
    out = max(0.0, frame[0] - left, frame[1] - bottom) + max(0.0, right - frame[2], top - frame[3])
    return float(inside.sum()) + 60.0 * hits + 2.0 * out


def _ink(ax: Axes) -> Array:
    """Return points about five pixels apart on every line and arrow of ``ax``, in pixels, shape (P, 2)."""
    strokes = [np.empty((0, 2))]
    for line in ax.lines:
        xy = line.get_transform().transform(line.get_xydata())
        xy = xy[np.all(np.isfinite(xy), axis=1)]
        strokes.append(xy if line.get_linestyle() == "None" else _dense(xy))
    for bars in ax.collections:
        if isinstance(bars, LineCollection):
            strokes += [_dense(bars.get_transform().transform(part)) for part in bars.get_segments()]
    for text in ax.texts:
        patch = getattr(text, "arrow_patch", None)
        if patch is not None:
            strokes += [_dense(part) for part in patch.get_path().to_polygons(closed_only=False)]
    return np.concatenate(strokes)


def _dense(xy: Array) -> Array:
    """Return points about five pixels apart along a polyline, shape (P, 2)."""
    if len(xy) < 2:
        return xy
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    steps = np.linspace(0.0, along[-1], max(2, min(4000, int(along[-1] / 5))))
    return np.column_stack([np.interp(steps, along, xy[:, 0]), np.interp(steps, along, xy[:, 1])])


# ---- small numbers --------------------------------------------------------------------------------


def _grid(problem: FiniteProblem, lam: float | None, *, reach: float = 0.0) -> Array:
    """Return 201 multipliers from 0 past the optimum and ``reach``; where neither says, past the tilt."""
    tilt = (4 * problem.beta + float(np.ptp(problem.reward))) / (float(np.ptp(problem.cost)) or 1.0)
    top = max(2.5 * (lam or 0.0), 1.35 * reach) or tilt
    return np.linspace(0.0, top, 201)


def _value(record: Any, name: str) -> float:
    """Return one column of a record, mapping or object; nan where it is None."""
    missing = name not in record if isinstance(record, Mapping) else not hasattr(record, name)
    if missing:
        raise InputError(f"{name}: a record without this column cannot be drawn")
    value = record[name] if isinstance(record, Mapping) else getattr(record, name)
    return math.nan if value is None else float(value)


def _against(cost: float, limit: float) -> str:
    """Return cost and limit in words, with as many digits as a violation needs to show."""
    met = _met(cost, limit)
    digits = 3 if met or _num(cost) != _num(limit) else 7
    sign = "≤" if met else ">"
    words = "limit met" if met else "limit not met"
    return f"{words}, E[c] = {_num(cost, digits)} {sign} C = {_num(limit, digits)}"


def _met(cost: float, limit: float) -> bool:
    """Say whether the limit is met, float rounding of the solver's edge forgiven."""
    return cost <= limit + 1e-9 * max(1.0, abs(limit))


def _single(value: PerLimit) -> float:
    """Return the one number of a problem with one limit."""
    if isinstance(value, tuple):
        raise InputError(f"cost_limit: these pictures are of one limit, and the problem has {len(value)}")
    return float(value)


def _short(name: str) -> str:
    """Return a response's name on at most two lines of 26 characters."""
    return "\n".join(textwrap.wrap(name, 26, max_lines=2, placeholder=" ...")) or name


def _num(value: float, digits: int = 3) -> str:
    """Return significant digits with a true minus sign; below 1e-12 nought."""
    return f"{0.0 if abs(value) < 1e-12 else value:.{digits}g}".replace("-", "−")
