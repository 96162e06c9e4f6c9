"""Published score models, written here tiny in their exact layout, score as a computation by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.published_scorers import BeaverScore, Classifier, beaver_text
from cdpo_edu.types import InputError

Array = NDArray[np.float64]
PROMPTS = ["Rice or beans?", "Tofu?"]
ANSWERS = ["Rice, with a little honey and basil.", "No."]
WIDTH, HEADS, VOCABULARY = 16, 2, 300


def tokenizer() -> PreTrainedTokenizerFast:
    """Return one that begins rows with its first token, as a Llama's does."""
    from tokenizers.processors import TemplateProcessing

    made = bpe_tokenizer([*PROMPTS, *ANSWERS], vocabulary=VOCABULARY)
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", made.bos_token_id)]
    )
    return made


def config(**more: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=256,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, **more,
    )  # fmt: skip


def tensors(*, bias: bool = True) -> dict[str, torch.Tensor]:
    """Return weights under the names of the published files."""
    torch.manual_seed(7)
    layer, inner = "model.layers.0.", 24
    shapes = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,),
        layer + "input_layernorm.weight": (WIDTH,), layer + "post_attention_layernorm.weight": (WIDTH,),
        **{f"{layer}self_attn.{k}_proj.weight": (WIDTH, WIDTH) for k in "qkvo"},
        layer + "mlp.gate_proj.weight": (inner, WIDTH), layer + "mlp.up_proj.weight": (inner, WIDTH),
        layer + "mlp.down_proj.weight": (WIDTH, inner), "score_head.weight": (1, WIDTH),
    }  # fmt: skip
    made = {name: 0.5 * torch.randn(shape) for name, shape in shapes.items()}
    return made | ({"score_head.bias": torch.tensor([0.25])} if bias else {})


def write(
    folder: Path, weights: dict[str, torch.Tensor], *, architecture: str = "LlamaForScore", **said: Any
) -> Path:
    """Write a checkpoint as it is published: configuration, one safetensors file, tokenizer."""
    folder.mkdir()
    record = config().to_dict() | {"architectures": [architecture], "score_dim": 1} | said
    (folder / "config.json").write_text(json.dumps(record))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer().save_pretrained(folder)
    return folder


def rms(x: Array, weight: Array) -> Array:
    return weight * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)


