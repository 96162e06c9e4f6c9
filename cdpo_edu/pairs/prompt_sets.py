"""Prompts set aside: to train on, to measure cost on, to judge on.

Left out: the rows that go with them (`Pairs.split`, `Flagged.split`).
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from ..types import Batch, InputError, take
from .digests import digest


class PromptSets(NamedTuple):
    """Three disjoint sets of prompts: to train on, to measure cost and choose lam on, to judge on."""

    train: Batch
    dual: Batch
    judge: Batch

    @property
    def fingerprint(self) -> str:
        """Return a digest of the three sets, so that two runs can show that they split alike."""
        return digest(*(digest(*sorted(map(str, part))) for part in self))  # of sets: row order is no part


def first_turn(prompt: str) -> str:
    r"""Return the first human turn, lower case and white space folded: what makes two prompts near-copies.

    >>> first_turn("\n\nHuman: Hello  there\n\nAssistant: Hi\n\nHuman: Bye\n\nAssistant:")
    'hello there'
    """
    turn = prompt.split("Human:", 1)[-1].split("\n\nAssistant:", 1)[0]
    return " ".join(turn.lower().split())


def distinct(batch: Batch) -> Batch:
    """Return each item once, in order of first appearance (a tensor comes back sorted)."""
    return torch.unique(batch) if isinstance(batch, Tensor) else list(dict.fromkeys(batch))


def set_aside(prompts: Batch, *, seed: int, dual: float, judge: float) -> tuple[list[int], PromptSets]:
    """Return the rows that remain to train on, and the three sets of prompts.

    Prompts that share their first turn stay together, so a near-copy of a judge prompt is never trained on.
    Groups are ordered by sha256(seed | first turn) and fill judge, then dual, then train: no random numbers,
    and the order of the rows does not matter.

    Parameters
    ----------
    prompts : Batch of n
        One per row; equal ones count as often as they stand there.
    seed : int
        Another seed, another split.
    dual, judge : float
        Shares of the rows, each in (0, 1), together below 1.

    Raises
    ------
    InputError
        When a set would be empty.
    """
    if not (0 < dual and 0 < judge and dual + judge < 1):
        raise InputError(f"split: shares dual={dual} and judge={judge} must be above 0 and sum below 1")
    keys = [first_turn(str(prompt)) for prompt in prompts]
    sizes = Counter(keys)
    part_of: dict[str, str] = {}
    filled = Counter({"judge": 0, "dual": 0})
    for key in sorted(sizes, key=lambda k: digest(str(seed), k)):
        room = [p for p, share in (("judge", judge), ("dual", dual)) if filled[p] < share * len(prompts)]
        part_of[key] = room[0] if room else "train"
        filled[part_of[key]] += sizes[key]
    rows = {
        part: [i for i, k in enumerate(keys) if part_of[k] == part] for part in ("train", "dual", "judge")
    }
    if not all(rows.values()):
        raise InputError(f"split: {len(sizes)} different first turns are too few for three prompt sets")
    sets = PromptSets(*(distinct(take(prompts, rows[part])) for part in ("train", "dual", "judge")))
    return rows["train"], sets
