"""Muon and AdamW as one optimizer: who gets what, at which rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cdpo_edu.backbone import tiny_llama, word_tokenizer
from cdpo_edu.optimizers import Muon, MuonAdamW, nearest_orthogonal
from cdpo_edu.scorers import ScoreNet


def model() -> nn.Module:
    built: nn.Module = tiny_llama(word_tokenizer(["rice", "bean"]), hidden=16, layers=1, seed=0)
    return built


def stepped(optimizer: torch.optim.Optimizer, built: nn.Module, seed: int = 0) -> None:
    """One step on fixed gradients."""
    generator = torch.Generator().manual_seed(seed)
    for weight in built.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()


def test_hidden_matrices_and_nothing_else_go_to_muon() -> None:
    built = model()
    names = {id(weight): name for name, weight in built.named_parameters()}
    matrices, rest = (
        [names[id(weight)] for weight in group["params"]]
        for group in MuonAdamW(built, learning_rate=1e-3, matrix_rate=1e-2).param_groups
    )
    assert len(matrices) == 7 and all("layers.0" in name and "norm" not in name for name in matrices)
    assert sorted(matrices + rest) == sorted(names.values())
    assert any("embed" in name for name in rest) and any("norm" in name for name in rest)


def test_it_steps_as_the_two_optimizers_of_torch_do_apart() -> None:
    """Torch's own Muon works in bfloat16: two decimals of a direction, times three steps of 0.01."""
    ours, theirs = model(), model()
    optimizer = MuonAdamW(ours, learning_rate=1e-3, matrix_rate=1e-2)
    inner = [w for n, w in theirs.named_parameters() if w.ndim == 2 and "layers" in n]
    outer = [w for n, w in theirs.named_parameters() if w.ndim != 2 or "layers" not in n]
    apart = (
        torch.optim.Muon(inner, lr=1e-2, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=1e-3, weight_decay=0.0),
    )
    for seed in range(3):
        stepped(optimizer, ours, seed)
        for part in apart:
            stepped(part, theirs, seed)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=3e-4 if "layers" in name and one.ndim == 2 else 0), (
            name
        )


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 12), (2, 12, 5)])
def test_the_nearest_orthogonal_matrix_has_the_singular_vectors_of_its_own(shape: tuple[int, ...]) -> None:
    """Against torch's SVD: U^T X V is diagonal, its entries near 1."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ nearest_orthogonal(matrices) @ vh.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inner, torch.diag_embed(values), atol=1e-4)
    assert values.min() > 0.5 and values.max() < 1.3


def test_a_matrix_without_gradient_rests() -> None:
    weight = nn.Parameter(torch.eye(2))
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight, torch.eye(2))


def test_a_schedule_reaches_both() -> None:
    built = model()
    before = [weight.detach().clone() for weight in built.parameters()]
    optimizer = MuonAdamW(built, learning_rate=1e-3, matrix_rate=1e-2)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    stepped(optimizer, built)
    assert all(torch.equal(a, b) for a, b in zip(before, built.parameters(), strict=True))


def test_frozen_weights_stay_out() -> None:
    built = model()
    for weight in built.parameters():
        weight.requires_grad = weight.ndim == 1
    (group,) = MuonAdamW(built, learning_rate=1e-3, matrix_rate=1e-2).param_groups
    assert all(weight.ndim == 1 for weight in group["params"])


def test_the_head_of_a_score_model_is_no_hidden_matrix() -> None:
    """Its one row would be moved by equal steps whatever it has to learn, and scores would stay small."""
    net = ScoreNet(model().get_submodule("model"))
    matrices, rest = MuonAdamW(net, learning_rate=1e-3, matrix_rate=1e-2).param_groups
    assert len(matrices["params"]) == 7
    assert any(weight is net.head.weight for weight in rest["params"])
