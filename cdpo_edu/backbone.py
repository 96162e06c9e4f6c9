"""Building and loading causal language models and their tokenizers: device, bits and dtype in one place.

Tiny models are built from their configuration and need no download. With `adapters` and `training` this is
where transformers, peft and bitsandbytes come in. Weights are read from safetensors alone, and code that lies
beside a model runs only where the user named that model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    modeling_utils,
)
from transformers.utils import logging

from .bars import turned_off
from .types import InputError

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
BITS = (32, 16, 8, 4)
PICKS_POSITIONS = hasattr(modeling_utils, "slice_logits_to_keep")
"""Whether ``logits_to_keep`` may be a boolean mask (B, T); older transformers took columns only."""


def best_device() -> torch.device:
    """Return the GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(bits: int, device: torch.device) -> torch.dtype:
    """Return the floating type to compute in: float32 on a CPU, else bfloat16 where the card has it.

    `torch.cuda.is_bf16_supported` says yes to cards that only emulate it, so the compute capability
    decides: 8.0 and above bfloat16, below it float16.
    """
    if bits == 32 or device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word, words parted by spaces."""
    vocabulary = {word: i for i, word in enumerate([PAD, BOS, EOS, UNK, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrapped(core)


def bpe_tokenizer(texts: list[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer trained on ``texts``: any text round-trips exactly."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, UNK],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    core.train_from_iterator(texts, trainer)
    return _wrapped(core)


def _wrapped(core: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(
    tokenizer: Any, *, hidden: int, layers: int, seed: int, positions: int = 1024
) -> LlamaForCausalLM:
    """Return a Llama of random float32 weights, ``hidden`` a multiple of 16, on the best device."""
    if hidden % 16:
        raise InputError(f"hidden must be a multiple of 16, not {hidden}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.to(best_device())


def load_tokenizer(name: str, *, trust_remote_code: str | None = None) -> Any:
    """Return the tokenizer of a model, with a padding token (the end token where it has none)."""
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code == name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, *, bits: int = 32, trust_remote_code: str | None = None) -> nn.Module:
    """Return a causal model in 32, 16, 8 or 4 bits (nf4, double quantisation) on the best device.

    Parameters
    ----------
    trust_remote_code : str, optional
        The name of the model whose own code may run. Only this very model's does.

    Raises
    ------
    InputError
        When ``bits`` is none of these, or the model cannot be found, has no safetensors file, or is made of
        code of its own that nobody trusted by name.
    """
    if bits not in BITS:
        raise InputError(f"bits must be one of 32, 16, 8 or 4, not {bits}")
    device = best_device()
    with _refused(name), no_bars() if turned_off() else nullcontext():
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=compute_dtype(bits, device),
            quantization_config=quantisation(bits, device),
            device_map={"": str(device)},
            use_safetensors=True,
            trust_remote_code=trust_remote_code == name,
            output_loading_info=True,
        )
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            # Where the CPU has AVX512-BF16, reading a 4-bit layer once would repack its weight for a bfloat16
            # kernel without a gradient: the adapters below it would then silently stop learning.
            part.support_avx512bf16_for_cpu = False
    if bits < 16 and device.type == "cpu":
        _let_go_of_the_file(model)
    return _complete(model, report, name)


def _let_go_of_the_file(model: nn.Module) -> None:
    """Copy what was not packed: as a view of the checkpoint it would keep all of the file in memory."""
    for weight in model.parameters():
        if weight.dtype == torch.float32:
            weight.data = weight.data.clone()


def quantisation(bits: int, device: torch.device) -> BitsAndBytesConfig | None:
    """Return how weights are packed: 4 bits are nf4 with double quantisation; None at 16 and 32."""
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    if bits == 4:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype(4, device),
        )
    return None


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Turn what transformers says of a model that it will not read into one sentence with its remedy."""
    try:
        yield
    except OSError as error:
        if any(Path(name).glob("*.bin")) or "safetensors" in str(error):
            raise InputError(
                f"model {name!r} has no safetensors file. A .bin file is a pickle, which can run code when "
                "it is read, so it is not read: take a safetensors version of the model, or, where you trust "
                f"it, convert it once: AutoModelForCausalLM.from_pretrained({name!r}).save_pretrained(FOLDER)"
            ) from error
        raise InputError(f"model {name!r} was found neither as a folder nor on the hub ({error})") from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise InputError(
            f"model {name!r} is made of code of its own, which would run on this machine; read it, and if "
            f"you trust it say so by name: --trust-remote-code {name}"
        ) from error


def _complete(model: nn.Module, report: dict[str, Any], name: str) -> nn.Module:
    """Return the model, or refuse one whose file lacks weights: they would be random numbers in silence."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"model {name!r}: {len(missing)} weights are not in its file, e.g. {missing[0]}")
    return model


def full_distribution(tokenizer: Any, *, new_tokens: int, suppress: list[int] | None) -> GenerationConfig:
    """Return generation settings that sample the model's own distribution: temperature 1, nothing cut off."""
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        suppress_tokens=suppress or None,
    )


def save_settings(directory: Path, settings: dict[str, Any]) -> None:
    """Write ``policy.json``, what a saved policy needs beside its weights."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "policy.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep the bars of transformers' own reading and writing off the screen: small files need none."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_trunk(directory: str) -> nn.Module:
    """Return a transformer without its language-model head, float32, on the best device."""
    model, report = AutoModel.from_pretrained(
        directory, dtype=torch.float32, device_map={"": str(best_device())}, output_loading_info=True
    )
    return _complete(model, report, directory)
