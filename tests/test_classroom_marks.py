"""What the versions earn: solved ones everything, blank ones nothing, public solutions little elsewhere."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from cdpo_edu.classroom import seeds
from cdpo_edu.classroom.exercise import Assignment
from cdpo_edu.classroom.exercises import ASSIGNMENTS
from cdpo_edu.classroom.grading import Marked, grade
from cdpo_edu.classroom.versions import version

SOLUTIONS = Path(__file__).resolve().parents[1] / "notebooks" / "solutions"
SECRET = "known to the teacher alone"
COURSES = pytest.mark.parametrize("secret", [seeds.PUBLIC, SECRET], ids=["public", "private"])
EVERY = pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)


def random_ids(count: int) -> list[str]:
    """Return ids as universities give them: letters and digits, a few with a dot or an at sign."""
    rng = np.random.default_rng(5)
    letters = list(string.ascii_lowercase + string.digits)
    plain = ["".join(rng.choice(letters, size=8)) for _ in range(count)]
    return [f"{name[:4]}.{name[4:]}@uni" if number % 5 == 0 else name for number, name in enumerate(plain)]


def handed_in(folder: Path, notebook: Any, assignment: Assignment) -> Path:
    path = folder / f"{assignment.name}.ipynb"
    nbformat.write(notebook, path)
    return path


def sentences(marked: Marked) -> list[str]:
    return [f"{mark.key}: {mark.sentence}" for mark in marked.exercises if mark.points < mark.max_points]


@pytest.mark.slow
@COURSES
@EVERY
def test_solved_notebooks_earn_everything_and_blank_ones_nothing(
    assignment: Assignment, secret: str, tmp_path: Path
) -> None:
    token = seeds.course_token(secret)
    for student in random_ids(20):
        for kind, share in (("solution", 1), ("student", 0)):
            path = handed_in(tmp_path, version(assignment, kind, token=token, student=student), assignment)
            marked = grade(path, student=student, secret=secret, trust=True)
            assert marked.score == share * assignment.max_score, (student, kind, sentences(marked))


@EVERY
def test_public_solutions_earn_less_than_half_in_a_course_with_a_secret(assignment: Assignment) -> None:
    path = SOLUTIONS / f"{assignment.name}.ipynb"
    for student in random_ids(3):
        assert grade(path, student=student, trust=True).score == assignment.max_score
        marked = grade(path, student=student, secret=SECRET, trust=True)
        assert marked.score < assignment.max_score / 2, [
            f"{one.key}: {one.points}" for one in marked.exercises
        ]


@EVERY
def test_another_student_s_values_earn_nothing(assignment: Assignment, tmp_path: Path) -> None:
    """What was typed as a value for one student is not the answer to another one's instance."""
    values = [exercise for exercise in assignment.exercises if not exercise.is_function]
    token = seeds.course_token(SECRET)
    notebook = version(assignment, "solution", token=token, student="ada")
    for cell in notebook.cells:
        about = cell.metadata.get("cdpo_edu", {})
        exercise = next((one for one in values if one.key == about.get("key")), None)
        if about.get("role") == "answer" and exercise is not None and exercise.judge is None:
            answer = exercise.oracles[exercise.variant(token)](**exercise.shown(token, "ada"))
            cell.source = f"import numpy as np\n{exercise.key} = {answer!r}".replace("array(", "np.array(")
    path = handed_in(tmp_path, notebook, assignment)
    assert grade(path, student="ada", secret=SECRET, trust=True).score == assignment.max_score
    copied = {
        mark.key for mark in grade(path, student="bob", secret=SECRET, trust=True).exercises if mark.points
    }
    numbers = {one.key for one in values if one.judge is None and one.kind != "diagnose"}
    assert copied & numbers == set()
