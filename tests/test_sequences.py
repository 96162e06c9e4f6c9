"""Summed log-probabilities against products of hand-picked probabilities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cdpo_edu import sequences
from cdpo_edu.sequences import Rows, pad_rows, sequence_logp

END, A, B = 0, 1, 2

# What a hand-made model says at each position of the row "A | B A END": the row that predicts token t stands
# at t - 1, and the last one predicts nothing.
STEPS = [
    [0.2, 0.3, 0.5],  # after the prompt A: B has 1/2
    [0.25, 0.25, 0.5],  # after B: A has 1/4
    [0.8, 0.1, 0.1],  # after A: the end has 4/5
    [0.98, 0.01, 0.01],  # after the end: never read
]


def logits_of(*rows: list[list[float]]) -> torch.Tensor:
    """Return log-probabilities shifted by a constant per position, as logits are."""
    logs = torch.tensor(rows).log()
    return logs + torch.arange(logs.shape[1])[None, :, None]


def test_the_sum_of_a_three_token_response_by_hand() -> None:
    """1/2 * 1/4 * 4/5 = 1/10."""
    rows = pad_rows([[A]], [[B, A, END]], pad=END)
    assert sequence_logp(logits_of(STEPS), rows).item() == pytest.approx(math.log(0.1), abs=1e-6)


def test_the_sum_is_no_mean() -> None:
    """The mean over 3 tokens would be the cube root of 1/10: 0.464."""
    rows = pad_rows([[A]], [[B, A, END]], pad=END)
    assert sequence_logp(logits_of(STEPS), rows).exp().item() == pytest.approx(0.1, abs=1e-6)


def test_the_first_answer_token_counts() -> None:
    """Two answers that differ in their first token alone: ln(5/10) - ln(3/10) = ln(5/3)."""
    rows = pad_rows([[A], [A]], [[B, A, END], [A, A, END]], pad=END)
    logp = sequence_logp(logits_of(STEPS, STEPS), rows)
    assert (logp[0] - logp[1]).item() == pytest.approx(math.log(5 / 3), abs=1e-6)


def test_the_end_token_counts() -> None:
    """Without its end the same answer has 1/2 * 1/4 = 1/8, and 1/10 with it."""
    rows = pad_rows([[A], [A]], [[B, A, END], [B, A]], pad=END)
    logp = sequence_logp(logits_of(STEPS, STEPS), rows)
    assert logp.exp().tolist() == pytest.approx([0.1, 0.125], abs=1e-6)


def test_all_strings_of_a_budget_sum_to_one() -> None:
    """Budget 2: END, two words followed by END or by a second word that needs none: 1 + 2 + 4 strings."""
    step = {None: [0.5, 0.2, 0.3], A: [0.1, 0.6, 0.3], B: [0.7, 0.1, 0.2]}
    strings = [[END], *([w, END] for w in (A, B)), *map(list, itertools.product((A, B), repeat=2))]
    total = 0.0
    for string in strings:
        rows = pad_rows([[A]], [string], pad=END)
        table = [step[None], *(step.get(token, step[None]) for token in string)]
        total += sequence_logp(logits_of(table), rows).exp().item()
    assert len(strings) == 7 and total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("pad", [END, A, B])
def test_padding_says_nothing(pad: int) -> None:
    """A row padded by two positions of wild logits reads as it does alone, whatever the padding token is."""
    wild = [[1e-6, 0.5, 0.5 - 1e-6]] * 2
    short, long = [B, END], [A, B, A, END]
    logits = logits_of([*STEPS[:2], STEPS[0], *wild], [*STEPS, STEPS[0]])
    together = sequence_logp(logits, pad_rows([[A], [A]], [short, long], pad=pad))
    alone = sequence_logp(logits_of([*STEPS[:2], STEPS[0]]), pad_rows([[A]], [short], pad=pad))
    assert together[0].item() == pytest.approx(alone.item(), abs=1e-6)
    assert alone.exp().item() == pytest.approx(0.5 * 0.25, abs=1e-6)  # B, then END


def test_prompts_of_different_length_keep_their_own_boundary() -> None:
    """Row 0 scores positions 1 and 2, row 1 only position 3 of "A B A | END": 4/5."""
    rows = pad_rows([[A], [A, B, A]], [[B, A], [END]], pad=END)
    logp = sequence_logp(logits_of(STEPS, STEPS), rows)
    assert logp.exp().tolist() == pytest.approx([0.5 * 0.25, 0.8], abs=1e-6)


@pytest.mark.parametrize("keep", [4, 5])
def test_the_last_positions_suffice(keep: int) -> None:
    """Logits from the position before the first response token on say all: 3/10 * 1/4 * 8/10."""
    table = [[0.1, 0.1, 0.8], *STEPS]  # one more prompt token in front
    rows = pad_rows([[A, A]], [[A, A, END]], pad=END)
    logp = sequence_logp(logits_of(table)[:, -keep:], rows)
    assert logp.exp().item() == pytest.approx(0.3 * 0.25 * 0.8, abs=1e-6)


def test_allowed_tokens_are_renormalised() -> None:
    """Without B: after the prompt A has 0.3 / 0.5, then the end 0.25 / 0.5: together 0.3."""
    rows = pad_rows([[A]], [[A, END]], pad=END)
    allowed = torch.tensor([True, True, False])
    logp = sequence_logp(logits_of(STEPS[:3]), rows, allowed=allowed)
    assert logp.exp().item() == pytest.approx(0.6 * 0.5, abs=1e-6)


def test_a_forbidden_token_is_impossible() -> None:
    rows = pad_rows([[A]], [[B, END]], pad=END)
    logp = sequence_logp(logits_of(STEPS[:3]), rows, allowed=torch.tensor([True, True, False]))
    assert logp.item() == float("-inf")


def test_scoring_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five response positions in chunks of two, cut in the middle of a row."""
    rows = pad_rows([[A], [A]], [[B, A, END], [A, END]], pad=END)
    whole = sequence_logp(logits_of(STEPS, STEPS), rows)
    monkeypatch.setattr(sequences, "CHUNK", 2)
    assert torch.equal(sequence_logp(logits_of(STEPS, STEPS), rows), whole)
    assert whole.exp().tolist() == pytest.approx([0.1, 0.3 * 0.25], abs=1e-6)


