"""Muon for the hidden matrices of a model, AdamW for the rest: one optimizer for the Trainer.

Muon replaces a matrix's momentum by the nearest matrix with equal singular values, so that a step moves every
direction and not only the few that the last batches asked for. Embeddings, output layer, norms and biases
have no such directions and stay with AdamW.

torch.optim.Muon takes the matrices one by one in bfloat16, which most CPUs compute slowly: it took a third of
a toy run's time. Here matrices of one shape step together in float32.

Left out: adapters and quantised models, which keep to AdamW; weight decay.

Reference: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; torch.optim.Muon.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW


class MuonAdamW(torch.optim.Optimizer):
    """Two optimizers that step together, one parameter group each.

    Parameters
    ----------
    model : nn.Module
    learning_rate : float
        Of AdamW, above 0.
    matrix_rate : float
        Of Muon, above 0; 0.01 is typical.
    """

    def __init__(self, model: nn.Module, *, learning_rate: float, matrix_rate: float) -> None:
        outer = {id(weight) for name in OUTER for weight in _named(model, name)}
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        matrices = [weight for weight in trained if weight.ndim == 2 and id(weight) not in outer]
        inner = {id(weight) for weight in matrices}
        rest = [weight for weight in trained if id(weight) not in inner]
        pieces: list[tuple[Any, Any, float]] = [
            (matrices, Muon, matrix_rate),
            (rest, partial(AdamW, weight_decay=0.0), learning_rate),
        ]
        self.parts = [kind(own, lr=rate) for own, kind, rate in pieces if own]
        super().__init__([{"params": own, "lr": rate} for own, _, rate in pieces if own], {})

    def state_dict(self) -> dict[str, Any]:
        """Return the moments of both and their learning rates."""
        return super().state_dict() | {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for part, own in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(own)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "parts"})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step both at the learning rates that the groups now have."""
        loss = None if closure is None else closure()
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()
        return loss


class Muon(torch.optim.Optimizer):
    """Nesterov momentum m, then W <- W - lr sqrt(max(1, rows/columns)) orthogonal(g + 0.95 (m - g)).

    m <- 0.95 m + 0.05 g; ``orthogonal`` is `nearest_orthogonal`. Equal to torch.optim.Muon but for rounding.
    """

    def __init__(self, matrices: list[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for weight in matrices:
            shapes.setdefault(weight.shape, []).append(weight)
        self.stacks = list(shapes.values())
        self.momenta = [torch.zeros(len(own), *own[0].shape, device=own[0].device) for own in self.stacks]

    def state_dict(self) -> dict[str, Any]:
        """Return the momenta, stack by stack."""
        return super().state_dict() | {"momenta": self.momenta}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for own, saved in zip(self.momenta, state_dict["momenta"], strict=True):
            own.copy_(saved)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "momenta"})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every matrix; one without a gradient counts as having gradient 0."""
        loss = None if closure is None else closure()
        for own, momentum in zip(self.stacks, self.momenta, strict=True):
            gradient = torch.stack(
                [torch.zeros_like(w) if w.grad is None else w.grad for w in own]
            ).float()  # (k, rows, columns)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = nearest_orthogonal(gradient.lerp(momentum, MOMENTUM))
            rows, columns = own[0].shape
            rate = self.param_groups[0]["lr"] * max(1.0, rows / columns) ** 0.5
            for weight, direction in zip(own, update, strict=True):
                weight.sub_(direction.to(weight.dtype), alpha=rate)
        return loss


MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of s -> a s + b s^3 + c s^5: it lifts singular values in (0, 1] towards 1 (Jordan et al.)."""


def nearest_orthogonal(matrices: Tensor) -> Tensor:
    """Return U S' V^T for each U S V^T of a stack (k, m, n), S' between 0.7 and 1.2: nearly all ones.

    Five Newton-Schulz steps on the matrix over its norm; singular values below about 1e-3 of it stay smaller.

    >>> nearest_orthogonal(torch.diag(torch.tensor([4.0, 2.0]))[None]).round(decimals=1)
    tensor([[[0.7000, 0.0000],
             [0.0000, 1.1000]]])
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


OUTER = ("embed", "head")
"""What the names of embeddings and output layers hold."""


def _named(model: nn.Module, part: str) -> list[nn.Parameter]:
    return [weight for name, weight in model.named_parameters() if part in name]
