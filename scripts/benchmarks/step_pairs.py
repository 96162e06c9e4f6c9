"""What the benchmarks of the language-model step work on: preference pairs, a tokenizer, a small Llama.

The pairs are real rows where their folder is (CDPO_EDU_DATA, or ../shared/data beside the clone), else words
of a kitchen in rows of like length, drawn at random. Nothing is downloaded; the model's weights are random.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.pairs import Pairs
from cdpo_edu.preference_data import load_pairs

from .measured import CannotMeasure

VOCABULARY, RANK, BETA = 8192, 8, 0.1
BUDGET = Budget(192, 96)
ROOT = Path(__file__).resolve().parents[2]

SHAPES: dict[str, dict[str, int]] = {
    "tiny": dict(hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4),
    "0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14),
    "7b": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32),
}
"""tiny is 5 million parameters; the others are for a GPU."""


class Material(NamedTuple):
    """Pairs that fit the budget, where they come from, and the tokenizer made from that source."""

    pairs: Pairs
    source: str
    tokenizer: Any


def material(count: int, *, seed: int) -> Material:
    """Return ``count`` pairs drawn from those that fit `BUDGET`, prompts and answers parted by a space."""
    folder = Path(os.environ.get("CDPO_EDU_DATA", ROOT.parent / "shared" / "data")) / "dual-pairs"
    real = folder.is_dir()
    read = load_pairs(folder) if real else kitchen_pairs(800, seed=seed)
    prompts, y0, y1 = (
        [str(x).rstrip() for x in read.prompts],
        *([f" {y}" for y in part] for part in (read.y0, read.y1)),
    )
    tokenizer = bpe_tokenizer([*prompts, *y0, *y1], vocabulary=VOCABULARY)
    policy = encoder(tokenizer)
    fit = [
        i
        for i in range(len(prompts))
        if not any(policy.truncated([prompts[i]], [y0[i], y1[i]]).values()) and y0[i] != y1[i]
    ]
    if len(fit) < count:
        raise CannotMeasure(f"{count} pairs were asked for, {len(fit)} fit the budget; lower --pairs")
    random.Random(seed).shuffle(fit)
    chosen = fit[:count]
    pairs = Pairs(
        *([part[i] for i in chosen] for part in (prompts, y0, y1)),
        better=None if read.better is None else read.better[chosen],
        safer=None if read.safer is None else read.safer[chosen],
    )
    return Material(pairs, "dual-pairs, real rows" if real else "kitchen sentences, synthetic", tokenizer)


def encoder(tokenizer: Any) -> LanguageModelPolicy:
    """Return a policy for its tokens alone."""
    return LanguageModelPolicy.tiny(tokenizer, hidden=16, layers=1, budget=BUDGET)


def kitchen_pairs(count: int, *, seed: int) -> Pairs:
    """Return pairs of random words about a kitchen, about as long as published single-turn pairs."""
    draw = random.Random(seed)
    beginnings = "al ba car dill egg fen gar ha ki le mus nut oat pep qui ri sal to van wal".split()
    middles = [a + b for a in ("", "mo", "ri", "ta", "lo", "pa") for b in ("", "n", "s", "ve", "l")]
    words = [a + b + c for a in beginnings for b in middles for c in ("", "da", "ke", "ling", "ro", "th")]
    likely = [1 / (rank + 10) for rank in range(len(words))]
    draw.shuffle(words)

    def text(low: int, high: int) -> str:
        return " ".join(draw.choices(words, likely, k=draw.randint(low, high)))

    columns = [[text(low, high) for _ in range(count)] for low, high in ((30, 80), (12, 45), (12, 45))]
    labels = torch.tensor([[float(draw.random() < 0.5) for _ in range(count)] for _ in range(2)])
    return Pairs(*columns, better=labels[0], safer=labels[1])


def causal_model(shape: str, tokenizer: Any, *, seed: int) -> nn.Module:
    """Return a Llama of random weights: float32 on a CPU, bfloat16 on a GPU."""
    heads = SHAPES[shape]["num_attention_heads"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        max_position_embeddings=1024,
        tie_word_embeddings=shape != "7b",
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **SHAPES[shape],
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.to("cuda", torch.bfloat16) if torch.cuda.is_available() else model


def adapted(model: nn.Module, tokenizer: Any, *, batch: int, seed: int, **engine: Any) -> LanguageModelPolicy:
    """Return the policy around ``model`` with fresh adapters on every linear layer but the head."""
    settings = Engine(batch_size=batch, learning_rate=1e-4, **engine)
    return LanguageModelPolicy(model, tokenizer, budget=BUDGET, engine=settings).with_lora(RANK, seed=seed)
