"""Packed rows give each answer what it gets alone, to the loss, the gradient and the fine-tuned model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from cdpo_edu import packing
from cdpo_edu.backbone import tiny_llama, word_tokenizer
from cdpo_edu.engine import Budget, Engine
from cdpo_edu.language_model import LanguageModelPolicy
from cdpo_edu.packing import bins, collate_packed, packed_rows
from cdpo_edu.reading import plain_logp, read_rows, shared_logp
from cdpo_edu.sequences import pad_rows
from cdpo_edu.shared_prompt import SharedRows

WORDS = word_tokenizer([f"w{i}" for i in range(40)])


def drawn(count: int, seed: int) -> list[packing.Row]:
    generator = torch.Generator().manual_seed(seed)

    def ids(most: int) -> list[int]:
        size = int(torch.randint(1, most, (1,), generator=generator))
        return torch.randint(4, 44, (size,), generator=generator).tolist()  # type: ignore[no-any-return]

    return [(ids(12), ids(9)) for _ in range(count)]


def test_bins_hold_every_row_once_and_no_more_than_they_may() -> None:
    sizes = [len(x) + len(y) for x, y in drawn(50, 1)]
    made = bins(sizes, 24)
    assert sorted(i for part in made for i in part) == list(range(50))
    assert all(sum(sizes[i] for i in part) <= 24 for part in made)
    assert len(made) < 50 / 2 and bins([99, 3], 24) == [[0], [1]]


@pytest.mark.parametrize("seed", range(4))
def test_every_answer_has_the_log_probability_that_it_has_alone(seed: int) -> None:
    rows, model = drawn(9, seed), tiny_llama(WORDS, hidden=32, layers=2, seed=0).eval()
    order = [i for part in bins([len(x) + len(y) for x, y in rows], 30) for i in part]
    packed = shared_logp(model, packed_rows(rows, longest=30, pad=0))
    alone = [plain_logp(model, pad_rows([x], [y], pad=0)) for x, y in rows]
    assert torch.allclose(packed, torch.cat([alone[i] for i in order]), atol=1e-4)


def test_a_neighbour_that_is_seen_or_a_position_that_goes_on_would_be_caught() -> None:
    """On a model with a table of positions (GPT-2), since a rotation shows distances alone."""
    torch.manual_seed(0)
    settings = GPT2Config(vocab_size=44, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    rows, model = drawn(9, 0), GPT2LMHeadModel(settings).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # attention as drawn is almost uniform and shows little
    right = packed_rows(rows, longest=30, pad=0)
    order = [i for part in bins([len(x) + len(y) for x, y in rows], 30) for i in part]
    alone = torch.cat([plain_logp(model, pad_rows([x], [y], pad=0)) for x, y in rows])[order]
    places = torch.arange(right.ids.shape[1]).expand_as(right.ids).contiguous()
    assert torch.allclose(shared_logp(model, right), alone, atol=1e-3)
    for wrong in (right._replace(part=right.part.clamp(max=1)), right._replace(positions=places)):
        assert (shared_logp(model, wrong) - alone).abs().max() > 0.1


def test_a_batch_is_packed_where_that_computes_less() -> None:
    unlike = [([5] * 2, [6] * 2)] * 8 + [([5] * 40, [6] * 20)]
    packed = read_rows(collate_packed(unlike, pad=0, longest=64, hidden=64))
    assert isinstance(packed, SharedRows) and packed.ids.shape == (2, 64)
    alike = [([5] * 20, [6] * 12)] * 4
    assert "part" not in collate_packed(alike, pad=0, longest=40, hidden=64)


def test_a_step_on_packed_rows_is_the_step_on_plain_ones() -> None:
    texts = [(" ".join(f"w{i}" for i in x), " ".join(f"w{i % 40}" for i in y)) for x, y in drawn(24, 5)]
    texts = [(x.replace("w4", "w3"), y.replace("w4", "w3")) for x, y in texts]
    prompts, answers = zip(*texts, strict=True)
    found: list[tuple[float, Tensor]] = []
    for packed in (False, True):
        policy = LanguageModelPolicy.tiny(
            WORDS, hidden=32, layers=1, seed=0, budget=Budget(16, 12),
            engine=Engine(8, 1e-3, group_by_length=False),
        )  # fmt: skip
        loss = policy.imitate([*prompts], [*answers], steps=6, seed=0, packed=packed).loss
        found.append((loss, policy.log_prob([*prompts], [*answers])))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-3)
    assert torch.allclose(found[0][1], found[1][1], atol=2e-2)
    assert not torch.equal(found[0][1], found[1][1])  # the two ways were indeed two


def test_a_model_that_cannot_share_is_read_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdpo_edu.language_model.collate_packed", lambda *a, **k: pytest.fail("packed"))
    policy = LanguageModelPolicy.tiny(
        WORDS, hidden=16, layers=1, budget=Budget(8, 4), engine=Engine(2, share_prompts=False)
    )
    policy.imitate(["w1", "w2 w3"], ["w4", "w5"], steps=1, seed=0, packed=True)
