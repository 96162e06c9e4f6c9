"""The mark of one notebook: a sentence for each way an honest answer ends, and the command."""

from __future__ import annotations

import ast
import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest
from handed_in import BILL, FULL, SOLVED, TIGHT, Kitchen, cell, kitchen, points, sentence
from typer.testing import CliRunner

import cdpo_edu.classroom.sandbox.usage as counting
from cdpo_edu.classroom import copied, grading, seeds
from cdpo_edu.classroom.exercises.dual_step import STEP
from cdpo_edu.classroom.grading import grade
from cdpo_edu.classroom.sandbox import Limits, Road, StudentProcess
from cdpo_edu.classroom.sandbox.inside.plain import Foreign, decode, encode
from cdpo_edu.classroom.submission import read_submission
from cdpo_edu.cli import app
from cdpo_edu.types import InputError

__all__ = ["kitchen"]

SECRET = "a secret of sixteen characters"


def step(body: str) -> str:
    return f"def dual_step(lam, cost, limit, step):\n    {body}"


def test_solutions_earn_everything_and_say_so(kitchen: Kitchen) -> None:
    marked = kitchen.marked()
    assert points(marked) == FULL
    assert marked.score == marked.max_score == 6
    assert {mark.sentence for mark in marked.exercises} == {"Right."}
    assert marked.notes == ()


