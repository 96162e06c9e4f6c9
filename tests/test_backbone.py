"""Models and tokenizers: what is built, what is quantised, what a fresh adapter is, what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from cdpo_edu import adapters, backbone
from cdpo_edu.types import InputError

WORDS = ["apple", "basil", "cream"]
CPU = torch.device("cpu")


@pytest.fixture
def model() -> LlamaForCausalLM:
    return backbone.tiny_llama(backbone.word_tokenizer(WORDS), hidden=16, layers=1, seed=0)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.eval()(input_ids=torch.tensor([[1, 4, 5, 6]])).logits
    return out


# ---------------------------------------------------------------- device and dtype


@pytest.mark.parametrize(
    ("bits", "capability", "expected"),
    [
        (32, (9, 0), torch.float32),
        (16, (8, 0), torch.bfloat16),
        (16, (7, 5), torch.float16),
        (4, (8, 6), torch.bfloat16),
        (4, (7, 0), torch.float16),
    ],
)
def test_compute_dtype_follows_the_capability_of_the_card(
    bits: int, capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7.5 only emulates bfloat16, whatever `is_bf16_supported` says of it."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert backbone.compute_dtype(bits, torch.device("cuda")) == expected


@pytest.mark.parametrize("bits", backbone.BITS)
def test_a_cpu_computes_in_float32(bits: int) -> None:
    assert backbone.compute_dtype(bits, CPU) == torch.float32


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backbone.best_device().type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backbone.best_device().type == "cuda"


# ---------------------------------------------------------------- tokenizers


def test_one_token_per_word_after_four_special_ones() -> None:
    tokenizer = backbone.word_tokenizer(WORDS)
    assert tokenizer("basil apple tofu", add_special_tokens=False)["input_ids"] == [5, 4, 3]
    special = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert special == (0, 1, 2, 3)
    assert tokenizer.decode([5, 4, 2, 0], skip_special_tokens=True) == "basil apple"


@pytest.mark.parametrize(
    "text", ["plain", " two  spaces\n\n\ttabs ", "crème brûlée", "寿司 🍣", "a ,b 's .", ""]
)
def test_any_text_survives_the_byte_tokenizer(text: str) -> None:
    """Also text that it was not trained on."""
    tokenizer = backbone.bpe_tokenizer(["honey and almond", "honey cake"], vocabulary=300)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) <= 300


def test_byte_pairs_are_learned_from_the_text() -> None:
    """256 bytes and 4 special tokens leave room for merges; 'honey ' becomes fewer tokens than letters."""
    tokenizer = backbone.bpe_tokenizer(["honey honey honey"] * 3, vocabulary=280)
    assert len(tokenizer("honey", add_special_tokens=False)["input_ids"]) == 1


def test_a_tokenizer_without_padding_pads_with_its_end_token(tmp_path: Path) -> None:
    tokenizer = backbone.word_tokenizer(WORDS)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    loaded = backbone.load_tokenizer(str(tmp_path))
    assert loaded.pad_token_id == loaded.eos_token_id == 2


# ---------------------------------------------------------------- models


def test_equal_seeds_build_equal_models_and_leave_the_random_state_alone(model: LlamaForCausalLM) -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    tokenizer = backbone.word_tokenizer(WORDS)
    same, other = (backbone.tiny_llama(tokenizer, hidden=16, layers=1, seed=s) for s in (0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(same), logits(model))
    assert not torch.equal(logits(other), logits(model))


def test_a_tiny_model_has_the_shape_it_was_asked_for(model: LlamaForCausalLM) -> None:
    """Vocabulary 4 + 3; 16 wide; embedding and head are one matrix."""
    assert logits(model).shape == (1, 4, 7)
    assert model.config.num_hidden_layers == 1 and model.config.hidden_size == 16
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("hidden", [20, 8])
def test_a_width_that_heads_cannot_share_is_refused(hidden: int) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        backbone.tiny_llama(backbone.word_tokenizer(WORDS), hidden=hidden, layers=1, seed=0)


@pytest.mark.parametrize("bits", [0, 3, 64])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match="32, 16, 8 or 4"):
        backbone.load_model("anything", bits=bits)


def test_a_model_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither as a folder nor on the hub"):
        backbone.load_model(str(tmp_path / "absent"))


def test_a_saved_model_loads_bit_for_bit_in_float32(model: LlamaForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = backbone.load_model(str(tmp_path))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights_stay_near_the_originals(bits: int, tmp_path: Path) -> None:
    """Rounding moves the logits by less than their own spread, and the head not at all."""
    original = backbone.tiny_llama(backbone.word_tokenizer(WORDS), hidden=64, layers=1, seed=0)
    original.save_pretrained(tmp_path)
    loaded = backbone.load_model(str(tmp_path), bits=bits)
    layer = loaded.model.layers[0].mlp.up_proj  # type: ignore[union-attr, index]
    assert layer.weight.dtype == {4: torch.uint8, 8: torch.int8}[bits]  # type: ignore[union-attr]
    assert torch.equal(loaded.lm_head.weight, original.lm_head.weight)  # type: ignore[union-attr, arg-type]
    difference = (logits(loaded) - logits(original)).abs().max()
    assert 0 < difference < logits(original).std()


# ---------------------------------------------------------------- adapters


def test_every_linear_layer_but_the_head_gets_an_adapter(model: LlamaForCausalLM) -> None:
    """A Llama block has seven: q, k, v, o, gate, up, down."""
    layers = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    adapted = adapters.with_lora(model, rank=2, seed=0)
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    found = {name.removeprefix("base_model.model.").split(".lora_A")[0] for name in names}
    assert found == set(layers) - {"lm_head"} and len(found) == 7


def test_fresh_adapters_are_the_identity_and_alone_trainable(model: LlamaForCausalLM) -> None:
    before = logits(model)
    adapted = adapters.with_lora(model, rank=2, seed=0)
    assert torch.equal(logits(adapted), before)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name and p.dtype == torch.float32 for name, p in trained.items())


def test_the_adapter_adds_twice_b_times_a(model: LlamaForCausalLM) -> None:
    """W x + 2 B A x with the scaling alpha / rank = 2, on one layer by hand."""
    weight = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    adapted = adapters.with_lora(model, rank=2, seed=0)
    layer = adapted.get_base_model().model.layers[0].mlp.up_proj  # type: ignore[operator, union-attr, index]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.constant_(b, 0.5)
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(layer.eval()(x), x @ weight.T + 2 * x @ a.T @ b.T, atol=1e-5)


def test_adapters_repeat_with_their_seed_and_leave_the_random_state_alone(model: LlamaForCausalLM) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    three = [adapters.with_lora(copy.deepcopy(model), rank=2, seed=s).state_dict() for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    name = next(name for name in three[0] if "lora_A" in name)
    assert torch.equal(three[0][name], three[1][name])
    assert not torch.equal(three[0][name], three[2][name])


def test_weights_of_another_model_are_not_taken(model: LlamaForCausalLM, tmp_path: Path) -> None:
    tokenizer = backbone.word_tokenizer(WORDS)
    backbone.tiny_llama(tokenizer, hidden=16, layers=2, seed=0).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not of this model"):
        adapters.restore_weights(model, tmp_path)


def test_a_folder_with_too_few_weights_is_not_taken(model: LlamaForCausalLM, tmp_path: Path) -> None:
    """A two-layer model cannot be restored from one layer: the other would silently stay as it is."""
    tokenizer = backbone.word_tokenizer(WORDS)
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError):
        adapters.restore_weights(backbone.tiny_llama(tokenizer, hidden=16, layers=2, seed=1), tmp_path)


@pytest.mark.parametrize("rank", [None, 2])
def test_restored_weights_are_the_saved_ones(
    rank: int | None, model: LlamaForCausalLM, tmp_path: Path
) -> None:
    policy: nn.Module = model if rank is None else adapters.with_lora(model, rank=rank, seed=0)
    policy.save_pretrained(tmp_path)  # type: ignore[operator]
    before = logits(policy)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
    assert not torch.equal(logits(policy), before)
    adapters.restore_weights(policy, tmp_path)
    assert torch.equal(logits(policy), before)


# ---------------------------------------------------------------- settings


def test_generation_settings_say_the_whole_distribution() -> None:
    settings = backbone.full_distribution(backbone.word_tokenizer(WORDS), new_tokens=3, suppress=[4])
    assert (settings.do_sample, settings.temperature, settings.top_k, settings.top_p) == (True, 1.0, 0, 1.0)
    assert (settings.max_new_tokens, settings.eos_token_id, settings.pad_token_id) == (3, 2, 0)
    assert settings.suppress_tokens == [4]


def test_settings_are_written_as_json(tmp_path: Path) -> None:
    backbone.save_settings(tmp_path / "new" / "folder", {"budget": [4, 2]})
    assert json.loads((tmp_path / "new" / "folder" / "policy.json").read_text()) == {"budget": [4, 2]}
