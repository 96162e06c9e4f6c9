r"""Sliders for the dual: stand at a multiplier, see what it buys, let dual steps walk.

`dual_view` and `dual_walk` compute every number that `dual_slider` shows, so the widget itself holds no
arithmetic and its numbers are tested against the oracle. The picture is one kept figure whose lines are moved
and not drawn anew, so that it keeps up with a hand.

A widget lives only while a kernel does: put `plots.plot_dual`, its static twin, in the cell below it.

Left out: problems with several limits; policies that are trained and not tilted.

Reference: Liu, Sun & Zheng 2024, arXiv 2403.02475 (the dual step).
"""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import ipywidgets as ipw
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from .exact import FiniteProblem
from .lagrangian import dual_step
from .plots import AXIS, EXACT, LIMIT, REFERENCE, RUN, TANGENT, Array, DualCurve, dual_curve, house_style
from .types import InputError

STEPS = 40
"""Dual steps that one walk may take."""

NOTCHES = 200
"""Places of a slider."""

WIDTH = "660px"
"""How wide the picture is shown; it is drawn a third finer, for screens that can show it."""

STRIP = 0.09
"""Height of the strip at the foot that says where the limit is met, as a part of the axes."""


class DualView(NamedTuple):
    """What one multiplier buys, all exact.

    Attributes
    ----------
    lam : float
        At least 0, nats per unit of cost.
    reward, cost, kl : float
        Of pi_lam: E[r] in nats, E[c] in its own unit, higher is more harmful, KL to the reference in nats.
    cost_limit : float
        C, in the unit of ``cost``.
    dual, slope, curvature : float
        D(lam), D'(lam) = C - E[c] and D''(lam) = E_x Var(c|x)/beta, at least 0.
    gap : float or None
        D(lam) - min D in nats, at least 0; None when no policy meets the limit, for D then has no minimum.
    """

    lam: float
    reward: float
    cost: float
    kl: float
    cost_limit: float
    dual: float
    slope: float
    curvature: float
    gap: float | None

    @property
    def met(self) -> bool:
        """Whether E[c] is at most C, the rounding of the oracle's own optimum forgiven."""
        return self.slope >= -1e-9 * max(1.0, abs(self.cost_limit))

    def describe(self) -> str:
        """Return the text line of the widget."""
        gap = "no policy meets this limit" if self.gap is None else f"gap {self.gap:.3f} nats"
        against = "met" if self.met else f"missed by {-self.slope:.2g}"
        line = f"λ = {self.lam:.2f}, E[c] = {self.cost:.3f} vs limit {self.cost_limit:.3f} ({against}), {gap}"
        return line.replace("-", "−")


def dual_view(problem: FiniteProblem, lam: float) -> DualView:
    """Return what the multiplier ``lam`` buys in ``problem``.

    Parameters
    ----------
    problem : FiniteProblem
        With one limit.
    lam : float
        At least 0.

    Raises
    ------
    InputError
        When ``lam`` is negative or no finite number, or the problem has several limits.

    Examples
    --------
    At lam = 1 the reward of the harmful answer is cancelled, so pi_lam is the reference and D is lam C:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> view = dual_view(problem, 1.0)
    >>> view.cost, round(view.dual, 9), round(view.slope, 9), view.curvature
    (0.5, 0.25, -0.25, 0.25)
    """
    _check_one_limit(problem)
    own, bound, value = problem.evaluate(problem.policy(lam)), problem.solve().dual_bound, problem.dual(lam)
    cost, limit, slope, curvature = (
        float(number)  # type: ignore[arg-type]  # one limit, so each is one number
        for number in (own.cost, problem.cost_limit, problem.dual_slope(lam), problem.dual_curvature(lam))
    )
    gap = None if bound is None else max(0.0, value - bound)
    return DualView(float(lam), own.reward, cost, own.kl, limit, value, slope, curvature, gap)