def test_gradient_reaches_the_response_and_nothing_else() -> None:
    """d log p / d logits = one-hot minus softmax where a response token is predicted, zero elsewhere."""
    rows = pad_rows([[A, A], [A]], [[B, END], [END]], pad=END)
    logits = torch.log(torch.tensor([[STEPS[3], *STEPS[:3]], STEPS])).requires_grad_()
    sequence_logp(logits, rows).sum().backward()
    expected = torch.zeros(2, 4, 3)
    expected[0, 1] = torch.tensor([-0.2, -0.3, 0.5])  # predicts B
    expected[0, 2] = torch.tensor([0.75, -0.25, -0.5])  # predicts END
    expected[1, 0] = torch.tensor([0.8, -0.3, -0.5])  # predicts END
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected, atol=1e-6)


def test_sixteen_bit_logits_are_summed_in_float32() -> None:
    """1,000 tokens at ln(1/2) each, exact in bfloat16 logits; a bfloat16 sum would stall at -256."""
    rows = pad_rows([[0]], [[1] * 1000], pad=0)
    logp = sequence_logp(torch.zeros(1, 1001, 2, dtype=torch.bfloat16), rows)
    assert logp.dtype == torch.float32
    assert logp.item() == pytest.approx(-1000 * math.log(2), rel=1e-5)


def test_pad_rows_by_hand() -> None:
    rows = pad_rows([[5], [5, 6]], [[7, 2], [8, 9, 2]], pad=3)
    assert rows.ids.tolist() == [[5, 7, 2, 3, 3], [5, 6, 8, 9, 2]]
    assert rows.attention.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert rows.response.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1]]
    assert isinstance(rows, Rows)
