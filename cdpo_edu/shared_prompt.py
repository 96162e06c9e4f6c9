"""The prompt read once for all answers of its set: one row holds the prompt and every answer after it.

Every answer goes on at the position after the prompt and sees the prompt and itself, as if it stood there
alone, so the row gives the log-probabilities that prompt + answer give row by row (`answer_sets`, the plain
way) from fewer tokens: P + A + B of them for a pair instead of 2P + A + B. Labels play no part in it.

A batch is read the way that computes less (`collate_cheaper`). Whether a model can be read so at all is for
`reading` to find out: a sliding window, for one, is lost without a word when a mask of one's own is given.

Left out: packing several prompts into one row; FlexAttention (rows longer than LONGEST are read plainly).

Reference: the shared row is that of arXiv 2410.20305, there with FlexAttention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .answer_sets import AnswerSet, collate_sets, pair_columns

LONGEST = 2048
"""Longest shared row: its mask holds LONGEST^2 entries, and attention is computed where it hides, too."""


class SharedRows(NamedTuple):
    """A right-padded batch of B shared rows with N answers and R scored tokens in all.

    Attributes
    ----------
    ids, positions : Tensor, shape (B, T), long
    part : Tensor, shape (B, T), long
        0 in the prompt, k in the k-th answer, -1 in the padding.
    predicts : Tensor, shape (B, T), bool
        Where a scored token is predicted; M places in all. The last one of a prompt predicts the first token
        of each of its answers, the last one of an answer nothing.
    place, owner, token : Tensor, shape (R,), long
        Of each scored token: the number of its place among the M, its answer among the N, and its id. (Not
        called labels: the Trainer would count them and scale the loss.)
    """

    ids: Tensor
    positions: Tensor
    part: Tensor
    predicts: Tensor
    place: Tensor
    owner: Tensor
    token: Tensor


def shared_rows(prompts: list[list[int]], answers: list[list[list[int]]], *, pad: int) -> SharedRows:
    """Return one row per prompt with all its answers, padded on the right to the longest.

    >>> rows = shared_rows([[5, 6]], [[[7, 2], [8, 9, 2]]], pad=0)
    >>> rows.ids.tolist(), rows.positions.tolist(), rows.part.tolist()
    ([[5, 6, 7, 2, 8, 9, 2]], [[0, 1, 2, 3, 2, 3, 4]], [[0, 0, 1, 1, 2, 2, 2]])
    >>> rows.predicts.int().tolist()  # the 6 twice; either 2 ends its answer
    [[0, 1, 1, 0, 1, 1, 0]]
    >>> rows.place.tolist(), rows.token.tolist()
    ([0, 1, 0, 2, 3], [7, 2, 8, 9, 2])
    """
    ids, positions, part, predicts = [], [], [], []
    place: list[int] = []
    owner: list[int] = []
    places = answered = 0
    for prompt, own in zip(prompts, answers, strict=True):
        start = len(prompt)
        ids.append(prompt + [token for answer in own for token in answer])
        positions.append([*range(start), *(start + i for answer in own for i in range(len(answer)))])
        part.append([0] * start + [k for k, answer in enumerate(own, 1) for _ in answer])
        wanted = [False] * (start - 1) + [True]
        last, places = places, places + 1  # the prompt's last token
        for answer in own:
            place += [last, *range(places, places + len(answer) - 1)]
            owner += [answered] * len(answer)
            wanted += [True] * (len(answer) - 1) + [False]
            places, answered = places + len(answer) - 1, answered + 1
        predicts.append(wanted)
    tokens = [token for own in answers for answer in own for token in answer]
    return SharedRows(
        _padded(ids, pad),
        _padded(positions, 0),
        _padded(part, -1),
        _padded(predicts, False),
        *(torch.tensor(column) for column in (place, owner, tokens)),
    )


def _padded(rows: list[list[int]] | list[list[bool]], filler: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def block_mask(part: Tensor) -> Tensor:
    """Return who sees whom, bool, shape (B, 1, T, T): the prompt and one's own answer, up to oneself.

    >>> block_mask(torch.tensor([[0, 1, 1, 2]]))[0, 0].int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    """
    key, query = part[:, None, :], part[:, :, None]
    before = torch.ones(part.shape[1], part.shape[1], dtype=torch.bool, device=part.device).tril()
    return (((key == 0) | (key == query)) & before)[:, None]


def collate_shared(sets: list[AnswerSet], *, pad: int) -> dict[str, Tensor]:
    """Return a batch of shared rows, and the pairs as places among the answers in order."""
    rows = shared_rows([one.prompt for one in sets], [one.answers for one in sets], pad=pad)
    return rows._asdict() | pair_columns(sets)


def collate_cheaper(sets: list[AnswerSet], *, pad: int, hidden: int) -> dict[str, Tensor]:
    """Return the batch as shared rows or, where that computes more or a row is too long, as plain ones.

    Parameters
    ----------
    hidden : int
        Width of the model, see `reading_cost`.
    """
    shared = max(len(one.prompt) + sum(map(len, one.answers)) for one in sets)
    alone = max(len(one.prompt) + max(map(len, one.answers)) for one in sets)
    answers = sum(len(one.answers) for one in sets)
    if shared > LONGEST or reading_cost(len(sets), shared, hidden) > reading_cost(answers, alone, hidden):
        return collate_sets(sets, pad=pad)
    return collate_shared(sets, pad=pad)


def reading_cost(rows: int, length: int, hidden: int) -> int:
    """Return what it takes to read padded rows, up to a factor: matrices and attention of one layer.

    A token meets about 12 H^2 weights of a layer of width H, and its attention multiplies 2 T H numbers in a
    row of T: 12 H^2 + 2 T H is 2 H (6 H + T).

    >>> reading_cost(2, 100, 64), reading_cost(1, 160, 64)  # a prompt of 40 tokens, two answers of 60
    (96800, 87040)
    """
    return rows * length * (6 * hidden + length)
