"""Models as they come: checkpoints that are refused, adapters as reference, chat templates, four bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from cdpo_edu import adapters, backbone
from cdpo_edu.backbone import bpe_tokenizer, word_tokenizer
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.conversation import chat_ids, messages
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.pairs import Preferences
from cdpo_edu.preference_data import load_pairs
from cdpo_edu.types import InputError

DATA = Path(__file__).parent / "data"
WORDS = ["apple", "basil", "cream", "honey", "rice", "nuts", "sweet", "egg"]
X, Y0, Y1 = ["nuts sweet", "egg", "rice nuts"], ["honey", "cream apple", ""], ["apple", "rice", "basil egg"]
SHAPE = {"vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = {"intermediate_size": 64, "num_key_value_heads": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES: dict[str, Any] = {
    "llama": LlamaConfig(**SHAPE, **WIDE, **SPECIAL),
    "qwen2": Qwen2Config(**SHAPE, **WIDE, **SPECIAL),
    "qwen3": Qwen3Config(**SHAPE, **WIDE, **SPECIAL, head_dim=16),
    "gemma3": Gemma3TextConfig(**SHAPE, **WIDE, **SPECIAL, head_dim=16),
    "mistral": MistralConfig(**SHAPE, **WIDE, **SPECIAL),
    "phi3": Phi3Config(**SHAPE, **WIDE, **SPECIAL),
    "gpt2": GPT2Config(vocab_size=12, n_embd=32, n_layer=2, n_head=2, **SPECIAL),
    "neox": GPTNeoXConfig(**SHAPE, intermediate_size=64, **SPECIAL),
}


def folder(path: Path, family: str = "llama", *, sharp: float = 8.0) -> Path:
    """Write a random model of a family as the hub holds one, its weights ``sharp`` times as large."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(FAMILIES[family], dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(sharp if weight.ndim == 2 else 1)
    model.save_pretrained(path)
    word_tokenizer(WORDS).save_pretrained(path)
    return path


def load(path: Path, **given: Any) -> LanguageModelPolicy:
    settings: dict[str, Any] = {"budget": Budget(6, 3), "engine": Engine(4, 1e-2, 64)}
    return LanguageModelPolicy.load(path, **(settings | given))


def preferences(reference: LanguageModelPolicy) -> Preferences:
    ref_logp = torch.stack([reference.log_prob(X, Y0), reference.log_prob(X, Y1)], dim=1)
    return Preferences(X, Y0, Y1, ref_logp, torch.tensor([1.0, 0.0, 0.8]))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


# ---------------------------------------------------------------- what is not read


