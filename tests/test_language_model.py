"""The transformer policy: probabilities that sum to one, samples that follow them, adapters, saving, DPO."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from cdpo_edu import language_model, reading
from cdpo_edu.answer_sets import answer_sets, collate_sets
from cdpo_edu.backbone import bpe_tokenizer, word_tokenizer
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Preferences
from cdpo_edu.sequences import Rows
from cdpo_edu.toy_language import INGREDIENTS, Kitchen
from cdpo_edu.types import InputError, Policy

LN2 = math.log(2)


def cook(
    portions: int = 2, *, seed: int = 0, lora_rank: int | None = None, engine: Engine | None = None
) -> LanguageModelPolicy:
    """Return an untrained cook with uneven tastes: a head five times as sharp as it is built."""
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(Kitchen().vocabulary),
        hidden=16,
        layers=1,
        seed=seed,
        budget=Budget(4, portions),
        engine=engine or Engine(16, 1e-2, 512),
        response_words=list(INGREDIENTS),
    )
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(20)  # type: ignore[operator]
    return policy if lora_rank is None else policy.with_lora(lora_rank, seed=seed)


X = ["nuts sweet", "milk rich", "egg", "fish fresh"]
Y0 = ["honey almond", "cream", "", "rice"]
Y1 = ["apple", "bean cheese", "water water", "shrimp rice"]


def preferences(reference: Policy, target: Tensor | None = None) -> Preferences:
    ref_logp = torch.stack([reference.log_prob(X, Y0), reference.log_prob(X, Y1)], dim=1)
    return Preferences(X, Y0, Y1, ref_logp, torch.tensor([1.0, 0.0, 0.3, 0.8]) if target is None else target)


def weights_of(policy: LanguageModelPolicy) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in policy.model.state_dict().items()}


# ---------------------------------------------------------------- what a probability is


@pytest.mark.parametrize("portions", [1, 2])
def test_probabilities_of_all_dishes_sum_to_one(portions: int) -> None:
    """16 and 241 dishes, the empty plate among them, for each of 16 guests."""
    policy = cook(portions)
    total = Kitchen(portions=portions).table(policy.log_prob).exp().sum(dim=1)
    assert (total - 1).abs().max() < 1e-5


@pytest.mark.parametrize("mutant", ["mean", "no end"])
def test_the_sum_to_one_catches_a_mean_and_a_lost_end(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = reading.sequence_logp
    if mutant == "mean":
        monkeypatch.setattr(
            reading,
            "sequence_logp",
            lambda logits, rows, **given: honest(logits, rows, **given) / rows.response.sum(dim=1),
        )
    else:
        monkeypatch.setattr(LanguageModelPolicy, "_response_ids", without_end)
    total = Kitchen(portions=2).table(cook(2).log_prob).exp().sum(dim=1)
    assert (total - 1).abs().min() > 0.1


def without_end(policy: LanguageModelPolicy, responses: Any) -> list[list[int]]:
    encoded = policy.tokenizer(list(responses), add_special_tokens=False)["input_ids"]
    return [ids[: policy.budget.response] for ids in encoded]


def by_hand(policy: LanguageModelPolicy, prompt: str, response: str) -> float:
    """Walk the response token by token, one unpadded forward pass each, and add the log-probabilities."""
    tokenizer = policy.tokenizer
    words = [*INGREDIENTS, "<eos>"]
    ids = tokenizer.convert_tokens_to_ids(["<bos>", *prompt.split()])
    allowed = tokenizer.convert_tokens_to_ids(words)
    steps = [*response.split(), "<eos>"][: policy.budget.response]
    total = 0.0
    for word in steps:
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        total += float(logits[allowed].log_softmax(0)[words.index(word)])
        ids = [*ids, *tokenizer.convert_tokens_to_ids([word])]
    return total


def test_log_prob_is_the_walk_through_the_response() -> None:
    policy = cook(3)
    expected = [by_hand(policy, x, y) for x, y in zip(X, Y0, strict=True)]
    assert policy.log_prob(X, Y0).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_first_answer_word_counts() -> None:
    """Answers alike but for the first word: the difference is the first step's and what follows from it."""
    policy = cook(3)
    logp = policy.log_prob(["nuts sweet"] * 2, ["honey apple", "water apple"])
    expected = by_hand(policy, "nuts sweet", "honey apple") - by_hand(policy, "nuts sweet", "water apple")
    assert (logp[0] - logp[1]).item() == pytest.approx(expected, abs=1e-5) and abs(expected) > 0.1


