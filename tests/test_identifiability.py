"""A cost without a zero: what labels leave open, what limits do on it, and the picture of both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from pictures import assert_legible, lines, same_bytes_twice, words

from cdpo_edu import Pairs, SafetyBandit, plots
from cdpo_edu.bandit import Table
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.laboratories.cost_fits import fit_costs, losses_of, open_directions, predicted_flags
from cdpo_edu.laboratories.identifiability import Identifiability, identifiability
from cdpo_edu.types import InputError

NAN = float("nan")


def world(seed: int = 0) -> SafetyBandit:
    """Three prompts of unequal weight, five responses."""
    random = np.random.default_rng(seed)
    cost = random.normal(size=(3, 5))
    reward = 0.8 * cost + 0.6 * random.normal(size=(3, 5))
    reference, weights = random.dirichlet(np.full(5, 3.0), 3), np.array([0.5, 0.3, 0.2])
    tables = [torch.tensor(part) for part in (reference, reward, cost, weights)]
    return SafetyBandit(tables[0], Table(tables[1]), Table(tables[2]), tables[3])


def some_pairs(seed: int, n: int, shape: tuple[int, int]) -> Pairs:
    """Labels at random, some of them unknown."""
    random = np.random.default_rng(seed)
    x, y0 = random.integers(shape[0], size=n), random.integers(shape[1], size=n)
    y1 = (y0 + random.integers(1, shape[1], size=n)) % shape[1]
    flags = random.choice([0.0, 1.0, NAN, NAN, NAN, NAN], size=(n, 2))
    safer = random.choice([0.0, 1.0, 0.5, NAN], size=n)
    columns = [torch.tensor(part) for part in (x, y0, y1)]
    return Pairs(*columns, safer=torch.tensor(safer), unsafe=torch.tensor(flags))


def nullity(pairs: Pairs, shape: tuple[int, int], *, flags: bool) -> int:
    """Count by linear algebra the directions of the table that change no margin of the loss."""
    rows = []
    assert pairs.safer is not None
    assert pairs.unsafe is not None
    for i in range(len(pairs)):
        one, other = (np.zeros(shape) for _ in range(2))
        one[pairs.prompts[i], pairs.y0[i]] = 1
        other[pairs.prompts[i], pairs.y1[i]] = 1
        rows += [] if pairs.safer[i].isnan() else [(one - other).ravel()]
        known = (~pairs.unsafe[i].isnan()).tolist()
        rows += [part.ravel() for part, k in zip((one, other), known, strict=True) if k and flags]
    return int(np.prod(shape) - np.linalg.matrix_rank(np.array(rows)))


# ---- what the labels leave open -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize("n", [4, 15, 60])
def test_open_directions_are_the_null_space_of_the_margins(seed: int, flags: bool, n: int) -> None:
    shape = (3, 5)
    pairs = some_pairs(seed, n, shape)
    assert open_directions(pairs, shape, flags=flags) == nullity(pairs, shape, flags=flags)


@pytest.mark.parametrize("flags", [False, True])
def test_labels_that_are_probabilities_give_the_gold_cost_back(flags: bool) -> None:
    """With s(c0 - c1) and s(c) themselves as labels, the gold cost makes every gradient 0."""
    own = world()
    pairs = own.pairs(200, seed=0)
    c0, c1 = (own.cost(pairs.prompts, y) for y in (pairs.y0, pairs.y1))
    soft = Pairs(
        *(pairs.prompts, pairs.y0, pairs.y1),
        safer=(c0 - c1).sigmoid(),
        unsafe=torch.stack([c0, c1], dim=1).sigmoid(),
    )
    start = np.array([[4.0], [-2.0], [1.0]])
    fit, gold = fit_costs(soft, (3, 5), flags=flags, start=start), own.cost.values.numpy()
    off = fit.cost - gold
    if flags:
        assert np.abs(off).max() < 1e-6
        assert fit.open_directions == 0
    else:
        np.testing.assert_allclose(off - off.mean(axis=1, keepdims=True), 0, atol=1e-6)
        np.testing.assert_allclose(fit.cost.mean(axis=1), start[:, 0], atol=1e-9)  # stayed where it was
        assert fit.open_directions == 3


def test_a_flag_counts_as_a_comparison_with_the_boundary() -> None:
    """Nine flags on response 0, six up: c0 = log(6/3). One comparison in four says 1 is worse: log 3 less."""
    zeros = torch.zeros(12, dtype=torch.long)
    safer = torch.tensor([1.0] * 9 + [0.0] * 3)
    unsafe = torch.full((12, 2), NAN)
    unsafe[:9, 0] = torch.tensor([1.0] * 6 + [0.0] * 3)
    fit = fit_costs(Pairs(zeros, zeros, zeros + 1, safer=safer, unsafe=unsafe), (1, 2), flags=True)
    np.testing.assert_allclose(fit.cost, [[np.log(2), np.log(2) - np.log(3)]], atol=1e-7)
    assert fit.flag_loss == pytest.approx(-(2 * np.log(2 / 3) + np.log(1 / 3)) / 3)
    assert fit.comparison_loss == pytest.approx(-(3 * np.log(3 / 4) + np.log(1 / 4)) / 4)


def test_predicted_flags_leaves_unknown_ones_out() -> None:
    index = torch.tensor([0, 0])
    unsafe = torch.tensor([[1.0, NAN], [NAN, 0.0]])
    pairs = Pairs(index, index, index + 1, safer=torch.ones(2), unsafe=unsafe)
    predicted, outcome = predicted_flags([[np.log(4), -np.log(4)]], pairs)
    np.testing.assert_allclose(predicted, [0.8, 0.2])
    assert outcome.tolist() == [1, 0]
    assert losses_of([[np.log(4), -np.log(4)]], pairs)[1] == pytest.approx(-np.log(0.8))


def test_labels_that_cannot_be_fitted_are_refused() -> None:
    zeros = torch.zeros(3, dtype=torch.long)
    always = Pairs(zeros, zeros, zeros + 1, safer=torch.ones(3))
    with pytest.raises(InputError, match="no finite cost is best"):
        fit_costs(always, (1, 2), flags=False)
    with pytest.raises(InputError, match="no 'unsafe' flags"):
        fit_costs(always, (1, 2), flags=True)
    with pytest.raises(InputError, match="no 'safer' labels"):
        fit_costs(Pairs(zeros, zeros, zeros + 1), (1, 2), flags=False)


# ---- what the limits feel -------------------------------------------------------------------------

SHIFTS = np.array([[0.0, 0.0, 0.0], [0.3, -0.1, -0.6], [-0.3, -0.3, -0.3], [-1.0, 0.0, 1.0]])
"""Per prompt; the second has mean 0.5 * 0.3 - 0.3 * 0.1 - 0.2 * 0.6 = 0, the last -0.3 like the third."""


@pytest.fixture(scope="module")
def lab() -> Identifiability:
    return identifiability(world(), n=6000, cost_limit=-0.6, starts=SHIFTS)


def test_every_start_explains_the_comparisons_equally_well(lab: Identifiability) -> None:
    losses = [reading.comparison_loss for reading in lab.absolute]
    assert np.ptp(losses) < 1e-12
    assert losses[0] <= lab.gold.comparison_loss
    assert lab.open_directions == 3
    assert lab.open_with_flags == 0


def test_an_absolute_limit_feels_the_mean_of_the_shifts_and_nothing_else(lab: Identifiability) -> None:
    base, zero_mean, lower, same_mean = lab.absolute
    assert zero_mean.cost == pytest.approx(base.cost, abs=1e-6)
    assert same_mean.cost == pytest.approx(lower.cost, abs=1e-6)
    assert lower.offset == pytest.approx(base.offset - 0.3, abs=1e-6)
    assert lower.cost > base.cost + 0.1
    assert len({round(reading.sign_accuracy, 6) for reading in lab.absolute}) > 1  # signs feel each of them


def test_a_mean_shift_is_another_limit(lab: Identifiability) -> None:
    """c - 0.3 under the limit -0.6 is c under the limit -0.3."""
    looser = identifiability(world(), n=6000, cost_limit=-0.3, starts=SHIFTS[:1])
    assert looser.absolute[0].cost == pytest.approx(lab.absolute[2].cost, abs=1e-6)


def test_a_relative_limit_feels_none_of_the_shifts(lab: Identifiability) -> None:
    costs = [reading.cost for reading in lab.relative]
    assert np.ptp(costs) < 1e-6
    assert costs[0] == pytest.approx(lab.cost_limit, abs=0.15)  # noise of the labels alone


def test_other_weights_on_one_side_of_a_relative_limit_bring_the_shifts_back() -> None:
    """sum_x (w - v)(x) s(x) = 0.3 * 2 for w = (0.5, 0.3, 0.2), v = (0.2, 0.3, 0.5), s = (2, 0, 0)."""
    own, shift = world(), np.array([[2.0], [0.0], [0.0]])
    policy, reference = np.full((3, 5), 0.2), own.ref_probs.numpy()

    def difference(cost: np.ndarray, weights: list[float]) -> float:
        parts = [
            FiniteProblem(reference, cost, cost, beta=1, cost_limit=0, prompt_probs=w).evaluate(pi).cost
            for pi, w in ((policy, [0.5, 0.3, 0.2]), (reference, weights))
        ]
        return float(parts[0]) - float(parts[1])  # type: ignore[arg-type]

    gold = own.cost.values.numpy()
    for weights, moved in (([0.5, 0.3, 0.2], 0.0), ([0.2, 0.3, 0.5], 0.6)):
        change = difference(gold + shift, weights) - difference(gold, weights)
        assert change == pytest.approx(moved, abs=1e-12)


def test_flags_pin_the_zero(lab: Identifiability) -> None:
    """12,000 flags, each with at most 1/4 of information on the shift: a standard error of about 0.02."""
    assert abs(lab.anchored.offset) < 0.1
    assert lab.anchored.flag_loss < min(reading.flag_loss for reading in lab.absolute) + 1e-12
    assert lab.anchored.sign_accuracy > 0.85
    assert lab.gold.sign_accuracy == 1
    assert abs(lab.anchored.cost - lab.cost_limit) < 0.2
    assert lab.gold.cost == pytest.approx(lab.cost_limit, abs=1e-9)
    assert lab.anchored.believed == pytest.approx(lab.cost_limit, abs=1e-9)


def test_far_shifts_make_a_limit_slack_or_out_of_reach() -> None:
    low, high = identifiability(world(), n=6000, cost_limit=-0.6, starts=[-9.0, 9.0]).absolute
    assert (low.status, high.status) == ("slack", "infeasible")
    assert np.isnan([high.believed, high.cost, high.reward]).all()


# ---- the picture ----------------------------------------------------------------------------------


def picture_lab() -> Identifiability:
    return identifiability(SafetyBandit.demo(), starts=np.linspace(-2.0, 2.0, 9))


def test_the_picture_inks_the_labs_numbers() -> None:
    lab = picture_lab()
    ax, data = plots.plot_identifiability(lab), plots.identifiability_data(lab)
    (blue,) = lines(ax, plots.RUN)
    np.testing.assert_array_equal(blue.get_xdata(), [reading.offset for reading in lab.absolute])
    np.testing.assert_array_equal(blue.get_ydata(), [reading.cost for reading in lab.absolute])
    (green,) = lines(ax, "#009E73")
    np.testing.assert_array_equal(green.get_ydata(), [reading.cost for reading in lab.relative])
    (flags,) = lines(ax, plots.TANGENT)
    assert flags.get_xydata().tolist() == [[lab.anchored.offset, lab.anchored.cost]]
    (limit,) = lines(ax, plots.LIMIT)
    assert limit.get_ydata() == [lab.cost_limit] * 2
    (hatched,) = ax.patches
    assert to_hex(hatched.get_edgecolor()).upper() == plots.LIMIT
    assert ax.get_title(loc="left") == data.describe()
    assert {"with flags", "limit C = −0.5", "no policy\nmeets it"} <= set(words(ax))


def test_the_picture_says_how_many_fits_break_the_limit() -> None:
    lab = picture_lab()
    broken = sum(reading.cost > lab.cost_limit for reading in lab.absolute)
    out = sum(reading.status == "infeasible" for reading in lab.absolute)
    assert 0 < broken < 9
    assert 0 < out < 9
    second = plots.identifiability_data(lab).describe().splitlines()[1]
    assert second == f"absolute limit −0.5: broken by {broken}, out of reach for {out}"


def test_the_picture_can_be_read_and_repeated() -> None:
    lab = picture_lab()
    assert_legible("identifiability", [plots.plot_identifiability(lab, ax=plots.blank_axes(size=(8.0, 5.6)))])
    assert same_bytes_twice(lambda ax: plots.plot_identifiability(lab, ax=ax))


def test_one_fit_is_no_picture() -> None:
    with pytest.raises(InputError, match="at least two starts"):
        plots.plot_identifiability(identifiability(SafetyBandit.demo(), starts=[0.0]))
