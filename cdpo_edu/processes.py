"""More than one process (torchrun): who does what, and how all come to know the same.

Every process runs the same program on the same data. Training is shared by the Trainer; sampling and scoring
are shared chunk by chunk (`long_work`); files are written by the first process. Without torchrun there is one
process, and nothing here does anything.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist

from .types import InputError


def started_by_torchrun() -> bool:
    """Return whether the environment asks for more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(*, cpu: bool) -> None:
    """Take one's place among the processes that torchrun started: gloo on CPUs, NCCL on GPUs.

    Raises
    ------
    InputError
        When a launcher was asked for several processes and started one.
    RuntimeError
        When the processes that were asked for did not find each other.
    """
    if not started_by_torchrun():
        _refuse_a_lonely_start()
        return
    from accelerate import PartialState

    state = PartialState(cpu=cpu)
    wanted = int(os.environ["WORLD_SIZE"])
    if state.num_processes != wanted:
        raise RuntimeError(f"torchrun started {wanted} processes, accelerate sees {state.num_processes}")


def _refuse_a_lonely_start() -> None:
    """Tell of `accelerate launch --cpu --num_processes N`: it names a meeting point and starts one."""
    asked_for_several = "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ
    if asked_for_several and "WORLD_SIZE" not in os.environ:
        raise InputError(
            "accelerate was asked for several processes and started one, as it does with --cpu; start them "
            "with torchrun --nproc_per_node N -m cdpo_edu ..."
        )


def count() -> int:
    """Return how many processes there are.

    >>> count(), place(), gathered("mine")
    (1, 0, ['mine'])
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def place() -> int:
    """Return this process's place among them, from 0."""
    return dist.get_rank() if count() > 1 else 0


def first() -> bool:
    """Return whether this is the process that writes files and speaks."""
    return place() == 0


def gathered(mine: Any) -> list[Any]:
    """Return what every process has, in the order of their places; each must call this."""
    if count() == 1:
        return [mine]
    everybody: list[Any] = [None] * count()
    dist.all_gather_object(everybody, mine)
    return everybody


def agreed(mine: Any) -> Any:
    """Return what the first process has, in all of them: a decision is made once."""
    if count() == 1:
        return mine
    box = [mine]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        dist.barrier()
