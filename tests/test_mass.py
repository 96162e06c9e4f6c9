"""Where the mass went: by hand on a bandit, adding up to 1 on a transformer, and the picture of it."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from pictures import assert_legible, same_bytes_twice, words

from cdpo_edu import FiniteProblem, Kitchen, LanguageModelPolicy, SafetyBandit, TabularPolicy, plots
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.certificate import enumerated
from cdpo_edu.laboratories.mass import KINDS, MassPath, MassRecord, chances, follow_mass, kinds, variations
from cdpo_edu.language_model import Budget, Engine
from cdpo_edu.pairs import Preferences
from cdpo_edu.plots.mass import spread
from cdpo_edu.toy_language import INGREDIENTS
from cdpo_edu.types import InputError


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def exact_problem(world: SafetyBandit, limit: float) -> FiniteProblem:
    tables = (part.numpy() for part in (world.ref_probs, world.reward.values, world.cost.values))
    return FiniteProblem(*tables, beta=0.5, cost_limit=limit, prompt_probs=world.prompt_probs.numpy())


def small_cook(seed: int = 0, sft_weight: float = 0.0) -> LanguageModelPolicy:
    return LanguageModelPolicy.tiny(
        word_tokenizer(Kitchen().vocabulary),
        hidden=16,
        layers=1,
        seed=seed,
        budget=Budget(4, 1),
        engine=Engine(16, 1e-2, 512, group_by_length=False, sft_weight=sft_weight),
        response_words=list(INGREDIENTS),
    )


# ---- kinds ----------------------------------------------------------------------------------------


def test_chances_are_mean_targets_by_hand() -> None:
    """Of prompt 0: 2 wins 0.9 and 0.3 of its pairs, 0 loses one, 1 wins one; equal answers say nothing."""
    x, y0, y1 = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 3]), torch.tensor([2, 1, 3])
    given = Preferences(x, y0, y1, torch.zeros(3, 2), torch.tensor([0.9, 0.7, 0.8]).double())
    found = chances(SafetyBandit.demo(prompts=2, responses=4), given)
    np.testing.assert_allclose(found, [[0.1, 0.7, 0.6, np.nan], [np.nan] * 4], atol=1e-7)


def test_kinds_by_hand() -> None:
    """beta 1, no price: pi* is in proportion to e^r, so only the second unseen response gains."""
    world = SafetyBandit.demo(prompts=1, responses=4)
    problem = FiniteProblem([[0.25] * 4], [[0, 0, 3, -3]], [[0] * 4], beta=1.0, cost_limit=1.0)
    given = Preferences(
        torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 2), torch.ones(1)
    )
    assert [KINDS[k] for k in kinds(world, given, problem)[0]] == [
        "rejected", "chosen", "unseen, to rise", "unseen, to fall",
    ]  # fmt: skip


def test_without_an_optimum_nothing_can_be_said_to_rise() -> None:
    world = SafetyBandit.demo()
    given = Preferences(
        torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 2), torch.ones(1)
    )
    with pytest.raises(InputError, match="no policy meets this limit"):
        kinds(world, given, exact_problem(world, -99.0))


# ---- a run ----------------------------------------------------------------------------------------


def test_a_table_with_many_pairs_ends_at_the_optimums_masses() -> None:
    world = SafetyBandit.demo(seed=1)
    problem = exact_problem(world, 0.0)
    policy = TabularPolicy.like(world)
    scored = world.pairs(2000, seed=0).score(world.reward, world.cost, policy.frozen())
    path = follow_mass(
        policy, scored.label(problem.solve().lam), problem=problem, world=world, steps=100, every=50
    )
    assert path.steps.tolist() == [0, 50, 100]
    np.testing.assert_allclose(path.masses.sum(axis=1), 1.0)
    np.testing.assert_allclose(path.masses[-1], path.optimum, atol=1e-5)
    assert path.records[-1].closeness == pytest.approx(1.0, abs=1e-6)
    assert path.records[0].closeness == pytest.approx(0.0, abs=1e-9)
    assert path.records[-1].cost == pytest.approx(0.0, abs=1e-5)


def test_the_logs_numbers_by_hand() -> None:
    """One pair on a table from even odds, target 3/4 at beta 1/2: the logits part by 2 ln 3, so by +-ln 3.

    Weights 3, 1/3, 1, 1 of a sum of 16/3: the chosen goes from 1/4 to 9/16, the rejected to 1/16.
    """
    world = SafetyBandit.demo(prompts=1, responses=4)
    even = [[0.25] * 4]
    problem = FiniteProblem(even, [[0, np.log(3), 0, 0]], [[0] * 4], beta=0.5, cost_limit=1.0)
    given = Preferences(
        torch.tensor([0]),
        torch.tensor([0]),
        torch.tensor([1]),
        torch.tensor(even).log()[:, :2],
        torch.tensor([0.75]),
    )
    policy = TabularPolicy(torch.zeros(1, 4))
    first, last = follow_mass(policy, given, problem=problem, world=world, steps=50, every=50).records
    assert first.mass.tolist() == pytest.approx([0.25, 0.25, 0.0, 0.5])
    assert last.mass.tolist() == pytest.approx([9 / 16, 1 / 16, 0.0, 6 / 16], abs=1e-5)
    assert (last.chosen_logp, last.rejected_logp) == pytest.approx((np.log(9 / 4), np.log(1 / 4)), abs=1e-4)


def kitchen_run(sft_weight: float = 0.0) -> MassPath:
    kitchen = Kitchen(portions=1)
    policy = small_cook(sft_weight=sft_weight)
    reference = policy.frozen()
    tables = (kitchen.table(score).numpy() for score in (kitchen.reward, kitchen.cost))
    problem = FiniteProblem(enumerated(kitchen, reference).numpy(), *tables, beta=0.1, cost_limit=-0.35)
    scored = variations(kitchen, reference, 32, seed=0).score(kitchen.reward, kitchen.cost, reference)
    return follow_mass(policy, scored.label(1.0), problem=problem, world=kitchen, steps=20, every=10)


def test_a_transformers_masses_add_up_and_repeat() -> None:
    path, again = kitchen_run(), kitchen_run()
    np.testing.assert_allclose(path.masses.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(path.masses, again.masses)
    assert path.records[0].chosen_logp == pytest.approx(0.0, abs=1e-6)
    assert path.records[-1].rejected_logp < path.records[-1].chosen_logp


def test_an_anchor_lifts_the_chosen_mass_above_plain_dpo() -> None:
    plain, anchored = kitchen_run(), kitchen_run(sft_weight=1.0)
    assert anchored.masses[-1, 0] > plain.masses[-1, 0]
    assert anchored.records[-1].chosen_logp > plain.records[-1].chosen_logp


@pytest.mark.parametrize(("steps", "every"), [(10, 3), (0, 1), (4, 0)])
def test_every_must_divide_steps(steps: int, every: int) -> None:
    world = SafetyBandit.demo()
    policy = TabularPolicy.like(world)
    given = world.pairs(9, seed=0).score(world.reward, world.cost, policy.frozen()).label(1.0)
    with pytest.raises(InputError, match=f"every: {every} must divide steps, {steps}"):
        follow_mass(policy, given, problem=exact_problem(world, 0.0), world=world, steps=steps, every=every)


# ---- pairs that are alike -------------------------------------------------------------------------


def test_variations_differ_in_the_last_portion_alone() -> None:
    kitchen, cook = Kitchen(portions=1), small_cook()
    pairs = variations(kitchen, cook, 200, seed=0)
    assert pairs.prompts[:17] == [*kitchen.prompts, kitchen.prompts[0]]
    for y0, y1 in zip(pairs.y0, pairs.y1, strict=True):
        assert y0 != y1
        assert str(y0).split()[:-1] == str(y1).split()[:-1]
        assert len(str(y1).split()) == 1
    assert "" in pairs.y0  # an empty plate too
    assert variations(kitchen, cook, 200, seed=0).y1 == pairs.y1


# ---- the picture ----------------------------------------------------------------------------------


def path_of(*masses: list[float]) -> MassPath:
    records = [
        MassRecord(10 * i, np.array(m), -0.5 * i, -1.0 * i, 1.0, 0.4, 0.2, 0.5) for i, m in enumerate(masses)
    ]
    return MassPath(tuple(records), np.array([0.15, 0.02, 0.8, 0.03]), 0.25)


def test_the_picture_in_words() -> None:
    data = plots.mass_data(path_of([0.1, 0.1, 0.3, 0.5], [0.2, 0.05, 0.4, 0.35]))
    assert data.describe() == (
        "chosen 0.10 → 0.20, rejected 0.10 → 0.05, unseen 0.80 → 0.75\n"
        "log π: chosen −0.5, rejected −1 nats\n"
        "limit not met, E[c] = 0.4 > C = 0.25, closeness 0.5"
    )
    np.testing.assert_allclose(data.unseen, [0.8, 0.75])


def test_plot_mass_inks_the_data_and_can_be_read() -> None:
    path = path_of([0.1, 0.1, 0.3, 0.5], [0.2, 0.05, 0.4, 0.35], [0.3, 0.0, 0.5, 0.2])
    ax = plots.plot_mass(path)
    tops = [band.get_paths()[0].vertices[:, 1].max() for band in ax.collections]
    np.testing.assert_allclose(tops, path.masses.cumsum(axis=1).max(axis=0), atol=1e-9)
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [*path.optimum, 1.0])
    assert "chosen\n0.30, optimum 0.15" in words(ax)
    assert_legible("mass", [ax])
    assert same_bytes_twice(lambda axes: plots.plot_mass(path, ax=axes))


@pytest.mark.parametrize(
    "optimum", [[0.01, 0.01, 0.01, 0.97], [0.97, 0.01, 0.01, 0.01], [0.0, 0.5, 0.5, 0.0]]
)
def test_names_keep_apart_and_inside(optimum: list[float]) -> None:
    middles = np.cumsum(optimum) - np.array(optimum) / 2
    heights = np.array(spread(middles))
    assert np.diff(heights).min() >= 0.15 - 1e-9
    assert heights.min() >= 0.0 and heights.max() <= 0.925 + 1e-9
