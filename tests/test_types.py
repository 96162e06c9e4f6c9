"""The shared words: what may be done to a batch without knowing what it is made of, and who is what."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.types import FitResult, InputError, Policy, Scorer, World, join, repeat_each, take

LETTERS = ["a", "b", "c"]
NUMBERS = torch.tensor([10, 20, 30])


def as_list(batch: Any) -> list[Any]:
    return list(batch.tolist()) if isinstance(batch, torch.Tensor) else batch


@pytest.mark.parametrize("index", [[2, 0, 2], torch.tensor([2, 0, 2])], ids=["list", "tensor"])
def test_take_returns_items_in_the_order_of_the_index(index: Any) -> None:
    assert take(LETTERS, index) == ["c", "a", "c"]
    assert as_list(take(NUMBERS, index)) == [30, 10, 30]


def test_take_nothing_returns_an_empty_batch_of_the_same_kind() -> None:
    assert take(LETTERS, []) == []
    assert take(NUMBERS, []).dtype == torch.long  # type: ignore[union-attr]
    assert len(take(NUMBERS, [])) == 0


def test_repeat_each_is_prompt_major() -> None:
    # The n answers of prompt 0 come first: a, a, b, b, c, c and never a, b, c, a, b, c.
    assert repeat_each(LETTERS, 2) == ["a", "a", "b", "b", "c", "c"]
    assert as_list(repeat_each(NUMBERS, 2)) == [10, 10, 20, 20, 30, 30]


def test_join_keeps_order_and_kind() -> None:
    assert join([["a"], [], ["b", "c"]]) == LETTERS
    assert as_list(join([NUMBERS[:1], NUMBERS[1:]])) == [10, 20, 30]


def test_take_repeat_and_join_agree_on_both_kinds_of_batch() -> None:
    # The same three verbs on indices and on letters give the same letters.
    letters, numbers = ["p", "q", "r", "s"], torch.arange(4)
    for batch in (letters, numbers):
        made = join([take(repeat_each(batch, 3), [11, 0, 5]), take(batch, [1])])
        assert [letters[i] if isinstance(i, int) else i for i in as_list(made)] == ["s", "p", "q", "q"]


def test_input_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="row 3"):
        raise InputError("row 3: mend it")


def test_the_bandit_keeps_the_contracts() -> None:
    world = SafetyBandit.demo()
    assert isinstance(world, World)
    assert isinstance(TabularPolicy.like(world), Policy)
    assert isinstance(world.reward, Scorer)
    assert isinstance(lambda prompts, responses: torch.zeros(len(prompts)), Scorer)


def test_what_lacks_a_verb_is_no_policy_and_no_world() -> None:
    class Mute:
        fingerprint = "x"

        def log_prob(self, prompts: Any, responses: Any) -> torch.Tensor:
            return torch.zeros(len(prompts))

    assert not isinstance(Mute(), Policy)
    assert not isinstance(Mute(), World)
    assert not isinstance("a string scores nothing", Scorer)


def test_a_fit_result_names_its_two_numbers() -> None:
    assert FitResult(0.5, 7)._asdict() == {"loss": 0.5, "grad_steps": 7}
