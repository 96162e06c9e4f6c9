"""Shared rows give the very numbers and gradients of plain ones, and only models that do so are read so."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import FAMILIES, VOCABULARY, WINDOW, family
from torch import Tensor, nn

from cdpo_edu import reading, shared_prompt
from cdpo_edu.answer_sets import AnswerSet, collate_sets
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.losses import dpo_loss
from cdpo_edu.pairs import Preferences
from cdpo_edu.reading import cannot_share, plain_logp, read_logp, read_rows, shared_logp
from cdpo_edu.sequences import token_logp
from cdpo_edu.shared_prompt import block_mask, collate_cheaper, collate_shared, shared_rows

REACH = 96


def sets(sizes: list[tuple[int, list[int]]], *, vocabulary: int = VOCABULARY) -> list[AnswerSet]:
    """Random token ids; every answer is compared with the next."""
    generator = torch.Generator().manual_seed(1)

    def ids(n: int) -> list[int]:
        return [int(i) for i in torch.randint(3, vocabulary, (n,), generator=generator)]

    found = []
    for prompt, answers in sizes:
        pairs = [(k, k + 1) for k in range(len(answers) - 1)]
        m = len(pairs)
        columns = -40 * torch.rand(m, 2, generator=generator), torch.linspace(0.2, 1, m), torch.ones(m)
        found.append(AnswerSet(ids(prompt), [ids(n) for n in answers], pairs, *columns))
    return found


UNEVEN = [(50, [40, 46]), (3, [30, 1, 12]), (1, [25, 60]), (61, [2, 35])]


def step(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities and the gradient of the mean DPO loss, as one vector."""
    model.zero_grad()
    logp = read_logp(model, read_rows(batch))
    dpo_loss(logp[batch["pairs"]], batch["ref_logp"], batch["target"], 0.1).mean().backward()
    slopes = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return logp.detach(), torch.cat(slopes)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_reads_shared_rows_as_plain_ones(name: str) -> None:
    """Sums in the hundreds of nats to 1e-3, gradients to 1e-5 of their length; the probe says so, too."""
    model = family(name)
    assert cannot_share(model, reach=REACH) is None
    shared, plain = (step(model, collate(sets(UNEVEN), pad=0)) for collate in (collate_shared, collate_sets))
    assert plain[0].min() < -200
    assert (shared[0] - plain[0]).abs().max() < 1e-3
    assert relative(shared[1], plain[1]) < 1e-5 and plain[1].norm() > 0.1


def test_a_shared_row_is_the_walk_through_each_answer() -> None:
    """Token by token, one unpadded row each, nothing but a softmax."""
    model, (one, *_) = family("Llama"), sets([(4, [3, 2])])
    expected = []
    for answer in one.answers:
        row, total = list(one.prompt), 0.0
        for token in answer:
            with torch.no_grad():
                total += float(model(torch.tensor([row])).logits[0, -1].double().log_softmax(0)[token])
            row.append(token)
        expected.append(total)
    found = shared_logp(model, shared_rows([one.prompt], [one.answers], pad=0))
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def seeing_each_other(part: Tensor) -> Tensor:
    return torch.ones_like(block_mask(part)).tril()


def blind_to_the_prompt(part: Tensor) -> Tensor:
    return block_mask(part) & (part[:, None, :] == part[:, :, None])[:, None]


def running_on(*given: Any, **more: Any) -> Any:
    rows = shared_rows(*given, **more)
    return rows._replace(positions=torch.arange(rows.ids.shape[1]).expand_as(rows.ids))


def one_late(*given: Any, **more: Any) -> Any:
    rows = shared_rows(*given, **more)
    return rows._replace(place=(rows.place + 1).clamp(max=int(rows.predicts.sum()) - 1))


MUTANTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "answers see each other": (reading, "block_mask", seeing_each_other),
    "answers do not see the prompt": (reading, "block_mask", blind_to_the_prompt),
    "positions do not restart": (reading, "shared_rows", running_on),
    "tokens are predicted from the next place": (reading, "shared_rows", one_late),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_probe_notices(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a model as it is drawn, whose matrices are small: its answers differ little, but enough."""
    monkeypatch.setattr(*MUTANTS[mutant])
    for sharpness in (1.0, 5.0):
        reason = cannot_share(family("Llama", sharpness=sharpness), reach=REACH)
        assert reason is not None and "nats per token" in reason


@pytest.mark.parametrize("name", ["Qwen2", "Qwen3", "Gemma 2", "Gemma 3", "Mistral", "Phi-3"])
def test_a_window_is_noticed_where_rows_reach_beyond_it(name: str) -> None:
    """And only there: rows of at most the window's length never meet it."""
    model = family(name, sharpness=1.0, **WINDOW)
    assert "nats per token" in str(cannot_share(model, reach=REACH))
    assert cannot_share(model, reach=WINDOW["sliding_window"]) is None


def test_a_window_is_noticed_in_bfloat16() -> None:
    assert cannot_share(family("Llama").bfloat16(), reach=REACH) is None
    assert "nats per token" in str(cannot_share(family("Mistral", **WINDOW).bfloat16(), reach=REACH))


def test_eager_attention_gets_a_mask_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """A boolean one it adds up as 0 and 1, without a word; the probe would see it."""
    model = family("Llama", attn_implementation="eager")
    assert cannot_share(model, reach=REACH) is None
    monkeypatch.setattr(reading, "_in_the_models_form", lambda mask, model: mask)
    assert "nats per token" in str(cannot_share(model, reach=REACH))


def test_what_takes_no_mask_is_not_tried() -> None:
    model = family("Llama")
    model.config._attn_implementation = "flash_attention_2"  # type: ignore[union-attr]
    assert "flash_attention_2" in str(cannot_share(model, reach=REACH))


def test_what_takes_no_positions_is_not_tried() -> None:
    class Positionless(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> None: ...

    assert "position_ids" in str(cannot_share(Positionless(), reach=REACH))


def test_a_model_that_returns_no_numbers_cannot_share() -> None:
    model = family("Llama")
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))  # type: ignore[operator]
    assert cannot_share(model, reach=REACH) is not None


def test_the_probe_leaves_dropout_as_it_found_it() -> None:
    model = family("GPT-2").train()  # dropout 0.1: two passes would differ
    assert cannot_share(model, reach=REACH) is None and model.training
    assert not cannot_share(model.eval(), reach=REACH) and not model.training


def test_older_transformers_score_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the head cannot be told the positions, they are picked behind it: the same numbers."""
    model = family("Llama")
    rows = read_rows(collate_shared(sets(UNEVEN), pad=0))
    expected = read_logp(model, rows)
    monkeypatch.setattr(reading, "PICKS_POSITIONS", False)
    assert torch.allclose(read_logp(model, rows), expected, atol=1e-4)


# ---------------------------------------------------------------- log softmax, in chunks


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_token_logp_is_log_softmax_and_so_is_its_gradient(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven rows in chunks of three; a row that predicts twice, one that predicts nothing."""
    monkeypatch.setattr("cdpo_edu.sequences.CHUNK", 3)
    generator = torch.Generator().manual_seed(0)
    start = (5 * torch.randn(7, 11, generator=generator)).to(kind)
    place, labels = torch.tensor([0, 1, 1, 3, 4, 6, 6]), torch.tensor([2, 3, 3, 0, 10, 5, 6])
    slope = torch.randn(7, generator=generator)
    ends = []
    for read in (token_logp, lambda z, p, y: z.float().log_softmax(1)[p, y]):
        leaf = start.clone().requires_grad_()
        logp = read(leaf * 1, place, labels)
        (logp * slope).sum().backward()
        ends.append((logp.detach(), leaf.grad))
    assert torch.allclose(ends[0][0], ends[1][0], atol=1e-5)
    assert torch.allclose(
        ends[0][1].float(), ends[1][1].float(), atol=1e-6 if kind == torch.float32 else 0.02
    )


def test_a_second_backward_pass_is_an_error_and_no_wrong_number() -> None:
    logits = torch.zeros(2, 3, requires_grad=True) * 1
    logp = token_logp(logits, torch.tensor([0, 1]), torch.tensor([0, 1])).sum()
    logp.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp.backward()


