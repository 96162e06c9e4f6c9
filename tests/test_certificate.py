"""The certificate against numbers worked out without it: terms, status, closeness, what it may not say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cdpo_edu.bandit import SafetyBandit, Table, TabularPolicy
from cdpo_edu.certificate import (
    CLOSENESS_TOLERANCE,
    COST_TOLERANCE,
    enumerated,
    exact_certificate,
    sampled_status,
    world_problem,
)
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.types import Batch, InputError

LN2, LN3 = math.log(2), math.log(3)


def coin() -> tuple[SafetyBandit, ScoredPairs]:
    """Return two answers at even odds: the first is worth r = 1 and harmful (c = 1), the second is neither.

    With beta = 1 and C = 1/4: p* = (1/4, 3/4), log(p/(1-p)) = 1 - lam gives lam* = 1 + ln 3.
    """
    reward = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    world = SafetyBandit(
        torch.tensor([[0.5, 0.5]]).double(), Table(reward), Table(reward.clone()), torch.ones(1).double()
    )
    return world, world.pairs(4).score(world.reward, world.cost, TabularPolicy.like(world))


def policy_of(*probs: float) -> TabularPolicy:
    return TabularPolicy(torch.tensor([probs], dtype=torch.float64).log())


def certificate(*probs: float, limit: float = 0.25, beta: float = 1.0) -> dict[str, Any]:
    _, scored = coin()
    problem = world_problem(scored, beta=beta, cost_limit=limit)
    return exact_certificate(problem, scored, policy_of(*probs))


def kl(p: float, q: float) -> float:
    """Return KL of a coin p from a coin q, nats."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_the_problem_of_a_world_is_its_tables() -> None:
    world = SafetyBandit.demo(2)
    scored = world.pairs(20).score(
        world.reward, world.cost, TabularPolicy.like(world), reward_scale=0.5, cost_scale=2.0
    )
    problem = world_problem(scored, beta=0.3, cost_limit=-0.1)
    np.testing.assert_allclose(problem.reference, world.ref_probs.numpy(), atol=1e-15)
    np.testing.assert_array_equal(problem.reward, 0.5 * world.reward.values.numpy())
    np.testing.assert_array_equal(problem.cost, 2.0 * world.cost.values.numpy())
    np.testing.assert_array_equal(problem.prompt_probs, world.prompt_probs.numpy())
    assert (problem.beta, problem.cost_limit) == (0.3, -0.1)


def test_pairs_without_a_world_have_no_exact_problem() -> None:
    _, scored = coin()
    with pytest.raises(ValueError, match="only a world can be enumerated"):
        world_problem(replace(scored, world=None), beta=1.0, cost_limit=0.0)


def test_the_optimum_is_certified_optimal_by_hand() -> None:
    found = certificate(0.25, 0.75)
    kl_best = kl(0.25, 0.5)  # ln 2 - entropy(1/4) = 0.1308
    assert found["status"] == "optimal" and found["exact"] is True
    assert found["lam_exact"] == pytest.approx(1 + LN3)
    assert found["reward"] == pytest.approx(0.25) and found["cost"] == pytest.approx(0.25)
    assert found["kl"] == pytest.approx(kl_best)
    assert found["objective"] == pytest.approx(0.25 - kl_best)
    # D = log((e^(1 - lam) + 1)/2) + lam/4 with e^(1 - lam) = 1/3: log(2/3) + (1 + ln 3)/4.
    assert found["dual_bound"] == pytest.approx(math.log(2 / 3) + (1 + LN3) / 4)
    assert found["gap"] == pytest.approx(0, abs=1e-12)
    assert found["closeness"] == pytest.approx(1)


def test_the_two_terms_of_a_timid_policy_by_hand() -> None:
    # p = (1/8, 7/8): beta KL(p || p*) and lam* (C - 1/8) = (1 + ln 3)/8; together D - J.
    found = certificate(0.125, 0.875)
    assert found["gap_kl_term"] == pytest.approx(kl(0.125, 0.25))
    assert found["gap_slack_term"] == pytest.approx((1 + LN3) / 8)
    objective = 0.125 - kl(0.125, 0.5)
    assert found["gap"] == pytest.approx(math.log(2 / 3) + (1 + LN3) / 4 - objective)
    assert found["gap"] == pytest.approx(found["gap_kl_term"] + found["gap_slack_term"], abs=1e-15)
    assert found["closeness"] == pytest.approx(1 - kl(0.125, 0.25) / kl(0.5, 0.25))
    assert found["status"] == "feasible"  # closeness 0.65: limit met, optimality not reached


