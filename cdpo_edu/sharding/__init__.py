"""Sharded training: what an accelerate file asks for, whether it happened, and tensors made whole again.

Sharding itself is accelerate's. Two files for it lie in this folder: `fsdp2.yaml` (parameters too are in
pieces: for one fit in a script of your own) and `zero2.yaml` (DeepSpeed: every process has the whole model,
as the loop needs it). No GPU has run either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from ..types import InputError


def example(name: str) -> Path:
    """Return the path of an accelerate file that comes with the package: fsdp2 or zero2.

    >>> example("zero2").name
    'zero2.yaml'
    """
    return Path(__file__).with_name(f"{name}.yaml")


def asked_for() -> str | None:
    """Return what the environment that accelerate's launcher sets asks for: FSDP, DeepSpeed or nothing."""
    for name in ("FSDP", "DeepSpeed"):
        if os.environ.get(f"ACCELERATE_USE_{name.upper()}", "false").lower() == "true":
            return name
    return None


def require_sharded(trained: Iterable[Tensor], engine: Any = None) -> None:
    """Refuse to train whole what was to be sharded: accelerate falls back in silence where it cannot.

    Parameters
    ----------
    trained : iterable of Tensor
        The parameters that are trained, as they are when training begins.
    engine : optional
        DeepSpeed's engine around the model.

    Raises
    ------
    InputError
        When a launcher asked for sharding, and there is one process, no parameter in pieces (FSDP) or no
        engine that shards (DeepSpeed).
    """
    if (wanted := asked_for()) is None:
        return
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if wanted == "FSDP":
        found = any(type(weight).__name__ == "DTensor" for weight in trained)
    else:
        found = engine is not None and engine.zero_optimization_stage() > 0
    if found and world > 1:
        return
    why = "there is one process" if world == 1 else "the parameters and moments are whole in every process"
    raise InputError(
        f"the launcher asked for {wanted}, but nothing is sharded: {why}. accelerate shards on GPUs alone, "
        "one process each: accelerate launch --config_file FILE --num_processes CARDS; without cards use "
        "torchrun --nproc_per_node N and no such file"
    )


def require_whole() -> None:
    """Refuse parameters in pieces where each process needs the whole model.

    Raises
    ------
    InputError
    """
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    if asked_for() == "FSDP" or (asked_for() == "DeepSpeed" and stage == "3"):
        raise InputError(
            "a run draws and reads answers between its fits, each process its own share, and the first one "
            f"writes: every process needs the whole model. Launch it with {example('zero2')} (DeepSpeed, "
            "stage 2) or with torchrun; a file that puts parameters in pieces is for a single fit"
        )


def whole_adapters(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained parameters as whole tensors, in pieces or not; every process must call this."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    whole = {
        name: weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        for name, weight in trained.items()
    }
    return {name: weight.detach() for name, weight in whole.items()}
