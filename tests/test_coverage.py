"""Islands by brute force, the table's end by a numerical minimiser, the range of costs by trying shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from pictures import assert_legible, lines, same_bytes_twice
from problems import coin, drawn

from cdpo_edu import Kitchen, SafetyBandit, TabularPolicy, plots
from cdpo_edu.bandit import Table
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.laboratories.coverage import (
    comparisons,
    cost_range,
    fitted_table,
    grow_coverage,
    islands,
    measure_coverage,
)
from cdpo_edu.laboratories.coverage import (
    drawn as drawn_pairs,
)
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Preferences
from cdpo_edu.types import InputError


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def some_edges(shape: tuple[int, int], count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    rows = np.column_stack(
        [random.integers(shape[0], size=count), random.integers(shape[1], size=(count, 2))]
    )
    return rows[rows[:, 1] != rows[:, 2]]


def labelled(problem: FiniteProblem, edges: Any, lam: float) -> Preferences:
    """Return the edges as soft labels of r - lam c."""
    x, y0, y1 = torch.tensor(edges).T
    score, ref = torch.tensor(problem.reward - lam * problem.cost), torch.tensor(problem.reference).log()
    target = (score[x, y1] - score[x, y0]).sigmoid()
    return Preferences(x, y0, y1, torch.stack([ref[x, y0], ref[x, y1]], dim=1), target)


def loss_of(probs: Any, problem: FiniteProblem, edges: Any, lam: float) -> float:
    given = labelled(problem, edges, lam)
    logp = torch.tensor(probs).log()
    both = torch.stack([logp[given.prompts, y] for y in (given.y0, given.y1)], dim=1)
    return float(dpo_loss(both, given.ref_logp, given.target, problem.beta).mean())


def entropy_of(problem: FiniteProblem, edges: Any, lam: float) -> float:
    p = labelled(problem, edges, lam).target
    return float(-(p * p.log() + (1 - p) * (1 - p).log()).mean())


# ---- the graph ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_islands_are_what_spreading_along_lines_finds(seed: int) -> None:
    shape = (3, 7)
    edges = some_edges(shape, 8, seed)
    label = np.arange(21).reshape(shape)
    for _ in range(21):  # give both ends the smaller name until nothing changes
        for x, a, b in edges:
            label[x, a] = label[x, b] = min(label[x, a], label[x, b])
    found = islands(shape, edges)
    same = found.ravel()[:, None] == found.ravel()
    np.testing.assert_array_equal(same, label.ravel()[:, None] == label.ravel())


def test_comparisons_are_places_in_the_worlds_table() -> None:
    kitchen = Kitchen(portions=2)
    guests, y0, y1 = (
        ["milk rich", "nuts sweet", "egg fresh"],
        ["cream", "", "rice"],
        ["honey apple", "bean", "rice"],
    )
    edges = comparisons(kitchen, Preferences(guests, y0, y1, torch.zeros(3, 2), torch.ones(3)))
    assert [(kitchen.prompts[x], kitchen.responses[a], kitchen.responses[b]) for x, a, b in edges] == [
        ("milk rich", "cream", "honey apple"),
        ("nuts sweet", "", "bean"),
    ]


@pytest.mark.parametrize("edge", [[3, 0, 1], [0, 0, 5], [0, -1, 1]])
def test_an_edge_must_lie_in_the_table(edge: list[int]) -> None:
    with pytest.raises(InputError, match="table of 3 x 5"):
        measure_coverage(drawn(0), [edge], 1.0)


def test_what_the_reference_never_gives_cannot_be_compared() -> None:
    problem = FiniteProblem([[0.5, 0.5, 0.0]], [[1, 0, 2]], [[1, 0, 9]], beta=1.0, cost_limit=0.5)
    with pytest.raises(InputError, match="never gives"):
        fitted_table(problem, [[0, 0, 2]], 0.0)
    assert cost_range(problem, [[0, 0, 1]], 1.0) == pytest.approx((0.5, 0.5))


# ---- what DPO on a table ends at ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_is_where_a_minimiser_ends(seed: int) -> None:
    problem = drawn(seed, prompts=2, responses=7)
    edges = some_edges((2, 7), 6, seed)
    weights, reference, reward, cost = (
        torch.tensor(part) for part in (problem.prompt_probs, problem.reference, problem.reward, problem.cost)
    )
    world = SafetyBandit(reference, Table(reward), Table(cost), weights)
    policy = TabularPolicy.like(world)
    policy.fit(labelled(problem, edges, 0.7), beta=problem.beta, steps=500, seed=0)
    np.testing.assert_allclose(
        fitted_table(problem, edges, 0.7), world.table(policy.log_prob).exp().numpy(), atol=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_one_island_per_prompt_is_the_tilted_policy(seed: int) -> None:
    problem = drawn(seed)
    chain = [[x, y, y + 1] for x in range(3) for y in range(4)]
    np.testing.assert_allclose(fitted_table(problem, chain, 1.3), problem.policy(1.3), atol=1e-12)
    low, high = cost_range(problem, chain, 1.3)
    assert low == pytest.approx(problem.limit_at(1.3)) == high
    found = measure_coverage(problem, chain, problem.solve().lam)
    assert (found.islands, found.pairs) == (1.0, 4.0)
    assert (found.unseen, found.closeness) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_any_shares_of_the_islands_fit_perfectly_and_cost_what_the_range_allows(seed: int) -> None:
    problem = drawn(seed)
    edges, lam = some_edges((3, 5), 5, seed), 0.9
    label, tilted = islands((3, 5), edges), problem.policy(lam)
    low, high = cost_range(problem, edges, lam)
    random, least = np.random.default_rng(seed), entropy_of(problem, edges, lam)
    for _ in range(200):
        shares = random.dirichlet(np.full(label.max() + 1, 0.3)) + 1e-9
        probs = tilted * shares[label] / np.bincount(label.ravel(), tilted.ravel())[label]
        probs /= probs.sum(axis=1, keepdims=True)
        assert loss_of(probs, problem, edges, lam) == pytest.approx(least, abs=1e-9)
        assert low - 1e-9 <= problem.evaluate(probs).cost <= high + 1e-9
    assert loss_of(fitted_table(problem, edges, lam), problem, edges, lam) == pytest.approx(least, abs=1e-9)
    assert low < problem.evaluate(fitted_table(problem, edges, lam)).cost < high


def test_a_perfect_fit_that_breaks_the_limit_by_hand() -> None:
    """Odds 1 : 1 : 2, costs 0, 1, 1. At lam = ln 9, beta = 1/2 the pair's odds are 81 : 1, its logits +-ln 9.

    The unseen keeps weight 2 beside 9 and 1/9: E[c] = (1/9 + 2)/(9 + 1/9 + 2) = 19/100, of the seen 1/82.
    """
    problem = FiniteProblem([[0.25, 0.25, 0.5]], [[0, 0, 0]], [[0, 1, 1]], beta=0.5, cost_limit=0.1)
    found = measure_coverage(problem, [[0, 0, 1]], np.log(9))
    assert found.cost_of_seen == pytest.approx(1 / 82)
    assert found.cost == pytest.approx(0.19)
    assert found.violation == pytest.approx(0.09)
    assert found.unseen == pytest.approx(0.18)
    assert (found.lowest, found.highest) == pytest.approx((1 / 82, 1.0))
    assert loss_of(
        fitted_table(problem, [[0, 0, 1]], np.log(9)), problem, np.array([[0, 0, 1]]), np.log(9)
    ) == (pytest.approx(entropy_of(problem, np.array([[0, 0, 1]]), np.log(9))))


# ---- more pairs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("recycled", [False, True])
def test_more_pairs_close_the_range(recycled: bool) -> None:
    problem = drawn(1, responses=8)
    lam = problem.solve().lam
    rows = grow_coverage(problem, [1, 4, 400], lam=lam, recycled=recycled, seed=0)
    widths = [row.highest - row.lowest for row in rows]
    assert widths == sorted(widths, reverse=True)
    assert [row.islands for row in rows] == sorted((row.islands for row in rows), reverse=True)
    assert rows[0].closeness < 0.9 < rows[-1].closeness
    assert rows == grow_coverage(problem, [1, 4, 400], lam=lam, recycled=recycled, seed=0)


def test_recycled_pairs_come_from_the_policy() -> None:
    """A reference that hardly knows the best response: only its own policy asks about it again and again."""
    problem = FiniteProblem(
        [[0.05, 0.05, 0.45, 0.45]], [[4, 3, 0, 0]], [[0, 0, 0, 0]], beta=0.5, cost_limit=1
    )
    random = np.random.default_rng(0)
    own = drawn_pairs(fitted_table(problem, [[0, 0, 1], [0, 1, 2], [0, 2, 3]], 0.0), 300, random)
    reference = drawn_pairs(problem.reference, 300, random)
    best = [float(np.mean(np.any(part[:, 1:] == 0, axis=1))) for part in (own, reference)]
    assert best[0] > 0.9 > 0.3 > best[1]
    assert np.all(own[:, 1] != own[:, 2])


@pytest.mark.parametrize("counts", [[], [4, 2], [2, 2], [0, 1]])
def test_counts_must_rise(counts: list[int]) -> None:
    with pytest.raises(InputError, match="rising"):
        grow_coverage(coin(), counts, lam=0.0, recycled=False)


# ---- the picture ----------------------------------------------------------------------------------


def test_islands_data_put_each_island_on_its_own_line_of_slope_one() -> None:
    problem = drawn(2, responses=6)
    edges = [[1, 0, 1], [1, 1, 2], [1, 3, 4], [0, 0, 5], [1, 4, 3]]
    data = plots.islands_data(problem, edges, lam=0.8, prompt=1)
    off = data.implicit - data.score
    assert off[0] == pytest.approx(off[1]) == off[2]
    assert off[3] == pytest.approx(off[4]) != pytest.approx(off[0])
    assert data.seen.tolist() == [True] * 5 + [False]
    assert (data.islands, data.lines.tolist()) == (3, [[0, 1], [1, 2], [3, 4]])
    exact = problem.beta * np.log(problem.policy(0.8)[1] / problem.reference[1])
    np.testing.assert_allclose(exact, data.score - data.shift)
    assert data.unseen_mass == pytest.approx(fitted_table(problem, edges, 0.8)[1, 5])
    assert data.describe().startswith("3 pairs of 6 responses: 3 islands\nunseen mass ")


def test_plot_islands_inks_the_data_and_can_be_read() -> None:
    problem = drawn(2, responses=6)
    edges = [[0, 0, 1], [0, 1, 2]]
    data = plots.islands_data(problem, edges, lam=0.8)
    ax = plots.plot_islands(problem, edges, lam=0.8)
    (exact,) = lines(ax, plots.EXACT)
    np.testing.assert_allclose(np.diff(exact.get_ydata()), np.diff(exact.get_xdata()))
    points = np.concatenate([np.asarray(part.get_offsets()) for part in ax.collections[1:]])
    points = points[~np.isnan(points).any(axis=1)]
    drawn_points = {tuple(np.round(point, 9)) for point in points}
    assert drawn_points == {
        tuple(np.round(point, 9)) for point in np.column_stack([data.score, data.implicit])
    }
    faces = {
        to_hex(part.get_facecolor()[0]).upper() for part in ax.collections[1:] if len(part.get_facecolor())
    }
    assert faces <= {plots.RUN, plots.LIMIT}
    assert_legible("islands", [ax])
    assert same_bytes_twice(lambda axes: plots.plot_islands(problem, edges, lam=0.8, ax=axes))


def test_there_must_be_such_a_prompt() -> None:
    with pytest.raises(InputError, match="prompt: 3 is none of the 3"):
        plots.islands_data(drawn(0), [[0, 0, 1]], lam=0.0, prompt=3)
