"""Which layers LoRA adapters go on, and the refusal of a list that misses some in silence.

Left out: making and reading adapters (`backbone`).
"""

from __future__ import annotations

from collections import Counter

from torch import nn
from transformers.pytorch_utils import Conv1D

from .types import InputError


def linear_layers(model: nn.Module) -> list[str]:
    """Return the names of all linear layers but the head; GPT-2's are called Conv1D."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, (nn.Linear, Conv1D)) and part is not head
    ]


def check_targets(model: nn.Module, targets: list[str] | None) -> list[str]:
    """Return the layers that ``targets`` (None: every linear layer but the head) name, all of them found.

    Raises
    ------
    InputError
        When one of them names no linear layer, with what the others matched and what there is.
    """
    layers = linear_layers(model)
    if targets is None:
        return layers
    found = {target: [name for name in layers if f".{name}".endswith(f".{target}")] for target in targets}
    missed = [target for target, names in found.items() if not names]
    if missed:
        matched = ", ".join(f"{target} {len(names)}" for target, names in found.items() if names) or "nothing"
        there = ", ".join(sorted(Counter(name.rsplit(".", 1)[-1] for name in layers)))
        raise InputError(
            f"LoRA targets {', '.join(missed)}: no linear layer has that name; matched: {matched}; "
            f"there are: {there}"
        )
    return [name for name in layers if any(name in names for names in found.values())]


def check_adapted(model: nn.Module, layers: list[str]) -> None:
    """Refuse a peft model in which one of ``layers`` got no adapter.

    Raises
    ------
    InputError
        With the numbers of both, and the first that got none.
    """
    adapted = {
        name.removeprefix("base_model.model.")
        for name, part in model.named_modules()
        if hasattr(part, "lora_A") and len(part.lora_A)  # type: ignore[arg-type]
    }
    bare = [name for name in layers if name not in adapted]
    if bare:
        raise InputError(f"LoRA: {len(layers) - len(bare)} of {len(layers)} layers matched, not {bare[0]}")


def is_transposed(model: nn.Module) -> bool:
    """Return whether linear layers keep their weights transposed, as GPT-2's do: peft wants to be told."""
    return any(isinstance(part, Conv1D) for part in model.modules())
