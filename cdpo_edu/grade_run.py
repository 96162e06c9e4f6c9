"""Mark one notebook from the command line: find the course's secret, mark, show.

Left out: the marking (`classroom.grading`).
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .classroom import seeds
from .classroom.grading import Marked, grade
from .classroom.submission import read_submission
from .types import InputError

__all__ = ["course_secret", "grade_run", "show_marked"]

SECRET = "secret.txt"


def grade_run(
    notebook: Path,
    *,
    student: str = "",
    course: Path | None = None,
    secret_file: Path | None = None,
    trust: bool = False,
) -> Marked:
    """Return the mark of one notebook.

    Raises
    ------
    InputError
        When the notebook cannot be marked, or belongs to a course whose secret was not given.
    """
    secret, hidden = course_secret(course, secret_file)
    made_for = read_submission(notebook).course
    if secret == seeds.PUBLIC and made_for not in ("", seeds.PUBLIC):
        raise InputError(f"{notebook}: made for the course {made_for}; give its folder with --course")
    return grade(notebook, student=student, secret=secret, trust=trust, hidden=hidden)


def course_secret(course: Path | None, secret_file: Path | None) -> tuple[str, tuple[Path, ...]]:
    """Return a course's secret, and what answers must not see; without a course the public one.

    Raises
    ------
    InputError
        When no secret is there.
    """
    path = secret_file if secret_file is not None else course / SECRET if course is not None else None
    if path is None:
        return seeds.PUBLIC, ()
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the course's secret cannot be read ({error})") from None
    if not secret:
        raise InputError(f"{path}: the course's secret is empty")
    return secret, (path, *([course] if course is not None else []))


def show_marked(marked: Marked, console: Console) -> None:
    """Print a mark as a table, a row for each exercise, with the notes below."""
    table = Table(title=Text(f"{marked.assignment}, {marked.student}"))
    table.add_column("exercise")
    table.add_column("points", justify="right")
    table.add_column("why", overflow="fold")
    for mark in marked.exercises:
        table.add_row(_plain(mark.title), f"{mark.points:g} of {mark.max_points:g}", _plain(mark.sentence))
    table.add_section()
    table.add_row("total", f"{marked.score:g} of {marked.max_score:g}", "")
    console.print(table)
    for note in marked.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Return text that shows as it is: brackets are no markup, control characters are no commands."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown.replace("[", "\\[")
