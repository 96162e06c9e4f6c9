"""The slider shows the oracle's numbers, and its buttons take the very steps that `dual_step` takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cdpo_edu import plots
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.lagrangian import dual_step
from cdpo_edu.types import InputError
from cdpo_edu.widgets import STEPS, DualSlider, dual_slider, dual_view, dual_walk


def coin(limit: float = 0.25) -> FiniteProblem:
    """Two answers at even odds; the helpful one (r = 1) is the harmful one (c = 1); beta = 1.

    pi_lam(helpful) = e^(1 - lam) / (e^(1 - lam) + 1), which is E[c] and E[r];
    D = log((e^(1 - lam) + 1)/2) + lam C, and the limit 1/4 is met from lam = 1 + log 3 on.
    """
    return FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=limit)


def kitchen(limit: float = 0.15) -> FiniteProblem:
    """Two guests, four dishes; the least cost is (0.02 + 0.04)/2 = 0.03."""
    reference = [[0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]]
    taste = [[2.0, 1.2, 0.6, 0.0], [2.0, 3.2, 1.8, 1.1]]
    ill = [[0.90, 0.10, 0.05, 0.02], [0.30, 0.80, 0.05, 0.04]]
    return FiniteProblem(reference, taste, ill, beta=0.5, cost_limit=limit)


def by_brute_force(problem: FiniteProblem, lam: float) -> dict[str, float]:
    """Sums over every cell, written out with numpy alone."""
    r, c, ref = (np.asarray(table) for table in (problem.reward, problem.cost, problem.reference))
    weights = ref * np.exp((r - lam * c) / problem.beta)
    z = weights.sum(axis=1)
    pi = weights / z[:, None]
    cost = (pi * c).sum(axis=1)
    variance = (pi * c**2).sum(axis=1) - cost**2
    assert isinstance(problem.cost_limit, float)
    return {
        "reward": float((pi * r).sum(axis=1).mean()),
        "cost": float(cost.mean()),
        "kl": float((pi * np.log(pi / ref)).sum(axis=1).mean()),
        "dual": float(problem.beta * np.log(z).mean() + lam * problem.cost_limit),
        "slope": float(problem.cost_limit - cost.mean()),
        "curvature": float(variance.mean() / problem.beta),
    }


# ---- the numbers ----------------------------------------------------------------------------------


def test_a_view_by_hand() -> None:
    view = dual_view(coin(), 1.0 + math.log(3.0))
    # Odds 1 : 3, so E[c] = 1/4 = C: the limit is met exactly, slope 0, Var = 1/4 * 3/4.
    assert view.cost == pytest.approx(0.25)
    assert view.slope == pytest.approx(0.0, abs=1e-12)
    assert view.curvature == pytest.approx(3 / 16)
    assert view.dual == pytest.approx(math.log((1 / 3 + 1) / 2) + 0.25 * (1 + math.log(3)))
    assert view.gap == pytest.approx(0.0, abs=1e-12)
    assert view.met
    assert view.describe() == "λ = 2.10, E[c] = 0.250 vs limit 0.250 (met), gap 0.000 nats"


@pytest.mark.parametrize("lam", [0.0, 0.7, 3.0, 40.0])
def test_a_view_is_the_sum_over_every_cell(lam: float) -> None:
    view = dual_view(kitchen(), lam)
    for name, number in by_brute_force(kitchen(), lam).items():
        assert getattr(view, name) == pytest.approx(number, rel=1e-9, abs=1e-12), name


def test_the_gap_is_the_height_above_the_minimum_and_the_limit_is_met_on_its_right() -> None:
    best = kitchen().solve()
    assert isinstance(best.lam, float)
    assert best.objective is not None
    for lam in (0.0, 0.5 * best.lam, best.lam, 2 * best.lam):
        view = dual_view(kitchen(), lam)
        assert view.gap == pytest.approx(view.dual - best.objective, abs=1e-9)
        assert view.met == (lam >= best.lam)


def test_an_infeasible_limit_has_no_gap_and_is_never_met() -> None:
    for lam in (0.0, 5.0, 500.0):
        view = dual_view(kitchen(0.02), lam)
        assert view.gap is None
        assert not view.met
        assert view.describe().endswith("), no policy meets this limit")


def test_a_negative_number_is_written_with_a_true_minus() -> None:
    assert "limit −0.500 (missed by 1)" in dual_view(coin(-0.5), 1.0).describe()


def test_a_walk_is_repeated_dual_steps() -> None:
    lam, expected = 0.0, [0.0]
    for _ in range(5):
        lam = dual_step(lam, by_brute_force(kitchen(), lam)["cost"], 0.15, eta=3.0)
        expected.append(lam)
    assert dual_walk(kitchen(), 0.0, eta=3.0, steps=5) == pytest.approx(expected, rel=1e-9)
    assert expected[1] > 0  # too costly at lam = 0, so the price rises


def test_a_walk_settles_on_the_exact_multiplier_and_a_slack_limit_walks_to_nought() -> None:
    best = kitchen().solve()
    assert dual_walk(kitchen(), 0.0, eta=10.0, steps=40)[-1] == pytest.approx(best.lam, abs=1e-6)
    assert dual_walk(kitchen(0.9), 2.0, eta=10.0, steps=40)[-1] == 0.0


def test_a_walk_without_an_end_stops_at_the_top() -> None:
    walk = dual_walk(kitchen(0.02), 0.0, eta=50.0, steps=40, top=8.0)
    assert walk[-1] == 8.0
    assert dual_walk(kitchen(0.02), 0.0, eta=50.0, steps=40)[-1] > 8.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: dual_view(coin(), -1.0), "'lam': -1 is negative", id="negative price"),
        pytest.param(lambda: dual_view(coin(), math.nan), "'lam'", id="no number"),
        pytest.param(lambda: dual_walk(coin(), 0.0, eta=0.0, steps=1), "eta=0.0 must be above 0", id="eta"),
        pytest.param(lambda: dual_walk(coin(), 0.0, eta=1.0, steps=-1), "steps=-1", id="steps"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [lambda p: dual_view(p, 0.0), lambda p: dual_walk(p, 0.0, eta=1.0, steps=1), dual_slider],  # type: ignore[arg-type]
)
def test_several_limits_are_refused(call: Any) -> None:
    two = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[[1, 0]], [[0, 1]]], beta=1.0, cost_limit=[0.5, 0.5])
    with pytest.raises(InputError, match="one limit, and the problem has 2"):
        call(two)


# ---- the widget -----------------------------------------------------------------------------------


def agrees(slider: DualSlider) -> None:
    """Check all that a reader sees against `dual_view` of the problem as the sliders state it."""
    view, picture = dual_view(slider.problem, slider.walk[-1]), slider._picture
    assert slider.view == view
    assert slider.lam.value == pytest.approx(view.lam, abs=slider.lam.step / 2)
    assert view.describe() in slider.line.value
    assert picture.point.get_xydata() == pytest.approx(np.array([[view.lam, view.dual]]))
    (x0, y0), (x1, y1) = picture.tangent.get_xydata()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(view.slope)
    assert np.interp(view.lam, [x0, x1], [y0, y1]) == pytest.approx(view.dual)
    low, high = picture.gap.get_ydata()
    assert high - low == pytest.approx(view.gap or 0.0)
    heights = [slider.problem.dual(lam) for lam in slider.walk[:-1]]
    assert picture.stops.get_ydata() == pytest.approx(heights)
    assert bytes(slider.image.value).startswith(b"\x89PNG")


def test_the_slider_opens_at_lam_nought_on_the_given_problem() -> None:
    slider = dual_slider(kitchen())
    assert (slider.lam.value, slider.limit.value, slider.beta.value) == (0.0, 0.15, pytest.approx(0.5))
    agrees(slider)


def test_the_same_numbers_as_the_static_twin() -> None:
    slider = dual_slider(kitchen())
    slider.lam.value = 2.0
    twin = plots.dual_data(kitchen(), lam=2.0)
    assert (slider.view.lam, slider.view.dual) == (twin.lam, pytest.approx(twin.value))
    assert slider.view.slope == pytest.approx(twin.slope)
    assert slider.view.gap == pytest.approx(twin.gap)
    assert slider._picture.curve.get_xydata() == pytest.approx(
        np.column_stack([twin.curve.lam, twin.curve.dual])
    )


def test_moving_lam_moves_point_tangent_line_and_pixels() -> None:
    slider = dual_slider(kitchen())
    before = bytes(slider.image.value)
    slider.lam.value = 4.0
    agrees(slider)
    assert bytes(slider.image.value) != before
    slider.lam.value = 0.0
    assert bytes(slider.image.value) == before  # nothing of the old place is left on the kept figure


def test_the_strip_changes_where_the_limit_is_met() -> None:
    slider = dual_slider(kitchen())
    best = slider.problem.solve().lam
    (missed, _), (met, _) = slider._picture.strips
    assert (missed.get_x(), missed.get_x() + missed.get_width()) == (0.0, pytest.approx(best))
    assert (met.get_x(), met.get_x() + met.get_width()) == (pytest.approx(best), slider._picture.right)


def test_the_button_takes_dual_steps() -> None:
    slider = dual_slider(kitchen())
    for _ in range(3):
        slider.step.click()
    assert slider.walk == dual_walk(kitchen(), 0.0, eta=slider.eta.value, steps=3, top=slider._picture.right)
    assert slider.play.value == 3
    assert "dual steps taken: 3" in slider.line.value
    agrees(slider)


def test_playing_to_the_end_reaches_the_exact_multiplier() -> None:
    slider = dual_slider(kitchen())
    slider.play.value = STEPS
    assert slider.walk[-1] == pytest.approx(kitchen().solve().lam, abs=1e-6)
    slider.play.value = 0  # the stop button
    assert slider.walk == [0.0]
    agrees(slider)


def test_a_hand_on_lam_starts_a_new_walk() -> None:
    slider = dual_slider(kitchen())
    slider.play.playing = True
    slider.play.value = 4
    slider.lam.value = 6.0
    assert slider.walk == [6.0]
    assert slider.play.value == 0
    assert not slider.play.playing
    agrees(slider)


def test_a_browser_that_rounds_a_dual_step_to_the_grid_starts_no_new_walk() -> None:
    slider = dual_slider(kitchen())
    slider.step.click()
    exact, notch = slider.walk[-1], slider.lam.step
    slider.lam.value = notch * round(exact / notch)
    assert slider.walk == [0.0, exact]
    slider.lam.value += notch  # the arrow key
    assert len(slider.walk) == 1
    agrees(slider)


@pytest.mark.parametrize("limit", [0.15, 0.02, 0.9, -3.0, 0.0])
def test_every_slider_opens_on_its_grid_so_that_a_browser_leaves_it_there(limit: float) -> None:
    slider = dual_slider(kitchen(limit))
    for part in (slider.lam, slider.limit, slider.eta):
        notches = (part.value - part.min) / part.step
        assert notches == pytest.approx(round(notches), abs=1e-6)
        assert part.min <= part.value <= part.max
    assert slider.eta.min > 0


def test_another_step_size_walks_the_same_number_of_steps_anew() -> None:
    slider = dual_slider(kitchen())
    slider.play.value = 5
    slider.eta.value = slider.eta.max
    assert slider.walk == dual_walk(kitchen(), 0.0, eta=slider.eta.max, steps=5, top=slider._picture.right)
    agrees(slider)


def test_limit_and_beta_state_another_problem() -> None:
    slider = dual_slider(kitchen())
    slider.lam.value = 2.0
    slider.limit.value = 0.4
    slider.beta.value = 1.0
    assert slider.problem.cost_limit == 0.4
    assert slider.problem.beta == 1.0
    assert slider.view == dual_view(kitchen(0.4).with_beta(1.0), 2.0)
    agrees(slider)


def test_slack_binding_and_infeasible_limits_are_in_reach() -> None:
    slider, found = dual_slider(kitchen()), []
    for limit in (slider.limit.max, 0.15, slider.limit.min):
        slider.limit.value = limit
        found.append(slider.problem.solve().status)
        agrees(slider)
    assert found == ["slack", "optimal", "infeasible"]
    assert "no policy meets this limit" in slider.line.value
    assert not slider._picture.floor.get_visible()


def test_a_saved_notebook_says_what_is_missing() -> None:
    assert "static twin" in repr(dual_slider(coin()))
