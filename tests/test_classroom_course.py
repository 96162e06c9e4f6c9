"""A new course: what is in the folder, what it refuses, and that only its secret draws what is marked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from test_cli import Command, command  # noqa: F401, a fixture

from cdpo_edu.classroom import nbgrader_course, seeds
from cdpo_edu.classroom.agreement import disagreement
from cdpo_edu.classroom.course import Course, new_course
from cdpo_edu.classroom.exercise import Assignment, Exercise
from cdpo_edu.classroom.exercises import ASSIGNMENTS, assignment_named
from cdpo_edu.classroom.roster import read_roster
from cdpo_edu.classroom.secret import read_secret
from cdpo_edu.classroom.versions import version
from cdpo_edu.types import InputError

STEP = assignment_named("01_the_dual_step")
SECRET = "not known to any student"
EXERCISES = [exercise for assignment in ASSIGNMENTS for exercise in assignment.exercises]
FUNCTIONS = [exercise for exercise in EXERCISES if exercise.is_function]
VALUES = [exercise for exercise in EXERCISES if not exercise.is_function]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nbgrader were not installed."""
    monkeypatch.setattr(nbgrader_course, "installed", lambda: False)


def notebook(course: Course, step: str, assignment: Assignment = STEP) -> Any:
    path = course.folder / step / assignment.name / f"{assignment.name}.ipynb"
    return nbformat.read(path, as_version=4)


def contents(cells: Any) -> list[tuple[str, str, str]]:
    return [(cell.id, cell.cell_type, cell.source) for cell in cells]


# ---- the folder -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_nbgrader_releases_what_we_would_release_without_it(tmp_path: Path) -> None:
    pytest.importorskip("nbgrader")
    path = os.environ["PATH"]
    course = new_course(tmp_path / "course")
    assert os.environ["PATH"] == path
    assert course.by_nbgrader
    for assignment in ASSIGNMENTS:
        ours = version(assignment, "student", token=course.token)
        theirs = notebook(course, "release", assignment)
        assert contents(theirs.cells) == contents(ours.cells)
        for one, other in zip(theirs.cells, ours.cells, strict=True):
            for added in ("checksum", "cell_type"):
                one.metadata.get("nbgrader", {}).pop(added, None)
            assert one.metadata == other.metadata
        assert {**theirs.metadata.cdpo_edu, "version": "student"} == ours.metadata.cdpo_edu


@pytest.mark.slow
def test_the_gradebook_knows_the_roster_and_the_points(tmp_path: Path) -> None:
    api = pytest.importorskip("nbgrader.api")
    roster = tmp_path / "roster.csv"
    roster.write_text("id,last_name\nada,Lovelace\n42,\n")
    course = new_course(tmp_path / "course", roster=roster, assignments=(STEP,))
    with api.Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}") as book:
        assert {(one.id, one.last_name) for one in book.students} == {("ada", "Lovelace"), ("42", None)}
        assert [(one.name, one.max_score) for one in book.assignments] == [(STEP.name, STEP.max_score)]


@pytest.mark.usefixtures("alone")
def test_without_nbgrader_the_releases_are_ours_and_the_readme_says_so(tmp_path: Path) -> None:
    course = new_course(tmp_path / "a course!")
    assert not course.by_nbgrader
    assert course.course_id == "a-course"
    assert notebook(course, "release") == version(STEP, "student", token=course.token)
    readme = (course.folder / "README.md").read_text()
    assert "nbgrader was not installed" in readme
    assert all(assignment.name in readme for assignment in ASSIGNMENTS)
    assert "{{" not in readme + (course.folder / "nbgrader_config.py").read_text()


