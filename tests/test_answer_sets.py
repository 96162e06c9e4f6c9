"""Sets of answers give the very loss and gradient that their pairs give one by one."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from cdpo_edu.answer_sets import answer_sets, collate_sets
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Preferences
from cdpo_edu.training import filled_batches, planned_batches

WORDS = ["rice", "bean", "apple", "honey", "guest"]
ANSWERS = ["rice", "bean apple", "", "honey honey rice"]


def policy(seed: int = 0) -> LanguageModelPolicy:
    return LanguageModelPolicy.tiny(
        word_tokenizer(WORDS), hidden=16, layers=1, seed=seed, budget=Budget(4, 4), engine=Engine(4, 1e-2, 64)
    )


def preferences(sets: Tensor | None) -> Preferences:
    """All six comparisons of four answers to one guest, and one comparison of two answers to another."""
    pairs = [*combinations(ANSWERS, 2), ("apple", "bean")]
    prompts = ["guest"] * 6 + ["rice guest"]
    y0, y1 = [a for a, _ in pairs], [b for _, b in pairs]
    reference = policy(seed=1)
    ref_logp = torch.stack([reference.log_prob(prompts, part) for part in (y0, y1)], dim=1)
    target = torch.linspace(0.1, 0.9, 7)
    return Preferences(prompts, y0, y1, ref_logp, target, sets)


SETS = torch.tensor([0] * 6 + [1])


def test_equal_answers_of_a_set_are_read_once() -> None:
    model = policy()
    rows = answer_sets(preferences(SETS), model._prompt_ids, model._response_ids)
    assert [len(row.answers) for row in rows] == [4, 2]
    assert rows[0].pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert rows[0].weight.tolist() == pytest.approx([1 / 3] * 6) and rows[1].weight.tolist() == [1.0]
    single = answer_sets(preferences(None), model._prompt_ids, model._response_ids)
    assert [len(row.answers) for row in single] == [2] * 7


def gradients(model: LanguageModelPolicy, given: Preferences) -> list[Tensor]:
    """Gradients of the weighted DPO loss of all of ``given`` in one batch."""
    rows = answer_sets(given, model._prompt_ids, model._response_ids)
    batch = collate_sets(rows, pad=model.tokenizer.pad_token_id)
    from cdpo_edu.sequences import Rows

    logp = model._logp(model.model, Rows(batch["ids"], batch["attention"], batch["response"]))
    losses = dpo_loss(logp[batch["pairs"]], batch["ref_logp"], batch["target"], 0.5)
    model.model.zero_grad()
    (losses * given.weight).sum().backward()
    return [weight.grad.clone() for weight in model.model.parameters() if weight.grad is not None]


def test_a_set_gives_the_gradient_of_its_pairs_one_by_one() -> None:
    """The weights are the same numbers, so only the sharing of rows differs."""
    model, together = policy(), preferences(SETS)
    apart = [
        Preferences(*(part[i : i + 1] for part in together[:5]))
        for i in range(7)  # type: ignore[arg-type]
    ]
    alone: list[Any] = [gradients(model, one) for one in apart]
    for k, whole in enumerate(gradients(model, together)):
        parts = sum(w * grads[k] for w, grads in zip(together.weight, alone, strict=True))
        assert torch.allclose(whole, parts, atol=1e-6)
        assert (
            not torch.allclose(whole, sum(grads[k] for grads in alone), atol=1e-4) or whole.abs().max() < 1e-4
        )


def test_training_on_sets_lands_where_training_on_their_pairs_does() -> None:
    """Soft targets from scores: both come to the tilted odds, log odds = log ref odds + gap/beta."""
    score = torch.tensor([0.0, 1.0, -0.5, 0.7])
    reference = policy(seed=1)
    prompts = ["guest"] * 4
    base = reference.log_prob(prompts, ANSWERS)
    couples = list(combinations(range(4), 2))
    y0, y1 = [ANSWERS[a] for a, _ in couples], [ANSWERS[b] for _, b in couples]
    target = torch.tensor([float((score[b] - score[a]).sigmoid()) for a, b in couples])
    ref_logp = torch.stack([base[[a for a, _ in couples]], base[[b for _, b in couples]]], dim=1)
    for sets in (None, torch.zeros(6, dtype=torch.long)):
        model = policy()
        model.fit(Preferences(["guest"] * 6, y0, y1, ref_logp, target, sets), beta=0.5, steps=200, seed=0)
        implied = 0.5 * (model.log_prob(prompts, ANSWERS) - base)
        assert torch.allclose(implied - implied[0], score - score[0], atol=0.02)


def test_batches_are_filled_in_order_and_never_overfull() -> None:
    assert filled_batches(range(6), [2, 4, 4, 2, 2, 9], 8) == [[0, 1], [2, 3, 4], [5]]
    assert filled_batches(range(6), [2] * 6, 4) == [[0, 1], [2, 3], [4, 5]]


def test_every_row_is_read_once_an_epoch_and_the_order_is_fixed_beforehand() -> None:
    sizes, lengths = [1, 2, 3, 1, 2, 3, 1], [5, 1, 4, 2, 3, 6, 7]
    for own in ({}, {"sizes": sizes}, {"lengths": lengths}, {"sizes": sizes, "lengths": lengths}):
        plan = planned_batches(7, count=40, batch_size=4, seed=3, **own)
        assert plan == planned_batches(7, count=40, batch_size=4, seed=3, **own) and len(plan) == 40
        assert plan[:20] == planned_batches(7, count=20, batch_size=4, seed=3, **own)
        rows = [row for batch in plan for row in batch]
        epochs = [rows[i : i + 7] for i in range(0, len(rows) - 6, 7)]
        assert all(sorted(epoch) == list(range(7)) for epoch in epochs) and epochs[0] != epochs[1]
