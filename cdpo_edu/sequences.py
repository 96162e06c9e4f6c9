"""From token rows to the summed log-probability of a response.

A row is ``prompt ids + response ids``; the prompt is tokenised once and the response ids are appended,
so no token ever straddles the boundary. The response holds its end token unless it filled the whole
budget, in which case it never ended. Scored are the response positions and nothing else, and they are
**summed**: the DPO margin is a difference of log-probabilities of whole answers.

Left out: packing several rows into one; the prompt shared by two answers.
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
    parts = [
        p.float().gather(1, w[:, None])[:, 0] - p.float().logsumexp(dim=1)
        for p, w in zip(picked.split(CHUNK), wanted.split(CHUNK), strict=True)
    ]
    owner = torch.arange(len(scored), device=scored.device)[:, None].expand_as(scored)[scored]
    total = torch.zeros(len(scored), dtype=torch.float32, device=logits.device)
    return total.index_add(0, owner, torch.cat(parts))