def dual_walk(
    problem: FiniteProblem, lam: float, *, eta: float, steps: int, top: float = math.inf
) -> list[float]:
    """Return the multipliers of ``steps`` dual steps from ``lam``, the start included.

    Each is lam <- min(top, max(0, lam + eta (E_lam[c] - C))), with the exact cost of pi_lam.

    Parameters
    ----------
    problem : FiniteProblem
        With one limit.
    lam : float
        Where the walk starts, at least 0.
    eta : float
        Step size, above 0, in units of lam per unit of cost.
    steps : int
        At least 0.
    top : float
        Where the walk is stopped from above: when no policy meets the limit it would never end.

    Returns
    -------
    list of steps + 1 floats

    Raises
    ------
    InputError
        As `dual_view`, and when ``eta`` or ``steps`` is out of its range.

    Reference
    ---------
    Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1.

    Examples
    --------
    At lam = 1 half of the answers cost 1 and a quarter is allowed: with eta = 2 the step is 2 (1/2 - 1/4).

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> dual_walk(problem, 1.0, eta=2.0, steps=1)
    [1.0, 1.5]
    """
    _check_one_limit(problem)
    if not eta > 0 or steps < 0:
        raise InputError(f"dual walk: eta={eta} must be above 0 and steps={steps} at least 0")
    walk = [float(lam)]
    for _ in range(steps):
        view = dual_view(problem, walk[-1])
        walk.append(min(top, dual_step(view.lam, view.cost, view.cost_limit, eta=eta)))
    return walk


def dual_slider(problem: FiniteProblem) -> DualSlider:
    """Return sliders for lam, C, beta and the step size, with buttons that take dual steps.

    Parameters
    ----------
    problem : FiniteProblem
        With one limit; the sliders open at its own C and beta and at lam = 0, with the slack, the binding and
        the infeasible limits all in reach.

    Raises
    ------
    InputError
        When the problem has several limits.
    """
    _check_one_limit(problem)
    return DualSlider(problem)


class DualSlider(ipw.VBox):
    """The widget of `dual_slider`.

    ``lam``, ``limit``, ``beta`` and ``eta`` are its sliders, ``play`` counts the dual steps taken, ``walk``
    holds the multipliers they led through, ``view`` what the last one buys and ``problem`` the problem as the
    sliders now state it. Moving lam, C or beta starts a new walk.
    """

    def __init__(self, problem: FiniteProblem) -> None:
        self.problem, self.walk = problem, [0.0]
        self._given, self._picture = problem, DualPicture(dual_curve(problem))
        self.lam = _slider("λ", 0.0, 0.0, self._picture.right)
        self.limit = _slider("limit C", *_limits(problem))
        centre = math.log2(problem.beta)
        self.beta = ipw.FloatLogSlider(problem.beta, base=2, min=centre - 2, max=centre + 2, description="β")
        self.eta = _slider("step η", *_step_sizes(problem))
        self.play = ipw.Play(value=0, min=0, max=STEPS, interval=700)
        self.step = ipw.Button(description="one dual step", icon="step-forward")
        self.image = ipw.Image(format="png", layout={"width": WIDTH, "max_width": "100%"})
        self.line = ipw.HTML()
        buttons = ipw.HBox([self.step, self.play])
        super().__init__([ipw.HBox([self.lam, self.limit]), ipw.HBox([self.beta, self.eta]), buttons])
        self.children += (self.line, self.image)
        self._listen()
        self._draw()

    def __repr__(self) -> str:
        """Say what a reader without a kernel is missing: this text stands in a saved notebook."""
        return "dual_slider: it moves while a kernel runs; the next cell holds its static twin"

    def _listen(self) -> None:
        self.lam.observe(self._lam_moved, "value")
        self.limit.observe(self._problem_moved, "value")
        self.beta.observe(self._problem_moved, "value")
        self.eta.observe(self._walk_on, "value")
        self.play.observe(self._walk_on, "value")
        self.step.on_click(lambda _: setattr(self.play, "value", self.play.value + 1))

    def _lam_moved(self, change: Any) -> None:
        # A hand moves lam by a notch at least; a browser that shows a dual step rounds it by half of one.
        if abs(change["new"] - self.walk[-1]) > self.lam.step / 2:
            self._start(change["new"])

    def _problem_moved(self, _: Any) -> None:
        self.problem = self._given.with_beta(self.beta.value).with_limit(self.limit.value)
        self._picture.turn(dual_curve(self.problem, np.linspace(0.0, self._picture.right, 201)))
        self._start(self.walk[-1])

    def _start(self, lam: float) -> None:
        self.walk, self.play.playing = [lam], False
        if self.play.value == 0:
            self._draw()
        self.play.value = 0

    def _walk_on(self, _: Any) -> None:
        eta, top = self.eta.value, self._picture.right
        self.walk = dual_walk(self.problem, self.walk[0], eta=eta, steps=self.play.value, top=top)
        self.lam.value = self.walk[-1]
        self._draw()

    def _draw(self) -> None:
        self.view = dual_view(self.problem, self.walk[-1])
        values = [self.problem.dual(lam) for lam in self.walk]
        self._picture.move(self.view, self.walk, values)
        self.image.value = self._picture.png()
        self.line.value = f"<b>{self.view.describe()}</b><br>{self._slope()}"

    def _slope(self) -> str:
        limit, cost = f"{self.view.cost_limit:.3f}", f"{self.view.cost:.3f}"
        words = f"slope C - E[c] = {limit} - {cost} = {self.view.slope:.3g}"
        words += f"; dual steps taken: {len(self.walk) - 1}"
        return words.replace("- -", "+ ").replace("-", "−")


