"""A scorer's name: which of the kinds it stands for, what each says of its zero, and what leads nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_published_scorers import TEMPLATE, llama_classifier, tensors, write

from cdpo_edu import presets, tiers
from cdpo_edu.backbone import tiny_llama, word_tokenizer
from cdpo_edu.published_scorers import BeaverScore, Classifier
from cdpo_edu.scorer_names import Named, chosen, model_behind, named_scorer
from cdpo_edu.scorers import CostModel, RewardModel, Swapped
from cdpo_edu.types import InputError

OWN = """import torch

def words(prompts, responses):
    return torch.tensor([float(len(y.split())) for y in responses])

def harm(prompts, responses):
    return [1.0 if "nut" in y else -1.0 for y in responses]

harm.anchored, harm.bounds, harm.fingerprint = True, (-1.0, 1.0), "nuts v1"

def short(prompts, responses):
    return torch.zeros(1)

def text(prompts, responses):
    return ["safe"] * len(responses)

class Kind:
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_folder_of_ours(tmp_path: Path) -> None:
    words = word_tokenizer(["rice", "nuts"])
    made = CostModel(tiny_llama(words, hidden=16, layers=1, seed=0), words)
    made.anchored = True
    made.save(tmp_path / "cost")
    found = named_scorer(str(tmp_path / "cost"), role="cost", option="--cost")
    assert isinstance(found, CostModel) and found.anchored and found.fingerprint == made.fingerprint
    with pytest.raises(InputError, match="holds a CostModel, not a RewardModel"):
        named_scorer(str(tmp_path / "cost"), role="reward", option="--reward")


def test_published_folders_and_what_they_say_of_their_zero(tmp_path: Path) -> None:
    beaver = str(write(tmp_path / "beaver", tensors(), score_type="cost"))
    single = str(llama_classifier(tmp_path / "single", template=TEMPLATE))
    found = named_scorer(beaver, role="cost", option="--cost")
    assert isinstance(found, BeaverScore) and found.anchored
    with pytest.raises(InputError, match="a reward was wanted"):
        named_scorer(beaver, role="reward", option="--reward")
    plain = named_scorer(single, role="cost", option="--cost")
    said = named_scorer(f"{single},anchored", role="cost", option="--cost")
    assert isinstance(plain, Classifier) and not plain.anchored and said.anchored
    assert plain.fingerprint != said.fingerprint
    with pytest.raises(InputError, match="1 labels .* 'rude' is none of them"):
        named_scorer(f"{single},label=rude", role="cost", option="--cost")
    with pytest.raises(InputError, match="of a sequence classifier alone"):
        chosen(f"{beaver},anchored", option="--cost")
    with pytest.raises(InputError, match="after a comma stands label=NAME or anchored, and not 'zero'"):
        chosen(f"{single},zero", option="--cost")


