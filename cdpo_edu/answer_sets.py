"""Preferences as rows for a language model: one prompt, its answers, and the comparisons among them.

An answer that stands in several comparisons of a set is read once: K answers cost K rows of the model and
give K (K - 1)/2 terms of the loss, exactly the terms that the pairs would give one by one.

Left out: the forward pass (`reading`), the prompt read once for all its answers (`shared_prompt`), which
pairs make a set (`ScoredPairs.compared`).

Reference: Ouyang et al. 2022, arXiv 2203.02155, section 3.5 (the same for reward models).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from .pairs import Preferences
from .sequences import pad_rows
from .types import Batch

Ids = list[int]
Encoder = Callable[[Batch], list[Ids]]


class AnswerSet(NamedTuple):
    """One prompt's answers and the m comparisons among them.

    ``pairs`` (m, 2) are places in ``answers``; ``ref_logp`` (m, 2), ``target`` and ``weight`` (m,) belong
    to the pairs, as in `Preferences`.
    """

    prompt: Ids
    answers: list[Ids]
    pairs: list[tuple[int, int]]
    ref_logp: Tensor
    target: Tensor
    weight: Tensor


def answer_sets(
    preferences: Preferences, encode_prompts: Encoder, encode_answers: Encoder
) -> list[AnswerSet]:
    """Return the sets of ``preferences`` in order, every text encoded, equal answers of a set once.

    Parameters
    ----------
    encode_prompts, encode_answers : callables
        From texts to lists of token ids.
    """
    x, y0, y1 = (
        encode_prompts(preferences.prompts),
        encode_answers(preferences.y0),
        encode_answers(preferences.y1),
    )
    ref, target, weight = (
        column.float() for column in (preferences.ref_logp, preferences.target, preferences.weight)
    )
    return [
        AnswerSet(x[part.start], answers, pairs, ref[part], target[part], weight[part])
        for part, answers, pairs in grouped(preferences.sets, y0, y1)
    ]


def grouped(
    sets: Tensor | None, y0: list[Ids], y1: list[Ids]
) -> Iterator[tuple[slice, list[Ids], list[tuple[int, int]]]]:
    """Yield each set's rows, its answers, equal ones once, and its pairs as places among those answers.

    Without ``sets`` every pair is a set by itself.

    >>> list(grouped(torch.tensor([0, 0]), [[7], [7]], [[8], [9]]))
    [(slice(0, 2, None), [[7], [8], [9]], [(0, 1), (0, 2)])]
    """
    numbers = range(len(y0)) if sets is None else sets.tolist()
    for _, group in groupby(range(len(y0)), key=lambda i: numbers[i]):
        members = list(group)
        place: dict[tuple[int, ...], int] = {}
        pairs = [
            (place.setdefault(tuple(y0[i]), len(place)), place.setdefault(tuple(y1[i]), len(place)))
            for i in members
        ]
        yield slice(members[0], members[-1] + 1), [list(ids) for ids in place], pairs


def collate_sets(part: list[AnswerSet], *, pad: int) -> dict[str, Tensor]:
    """Return a batch: token rows of all answers, and the pairs as places among those rows.

    >>> columns = torch.zeros(2, 2), torch.ones(2), torch.ones(2)
    >>> one = AnswerSet([5], [[7], [8], [9]], [(0, 1), (0, 2)], *columns)
    >>> collate_sets([one, one], pad=0)["pairs"].tolist()
    [[0, 1], [0, 2], [3, 4], [3, 5]]
    """
    rows = pad_rows(
        [row.prompt for row in part for _ in row.answers],
        [ids for row in part for ids in row.answers],
        pad=pad,
    )
    return rows._asdict() | pair_columns(part)


def pair_columns(part: list[AnswerSet]) -> dict[str, Tensor]:
    """Return the columns of all pairs, and the pairs as places among all answers of ``part`` in order."""
    starts = torch.tensor([0, *(len(row.answers) for row in part)]).cumsum(0).tolist()
    pairs = [torch.tensor(row.pairs) + start for row, start in zip(part, starts, strict=False)]
    columns = {
        name: torch.cat([getattr(row, name) for row in part]) for name in ("ref_logp", "target", "weight")
    }
    return columns | {"pairs": torch.cat(pairs)}