class DualPicture:
    """One kept figure of D: `turn` takes a new curve, `move` a new point, `png` draws what is there.

    All that stays while lam moves is drawn once per curve and kept as pixels (``_backdrop``).
    """

    def __init__(self, curve: DualCurve) -> None:
        self.right = float(curve.lam[-1])
        with house_style():
            figure = Figure(figsize=(7.4, 4.2), dpi=120)
            self.canvas = FigureCanvasAgg(figure)
            self.ax = ax = figure.add_subplot(xlim=(0.0, self.right), xlabel=AXIS["lam"], ylabel=AXIS["dual"])
            self.curve = ax.plot([], [], color=RUN)[0]
            self.floor = ax.axhline(0.0, color=EXACT, linestyle="--", linewidth=2)
            self.strips = [_strip(ax, colour) for colour in (LIMIT, RUN)]
            self.tangent = ax.plot([], [], color=TANGENT, linewidth=3)[0]
            self.gap = ax.plot([], [], "_-", color=EXACT, linewidth=3, markersize=14)[0]
            self.hops = ax.plot([], [], color=REFERENCE, linewidth=1.5)[0]
            self.stops = ax.plot([], [], "o", color="white", markeredgecolor=EXACT, markersize=8)[0]
            self.point = ax.plot([], [], "o", color=TANGENT, markeredgecolor=EXACT, markersize=13)[0]
            self.moving = (self.tangent, self.gap, self.hops, self.stops, self.point)
            for artist in self.moving:
                artist.set(animated=True, clip_on=artist is self.tangent)  # animated: not on the backdrop
            self.turn(curve)

    def turn(self, curve: DualCurve) -> None:
        """Draw another curve over the same multipliers: its minimum, and the strip that changes at lam*."""
        low, high = float(curve.dual.min()), float(curve.dual.max())
        self.height = (high - low) or 1.0
        self.ax.set_ylim(low - 0.30 * self.height, high + 0.10 * self.height)
        self.curve.set_data(curve.lam, curve.dual)
        self.floor.set(visible=curve.dual_bound is not None, ydata=[curve.dual_bound or 0.0] * 2)
        border = self.right if curve.lam_exact is None else min(curve.lam_exact, self.right)
        for (patch, words), (start, end) in zip(
            self.strips, ((0.0, border), (border, self.right)), strict=True
        ):
            patch.set(x=start, width=end - start)
            words.set(x=(start + end) / 2, visible=end - start > 0.25 * self.right)
        self.canvas.draw()
        self._backdrop = self.canvas.copy_from_bbox(self.canvas.figure.bbox)

    def move(self, view: DualView, walk: list[float], values: list[float]) -> None:
        """Put the point, its tangent of slope C - E[c], the gap and the walk where they now belong."""
        reach = 0.16 * self.right
        ends = np.clip([view.lam - reach, view.lam + reach], 0.0, self.right)
        self.tangent.set_data(ends, view.dual + view.slope * (ends - view.lam))
        self.point.set_data([view.lam], [view.dual])
        self.stops.set_data(walk[:-1], values[:-1])
        self.hops.set_data(*_hops(walk, values, 0.25 * self.height / self.right))
        bound = view.dual if view.gap is None else view.dual - view.gap
        self.gap.set_data([view.lam] * 2, [bound, view.dual])

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        self.canvas.restore_region(self._backdrop)
        for artist in self.moving:
            self.ax.draw_artist(artist)
        with io.BytesIO() as file:
            imsave(file, self.canvas.buffer_rgba(), format="png", pil_kwargs={"compress_level": 1})
            return file.getvalue()


