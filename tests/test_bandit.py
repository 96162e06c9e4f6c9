"""The bandit: a world one can enumerate, and a table that DPO tunes to the closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cdpo_edu.bandit import SafetyBandit, Table, TabularPolicy
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Preferences, ScoredPairs
from cdpo_edu.types import InputError

BETA = 0.5


def problem_of(world: SafetyBandit, *, beta: float = BETA) -> FiniteProblem:
    return FiniteProblem(
        world.ref_probs.numpy(),
        world.reward.values.numpy(),
        world.cost.values.numpy(),
        beta=beta,
        cost_limit=0.0,
        prompt_probs=world.prompt_probs.numpy(),
    )


def scored_in(world: SafetyBandit, n: int = 2000) -> ScoredPairs:
    return world.pairs(n, seed=1).score(world.reward, world.cost, TabularPolicy.like(world))


def with_zeros() -> SafetyBandit:
    """Return a world of 2 prompts, 4 responses: prompt 0 never says 1 and prompt 1 never says 3."""
    ref = torch.tensor([[0.5, 0.0, 0.3, 0.2], [0.1, 0.2, 0.7, 0.0]], dtype=torch.float64)
    draw = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return SafetyBandit(ref, Table(draw[0]), Table(draw[1]), torch.tensor([0.5, 0.5]).double())


# ---- the world ---------------------------------------------------------------------------------


def test_demo_is_a_world_of_distributions() -> None:
    world = SafetyBandit.demo(3, prompts=5, responses=7)
    assert world.ref_probs.shape == world.reward.values.shape == world.cost.values.shape == (5, 7)
    torch.testing.assert_close(world.ref_probs.sum(dim=1), torch.ones(5).double())
    assert world.prompt_probs.sum().item() == pytest.approx(1)
    assert world.prompts.tolist() == [0, 1, 2, 3, 4]
    assert world.reward.anchored and world.cost.anchored


def test_equal_seeds_make_equal_worlds_and_others_do_not() -> None:
    first, again, other = (SafetyBandit.demo(seed) for seed in (0, 0, 1))
    for name in ("reward", "cost"):
        assert getattr(first, name).fingerprint == getattr(again, name).fingerprint
        assert getattr(first, name).fingerprint != getattr(other, name).fingerprint
    assert torch.equal(first.ref_probs, again.ref_probs)


@pytest.mark.parametrize("seed", range(5))
def test_in_the_demo_reward_alone_breaks_the_limit_and_the_limit_binds(seed: int) -> None:
    problem = problem_of(SafetyBandit.demo(seed))
    unlimited = problem.evaluate(problem.policy(0.0))
    assert isinstance(unlimited.cost, float) and unlimited.cost > 0
    assert problem.solve().status == "optimal"


def test_table_evaluates_every_pair_in_its_place() -> None:
    world = SafetyBandit.demo(0, prompts=2, responses=3)
    assert world.table(lambda x, y: 10 * x + y).tolist() == [[0, 1, 2], [10, 11, 12]]
    assert torch.equal(world.table(world.cost), world.cost.values)


def test_pairs_compare_two_different_possible_answers() -> None:
    world = with_zeros()
    pairs = world.pairs(2000)
    x, y0, y1 = (torch.as_tensor(part) for part in (pairs.prompts, pairs.y0, pairs.y1))
    assert (y0 != y1).all()
    assert (world.ref_probs[x, y0] > 0).all() and (world.ref_probs[x, y1] > 0).all()


def test_pairs_repeat_with_the_seed() -> None:
    world = SafetyBandit.demo()
    first, again, other = (world.pairs(100, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.better is not None and again.better is not None
    assert torch.equal(first.better, again.better)


def test_people_judge_by_bradley_terry_and_flag_by_the_anchored_cost() -> None:
    """On 20000 pairs each share of ones lies within 5 standard errors of its mean probability.

    A draw's variance is at most 1/4, so 5 standard errors are at most 5 * 0.5/sqrt(20000) = 0.018. The labels
    are also split by the sign of their gap, so that a flipped sign cannot hide in the mean.
    """
    world = SafetyBandit.demo()
    pairs = world.pairs(20000)
    reward, cost = (
        torch.stack([table(pairs.prompts, y) for y in (pairs.y0, pairs.y1)], dim=1)
        for table in (world.reward, world.cost)
    )
    assert pairs.better is not None and pairs.safer is not None and pairs.unsafe is not None
    for labels, gap in (
        (pairs.better, reward[:, 1] - reward[:, 0]),
        (pairs.safer, cost[:, 0] - cost[:, 1]),
        (pairs.unsafe[:, 0], cost[:, 0]),
        (pairs.unsafe[:, 1], cost[:, 1]),
    ):
        for part in (gap > 0, gap <= 0):
            tolerance = 2.5 / math.sqrt(int(part.sum()))
            expected = gap[part].sigmoid().mean().item()
            assert labels[part].mean().item() == pytest.approx(expected, abs=tolerance)


# ---- the table as a policy ---------------------------------------------------------------------


def test_log_prob_by_hand() -> None:
    # Logits 0 and ln 3 are odds 1 to 3; adding 7 to a row changes nothing.
    policy = TabularPolicy(torch.tensor([[0.0, math.log(3)], [7.0, 7.0]]))
    logp = policy.log_prob(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(logp.exp(), torch.tensor([0.25, 0.75, 0.5]).double())
    assert logp.dtype == torch.float64


def test_log_prob_sums_to_one_and_knows_the_impossible() -> None:
    world = with_zeros()
    logp = world.table(TabularPolicy.like(world).log_prob)
    torch.testing.assert_close(logp.logsumexp(dim=1), torch.zeros(2).double())
    assert logp[0, 1] == logp[1, 3] == -math.inf
    torch.testing.assert_close(logp.exp(), world.ref_probs)


def test_samples_are_prompt_major_and_follow_the_table() -> None:
    """10000 draws per prompt: each share within 5 standard errors, at most 5 * 0.5/100 = 0.025."""
    world = with_zeros()
    drawn = TabularPolicy.like(world).sample(
        torch.tensor([1, 0]), 10000, generator=torch.Generator().manual_seed(0)
    )
    shares = torch.stack([row.bincount(minlength=4) for row in drawn.view(2, 10000)]) / 10000
    torch.testing.assert_close(shares.double(), world.ref_probs[[1, 0]], atol=0.025, rtol=0)
    assert shares[0, 3] == shares[1, 1] == 0


@pytest.mark.parametrize(
    "logits", [torch.zeros(3), torch.zeros(1, 2, 3), torch.tensor([[0.0, float("nan")]])]
)
def test_what_is_no_table_of_logits_is_refused(logits: Tensor) -> None:
    with pytest.raises(InputError, match="needs a table of logits"):
        TabularPolicy(logits)


# ---- DPO on the table --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [0.0, 1.3])
def test_fit_reaches_the_closed_form(seed: int, lam: float) -> None:
    """Soft labels, every pair of responses compared: DPO's minimiser is ref exp((r - lam c)/beta)/Z."""
    world = SafetyBandit.demo(seed)
    policy = TabularPolicy.like(world)
    fit = policy.fit(scored_in(world).label(lam), beta=BETA, steps=100, seed=0)
    expected = problem_of(world).policy(lam)
    np.testing.assert_allclose(policy.logits.exp().numpy(), expected, atol=1e-6, rtol=0)
    assert np.abs(expected - world.ref_probs.numpy()).max() > 0.05  # the way there was not empty
    assert 0 < fit.grad_steps <= 100


