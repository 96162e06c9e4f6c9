"""The settings of a language model policy: how long its texts may be, and how it is trained.

Both are written to disk with the policy as lists in this order, so a new field goes to the end and has a
default: what was saved without it then still loads, and means what it meant.

Left out: the learning-rate schedule (`training`), and what is trained on (`pairs`).
"""

from __future__ import annotations

from typing import NamedTuple

from .types import InputError


class Budget(NamedTuple):
    """Longest prompt and response in tokens; longer prompts lose their beginning, responses their end."""

    prompt: int = 192
    response: int = 96


class Engine(NamedTuple):
    """How this policy is trained.

    Attributes
    ----------
    batch_size : int
        Rows per step: answers when it imitates, twice as many when it compares (a pair is two answers).
    learning_rate : float
        At its peak, above 0.
    eval_rows : int
        Rows scored or sampled at once.
    group_by_length : bool
        Batch rows of like length: less padding, and of no use where all rows are short.
    matrix_rate : float, optional
        Learning rate of Muon on the hidden matrices; absent, AdamW trains everything.
    sft_weight : float
        w >= 0 of the term w (-log pi(chosen)) beside the DPO loss, see `anchored_dpo_loss`; 0 is plain DPO.
    micro_batch : int, optional
        Part of ``batch_size`` that is read at once, a divisor of it; the gradients of the parts are averaged
        into one step. Less memory, the same step to rounding where all rows hold as many pairs.
    share_prompts : bool
        Read a prompt once for all its answers where the model allows it and that is cheaper: the same numbers
        to rounding. False is the plain way, one row per answer.
    checkpointing : bool
        Keep only what enters each layer and compute its inside again on the way back: much less memory, about
        a third more time, the same gradients.
    """

    batch_size: int = 16
    learning_rate: float = 5e-4
    eval_rows: int = 32
    group_by_length: bool = True
    matrix_rate: float | None = None
    sft_weight: float = 0.0
    micro_batch: int | None = None
    share_prompts: bool = True
    checkpointing: bool = False

    @property
    def parts(self) -> int:
        """Return in how many parts a batch is read.

        >>> Engine(batch_size=8, micro_batch=2).parts
        4

        Raises
        ------
        InputError
            When ``micro_batch`` does not divide ``batch_size``.
        """
        micro = self.batch_size if self.micro_batch is None else self.micro_batch
        if micro < 1 or self.batch_size % micro:
            raise InputError(f"micro_batch: {micro} does not divide batch_size {self.batch_size}")
        return self.batch_size // micro