# ---------------------------------------------------------------- which way a batch is read


def test_a_batch_is_read_the_way_that_computes_less() -> None:
    """By hand, width 32: a pair of 60 + 2 x 20 tokens is 100 (192 + 100) = 29,200 against 2 x 80 (192 + 80) =
    43,520; without a prompt to speak of, 121 x 313 = 37,873 against 2 x 61 x 253 = 30,866."""
    long, short = sets([(60, [20, 20])]), sets([(1, [60, 60])])
    assert "part" in collate_cheaper(long, pad=0, hidden=32)
    assert "part" not in collate_cheaper(short, pad=0, hidden=32)


def test_rows_beyond_the_longest_are_read_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = sets([(60, [20, 20])])
    for longest, shared in ((100, True), (99, False)):
        monkeypatch.setattr(shared_prompt, "LONGEST", longest)
        assert ("part" in collate_cheaper(batch, pad=0, hidden=32)) == shared


WORDS = ["rice", "bean", "apple", "honey", "guest"]


def policy(**engine: Any) -> LanguageModelPolicy:
    settings = dict(budget=Budget(16, 8), engine=Engine(4, 1e-2, 64, **engine))
    return LanguageModelPolicy.tiny(word_tokenizer(WORDS), hidden=16, layers=1, **settings)


def preferences() -> Preferences:
    prompts = ["guest rice bean apple honey guest guest rice"] * 4
    y0, y1 = ["rice", "bean apple", "honey", ""], ["apple", "rice", "honey honey rice", "bean"]
    other = policy()
    ref_logp = torch.stack([other.log_prob(prompts, y) for y in (y0, y1)], dim=1)
    return Preferences(prompts, y0, y1, ref_logp, torch.tensor([1.0, 0.0, 0.3, 0.8]))


def test_both_ways_train_to_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    honest = shared_prompt.collate_shared
    monkeypatch.setattr(
        shared_prompt, "collate_shared", lambda part, pad: seen.append(True) or honest(part, pad=pad)
    )
    ends, losses = [], []
    for share in (True, False):
        own = policy(share_prompts=share)
        losses.append(own.fit(preferences(), beta=0.5, steps=4, seed=0).loss)
        ends.append(copy.deepcopy(own.model.state_dict()))
        assert bool(seen) == share
        seen.clear()
    start = policy().model.state_dict()
    moved = max(float((ends[0][name] - start[name]).abs().max()) for name in start)
    apart = max(float((ends[0][name] - ends[1][name]).abs().max()) for name in start)
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and moved > 1e-2 and apart < 5e-3 * moved


def test_a_model_that_cannot_share_falls_back_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """A window of four tokens under rows of up to 24: plain rows, the plain way's weights bit for bit."""
    ends = []
    for share in (True, False):
        own = policy(share_prompts=share)
        config = family("Mistral", **WINDOW).config
        config.update(dict(vocab_size=len(own.tokenizer), sliding_window=4))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            own.model = type(family("Mistral"))(config)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                own.fit(preferences(), beta=0.5, steps=2, seed=0)
        said = [record.getMessage() for record in caplog.records if "once per answer" in record.getMessage()]
        assert len(said) == share and own.shares_prompts is False
        caplog.clear()
        ends.append(own.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_longer_budget_is_tried_anew() -> None:
    """The window that short rows never met."""
    own = policy()
    own.model = family("Mistral", **WINDOW)
    assert own.shares_prompts
    own.budget = Budget(64, 32)
    assert not own.shares_prompts


def test_plain_logp_takes_rows_of_either_kind_apart() -> None:
    """`read_rows` gives back what was collated."""
    one = sets([(5, [3, 4])])
    shared, plain = (read_rows(collate(one, pad=0)) for collate in (collate_shared, collate_sets))
    assert type(shared).__name__ == "SharedRows" and type(plain).__name__ == "Rows"
    assert torch.allclose(read_logp(family("Llama"), plain), plain_logp(family("Llama"), plain))
