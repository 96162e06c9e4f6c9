"""The record of a run: fixed columns, equal bytes for equal runs, and a name for every bad line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cdpo_edu.history import Record, read_history, write_history
from cdpo_edu.types import InputError

COLUMNS = "round lam reward cost cost_low cost_high cost_limit kl dpo_loss grad_steps labels_flipped".split()
FIRST = Record(0, 0.0, 0.1, 0.3, 0.2, 0.4, 0.0, 0.0, None, 0, 0)
SECOND = Record(1, 1.1, 0.1 + 0.2, 1 / 3, 2**-1074, 1e300, -0.0, 0.7, 0.6931471805599453, 20, 17)


def test_columns_are_fixed_in_name_and_order(tmp_path: Path) -> None:
    write_history([FIRST], tmp_path / "h.jsonl")
    assert list(json.loads((tmp_path / "h.jsonl").read_text())) == COLUMNS
    assert list(FIRST.as_dict()) == COLUMNS


def test_round_trip_gives_the_very_same_numbers_and_bytes(tmp_path: Path) -> None:
    write_history([FIRST, SECOND], tmp_path / "a.jsonl")
    back = read_history(tmp_path / "a.jsonl")
    assert back == [FIRST, SECOND]
    write_history(back, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_one_line_per_round_each_ended(tmp_path: Path) -> None:
    write_history([FIRST, SECOND], tmp_path / "h.jsonl")
    text = (tmp_path / "h.jsonl").read_text()
    assert text == FIRST.as_line() + "\n" + SECOND.as_line() + "\n"
    assert FIRST.as_line() == (
        '{"round": 0, "lam": 0.0, "reward": 0.1, "cost": 0.3, "cost_low": 0.2, "cost_high": 0.4, '
        '"cost_limit": 0.0, "kl": 0.0, "dpo_loss": null, "grad_steps": 0, "labels_flipped": 0}'
    )


def test_an_empty_history_is_an_empty_file(tmp_path: Path) -> None:
    write_history([], tmp_path / "h.jsonl")
    assert read_history(tmp_path / "h.jsonl") == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_in_json_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    write_history([FIRST], tmp_path / "h.jsonl")
    before = (tmp_path / "h.jsonl").read_bytes()
    with pytest.raises(ValueError):
        write_history([FIRST, replace(SECOND, cost=value)], tmp_path / "h.jsonl")
    assert (tmp_path / "h.jsonl").read_bytes() == before


def without_cost() -> str:
    return json.dumps({name: value for name, value in FIRST.as_dict().items() if name != "cost"})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{half", "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "the columns must be"),
        ("3", "the columns must be"),
        (without_cost(), "the columns must be"),
        (json.dumps(FIRST.as_dict() | {"time": 1.0}), "the columns must be"),
    ],
    ids=["cut short", "blank", "a list", "a number", "a column missing", "a column too many"],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(FIRST.as_line() + "\n" + line + "\n" + FIRST.as_line() + "\n")
    with pytest.raises(InputError, match=said) as caught:
        read_history(path)
    assert f"{path}, line 2:" in str(caught.value)


def test_an_absent_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such history") as caught:
        read_history(tmp_path / "nothing.jsonl")
    assert "nothing.jsonl" in str(caught.value)