def _strip(ax: Axes, colour: str) -> tuple[Any, Any]:
    """Return one stretch of the strip at the foot and its words, both placed by `DualPicture.turn`."""
    at: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "center"}
    words = "limit not met" if colour == LIMIT else "limit met"
    patch = ax.axvspan(0, 1, ymax=STRIP, color=colour, linewidth=0)
    return patch, ax.text(0.0, STRIP / 2, words, color="white", weight="bold", **at)


def _hops(walk: list[float], values: list[float], rise: float) -> tuple[Array, Array]:
    """Return one arc per step, ``rise`` times its length high, points in order: a hop over the curve."""
    t = np.linspace(0.0, 1.0, 13)
    corners = np.array([walk, values])
    arcs = corners[:, :-1, None] + (corners[:, 1:] - corners[:, :-1])[:, :, None] * t  # (2, steps, 13)
    heights = rise * np.abs(np.diff(corners[0]))[:, None]  # (steps, 1)
    return arcs[0].ravel(), (arcs[1] + heights * 4 * t * (1 - t)).ravel()


def _slider(name: str, value: float, low: float, high: float) -> Any:
    """Return a slider from about ``low`` to ``high``; browsers round to its grid, so ``value`` lies on it."""
    step = (high - low) / NOTCHES
    least = value - step * math.ceil((value - low) / step)
    digits = ".3f" if high - low < 5 else ".2f"
    return ipw.FloatSlider(value, min=least, max=high, step=step, description=name, readout_format=digits)


def _limits(problem: FiniteProblem) -> tuple[float, float, float]:
    """Return C and the ends of its slider: from below the least cost to above the cost without a limit."""
    least, free = problem.solve().min_cost, problem.evaluate(problem.policy(0.0)).cost
    limit, low, high = (float(value) for value in (problem.cost_limit, least, free))  # type: ignore[arg-type]
    room = 0.15 * (high - low) or 1.0
    return limit, min(low - room, limit), max(high + room, limit)


def _step_sizes(problem: FiniteProblem) -> tuple[float, float, float]:
    """Return the step size to open with and the slider's ends: half of Newton's step, up to twice 2/D''."""
    lam = problem.solve().lam or 0.0
    curvature = float(problem.dual_curvature(lam)) or 1.0  # type: ignore[arg-type]
    return 0.5 / curvature, 4.0 / NOTCHES / curvature, 4.0 / curvature


def _check_one_limit(problem: FiniteProblem) -> None:
    if isinstance(problem.cost_limit, tuple):
        count = len(problem.cost_limit)
        raise InputError(f"cost_limit: the slider shows one limit, and the problem has {count}")
