"""Mark one notebook, or a class, from the command line: find the course's secret, mark, show.

Left out: the marking (`classroom.grading`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .classroom import seeds
from .classroom.grading import Marked, grade
from .classroom.secret import read_secret
from .classroom.submission import read_submission
from .types import InputError

__all__ = ["course_secret", "grade_class", "grade_run", "show_marked"]


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


def grade_class(
    submissions: Path,
    *,
    table: Path | None,
    feedback: Path | None,
    say: Callable[[str], None],
    **options: Any,
) -> None:
    """Mark a class and say what was made; ``options`` are those of `classroom.gradebook.mark_class`.

    Raises
    ------
    InputError
        When table or folder is not named, or `mark_class` cannot use what is given.
    """
    if table is None or feedback is None:
        raise InputError("--zip needs --csv FILE for the marks and --feedback DIR for the pages")
    from .classroom.gradebook import mark_class

    made = mark_class(submissions, table=table, feedback=feedback, say=say, **options)
    for line in made.report():
        say(line)
    say(f"marks: {table}; pages: {made.pages} in {feedback}; to upload: {feedback / 'feedback.zip'}")


def course_secret(course: Path | None, secret_file: Path | None) -> tuple[str, tuple[Path, ...]]:
    """Return a course's secret, and what answers must not see; without a course the public one.

    Raises
    ------
    InputError
        When no secret is there.
    """
    path = secret_file if secret_file is not None else course if course is not None else None
    if path is None:
        return seeds.PUBLIC, ()
    return read_secret(path), (path, *([course] if course is not None else []))


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