def test_a_checkpoint_of_pickles_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder(tmp_path)
    torch.save(AutoModelForCausalLM.from_pretrained(tmp_path).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no safetensors file.*save_pretrained"):
        load(tmp_path)


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path(__file__).with_name("ran").touch()
Path("{witness}").touch()


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a Llama that says it is of a kind of its own, with code that leaves a trace when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    path = folder(tmp_path / "own")
    (path / "own.py").write_text(CODE.format(witness=tmp_path / "ran"))
    config = json.loads((path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("trusted", [None, "another/model"])
def test_a_models_own_code_does_not_run_unless_it_is_named(own_code: Path, trusted: str | None) -> None:
    with pytest.raises(InputError, match=f"--trust-remote-code {own_code}"):
        load(own_code, trust_remote_code=trusted)
    assert not (own_code.parent / "ran").exists()


def test_a_model_trusted_by_name_runs_its_code(own_code: Path) -> None:
    policy = load(own_code, trust_remote_code=str(own_code))
    assert type(policy.model).__name__ == "OwnModel" and (own_code.parent / "ran").exists()


# ---------------------------------------------------------------- adapters


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_by_adapters_alone_and_without_a_reentrant_pass(
    family: str, tmp_path: Path
) -> None:
    """With activations kept and with them recomputed steps end in the same adapters, the base untouched."""
    folder(tmp_path, family)
    ends = []
    for checkpointing in (False, True):
        policy = LanguageModelPolicy(
            backbone.load_model(str(tmp_path)),
            word_tokenizer(WORDS),  # transformers would read Qwen's own kind of tokenizer from the folder
            budget=Budget(6, 3),
            engine=Engine(4, 1e-2, 64, checkpointing=checkpointing),
        ).with_lora(2)
        given, before = preferences(policy.frozen()), weights_of(policy.model)
        policy.fit(given, beta=0.5, steps=2, seed=0)
        ends.append(weights_of(policy.model))
        changed = moved(before, ends[-1])
        assert changed and all("lora_" in name for name in changed)
        assert {name for name in before if "lora_B" in name} <= changed
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-6) for name in ends[0])


def test_targets_that_match_are_adapted_and_no_others(tmp_path: Path) -> None:
    policy = load(folder(tmp_path), lora_rank=2, lora_targets=["q_proj", "v_proj"])
    names = {n.split(".lora_A")[0].rsplit(".", 1)[1] for n in weights_of(policy.model) if "lora_A" in n}
    assert names == {"q_proj", "v_proj"}


def test_a_target_that_matches_nothing_is_named_beside_those_that_do(tmp_path: Path) -> None:
    """GPT-2's fused c_attn is asked of a Llama: peft alone would train v_proj and say nothing."""
    folder(tmp_path)
    expected = (
        r"targets c_attn: no linear layer has that name; matched: v_proj 2; there are: down_proj, .*v_proj"
    )
    with pytest.raises(InputError, match=expected):
        load(tmp_path, lora_rank=2, lora_targets=["v_proj", "c_attn"])


def test_adapters_are_float32_whatever_the_base_is(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder(tmp_path), dtype=torch.bfloat16)
    adapted = adapters.with_lora(model, rank=2, seed=0)
    kinds = {("lora_" in name, weight.dtype) for name, weight in adapted.named_parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


# ---------------------------------------------------------------- an SFT adapter as reference


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """Fine-tune an adapter on a base and save it as peft does."""
    base = folder(tmp_path / "base")
    policy = load(base, lora_rank=2)
    policy.imitate(X, Y1, steps=10, seed=0)
    policy.model.save_pretrained(tmp_path / "sft")  # type: ignore[operator]
    return tmp_path / "sft"


@pytest.mark.parametrize("bits", [32, 4])
def test_a_fine_tuned_adapter_is_the_reference(tuned: Path, bits: int, tmp_path: Path) -> None:
    """It reads as base + adapter, stays so while the fresh one learns, and comes back with it from disk."""
    plain = backbone.load_model(adapters.base_of(tuned), bits=bits)
    by_peft = adapters._loaded(plain, tuned, "default", trainable=False)
    expected = LanguageModelPolicy(by_peft, word_tokenizer(WORDS), budget=Budget(6, 3)).log_prob(X, Y0)
    policy = load(tuned, bits=bits, lora_rank=2)
    reference = policy.frozen()
    assert torch.allclose(policy.log_prob(X, Y0), expected, atol=1e-5)
    assert torch.equal(reference.log_prob(X, Y0), policy.log_prob(X, Y0))
    before, name = weights_of(policy.model), reference.fingerprint
    policy.fit(preferences(reference), beta=0.5, steps=3, seed=0)
    changed = moved(before, weights_of(policy.model))
    assert changed == {name for name in before if "lora_" in name and ".default." in name}
    assert torch.allclose(reference.log_prob(X, Y0), expected, atol=1e-5) and reference.fingerprint == name
    after = policy.log_prob(X, Y0)
    assert not torch.allclose(after, expected, atol=1e-3)
    policy.save(tmp_path / "saved")
    loaded = LanguageModelPolicy.load(tmp_path / "saved")
    assert torch.equal(loaded.log_prob(X, Y0), after) and loaded.fingerprint == policy.fingerprint
    policy.fit(preferences(reference), beta=0.5, steps=1, seed=1)
    policy.restore(tmp_path / "saved")
    assert torch.equal(policy.log_prob(X, Y0), after)


def test_a_trained_adapter_beside_an_sft_one_is_still_no_reference(tuned: Path) -> None:
    policy = load(tuned, lora_rank=2)
    policy.fit(preferences(policy.frozen()), beta=0.5, steps=1, seed=0)
    with pytest.raises(InputError, match="already trained"):
        policy.frozen()


def test_a_plain_copy_of_the_reference_holds_the_sft_adapter(tuned: Path) -> None:
    policy = load(tuned, lora_rank=2)
    expected = policy.frozen().log_prob(X, Y0)
    merged = adapters.without_adapters(policy.model)
    plain = LanguageModelPolicy(merged, policy.tokenizer, budget=Budget(6, 3))
    assert not hasattr(plain.model, "peft_config")
    assert torch.allclose(plain.log_prob(X, Y0), expected, atol=1e-5)


def test_an_adapter_alone_is_not_enough_to_train(tuned: Path) -> None:
    with pytest.raises(InputError, match="give lora_rank"):
        load(tuned)


# ---------------------------------------------------------------- chat templates

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chat_policy(prompt: int = 12, **given: Any) -> LanguageModelPolicy:
    tokenizer = word_tokenizer(["<system>", "<user>", "<assistant>", "<end>", *WORDS])
    tokenizer.chat_template = TEMPLATE
    return LanguageModelPolicy.tiny(tokenizer, hidden=16, layers=1, budget=Budget(prompt, 3), **given)


def read(policy: LanguageModelPolicy, prompt: str) -> str:
    text: str = policy.tokenizer.decode(policy._prompt_ids([prompt])[0])
    return text


def test_a_prompt_is_a_user_turn_of_the_template_where_there_is_one() -> None:
    assert read(chat_policy(), "nuts sweet") == "<user> nuts sweet <end> <assistant>"


def test_the_template_can_be_left_out() -> None:
    assert read(chat_policy(chat=False), "nuts sweet") == "<bos> nuts sweet"


def test_a_dialogue_becomes_its_turns() -> None:
    prompt = "rice\n\nHuman: nuts\n\nAssistant: egg\n\nHuman: sweet\n\nAssistant:"
    expected = "<system> rice <end> <user> nuts <end> <assistant> egg <end> <user> sweet <end> <assistant>"
    assert read(chat_policy(40), prompt) == expected
    assert [turn["role"] for turn in messages(prompt)] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (11, "<user> nuts <end> <assistant> egg <end> <user> sweet rice <end> <assistant>"),
        (10, "<user> sweet rice <end> <assistant>"),
        (5, "<user> sweet rice <end> <assistant>"),
        (4, "<user> rice <end> <assistant>"),
    ],
)
def test_what_does_not_fit_is_the_oldest(room: int, expected: str) -> None:
    """Old turns first, then the start of the last turn; the template's own tokens stay whole."""
    prompt = "\n\nHuman: nuts\n\nAssistant: egg\n\nHuman: sweet rice\n\nAssistant:"
    assert read(chat_policy(room), prompt) == expected


