"""From token rows to the summed log-probability of a response.

A row is ``prompt ids + response ids``; the prompt is tokenised once and the response ids are appended,
so no token ever straddles the boundary. The response holds its end token unless it filled the whole
budget, in which case it never ended. Scored are the response positions and nothing else, and they are
**summed**: the DPO margin is a difference of log-probabilities of whole answers.

Left out: packing several rows into one; the prompt shared by two answers (`shared_prompt`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

CHUNK = 1024
"""Response positions scored at once: bounds the float32 copy of the logits at CHUNK x vocabulary."""


class Rows(NamedTuple):
    """A right-padded batch: ``ids`` and ``attention`` (B, T) long, ``response`` (B, T) bool."""

    ids: Tensor
    attention: Tensor
    response: Tensor


def encode(tokenizer: Any, texts: Iterable[str]) -> list[list[int]]:
    """Return the token ids of each text, no special tokens; equal texts are encoded once."""
    texts = list(texts)
    distinct = list(dict.fromkeys(texts))
    ids = dict(zip(distinct, tokenizer(distinct, add_special_tokens=False)["input_ids"], strict=True))
    return [ids[text] for text in texts]


def pad_rows(prompts: list[list[int]], responses: list[list[int]], *, pad: int) -> Rows:
    """Return prompt + response rows, padded on the right to the longest.

    >>> pad_rows([[5], [5, 6]], [[7, 2], [2]], pad=0).response.int().tolist()
    [[0, 1, 1], [0, 0, 1]]
    """
    sizes = [(len(p), len(p) + len(y)) for p, y in zip(prompts, responses, strict=True)]
    width = max(end for _, end in sizes)
    filler = [pad] * width
    rows = [(p + y + filler)[:width] for p, y in zip(prompts, responses, strict=True)]
    start, end = torch.tensor(sizes).T[..., None]  # (B, 1) each
    place = torch.arange(width)
    return Rows(torch.tensor(rows), (place < end).long(), (place >= start) & (place < end))


def sequence_logp(logits: Tensor, rows: Rows, *, allowed: Tensor | None = None) -> Tensor:
    r"""Return log pi(y|x) = sum over response positions of log softmax(logits)[token], shape (B,).

    Parameters
    ----------
    logits : Tensor, shape (B, K, V)
        The model's output at the **last** K positions of the rows; K may be the whole row, and must
        reach back to the position before the first response token.
    rows : Rows
    allowed : Tensor, shape (V,), optional
        True where a response may hold the token; the distribution is renormalised over those.

    Examples
    --------
    Two words at even odds and an end token at even odds: 3 ln(1/2):

    >>> rows = pad_rows([[0]], [[1, 1, 0]], pad=0)
    >>> sequence_logp(torch.zeros(1, 4, 2), rows) / torch.tensor(2.0).log()
    tensor([-3.])
    """
    reach = logits.shape[1] - 1
    labels = rows.ids[:, -reach:]  # token t is predicted at t - 1, so the last logit predicts nothing
    scored = rows.response[:, -reach:]
    picked, wanted = logits[:, :-1][scored], labels[scored]  # (R, V), (R,)
    if allowed is not None:
        picked = picked.masked_fill(~allowed, float("-inf"))
    parts = token_logp(picked, torch.arange(len(picked), device=picked.device), wanted)
    owner = torch.arange(len(scored), device=scored.device)[:, None].expand_as(scored)[scored]
    return torch.zeros(len(scored), device=logits.device).index_add(0, owner, parts)


def token_logp(logits: Tensor, place: Tensor, labels: Tensor) -> Tensor:
    r"""Return log softmax(logits[place])[labels], float32, shape (N,).

    The normaliser of a row is computed once, however many tokens the row predicts, and CHUNK rows at a time:
    there is no float32 copy of all the logits. The backward pass writes the gradient over the logits and so
    needs no second copy of them either; a second backward pass through them is an error.

    Parameters
    ----------
    logits : Tensor, shape (R, V)
        Made by a computation that ends here; no leaf whose values are still wanted.
    place, labels : Tensor, shape (N,)
        Row of ``logits`` that predicts each token, and the token.

    Examples
    --------
    Four words at even odds, and one row that predicts two tokens: 2 ln(1/4)

    >>> logp = token_logp(torch.zeros(1, 4), torch.tensor([0, 0]), torch.tensor([3, 1]))
    >>> logp.sum() / torch.tensor(4.0).log()
    tensor(-2.)
    """
    logp: Tensor = _TokenLogp.apply(logits, place, labels)  # type: ignore[no-untyped-call]
    return logp


class _TokenLogp(torch.autograd.Function):
    r"""d logp_n / d logits[r] = [r = place_n] (onehot(label_n) - softmax(logits[r]))."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, place: Tensor, labels: Tensor) -> Tensor:
        """Keep the logits and one number per row."""
        total = torch.cat([part.float().logsumexp(dim=1) for part in logits.split(CHUNK)])
        ctx.save_for_backward(logits, total, place, labels)
        return logits[place, labels].float() - total[place]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        """Turn the logits into their gradient."""
        logits, total, place, labels = ctx.saved_tensors
        (slope,) = slopes
        weight = torch.zeros_like(total).index_add(0, place, slope)
        for part, norm, factor in zip(*(x.split(CHUNK) for x in (logits, total, weight)), strict=True):
            if part.dtype == torch.float32:
                part.sub_(norm[:, None]).exp_().mul_(-factor[:, None])
            else:
                part.copy_((part.float() - norm[:, None]).exp_().mul_(-factor[:, None]))
        logits.index_put_((place, labels), slope.to(logits.dtype), accumulate=True)
        return logits, None, None
