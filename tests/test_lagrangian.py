"""The multiplier: its sign, its projection, its size of step, and that it never freezes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cdpo_edu.bandit import SafetyBandit
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.lagrangian import CurvatureRule, GradientRule, Measurement, Rule, dual_step, penalized
from cdpo_edu.types import InputError


def measured(cost: float, *, number: int = 1, variance: float = 1.0) -> Measurement:
    return Measurement(number, cost=cost, stderr=0.0, cost_variance=variance)


def cost_at(problem: FiniteProblem, lam: float) -> float:
    """Return E_lam[c], exactly."""
    cost = problem.evaluate(problem.policy(lam)).cost
    assert isinstance(cost, float)
    return cost


def test_penalized_by_hand() -> None:
    # 3 - 0.5 * 2 = 2, 0 - 0.5 * (-4) = 2: a negative cost is a credit.
    score = penalized(torch.tensor([3.0, 0.0]), torch.tensor([2.0, -4.0]), lam=0.5)
    assert score.tolist() == [2.0, 2.0]


def test_penalized_at_lam_0_is_the_reward() -> None:
    reward = torch.tensor([[1.0, -2.0]])
    assert torch.equal(penalized(reward, torch.full_like(reward, 1e6), lam=0.0), reward)


@pytest.mark.parametrize(
    ("lam", "cost", "limit", "eta", "expected"),
    [
        (1.0, 0.5, 0.0, 2.0, 2.0),  # too costly by 0.5: up by 2 * 0.5
        (1.0, -0.25, 0.0, 2.0, 0.5),  # room of 0.25: down by 2 * 0.25
        (1.0, -9.0, 0.0, 2.0, 0.0),  # would be -17: projected
        (0.0, -1.0, 0.0, 1.0, 0.0),  # at 0 with room: stays
        (0.0, 0.25, 0.0, 1.0, 0.25),  # at 0 and too costly: leaves 0 again
        (1.0, 3.0, 3.0, 9.0, 1.0),  # on the limit: rests
        (1.0, 3.0, 2.5, 2.0, 2.0),  # the limit counts, not the cost's sign
    ],
)
def test_dual_step_by_hand(lam: float, cost: float, limit: float, eta: float, expected: float) -> None:
    assert dual_step(lam, cost, limit, eta=eta) == expected


def test_a_cost_that_is_no_number_is_refused_and_never_read_as_room() -> None:
    # max(0, nan) is 0 in Python: a scorer's nan would switch the limit off without a word.
    for rule in (GradientRule(1.0), CurvatureRule()):
        with pytest.raises(InputError, match="not a number"):
            rule(2.0, measured(math.nan), 0.0, beta=1.0)


@pytest.mark.parametrize("seed", range(8))
def test_curvature_rule_finds_the_exact_multiplier_from_0(seed: int) -> None:
    """Noise-free, costs of spread near 4, beta 0.5: after 8 rounds the excess is below 0.02, no bouncing."""
    world = SafetyBandit.demo(seed)
    problem = FiniteProblem(
        world.ref_probs.numpy(),
        world.reward.values.numpy(),
        world.cost.values.numpy(),
        beta=0.5,
        cost_limit=0.0,
    )
    lam = 0.0
    for number in range(1, 9):
        variance = 0.5 * float(problem.dual_curvature(lam))
        seen = measured(cost_at(problem, lam), number=number, variance=variance)
        lam = CurvatureRule()(lam, seen, 0.0, beta=0.5)
    assert abs(cost_at(problem, lam)) < 0.02


def test_lam_moves_by_exactly_eta_times_the_excess_and_thaws_at_0() -> None:
    """A multiplier that an optimizer keeps apart from its projection freezes after one step; this one moves.

    eta = 0.5, C = 1. Costs 3, 2, -7, 0.5, 2 exceed the limit by 2, 1, -8, -0.5, 1:
    0 -> 1 -> 1.5 -> max(0, -2.5) = 0 -> 0 -> 0.5.
    """
    lam, path = 0.0, []
    for number, cost in enumerate([3.0, 2.0, -7.0, 0.5, 2.0], start=1):
        lam = GradientRule(eta=0.5)(lam, measured(cost, number=number), 1.0, beta=0.1)
        path.append(lam)
    assert path == [1.0, 1.5, 0.0, 0.0, 0.5]


def test_gradient_rule_looks_at_nothing_but_lam_cost_and_limit() -> None:
    steps = {
        GradientRule(0.25)(1.0, Measurement(k, 2.0, se, var), 0.0, beta=beta)
        for k in (1, 9)
        for se in (0.0, 3.0)
        for var in (0.0, 5.0)
        for beta in (0.1, 2.0)
    }
    assert steps == {1.5}  # 1 + 0.25 * 2


def test_curvature_rule_lands_on_the_root_of_a_quadratic_dual() -> None:
    # Excess cost V/beta * (lam* - lam) with lam* = 3, V = 4, beta = 0.5: from lam = 2 the excess is 8, and
    # the Newton step beta/V * 8 = 1 leads to 3.
    rule = CurvatureRule()
    assert rule(2.0, measured(8.0, variance=4.0), 0.0, beta=0.5) == 3.0
    assert rule(4.0, measured(-8.0, variance=4.0), 0.0, beta=0.5) == 3.0


def test_curvature_rule_averages_the_noise_after_settling() -> None:
    """On a quadratic dual the multiplier of round settle + 1 + m is the mean of the last m noisy roots.

    lam* = 3, V/beta = 1. Each measurement is off by e_k, so its Newton step lands on 3 + e_k. Rounds 1 to 3
    take it whole; from round 4 on gains 1, 1/2, 1/3 make a running mean of 3 + (0.5, -0.1, 0.2).
    """
    errors = {1: 9.0, 2: -2.0, 3: 0.7, 4: 0.5, 5: -0.1, 6: 0.2}
    lam, path = 0.0, {}
    for number, error in errors.items():
        cost = (3.0 - lam) + error
        lam = CurvatureRule(settle=3, max_step=50.0)(lam, measured(cost, number=number), 0.0, beta=1.0)
        path[number] = lam
    assert path[3] == pytest.approx(3.7)
    assert path[4] == pytest.approx(3.5)
    assert path[5] == pytest.approx(3 + (0.5 - 0.1) / 2)
    assert path[6] == pytest.approx(3 + (0.5 - 0.1 + 0.2) / 3)


@pytest.mark.parametrize(("settle", "number", "gain"), [(3, 1, 1), (3, 4, 1), (3, 5, 1 / 2), (0, 5, 1 / 5)])
def test_curvature_rule_gain(settle: int, number: int, gain: float) -> None:
    rule = CurvatureRule(damping=0.5, settle=settle)
    assert rule(1.0, measured(0.25, number=number), 0.0, beta=1.0) == pytest.approx(1 + 0.5 * gain * 0.25)


def test_max_step_bounds_the_move_both_ways() -> None:
    rule = CurvatureRule(max_step=2.0)
    for variance in (0.0, 1e-9):  # no spread left: the Newton step would be endless
        assert rule(5.0, measured(0.1, variance=variance), 0.0, beta=1.0) == pytest.approx(7.0)
        assert rule(5.0, measured(-0.1, variance=variance), 0.0, beta=1.0) == pytest.approx(3.0)


def test_curvature_rule_rests_on_the_limit() -> None:
    assert CurvatureRule()(1.25, measured(0.5, variance=0.0), 0.5, beta=1.0) == 1.25


@given(
    lam=st.floats(0, 100),
    cost=st.floats(-100, 100),
    limit=st.floats(-100, 100),
    variance=st.floats(0, 100),
    number=st.integers(1, 50),
    beta=st.floats(0.01, 10),
)
def test_every_rule_stays_at_or_above_0_and_moves_with_the_excess(
    lam: float, cost: float, limit: float, variance: float, number: int, beta: float
) -> None:
    rules: list[Rule] = [GradientRule(0.3), CurvatureRule(), CurvatureRule(damping=0.5, settle=0)]
    for rule in rules:
        after = rule(lam, measured(cost, number=number, variance=variance), limit, beta=beta)
        assert after >= 0 and math.isfinite(after)
        assert after >= lam if cost >= limit else after <= lam


def test_the_step_descends_the_exact_dual() -> None:
    """The curvature of D is at most L = max Var(c)/beta: a step of 1/L never raises D, a reversed one does.

    Var of a cost in {0, 1} is at most 1/4, so L = 0.25/0.5 = 1/2 and eta = 2.
    """
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=0.5, cost_limit=0.25)
    best = 1 + 0.5 * math.log(3)  # as below
    for lam in np.linspace(0, 4, 17).tolist():
        cost = cost_at(problem, lam)
        after = dual_step(lam, cost, 0.25, eta=2.0)
        assert problem.dual(after) <= problem.dual(lam) + 1e-12
        if abs(lam - best) > 0.1 and lam > 0:
            reversed_step = max(0.0, lam - 0.1 * (cost - 0.25))
            assert problem.dual(reversed_step) > problem.dual(lam)


def test_repeated_gradient_steps_reach_the_exact_multiplier() -> None:
    # lam* = 1 + 0.5 ln 3: log(p/(1-p)) = (1 - lam)/0.5 at p = 1/4.
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=0.5, cost_limit=0.25)
    lam = 0.0
    for number in range(1, 200):
        cost = cost_at(problem, lam)
        lam = GradientRule(2.0)(lam, measured(cost, number=number), 0.25, beta=0.5)
    assert lam == pytest.approx(1 + 0.5 * math.log(3), abs=1e-12)
