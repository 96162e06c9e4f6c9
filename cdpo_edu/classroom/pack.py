"""Next week's pack for a course: two lectures, the explorer for the audience, one homework with its rubric.

Everything works offline: the pages need a browser alone, the homework numpy and ``cdpo_edu``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..widgets.kitchen import DISHES, GUESTS, kitchen_problem
from ..widgets.page import explorer_page
from .course import Course, write_notebook
from .exercise import Assignment
from .exercises import ASSIGNMENTS
from .lectures import LECTURES, Lecture
from .slides import slides_notebook, slides_page
from .template import fill_template
from .versions import version

__all__ = ["FOLDER", "homework_of", "write_pack"]

FOLDER = "two-lectures"
ABOUT = ("03", "01")
"""Beginnings of the assignments on the exact tier that suit these lectures, the best first."""


def homework_of(assignments: Sequence[Assignment] = ASSIGNMENTS) -> Assignment:
    """Return the assignment that follows the two lectures."""
    found = (one for start in ABOUT for one in assignments if one.name.startswith(start))
    return next(found)


def write_pack(course: Course) -> Path:
    """Write the pack into a course and return its folder."""
    folder = course.folder / FOLDER
    folder.mkdir()
    for lecture in LECTURES:
        _write_lecture(folder, lecture)
    page = explorer_page(kitchen_problem(), labels=DISHES, prompts=GUESTS)
    (folder / "explorer.html").write_text(page, encoding="utf-8")
    homework = homework_of()
    for kind in ("student", "solution"):
        notebook = version(homework, kind, token=course.token)
        write_notebook(folder / "homework" / kind / f"{homework.name}.ipynb", notebook)
    (folder / "homework" / "RUBRIC.md").write_text(rubric(homework, course.token), encoding="utf-8")
    plan = fill_template("pack_readme.md.j2", lectures=LECTURES, homework=homework)
    (folder / "README.md").write_text(plan, encoding="utf-8")
    return folder


def _write_lecture(folder: Path, lecture: Lecture) -> None:
    notebook = slides_notebook(lecture)
    write_notebook(folder / f"{lecture.name}.ipynb", notebook)
    page = slides_page(notebook, title=lecture.title)
    (folder / f"{lecture.name}.html").write_text(page, encoding="utf-8")


def rubric(assignment: Assignment, token: str) -> str:
    """Return what each exercise is worth in a course, and which mistake each sentence of the check means."""
    wordings = {exercise.key: exercise.variant(token) for exercise in assignment.exercises}
    return fill_template("rubric.md.j2", assignment=assignment, wordings=wordings)
