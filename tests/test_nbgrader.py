"""nbgrader itself, from the release to the feedback, with six students who hand in different things."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cdpo_edu.classroom.course import Course, new_course
from cdpo_edu.classroom.exercises import assignment_named

pytest.importorskip("nbgrader")
pytestmark = pytest.mark.slow

STEP = assignment_named("01_the_dual_step")
NAME = STEP.name
SECONDS = 12
"""Of a cell; the endless loop is the one that needs them."""


def source(notebook: Any, cell: str) -> Any:
    return next(one for one in notebook.cells if one.id == cell)


def answers(notebook: Any, solved: Any) -> None:
    """Fill in every answer as this course's solution has it."""
    for cell in notebook.cells:
        if cell.id.startswith("answer-"):
            text = source(solved, cell.id).source
            cell.source = "\n".join(line for line in text.splitlines() if "SOLUTION" not in line)


def instead(line: str) -> Callable[[Any, Any], None]:
    """Return what answers everything, then begins the answer of the dual step with a line of its own."""

    def fill(notebook: Any, solved: Any) -> None:
        answers(notebook, solved)
        answer = source(notebook, "answer-dual_step")
        answer.source = (
            source(solved, "answer-dual_step").source.split("### BEGIN")[0].rstrip() + f"\n    {line}"
        )

    return fill


def tampered(notebook: Any, solved: Any) -> None:
    """Leave everything blank and write one's own check."""
    source(notebook, "check-dual_step").source = "print('dual_step: right on 36 fresh instances')"


STUDENTS: dict[str, Callable[[Any, Any], None]] = {
    "right": answers,
    "wrong": instead("return lam"),
    "blank": lambda notebook, solved: None,
    "tampered": tampered,
    "endless": instead("while True: pass"),
    "crash": instead("import os; os._exit(1)"),
}


def nbgrader(course: Course, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the course's folder, as a teacher does, in the Python of the tests."""
    home = course.folder.parent
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {
        "HOME": str(home),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    return subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course.folder,
        env=os.environ | quiet | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, str]:
    """A course of one assignment after autograde and feedback, and what autograde said."""
    course = new_course(tmp_path_factory.mktemp("nbgrader") / "a course", assignments=(STEP,))
    released = course.folder / "release" / NAME / f"{NAME}.ipynb"
    solved = nbformat.read(course.folder / "source" / NAME / f"{NAME}.ipynb", as_version=4)
    for student, fill in STUDENTS.items():
        notebook = nbformat.read(released, as_version=4)
        source(notebook, "student-id").source = f'STUDENT = "{student}"'
        fill(notebook, solved)
        place = course.folder / "submitted" / student / NAME
        place.mkdir(parents=True)
        nbformat.write(notebook, place / released.name)
    said = nbgrader(course, "autograde", NAME, f"--Execute.timeout={SECONDS}")
    feedback = nbgrader(course, "generate_feedback", NAME)
    assert feedback.returncode == 0, feedback.stderr
    return course, said.stderr


def marks(course: Course) -> dict[str, float]:
    """Return the score that the gradebook gives each student for the assignment."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}") as gradebook:
        return {one.student.id: one.score for one in gradebook.assignment_submissions(NAME)}


def test_the_marks_are_as_expected_for_all_six(graded: tuple[Course, str]) -> None:
    rest = STEP.max_score - 3  # "dual_step" earns 3
    assert marks(graded[0]) == {
        "right": STEP.max_score,
        "wrong": rest,
        "blank": 0,
        "tampered": 0,
        "endless": rest,
        "crash": 0,
    }


def test_the_changed_check_is_put_back(graded: tuple[Course, str]) -> None:
    notebook = nbformat.read(
        graded[0].folder / "autograded" / "tampered" / NAME / f"{NAME}.ipynb", as_version=4
    )
    assert source(notebook, "check-dual_step").source == 'desk.check("dual_step", dual_step)'
    assert "Attribute 'checksum' for cell check-dual_step has changed" in graded[1]


def test_feedback_says_what_is_wrong_and_holds_no_secret(graded: tuple[Course, str]) -> None:
    folder = graded[0].folder
    pages = {path.parts[-3]: path.read_text() for path in folder.glob(f"feedback/*/{NAME}/*.html")}
    assert set(pages) == set(STUDENTS) - {"crash"}  # nbgrader keeps nothing of a notebook whose kernel died
    assert "is not written yet" in pages["blank"] or "CheckFailed" in pages["blank"]
    assert "No reply from kernel before timeout" in pages["endless"]
    secret = (folder / "secret.txt").read_text().strip()
    assert not any(secret in page for page in pages.values())
