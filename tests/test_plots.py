"""The numbers drawn are the oracle's, the limit is always there, and the back row can read a picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from cdpo_edu import plots
from cdpo_edu.exact import FiniteProblem, frontier
from cdpo_edu.history import Record
from cdpo_edu.types import InputError


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def coin(limit: float = 0.25) -> FiniteProblem:
    """Two answers at even odds; the helpful one (r = 1) is the harmful one (c = 1); beta = 1.

    pi_lam(helpful) = e^(1 - lam) / (e^(1 - lam) + 1), which is E[c] and E[r];
    D = log((e^(1 - lam) + 1)/2) + lam C.
    """
    return FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=limit)


def drawn_at_random(seed: int, *, prompts: int = 3, responses: int = 6) -> FiniteProblem:
    """A problem whose limit lies halfway between the least cost and the cost without a limit."""
    random = np.random.default_rng(seed)
    cost = random.normal(size=(prompts, responses))
    tables: dict[str, Any] = {
        "reference": random.dirichlet(np.ones(responses), prompts),
        "reward": 0.8 * cost + random.normal(size=cost.shape),
        "cost": cost,
        "beta": 0.5,
    }
    free = FiniteProblem(**tables, cost_limit=1e6)
    unlimited = free.evaluate(free.policy(0.0)).cost
    assert isinstance(unlimited, float)
    return FiniteProblem(**tables, cost_limit=(unlimited + float(cost.min(axis=1).mean())) / 2)


def history(problem: FiniteProblem, lams: list[float]) -> list[Record]:
    """The rounds of a run that always reaches the tilted policy; round 0 is the reference."""
    records = []
    for number, lam in enumerate([0.0, *lams]):
        own = problem.evaluate(problem.policy(lam) if number else problem.reference)
        assert isinstance(own.cost, float)
        assert isinstance(problem.cost_limit, float)
        low, high, loss = own.cost - 0.1, own.cost + 0.2, None if number == 0 else 0.6
        records.append(
            Record(number, lam, own.reward, own.cost, low, high, problem.cost_limit, own.kl, loss, 100, 7)
        )
    return records


def row(name: str, reward: float, cost: float) -> dict[str, Any]:
    ends = {
        "reward_low": reward - 0.1,
        "reward_high": reward + 0.2,
        "cost_low": cost - 0.3,
        "cost_high": cost + 0.4,
    }
    return {"policy": name, "reward": reward, "cost": cost, "kl": 0.5, "kl_low": 0.4, "kl_high": 0.6} | ends


ROWS = [
    row("reference", -0.3, 0.25),
    row("reward-only DPO", 0.9, 0.8),
    row("cost-only DPO", -0.6, -0.9),
    row("constrained DPO", 0.35, -0.25),
]


def lines(ax: Axes, colour: str) -> list[Line2D]:
    return [line for line in ax.lines if to_hex(line.get_color()).upper() == colour.upper()]


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


# ---- the dual -------------------------------------------------------------------------------------


def test_the_dual_curve_by_hand() -> None:
    curve = plots.dual_curve(coin(), [0.0, 1.0, 1.0 + math.log(3.0)])
    # lam = 0: odds e : 1.  lam = 1: even odds.  lam = 1 + log 3: odds 1 : 3, which is the limit.
    np.testing.assert_allclose(curve.cost, [math.e / (math.e + 1), 0.5, 0.25])
    np.testing.assert_allclose(curve.reward, curve.cost)
    third = math.log((1 / 3 + 1) / 2) + 0.25 * (1 + math.log(3))
    np.testing.assert_allclose(curve.dual, [math.log((math.e + 1) / 2), 0.25, third])
    np.testing.assert_allclose(curve.kl[1:], [0.0, 0.25 * math.log(0.5) + 0.75 * math.log(1.5)], atol=1e-15)
    assert curve.lam_exact == pytest.approx(1 + math.log(3))
    assert curve.dual_bound == pytest.approx(third)


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_agrees_with_the_oracle_and_never_dips_below_its_minimum(seed: int) -> None:
    problem = drawn_at_random(seed)
    curve, best = plots.dual_curve(problem), problem.solve()
    along = frontier(problem, curve.lam)
    np.testing.assert_array_equal(curve.cost, along.cost)
    assert curve.dual_bound == best.dual_bound
    assert best.dual_bound is not None
    assert curve.dual.min() >= best.dual_bound - 1e-12
    np.testing.assert_allclose(
        np.gradient(curve.dual, curve.lam)[1:-1], (curve.cost_limit - curve.cost)[1:-1], atol=0.01
    )


def test_dual_data_by_hand() -> None:
    data = plots.dual_data(coin(), lam=1.0, iterates=[0.0, 1.0])
    minimum = math.log(2 / 3) + 0.25 * (1 + math.log(3))
    assert data.value == pytest.approx(0.25)
    assert data.slope == pytest.approx(0.25 - 0.5)
    assert data.gap == pytest.approx(0.25 - minimum)
    np.testing.assert_allclose(data.iterate_values, [math.log((math.e + 1) / 2), 0.25])
    assert (
        data.describe()
        == f"λ = 1: limit not met, E[c] = 0.5 > C = 0.25\ngap D(λ) − min D = {0.25 - minimum:.3g} nats"
    )


def test_a_table_of_the_dual_gives_the_same_picture_as_the_problem() -> None:
    problem = drawn_at_random(1)
    table = plots.dual_curve(problem)
    points = table.lam[:-1] + 0.37 * np.diff(table.lam)  # between the table's own points
    exact, read = plots.dual_curve(problem, points), table.at(points)
    for name in ("dual", "reward", "cost", "kl"):
        np.testing.assert_allclose(getattr(read, name), getattr(exact, name), atol=2e-6)
    lam = float(points[40])
    assert plots.dual_data(table, lam=lam).gap == pytest.approx(
        plots.dual_data(problem, lam=lam).gap, abs=1e-8
    )


def test_a_table_is_not_read_beyond_its_ends() -> None:
    table = plots.dual_curve(coin(), [0.0, 1.0, 2.0])
    with pytest.raises(InputError, match="covers 0 to 2 only"):
        plots.dual_data(table, lam=2.5)


def test_the_curve_survives_json() -> None:
    table = plots.dual_curve(coin(), [0.0, 1.0, 2.0])
    kept = table.as_dict()
    assert kept["lam"] == [0.0, 1.0, 2.0]
    assert kept["dual"] == table.dual.tolist()
    assert set(kept) == {"lam", "dual", "reward", "cost", "kl", "cost_limit", "lam_exact", "dual_bound"}


def test_plot_dual_inks_the_data() -> None:
    problem = coin()
    data = plots.dual_data(problem, lam=1.0, iterates=[0.0, 0.5, 1.0])
    ax = plots.plot_dual(problem, lam=1.0, iterates=[0.0, 0.5, 1.0])
    curve = max(lines(ax, plots.RUN), key=lambda line: len(line.get_xydata()))
    np.testing.assert_array_equal(curve.get_xydata(), np.column_stack([data.curve.lam, data.curve.dual]))
    tangent = next(
        line
        for line in lines(ax, plots.TANGENT)
        if line.get_linestyle() == "-" and len(line.get_xdata()) == 2
    )
    (x0, y0), (x1, y1) = tangent.get_xydata()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(-0.25)
    assert y0 + (1.0 - x0) * -0.25 == pytest.approx(0.25)  # it touches D at lam = 1
    walk = next(line for line in lines(ax, plots.REFERENCE) if line.get_marker() == "o")
    np.testing.assert_array_equal(walk.get_xydata(), np.column_stack([data.iterates, data.iterate_values]))
    assert "slope C − E[c]\n= 0.25 − 0.5 = −0.25" in words(ax)
    assert ax.get_title(loc="left") == data.describe()


@pytest.mark.parametrize(
    ("limit", "lam", "strip", "title"),
    [
        pytest.param(
            0.25, 2.5, {"limit met", "limit not met"}, "limit met", id="binding, beyond the optimum"
        ),
        pytest.param(0.9, 0.5, {"limit met"}, "limit met", id="slack"),
        pytest.param(0.0, 2.0, {"limit not met"}, "limit not met", id="edge"),
        pytest.param(-0.1, 2.0, {"limit not met"}, "no policy meets the limit", id="infeasible"),
    ],
)
def test_the_dual_picture_says_where_the_limit_is_met(
    limit: float, lam: float, strip: set[str], title: str
) -> None:
    ax = plots.plot_dual(coin(limit), lam=lam)
    assert {text for text in words(ax) if text.startswith("limit")} == strip
    assert title in ax.get_title(loc="left")


def test_multipliers_that_look_alike_are_not_called_equal() -> None:
    best = coin().solve().lam  # 2.0986
    assert isinstance(best, float)
    assert "λ = λ* = 2.1" in words(plots.plot_dual(coin(), lam=best))
    assert "λ = 2.12, λ* = 2.1" in words(plots.plot_dual(coin(), lam=best + 0.02))
    assert {"λ = 1", "λ* = 2.1"} <= set(words(plots.plot_dual(coin(), lam=1.0)))


def test_a_violation_too_small_for_three_digits_still_shows() -> None:
    problem = coin(0.5)  # met from lam = 1 on
    assert "E[c] = 0.50025 > C = 0.5" in plots.dual_data(problem, lam=0.999).describe()
    assert "limit met" in plots.dual_data(problem, lam=1.0).describe()


def test_several_limits_are_refused() -> None:
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[[1, 0]], [[0, 1]]], beta=1.0, cost_limit=[0.6, 0.6])
    with pytest.raises(InputError, match="of one limit, and the problem has 2"):
        plots.plot_dual(problem, lam=0.0)


# ---- a run ----------------------------------------------------------------------------------------


def test_the_path_takes_records_and_mappings_alike() -> None:
    records = history(coin(), [0.5, 1.0])
    from_records = plots.dual_path_data(records)
    from_rows = plots.dual_path_data([record.as_dict() for record in records])
    for name in ("round", "lam", "cost", "cost_low", "cost_high", "reward", "kl"):
        np.testing.assert_array_equal(getattr(from_records, name), getattr(from_rows, name))
        np.testing.assert_array_equal(
            getattr(from_records, name), [getattr(record, name) for record in records]
        )


def test_plot_dual_path_inks_every_column_the_interval_and_the_limit() -> None:
    problem = coin()
    records, best = history(problem, [0.5, 1.0, 2.0]), problem.solve()
    panels = plots.plot_dual_path(records, exact=best)
    for ax, name in zip(panels, ("lam", "cost", "reward", "kl"), strict=True):
        run = next(line for line in lines(ax, plots.RUN))
        np.testing.assert_array_equal(run.get_ydata(), [getattr(record, name) for record in records])
        exact = next(line for line in lines(ax, plots.EXACT) if line.get_linestyle() == "--")
        assert exact.get_ydata()[0] == getattr(best, name)
        assert ax.get_ylabel() == plots.AXIS[name]
    limit = lines(panels[1], plots.LIMIT)
    assert [line.get_ydata()[0] for line in limit] == [0.25]
    (intervals,) = [bars for bars in panels[1].collections if hasattr(bars, "get_segments")]
    ends = [(part[0, 1], part[1, 1]) for part in intervals.get_segments()]
    assert ends == [(record.cost_low, record.cost_high) for record in records]


def test_an_optimum_without_a_multiplier_leaves_that_line_out() -> None:
    best = coin(0.0).solve()  # the edge: no finite multiplier
    panels = plots.plot_dual_path(history(coin(0.0), [1.0]), exact=best)
    assert not lines(panels[0], plots.EXACT)
    assert lines(panels[2], plots.EXACT)


def test_a_path_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="holds no round"):
        plots.dual_path_data([])
    with pytest.raises(InputError, match="cost_low: a record without this column"):
        plots.dual_path_data([{"round": 0, "lam": 0.0, "cost": 1.0}])
    with pytest.raises(InputError, match="four panels are drawn"):
        plots.plot_dual_path(history(coin(), []), axes=[plots.blank_axes()])


# ---- policy, frontier, comparison -----------------------------------------------------------------


def test_plot_policy_inks_policy_and_reference() -> None:
    problem = FiniteProblem(
        [[0.5, 0.5], [0.2, 0.8]], [[1, 0], [0, 0]], [[1, 0], [0, 1]], beta=1.0, cost_limit=0.25
    )
    lam = 1 + math.log(3.0)
    ax = plots.plot_policy(problem, lam, labels=["help", "refuse"])
    policy, reference = ax.containers
    np.testing.assert_allclose([bar.get_width() for bar in policy], [0.25, 0.75])
    np.testing.assert_allclose([bar.get_width() for bar in reference], [0.5, 0.5])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["help", "refuse"]
    # Prompt 1: odds 0.2 : 0.8 e^-lam = 0.2 : 0.8/(3e); the mean over prompts is half of each.
    second = (0.8 / (3 * math.e)) / (0.2 + 0.8 / (3 * math.e))
    data = plots.policy_data(problem, lam)
    assert data.prompt_cost == pytest.approx(0.25)
    assert data.expected_cost == pytest.approx((0.25 + second) / 2)
    (scale,) = ax.child_axes
    assert [tick.get_text() for tick in scale.get_yticklabels()][1] == "C = 0.25"
    assert 0.25 in [line.get_ydata()[0] for line in scale.lines]


def test_the_colour_of_a_bar_tells_its_side_of_the_limit() -> None:
    bars = plots.plot_policy(coin(), 0.0).containers[0]
    (red, _, blue, _), (cool_red, _, cool_blue, _) = (bar.get_facecolor() for bar in bars)
    assert red > blue  # cost 1, above C = 0.25
    assert cool_red < cool_blue  # cost 0, below it


def test_a_whole_policy_is_taken_as_well_as_a_multiplier() -> None:
    problem = drawn_at_random(2)
    by_lam, by_table = (
        plots.policy_data(problem, 0.7, prompt=2),
        plots.policy_data(problem, problem.policy(0.7), prompt=2),
    )
    np.testing.assert_array_equal(by_lam.probs, by_table.probs)
    assert by_lam.expected_cost == pytest.approx(problem.evaluate(problem.policy(0.7)).cost)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": 3}, "prompt: 3 is no row of a table with 3 prompts"),
        ({"prompt": -1}, "prompt: -1 is no row"),
        ({"labels": ["a"]}, "labels: 1 names for 6 responses"),
        ({"lam_or_probs": np.ones((2, 2))}, r"probs: shape \(2, 2\)"),
    ],
)
def test_a_policy_that_does_not_fit_the_tables_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plots.policy_data(drawn_at_random(0), **({"lam_or_probs": 0.0} | options))


def test_the_frontier_is_the_oracles_and_the_star_is_the_optimum() -> None:
    problem = drawn_at_random(3)
    data, best = plots.frontier_data(problem), problem.solve()
    along = frontier(problem, data.lam)
    np.testing.assert_array_equal(data.reward, along.reward)
    np.testing.assert_array_equal(data.cost, along.cost)
    assert np.all(np.diff(data.cost) < 0)  # a higher price buys less cost
    assert data.chosen == pytest.approx((best.lam, best.cost, best.reward))
    ax = plots.plot_frontier(problem)
    star = next(line for line in ax.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == data.chosen[1:]
    assert [line.get_xdata()[0] for line in lines(ax, plots.LIMIT)] == [problem.cost_limit]


def test_the_frontier_of_a_run_ends_at_its_last_round_and_claims_no_optimum() -> None:
    records = history(coin(), [0.5, 1.0])
    data = plots.frontier_data(records)
    assert data.chosen == (1.0, pytest.approx(0.5), pytest.approx(0.5))
    assert len(data.lam) == 0
    assert data.describe().startswith("last round, λ = 1: measured E[c] = 0.5, C = 0.25")
    ax = plots.plot_frontier(records)
    run = max(lines(ax, plots.RUN), key=lambda line: len(line.get_xdata()))
    np.testing.assert_array_equal(run.get_xdata(), [record.cost for record in records])
    assert not [text for text in words(ax) if "exact" in text]


def test_an_infeasible_frontier_marks_no_point() -> None:
    ax = plots.plot_frontier(coin(-0.1))
    assert not [line for line in ax.lines if line.get_marker() == "*"]
    assert "no multiplier brings E[c] down to C = −0.1" in ax.get_title(loc="left")


def test_plot_comparison_inks_every_policy_with_its_cross_and_the_limit() -> None:
    ax = plots.plot_comparison(ROWS, cost_limit=-0.2)
    data = plots.comparison_data(ROWS, cost_limit=-0.2)
    np.testing.assert_allclose(data.cost[3], [-0.25, -0.55, 0.15])
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() in "os^D"}
    assert points == {(row["cost"], row["reward"]) for row in ROWS}
    crosses = {tuple(line.get_xdata()) for line in ax.lines}
    assert {(row["cost_low"], row["cost_high"]) for row in ROWS} <= crosses
    assert {str(row["policy"]) for row in ROWS} <= set(words(ax))
    assert [line.get_xdata()[0] for line in lines(ax, plots.LIMIT)] == [-0.2]
    assert (
        len({line.get_marker() for line in ax.lines if line.get_marker() in "os^D"}) == 4
    )  # told apart without colour


# ---- the look -------------------------------------------------------------------------------------


def every_picture(seed: int) -> dict[str, list[Axes]]:
    problem = drawn_at_random(seed)
    best = problem.solve()
    assert isinstance(best.lam, float)
    walk = [0.0, 0.5 * best.lam, 0.8 * best.lam, 1.3 * best.lam]
    run = history(problem, walk)
    blank = plots.blank_axes
    return {
        "dual, short": [plots.plot_dual(problem, lam=walk[1], iterates=walk[:2], ax=blank(size=(8, 5.6)))],
        "dual, at the optimum": [
            plots.plot_dual(problem, lam=best.lam, iterates=walk, ax=blank(size=(8, 5.6)))
        ],
        "dual, beyond": [plots.plot_dual(problem, lam=1.7 * best.lam, ax=blank(size=(8, 5.6)))],
        "path": plots.plot_dual_path(run, exact=best, axes=[blank() for _ in range(4)]),
        "policy": [
            plots.plot_policy(problem, best.lam, labels=[f"answer number {i}" for i in range(6)], ax=blank())
        ],
        "frontier": [plots.plot_frontier(problem, ax=blank())],
        "frontier of a run": [plots.plot_frontier(run, ax=blank())],
        "comparison": [plots.plot_comparison(ROWS, cost_limit=-0.2, ax=blank())],
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_text_lies_on_another_and_none_is_smaller_than_twelve_points(seed: int) -> None:
    for name, axes in every_picture(seed).items():
        for ax in axes:
            ax.get_figure().draw_without_rendering()  # type: ignore[union-attr]
            texts = [text for text in ax.texts if text.get_text()]
            for text in [*texts, ax.title, ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]:
                assert text.get_fontsize() >= 12, (name, text.get_text())
            for one, other in itertools.combinations(texts, 2):
                assert not one.get_window_extent().overlaps(other.get_window_extent()), (name, one, other)


def test_every_line_that_carries_a_meaning_is_at_least_two_points_wide() -> None:
    for name, axes in every_picture(0).items():
        for line in itertools.chain.from_iterable(ax.lines for ax in axes):
            assert line.get_linewidth() >= 2 or line.get_linestyle() == "None", name


def test_axes_carry_symbol_name_and_unit() -> None:
    ax = plots.plot_dual(coin(), lam=1.0)
    assert ax.get_xlabel() == "multiplier λ (nats per cost unit)"
    assert ax.get_ylabel() == "dual function D(λ) (nats)"
    assert all(
        "(" in words and words.endswith(")")
        for key, words in plots.AXIS.items()
        if key not in ("round", "probs")
    )


def test_given_axes_come_back_and_the_style_does_not_leak() -> None:
    before = dict(mpl.rcParams)
    ax = plt.subplots()[1]
    assert plots.plot_dual(coin(), lam=1.0, ax=ax) is ax
    assert plots.plot_frontier(coin(), ax=ax) is ax
    assert dict(mpl.rcParams) == before


def test_without_axes_a_new_figure_opens() -> None:
    first, second = plots.plot_dual(coin(), lam=1.0), plots.plot_comparison(ROWS, cost_limit=0.0)
    assert first.figure is not second.figure
    assert len(plt.get_fignums()) == 2


def test_equal_numbers_give_equal_bytes_without_a_date() -> None:
    once, again = (plots.svg_bytes(plots.plot_dual(coin(), lam=1.0, ax=plots.blank_axes())) for _ in range(2))
    assert once == again
    assert b"dc:date" not in once
    other = plots.svg_bytes(plots.plot_dual(coin(), lam=1.01, ax=plots.blank_axes()))
    assert other != once
