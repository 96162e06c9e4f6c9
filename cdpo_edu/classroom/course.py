"""A new course in a folder: nbgrader's sources, releases, settings and gradebook, and a secret.

What a student may see is in ``release/``; everything else is the teacher's. Left out: handing out and
collecting, which are nbgrader's or the learning platform's part, and marking (`grading`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..types import InputError
from . import nbgrader_course, seeds
from .exercise import Assignment
from .exercises import ASSIGNMENTS
from .roster import read_roster, write_roster
from .secret import new_secret, read_secret, write_secret
from .template import fill_template
from .versions import CODE_STUB, TEXT_STUB, version

__all__ = ["Course", "new_course", "write_notebook"]

KEPT_FROM_GIT = "secret.txt\ngradebook.db\nroster.csv\nsubmitted/\nautograded/\nfeedback/\nexchange/\n"


class Course(NamedTuple):
    """What `new_course` made.

    Attributes
    ----------
    folder : Path
    course_id : str
    token : str
        What its notebooks show.
    assignments : tuple of str
    students : int
    by_nbgrader : bool
        Whether nbgrader made the releases; otherwise this package did, and there is no gradebook yet.
    """

    folder: Path
    course_id: str
    token: str
    assignments: tuple[str, ...]
    students: int
    by_nbgrader: bool


def new_course(
    folder: Path,
    *,
    secret_file: Path | None = None,
    roster: Path | None = None,
    assignments: Sequence[Assignment] = ASSIGNMENTS,
) -> Course:
    """Make a course.

    Parameters
    ----------
    folder : Path
        New or empty.
    secret_file : Path, optional
        A file with the instructor's secret; absent, one is made. Two courses with one secret have the same
        instances.
    roster : Path, optional
        A CSV file of the students, see `read_roster`.
    assignments : sequence of Assignment

    Raises
    ------
    InputError
        If the folder holds something, or secret or roster cannot be used; nothing is written then.
    """
    students = read_roster(roster) if roster else []
    secret = read_secret(secret_file) if secret_file else new_secret()
    _must_be_empty(folder)
    folder.mkdir(parents=True, exist_ok=True)
    course = Course(
        folder=folder,
        course_id=re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or "course",
        token=seeds.course_token(secret),
        assignments=tuple(assignment.name for assignment in assignments),
        students=len(students),
        by_nbgrader=nbgrader_course.installed(),
    )
    write_secret(folder, secret)
    write_roster(folder / "roster.csv", students)
    _write_settings(course, assignments)
    _write_notebooks(course, assignments)
    if course.by_nbgrader:
        nbgrader_course.release(folder, course.assignments)
        nbgrader_course.fill_gradebook(folder, students)
    return course


def _must_be_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: it is a file; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: it is not empty; name a new folder")


def _write_settings(course: Course, assignments: Sequence[Assignment]) -> None:
    (course.folder / "exchange").mkdir()
    (course.folder / ".gitignore").write_text(KEPT_FROM_GIT, encoding="utf-8")
    words = {"course": course, "course_id": course.course_id, "code_stub": CODE_STUB, "text_stub": TEXT_STUB}
    for name, file in (
        ("nbgrader_config.py.j2", "nbgrader_config.py"),
        ("course_readme.md.j2", "README.md"),
    ):
        text = fill_template(name, assignments=assignments, **words)
        (course.folder / file).write_text(text, encoding="utf-8")


def _write_notebooks(course: Course, assignments: Sequence[Assignment]) -> None:
    """Write nbgrader's sources, and without nbgrader the releases too."""
    for assignment in assignments:
        place = Path(assignment.name) / f"{assignment.name}.ipynb"
        write_notebook(course.folder / "source" / place, version(assignment, "source", token=course.token))
        if not course.by_nbgrader:
            write_notebook(
                course.folder / "release" / place, version(assignment, "student", token=course.token)
            )


def write_notebook(path: Path, notebook: Any) -> None:
    """Write a notebook, with the folder it is in."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook, version=4) + "\n", encoding="utf-8")
