"""Every family takes adapters on all its linear layers, and a name that matches nothing is refused."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES, family
from torch import nn

from cdpo_edu.adapters import with_lora
from cdpo_edu.lora_targets import check_adapted, linear_layers
from cdpo_edu.reading import cannot_share
from cdpo_edu.types import InputError

PER_LAYER = {"GPT-2": 4, "GPT-NeoX": 4, "Phi-3": 4}
"""Linear layers of each of two transformer layers; the others have q, k, v, o, gate, up, down."""


@pytest.mark.parametrize("name", FAMILIES)
def test_all_linear_layers_of_a_family_get_an_adapter(name: str) -> None:
    """Fresh ones change nothing, and the model may still share prompts."""
    model, ids = family(name), torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    adapted = with_lora(model, rank=2, seed=0)
    pairs = [n for n, w in adapted.named_parameters() if "lora_A" in n and w.requires_grad]
    assert len(pairs) == 2 * PER_LAYER.get(name, 7)
    assert torch.allclose(adapted.eval()(ids).logits, before, atol=1e-5)
    assert cannot_share(adapted, reach=64) is None


def test_a_target_that_matches_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="c_attn: no linear layer.*matched: q_proj 2; there are: down_proj,"):
        with_lora(family("Llama"), rank=2, seed=0, targets=["q_proj", "c_attn"])


def test_named_targets_alone_get_adapters() -> None:
    adapted = with_lora(family("Llama"), rank=2, seed=0, targets=["q_proj", "mlp.down_proj"])
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(trained) == 8 and all("q_proj" in name or "down_proj" in name for name in trained)


def test_a_layer_left_bare_is_noticed() -> None:
    """One layer more than adapters were made for."""
    model = family("Llama")
    layers = linear_layers(model)
    assert len(layers) == 14 and not any("head" in name for name in layers)
    adapted = with_lora(model, rank=2, seed=0)
    check_adapted(adapted, layers)
    with pytest.raises(InputError, match="14 of 15 layers matched, not model.extra"):
        check_adapted(adapted, [*layers, "model.extra"])


def test_an_untied_head_is_left_alone_and_counted_out() -> None:
    model = family("Llama", tie_word_embeddings=False)
    head = model.get_output_embeddings()  # type: ignore[operator]
    assert isinstance(head, nn.Linear) and "lm_head" not in linear_layers(model)
    adapted = with_lora(model, rank=2, seed=0)
    assert not any("lm_head" in name for name, weight in adapted.named_parameters() if weight.requires_grad)