def test_a_full_budget_never_ended() -> None:
    """Of two portions the end would be a third token: P(y) = P(honey) P(almond | honey), with no end."""
    two, three = cook(2), cook(3)
    honey_almond = two.log_prob(X[:1], ["honey almond"]).exp().sum()
    longer = three.log_prob(X[:1] * 16, ["honey almond", *(f"honey almond {w}" for w in INGREDIENTS)])
    assert longer.exp().sum().item() == pytest.approx(honey_almond.item(), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_log_prob_does_not_depend_on_the_batch(rows: int) -> None:
    """Alone, in threes, all at once, shuffled, beside long strangers: the same to 1e-5."""
    policy = cook(6)
    prompts, responses = X * 3, [*Y0, *Y1, *["rice bean honey apple tomato basil"] * 4]
    alone = torch.cat([policy.log_prob([x], [y]) for x, y in zip(prompts, responses, strict=True)])
    policy.engine = policy.engine._replace(eval_rows=rows)
    assert torch.allclose(policy.log_prob(prompts, responses), alone, atol=1e-5)
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(0)).tolist()
    mixed = policy.log_prob([prompts[i] for i in order], [responses[i] for i in order])
    assert torch.allclose(mixed, alone[order], atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_padding_side_has_no_say(side: str) -> None:
    policy = cook()
    expected = policy.log_prob(X, Y0)
    policy.tokenizer.padding_side = side
    assert torch.equal(policy.log_prob(X, Y0), expected)


def test_padding_on_the_left_gives_the_same_numbers() -> None:
    """What `sample` pads on the left `log_prob` pads on the right: the model sees the same distribution."""
    policy = cook(1)
    allowed = policy.tokenizer.convert_tokens_to_ids([*INGREDIENTS, "<eos>"])
    ids = policy.tokenizer.convert_tokens_to_ids(["<pad>", "<pad>", "<bos>", "egg"])
    with torch.no_grad():
        logits = policy.model(
            input_ids=torch.tensor([ids]), attention_mask=torch.tensor([[0, 0, 1, 1]])
        ).logits[0, -1]
    padded = logits[allowed].log_softmax(0)
    assert torch.allclose(policy.log_prob(["egg"] * 16, [*INGREDIENTS, ""]), padded, atol=1e-5)


def test_a_pair_is_read_as_its_answers_are() -> None:
    """The batch that DPO trains on gives each answer the log-probability it has alone."""
    policy = cook()
    given = preferences(policy)
    rows = answer_sets(given, policy._prompt_ids, policy._response_ids)
    batch = collate_sets(rows, pad=policy.tokenizer.pad_token_id)
    with torch.no_grad():
        logp = policy._logp(policy.model, Rows(batch["ids"], batch["attention"], batch["response"]))
    alone = torch.stack([policy.log_prob(X, Y0), policy.log_prob(X, Y1)], dim=1)
    assert torch.allclose(logp[batch["pairs"]], alone, atol=1e-5)


# ---------------------------------------------------------------- budgets


def test_long_prompts_lose_their_beginning_and_long_answers_their_end() -> None:
    """Budget 3: the end of the prompt behind <bos>; 2: two words of the answer and no end."""
    policy = cook(2)
    policy.budget = Budget(3, 2)
    words = policy.tokenizer.convert_tokens_to_ids
    assert policy._prompt_ids(["sweet nuts milk"]) == [words(["<bos>", "nuts", "milk"])]
    assert policy._response_ids(["rice bean honey", "rice"]) == [
        words(["rice", "bean"]),
        words(["rice", "<eos>"]),
    ]


def test_truncation_is_counted() -> None:
    """Budget 3 holds <bos> and two words; an answer needs room for its end: two words do not fit in 2."""
    policy = cook(2)
    policy.budget = Budget(3, 2)
    found = policy.truncated(
        ["nuts", "nuts sweet", "nuts sweet milk"], ["rice", "rice bean", "rice bean honey"]
    )
    assert found == {"prompts": 1, "responses": 2}


def test_a_model_without_a_begin_token_still_sums_to_one() -> None:
    policy = cook(1)
    policy.tokenizer.bos_token = None
    total = policy.log_prob(["nuts"] * 16, Kitchen(portions=1).responses).exp().sum().item()
    assert total == pytest.approx(1.0, abs=1e-5)


def test_without_a_begin_token_an_empty_prompt_is_refused() -> None:
    """Nothing would predict the first answer token; beside longer rows it would silently not be counted."""
    policy = cook(1)
    policy.tokenizer.bos_token = None
    with pytest.raises(InputError, match="empty prompt"):
        policy.log_prob(["", "nuts sweet"], ["rice", "rice"])


def test_the_prompt_is_encoded_once_and_the_answer_appended() -> None:
    """With merges across the boundary: 'ab' is one token, but prompt 'a' and answer 'b' stay two."""
    tokenizer = bpe_tokenizer(["ab ab ab ab"], vocabulary=262)
    policy = LanguageModelPolicy.tiny(tokenizer, hidden=16, layers=1, budget=Budget(8, 8))
    assert len(tokenizer("ab", add_special_tokens=False)["input_ids"]) == 1
    a, b = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in "ab")
    assert policy._prompt_ids(["a"])[0] + policy._response_ids(["b"])[0] == [1, *a, *b, 2]


