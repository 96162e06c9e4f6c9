"""Log-probabilities of answers under a causal model: read the plain way, or with the prompt shared.

`plain_logp` takes one row per answer and is what the other way is held to; `shared_logp` takes the rows of
`shared_prompt`. `cannot_share` tells the models apart that may be read so: it reads a few rows both ways and
compares. Nothing is inferred from a model's name or from what it accepts, because a mask that is accepted may
still be wrong in silence: a sliding window is then not applied, and eager attention adds a boolean mask up.

Left out: which way a batch is read (`collate_cheaper`), samples (`language_model`).
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .backbone import PICKS_POSITIONS
from .sequences import Rows, pad_rows, sequence_logp, token_logp
from .shared_prompt import LONGEST, SharedRows, block_mask, shared_rows

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 0.02}
"""Difference in nats per token, on the mean of an answer's last `TAIL` tokens, that counts as rounding.

Float32 rounds to some 1e-6 and a lost window is 0.03 and more even in models as they are drawn. In the half
types real models round to some 0.01."""

TAIL = 8
"""The tokens of an answer that are compared: its last ones, which have the most behind them."""


def plain_logp(model: nn.Module, rows: Rows, *, allowed: Tensor | None = None) -> Tensor:
    """Return log pi(y|x) of every row, shape (B,), float32; only the last columns go through the head.

    Parameters
    ----------
    allowed : Tensor, shape (V,), bool, optional
        The tokens that a response may hold.
    """
    rows = Rows(*(part.to(_device(model)) for part in rows))
    keep = rows.ids.shape[1] - int(rows.response.int().argmax(dim=1).min()) + 1
    logits = model(
        input_ids=rows.ids, attention_mask=rows.attention, use_cache=False, logits_to_keep=keep
    ).logits
    return sequence_logp(logits, rows, allowed=None if allowed is None else allowed.to(logits.device))


def shared_logp(model: nn.Module, rows: SharedRows, *, allowed: Tensor | None = None) -> Tensor:
    """Return log pi(y|x) of every answer, shape (N,), float32; only what predicts goes through the head."""
    parts = shared_token_logp(model, rows, allowed=allowed)
    owner = rows.owner.to(parts.device)
    return torch.zeros(int(rows.owner[-1]) + 1, device=parts.device).index_add(0, owner, parts)


def shared_token_logp(model: nn.Module, rows: SharedRows, *, allowed: Tensor | None = None) -> Tensor:
    """Return the log-probability of every scored token, shape (R,), float32."""
    rows = SharedRows(*(part.to(_device(model)) for part in rows))
    logits = model(
        input_ids=rows.ids,
        attention_mask=_in_the_models_form(block_mask(rows.part), model),
        position_ids=rows.positions,
        use_cache=False,
        logits_to_keep=rows.predicts if PICKS_POSITIONS else 0,
    ).logits
    if not PICKS_POSITIONS:
        logits = logits[rows.predicts]
    if allowed is not None:
        logits = logits.masked_fill(~allowed.to(logits.device), float("-inf"))
    return token_logp(logits, rows.place, rows.token)


def _in_the_models_form(mask: Tensor, model: nn.Module) -> Tensor:
    """Return the mask as the attention takes it: bool for sdpa; eager adds it, so 0 or the least float."""
    if _attention(model) != "eager":
        return mask
    kind = model.get_input_embeddings().weight.dtype  # type: ignore[operator]
    return torch.zeros_like(mask, dtype=kind).masked_fill_(~mask, torch.finfo(kind).min)


@torch.no_grad()
def cannot_share(model: nn.Module, *, reach: int) -> str | None:
    """Return why ``model`` must be read the plain way, or None when shared rows give the same numbers.

    Three prompts with two or three answers each, of unequal lengths, are read both ways without dropout. The
    longest prompt and answer together have ``reach`` tokens, so that whatever depends on length (a window, a
    rotation that changes at some length, a table of positions) does so here if it ever will. The ways may
    differ by `TOLERANCE`, or by four times what plain rows differ by when they are read one at a time. (A
    model whose attention is still almost uniform cannot show what a wrong position would do to it later.)

    Parameters
    ----------
    reach : int
        Most tokens that prompt and answer may have together; beyond LONGEST no row is shared anyway.
    """
    named = inspect.signature(_base(model).forward).parameters
    lacking = [name for name in ("position_ids", "logits_to_keep") if name not in named]
    if lacking:
        return f"its forward takes no {lacking[0]}"
    if _attention(model) not in ("sdpa", "eager"):
        return f"its attention is {_attention(model)!r}, which takes no mask of one's own"
    prompts, answers = probe_rows(min(reach, LONGEST), _base(model).config.get_text_config().vocab_size)
    was_training = model.training
    model.eval()
    plain, alone, shared = (read(model, prompts, answers) for read in (_plain, _alone, _shared))
    model.train(was_training)
    kind = model.get_input_embeddings().weight.dtype  # type: ignore[operator]
    bound = max(TOLERANCE[kind], 4 * _apart(alone, plain))
    off = _apart(shared, plain)
    if off <= bound:  # false for nan, too
        return None
    return f"a shared row differs from plain ones by {off:.2g} nats per token, more than {bound:.2g}"


def probe_rows(reach: int, vocabulary: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Return token ids of three prompts and their answers; the longest of both together has ``reach``.

    >>> prompts, answers = probe_rows(20, 50)
    >>> [(len(x), [len(y) for y in own]) for x, own in zip(prompts, answers)]
    [(15, [5, 2]), (8, [5, 4, 1]), (1, [4, 5])]
    """
    generator = torch.Generator().manual_seed(0)
    reach = max(4, reach)
    answer = max(2, reach // 4)
    prompt = reach - answer
    sizes = [
        (prompt, (answer, max(1, answer // 2))),
        (max(1, prompt // 2 + 1), (answer, max(1, answer - 1), 1)),
        (1, (max(1, answer - 1), answer)),
    ]

    def ids(n: int) -> list[int]:
        found: list[int] = torch.randint(vocabulary, (n,), generator=generator).tolist()
        return found

    return [ids(n) for n, _ in sizes], [[ids(n) for n in own] for _, own in sizes]


Ids = list[int]


def _shared(model: nn.Module, prompts: list[Ids], answers: list[list[Ids]]) -> list[Tensor]:
    """Return the log-probability of every token, an entry per answer, from shared rows."""
    parts = shared_token_logp(model, shared_rows(prompts, answers, pad=0))
    return list(parts.split([len(y) for own in answers for y in own]))


def _plain(model: nn.Module, prompts: list[Ids], answers: list[list[Ids]]) -> list[Tensor]:
    """Return the same from one row per answer, by nothing but a softmax over all logits."""
    flat = [(x, y) for x, own in zip(prompts, answers, strict=True) for y in own]
    rows = pad_rows([x for x, _ in flat], [y for _, y in flat], pad=0)
    rows = Rows(*(part.to(_device(model)) for part in rows))
    logits = model(input_ids=rows.ids, attention_mask=rows.attention, use_cache=False).logits[:, :-1]
    scored = rows.response[:, 1:]
    logp = logits[scored].float().log_softmax(dim=1).gather(1, rows.ids[:, 1:][scored][:, None])[:, 0]
    return list(logp.split([len(y) for _, y in flat]))


def _alone(model: nn.Module, prompts: list[Ids], answers: list[list[Ids]]) -> list[Tensor]:
    """Return the same from rows that are read one at a time."""
    pairs = [(x, y) for x, own in zip(prompts, answers, strict=True) for y in own]
    return [_plain(model, [x], [[y]])[0] for x, y in pairs]


def _apart(some: list[Tensor], other: list[Tensor]) -> float:
    """Return the largest difference of an answer, each the mean over its last tokens, nats."""
    return max(
        float((a[-TAIL:] - b[-TAIL:]).abs().mean()) if a.isfinite().all() else float("nan")
        for a, b in zip(some, other, strict=True)
    )


def read_rows(batch: dict[str, Tensor]) -> Rows | SharedRows:
    """Return the rows of a batch, shared or plain, without its other columns."""
    kind = SharedRows if "part" in batch else Rows
    return kind(*(batch[name] for name in kind._fields))


def read_logp(model: nn.Module, rows: Rows | SharedRows, *, allowed: Tensor | None = None) -> Tensor:
    """Return log pi(y|x) of every answer, shape (N,), whichever rows they are."""
    if isinstance(rows, SharedRows):
        return shared_logp(model, rows, allowed=allowed)
    return plain_logp(model, rows, allowed=allowed)


def _base(model: nn.Module) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def _attention(model: nn.Module) -> str:
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return str(inner.config._attn_implementation)  # type: ignore[union-attr]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
