"""The versions of an assignment: what each holds and what none may hold, and that its source made them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from test_notebooks import builder

from cdpo_edu.classroom import seeds
from cdpo_edu.classroom.exercise import Assignment
from cdpo_edu.classroom.exercises import ASSIGNMENTS, assignment_named
from cdpo_edu.classroom.sources import parse, read_source
from cdpo_edu.classroom.versions import CODE_STUB, TEXT_STUB, version

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
PRIVATE = seeds.course_token("a secret that only this test knows")
STEP = assignment_named("01_the_dual_step")
EVERY = pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
KINDS = ("student", "solution", "lecture", "source")
TINY = """
# %% [markdown]
# # A tiny assignment

# %% student="id"
STUDENT = "your id"

# %% given="desk"
desk = Desk(STUDENT, course="public")

# %% [markdown] exercise="dual_step"
# ## The step
# Do it.

# %% [markdown] only="lecture"
# Said aloud.

# %% answer="dual_step" variant="standard"
lam = None
### BEGIN SOLUTION
lam = 1
### END SOLUTION

# %% answer="dual_step" variant="safety"
lam = None
### BEGIN SOLUTION
lam = 2
### END SOLUTION

# %% check="dual_step"
desk.check("dual_step", lam)

# %% [markdown] written="why"
# Why?
"""


def tiny(kind: Any, **options: Any) -> Any:
    return version(STEP, kind, cells=parse(TINY), **options)


def sources(notebook: Any) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells}


def test_the_student_gets_stubs_and_the_source_keeps_the_marks() -> None:
    assert sources(tiny("student"))["answer-dual_step"] == f"lam = None\n{CODE_STUB}"
    assert sources(tiny("solution"))["answer-dual_step"] == "lam = None\nlam = 1"
    kept = "lam = None\n### BEGIN SOLUTION\nlam = 1\n### END SOLUTION"
    assert sources(tiny("source"))["answer-dual_step"] == kept


def test_a_stub_has_the_indent_of_its_solution() -> None:
    (answer,) = [cell for cell in version(STEP, "student").cells if cell.id == "answer-dual_step"]
    assert answer.source.splitlines()[-1] == f"    {CODE_STUB}"


def test_a_written_answer_keeps_its_question() -> None:
    assert sources(tiny("student"))["text-why"] == f"Why?\n\n{TEXT_STUB}"
    assert sources(tiny("solution"))["text-why"] == "Why?"


def test_a_course_has_its_own_wording_and_token() -> None:
    assert PRIVATE != seeds.PUBLIC
    private = sources(tiny("solution", token=PRIVATE))
    assert private["answer-dual_step"] == "lam = None\nlam = 2"
    assert private["given-desk"] == f'desk = Desk(STUDENT, course="{PRIVATE}")'


def test_the_points_stand_under_the_title() -> None:
    text = sources(tiny("student"))["text-dual_step"]
    assert text == "## The step\n\n*3 points, about 10 minutes, easy*\nDo it."


def test_only_the_lecture_has_what_is_for_the_lecture() -> None:
    assert ["Said aloud." in sources(tiny(kind)).values() for kind in KINDS] == [False, False, True, False]


@pytest.mark.parametrize("student", ["ada", 'a "quoted" id', "back\\slash"])
def test_a_student_s_id_is_filled_in_as_python_reads_it(student: str) -> None:
    names: dict[str, str] = {}
    exec(sources(tiny("student", student=student))["student-id"], names)
    assert names["STUDENT"] == student


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('check="dual_step"', 'check="step"', "no exercise is called 'step'"),
        ('"safety"', '"safe"', "'safe'"),
    ],
)
def test_a_misspelt_key_or_wording_is_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        version(STEP, "student", cells=parse(TINY.replace(old, new)))


def test_ids_are_unique_and_the_same_each_time() -> None:
    twice = TINY + '\n# %% answer="dual_step"\nhelper = 1\n'
    first, second = (version(STEP, "source", cells=parse(twice)) for _ in range(2))
    assert nbformat.writes(first) == nbformat.writes(second)
    grade_ids = [cell.metadata.nbgrader.grade_id for cell in first.cells if "nbgrader" in cell.metadata]
    assert grade_ids[-1] == "answer-dual_step-2"
    assert len(set(grade_ids)) == len(grade_ids)


# ---- every assignment -----------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("token", [seeds.PUBLIC, PRIVATE])
def test_every_exercise_has_text_answer_and_check_in_each_wording(assignment: Assignment, token: str) -> None:
    for kind in KINDS:
        found = [
            (about["role"], about["key"])
            for cell in version(assignment, kind, token=token).cells
            if (about := cell.metadata.get("cdpo_edu"))
        ]
        assert found[:2] == [("student", "id"), ("given", "desk")]
        for exercise in assignment.exercises:
            parts = [role for role, key in found if key == exercise.key]
            assert parts[0] == "text", exercise.key
            assert parts[-1] == "check", exercise.key
            assert "answer" in parts, exercise.key
            assert parts.count("check") == parts.count("text") == 1, exercise.key


@EVERY
def test_no_student_s_notebook_holds_a_line_of_a_solution(assignment: Assignment) -> None:
    blocks = re.findall(
        r"BEGIN SOLUTION\n(.*?)### END",
        "\n".join(cell.text for cell in read_source(assignment.name)),
        re.DOTALL,
    )
    lines = {line.strip() for block in blocks for line in block.splitlines() if len(line.strip()) > 14}
    assert lines
    for token in (seeds.PUBLIC, PRIVATE):
        text = "\n".join(sources(version(assignment, "student", token=token)).values())
        assert [line for line in lines if line in text] == []
        assert "SOLUTION" not in text


@EVERY
def test_nbgrader_accepts_the_metadata(assignment: Assignment) -> None:
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    for token in (seeds.PUBLIC, PRIVATE):
        notebook = version(assignment, "source", token=token)
        validator.validate_nb(notebook)
        graded = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
        assert sum(cell.get("points", 0) for cell in graded) == assignment.max_score


# ---- what is committed ----------------------------------------------------------------------------


def test_every_version_is_built_from_its_source() -> None:
    assert builder.check_assignments() == []


def test_a_changed_version_is_drift(tmp_path: Path) -> None:
    for folder in builder.VERSIONS:
        shutil.copytree(NOTEBOOKS / folder, tmp_path / folder)
    assert builder.check_assignments(tmp_path) == []
    path = tmp_path / "assignments" / "01_the_dual_step.ipynb"
    path.write_text(path.read_text().replace(CODE_STUB, "return 0"))
    shutil.copy(path, tmp_path / "solutions" / "99_orphan.ipynb")
    (tmp_path / "lectures" / "01_the_dual_step.ipynb").unlink()
    first, second, third = builder.check_assignments(tmp_path)
    assert first.startswith("01_the_dual_step.ipynb: cell")
    assert second == "solutions/99_orphan.ipynb: no assignment"
    assert third == "01_the_dual_step.py (lecture): not built yet"


@EVERY
def test_the_student_s_notebook_is_blank_and_the_others_are_executed(assignment: Assignment) -> None:
    for folder, executed in (("assignments", False), ("solutions", True), ("lectures", True)):
        notebook = nbformat.read(NOTEBOOKS / folder / f"{assignment.name}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        counts = list(range(1, len(code) + 1)) if executed else [None] * len(code)
        assert [cell.execution_count for cell in code] == counts
        assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
        checks = [cell for cell in code if cell.id.startswith("check-")]
        assert all((len(cell.outputs) == 1) == executed for cell in checks)


@pytest.mark.slow
def test_two_builds_of_a_solution_leave_the_same_bytes() -> None:
    path = NOTEBOOKS / "solutions" / f"{STEP.name}.ipynb"
    texts = {builder.build_assignment(STEP, "solution", path.parent) for _ in range(2)}
    assert texts == {path.read_text(encoding="utf-8")}
