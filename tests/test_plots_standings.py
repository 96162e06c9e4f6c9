"""The league's picture: what stands where, intervals cut at nought, names with their trials."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from pictures import assert_legible, lines, same_bytes_twice, words

from cdpo_edu import plots
from cdpo_edu.evaluate import Estimate
from cdpo_edu.league import League, Play, Standing, Terms
from cdpo_edu.methods import Spent
from cdpo_edu.types import InputError


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def standing(name: str, closeness: float, violation: float, trials: float = 1.0) -> Standing:
    def around(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, 0.05)

    mean = around(closeness), around(violation), around(0.0)
    return Standing(name, *mean, steps=10.0, sampled=4.0, scored=4.0, trials=trials)


ROWS = [standing("C-DPO", 0.9, 0.3), standing("MoCAN", 0.5, 0.05), standing("grid", 0.2, 0.0, trials=8.0)]


def test_the_data_are_the_standings_and_a_violation_is_never_negative() -> None:
    data = plots.standings_data(ROWS)
    np.testing.assert_allclose(data.closeness[0], [0.9, 0.8, 1.0])
    np.testing.assert_allclose(data.violation[1], [0.05, 0.0, 0.15])  # 0.05 - 0.1 is cut
    assert data.methods == ("C-DPO", "MoCAN", "grid") and data.trials.tolist() == [1.0, 1.0, 8.0]
    assert data.describe() == "C-DPO is closest, 0.9\nC-DPO is over most, 0.3"
    assert plots.standings_data(ROWS[2:]).describe() == "grid is closest, 0.2\nnone over"


def test_intervals_are_students_t_over_the_seeds() -> None:
    """Two seeds at 0.5 and 0.7: mean 0.6, standard error 0.1, t with one degree of freedom 12.706."""
    terms = Terms("bandit", (0, 1), 0.5, 0.0, 1, 2)
    plays = tuple(
        Play("a", k, close, 0.0, 0.0, None, None, Spent(1, 0, 0, 1)) for k, close in enumerate((0.5, 0.7))
    )
    data = plots.standings_data(League(terms, plays).standings())
    np.testing.assert_allclose(data.closeness[0], [0.6, 0.6 - 1.2706, 0.6 + 1.2706], atol=1e-4)
    with pytest.raises(InputError, match="two seeds at least"):
        plots.standings_data(League(terms._replace(seeds=(0,)), plays[:1]).standings())
    with pytest.raises(InputError, match="none to draw"):
        plots.standings_data([])


def test_every_method_stands_at_its_means_with_its_trials_beside_the_limit_and_the_optimum() -> None:
    ax = plots.plot_standings(ROWS, title="three methods")
    marks = {tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata()) == 1}
    assert marks == {(0.3, 0.9), (0.05, 0.5), (0.0, 0.2)}
    (limit,) = lines(ax, plots.LIMIT)
    assert list(limit.get_xdata()) == [0.0, 0.0]
    (optimum,) = lines(ax, plots.EXACT)
    assert list(optimum.get_ydata()) == [1.0, 1.0] and optimum.get_linestyle() == "--"
    assert {"C-DPO", "MoCAN", "grid,\n8 trials", "the limit", "exact optimum"} <= set(words(ax))
    assert ax.get_title(loc="left") == "three methods"
    assert (ax.get_xlabel(), ax.get_ylabel()) == (plots.AXIS["violation"], plots.AXIS["closeness"])
    assert_legible("standings", [ax])


def test_equal_numbers_give_equal_bytes() -> None:
    assert same_bytes_twice(lambda ax: plots.plot_standings(ROWS, ax=ax))
