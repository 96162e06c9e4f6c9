"""Small random causal models of the families that people use, built from their configurations."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

VOCABULARY = 128
SHAPE: dict[str, Any] = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
GPT2 = dict(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512)
WINDOW = dict(sliding_window=24, use_sliding_window=True, max_window_layers=0)
"""Shorter than the rows of the tests."""

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", SHAPE),
    "Qwen2": ("Qwen2", SHAPE),
    "Qwen3": ("Qwen3", SHAPE | dict(head_dim=8)),
    "Gemma": ("Gemma", SHAPE | dict(head_dim=8)),
    "Gemma 2": ("Gemma2", SHAPE | dict(head_dim=8)),
    "Gemma 3": ("Gemma3", SHAPE | dict(head_dim=8)),
    "Mistral": ("Mistral", SHAPE | dict(sliding_window=None)),
    "Phi-3": ("Phi3", SHAPE),
    "GPT-2": ("GPT2", GPT2 | dict(bos_token_id=1, eos_token_id=2)),
    "GPT-NeoX": ("GPTNeoX", SHAPE),
}
NAMES = {"GPT2": ("GPT2Config", "GPT2LMHeadModel"), "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM")}


def family(name: str, *, sharpness: float = 5.0, **changes: Any) -> nn.Module:
    """Return the family's model, its matrices ``sharpness`` times as large as they are drawn."""
    prefix, settings = FAMILIES[name]
    config, model = NAMES.get(prefix, (f"{prefix}Config", f"{prefix}ForCausalLM"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**settings | changes))
    with torch.no_grad():
        for weight in built.parameters():
            weight.mul_(sharpness if weight.ndim == 2 else 1.0)
    return built.eval()