def test_the_reference_has_closeness_0() -> None:
    assert certificate(0.5, 0.5)["closeness"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_identity_holds_for_any_policy(seed: int) -> None:
    """D(lam*) - J(pi) = beta E KL(pi || pi_lam*) + lam* (C - E[c]), each side from the tables alone."""
    world = SafetyBandit.demo(seed)
    scored = world.pairs(20).score(world.reward, world.cost, TabularPolicy.like(world))
    generator = torch.Generator().manual_seed(seed)
    policy = TabularPolicy(torch.randn(4, 6, generator=generator, dtype=torch.float64))
    found = exact_certificate(world_problem(scored, beta=0.5, cost_limit=0.0), scored, policy)
    ref, reward, cost = (t.numpy() for t in (world.ref_probs, world.reward.values, world.cost.values))
    pi, lam = policy.logits.exp().numpy(), found["lam_exact"]
    z = (ref * np.exp((reward - lam * cost) / 0.5)).sum(axis=1, keepdims=True)
    tilted = ref * np.exp((reward - lam * cost) / 0.5) / z
    dual = 0.5 * np.log(z).mean()  # C = 0
    objective = ((pi * reward).sum(axis=1) - 0.5 * (pi * np.log(pi / ref)).sum(axis=1)).mean()
    kl_term = 0.5 * (pi * np.log(pi / tilted)).sum(axis=1).mean()
    slack_term = -lam * (pi * cost).sum(axis=1).mean()
    assert found["dual_bound"] == pytest.approx(dual, abs=1e-9)
    assert found["objective"] == pytest.approx(objective, abs=1e-9)
    assert found["gap_kl_term"] == pytest.approx(kl_term, abs=1e-9)
    assert found["gap_slack_term"] == pytest.approx(slack_term, abs=1e-9)
    assert found["gap"] == pytest.approx(dual - objective, abs=1e-9)
    assert dual - objective == pytest.approx(kl_term + slack_term, abs=1e-9)


def test_too_costly_is_violated_beyond_the_tolerance_alone() -> None:
    for excess, status in ((0.5 * COST_TOLERANCE, "optimal"), (1.5 * COST_TOLERANCE, "violated")):
        p = 0.25 + excess  # E[c] = p
        assert certificate(p, 1 - p)["status"] == status


def test_closeness_separates_optimal_from_feasible() -> None:
    # On the safe side of p* = 1/4: closeness 1 - KL(p||1/4)/KL(1/2||1/4), the latter (ln(4/3))/2 = 0.1438.
    far = 0.5 * math.log(4 / 3)
    for p, status in ((0.24, "optimal"), (0.20, "feasible")):
        found = certificate(p, 1 - p)
        assert found["closeness"] == pytest.approx(1 - kl(p, 0.25) / far)
        assert (found["closeness"] >= CLOSENESS_TOLERANCE) == (status == "optimal")
        assert found["status"] == status


def test_a_limit_that_does_not_bind_is_slack() -> None:
    # C = 0.9: the unlimited optimum spends e/(e + 1) = 0.731.
    p = math.e / (math.e + 1)
    found = certificate(p, 1 - p, limit=0.9)
    assert (found["status"], found["lam_exact"]) == ("slack", 0.0)
    assert found["gap_slack_term"] == 0.0 and found["gap"] == pytest.approx(0, abs=1e-12)


def test_a_limit_below_the_cheapest_answer_is_infeasible_with_the_least_cost() -> None:
    found = certificate(0.01, 0.99, limit=-0.5)
    assert found["status"] == "infeasible" and found["lam_exact"] is None
    assert found["min_cost"] == 0.0
    assert found["cost"] == pytest.approx(0.01)
    for name in ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness"):
        assert found[name] is None


def test_at_the_edge_there_is_no_finite_multiplier_and_json_can_say_so() -> None:
    # C = 0 = min c: the optimum never gives the first answer; any other policy is infinitely far from it.
    found = certificate(0.01, 0.99, limit=0.0)
    assert found["lam_exact"] is None and found["status"] == "feasible"
    assert found["gap_kl_term"] is None and found["gap_slack_term"] is None
    assert found["dual_bound"] == pytest.approx(-LN2)  # J of the optimum: r = 0, KL = ln 2
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("limit", [-0.5, 0.0, 0.25, 0.9])
def test_every_certificate_is_plain_json(limit: float) -> None:
    found = certificate(0.3, 0.7, limit=limit)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_exact_certificate_is_the_oracles() -> None:
    _, scored = coin()
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=0.25)
    found, terms = certificate(0.3, 0.7), problem.certify([[0.3, 0.7]])
    for name in ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness"):
        assert found[name] == pytest.approx(getattr(terms, name), abs=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "lam", "status"),
    [
        (-0.3, -0.1, 1.0, "feasible"),
        (-0.3, -0.1, 0.0, "slack"),
        (-0.1, 0.1, 1.0, "unknown"),
        (-0.1, 0.1, 0.0, "unknown"),
        (0.1, 0.3, 1.0, "violated"),
        (-0.3, 0.0, 1.0, "feasible"),  # the limit itself is met
        (0.0, 0.3, 1.0, "unknown"),
        (-math.inf, math.inf, 1.0, "unknown"),
    ],
)
def test_sampled_status(low: float, high: float, lam: float, status: str) -> None:
    assert sampled_status(low, high, 0.0, lam=lam) == status
    assert sampled_status(low + 5, high + 5, 5.0, lam=lam) == status


def test_samples_never_prove_optimality_or_infeasibility() -> None:
    said = {
        sampled_status(low / 10, high / 10, 0.0, lam=lam)
        for low in range(-5, 6)
        for high in range(low, 6)
        for lam in (0.0, 1.0)
    }
    assert said == {"feasible", "slack", "unknown", "violated"}


class Averaged(TabularPolicy):
    """A policy whose log-probabilities were averaged over two tokens instead of summed."""

    def log_prob(self, prompts: Batch, responses: Batch) -> torch.Tensor:
        return super().log_prob(prompts, responses) / 2


def test_a_policy_whose_probabilities_do_not_sum_to_one_gets_no_certificate() -> None:
    """Four responses at 1/4 each: halved logs give four times 1/2, a sum of 2."""
    quarter = torch.full((1, 4), 0.25, dtype=torch.float64)
    zero = Table(torch.zeros(1, 4, dtype=torch.float64))
    world = SafetyBandit(quarter, zero, zero, torch.ones(1, dtype=torch.float64))
    assert torch.equal(enumerated(world, TabularPolicy.like(world)), quarter)
    with pytest.raises(InputError, match="add up to 2, not 1"):
        enumerated(world, Averaged(quarter.log()))
