"""The marks of a class as a CSV file that a spreadsheet may open.

A name that begins like a formula is text there: a cell that begins with "=", "+", "-" or "@" gets an
apostrophe before it (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .. import exercises
from ..exercises import assignment_named
from .marking import Result, points

__all__ = ["write_table"]

FIRST = ("student", "name", "assignment", "score", "max_score", "minutes_late", "status")
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the wide forms, which some spreadsheets read alike."""


def write_table(path: Path, results: Sequence[Result]) -> None:
    """Write a row for each result; in UTF-8 with the mark by which spreadsheets know it."""
    keys = _keys(results)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIRST, *keys, "note"])
        for result in results:
            writer.writerow(_row(result, keys))
    partial.replace(path)


def plain(text: str) -> str:
    r"""Return a text that no spreadsheet takes for a formula, on one line.

    >>> plain("=HYPERLINK(1)"), plain(" @me"), plain("Ada\nLovelace")
    ("'=HYPERLINK(1)", "'@me", 'Ada Lovelace')
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return f"'{line}" if line.startswith(FORMULA) else line


def _keys(results: Sequence[Result]) -> list[str]:
    """Return the exercises of the assignments that were handed in."""
    named = {result.work.assignment for result in results}
    chosen = [assignment for assignment in exercises.ASSIGNMENTS if assignment.name in named]
    return list(dict.fromkeys(exercise.key for assignment in chosen for exercise in assignment.exercises))


def _row(result: Result, keys: Sequence[str]) -> list[str | int | float]:
    work, by_key = result.work, points(result)
    score, most = score_of(result)
    return [
        plain(work.who.student),
        plain(work.who.name),
        work.assignment,
        score,
        most,
        "" if work.minutes_late is None else work.minutes_late,
        result.status,
        *(by_key.get(key, "") for key in keys),
        plain(" ".join(result.notes)),
    ]


def score_of(result: Result) -> tuple[float | str, float | str]:
    """Return score and full score: 0 for what was not handed in, nothing where marking failed."""
    if result.marked:
        return result.marked.score, result.marked.max_score
    most = assignment_named(result.work.assignment).max_score if result.work.assignment else ""
    return ("" if result.status == "not marked" else 0), most