# ---------------------------------------------------------------- samples


def chi_square(policy: LanguageModelPolicy, prompt: str, drawn: list[str]) -> float:
    """Return the p-value of the draws under `log_prob` over the 16 dishes of one portion."""
    dishes = Kitchen(portions=1).responses
    expected = policy.log_prob([prompt] * len(dishes), dishes).double().exp()
    observed = [drawn.count(dish) for dish in dishes]
    assert sum(observed) == len(drawn)
    return float(stats.chisquare(observed, (expected / expected.sum() * len(drawn)).tolist()).pvalue)


def test_samples_follow_log_prob_for_prompts_of_different_length() -> None:
    """2,000 draws for a prompt of one word and one of four, padded together."""
    policy = cook(1)
    policy.budget = Budget(5, 1)
    prompts = ["egg", "nuts sweet milk rich"]
    drawn = policy.sample(prompts, 2000, generator=torch.Generator().manual_seed(0))
    for k, prompt in enumerate(prompts):
        assert chi_square(policy, prompt, drawn[2000 * k : 2000 * (k + 1)]) > 1e-3


LEAKS: list[dict[str, Any]] = [
    {"temperature": 0.1, "top_k": 1},
    {"top_p": 0.1},
    {"min_p": 0.9},
    {"typical_p": 0.1},
    {"epsilon_cutoff": 0.3},
    {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1},
    {"do_sample": False, "num_beams": 2},
    {"min_new_tokens": 2},
    {"bad_words_ids": [[4], [5], [6]]},
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: "+".join(leak))
def test_the_models_own_generation_settings_have_no_effect(leak: dict[str, Any]) -> None:
    policy = cook(2)
    expected = policy.sample(X, 64, generator=torch.Generator().manual_seed(0))
    for name, value in leak.items():
        setattr(policy.model.generation_config, name, value)
    assert policy.sample(X, 64, generator=torch.Generator().manual_seed(0)) == expected
    assert len(set(expected)) > 16  # a cut-off distribution would be poorer


def test_a_lower_temperature_would_be_seen() -> None:
    """The chi-square test has power: draws from the squared distribution are refused."""
    policy = cook(1)
    dishes = Kitchen(portions=1).responses
    sharper = (2 * policy.log_prob(["egg"] * 16, dishes)).softmax(0)
    index = torch.multinomial(sharper, 2000, replacement=True, generator=torch.Generator().manual_seed(0))
    assert chi_square(policy, "egg", [dishes[i] for i in index.tolist()]) < 1e-9


