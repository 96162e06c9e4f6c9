"""Low-rank adapters around a frozen causal model: fresh ones to train, a fine-tuned one as reference.

Two adapters at most: ``default`` is trained; ``reference``, where there is one, is an adapter that somebody
fine-tuned before (SFT). It stays frozen and switched on, and the reference is the model with it alone. It is
not merged into the weights: four-bit weights would have to be rounded anew, and the policy would then start
beside the model that was fine-tuned.

Left out: loading the weights below (`backbone`).

References: Hu et al. 2022, arXiv 2106.09685 (LoRA); Dettmers et al. 2023, arXiv 2305.14314 (QLoRA).
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import load_model as load_model_file
from torch import nn

from .lora_targets import check_adapted, check_targets, is_transposed
from .types import InputError

TRAINED, REFERENCE = "default", "reference"


def with_lora(model: nn.Module, *, rank: int, seed: int, targets: list[str] | None = None) -> nn.Module:
    """Return the model frozen, with fresh float32 LoRA adapters on every linear layer but the head.

    A fresh adapter is the identity (its second factor is zero), so the policy starts exactly at the
    reference. Scaling alpha / rank is 2.

    Parameters
    ----------
    targets : list of str, optional
        Ends of the names of the layers to adapt, such as q_proj; absent, every linear layer but the head.

    Raises
    ------
    InputError
        When one of ``targets`` names no linear layer, or a layer is left without its adapter.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets or "all-linear",
        task_type="CAUSAL_LM",
        fan_in_fan_out=is_transposed(model),
    )
    with torch.random.fork_rng(), _peft_without_its_warning():
        torch.manual_seed(seed)
        if not hasattr(model, "peft_config"):
            layers = check_targets(model, targets)
            adapted = get_peft_model(_ready(model), config)
            check_adapted(adapted, layers)
            return adapted
        model.add_adapter(TRAINED, config)  # type: ignore[operator]
    _switch_on(model, [REFERENCE, TRAINED])
    return model


def _ready(model: nn.Module) -> nn.Module:
    """Return a quantised model ready to train on: frozen, and in float32 between its layers where it must be.

    Without bfloat16 the small gradients of DPO would be lost in float16, so norms, embedding and head become
    float32 and what flows between the layers with them. In bfloat16 that would only double their memory.
    """
    from peft import prepare_model_for_kbit_training

    kinds = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    if getattr(model, "is_quantized", False) and torch.float16 in kinds:
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model.requires_grad_(False)


@contextmanager
def _peft_without_its_warning() -> Iterator[None]:
    """Silence one warning: peft asks transformers for gradient checkpointing by the older of two names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def is_adapter(directory: Path) -> bool:
    """Tell whether a folder holds an adapter that peft saved."""
    return (directory / "adapter_config.json").exists()


def base_of(directory: Path) -> str:
    """Return the model that a saved adapter belongs to: the one beside it, or as its configuration names it.

    Raises
    ------
    InputError
        When it names none.
    """
    if (directory / "base").is_dir():
        return str(directory / "base")
    named = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    if not named.get("base_model_name_or_path"):
        raise InputError(f"{directory}: adapter_config.json does not name the model that the adapter is for")
    return str(named["base_model_name_or_path"])


def with_reference(model: nn.Module, directory: Path) -> nn.Module:
    """Return ``model`` frozen, with the adapter of ``directory`` on, frozen too: an SFT reference."""
    return _loaded(_ready(model), directory, REFERENCE, trainable=False)


def load_adapter(model: nn.Module, directory: Path) -> nn.Module:
    """Return ``model`` with the adapters that a policy saved below ``directory``, ready to train on."""
    if not (directory / REFERENCE).exists():
        return _loaded(_ready(model), directory, TRAINED, trainable=True)
    model = with_reference(model, directory / REFERENCE)
    model.load_adapter(str(directory), TRAINED, is_trainable=True)  # type: ignore[operator]
    _switch_on(model, [REFERENCE, TRAINED])
    return model


def _loaded(model: nn.Module, directory: Path, name: str, *, trainable: bool) -> nn.Module:
    from peft import PeftModel

    if not (directory / "adapter_model.safetensors").exists():
        raise InputError(f"{directory}: adapter_model.safetensors is not there; other files are not read")
    with _peft_without_its_warning():
        return PeftModel.from_pretrained(model, str(directory), adapter_name=name, is_trainable=trainable)


def _switch_on(model: Any, names: list[str]) -> None:
    """Let just these adapters take part, of which only the trained one may have gradients."""
    model.base_model.set_adapter(names)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.requires_grad_(is_trained(name) and TRAINED in names)


def is_trained(name: str) -> bool:
    """Tell whether a tensor of this name belongs to the adapter that is trained.

    >>> is_trained("q_proj.lora_A.default.weight"), is_trained("q_proj.lora_A.reference.weight")
    (True, False)
    """
    return "lora_" in name and f".{REFERENCE}." not in name


@contextmanager
def reading_reference(model: Any) -> Iterator[None]:
    """Read a model with adapters as its reference: the trained one off, an SFT adapter on.

    Switching on and off flips which tensors have gradients, so nothing may be read so between a forward pass
    and its backward pass.
    """
    if REFERENCE not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    _switch_on(model, [REFERENCE])
    try:
        yield
    finally:
        _switch_on(model, [REFERENCE, TRAINED])


def without_adapters(model: nn.Module) -> nn.Module:
    """Return a copy of the reference as a plain model: no trained adapter, an SFT adapter merged."""
    twin: Any = copy.deepcopy(model)
    if not hasattr(twin, "peft_config"):
        return twin
    if REFERENCE in twin.peft_config:
        return twin.merge_and_unload(adapter_names=[REFERENCE])
    return twin.unload()


def restore_weights(model: nn.Module, directory: Path) -> None:
    """Put the weights saved below ``directory`` back into ``model``: the trained adapter alone if it has one.

    Raises
    ------
    InputError
        When the folder's tensors are not just those of the model.
    """
    from peft import set_peft_model_state_dict

    if hasattr(model, "peft_config"):
        result = set_peft_model_state_dict(model, load_file(directory / "adapter_model.safetensors"))
        unexpected, missing = result.unexpected_keys, [k for k in result.missing_keys if is_trained(k)]
    else:
        missing, unexpected = load_model_file(model, directory / "model.safetensors", strict=False)
    if unexpected:
        raise InputError(
            f"{directory}: {len(unexpected)} tensors there are not of this model, e.g. {unexpected[0]}"
        )
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} tensors of the model are not there, e.g. {min(missing)}"
        )
