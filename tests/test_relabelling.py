"""The relabelling laboratory: the law of 1/m, labels that flip by lam alone, endless margins."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cdpo_edu import plots
from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.laboratories.relabelling import (
    Relabelling,
    every_pair,
    flips,
    margin_path,
    margin_variance,
    predicted_variance,
    relabelling,
)
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.types import InputError


def scored(repeats: int = 40) -> ScoredPairs:
    world = SafetyBandit.demo(0)
    return every_pair(world, repeats).score(world.reward, world.cost, TabularPolicy.like(world))


@pytest.fixture(scope="module")
def found() -> Relabelling:
    return relabelling(SafetyBandit.demo(0), repeats=40, copies=(1, 8), draws=30, steps=2000)


def test_every_two_responses_are_compared_equally_often() -> None:
    pairs = every_pair(SafetyBandit.demo(0), 3)
    seen = set(zip(pairs.prompts.tolist(), pairs.y0.tolist(), pairs.y1.tolist(), strict=True))  # type: ignore[union-attr]
    assert len(pairs) == 3 * 4 * 15 and len(seen) == 60 and all(a < b for _, a, b in seen)


def test_the_variance_is_that_of_the_fisher_information_and_falls_like_one_over_m(found: Relabelling) -> None:
    """30 draws of 24 entries know a variance to about a tenth; one label is not quite in the limit."""
    assert found.predicted[0] == pytest.approx(8 * found.predicted[1])
    assert found.variance[1] == pytest.approx(found.predicted[1], rel=0.3)
    assert 0.7 * found.predicted[0] < found.variance[0] < 2 * found.predicted[0]
    assert 5 < found.variance[0] / found.variance[1] < 16


def test_soft_labels_have_no_variance_and_reach_the_gap() -> None:
    """The limit of many labels: the fitted implicit reward differs by r - lam c, to the last digits."""
    given = scored()
    reference = TabularPolicy.like(SafetyBandit.demo(0))
    policy = reference.frozen()
    policy.fit(given.label(1.0), beta=0.5, steps=500, seed=0)
    implicit = 0.5 * (policy.logits - reference.logits)
    x, a, b = (torch.as_tensor(part) for part in (given.prompts, given.y0, given.y1))
    assert torch.allclose(implicit[x, b] - implicit[x, a], given.gap(1.0), atol=1e-5)


def test_more_pairs_are_worth_as_much_as_more_labels() -> None:
    """Twice the pairs halve the predicted variance: the information adds up."""
    assert predicted_variance(scored(20), 1.0) == pytest.approx(2 * predicted_variance(scored(40), 1.0))


def test_a_label_flips_only_when_lam_makes_it() -> None:
    """By hand: the share of uniforms between s(gap) at the two lams, against 2 p (1 - p) and more."""
    given, lams = scored(), [0.5, 0.6]
    common, fresh = flips(given, lams, torch.Generator().manual_seed(0))
    p, q = (given.gap(lam).sigmoid() for lam in lams)
    n = len(given)
    for share, chance in ((common[0], (p - q).abs()), (fresh[0], p * (1 - q) + q * (1 - p))):
        mean = float(chance.mean())
        assert abs(share - mean) < 4 * math.sqrt(mean * (1 - mean) / n)
    assert fresh[0] > 5 * common[0] > 0


def test_hard_margins_grow_like_the_logarithm_of_the_steps() -> None:
    """The flow m + e^m = 1 + t, solved by bisection, beside gradient steps of one tenth."""
    path = margin_path(1.0, 20_000, rate=0.1)
    for step in (2_000, 20_000):
        low, high = 0.0, 20.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if middle + math.exp(middle) < 1 + 0.1 * step else (low, middle)
        assert path[step] == pytest.approx(low, abs=0.01)
    assert path[20_000] - path[2_000] == pytest.approx(math.log(10), abs=0.05)
    soft = margin_path(1 / (1 + math.exp(-2.0)), 2_000)
    assert soft[-1] == pytest.approx(2.0, abs=1e-9) and np.all(np.diff(soft) >= -1e-12)


def test_small_counts_are_refused() -> None:
    with pytest.raises(InputError, match="2 draws"):
        relabelling(SafetyBandit.demo(0), draws=1)


@pytest.mark.parametrize("repeats", range(58, 64))
def test_the_shift_of_a_prompt_has_no_variance_whatever_rounding_makes_of_it(repeats: int) -> None:
    """H + 1 1^T is regular: its inverse is H^+ plus 1/36 everywhere, for 6 responses."""
    given = scored(repeats)
    p, x, a, b = given.label(1.0).target, *(torch.as_tensor(k) for k in (given.prompts, given.y0, given.y1))
    information = torch.ones(4, 6, 6, dtype=torch.float64)
    for first, second, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
        information.index_put_((x, first, second), sign * p * (1 - p), accumulate=True)
    inverse = torch.linalg.inv(information).diagonal(dim1=1, dim2=2) - 1 / 36
    assert predicted_variance(given, 1.0) == pytest.approx(float(inverse.mean()), rel=1e-6)


def test_variance_needs_the_draws_of_the_labels() -> None:
    """The same generator state, the same variance; another, another."""
    given = scored(20)
    a, b, c = (
        margin_variance(given, 1.0, 0.5, 4, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert a == b != c


def test_the_picture_says_what_it_shows(found: Relabelling) -> None:
    axes = plots.plot_relabelling(found)
    assert [len(ax.get_lines()) for ax in axes] == [2, 2, 3]
    data = plots.relabelling_data(found)
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == [data.describe(panel) for panel in range(3)]
    assert "8 times as many labels" in titles[0] and "soft margin 2.0" in titles[2]
    np.testing.assert_array_equal(axes[0].get_lines()[1].get_ydata(), found.variance)
    plt.close("all")
