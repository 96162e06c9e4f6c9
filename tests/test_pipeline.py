"""The script that runs every stage: its commands fit each other and the command line; no text on its page."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from cdpo_edu.cli import app

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline", ROOT / "scripts" / "pipeline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("from_train", [False, True])
def test_every_stage_is_a_command_with_these_options(script: ModuleType, from_train: bool) -> None:
    """An option that the command line does not have is an error of its parser."""
    commands: Any = typer.main.get_command(app)
    for name, words in script.commands(Path("rows.jsonl"), Path("out"), from_train=from_train).items():
        if name in ("sft", "fit-scorers") and name not in commands.commands:
            pytest.skip(f"this version has no command {name}")
        commands.commands[words[0]].make_context(name, list(words[1:]))


def test_one_stage_writes_what_the_next_one_reads(script: ModuleType) -> None:
    stages = script.commands(Path("rows.jsonl"), Path("out"), from_train=False)
    given: set[str] = {"rows.jsonl"}
    for name, words in stages.items():
        read = [
            word
            for word in words
            if word.startswith(("out/", "rows")) and words[words.index(word) - 1] != "--out"
        ]
        assert all(any(word == path or word.startswith(path + "/") for path in given) for word in read), name
        given |= {words[words.index("--out") + 1]} if "--out" in words else set()


def test_figures_are_numbers_alone(script: ModuleType) -> None:
    """A row's text that a stage might have left in a record does not come to the page."""
    record = {"ece": 0.0314, "rows": {"train": 1200, "example": "a row"}, "all": [1, 2], "anchored": True}
    assert list(script.figures(record)) == [("ece", "0.0314"), ("rows.train", "1,200")]


def test_the_page_tells_what_the_folders_hold(script: ModuleType, tmp_path: Path) -> None:
    """Numbers of sft and fit-scorers by name; settings and tokenizers left out."""
    for path, content in (
        ("sft/sft.json", {"held_out": {"before": 7.0, "after": 5.5}}),
        ("sft/tokenizer_config.json", {"model_max_length": 5}),
        ("scorers/calibration.json", {"ece": 0.04}),
        ("scorers/config.json", {"hidden_size": 64}),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))
    page = "\n".join(script.before_training(tmp_path))
    assert "| sft.json: held_out.after | 5.5 |" in page and "| calibration.json: ece | 0.04 |" in page
    assert "max_length" not in page and "hidden" not in page