def rotated(x: Array) -> Array:
    """Rotate (tokens, heads, size) by position: halves of a head are the two coordinates."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] / 10000.0 ** (np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def by_hand(weights: dict[str, torch.Tensor], ids: list[int]) -> float:
    """Return the head on the last token's normed state, from the raw tensors by numpy alone."""
    w = {name.removeprefix("model.layers.0."): t.double().numpy() for name, t in weights.items()}
    x = w["model.embed_tokens.weight"][ids]
    state = rms(x, w["input_layernorm.weight"])
    q, k, v = ((state @ w[f"self_attn.{name}_proj.weight"].T).reshape(len(ids), HEADS, -1) for name in "qkv")
    logits = np.einsum("ihd,jhd->hij", rotated(q), rotated(k)) / np.sqrt(WIDTH // HEADS)
    logits[:, np.triu(np.ones((len(ids), len(ids)), dtype=bool), 1)] = -np.inf
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    x = x + np.einsum("hij,jhd->ihd", share, v).reshape(len(ids), WIDTH) @ w["self_attn.o_proj.weight"].T
    state = rms(x, w["post_attention_layernorm.weight"])
    gate = state @ w["mlp.gate_proj.weight"].T
    x = x + (gate / (1 + np.exp(-gate)) * (state @ w["mlp.up_proj.weight"].T)) @ w["mlp.down_proj.weight"].T
    end = rms(x, w["model.norm.weight"])[-1] @ w["score_head.weight"][0]
    return float(end + (w["score_head.bias"][0] if "score_head.bias" in w else 0.0))


def expected(weights: dict[str, torch.Tensor]) -> list[float]:
    """Return the raw scores of the two rows, each read alone: template, answer at once, end token."""
    words = tokenizer()
    texts = [
        f"BEGINNING OF CONVERSATION: USER: {x} ASSISTANT:{y}<eos>"
        for x, y in zip(PROMPTS, ANSWERS, strict=True)
    ]
    rows = [[1, *words(text, add_special_tokens=False)["input_ids"]] for text in texts]
    assert all(row[-1] == 2 for row in rows) and len(rows[0]) != len(rows[1])
    return [by_hand(weights, row) for row in rows]


# ---------------------------------------------------------------- beaver


@pytest.mark.parametrize("architecture", ["LlamaForScore", "LlamaModelForScore"])
@pytest.mark.parametrize("role", ["reward", "cost"])
def test_a_beaver_model_scores_as_by_hand(tmp_path: Path, role: str, architecture: str) -> None:
    weights = tensors()
    folder = write(tmp_path / "m", weights, architecture=architecture, score_type=role)
    model = BeaverScore(str(folder), role)
    scores = model(PROMPTS, ANSWERS)
    assert scores.tolist() == pytest.approx(expected(weights), abs=1e-5)
    assert scores.dtype == torch.float64 and abs(scores[0] - scores[1]) > 1e-2
    assert model.anchored is (role == "cost")


@pytest.mark.parametrize("where", ["buffers", "configuration"])
@pytest.mark.parametrize("role", ["reward", "cost"])
def test_its_normaliser_shifts_a_reward_and_only_scales_a_cost(tmp_path: Path, role: str, where: str) -> None:
    """Mean 0.7 and variance 4: (s - 0.7)/2 and s/2."""
    weights, said = tensors(), {}
    if where == "buffers":
        weights |= {
            "normalizer.mean": torch.tensor([0.7]), "normalizer.var": torch.tensor([4.0]),
            "normalizer.count": torch.tensor([9]),
        }  # fmt: skip
    else:
        said = {"mean": [0.7], "var": [4.0]}
    raw = expected(weights)
    folder = write(tmp_path / "m", weights, score_type=role, do_normalize=True, **said)
    shift = 0.7 if role == "reward" else 0.0
    scores = BeaverScore(str(folder), role)(PROMPTS, ANSWERS)
    assert scores.tolist() == pytest.approx([(s - shift) / (2 + 1e-8) for s in raw], abs=1e-5)


def test_statistics_that_are_not_to_be_used_are_not(tmp_path: Path) -> None:
    buffers = {"normalizer.mean": torch.tensor([0.7]), "normalizer.var": torch.tensor([4.0])}
    folder = write(tmp_path / "m", tensors() | buffers, score_type="reward", do_normalize=False)
    scores = BeaverScore(str(folder), "reward")(PROMPTS, ANSWERS)
    assert scores.tolist() == pytest.approx(expected(tensors()), abs=1e-5)


@pytest.mark.parametrize("said", [{"score_bias": False}, {"bias": False}, {}])
def test_a_head_without_bias(tmp_path: Path, said: dict[str, bool]) -> None:
    weights = tensors(bias=False)
    folder = write(tmp_path / "m", weights, score_type="cost", **said)
    assert BeaverScore(str(folder), "cost")(PROMPTS, ANSWERS).tolist() == pytest.approx(
        expected(weights), abs=1e-5
    )


def test_left_and_right_padding_give_the_same_scores(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", tensors(), score_type="cost")
    model = BeaverScore(str(folder), "cost")
    scores = {}
    for side in ("left", "right"):
        model.tokenizer.padding_side = side
        scores[side] = model(PROMPTS, ANSWERS)
    assert torch.allclose(scores["left"], scores["right"], atol=1e-5)
    alone = torch.cat([model([x], [y]) for x, y in zip(PROMPTS, ANSWERS, strict=True)])
    assert torch.allclose(scores["right"], alone, atol=1e-5)


def test_a_reader_of_the_last_column_would_be_caught(tmp_path: Path) -> None:
    """The mutation: the score at the last place of the row, attended or not."""
    folder = write(tmp_path / "m", tensors(), score_type="cost")
    model = BeaverScore(str(folder), "cost")
    plain = model(PROMPTS, ANSWERS)
    forward = model.net.forward
    model.net.forward = lambda ids, attention: forward(ids, torch.ones_like(attention))  # type: ignore[method-assign]
    assert (model(PROMPTS, ANSWERS) - plain).abs().max() > 1e-2


def test_a_long_row_keeps_its_end_and_its_first_token(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", tensors(), score_type="cost")
    model = BeaverScore(str(folder), "cost")
    (row,) = model._ids(["Rice? " * 300], ["No."])
    assert len(row["input_ids"]) == 256 and row["input_ids"][0] == 1 and row["input_ids"][-1] == 2


def test_the_template_closes_earlier_answers_and_keeps_a_system_message() -> None:
    prompt = "Be kind.\n\nHuman: A?\n\nAssistant: B.\n\nHuman: C?\n\nAssistant:"
    assert beaver_text(prompt, "</s>") == (
        "BEGINNING OF CONVERSATION: USER: Be kind.\n\nA? ASSISTANT:B.</s>USER: C? ASSISTANT:"
    )


def test_what_is_no_usable_beaver_model_is_refused(tmp_path: Path) -> None:
    weights = tensors()
    cost = write(tmp_path / "cost", weights, score_type="cost")
    with pytest.raises(InputError, match="score_type is 'cost', and a reward was wanted"):
        BeaverScore(str(cost), "reward")
    short = {name: t for name, t in weights.items() if "up_proj" not in name}
    with pytest.raises(InputError, match=r"1 weights are not in its file, e\.g\. .*up_proj"):
        BeaverScore(str(write(tmp_path / "short", short, score_type="cost")), "cost")
    with pytest.raises(InputError, match="holds no mean and variance"):
        BeaverScore(str(write(tmp_path / "bare", weights, score_type="cost", do_normalize=True)), "cost")
    wide = weights | {"score_head.weight": torch.zeros(2, WIDTH), "score_head.bias": torch.zeros(2)}
    with pytest.raises(InputError, match="gives 2 scores"):
        BeaverScore(str(write(tmp_path / "wide", wide, score_type="cost", score_dim=2)), "cost")


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", tensors(), score_type="cost")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no safetensors file"):
        BeaverScore(str(folder), "cost")


def test_the_fingerprint_is_that_of_weights_and_reading(tmp_path: Path) -> None:
    def fingerprint(name: str, weights: dict[str, torch.Tensor], **said: Any) -> str:
        folder = write(tmp_path / name, weights, score_type="cost", mean=[0.0], var=[4.0], **said)
        return BeaverScore(str(folder), "cost").fingerprint

    weights = tensors()
    one = fingerprint("a", weights)
    assert one == fingerprint("b", weights)
    assert one != fingerprint("c", weights, do_normalize=True)
    assert one != fingerprint("d", weights | {"score_head.bias": torch.tensor([0.5])})


# ---------------------------------------------------------------- sequence classifiers


def llama_classifier(folder: Path, *, template: str | None = None, pad: bool = True, **said: Any) -> Path:
    torch.manual_seed(3)
    settings = config(num_labels=1) if "id2label" not in said else config(**said)
    if not pad:
        settings.pad_token_id = None
    model = LlamaForSequenceClassification(settings)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    words = tokenizer()
    words.chat_template = template
    words.save_pretrained(folder)
    return folder


TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"


def own_logits(folder: Path, rows: list[list[int]]) -> torch.Tensor:
    """Return transformers' own logits, each row by itself."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows]).double()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [True, False])
def test_a_decoder_is_read_in_its_chat_template(tmp_path: Path, side: str, pad: bool) -> None:
    folder = llama_classifier(tmp_path / "m", template=TEMPLATE, pad=pad)
    model = Classifier(str(folder))
    model.tokenizer.padding_side = side
    texts = [f"[user] {x}[assistant] {y}" for x, y in zip(PROMPTS, ANSWERS, strict=True)]
    rows = [tokenizer()(text, add_special_tokens=False)["input_ids"] for text in texts]
    scores = model(PROMPTS, ANSWERS)
    assert scores.tolist() == pytest.approx(own_logits(folder, rows)[:, 0].tolist(), abs=1e-5)
    assert abs(scores[0] - scores[1]) > 1e-2 and model.anchored is False


def test_an_encoder_reads_prompt_and_answer_as_a_pair(tmp_path: Path) -> None:
    torch.manual_seed(4)
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer().backend_tokenizer,
        pad_token="<pad>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    made = BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=24, num_labels=1, pad_token_id=0,
        )
    ).eval()  # fmt: skip
    torch.nn.init.normal_(made.classifier.weight)
    made.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with torch.no_grad():
        own = [
            made(**words(x, y, return_tensors="pt")).logits.item()
            for x, y in zip(PROMPTS, ANSWERS, strict=True)
        ]
    assert Classifier(str(tmp_path))(PROMPTS, ANSWERS).tolist() == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("label", ["unsafe", "2"])
def test_one_label_of_several(tmp_path: Path, label: str) -> None:
    names = {0: "kind", 1: "rude", 2: "unsafe"}
    folder = llama_classifier(tmp_path / "m", id2label=names, label2id={n: i for i, n in names.items()})
    rows = [tokenizer()(x, y)["input_ids"] for x, y in zip(PROMPTS, ANSWERS, strict=True)]
    logits = own_logits(folder, rows)
    model = Classifier(str(folder), label=label, anchored=True)
    assert model(PROMPTS, ANSWERS).tolist() == pytest.approx(logits[:, 2].tolist(), abs=1e-5)
    assert model.anchored is True
    for wrong in (None, "3", "polite"):
        with pytest.raises(InputError, match="0 kind, 1 rude, 2 unsafe"):
            Classifier(str(folder), label=wrong)


def test_of_classes_that_exclude_each_other_the_score_is_the_log_odds(tmp_path: Path) -> None:
    """s(score) is the softmax's probability of the class."""
    names = {0: "safe", 1: "unsafe"}
    folder = llama_classifier(
        tmp_path / "m",
        id2label=names,
        label2id={n: i for i, n in names.items()},
        problem_type="single_label_classification",
    )
    rows = [tokenizer()(x, y)["input_ids"] for x, y in zip(PROMPTS, ANSWERS, strict=True)]
    chance = own_logits(folder, rows).softmax(dim=1)[:, 1]
    scores = Classifier(str(folder), label="unsafe")(PROMPTS, ANSWERS)
    assert torch.allclose(scores.sigmoid(), chance, atol=1e-6)


def test_an_untrained_head_is_refused(tmp_path: Path) -> None:
    folder = llama_classifier(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are not in its file, e\.g\. score\.weight"):
        Classifier(str(folder))