def test_a_function_says_itself_what_it_is(own: Path) -> None:
    words = named_scorer(f"{own}:words", role="reward", option="--reward")
    assert words(["x", "x"], ["a b", "a"]).tolist() == [2.0, 1.0]
    assert (words.anchored, words.bounds, words.fingerprint) == (False, None, "")
    harm = named_scorer(f"{own}:harm", role="cost", option="--cost")
    assert harm(["x", "x"], ["nut", "rice"]).tolist() == [1.0, -1.0]
    assert (harm.anchored, harm.bounds, harm.fingerprint) == (True, (-1.0, 1.0), "nuts v1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short", r"2 answers were to be scored, and scores of shape \(1,\) came"),
        ("text", "no tensor of numbers"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(own: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        named_scorer(f"{own}:{name}", role="cost", option="--cost")(["x", "x"], ["a", "b"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "--cost nowhere: no folder here"),
        ("nowhere/at-all", "no folder here"),
        ("no_such_module:cost", "ModuleNotFoundError"),
        ("nowhere.py:cost", r"nowhere\.py is no file here"),
        ("math:not-a-name", "MODULE:FUNCTION"),
        ("math:pi", "defines no function pi"),
    ],
)
def test_a_name_that_leads_nowhere(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chosen(name, option="--cost")


def test_a_class_and_a_language_model_are_no_scorers(own: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="defines no function Kind"):
        chosen(f"{own}:Kind", option="--cost")
    words = word_tokenizer(["rice"])
    tiny_llama(words, hidden=16, layers=1, seed=0).save_pretrained(tmp_path / "lm")
    with pytest.raises(InputError, match="names LlamaForCausalLM, which is no score model known here"):
        chosen(str(tmp_path / "lm"), option="--cost")


def test_a_named_model_can_be_swapped(tmp_path: Path) -> None:
    name = str(write(tmp_path / "beaver", tensors(), score_type="cost"))
    there = named_scorer(name, role="cost", option="--cost")
    swapped = Swapped(Named("cost"), name)
    assert torch.equal(swapped(["Rice?"], ["No."]), there(["Rice?"], ["No."]))
    assert swapped.anchored and swapped.fingerprint == there.fingerprint
    assert model_behind(f"{name},label=1") == name and model_behind("rules.py:harm") is None


# ---------------------------------------------------------------- in a run


def rows(path: Path) -> Path:
    made = [
        {
            "prompt": f"Guest {i} asks for {'a snack' if i % 3 else 'a soup'}.",
            "response_0": "A nut bar." if i % 2 else "Rice.",
            "response_1": "Rice and basil." if i % 2 else "A nut bar, twice.",
        }
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


SMALL = {"rounds": 1, "max_steps": 2, "samples": 2, "cost_limit": 0.0, "max_response_tokens": 8}


def test_a_run_takes_names_and_goes_on_with_them(own: Path, tmp_path: Path) -> None:
    """Unlabelled rows, a function as reward, a beaver model as cost: the absolute limit is allowed."""
    cost = str(write(tmp_path / "beaver", tensors(), score_type="cost"))
    given = {"reward": f"{own}:words", "cost": cost, "pairs": str(rows(tmp_path / "rows.jsonl"))}
    out = tmp_path / "run"
    (first, *_) = tiers.train(presets.configure("lm", **SMALL, **given), out)
    config = presets.read_config(out, {"cost": cost})
    assert (config.reward, config.cost) == (given["reward"], cost)
    again = list(tiers.train(config, out))
    assert again[0] == first and (out / "certificate.json").exists()
    prints = json.loads((out / "inputs.json").read_text())
    assert prints["reward"] == "" and prints["cost"]
    write(tmp_path / "other", tensors() | {"score_head.bias": torch.tensor([9.0])}, score_type="cost")
    (Path(cost) / "model.safetensors").write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    with pytest.raises(InputError, match="not what the run began with: cost"):
        list(tiers.train(config, out))


def test_a_wrong_name_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    given = SMALL | {"pairs": str(rows(tmp_path / "rows.jsonl")), "reward": "fit", "cost": "nowhere"}
    with pytest.raises(InputError, match="--cost nowhere"):
        list(tiers.train(presets.configure("lm", **given), tmp_path / "run"))
    assert not any((tmp_path / "run").iterdir())


def test_a_cost_without_a_zero_is_not_held_against_an_absolute_limit(own: Path, tmp_path: Path) -> None:
    given = SMALL | {"pairs": str(rows(tmp_path / "rows.jsonl"))}
    given |= {"reward": f"{own}:words", "cost": f"{own}:words"}
    with pytest.raises(InputError, match="zero"):
        list(tiers.train(presets.configure("lm", **given), tmp_path / "run"))


def test_a_reward_model_of_ours_is_taken_by_its_folder(tmp_path: Path) -> None:
    words = word_tokenizer(["rice"])
    RewardModel(tiny_llama(words, hidden=16, layers=1, seed=0), words).save(tmp_path / "reward")
    assert chosen(str(tmp_path / "reward"), option="--reward").kind == "own"
