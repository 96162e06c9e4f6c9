"""The weights of a saved policy, written as peft and transformers name them: one adapter, or one whole model.

A policy that was trained beside an SFT adapter is the base with *both* on. They become one adapter, because
whoever loads the first alone would get another policy without any sign of it:

    W + s1 B1 A1 + s2 B2 A2  =  W + [B1 B2] [s1 A1; s2 A2]            rank r1 + r2, scaling 1

Left out: tokenizer, generation settings and card (`run`, `card`).

Reference: Hu et al. 2022, arXiv 2106.09685, section 4.1 (scaling alpha / r).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import adapters, backbone
from ..types import InputError

BESIDE = "base"
"""Folder of the base within an export that stands alone."""

TAKEN = {".safetensors", ".json", ".py", ".jinja", ".model", ".txt", ".md"}
"""Endings of what belongs to a base model; pickles are none of it."""

OWN_FILES = ("policy.json", "adapter_config.json", "adapter_model.safetensors", "options.json", "sft.json")

PLAIN: dict[str, Any] = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layers_to_transform": None,
    "exclude_modules": None,
    "lora_bias": False,
}
"""What a LoRA adapter must be to be added to another one by its ranks."""


class Base(NamedTuple):
    """The model below the adapters: its name, whether that is a folder here, and how it is read."""

    name: str
    folder: bool
    bits: int
    code: bool
    """Whether the model's own code was trusted."""


def base_of(policy: Path, settings: dict[str, Any]) -> Base:
    """Return the base of a saved policy with adapters."""
    origin = settings["origin"] or {"base": str(policy / "base"), "bits": 32}
    trusted = origin.get("trust_remote_code") == origin["base"]
    name = str(origin["base"])
    folder = Path(name).is_dir() or Path(name).is_absolute() or name.startswith(".")
    return Base(name, folder, int(origin["bits"]), trusted)


def write_adapter(policy: Path, out: Path, name: str) -> None:
    """Write one adapter for the model ``name``: the trained one, with an SFT adapter taken into it.

    Raises
    ------
    InputError
        When the SFT adapter is of a kind that cannot be added by its ranks.
    """
    config, tensors = _adapter(policy)
    if (policy / adapters.REFERENCE).is_dir():
        config, tensors = joined(_adapter(policy / adapters.REFERENCE), (config, tensors))
    config["base_model_name_or_path"] = name
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})


def _adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return config, load_file(folder / "adapter_model.safetensors")


def joined(
    first: tuple[dict[str, Any], dict[str, Tensor]], second: tuple[dict[str, Any], dict[str, Tensor]]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return two adapters of one model as one, each configuration and tensors; a layer of one alone is kept.

    Ranks 1 and 1 with scalings 2 and 1: A = [2 A1; A2], B = [B1 B2].

    >>> def one(a, b, alpha):
    ...     tensors = {"q.lora_A.weight": torch.tensor([[a]]), "q.lora_B.weight": torch.tensor([[b]])}
    ...     return {"peft_type": "LORA", "r": 1, "lora_alpha": alpha, "target_modules": ["q"]}, tensors
    >>> config, tensors = joined(one(1.0, 5.0, 2), one(3.0, 7.0, 1))
    >>> [tensors[f"q.lora_{k}.weight"].flatten().tolist() for k in "AB"], config["r"], config["lora_alpha"]
    ([[2.0, 3.0], [5.0, 7.0]], 2, 2)
    """
    for config, tensors in (first, second):
        _require_plain(config, tensors)
    ranks = [config["r"] for config, _ in (first, second)]
    layers = sorted({name.rsplit(".lora_", 1)[0] for _, tensors in (first, second) for name in tensors})
    made: dict[str, Tensor] = {}
    for layer in layers:
        down, up = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
        parts = [(config, tensors) for config, tensors in (first, second) if down in tensors]
        a = torch.cat([_scaling(config) * tensors[down].float() for config, tensors in parts])
        b = torch.cat([tensors[up].float() for _, tensors in parts], dim=1)
        lacking = sum(ranks) - len(a)  # a layer that one of the two left alone: rows of nought
        made[down] = torch.cat([a, a.new_zeros(lacking, a.shape[1])])
        made[up] = torch.cat([b, b.new_zeros(b.shape[0], lacking)], dim=1)
    targets = sorted({*first[0]["target_modules"], *second[0]["target_modules"]})
    both = {"r": sum(ranks), "lora_alpha": sum(ranks), "use_rslora": False, "target_modules": targets}
    return second[0] | both, made


def _scaling(config: dict[str, Any]) -> float:
    r = config["r"]
    return float(config["lora_alpha"]) / (r**0.5 if config.get("use_rslora") else r)


def _require_plain(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    odd = [name for name, value in PLAIN.items() if (config.get(name) or value or None) != (value or None)]
    if not isinstance(config["target_modules"], list):
        odd.append("target_modules")
    odd += sorted({n for n in tensors if not n.endswith((".lora_A.weight", ".lora_B.weight"))})[:1]
    if config["peft_type"] != "LORA" or odd:
        raise InputError(
            "export: the SFT adapter that this policy was trained beside is no plain LoRA adapter "
            f"({', '.join(odd) or config['peft_type']}), so the two cannot be written as one; --merged can"
        )


def write_merged(policy: Path, base: Base, out: Path) -> str:
    """Write base and adapters as one plain model; return the type of number that it was merged in.

    Packed weights are unpacked first, to the very numbers that the adapters were trained on. In float32 the
    merged policy differs by rounding; in 16 bits each weight is rounded once more.
    """
    with backbone.no_bars():
        model: Any = backbone.load_model(
            base.name, bits=base.bits, trust_remote_code=base.name if base.code else None
        )
        if base.bits < 16:
            model = model.dequantize()
        adapted: Any = adapters.load_adapter(model, policy)
        names = [name for name in (adapters.REFERENCE, adapters.TRAINED) if name in adapted.peft_config]
        merged = adapted.merge_and_unload(adapter_names=names)
        merged.save_pretrained(out)
    return str(next(merged.parameters()).dtype).removeprefix("torch.")


def copy_model(source: Path, out: Path) -> None:
    """Copy a model's files, no pickles, and none of this package's own.

    Raises
    ------
    InputError
        When the folder holds no safetensors file.
    """
    if not any(source.glob("*.safetensors")):
        raise InputError(f"{source}: the base model's weights are not there any more; bring them back")
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in TAKEN and path.name not in OWN_FILES:
            shutil.copyfile(path, out / path.name)
        elif path.is_file() and path.name.split(".")[0].upper() in ("LICENSE", "LICENCE", "NOTICE"):
            shutil.copyfile(path, out / path.name)