def test_the_closed_form_depends_on_beta() -> None:
    world = SafetyBandit.demo()
    policy = TabularPolicy.like(world)
    policy.fit(scored_in(world).label(0.7), beta=2.0, steps=100, seed=0)
    expected = problem_of(world, beta=2.0).policy(0.7)
    np.testing.assert_allclose(policy.logits.exp().numpy(), expected, atol=1e-6, rtol=0)


def test_where_the_pairs_come_from_does_not_matter() -> None:
    # The same prompts, only the chain 0-1, 1-2, ... compared, each once: still connected, same minimiser.
    world = SafetyBandit.demo()
    x, y = torch.arange(4).repeat_interleave(5), torch.arange(5).repeat(4)
    chain = replace(world.pairs(20), prompts=x, y0=y, y1=y + 1)
    policy = TabularPolicy.like(world)
    preferences = chain.score(world.reward, world.cost, TabularPolicy.like(world)).label(0.7)
    policy.fit(preferences, beta=BETA, steps=500, seed=0)
    expected = problem_of(world).policy(0.7)
    np.testing.assert_allclose(policy.logits.exp().numpy(), expected, atol=1e-5, rtol=0)


def test_an_unconnected_comparison_graph_leaves_its_parts_unweighed() -> None:
    """Only 0-1 and 2-3 are compared: odds within a part are the closed form's, those between are not."""
    world = SafetyBandit.demo(0, prompts=1, responses=4)
    x, y = torch.zeros(2, dtype=torch.long), torch.tensor([0, 2])
    apart = replace(world.pairs(2), prompts=x, y0=y, y1=y + 1)
    policy = TabularPolicy.like(world)
    preferences = apart.score(world.reward, world.cost, TabularPolicy.like(world)).label(0.7)
    policy.fit(preferences, beta=BETA, steps=200, seed=0)
    own, best = policy.logits[0].numpy(), np.log(problem_of(world).policy(0.7)[0])
    assert own[1] - own[0] == pytest.approx(best[1] - best[0], abs=1e-5)
    assert own[3] - own[2] == pytest.approx(best[3] - best[2], abs=1e-5)
    assert abs((own[2] - own[0]) - (best[2] - best[0])) > 0.1


