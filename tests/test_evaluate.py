"""Estimates of a policy from its own samples: intervals that cover, alignment, recycled pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.evaluate import (
    Estimate,
    Samples,
    clustered_mean,
    mean_over_prompts,
    measure,
    misfit,
    prompt_weights,
    recycled,
    stratified_mean,
)
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.types import InputError

REPEATS = 2000
# A coverage of 0.95 counted over 2000 seeded data sets has a standard error of
# sqrt(0.95 * 0.05 / 2000) = 0.0049; four of them are 0.02.
COVERAGE_TOLERANCE = 0.02


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coverage(intervals: list[Estimate], truth: float) -> float:
    return sum(found.low <= truth <= found.high for found in intervals) / len(intervals)


# ---- means and intervals -----------------------------------------------------------------------


def test_clustered_mean_by_hand() -> None:
    # Row means 0, 3, 6: mean 3, standard deviation 3, error 3/sqrt 3; t(0.975, 2) = 4.302653.
    found = clustered_mean(torch.tensor([[-1.0, 1.0], [3.0, 3.0], [5.0, 7.0]]))
    assert found.value == 3.0
    assert found.stderr == pytest.approx(math.sqrt(3))
    assert found.high - 3 == pytest.approx(4.302653 * math.sqrt(3), rel=1e-6)
    assert 3 - found.low == pytest.approx(found.high - 3)


def test_clustered_mean_counts_prompts_and_not_answers() -> None:
    # Ten copies of each answer add no knowledge about prompts.
    values = torch.tensor([[0.0], [3.0], [6.0]])
    assert clustered_mean(values.repeat(1, 10)) == clustered_mean(values)


def test_one_prompt_says_nothing_about_the_spread() -> None:
    assert clustered_mean(torch.ones(1, 5)) == Estimate(1.0, -math.inf, math.inf, math.inf)


def test_clustered_interval_covers_and_the_naive_one_does_not() -> None:
    """Prompt effects N(0, 1), 20 prompts of 5 answers N(effect, 1): row means are normal, so t is exact.

    Taking the 100 answers as independent reports a variance of 2/100 where the mean has (1 + 1/5)/20 = 6/100:
    1.96/sqrt 3 = 1.13 standard errors cover 74 %.
    """
    draws = torch.randn(REPEATS, 20, 6, generator=generator(0), dtype=torch.float64)
    values = 0.7 + draws[..., :1] + draws[..., 1:]  # (repeats, 20, 5)
    assert coverage([clustered_mean(v) for v in values], 0.7) == pytest.approx(0.95, abs=COVERAGE_TOLERANCE)
    naive = [clustered_mean(v.reshape(-1, 1)) for v in values]
    assert coverage(naive, 0.7) == pytest.approx(0.74, abs=0.04)


def test_a_wider_confidence_is_a_wider_interval() -> None:
    values = torch.randn(10, 3, generator=generator(1))
    narrow, wide = (clustered_mean(values, confidence=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_stratified_mean_by_hand() -> None:
    # Means 1 and 4, weights 0.25 and 0.75: 3.25. Variances 2 and 8: sqrt((2/16 + 8*9/16)/2) = sqrt 2.3125.
    found = stratified_mean(torch.tensor([[0.0, 2.0], [2.0, 6.0]]), torch.tensor([0.25, 0.75]))
    assert found.value == 3.25
    assert found.stderr == pytest.approx(math.sqrt(2.3125))


def test_stratified_interval_covers_with_fixed_prompts() -> None:
    """Four fixed prompts, means -3, 0, 1, 10 and spreads near 1: only the answers are random.

    Equal spreads make the t interval on 4 * 8 - 4 = 28 degrees of freedom nearly exact. The spread of the
    prompts' means, which `clustered_mean` would count, makes its interval far too wide: it always covers.
    """
    means = torch.tensor([-3.0, 0.0, 1.0, 10.0], dtype=torch.float64)
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    noise = torch.randn(REPEATS, 4, 8, generator=generator(2), dtype=torch.float64)
    values = means[:, None] + noise
    found = [stratified_mean(v, weights) for v in values]
    assert coverage(found, 2.0) == pytest.approx(0.95, abs=COVERAGE_TOLERANCE)
    assert coverage([clustered_mean(v) for v in values[:200]], 2.0) == 1.0


# ---- samples of a policy -----------------------------------------------------------------------


def bandit(seed: int = 0) -> tuple[SafetyBandit, TabularPolicy, ScoredPairs]:
    """Return a world whose prompts are not equally likely, another policy, and pairs scored in it."""
    world = replace(SafetyBandit.demo(seed), prompt_probs=torch.tensor([0.1, 0.2, 0.3, 0.4]).double())
    policy = TabularPolicy(torch.randn(4, 6, generator=generator(seed), dtype=torch.float64))
    scored = world.pairs(50).score(world.reward, world.cost, TabularPolicy.like(world))
    return world, policy, scored


def drawn(n: int, seed: int = 0) -> tuple[Samples, ScoredPairs, SafetyBandit, TabularPolicy]:
    world, policy, scored = bandit()
    return measure(policy, scored, n=n, generator=generator(seed)), scored, world, policy


def test_every_column_belongs_to_its_own_answer() -> None:
    samples, scored, world, policy = drawn(5)
    responses = torch.as_tensor(samples.responses).view(4, 5)
    for x in range(4):
        for k in range(5):
            y = int(responses[x, k])
            assert samples.reward[x, k] == world.reward.values[x, y]
            assert samples.cost[x, k] == world.cost.values[x, y]
            assert samples.logp[x, k] == policy.logits[x, y]
            assert samples.ref_logp[x, k].exp() == pytest.approx(world.ref_probs[x, y].item(), rel=1e-12)


def test_equal_generators_draw_equal_samples_and_others_do_not() -> None:
    first, again, other = (torch.as_tensor(drawn(20, seed)[0].responses) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_estimates_meet_the_exact_expectations() -> None:
    """Means over 4 x 4000 seeded samples lie within 5 of their own standard errors of the sums."""
    samples, scored, world, policy = drawn(4000)
    problem = FiniteProblem(
        world.ref_probs.numpy(),
        world.reward.values.numpy(),
        world.cost.values.numpy(),
        beta=1.0,
        cost_limit=0.0,
        prompt_probs=world.prompt_probs.numpy(),
    )
    exact = problem.evaluate(policy.logits.exp().numpy())
    found = [
        (samples.reward, exact.reward),
        (samples.cost, exact.cost),
        (samples.logp - samples.ref_logp, exact.kl),
    ]
    for values, truth in found:
        estimate = mean_over_prompts(values, scored)
        assert abs(estimate.value - truth) < 5 * estimate.stderr  # type: ignore[operator]
        assert estimate.stderr < 0.02


def test_weights_are_the_worlds_or_equal() -> None:
    _, _, scored = bandit()
    torch.testing.assert_close(
        prompt_weights(scored, torch.arange(4)), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    )
    assert prompt_weights(replace(scored, world=None), torch.arange(5)).tolist() == [0.2] * 5


def test_in_a_world_the_mean_is_stratified_and_outside_clustered() -> None:
    world, _, scored = bandit()
    values = torch.randn(4, 6, generator=generator(5), dtype=torch.float64)
    assert mean_over_prompts(values, scored) == stratified_mean(values, world.prompt_probs)
    assert mean_over_prompts(values, replace(scored, world=None)) == clustered_mean(values)


def test_outside_a_world_the_dual_prompts_are_measured() -> None:
    _, policy, scored = bandit()
    sets = scored.prompt_sets._replace(dual=torch.tensor([3, 1]))
    samples = measure(policy, replace(scored, world=None, prompt_sets=sets), n=4, generator=generator(0))
    assert torch.as_tensor(samples.prompts).tolist() == [3, 1]
    assert samples.cost.shape == (2, 4)


def test_a_score_that_is_no_number_on_a_fresh_sample_is_refused() -> None:
    _, policy, scored = bandit()

    def broken(prompts: Any, responses: Any) -> Tensor:
        return torch.where(prompts == 2, torch.nan, 0.0)

    with pytest.raises(InputError, match="5 of 20 have no finite cost"):
        measure(policy, replace(scored, cost_scorer=broken), n=5, generator=generator(0))


# ---- recycling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 7])
def test_recycled_pairs_are_all_comparisons_within_each_set_of_answers(n: int) -> None:
    samples, scored, world, _ = drawn(n, seed=9)
    pairs = recycled(samples, scored, size=4)
    responses = torch.as_tensor(samples.responses).view(4, n)
    expected = [  # answers 0-3 of each row are one set, the others another
        (x, int(responses[x, a]), int(responses[x, b]), 2 * x + part)
        for x in range(4)
        for part, members in enumerate((range(4), range(4, n)))
        for a, b in combinations(members, 2)
        if responses[x, a] != responses[x, b]
    ]
    columns = (torch.as_tensor(part).tolist() for part in (pairs.prompts, pairs.y0, pairs.y1, pairs.sets))
    assert list(zip(*columns, strict=True)) == expected
    assert 0 < len(expected) < 4 * (6 + (1 if n == 6 else 3))  # some answers were equal and are no pair


def test_recycled_scores_are_those_of_scoring_anew() -> None:
    samples, scored, world, _ = drawn(30)
    pairs = recycled(samples, scored)
    both = (pairs.y0, pairs.y1)
    for column, function in (
        (pairs.reward, world.reward),
        (pairs.cost, world.cost),
        (pairs.ref_logp, scored.reference.log_prob),
    ):
        fresh = torch.stack([function(pairs.prompts, answers) for answers in both], dim=1)
        assert torch.equal(column, fresh)


def test_recycling_strings_drops_equal_texts() -> None:
    _, _, scored = bandit()
    column = torch.arange(8, dtype=torch.float64).view(2, 4)
    texts = ["a", "b", "c", "c", "d", "d", "e", "f"]
    pairs = recycled(Samples(["p", "q"], texts, column, -column, column, 2 * column), scored)
    # p: a-b, a-c twice, b-c twice, not c-c. q: d-e, d-f twice each, e-f, not d-d.
    assert pairs.prompts == ["p"] * 5 + ["q"] * 5
    assert list(zip(pairs.y0, pairs.y1, strict=True)) == [
        *[("a", "b"), ("a", "c"), ("a", "c"), ("b", "c"), ("b", "c")],
        *[("d", "e"), ("d", "f"), ("d", "e"), ("d", "f"), ("e", "f")],
    ]
    assert pairs.reward.tolist()[:3] == [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]
    assert pairs.cost.tolist()[-1] == [-6.0, -7.0]
    assert pairs.ref_logp.tolist()[-1] == [12.0, 14.0]
    assert pairs.sets is not None and pairs.sets.tolist() == [0] * 5 + [1] * 5


def test_when_all_answers_agree_nothing_is_recycled() -> None:
    _, _, scored = bandit()
    column: Tensor = torch.zeros(2, 4, dtype=torch.float64)
    none = recycled(Samples(["p", "q"], ["same"] * 8, column, column, column, column), scored)
    assert len(none) == 0 and none.reward.shape == (0, 2)


def test_the_misfit_is_the_divergence_from_the_tilted_policy_near_it() -> None:
    """A policy a little off pi_lam on the bandit: half the variance against the exact KL, within a tenth."""
    world = SafetyBandit.demo(0)
    problem = FiniteProblem(
        TabularPolicy.like(world).logits.exp().numpy(),
        world.table(world.reward).numpy(),
        world.table(world.cost).numpy(),
        beta=0.5,
        cost_limit=0.0,
    )
    policy, reference = TabularPolicy.like(world), TabularPolicy.like(world)
    scored = world.pairs(64, seed=1).score(world.reward, world.cost, reference)
    goal = torch.tensor(problem.policy(1.0)).log()
    noise = torch.randn(goal.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, exact = [], []
    for size in (0.0, 0.1, 0.2):
        policy.logits = (goal + size * noise).log_softmax(dim=1)
        samples = measure(policy, scored, n=20_000, generator=torch.Generator().manual_seed(1))
        found.append(misfit(samples, world.prompt_probs, lam=1.0, beta=0.5))
        probs = policy.logits.exp()
        exact.append(float((probs * (policy.logits - goal)).sum(dim=1).mean()))
    assert found[0] == pytest.approx(0.0, abs=1e-12)
    assert found[1:] == pytest.approx(exact[1:], rel=0.1) and exact[2] > 0.01
    away = measure(reference, scored, n=20_000, generator=torch.Generator().manual_seed(1))
    assert misfit(away, world.prompt_probs, lam=1.0, beta=0.5) > 10 * found[2]
