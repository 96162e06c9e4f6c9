"""A model without its weights: built from its configuration, every tensor a shape and a type.

Left out: the passes through it (`phases`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from .. import adapters
from ..types import InputError
from .plan import Plan

BLOCK, GROUP = 64, 256
"""Weights that share a scale in nf4, and scales that share one when they are quantised in turn."""


class Sizes(NamedTuple):
    """Parameters and bytes of a model: its weights as they are packed, and what is trained."""

    parameters: int
    weights: int
    trained_parameters: int
    largest: int
    """Elements of the largest packed matrix, which is unpacked whole when it is used."""


def read_configuration(name: str, *, trust_remote_code: str | None = None) -> Any:
    """Return a model's configuration; nothing else of it is read.

    Raises
    ------
    InputError
        When there is none.
    """
    if adapters.is_adapter(Path(name)):
        name = adapters.base_of(Path(name))
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code == name)
    except OSError as error:
        raise InputError(f"model {name!r} was found neither as a folder nor on the hub ({error})") from error
    except ValueError as error:
        raise InputError(f"model {name!r}: its configuration cannot be read ({error})") from error


def shadow_model(plan: Plan) -> tuple[nn.Module, Sizes]:
    """Return the policy's model on the meta device, adapters included, and its sizes."""
    config = read_configuration(plan.model, trust_remote_code=plan.trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=plan.dtype, trust_remote_code=plan.trust_remote_code == plan.model
        )
    packed = packed_layers(model) if plan.bits < 16 else []
    kinds = {id(layer.weight): plan.bits for layer in packed}
    base = list(model.parameters())
    weights = sum(_bytes(weight, kinds.get(id(weight))) for weight in base)
    for layer in packed:
        layer.__class__ = Packed if isinstance(layer, nn.Linear) else PackedConv1D
    targets = None if plan.lora_targets is None else list(plan.lora_targets)
    if plan.lora_rank is not None:
        with torch.device("meta"):
            model = adapters.with_lora(model, rank=plan.lora_rank, seed=0, targets=targets)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    largest = max((layer.weight.numel() for layer in packed), default=0)
    return model, Sizes(sum(weight.numel() for weight in base), weights, trained, largest)


def shadow_trunk(name: str, *, trust_remote_code: str | None = None) -> tuple[nn.Module, int]:
    """Return a score model's trunk in float32 on the meta device, and its parameters."""
    folder = Path(name) / "trunk"
    config = read_configuration(str(folder) if folder.exists() else name, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        trunk = AutoModel.from_config(
            config, dtype=torch.float32, trust_remote_code=trust_remote_code == name
        )
    return trunk, sum(weight.numel() for weight in trunk.parameters())


def packed_layers(model: Any) -> list[Any]:
    """Return the layers that are quantised: linear ones but the head, and GPT-2's way of writing them."""
    head = model.get_output_embeddings()
    kinds = (nn.Linear, Conv1D)
    return [part for part in model.modules() if isinstance(part, kinds) and part is not head]


def _bytes(weight: Tensor, bits: int | None) -> int:
    """Return the bytes of a matrix: as it is, in 8 bits with a scale per row, or in nf4 with packed scales.

    nf4 has half a byte per weight, a byte per BLOCK of them, and four per GROUP of blocks.
    """
    count = weight.numel()
    if bits == 4:
        blocks = -(-count // BLOCK)
        return -(-count // 2) + blocks + 4 * -(-blocks // GROUP)
    if bits == 8:
        return count + 4 * weight.shape[0]
    return count * weight.element_size()


class Packed(nn.Linear):
    """A linear layer whose matrix is unpacked for every use and dropped again, as bitsandbytes does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        out: Tensor = _Unpacked.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias


class PackedConv1D(Conv1D):  # type: ignore[misc]
    """The same for GPT-2's layers, whose matrix lies the other way."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b."""
        out: Tensor = _Unpacked.apply(x, self.weight.T)  # type: ignore[no-untyped-call]
        return out + self.bias


class _Unpacked(torch.autograd.Function):
    """x W^T with nothing kept for the way back but the packed matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Unpack and multiply."""
        ctx.weight = weight
        return x @ weight.clone().T

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """Unpack again."""
        return slopes[0] @ ctx.weight.clone(), None


@contextmanager
def fake(model: nn.Module) -> Iterator[None]:
    """Turn the tensors of a meta model into fake ones on a CPU, and compute with such meanwhile."""
    with FakeTensorMode():
        made: dict[int, nn.Parameter] = {}
        for part in model.modules():
            for name, weight in part._parameters.items():
                if weight is not None and id(weight) not in made:
                    fresh = torch.empty(weight.shape, dtype=weight.dtype)
                    made[id(weight)] = nn.Parameter(fresh, requires_grad=weight.requires_grad)
                if weight is not None:
                    part._parameters[name] = made[id(weight)]
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        yield
