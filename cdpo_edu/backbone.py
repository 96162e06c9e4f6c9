"""Building and loading causal language models and their tokenizers: device, bits and LoRA in one place.

Tiny models are built from their configuration and need no download. With `training` this is where
transformers, peft and bitsandbytes come in.
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

from .adapters import check_adapted, check_targets, is_transposed
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


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer of a model, with a padding token (the end token where it has none)."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, *, bits: int = 32) -> nn.Module:
    """Return a causal model in 32, 16, 8 or 4 bits (nf4, double quantisation) on the best device.

    Raises
    ------
    InputError
        When ``bits`` is none of these, or the model cannot be found.
    """
    if bits not in BITS:
        raise InputError(f"bits must be one of 32, 16, 8 or 4, not {bits}")
    device = best_device()
    dtype = compute_dtype(bits, device)
    quantisation = {
        8: BitsAndBytesConfig(load_in_8bit=True),
        4: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    }.get(bits)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            quantization_config=quantisation,
            device_map={"": str(device)},
            use_safetensors=True,
            output_loading_info=True,
        )
    except OSError as error:
        raise InputError(f"model {name!r} was found neither as a folder nor on the hub ({error})") from error
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            # Where the CPU has AVX512-BF16, reading a 4-bit layer once would repack its weight for a bfloat16
            # kernel without a gradient: the adapters below it would then silently stop learning.
            part.support_avx512bf16_for_cpu = False
    return _complete(model, report, name)


def _complete(model: nn.Module, report: dict[str, Any], name: str) -> nn.Module:
    """Return the model, or refuse one whose file lacks weights: they would be random numbers in silence."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(f"model {name!r}: {len(missing)} weights are not in its file, e.g. {missing[0]}")
    return model


def without_adapters(model: nn.Module) -> nn.Module:
    """Return a copy of the base weights as a plain model, the adapters left behind."""
    twin = copy.deepcopy(model)
    return twin.unload() if hasattr(twin, "peft_config") else twin  # type: ignore[operator]


def with_lora(model: nn.Module, *, rank: int, seed: int, targets: list[str] | None = None) -> nn.Module:
    """Return the model frozen, with fresh float32 LoRA adapters on every linear layer but the head.

    A fresh adapter is the identity (its second factor is zero), so the policy starts exactly at the
    reference. Scaling alpha / rank is 2. ``targets`` are the last parts of layer names (``q_proj``); one that
    names no layer is refused, as is a layer left without its adapter.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    layers = check_targets(model, targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets or "all-linear",
        fan_in_fan_out=is_transposed(model),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), _peft_without_its_warning():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    check_adapted(adapted, layers)
    return adapted


@contextmanager
def _peft_without_its_warning() -> Iterator[None]:
    """Silence one warning: peft asks transformers for gradient checkpointing by the older of two names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def load_adapter(model: nn.Module, directory: Path, *, trainable: bool) -> nn.Module:
    """Return ``model`` with the adapter saved below ``directory``."""
    from peft import PeftModel, prepare_model_for_kbit_training

    if trainable and getattr(model, "is_quantized", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    with _peft_without_its_warning():
        return PeftModel.from_pretrained(model, str(directory), is_trainable=trainable)


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


def restore_weights(model: nn.Module, directory: Path) -> None:
    """Put the weights saved below ``directory`` back into ``model``: the adapters alone where it has any.

    Raises
    ------
    InputError
        When the folder's tensors are not just those of the model.
    """
    from peft import set_peft_model_state_dict

    if hasattr(model, "peft_config"):
        result = set_peft_model_state_dict(model, load_file(directory / "adapter_model.safetensors"))
        unexpected, missing = result.unexpected_keys, [k for k in result.missing_keys if "lora_" in k]
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
