"""Files of problems: what is read, where, and what is said of everything that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cdpo_edu.exact import FiniteProblem
from cdpo_edu.problem_file import read_problems, solution_record
from cdpo_edu.types import InputError

COIN: dict[str, Any] = {
    "reference": [[0.5, 0.5]],
    "reward": [[1, 0]],
    "cost": [[1, 0]],
    "beta": 1.0,
    "cost_limit": 0.25,
}
LINE = json.dumps(COIN)
RECORD = ["status", "lam", "reward", "cost", "kl", "objective", "dual_bound", "gap", "min_cost"]


def written(folder: Path, content: str | bytes, name: str = "problems.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    """What is said of the file, less its name."""
    with pytest.raises(InputError) as error:
        list(read_problems(path))
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# ---- what is read ---------------------------------------------------------------------------------


def test_one_document_over_many_lines(tmp_path: Path) -> None:
    (found,) = read_problems(written(tmp_path, "\n\n" + json.dumps(COIN, indent=2) + "\n"))
    assert found[0] == 3  # where it begins
    assert found[1].solve().lam == pytest.approx(1 + np.log(3), rel=1e-13)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n  \n"])
def test_one_problem_per_line_and_blank_lines_between(tmp_path: Path, ending: str) -> None:
    other = json.dumps(COIN | {"cost_limit": 0.75})
    newline = "\r\n" if ending == "\r\n" else "\n"
    found = list(read_problems(written(tmp_path, newline.join([LINE, "", " ", other]) + ending)))
    assert [(line, p.cost_limit, p.solve().status) for line, p in found] == [
        (1, 0.25, "optimal"),
        (4, 0.75, "slack"),
    ]


def test_every_field_arrives_as_written(tmp_path: Path) -> None:
    """Fields differ from each other and from prompt to prompt, so that no two can be swapped unseen."""
    fields = {
        "prompt_probs": [0.25, 0.75],
        "reference": [[0.5, 0.25, 0.25], [0.125, 0.375, 0.5]],
        "reward": [[1, 2, 3], [4, 5, 6.5]],
        "cost": [[-1, -2, -3], [7, 8, 9]],
        "beta": 0.125,
        "cost_limit": -0.5,
    }
    ((line, problem),) = read_problems(written(tmp_path, json.dumps(fields)))
    assert line == 1
    for name, value in fields.items():
        assert np.array_equal(getattr(problem, name), value), name


def test_left_out_prompt_weights_are_uniform(tmp_path: Path) -> None:
    tables = {name: COIN[name] * 4 for name in ("reference", "reward", "cost")}
    ((_, problem),) = read_problems(written(tmp_path, json.dumps(COIN | tables)))
    assert problem.prompt_probs.tolist() == [0.25] * 4


def test_several_limits(tmp_path: Path) -> None:
    both = COIN | {"cost": [[[1, 0]], [[1, 0]]], "cost_limit": [0.5, 0.25]}
    ((_, problem),) = read_problems(written(tmp_path, json.dumps(both)))
    record = solution_record(problem.solve())
    assert record["lam"] == [0.0, pytest.approx(1 + np.log(3), rel=1e-9)]
    assert record["cost"] == pytest.approx([0.25, 0.25]) and record["min_cost"] == [0.0, 0.0]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert len(list(read_problems(written(tmp_path, b"\xef\xbb\xbf" + LINE.encode())))) == 1


def test_whole_numbers_of_any_length_are_numbers(tmp_path: Path) -> None:
    """10^20 fits no 64-bit integer."""
    big = COIN | {"reward": [[10**20, 0]], "beta": 10**18}
    ((_, problem),) = read_problems(written(tmp_path, json.dumps(big)))
    assert problem.reward[0, 0] == 1e20


def test_reading_goes_no_further_than_asked(tmp_path: Path) -> None:
    found = read_problems(written(tmp_path, LINE + "\nnonsense\n"))
    assert next(found)[0] == 1
    with pytest.raises(InputError, match="line 2, column 1: not JSON"):
        next(found)


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\n\n", "  \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_problem(tmp_path: Path, content: str | bytes) -> None:
    assert refusal(written(tmp_path, content)).startswith(": it is empty; give one problem")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.json").startswith(": No such file or directory; give the path")
    assert "directory; give the path" in refusal(tmp_path)


def without(field: str) -> str:
    return json.dumps({name: value for name, value in COIN.items() if name != field})


@pytest.mark.parametrize("field", COIN)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    said = refusal(written(tmp_path, "\n" + without(field)))
    assert said.startswith(f", line 2, field '{field}': it is missing")


@pytest.mark.parametrize("name", ["rewards", "lam", "Reward", "", "prompt_prob", "two\nlines"])
def test_an_unknown_field_is_named(tmp_path: Path, name: str) -> None:
    said = refusal(written(tmp_path, json.dumps(COIN | {name: 1})))
    assert said.startswith(f", line 1, field {name!r}: no such field; the fields are reference, ")


def test_a_field_given_twice(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, f"{LINE}\n{LINE[:-1]}, " + '"beta": 2}'))
    assert said == ", line 2, field 'beta': it is given twice; keep one"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("reward", "[[NaN, 0]]", "nan at [0][0]; give finite numbers"),
        ("reward", "[[0, Infinity]]", "inf at [0][1]; give finite numbers"),
        ("cost", "[[-Infinity, 0]]", "-inf at [0][0]; give finite numbers"),
        ("cost_limit", "NaN", "nan; give finite numbers"),
        ("beta", "1e999", "inf; give finite numbers"),
        ("reward", "[[1" + "0" * 5000 + ", 0]]", "inf at [0][0]; give finite numbers"),
        ("reward", '[["1", 0]]', "a string at [0][0]; give numbers"),
        ("reward", "[[true, 0.5]]", "true or false at [0][0]; give numbers"),
        ("beta", "true", "true or false; give numbers"),
        ("beta", "null", "null; give numbers"),
        ("prompt_probs", "null", "null; give numbers"),
        ("cost", '[[1, {"a": 1}]]', "an object at [0][1]; give numbers"),
        ("cost", "[" * 500 + "]" * 500, "a list at [0][0][0]; give numbers"),
        ("cost", "[[1, 0], [1]]", "its rows differ in length"),
        ("cost", "[[1, 0, 0]]", "shape (1, 3), not (1, 2)"),
        ("reward", "[1, 0]", "it has shape (2,); give a table"),
        ("reference", "[[0.5, 0.6]]", "row 0 sums to 1.1"),
        ("reference", "[[1.5, -0.5]]", "-0.5 at [0][1] is negative"),
        ("reference", "[]", "give a table (a list of rows), not empty"),
        ("beta", "0", "0; give a number above 0"),
        ("beta", "[1]", "it has shape (1,); give one number"),
        ("prompt_probs", "[0.5, 0.5]", "shape (2,), not (1,)"),
        ("cost_limit", "[0.25]", "it has shape (1,); give one number"),
    ],
)
def test_a_bad_field_is_named_with_its_line(tmp_path: Path, field: str, value: str, says: str) -> None:
    rest = {name: entry for name, entry in COIN.items() if name != field}
    said = refusal(written(tmp_path, f'{LINE}\n\n{json.dumps(rest)[:-1]}, "{field}": {value}}}\n'))
    assert said.startswith(f", line 3, field '{field}': ") and says in said
    assert "; " in said  # the remedy


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"[{LINE}]", ", line 1: a list, not a problem; write one {...} object per line"),
        (f"[\n{LINE},\n{LINE}\n]", ", line 1: a list, not a problem; write one {...} object per line"),
        (f"{LINE}\n3\n", ", line 2: a number, not a problem; write one {...} object per line"),
        ('"problem"', ", line 1: a string, not a problem; write one {...} object per line"),
        ("null", ", line 1: null, not a problem; write one {...} object per line"),
        (f"{LINE}\n{LINE[:-1]}\n", ", line 2, column 98: not JSON (Expecting ',' delimiter)"),
        (f"{LINE} {LINE}", ", line 1, column 100: not JSON (Extra data)"),
        ('{\n  "beta": 1,\n  "cost": [[1, 0]\n}', ", line 4, column 1: not JSON (Expecting ',' delimiter)"),
        ("reference,reward\n0.5,1\n", ", line 1, column 1: not JSON (Expecting value)"),
        (b'{"beta": "\xff"}', ", line 1: byte 0xff at column 11 is not UTF-8; save the file as UTF-8"),
        ("\ufeff{}".encode("utf-16"), ", line 1: byte 0xff at column 1 is not UTF-8; save the file as UTF-8"),
        ("[" * 100_000, ", line 1: nested too deeply"),
    ],
)
def test_what_is_no_problem_at_all(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert refusal(written(tmp_path, content)).startswith(says)


# ---- what is written ------------------------------------------------------------------------------


def strict(record: dict[str, Any]) -> Any:
    """The record after a round trip through JSON that knows no NaN and no Infinity."""
    return json.loads(json.dumps(record, allow_nan=False))


@pytest.mark.parametrize("limit", [0.25, 0.75])
def test_the_record_of_a_solution(limit: float) -> None:
    solution = FiniteProblem(**COIN | {"cost_limit": limit}).solve()
    record = solution_record(solution)
    assert list(record) == RECORD
    assert record == {name: getattr(solution, name) for name in RECORD}
    assert strict(record) == record


def test_the_record_at_the_edge_has_no_lam() -> None:
    """C = 0: only response 1 is left, J = -log 2."""
    record = solution_record(FiniteProblem(**COIN | {"cost_limit": 0}).solve())
    assert (record["status"], record["lam"], record["cost"]) == ("optimal", None, 0.0)
    assert strict(record)["objective"] == pytest.approx(-np.log(2), rel=1e-15)


def test_the_record_of_an_infeasible_problem_is_null_but_for_the_least_cost() -> None:
    record = solution_record(FiniteProblem(**COIN | {"cost_limit": -1}).solve())
    assert strict(record) == dict.fromkeys(RECORD) | {"status": "infeasible", "min_cost": 0.0}


def test_the_record_of_several_limits_holds_lists() -> None:
    both = FiniteProblem(**COIN | {"cost": [[[1, 0]], [[0, 1]]], "cost_limit": [0.25, -1]})
    assert strict(solution_record(both.solve()))["min_cost"] == [0.0, 0.0]
    record = strict(solution_record(both.with_limit([0.25, 1]).solve()))
    assert [type(record[name]) for name in ("lam", "cost", "min_cost")] == [list] * 3