UNPROJECTED = next(wrong.message for wrong in STEP.wrong if wrong.name == "no projection")
SENTENCES = {
    "a stub": (step("...  # your code here"), "Not answered."),
    "nothing returned": (step("lam + step"), "Not answered."),
    "a named mistake": (step("return lam + step * (cost - limit)"), UNPROJECTED),
    "another wrong value": (step("return 7.0"), "dual_step is 7, expected "),
    "a name that is missing": (
        step("return lam + stepp"),
        "The answer stopped with NameError: name 'stepp' is not defined (line 2: return lam + stepp).",
    ),
    "no Python": (step("return lam +"), "The cell stopped with SyntaxError: invalid syntax (line 2)."),
    "another name": (step("return 1.0").replace("dual_step", "dual"), "Not answered."),
    "not written": (step("raise NotImplementedError"), "The answer stopped with NotImplementedError"),
    "other arguments": ("def dual_step(a):\n    return a", "The answer stopped with TypeError"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_each_way_an_answer_ends_has_its_sentence(kitchen: Kitchen, case: str) -> None:
    text, expected = SENTENCES[case]
    marked = kitchen.marked(dual_step=text)
    assert points(marked) == {**FULL, "dual_step": 0}
    assert sentence(marked, "dual_step").startswith(expected), sentence(marked, "dual_step")


def test_a_blank_notebook_earns_nothing_and_starts_no_process(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "StudentProcess", None)
    stubs = {"dual_step": step('"""Return the multiplier after one step."""\n    ...  # your code here')}
    marked = kitchen.marked(
        **stubs,
        bill="bill = None\n...  # your code here",
        doubled='def doubled(x):\n    """Return x twice."""\n    ...  # your code here',
    )
    assert marked.score == 0
    assert {mark.sentence for mark in marked.exercises} == {"Not answered."}


def test_a_value_typed_for_another_id_is_recognised(kitchen: Kitchen) -> None:
    bills = {name: sum(BILL.shown(seeds.PUBLIC, name)["prices"]) for name in ("ada", "bob")}
    assert bills["ada"] != pytest.approx(bills["bob"])
    path = kitchen.notebook(student="bob", bill=f"bill = {bills['bob']!r}")
    own, handed_in_as_ada = (grade(path, student=name, limits=TIGHT, trust=True) for name in ("bob", "ada"))
    assert points(own) == FULL
    assert points(handed_in_as_ada) == {**FULL, "bill": 0}
    assert sentence(handed_in_as_ada, "bill").startswith("This is right for the id 'bob'")
    assert handed_in_as_ada.notes == ("The id typed in the notebook is 'bob'; it is marked for 'ada'.",)


def test_without_a_student_the_typed_id_counts(kitchen: Kitchen) -> None:
    path = kitchen.notebook(student="bob")
    assert grade(path, student="", limits=TIGHT, trust=True).student == "bob"
    with pytest.raises(InputError, match="names no student"):
        grade(kitchen.write([cell(SOLVED["dual_step"])]), student="", limits=TIGHT, trust=True)


def test_a_changed_lock_is_noted_and_the_original_used(kitchen: Kitchen) -> None:
    book = json.loads(kitchen.notebook().read_text(encoding="utf-8"))
    for each in book["cells"]:
        if each["source"].startswith(('desk.check("dual_step"', "SCALE")):
            each["source"] = "SCALE = 5.0"
    marked = grade(kitchen.write(book["cells"]), student="ada", limits=TIGHT, trust=True)
    assert points(marked) == FULL
    assert [note.split(" is not")[0] for note in marked.notes] == [
        "The check cell 'dual_step'",
        "The given cell 'scale'",
    ]


def test_lost_metadata_and_deleted_cells_cost_nothing(kitchen: Kitchen) -> None:
    bare = [cell(SOLVED[key]) for key in ("dual_step", "bill", "doubled")]
    marked = grade(kitchen.write(bare, name="homework (3)"), student="ada", limits=TIGHT, trust=True)
    assert points(marked) == FULL
    book = json.loads(kitchen.notebook().read_text(encoding="utf-8"))
    for each in (book, *book["cells"]):
        each["metadata"] = {}
    path = kitchen.folder / "Untitled.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    assert points(grade(path, student="ada", limits=TIGHT, trust=True)) == FULL


def test_a_helper_further_down_and_a_name_used_twice_cost_nothing(kitchen: Kitchen) -> None:
    below = kitchen.marked(
        dual_step=step("return helper(lam + step * (cost - limit))"),
        after="def helper(x):\n    return max(0.0, x)",
    )
    assert points(below) == FULL
    again = kitchen.marked(after="dual_step = bill = doubled = 'soup'")
    assert points(again) == FULL


def test_magics_and_failing_cells_between_exercises_cost_nothing(kitchen: Kitchen) -> None:
    marked = kitchen.marked(
        before="%matplotlib inline\n!ls\nimport cdpo_edu.plots\ncdpo_edu.plots.plot_dual(None)"
    )
    assert points(marked) == FULL


def test_an_answer_that_rests_on_the_library_in_another_cell_is_recognised(kitchen: Kitchen) -> None:
    marked = kitchen.marked(
        before="from cdpo_edu.lagrangian import dual_step as theirs",
        dual_step=step("return theirs(lam, cost, limit, step)"),
    )
    assert points(marked) == {**FULL, "dual_step": 0}
    assert "cdpo_edu.lagrangian" in sentence(marked, "dual_step")


def test_a_private_course_marks_on_its_own_wording(kitchen: Kitchen) -> None:
    path = kitchen.notebook()
    marked = grade(path, student="ada", secret=SECRET, limits=TIGHT, trust=True)
    assert points(marked) == {
        **FULL,
        "dual_step": 0,
    }  # the public wording's answer; its sign is the other one
    turned = kitchen.notebook(dual_step=step("return max(0.0, lam + step * (limit - cost))"))
    assert points(grade(turned, student="ada", secret=SECRET, limits=TIGHT, trust=True)) == FULL
    assert grading.OTHER_COURSE in marked.notes


LONG = '''
def mean_tilt(reference, reward, cost, lam, beta):
    """Return an expected cost."""
    scores = (reward - lam * cost) / beta
    largest = scores.max(axis=1, keepdims=True)
    weights = reference * np.exp(scores - largest)
    weights = weights / weights.sum(axis=1, keepdims=True)
    costs = (weights * cost).sum(axis=1)
    return float(costs.mean() + 0.0 * largest.sum() + 1.0 - 1.0)
'''


def test_copied_code_is_recognised_under_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    form = next(copied._forms(ast.parse(LONG)))
    monkeypatch.setattr(copied, "_public", lambda: {form[0]: "cdpo_edu.exact.mean_tilt"})
    names = {
        "reference": "q",
        "weights": "w",
        "scores": "s",
        "largest": "top",
        "mean_tilt": "mine",
        "costs": "paid",
    }
    renamed = LONG.replace('"""Return an expected cost."""', "# my own work")
    for old, new in names.items():
        renamed = renamed.replace(old, new)
    assert copied.copied_from(renamed, STEP) == "cdpo_edu.exact.mean_tilt"
    assert copied.copied_from(renamed, STEP, solution=LONG) is None
    assert copied.copied_from(renamed.replace("axis=1", "axis=0"), STEP) is None
    assert copied.copied_from(renamed.replace("- lam", "+ lam"), STEP) is None


def test_an_oracle_is_recognised_with_the_function_it_rests_on() -> None:
    from cdpo_edu.classroom.exercises import dpo_labels, exercise_named

    tree = ast.parse(inspect.getsource(dpo_labels))
    taken = [node for node in tree.body if getattr(node, "name", "") in ("_target", "relabel")]
    assert len(taken) == 2
    text = "\n".join(map(ast.unparse, taken)).replace("before", "earlier").replace("_target", "mine")
    assert copied.copied_from(text, exercise_named("relabel")) == "the oracle relabel"
    assert copied.copied_from(text.replace(" > ", " >= "), exercise_named("relabel")) is None


def test_a_short_formula_is_nobodys(kitchen: Kitchen) -> None:
    assert copied.copied_from(SOLVED["dual_step"], STEP) is None
    assert kitchen.marked().score == 6


def test_the_library_has_functions_that_are_long_enough_to_recognise() -> None:
    assert len(copied._public()) > 10


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "not a notebook"),
        ("[]", "no list of cells"),
        ('{"cells": 3}', "no list of cells"),
        ('{"cells": []}', "belongs to no assignment"),
        ("[" * 100_000, "not a notebook"),
        ('{"cells": [3, {"cell_type": "code", "source": 4, "metadata": []}]}', "belongs to no assignment"),
    ],
)
def test_what_is_no_notebook_is_refused(kitchen: Kitchen, tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        read_submission(path)


def test_a_missing_file_and_a_folder_are_refused(kitchen: Kitchen, tmp_path: Path) -> None:
    for path in (tmp_path / "none.ipynb", tmp_path):
        with pytest.raises(InputError):
            read_submission(path)


def test_the_command_prints_a_table_or_one_object(kitchen: Kitchen) -> None:
    path = kitchen.notebook(dual_step=step("return 7.0"))
    told = CliRunner().invoke(app, ["grade", str(path), "--student", "a[b]", "--trust"])
    assert told.exit_code == 0, told.output
    assert "0 of 3" in told.output and "3 of 6" in told.output and "a[b]" in told.output
    found = json.loads(CliRunner().invoke(app, ["grade", str(path), "--json", "--trust"]).output)
    assert (found["score"], found["max_score"], len(found["exercises"])) == (3, 6, 3)
    assert set(found["exercises"][0]) == {"key", "title", "points", "max_points", "sentence"}


def test_the_command_reads_the_courses_secret(kitchen: Kitchen, tmp_path: Path) -> None:
    path = kitchen.notebook(dual_step=step("return max(0.0, lam + step * (limit - cost))"))
    (tmp_path / "secret.txt").write_text(SECRET, encoding="utf-8")
    for option, value in (("--course", tmp_path), ("--secret-file", tmp_path / "secret.txt")):
        told = CliRunner().invoke(app, ["grade", str(path), "--json", "--trust", option, str(value)])
        assert json.loads(told.output)["score"] == 6
    assert isinstance(
        CliRunner().invoke(app, ["grade", str(path), "--course", str(tmp_path / "none")]).exception,
        InputError,
    )


def test_a_notebook_of_a_course_needs_its_secret(kitchen: Kitchen) -> None:
    path = kitchen.notebook()
    path.write_text(path.read_text(encoding="utf-8").replace('"course": "public"', '"course": "0123"'))
    told = CliRunner().invoke(app, ["grade", str(path), "--trust"])
    assert isinstance(told.exception, InputError) and "--course" in str(told.exception)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -2.5,
        float("inf"),
        "søup\n",
        [1, [2.0, None]],
        {"a": {"b": []}},
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array(["a", "bc"]),
        ...,
    ],
)
def test_plain_values_pass_the_pipe_as_they_are(value: object) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    np.testing.assert_equal(back, value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype and back.shape == value.shape


@pytest.mark.parametrize(
    "value",
    [
        {"__array__": [1, 2], "dtype": "object", "shape": [2]},
        {"__array__": [1, "a"], "dtype": "float64", "shape": [2]},
        {"__array__": [1], "dtype": "float64", "shape": [10**9]},
        {"__array__": 1, "dtype": "float64"},
        {"__array__": [10**400], "dtype": "float64", "shape": [1]},
        {"__foreign__": {"a": 1}},
    ],
)
def test_what_was_made_up_becomes_a_description(value: object) -> None:
    assert isinstance(decode(value), Foreign)


def test_usage_sees_time_memory_and_children() -> None:
    with StudentProcess(Road("trust"), Limits(), {}) as process:
        before = process.usage()
        process.ask("run", text="kept = bytearray(10**8)\nfor _ in range(10**7): pass", cell="")
        after = process.usage()
    assert after.memory - before.memory > 0.9e8
    assert after.seconds > before.seconds
    assert after.processes == 1


@pytest.mark.skipif(os.system("command -v ps >/dev/null") != 0, reason="there is no command ps here")
def test_the_command_ps_says_the_same() -> None:
    with StudentProcess(Road("trust"), Limits(), {}) as process:
        process.ask("run", text="kept = bytearray(10**8)", cell="")
        pid = process._process.pid
        assert counting._from_ps(pid).memory == pytest.approx(counting._from_proc(pid).memory, rel=0.1)
        assert counting._from_ps(pid).processes == 1
