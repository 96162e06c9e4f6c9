"""Reward and cost models: they learn a planted rule, know their zero, and come back whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cdpo_edu.backbone import tiny_llama, word_tokenizer
from cdpo_edu.language_model import Budget, LanguageModelPolicy
from cdpo_edu.pairs import Pairs
from cdpo_edu.scorers import CostModel, RewardModel, ScoreModel, ScoreSettings
from cdpo_edu.sequences import Rows
from cdpo_edu.toy_language import INGREDIENTS, Kitchen
from cdpo_edu.types import InputError

KITCHEN = Kitchen(portions=2)
SETTINGS = ScoreSettings(prompt=4, response=3, batch_size=64, learning_rate=1e-2, eval_rows=512)


def scorer(kind: type[ScoreModel], *, seed: int = 0, settings: ScoreSettings = SETTINGS) -> ScoreModel:
    tokenizer = word_tokenizer(KITCHEN.vocabulary)
    return kind(tiny_llama(tokenizer, hidden=32, layers=1, seed=seed), tokenizer, settings=settings)


def weights(seed: int) -> dict[str, float]:
    """Return a planted value for each ingredient, between -2 and 2."""
    drawn = 4 * torch.rand(len(INGREDIENTS), generator=torch.Generator().manual_seed(seed)) - 2
    return dict(zip(INGREDIENTS, drawn.tolist(), strict=True))


def planted(seed: int) -> tuple[Pairs, Pairs]:
    """Return pairs to learn from and held-out ones, the better dish being that of the larger sum of weights.

    No dish of a held-out pair is in any pair that is learned from.
    """
    value = weights(seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(KITCHEN.responses), generator=generator).tolist()
    parts = []
    for dishes, count in ((order[:180], 1024), (order[180:], 256)):
        picked = torch.randint(len(dishes), (count, 2), generator=generator).tolist()
        y0, y1 = ([KITCHEN.responses[dishes[row[k]]] for row in picked] for k in (0, 1))
        sums = [[sum(value[item] for item in dish.split()) for dish in side] for side in (y0, y1)]
        better = torch.tensor(
            [(b > a) + 0.5 * (b == a) for a, b in zip(*sums, strict=True)], dtype=torch.float64
        )
        guests = [KITCHEN.prompts[i % 16] for i in range(count)]
        parts.append(Pairs(guests, y0, y1, better=better))
    return parts[0], parts[1]


def accuracy(score: ScoreModel, pairs: Pairs, label: Tensor) -> float:
    """Return the share of decided pairs that the sign of the score difference gets right."""
    gap = score(pairs.prompts, pairs.y1) - score(pairs.prompts, pairs.y0)
    decided = label != 0.5
    return ((gap > 0) == (label > 0.5))[decided].double().mean().item()


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("seed", [0, 1])
def test_a_reward_model_learns_a_planted_rule(seed: int) -> None:
    """From chance to above 0.9 on pairs of dishes that it has never seen."""
    train, held_out = planted(seed)
    assert train.better is not None and held_out.better is not None
    model = scorer(RewardModel).fit(train, steps=150, seed=0)
    assert accuracy(model, held_out, held_out.better) > 0.9


def test_a_sum_over_tokens_counts_and_the_last_token_does_not() -> None:
    """Dishes of 1 to 4 almonds, each one portion worse than the last: only the sum keeps them all apart."""
    dishes = [" ".join(["almond"] * n) for n in (1, 2, 3, 4)]
    y0, y1 = zip(*itertools.permutations(dishes, 2), strict=True)
    worse = torch.tensor([float(len(b) > len(a)) for a, b in zip(y0, y1, strict=True)])
    pairs = Pairs(["nuts sweet"] * 12, list(y0), list(y1), better=1 - worse).take(list(range(12)) * 8)
    scores = {}
    for readout in ("last", "sum"):
        settings = SETTINGS._replace(response=5, readout=readout)  # type: ignore[arg-type]
        model = scorer(RewardModel, settings=settings).fit(pairs, steps=60, seed=0)
        scores[readout] = model(["nuts sweet"] * 4, dishes)
    assert (scores["sum"].diff() < -0.5).all()
    assert scores["sum"].diff().abs().min() > scores["last"].diff().abs().min()


def test_a_ranking_reads_each_dish_once_and_fits_the_same_loss() -> None:
    """6 dishes, 15 comparisons: 6 rows instead of 30, and the model that 15 single pairs would give."""
    rows: list[int] = []

    class Counting(RewardModel):
        def _pad(self, part: list[list[int]]) -> Rows:
            rows.append(len(part))
            return super()._pad(part)

    dishes = KITCHEN.responses[40:46]
    y0, y1 = (list(side) for side in zip(*itertools.combinations(dishes, 2), strict=True))
    single = Pairs(["nuts sweet"] * 15, y0, y1, better=torch.arange(15.0) % 2)
    ranked = replace(single, sets=torch.zeros(15, dtype=torch.long))
    settings = SETTINGS._replace(batch_size=15)
    apart, together = (scorer(Counting, settings=settings).fit(p, steps=3, seed=0) for p in (single, ranked))
    assert rows == [30, 30, 30, 6, 6, 6]
    scores = [model(["nuts sweet"] * 6, dishes) for model in (apart, together)]
    centred = [score - score.mean() for score in scores]  # comparisons say nothing of a shift
    assert torch.allclose(*centred, atol=1e-4) and scores[0].std() > 1e-2


def test_shuffled_labels_teach_nothing() -> None:
    """The negative control: the same test, labels from other pairs."""
    train, held_out = planted(0)
    assert train.better is not None and held_out.better is not None
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1))
    model = scorer(RewardModel).fit(replace(train, better=train.better[order]), steps=150, seed=0)
    assert accuracy(model, held_out, held_out.better) < 0.7


def comparisons(n: int, seed: int) -> Pairs:
    """Return pairs of random dishes with people's labels, at the kitchen's own sharpness."""
    generator = torch.Generator().manual_seed(seed)
    dishes = torch.randint(len(KITCHEN.responses), (n, 2), generator=generator).tolist()
    y0, y1 = ([KITCHEN.responses[row[k]] for row in dishes] for k in (0, 1))
    return KITCHEN.judged([KITCHEN.prompts[i % 16] for i in range(n)], y0, y1, generator=generator)


@pytest.fixture(scope="module")
def fitted_cost() -> ScoreModel:
    return scorer(CostModel).fit(comparisons(3000, seed=0), steps=300, seed=0)


def test_a_cost_model_with_flags_knows_the_sign(fitted_cost: ScoreModel) -> None:
    """c > 0 just where a dish holds a forbidden portion, for fresh guests and dishes."""
    fresh = comparisons(1000, seed=1)
    harmful = KITCHEN.cost(fresh.prompts, fresh.y0) > 0
    right = (fitted_cost(fresh.prompts, fresh.y0) > 0) == harmful
    assert right.double().mean() > 0.9
    assert right[harmful].double().mean() > 0.75 and right[~harmful].double().mean() > 0.75


def test_a_cost_model_puts_the_more_harmful_dish_higher(fitted_cost: ScoreModel) -> None:
    """Higher is more harmful, on pairs whose harms differ."""
    fresh = comparisons(1000, seed=2)
    harm = torch.stack([KITCHEN.cost(fresh.prompts, y) for y in (fresh.y0, fresh.y1)])
    label = 0.5 + 0.5 * (harm[1] - harm[0]).sign()
    assert accuracy(fitted_cost, fresh, label) > 0.9


def test_soft_labels_are_matched_as_probabilities() -> None:
    """One pair that 3 of 4 judges prefer: its gap goes to ln 3."""
    pair = Pairs(["nuts sweet"] * 4, ["rice"] * 4, ["apple"] * 4, better=torch.full((4,), 0.75))
    model = scorer(RewardModel).fit(pair, steps=100, seed=0)
    gap = model(pair.prompts[:1], pair.y1[:1]) - model(pair.prompts[:1], pair.y0[:1])
    assert gap.item() == pytest.approx(math.log(3), abs=0.05)


def test_flags_alone_fit_a_probability_of_being_unsafe() -> None:
    """No comparisons; one dish flagged unsafe by 4 of 5: s(c) goes to 0.8, that of a safe dish to 0."""
    flags = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 0.0]])
    pairs = Pairs(["nuts sweet"] * 5, ["almond"] * 5, ["rice"] * 5, unsafe=flags)
    model = scorer(CostModel).fit(pairs, steps=200, seed=0)
    unsafe, safe = model(["nuts sweet"] * 2, ["almond", "rice"]).sigmoid().tolist()
    assert unsafe == pytest.approx(0.8, abs=0.03) and safe < 0.1


def test_unlabelled_rows_have_no_say() -> None:
    """The same rows with 16 more of unknown label give the same model when every row is in every batch."""
    train, held_out = planted(0)
    assert train.better is not None
    few = train.take(list(range(32)))
    assert few.better is not None
    unknown = replace(
        train.take(list(range(32, 48))), better=torch.full((16,), float("nan"), dtype=torch.float64)
    )
    mixed = Pairs(
        [*few.prompts, *unknown.prompts],
        [*few.y0, *unknown.y0],
        [*few.y1, *unknown.y1],
        better=torch.cat([few.better, torch.full((16,), float("nan"), dtype=torch.float64)]),
    )
    scores = [
        scorer(RewardModel).fit(pairs, steps=10, seed=0)(held_out.prompts, held_out.y0)
        for pairs in (few, mixed)
    ]
    assert torch.equal(*scores) and scores[0].std() > 0


# ---------------------------------------------------------------- what a score is


def test_a_new_model_says_zero() -> None:
    """The head starts at zero: no opinion before the first step."""
    pairs = comparisons(8, seed=0)
    assert torch.equal(scorer(RewardModel)(pairs.prompts, pairs.y0), torch.zeros(8, dtype=torch.float64))


def test_a_score_does_not_depend_on_the_batch(fitted_cost: ScoreModel) -> None:
    fresh = comparisons(64, seed=3)
    together = fitted_cost(fresh.prompts, fresh.y0)
    alone = torch.cat([fitted_cost([x], [y]) for x, y in zip(fresh.prompts, fresh.y0, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5) and together.std() > 0.1
    assert together.dtype == torch.float64 and together.shape == (64,)


def test_the_score_is_read_at_the_end_token() -> None:
    """By hand: the head on the trunk's state at <eos>, the last of <bos> nuts sweet rice <eos>."""
    model = scorer(RewardModel).fit(planted(0)[0], steps=5, seed=0)
    ids = model.tokenizer.convert_tokens_to_ids(["<bos>", "nuts", "sweet", "rice", "<eos>"])
    with torch.no_grad():
        state = model.net.trunk(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        expected = (state @ model.net.head.weight[0] + model.net.head.bias[0]).item()
    assert model(["nuts sweet"], ["rice"]).item() == pytest.approx(expected, abs=1e-6)


def test_budgets_cut_the_prompt_on_the_left_and_the_answer_on_the_right() -> None:
    """4 and 3 tokens: <bos> with the last three of the prompt, two words and the end."""
    model = scorer(RewardModel)
    words = model.tokenizer.convert_tokens_to_ids(["<bos>", "sweet", "milk", "rich", "rice", "bean", "<eos>"])
    assert model._ids(["nuts sweet milk rich"], ["rice bean apple"]) == [words]


def test_the_model_that_is_given_is_not_trained() -> None:
    tokenizer = word_tokenizer(KITCHEN.vocabulary)
    base = tiny_llama(tokenizer, hidden=32, layers=1, seed=0)
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    RewardModel(base, tokenizer, settings=SETTINGS).fit(planted(0)[0], steps=3, seed=0)
    assert all(torch.equal(before[name], weight) for name, weight in base.state_dict().items())


def test_quantised_weights_are_refused_with_a_remedy() -> None:
    tokenizer = word_tokenizer(KITCHEN.vocabulary)
    base = tiny_llama(tokenizer, hidden=32, layers=1, seed=0)
    base.is_quantized = True
    with pytest.raises(InputError, match="32- or 16-bit model"):
        RewardModel(base, tokenizer, settings=SETTINGS)


def test_equal_seeds_give_equal_models() -> None:
    train, held_out = planted(0)
    small = SETTINGS._replace(batch_size=8)
    a, b, c = (scorer(RewardModel, settings=small).fit(train, steps=5, seed=s) for s in (0, 0, 1))
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert torch.equal(a(held_out.prompts, held_out.y0), b(held_out.prompts, held_out.y0))


# ---------------------------------------------------------------- anchors and labels


def test_only_flags_give_a_zero() -> None:
    labelled = comparisons(64, seed=0)
    assert labelled.unsafe is not None
    unknown = torch.full_like(labelled.unsafe, float("nan"))
    one = unknown.clone()
    one[5, 1] = 1.0
    for flags, anchored in ((labelled.unsafe, True), (None, False), (unknown, False), (one, True)):
        model = scorer(CostModel).fit(replace(labelled, unsafe=flags), steps=1, seed=0)
        assert model.anchored is anchored
    assert scorer(RewardModel).fit(labelled, steps=1, seed=0).anchored is False
    assert CostModel.anchored is False  # the class itself promises nothing


@pytest.mark.parametrize("kind", [RewardModel, CostModel])
def test_missing_labels_are_refused(kind: type[ScoreModel]) -> None:
    bare = Pairs(["nuts sweet"], ["rice"], ["apple"])
    with pytest.raises(InputError, match=kind.__name__):
        scorer(kind).fit(bare)


@pytest.mark.parametrize("kind", [RewardModel, CostModel])
def test_labels_that_are_all_unknown_are_refused(kind: type[ScoreModel]) -> None:
    nan = torch.full((2,), float("nan"))
    pairs = Pairs(["nuts sweet"] * 2, ["rice"] * 2, ["apple"] * 2, nan, nan, torch.stack([nan, nan], dim=1))
    with pytest.raises(InputError, match="not one pair carries the label"):
        scorer(kind).fit(pairs)


def test_a_reward_model_does_not_take_safety_labels() -> None:
    pairs = Pairs(["nuts sweet"], ["rice"], ["apple"], safer=torch.ones(1))
    with pytest.raises(InputError, match="RewardModel"):
        scorer(RewardModel).fit(pairs)


# ---------------------------------------------------------------- saving


def test_a_saved_score_model_comes_back_bit_for_bit(fitted_cost: ScoreModel, tmp_path: Path) -> None:
    """Trunk, head, settings and anchor."""
    fresh = comparisons(64, seed=4)
    fitted_cost.save(tmp_path / "cost")
    loaded = CostModel.load(tmp_path / "cost")
    assert torch.equal(loaded(fresh.prompts, fresh.y0), fitted_cost(fresh.prompts, fresh.y0))
    assert loaded.fingerprint == fitted_cost.fingerprint
    assert (loaded.settings, loaded.anchored) == (SETTINGS, True)
    assert loaded.net.head.weight.any()


def test_a_score_model_on_a_policy_with_adapters_comes_back_too(tmp_path: Path) -> None:
    """It takes the policy's weights without the adapters, so that its folder is a plain model's."""
    train, held_out = planted(0)
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(KITCHEN.vocabulary), hidden=32, layers=1, seed=0, lora_rank=4, budget=Budget(4, 2)
    )
    model = RewardModel(policy.model, policy.tokenizer, settings=SETTINGS).fit(train, steps=5, seed=0)
    plain = scorer(RewardModel).fit(train, steps=5, seed=0)
    model.save(tmp_path)
    expected = model(held_out.prompts, held_out.y0)
    assert torch.equal(RewardModel.load(tmp_path)(held_out.prompts, held_out.y0), expected)
    assert torch.equal(plain(held_out.prompts, held_out.y0), expected)


def test_a_cost_is_not_taken_for_a_reward(tmp_path: Path) -> None:
    scorer(CostModel).save(tmp_path / "cost")
    with pytest.raises(InputError, match="holds a CostModel, not a RewardModel"):
        RewardModel.load(tmp_path / "cost")


def test_a_folder_without_a_score_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no score model there"):
        RewardModel.load(tmp_path)


def test_the_two_kinds_have_different_fingerprints() -> None:
    assert scorer(RewardModel).fingerprint != scorer(CostModel).fingerprint