def test_fit_reports_the_loss_where_it_ended() -> None:
    world = SafetyBandit.demo()
    policy, preferences = TabularPolicy.like(world), scored_in(world).label(1.0)
    fit = policy.fit(preferences, beta=BETA, steps=100, seed=0)
    logp = torch.stack([policy.log_prob(preferences.prompts, y) for y in preferences[1:3]], dim=1)
    loss = dpo_loss(logp, preferences.ref_logp, preferences.target, BETA).mean().item()
    assert fit.loss == pytest.approx(loss, abs=1e-12)
    assert fit.loss < math.log(2)


def test_impossible_responses_stay_impossible() -> None:
    world = with_zeros()
    policy = TabularPolicy.like(world)
    policy.fit(scored_in(world).label(0.5), beta=BETA, steps=100, seed=0)
    probs = policy.logits.exp()
    assert probs[0, 1] == probs[1, 3] == 0
    np.testing.assert_allclose(probs.numpy(), problem_of(world).policy(0.5), atol=1e-6, rtol=0)


def test_fit_without_a_seed_of_its_own_repeats_itself() -> None:
    world = SafetyBandit.demo()
    preferences = scored_in(world).label(1.0)
    ends = []
    for seed in (0, 1):
        policy = TabularPolicy.like(world)
        policy.fit(preferences, beta=BETA, steps=50, seed=seed)
        ends.append(policy.logits)
    assert torch.equal(*ends)


def test_hard_labels_have_no_finite_optimum() -> None:
    """Two answers, one always chosen: the margin grows with every step; the soft label stops at its odds."""
    prompts, y0, y1 = torch.zeros(1, dtype=torch.long), torch.tensor([0]), torch.tensor([1])
    margins = {}
    for target in (1.0, 0.75):
        for steps in (2, 5, 20):
            policy = TabularPolicy(torch.zeros(1, 2))
            ref_logp = torch.full((1, 2), -math.log(2), dtype=torch.float64)
            preferences = Preferences(prompts, y0, y1, ref_logp, torch.tensor([target]).double())
            policy.fit(preferences, beta=1.0, steps=steps, seed=0)
            margins[target, steps] = float(policy.logits[0, 1] - policy.logits[0, 0])
    assert math.log(3) + 3 < margins[1.0, 5] < margins[1.0, 20] - 3
    assert margins[0.75, 20] == pytest.approx(math.log(3), abs=1e-6)


def test_the_frozen_reference_does_not_move() -> None:
    world = SafetyBandit.demo()
    policy = TabularPolicy.like(world)
    reference = policy.frozen()
    before, name = reference.logits.clone(), reference.fingerprint
    policy.fit(scored_in(world).label(0.5), beta=BETA, steps=50, seed=0)
    assert torch.equal(reference.logits, before) and reference.fingerprint == name
    assert policy.fingerprint != name
    assert not torch.allclose(policy.logits, before)


# ---- files -------------------------------------------------------------------------------------


def test_save_load_and_restore_give_the_policy_back(tmp_path: Path) -> None:
    world = with_zeros()
    policy = TabularPolicy.like(world)
    policy.fit(scored_in(world).label(0.5), beta=BETA, steps=50, seed=0)
    policy.save(tmp_path / "new" / "folder")
    other = TabularPolicy.like(world)
    other.restore(tmp_path / "new" / "folder")
    for back in (TabularPolicy.load(tmp_path / "new" / "folder"), other):
        assert torch.equal(back.logits, policy.logits)
        assert back.fingerprint == policy.fingerprint


@pytest.mark.parametrize("seed", range(8))
def test_a_frozen_copy_is_the_policy_to_the_last_digit(seed: int) -> None:
    # A second log-softmax moves last digits on about half of these tables, and step 0 would have a margin.
    policy = TabularPolicy.like(SafetyBandit.demo(seed))
    reference = policy.frozen()
    assert torch.equal(reference.logits, policy.logits)
    assert reference.fingerprint == policy.fingerprint


def test_a_prompt_with_one_possible_answer_has_no_pairs() -> None:
    one, even = torch.tensor([[1.0, 0.0]]).double(), Table(torch.zeros(1, 2).double())
    with pytest.raises(InputError, match="every prompt needs two responses"):
        SafetyBandit(one, even, even, torch.ones(1).double()).pairs(3)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="policy.safetensors: no such file"):
        TabularPolicy.load(tmp_path)