def test_samples_repeat_with_their_generator_and_leave_the_global_state_alone() -> None:
    policy = cook()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = (policy.sample(X, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert a == b != c
    assert len(a) == 32


def test_a_generator_moves_on() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = cook()
    assert policy.sample(X, 8, generator=generator) != policy.sample(X, 8, generator=generator)


def test_samples_are_prompt_major() -> None:
    """A policy taught to answer each guest with their own dish gives it n times in a row."""
    policy = cook(2, engine=Engine(8, 3e-2, 512))
    prompts, dishes = ["nuts sweet", "fish rich"], ["apple", "bean"]
    policy.imitate(prompts * 8, dishes * 8, steps=80, seed=0)
    drawn = policy.sample(prompts, 20, generator=torch.Generator().manual_seed(0))
    assert drawn[:20].count("apple") >= 15 and drawn[20:].count("bean") >= 15


def test_unended_answers_are_counted() -> None:
    """Of budget 2 the dishes that never ended are just those with two words."""
    policy = cook(2)
    drawn = policy.sample(X, 100, generator=torch.Generator().manual_seed(0))
    share = sum(len(dish.split()) == 2 for dish in drawn) / 400
    assert policy.unended == pytest.approx(share) and 0.1 < share < 1


def test_unended_is_counted_where_padding_is_the_end_token() -> None:
    policy = cook(2)
    policy.tokenizer.pad_token = policy.tokenizer.eos_token
    drawn = policy.sample(X, 100, generator=torch.Generator().manual_seed(0))
    share = sum(len(dish.split()) == 2 for dish in drawn) / 400
    assert policy.unended == pytest.approx(share) and 0.1 < share < 1


# ---------------------------------------------------------------- step 0 and DPO


@pytest.mark.parametrize("rank", [None, 4])
def test_step_zero_has_margin_zero_and_loss_ln_two(rank: int | None) -> None:
    """Policy and reference in one batch: exactly; through `fit` with numbers batched otherwise: to 1e-3."""
    policy = cook(lora_rank=rank)
    reference = policy.frozen()
    own, ref = (p.log_prob(X * 2, Y0 + Y1).view(2, 4).T for p in (policy, reference))
    assert torch.equal(own, ref)
    for target in (0.0, 0.3, 1.0):
        loss = dpo_loss(own, ref, torch.full((4,), target), beta=0.5)
        assert torch.equal(loss, torch.full((4,), LN2))
    reference.engine = reference.engine._replace(eval_rows=1)  # cached one row at a time
    first = policy.fit(preferences(reference), beta=0.5, steps=1, seed=0)
    assert first.loss == pytest.approx(LN2, abs=1e-3) and first.grad_steps == 1


def test_fit_reports_the_dpo_loss_by_hand() -> None:
    """One step on all four pairs, against another cook as reference: the loss before that step."""
    policy, other = cook(), cook(seed=1)
    given = preferences(other)
    margin = [
        0.5 * (by_hand(policy, x, b) - by_hand(other, x, b) - by_hand(policy, x, a) + by_hand(other, x, a))
        for x, a, b in zip(X, Y0, Y1, strict=True)
    ]
    loss = [
        -p * math.log(1 / (1 + math.exp(-m))) - (1 - p) * math.log(1 / (1 + math.exp(m)))
        for m, p in zip(margin, given.target.tolist(), strict=True)
    ]
    assert policy.fit(given, beta=0.5, steps=1, seed=0).loss == pytest.approx(sum(loss) / 4, abs=1e-5)
    assert max(map(abs, margin)) > 0.1


def test_fit_learns_the_soft_targets() -> None:
    """Four pairs, each alone with its prompt: at the optimum the margin is the log-odds of the target."""
    policy = cook(engine=Engine(4, 3e-2, 512))
    reference = policy.frozen()
    result = policy.fit(
        preferences(reference, torch.tensor([0.9, 0.5, 0.2, 0.7])), beta=0.5, steps=300, seed=0
    )
    ratio = [policy.log_prob(X, y) - reference.log_prob(X, y) for y in (Y0, Y1)]
    assert (0.5 * (ratio[1] - ratio[0])).sigmoid().tolist() == pytest.approx([0.9, 0.5, 0.2, 0.7], abs=0.02)
    entropy = -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in (0.9, 0.5, 0.2, 0.7)) / 4
    assert result.loss == pytest.approx(entropy, abs=5e-3)


def test_fit_reports_the_anchored_loss_by_hand() -> None:
    """Policy = reference: ln 2 plus w times the chosen answer's -log pi, its expectation where p is soft."""
    policy = cook(engine=Engine(16, 1e-2, 512, sft_weight=0.25))
    given = preferences(policy.frozen())
    chosen = [
        p * by_hand(policy, x, b) + (1 - p) * by_hand(policy, x, a)
        for x, a, b, p in zip(X, Y0, Y1, given.target.tolist(), strict=True)
    ]
    first = policy.fit(given, beta=0.5, steps=1, seed=0)
    assert first.loss == pytest.approx(LN2 - 0.25 * sum(chosen) / 4, abs=1e-4)


def test_an_anchor_holds_up_what_dpo_alone_need_not() -> None:
    """Same pairs, same steps; an anchor of no weight leaves the weights as they were, bit for bit."""
    ends, chosen = {}, {}
    for name, engine in {
        "plain": Engine(4, 1e-2, 512),
        "none": Engine(4, 1e-2, 512, True, None, 0.0),
        "anchored": Engine(4, 1e-2, 512, sft_weight=1.0),
    }.items():
        policy = cook(engine=engine)
        policy.fit(preferences(policy.frozen(), torch.ones(4)), beta=0.1, steps=30, seed=0)
        ends[name], chosen[name] = weights_of(policy), policy.log_prob(X, Y1)
    assert all(torch.equal(ends["plain"][name], ends["none"][name]) for name in ends["plain"])
    assert (chosen["anchored"] > chosen["plain"] + 0.2).all()


@pytest.mark.parametrize("group_by_length", [False, True])
def test_eight_parts_of_one_pair_are_one_batch_of_eight(group_by_length: bool) -> None:
    """The same pairs in the same order: weights after three steps agree to rounding, the losses too."""
    ends, losses = [], []
    for micro in (8, 1):
        policy = cook(engine=Engine(8, 1e-2, 512, group_by_length, micro_batch=micro))
        given = preferences(policy.frozen())
        times = [i % 4 for i in range(16)]
        many = given._replace(
            prompts=[X[i] for i in times],
            y0=[Y0[i] for i in times],
            y1=[Y1[i] for i in times],
            ref_logp=given.ref_logp[times],
            target=torch.linspace(0, 1, 16),
        )
        losses.append(policy.fit(many, beta=0.5, steps=3, seed=0).loss)
        ends.append(weights_of(policy))
    start = weights_of(cook())
    moved = max(float((ends[0][name] - start[name]).abs().max()) for name in start)
    apart = max(float((ends[0][name] - ends[1][name]).abs().max()) for name in start)
    assert moved > 1e-2 and apart < 5e-3 * moved  # AdamW divides by the gradient's size: rounding may grow
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_part_that_does_not_divide_the_batch_is_refused() -> None:
    policy = cook(engine=Engine(8, 1e-2, 512, micro_batch=3))
    with pytest.raises(InputError, match="does not divide"):
        policy.fit(preferences(policy.frozen()), beta=0.5, steps=1, seed=0)


@pytest.mark.parametrize("rank", [None, 4])
def test_two_equal_seeds_end_in_equal_bits(rank: int | None) -> None:
    """Whatever the global random state is; another seed ends elsewhere."""
    ends = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        policy = cook(lora_rank=rank, engine=Engine(2, 1e-2, 512))
        torch.manual_seed(noise)
        policy.fit(preferences(policy.frozen()), beta=0.5, steps=5, seed=seed)
        ends.append(weights_of(policy))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not all(torch.equal(ends[0][name], ends[2][name]) for name in ends[0])


def test_fit_leaves_the_global_random_state_alone() -> None:
    policy = cook()
    given = preferences(policy.frozen())
    state = torch.get_rng_state()
    policy.fit(given, beta=0.5, steps=2, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_no_number_stops() -> None:
    policy = cook()
    given = preferences(policy.frozen())._replace(target=torch.full((4,), float("nan")))
    with pytest.raises(FloatingPointError, match="DPO"):
        policy.fit(given, beta=0.5, steps=2, seed=0)


def test_imitation_is_the_negative_summed_log_probability() -> None:
    """One step on all rows reports the mean of -log pi(y|x) before it."""
    policy = cook()
    before = -policy.log_prob(X, Y1).mean().item()
    assert policy.imitate(X, Y1, steps=1, seed=0).loss == pytest.approx(before, abs=1e-5)


# ---------------------------------------------------------------- the reference


def test_a_copy_is_frozen_where_there_are_no_adapters() -> None:
    policy = cook()
    reference = policy.frozen()
    before, name = reference.log_prob(X, Y0), reference.fingerprint
    policy.fit(preferences(reference), beta=0.5, steps=5, seed=0)
    assert torch.equal(reference.log_prob(X, Y0), before) and reference.fingerprint == name
    assert not torch.equal(policy.log_prob(X, Y0), before)


def test_fresh_adapters_are_the_identity() -> None:
    plain, adapted = cook(), cook(lora_rank=4)
    assert torch.equal(plain.log_prob(X, Y0), adapted.log_prob(X, Y0))
    assert torch.equal(adapted.frozen().log_prob(X, Y0), adapted.log_prob(X, Y0))


def test_the_reference_is_the_model_with_its_adapters_off() -> None:
    """Same memory, other answers once trained; and only the adapters have moved."""
    policy = cook(lora_rank=4)
    reference = policy.frozen()
    assert reference.model is policy.model
    before, base, name = reference.log_prob(X, Y0), weights_of(policy), reference.fingerprint
    policy.fit(preferences(reference), beta=0.5, steps=5, seed=0)
    after = weights_of(policy)
    moved = {key for key in base if not torch.equal(base[key], after[key])}
    assert moved and all("lora_" in key for key in moved)
    assert {key for key in base if "lora_B" in key} <= moved  # every adapter learned something
    assert torch.equal(reference.log_prob(X, Y0), before) and reference.fingerprint == name
    assert not torch.allclose(policy.log_prob(X, Y0), before, atol=1e-4)


def test_reference_samples_come_with_the_adapters_off() -> None:
    policy = cook(lora_rank=4)
    reference = policy.frozen()
    expected = reference.sample(X, 32, generator=torch.Generator().manual_seed(0))
    policy.fit(preferences(reference), beta=0.1, steps=20, seed=0)
    assert reference.sample(X, 32, generator=torch.Generator().manual_seed(0)) == expected
    assert policy.sample(X, 32, generator=torch.Generator().manual_seed(0)) != expected


def test_a_trained_adapter_is_no_reference() -> None:
    policy = cook(lora_rank=4)
    policy.fit(preferences(policy.frozen()), beta=0.5, steps=1, seed=0)
    with pytest.raises(InputError, match="already trained"):
        policy.frozen()


def test_fingerprints_tell_apart_what_differs() -> None:
    policy, twin, other = cook(), cook(), cook(seed=1)
    assert policy.fingerprint == twin.fingerprint != other.fingerprint
    assert cook(1).fingerprint != policy.fingerprint  # another budget
    twin.response_words = [*INGREDIENTS][1:]
    assert twin.fingerprint != policy.fingerprint
    adapted = cook(lora_rank=4)
    reference, before = adapted.frozen(), adapted.fingerprint
    adapted.fit(preferences(reference), beta=0.5, steps=1, seed=0)
    assert adapted.fingerprint != before


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize("rank", [None, 4])
def test_saved_policies_come_back_bit_for_bit(rank: int | None, tmp_path: Path) -> None:
    """`load` builds a new policy, `restore` mends an old one; both read as the saved one did."""
    policy = cook(lora_rank=rank)
    reference = policy.frozen()
    before = reference.log_prob(X, Y0)
    policy.fit(preferences(reference), beta=0.5, steps=3, seed=0)
    expected = policy.log_prob(X, Y0)
    policy.save(tmp_path / "policy")
    loaded = LanguageModelPolicy.load(tmp_path / "policy")
    assert torch.equal(loaded.log_prob(X, Y0), expected)
    assert loaded.fingerprint == policy.fingerprint
    assert (loaded.budget, loaded.engine, loaded.response_words) == (
        policy.budget,
        policy.engine,
        policy.response_words,
    )
    policy.fit(preferences(reference), beta=0.5, steps=3, seed=1)
    assert not torch.equal(policy.log_prob(X, Y0), expected)
    policy.restore(tmp_path / "policy")
    assert torch.equal(policy.log_prob(X, Y0), expected)
    assert torch.equal(reference.log_prob(X, Y0), before)


@pytest.mark.parametrize("rank", [None, 4])
def test_a_loaded_policy_goes_on_as_the_saved_one_would(rank: int | None, tmp_path: Path) -> None:
    policy = cook(lora_rank=rank)
    reference = policy.frozen()
    given = preferences(reference)
    policy.fit(given, beta=0.5, steps=3, seed=0)
    policy.save(tmp_path)
    loaded = LanguageModelPolicy.load(tmp_path)
    for each in (policy, loaded):
        each.fit(given, beta=0.5, steps=3, seed=1)
    assert torch.equal(policy.log_prob(X, Y0), loaded.log_prob(X, Y0))


def test_a_policy_saved_before_there_was_an_anchor_still_loads(tmp_path: Path) -> None:
    policy = cook(engine=Engine(4, 1e-2, 512, sft_weight=0.5))
    policy.save(tmp_path)
    assert LanguageModelPolicy.load(tmp_path).engine == policy.engine
    settings = json.loads((tmp_path / "policy.json").read_text())
    settings["engine"] = settings["engine"][:5]
    (tmp_path / "policy.json").write_text(json.dumps(settings))
    assert LanguageModelPolicy.load(tmp_path).engine == Engine(4, 1e-2, 512)


@pytest.fixture
def llama_folder(tmp_path: Path) -> Path:
    """Write a Llama as a hub folder holds one, in blocks that 4 bits can pack."""
    tokenizer = word_tokenizer(Kitchen().vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_a_plain_model_folder_is_read_in_float32(llama_folder: Path) -> None:
    policy = LanguageModelPolicy.load(llama_folder, budget=Budget(4, 2))
    kitchen = Kitchen(portions=1)
    assert {weight.dtype for weight in policy.model.parameters()} == {torch.float32}
    assert (policy.log_prob(X[:1] * 16, kitchen.responses) < 0).all()


def four_bit(folder: Path) -> LanguageModelPolicy:
    return LanguageModelPolicy.load(
        folder,
        bits=4,
        lora_rank=4,
        budget=Budget(4, 2),
        engine=Engine(4, 1e-2, 512),
        response_words=list(INGREDIENTS),
    )


def test_four_bits_learn_by_their_adapters_alone(llama_folder: Path) -> None:
    """Two DPO steps after the policy was read: every adapter moves, no other tensor does."""
    policy = four_bit(llama_folder)
    reference = policy.frozen()
    total = Kitchen(portions=2).table(policy.log_prob).exp().sum(dim=1)
    assert (total - 1).abs().max() < 1e-4
    given = preferences(reference)
    before, base, name = reference.log_prob(X, Y0), weights_of(policy), reference.fingerprint
    assert policy.fit(given, beta=0.5, steps=1, seed=0).loss == pytest.approx(LN2, abs=1e-3)
    policy.log_prob(X, Y0)
    policy.fit(given, beta=0.5, steps=1, seed=0)
    after = weights_of(policy)
    moved = {key for key in base if not torch.equal(base[key], after[key])}
    assert moved == {key for key in base if "lora_" in key}
    assert any(weight.dtype == torch.uint8 for weight in base.values())
    assert torch.equal(reference.log_prob(X, Y0), before) and reference.fingerprint == name


def test_reading_a_four_bit_policy_does_not_stop_it_from_learning(llama_folder: Path) -> None:
    """A gradient for every adapter, before and after it was read. Where the CPU has AVX512-BF16, bitsandbytes
    repacks a layer that is read for a kernel without a gradient, unless it is told not to."""
    policy = four_bit(llama_folder)
    rows = language_model.pad_rows(policy._prompt_ids(X), policy._response_ids(Y0), pad=0)
    for _ in range(2):
        policy.model.train()
        policy._logp(policy.model, rows).sum().backward()
        slopes = {n: p.grad for n, p in policy.model.named_parameters() if "lora_B" in n}
        assert len(slopes) == 14 and all(g is not None and g.any() for g in slopes.values())
        policy.model.zero_grad()
        policy.log_prob(X, Y0)


def test_a_four_bit_policy_is_saved_as_adapters_and_comes_back(llama_folder: Path, tmp_path: Path) -> None:
    policy = four_bit(llama_folder)
    policy.fit(preferences(policy.frozen()), beta=0.5, steps=1, seed=0)
    policy.save(tmp_path / "policy")
    loaded = LanguageModelPolicy.load(tmp_path / "policy")
    assert torch.equal(loaded.log_prob(X, Y0), policy.log_prob(X, Y0))
    assert not (tmp_path / "policy" / "base").exists()
    assert loaded.fingerprint == policy.fingerprint


def test_a_saved_model_is_loaded_in_the_bits_and_with_the_adapters_that_are_asked_for(
    llama_folder: Path, tmp_path: Path
) -> None:
    whole = LanguageModelPolicy.load(llama_folder, budget=Budget(4, 2), response_words=list(INGREDIENTS))
    whole.save(tmp_path / "whole")
    plain = LanguageModelPolicy.load(tmp_path / "whole")
    assert plain.budget == Budget(4, 2) and torch.equal(plain.log_prob(X, Y0), whole.log_prob(X, Y0))
    tuned = LanguageModelPolicy.load(tmp_path / "whole", bits=4, lora_rank=4)
    assert tuned.budget == Budget(4, 2) and tuned.response_words == list(INGREDIENTS)
    trained = {name for name, weight in tuned.model.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name for name in trained)
    assert any(weight.dtype == torch.uint8 for weight in tuned.model.parameters())
    assert torch.equal(tuned.log_prob(X, Y0), four_bit(llama_folder).log_prob(X, Y0))


def test_saved_adapters_become_the_reference_of_fresh_ones(llama_folder: Path, tmp_path: Path) -> None:
    first = LanguageModelPolicy.load(
        llama_folder, lora_rank=4, budget=Budget(4, 2), engine=Engine(4, 1e-2, 512)
    )
    first.fit(preferences(first.frozen()), beta=0.5, steps=2, seed=0)
    first.save(tmp_path / "first")
    again = LanguageModelPolicy.load(tmp_path / "first", lora_rank=2)
    assert torch.equal(again.frozen().log_prob(X, Y0), first.log_prob(X, Y0))
    again.fit(preferences(again.frozen()), beta=0.5, steps=2, seed=0)
    assert (again.log_prob(X, Y0) != first.log_prob(X, Y0)).any()
    with pytest.raises(InputError, match="give lora_rank"):
        LanguageModelPolicy.load(tmp_path / "first", bits=4)


# ---------------------------------------------------------------- a second opinion


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rank", [None, 4])
def test_one_batch_has_the_loss_that_trl_gives_it(rank: int | None, tmp_path: Path) -> None:
    """Hard labels, a policy away from its reference: `fit`'s first loss is DPOTrainer's to 1e-5."""
    trl = pytest.importorskip("trl", reason="trl, the second opinion, is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets, which trl reads, is not installed")
    policy, other = plain(seed=0), plain(seed=1)
    chosen, rejected = [y for y in Y1], [y if y else "water" for y in Y0]
    ref_logp = torch.stack([other.log_prob(X, rejected), other.log_prob(X, chosen)], dim=1)
    rows = [
        {"prompt": f"<bos> {x}", "chosen": f" {w}", "rejected": f" {v}"}
        for x, w, v in zip(X, chosen, rejected, strict=True)
    ]
    trainer = trl.DPOTrainer(
        model=copy.deepcopy(policy.model),
        ref_model=copy.deepcopy(other.model),
        args=trl.DPOConfig(
            output_dir=str(tmp_path),
            beta=0.5,
            bf16=False,
            use_cpu=True,
            per_device_train_batch_size=4,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=policy.tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    theirs = trainer.compute_loss(trainer.model, batch).item()
    ours = policy.fit(Preferences(X, rejected, chosen, ref_logp, torch.ones(4)), beta=0.5, steps=1, seed=0)
    assert ours.loss == pytest.approx(theirs, abs=1e-5) and abs(theirs - LN2) > 0.01


def plain(*, seed: int) -> LanguageModelPolicy:
    """Return a cook over the whole vocabulary, which is what trl scores, with room for every end."""
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(Kitchen().vocabulary), hidden=16, layers=1, seed=seed, budget=Budget(4, 4)
    )
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(20)  # type: ignore[operator]
    return policy