def test_a_budget_below_the_templates_own_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="takes 3 tokens by itself, more than the prompt budget 2"):
        chat_policy(2)._prompt_ids(["rice"])


def test_a_template_that_refuses_names_the_way_out() -> None:
    policy = chat_policy()
    policy.tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(InputError, match="no system turns.*--plain-prompts"):
        policy._prompt_ids(["rice"])


def test_the_template_is_part_of_what_a_policy_is(tmp_path: Path) -> None:
    with_it, without = chat_policy(), chat_policy(chat=False)
    assert with_it.fingerprint != without.fingerprint
    assert with_it.truncated(["nuts " * 10, "nuts"], ["rice"]) == {"prompts": 1, "responses": 0}
    for policy in (with_it, without):
        policy.save(tmp_path / str(policy.chat))
        assert LanguageModelPolicy.load(tmp_path / str(policy.chat)).fingerprint == policy.fingerprint


def test_any_text_goes_through_a_byte_tokenizers_template() -> None:
    """The cut may fall inside a character: the row still fits, and ends in the template's own tokens."""
    tokenizer = bpe_tokenizer(["crème brûlée 寿司"], vocabulary=280)
    tokenizer.chat_template = TEMPLATE
    end = tokenizer("<assistant>", add_special_tokens=False)["input_ids"]
    for room in range(40, 60):
        (ids,) = chat_ids(tokenizer, ["寿司 crème 🍣" * 4], room=room)
        assert len(ids) <= room and ids[-len(end) :] == end


# ---------------------------------------------------------------- four bits, the whole loop


def test_four_bits_go_through_the_whole_loop_and_only_adapters_move(tmp_path: Path) -> None:
    """Constrained DPO on our own synthetic rows: every tensor of the base is bit for bit what it was."""
    pairs = load_pairs(str(DATA / "pku_saferlhf.jsonl")).split(seed=0, dual=0.4)
    path = tmp_path / "llama"
    tokenizer = bpe_tokenizer([str(text) for text in pairs.prompts], vocabulary=400)
    config = LlamaConfig(**SHAPE | {"vocab_size": len(tokenizer), "hidden_size": 64}, **WIDE, **SPECIAL)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    tokenizer.save_pretrained(path)
    policy = load(
        path, bits=4, lora_rank=4, budget=Budget(48, 16), engine=Engine(4, 1e-2, 64, checkpointing=True)
    )
    reference, before = policy.frozen(), weights_of(policy.model)

    def length(prompts: Any, responses: Any) -> Tensor:
        return torch.tensor([len(str(y)) / 20 for y in responses])

    def letters(prompts: Any, responses: Any) -> Tensor:
        return torch.tensor([str(y).count("e") / 4 for y in responses])

    scored = pairs.score(length, letters, reference)
    run = ConstrainedDPO(
        policy, beta=0.5, cost_limit_relative=0.05, rounds=2, steps=3, samples=2, early_stop=False, seed=0
    ).fit(scored)
    assert len(run.history_) == 3 and run.certificate_["status"] in ("feasible", "violated", "unknown")
    after = weights_of(policy.model)
    assert moved(before, after) == {name for name in before if "lora_" in name}
    assert any(weight.dtype == torch.uint8 for weight in before.values())
    assert all(weight.dtype == torch.float32 for name, weight in after.items() if "lora_" in name)
