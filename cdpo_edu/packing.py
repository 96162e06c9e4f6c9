"""Several short rows of prompt and answer in one: no padding between them, and nobody sees a neighbour.

Each keeps its own positions from 0 and the mask of `shared_prompt` without a shared part, so that it gives
the log-probability that it gives alone. Whether a model may be read so is what `reading.cannot_share` finds.

Left out: rows that share a prompt (`shared_prompt`); packing across batches, which would change a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .sequences import pad_rows
from .shared_prompt import SharedRows, reading_cost

Row = tuple[list[int], list[int]]
"""Token ids of a prompt and of its answer."""


def bins(sizes: list[int], longest: int) -> list[list[int]]:
    """Return the places of ``sizes`` in bins that hold ``longest``: largest first, into the first with room.

    A size beyond ``longest`` has a bin of its own.

    >>> bins([3, 5, 2, 4], 7)
    [[1, 2], [3, 0]]
    """
    made: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        found = next((k for k, left in enumerate(room) if left >= sizes[place]), None)
        if found is None:
            made.append([])
            room.append(longest)
            found = len(made) - 1
        made[found].append(place)
        room[found] -= sizes[place]
    return made


def packed_rows(rows: list[Row], *, longest: int, pad: int) -> SharedRows:
    """Return the rows packed; answers are numbered in the order in which they lie there.

    >>> packed = packed_rows([([5, 6], [7, 2]), ([8], [9])], longest=6, pad=0)
    >>> packed.ids.tolist(), packed.positions.tolist(), packed.part.tolist()
    ([[5, 6, 7, 2, 8, 9]], [[0, 1, 2, 3, 0, 1]], [[1, 1, 1, 1, 2, 2]])
    >>> packed.predicts.int().tolist(), packed.token.tolist()
    ([[0, 1, 1, 0, 1, 0]], [7, 2, 9])
    """
    columns: tuple[list[list[int]], ...] = ([], [], [], [])  # ids, positions, part, predicts
    owner: list[int] = []
    tokens: list[int] = []
    answered = 0
    for places in bins([len(x) + len(y) for x, y in rows], longest):
        row: tuple[list[int], ...] = ([], [], [], [])
        for number, one in enumerate(places, 1):
            x, y = rows[one]
            size = len(x) + len(y)
            row[0].extend([*x, *y])
            row[1].extend(range(size))
            row[2].extend([number] * size)
            row[3].extend([False] * (len(x) - 1) + [True] * len(y) + [False])
            owner += [answered] * len(y)
            tokens += y
            answered += 1
        for column, new in zip(columns, row, strict=True):
            column.append(new)
    ids, positions, part, predicts = (
        _padded(column, filler) for column, filler in zip(columns, (pad, 0, -1, False), strict=True)
    )
    place = torch.arange(len(tokens))
    return SharedRows(ids, positions, part, predicts.bool(), place, torch.tensor(owner), torch.tensor(tokens))


def _padded(rows: list[list[int]], filler: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def collate_packed(part: list[Row], *, pad: int, longest: int, hidden: int) -> dict[str, Tensor]:
    """Return a batch packed, or one row each where that computes less (`reading_cost`).

    Parameters
    ----------
    longest : int
        Tokens of a packed row, at least those of the longest row.
    hidden : int
        Width of the model.
    """
    sizes = [len(x) + len(y) for x, y in part]
    packed = bins(sizes, longest)
    width = max(sum(sizes[i] for i in places) for places in packed)
    if reading_cost(len(packed), width, hidden) < reading_cost(len(part), max(sizes), hidden):
        return packed_rows(part, longest=longest, pad=pad)._asdict()
    x, y = zip(*part, strict=True)
    return pad_rows([*x], [*y], pad=pad)._asdict()