@pytest.mark.usefixtures("alone")
def test_a_secret_is_made_kept_private_and_shown_to_nobody(tmp_path: Path) -> None:
    first, second = (new_course(tmp_path / name, assignments=(STEP,)) for name in ("one", "two"))
    file = first.folder / "secret.txt"
    secret = read_secret(first.folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(secret) == 64
    assert secret != read_secret(second.folder)
    assert seeds.course_token(secret) == first.token
    holders = [path for path in first.folder.rglob("*") if path.is_file() and secret in path.read_text()]
    assert holders == [file]


@pytest.mark.usefixtures("alone")
def test_the_same_secret_makes_the_same_course(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"  {SECRET}\n")
    first, second = (new_course(tmp_path / name, secret_file=file) for name in ("one", "two"))
    assert notebook(first, "release") == notebook(second, "release")
    assert read_secret(first.folder) == SECRET


def test_the_settings_follow_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from traitlets.config import PyFileConfigLoader

    monkeypatch.setattr(nbgrader_course, "installed", lambda: False)
    moved = new_course(tmp_path / "here").folder.rename(tmp_path / "there")
    config = PyFileConfigLoader("nbgrader_config.py", path=str(moved)).load_config()
    assert config.CourseDirectory.root == str(moved)
    assert config.CourseDirectory.course_id == "here"
    assert config.Exchange.root == str(moved / "exchange")


# ---- what it refuses ------------------------------------------------------------------------------


def refused(tmp_path: Path, **files: str) -> str:
    """Return why a course is refused, after seeing that nothing was written."""
    options = {}
    for name, text in files.items():
        options[name] = tmp_path / name
        options[name].write_text(text)
    with pytest.raises(InputError) as refusal:
        new_course(tmp_path / "course", **options)
    assert not (tmp_path / "course").exists()
    return str(refusal.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("roster", "words"),
    [
        ("name\nada\n", "/roster: needs a column named id; it has ['name']"),
        ("", "/roster: needs a column named id; it has nothing"),
        ("id\nada\nada\n", "/roster, student 2: the id 'ada' is there twice"),
        ("id\nada\n../x\n", "/roster, student 2: the id '../x' cannot be the name of a folder"),
        ("id,email\n,a@b\n", "/roster, student 1: the id '' cannot be the name of a folder"),
    ],
)
def test_a_roster_that_cannot_be_used_names_its_row(tmp_path: Path, roster: str, words: str) -> None:
    assert refused(tmp_path, roster=roster) == words


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    words = "/secret_file: the secret has 6 characters; at least 16 are needed"
    assert refused(tmp_path, secret_file="public") == words


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: No such file or directory"):
        read_roster(tmp_path / "nowhere")
    with pytest.raises(InputError, match="secret.txt: No such file or directory; the course's secret"):
        read_secret(tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, command: Command) -> None:  # noqa: F811
    (tmp_path / "thesis.txt").write_text("mine")
    done = command("course", "new", tmp_path)
    assert done.code == 2
    assert done.err == f"cdpo-edu: {tmp_path}: it is not empty; name a new folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert "it is a file" in command("course", "new", tmp_path / "thesis.txt").err


@pytest.mark.usefixtures("alone")
def test_the_command_says_what_was_made(tmp_path: Path, command: Command) -> None:  # noqa: F811
    done = command("course", "new", tmp_path / "course")
    assert done.code == 0
    assert f"{len(ASSIGNMENTS)} assignments, 0 students; made without nbgrader" in done.out
    assert "secret.txt" in done.out


# ---- who can draw what is marked ------------------------------------------------------------------


def differs(one: Any, other: Any) -> bool:
    """Return whether two inputs are not the same."""
    return any(disagreement(one[name], other[name], tolerance=0) is not None for name in one)


def guesses(exercise: Exercise, student: str) -> Iterator[list[dict[str, Any]]]:
    """Yield what a student can draw: with the repository, her id and the token that her notebook shows."""
    token = seeds.course_token(SECRET)
    for key in (seeds.PUBLIC, token, student, token + student, ""):
        rng = seeds.generator(key, exercise.key, student)
        yield [exercise.draw(rng) for _ in range(exercise.trials)]
        yield exercise.marked(key, student)


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda exercise: exercise.key)
def test_without_the_secret_no_marked_instance_can_be_drawn(exercise: Exercise) -> None:
    for student in ("ada", "bob"):
        marked = exercise.marked(SECRET, student)
        again = exercise.marked(SECRET, student)
        assert not any(differs(one, other) for one, other in zip(marked, again, strict=True))
        for guessed in guesses(exercise, student):
            assert all(differs(one, other) for one in guessed for other in marked)


@pytest.mark.parametrize("exercise", VALUES, ids=lambda exercise: exercise.key)
def test_a_private_course_shows_other_instances_than_the_repository(exercise: Exercise) -> None:
    token = seeds.course_token(SECRET)
    same = [
        not differs(exercise.shown(token, name), exercise.shown(seeds.PUBLIC, name))
        for name in map(str, np.arange(20))
    ]
    assert sum(same) <= 10
