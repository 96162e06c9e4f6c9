"""Rows to imitate: instruction shapes and chosen answers; what holds none is named, and none is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cdpo_edu.instruction_data import Examples, load_examples, set_apart
from cdpo_edu.pairs.prompt_sets import first_turn
from cdpo_edu.types import InputError

DATA = Path(os.environ.get("CDPO_EDU_DATA", Path(__file__).parents[2] / "shared" / "data"))


def wrote(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        ({"instruction": "Name a herb.", "input": "", "output": "Basil."}, "Name a herb.", "Basil."),
        (
            {"instruction": "Shorten.", "input": "Rice dish", "output": "Rice"},
            "Shorten.\n\nRice dish",
            "Rice",
        ),
        ({"prompt": "Salt?", "response": "A pinch."}, "Salt?", "A pinch."),
        ({"prompt": "Salt?", "completion": "A pinch."}, "Salt?", "A pinch."),
        (
            {"messages": [{"role": "user", "content": "Salt?"}, {"role": "assistant", "content": "No."}]},
            "\n\nHuman: Salt?\n\nAssistant:",
            "No.",
        ),
        (
            {"conversations": [{"from": "human", "value": "Salt?"}, {"from": "gpt", "value": "No."}]},
            "\n\nHuman: Salt?\n\nAssistant:",
            "No.",
        ),
    ],
)
def test_every_shape_of_one_answer(tmp_path: Path, row: Any, prompt: str, answer: str) -> None:
    found = load_examples(wrote(tmp_path / "rows.jsonl", [row]))
    assert found == Examples([prompt], [answer], False, 0)


def test_of_preference_rows_the_preferred_answer_is_imitated(tmp_path: Path) -> None:
    """Ids 0 and 1, a share of judges, a tie and an unknown."""
    rows = [
        {"prompt": f"Guest {i}?", "response_0": "a", "response_1": "b", "better": better}
        for i, better in enumerate([0, 1, 0.75, 0.5, None])
    ]
    found = load_examples(wrote(tmp_path / "rows.jsonl", rows))
    assert found.answers == ["a", "b", "b"] and (found.chosen, found.left_out) == (True, 2)


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Name a herb.", "input": "", "output": "Basil."},
        {"instruction": "Name a herb.", "input": "", "output": " "},
        {"instruction": "", "input": "", "output": "Basil."},
        {"instruction": "Name a herb.", "input": 3, "output": "Basil."},
        {"instruction": "Name a herb.", "input": "", "output": None},
        [1],
    ]
    found = load_examples(wrote(tmp_path / "rows.jsonl", rows))
    assert (len(found.prompts), found.left_out) == (1, 5)
    with pytest.raises(InputError, match=r"no row can be used; the first: .*row 1, whole row: empty answer"):
        load_examples(wrote(tmp_path / "none.jsonl", rows[1:2]))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "Salt?"}], "'prompts' hold no answers to imitate"),
        (
            [{"prompt": "Salt?", "response": "No.", "is_safe": True}],
            "hold no answers to imitate",
        ),
        ([{"prompt": "S?", "response_0": "a", "response_1": "b", "safer": 1}], "say of no answer"),
        ([{"prompt": "S?", "response_0": "a", "response_1": "b", "better": 0.5}], "every row is a tie"),
        (
            [{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}],
            "does not end with an assistant turn",
        ),
    ],
)
def test_rows_without_an_answer_to_imitate_are_refused(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_examples(wrote(tmp_path / "rows.jsonl", rows))


def test_near_copies_stay_on_one_side_and_a_runs_judge_prompts_out() -> None:
    """Spaces and capitals make no other prompt; of preference rows 15 % are held out and 15 % spared."""
    prompts = [f"{'Guest' if i % 2 else 'GUEST '} {i // 2} asks?" for i in range(400)]
    for chosen in (False, True):
        parts = set_apart(Examples(prompts, [f"a{i}" for i in range(400)], chosen, 0), seed=0)
        train, held = ({first_turn(x) for x in part} for part in (parts.prompts, parts.held_prompts))
        assert not train & held
        assert len(parts.held_prompts) == pytest.approx(60, abs=6)
        assert len(parts.prompts) == pytest.approx(280 if chosen else 340, abs=6)
    other = set_apart(Examples(prompts, prompts, False, 0), seed=1)
    assert set(other.held_prompts) != set(parts.held_prompts)
    with pytest.raises(InputError, match="too few"):
        set_apart(Examples(["a", "A "], ["x", "y"], False, 0), seed=0)


@pytest.mark.skipif(not (DATA / "alpaca").exists(), reason="the real rows are not here")
def test_real_instruction_rows() -> None:
    found = load_examples(DATA / "alpaca" / "alpaca_2000.json")
    assert len(found.prompts) + found.left_out == 2000 and len(found.prompts) > 1900 and not found.chosen


@pytest.mark.skipif(not (DATA / "dual-pairs").exists(), reason="the real rows are not here")
def test_chosen_answers_of_real_rows() -> None:
    found = load_examples(DATA / "dual-pairs" / "test.jsonl")
    assert found.chosen and found.prompts and len(found.prompts) == len(found.answers)
