"""The prediction of memory: what is counted, what weights take, what is measured, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config
from typer.testing import CliRunner

from cdpo_edu import presets
from cdpo_edu.backbone import bpe_tokenizer, load_model
from cdpo_edu.cli import app
from cdpo_edu.memory import Plan, Prediction, fits, predict
from cdpo_edu.memory import presets as table
from cdpo_edu.memory.hours import Probe, Work, disk, predicted_seconds
from cdpo_edu.memory.ledger import Ledger
from cdpo_edu.memory.measure import measure
from cdpo_edu.memory.phases import training
from cdpo_edu.memory.plan import MIB
from cdpo_edu.memory.shadow import fake, shadow_model
from cdpo_edu.scorers import CostModel, RewardModel, Swapped
from cdpo_edu.types import InputError

SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = LlamaConfig(
    vocab_size=400,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    **SPECIAL,
)


def saved(path: Path, config: Any) -> str:
    """Write a random model and a byte tokenizer as the hub holds them."""
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    tokens = min(config.vocab_size, 400)
    bpe_tokenizer(["rice and honey with nuts and egg"], vocabulary=tokens).save_pretrained(path)
    return str(path)


@pytest.fixture
def llama(tmp_path: Path) -> str:
    return saved(tmp_path / "llama", LLAMA)


# ---------------------------------------------------------------- the ledger


def test_the_ledger_counts_what_autograd_keeps() -> None:
    """x (8 rows of 16) through a frozen 16 x 32 layer and relu: 8 * 32 floats out, as many after relu, which
    keeps its own result; the layer keeps nothing. 2,048 bytes; the intermediate is gone."""
    x, layer = torch.zeros(8, 16), torch.nn.Linear(16, 32, bias=False).requires_grad_(False)
    x.requires_grad_(True)
    with Ledger([x, layer.weight]) as ledger:
        out = layer(x).relu()
        assert ledger.now == 8 * 32 * 4
        assert ledger.peak == 2 * 8 * 32 * 4
    del out
    assert ledger.now == 0


def test_a_shadow_counts_what_the_real_model_holds(llama: str) -> None:
    """The same pass through fake tensors and through real ones: byte for byte the same peak."""
    for checkpointing in (False, True):
        plan = Plan(llama, batch_size=2, prompt=12, response=6, checkpointing=checkpointing)
        model, _ = shadow_model(plan)
        with fake(model):
            expected = training(model, plan)
        real = training(_with_adapters(llama), plan)
        assert real == expected


def _with_adapters(name: str) -> torch.nn.Module:
    from cdpo_edu.adapters import with_lora

    return with_lora(load_model(name), rank=8, seed=0)


def test_checkpointing_keeps_less_and_a_larger_batch_more(llama: str) -> None:
    plan = Plan(llama, batch_size=4, prompt=24, response=12)
    plain, fewer = predict(plan), predict(plan._replace(checkpointing=True))
    assert fewer.phase("train").activations < plain.phase("train").activations / 3
    half = predict(plan._replace(micro_batch=2))
    assert half.phase("train").activations == pytest.approx(plain.phase("train").activations / 2, rel=0.01)


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_weights_take_what_was_predicted(bits: int, family: str, tmp_path: Path) -> None:
    """Every tensor of the loaded model, scales of scales included, to 1 %; tied ones once."""
    config = (
        LLAMA if family == "llama" else GPT2Config(vocab_size=400, n_embd=64, n_layer=2, n_head=4, **SPECIAL)
    )
    name = saved(tmp_path, config)
    model = load_model(name, bits=bits)
    held: dict[int, int] = {}
    for weight in model.parameters():
        tensors = [weight.data]
        state = getattr(weight, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.state2.absmax]
        if getattr(weight, "SCB", None) is not None:
            tensors.append(weight.SCB)  # type: ignore[attr-defined]
        held |= {t.data_ptr(): t.numel() * t.element_size() for t in tensors}
    assert shadow_model(Plan(name, bits=bits))[1].weights == pytest.approx(sum(held.values()), rel=0.01)


def test_a_quarter_byte_more_per_weight_would_be_seen(llama: str) -> None:
    """4 bits: 32 x 64 embedding tied 400 x 64 floats; 2 layers of packed matrices at 0.5 + 1/64 + 4/16384."""
    packed = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    floats = 400 * 64 + 5 * 64
    expected = 4 * floats + packed * (0.5 + 1 / 64)
    assert shadow_model(Plan(llama, bits=4))[1].weights == pytest.approx(expected, rel=0.001)


def test_what_is_trained_is_counted(llama: str) -> None:
    """Rank 8 on q, o (64-64), k, v (64-32), gate, up, down (64-128), twice."""
    one = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128)
    assert shadow_model(Plan(llama))[1].trained_parameters == 8 * 2 * one


def test_a_prediction_reads_no_weight(llama: str) -> None:
    (Path(llama) / "model.safetensors").unlink()
    assert predict(Plan(llama, bits=4)).peak.total > 0


# ---------------------------------------------------------------- measured, in a fresh process

MODELS = {
    "llama": LlamaConfig(
        vocab_size=8192,
        hidden_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        intermediate_size=1376,
        tie_word_embeddings=True,
        **SPECIAL,
    ),
    "qwen3": Qwen3Config(
        vocab_size=16384,
        hidden_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        intermediate_size=1024,
        head_dim=64,
        tie_word_embeddings=False,
        **SPECIAL,
    ),
    "gpt2": GPT2Config(vocab_size=4096, n_embd=384, n_layer=4, n_head=6, **SPECIAL),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("bits", [32, 4])
def test_the_peak_is_predicted_within_15_percent(family: str, bits: int, tmp_path: Path) -> None:
    name = saved(tmp_path / family, MODELS[family])
    plan = Plan(name, bits=bits, batch_size=4, eval_rows=8, checkpointing=bits == 4)
    measured, found = measure(plan), predict(plan)
    assert set(measured) == {phase.name for phase in found.phases}
    assert found.peak.total == pytest.approx(max(measured.values()), rel=0.15), measured


# ---------------------------------------------------------------- what fits


def test_a_run_that_fits_is_let_through(llama: str) -> None:
    assert isinstance(fits.require_room(Plan(llama), room=2**40), Prediction)


def test_the_cheapest_change_is_the_first_that_fits(llama: str) -> None:
    """No change before the one that is named fits, and it does."""
    plan = Plan(llama, batch_size=4, prompt=96, response=48, eval_rows=16)
    totals = [(option, predict(smaller).peak.total) for option, smaller in fits.changes(plan)]
    assert all(a >= b for (_, a), (_, b) in zip(totals, totals[1:], strict=False))
    room = totals[len(totals) // 2][1]
    expected = next(option for option, total in totals if total <= room)
    found = fits.cheapest(plan, room)
    assert found is not None and found[0] == expected
    with pytest.raises(InputError, match=f"the cheapest that fits: {expected}"):
        fits.require_room(plan, room)


def test_where_nothing_fits_it_says_so(llama: str) -> None:
    with pytest.raises(InputError, match="no setting .* is enough"):
        fits.require_room(Plan(llama), room=1 * MIB)


def test_the_tier_asks_first(llama: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the reference's folder is made."""
    monkeypatch.setattr(fits, "available", lambda device: 1 * MIB)
    rows = Path(__file__).parent / "data" / "pku_saferlhf.jsonl"
    options = ["--pairs", str(rows), "--model", llama, "--cost-limit-relative", "0.1"]
    result = CliRunner().invoke(app, ["train", "--tier", "lm", *options, "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, InputError) and "would need" in str(result.exception)
    assert not (tmp_path / "run" / "reference").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "32, 16, 8 or 4"),
        ({"bits": 4, "lora_rank": None}, "give a LoRA rank"),
        ({"micro_batch": 3}, "does not divide"),
        ({"eval_rows": 0}, "eval_rows must be at least 1"),
        ({"model": "/nowhere/at-all"}, "neither as a folder nor on the hub"),
    ],
)
def test_plans_that_cannot_be_are_refused(llama: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict(Plan(llama)._replace(**change))


# ---------------------------------------------------------------- score models


def scored(name: str, folder: Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    model, tokenizer = load_model(name), AutoTokenizer.from_pretrained(name)
    for kind in (RewardModel, CostModel):
        scorer = kind(model, tokenizer)
        torch.nn.init.normal_(scorer.net.head.weight)
        scorer.save(folder / kind.__name__)
    return RewardModel.load(folder / "RewardModel"), CostModel.load(folder / "CostModel")


def test_a_swapped_score_model_gives_the_same_numbers(llama: str, tmp_path: Path) -> None:
    for scorer in scored(llama, tmp_path):
        swapped = Swapped(type(scorer), tmp_path / type(scorer).__name__)
        expected: Tensor = scorer(["rice?", "nuts?"], ["honey", "egg and rice"])
        assert torch.equal(swapped(["rice?", "nuts?"], ["honey", "egg and rice"]), expected)
        assert expected[0] != expected[1]
        assert (swapped.anchored, swapped.fingerprint) == (scorer.anchored, scorer.fingerprint)
        assert not [value for value in vars(swapped).values() if hasattr(value, "net")]


def test_resident_score_models_are_there_all_the_time(llama: str, tmp_path: Path) -> None:
    scored(llama, tmp_path)
    folder = str(tmp_path / "RewardModel")
    plan = Plan(llama, reward=folder, cost=folder, prompt=12, response=6)
    trunk = 4 * sum(weight.numel() for weight in load_model(llama).parameters())
    assert predict(plan).phase("train").scorers == 2 * trunk
    swapped = predict(plan._replace(scorers="swapped"))
    assert (swapped.phase("train").scorers, swapped.phase("score cost").scorers) == (0, trunk)


# ---------------------------------------------------------------- hours, disk, presets, the command


def test_hours_are_passes_times_their_seconds() -> None:
    """3 rounds of 10 steps; 8 prompts x 4 answers, 4 times: 128 drawn, read and scored twice; 100 pairs."""
    work = Work(pairs=100, prompts=8, rounds=3, steps=10, samples=4)
    found = predicted_seconds(Plan("m", eval_rows=4, reward="r", cost="c"), work, Probe(2.0, 1.0, 3.0))
    read = 2 * 100 + 2 * 128 + 2 * (2 * 100 + 128)
    assert found == {"train": 60.0, "read": read / 4, "sample": 128 / 4 * 3}


def test_disk_holds_the_adapters_four_times(llama: str) -> None:
    plan, none = Plan(llama), Work(0, 0, 1, 1, 2)
    sizes = shadow_model(plan)[1]
    assert disk(plan, sizes, none) == 4 * 4 * sizes.trained_parameters


def test_the_smoke_preset_needs_what_its_table_says(tmp_path: Path) -> None:
    row = next(row for row in table.rows(tmp_path, names=["cpu-smoke"]))
    stated = presets.card_presets()["presets"]["cpu-smoke"]
    assert row.gib == pytest.approx(stated["gib"], rel=0.02)
    assert row.minutes == pytest.approx(stated["minutes_predicted"], rel=0.02)


@pytest.mark.slow
def test_every_preset_needs_what_its_table_says_and_leaves_a_tenth_of_its_card(tmp_path: Path) -> None:
    stated = presets.card_presets()["presets"]
    for row in table.rows(tmp_path):
        assert row.gib == pytest.approx(stated[row.name]["gib"], rel=0.02), row
        assert row.minutes == pytest.approx(stated[row.name]["minutes_predicted"], rel=0.02), row
        if row.name.endswith("GB"):
            assert row.gib < 0.9 * float(row.name.removesuffix("GB")) * 1e9 / 2**30


def test_options_win_over_a_preset() -> None:
    common = {"pairs": "x", "cost_limit": 0.0, "model": "m"}
    config = presets.configure("lm", preset="8GB", lora_rank=4, **common)
    assert (config.bits, config.micro_batch, config.checkpointing, config.lora_rank) == (4, 2, True, 4)
    with pytest.raises(InputError, match="cpu-smoke, 8GB, 16GB, 24GB, 80GB"):
        presets.configure("lm", preset="9GB", **common)


def test_the_command_prints_one_object(llama: str) -> None:
    options = ["--model", llama, "--bits", "4", "--batch-size", "2", "--device", "cuda", "--json"]
    result = CliRunner().invoke(app, ["memory", *options])
    found = json.loads(result.stdout)
    assert found["plan"]["bits"] == 4 and found["peak"] == max(p["total"] for p in found["phases"])
    assert found["disk"] > 0


def test_the_command_prints_a_table(llama: str) -> None:
    shown = CliRunner().invoke(app, ["memory", "--model", llama, "--batch-size", "2"]).stdout
    assert "peak: " in shown and "(predicted)" in shown and "disk: " in shown
