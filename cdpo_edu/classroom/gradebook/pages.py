"""What students get back: a page each, and a zip in the layout that their platform takes.

Moodle takes files in the folders that it gave out ("Upload multiple feedback files in a zip"). Canvas takes
files under the names that it gave out and shows them under the name that was handed in, so there the marks
come as a notebook of one cell.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from ..exercises import assignment_named
from ..grading import ON_TRUST
from ..template import fill_template
from .marking import Result
from .table import score_of

__all__ = ["TO_UPLOAD", "write_pages"]

TO_UPLOAD = "feedback.zip"
WITHOUT_MARK = {
    "refused": "What you sent could not be accepted.",
    "unreadable": "What you sent could not be read as a notebook.",
    "no notebook": "There is no notebook in what you sent.",
    "not handed in": "Nothing was handed in.",
    "not marked": "Your notebook is there, but it was not marked yet; your teacher looks at it.",
}
FOR_THE_TEACHER = ("Marking failed", "The id ", "Not found in the roster", ON_TRUST)


def write_pages(folder: Path, results: Sequence[Result]) -> int:
    """Write a page for each student, and the zip; return the number of pages."""
    folder.mkdir(parents=True, exist_ok=True)
    names = set[str]()
    with zipfile.ZipFile(folder / f"{TO_UPLOAD}.partial", "w", zipfile.ZIP_DEFLATED) as upload:
        for _, group in groupby(results, key=_whose):
            mine = list(group)
            page = feedback_page(mine)
            (folder / _name(mine[0], names)).write_text(page, encoding="utf-8")
            for path, text in _to_upload(mine, page):
                upload.writestr(path, text)
    (folder / f"{TO_UPLOAD}.partial").replace(folder / TO_UPLOAD)
    return len(names)


def _whose(result: Result) -> tuple[str, str]:
    return result.work.who.student, result.work.person.number if result.work.person else ""


def feedback_page(results: Sequence[Result]) -> str:
    """Return the page of one student, complete in itself."""
    works = [_work(result) for result in results]
    return fill_template("feedback.html.j2", student=results[0].work.who.name, works=works)


def _work(result: Result) -> dict[str, object]:
    score, most = score_of(result)
    title = assignment_named(result.work.assignment).title if result.work.assignment else "Your work"
    return {
        "title": title,
        "score": score,
        "most": most,
        "share": float(score) / float(most) if score != "" and most else 0.0,
        "without": "" if result.marked else WITHOUT_MARK[result.status],
        "marks": result.marked.exercises if result.marked else (),
        "notes": for_student(result),
        "late": result.work.minutes_late or 0,
    }


def for_student(result: Result) -> list[str]:
    """Return the notes that are meant for the student too."""
    return [note for note in result.notes if not note.startswith(FOR_THE_TEACHER)]


def _name(result: Result, names: set[str]) -> str:
    """Return a file name of one's own for a page, which names the student and leads nowhere else."""
    who = result.work.who
    words = who.name if who.name == who.student else f"{who.name}_{who.student}"
    stem = re.sub(r"[^\w@+-]+", "_", words).strip("_")[:80] or "student"
    name, number = f"{stem}.html", 2
    while name.casefold() in names:
        name, number = f"{stem}_{number}.html", number + 1
    names.add(name.casefold())
    return name


def _to_upload(results: Sequence[Result], page: str) -> Iterator[tuple[str, str]]:
    """Yield what goes back to the platform for one student."""
    person = results[0].work.person
    if person is None or not all(letter.isprintable() for letter in person.stem):
        return
    if person.layout == "canvas":
        for result in results:
            if result.work.notebook and result.marked:
                yield result.work.notebook.entry.name, _as_notebook(result)
    elif person.layout == "moodle" and not person.folders:
        yield f"{person.stem}feedback.html", page
    else:
        yield f"{person.stem}/feedback.html", page


def _as_notebook(result: Result) -> str:
    """Return marks as a notebook of one cell."""
    assert result.marked is not None
    lines = [f"# {result.marked.score:g} of {result.marked.max_score:g} points"]
    for mark in result.marked.exercises:
        lines.append(
            f"**{mark.title}**: {mark.points:g} of {mark.max_points:g}\n\n{_verbatim(mark.sentence)}"
        )
    lines += [_verbatim(note) for note in for_student(result)]
    cell = {"cell_type": "markdown", "id": "marks", "metadata": {}, "source": "\n\n".join(lines)}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


def _verbatim(text: str) -> str:
    """Return text as an indented block, in which markdown and HTML mean nothing."""
    return "\n".join(f"    {line}" for line in text.splitlines())
