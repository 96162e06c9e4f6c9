"""From a class's zip to its table, pages and zip of feedback."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ...types import InputError
from .. import seeds
from ..roster import Student, read_roster
from ..sandbox import Limits, choose_road
from ..secret import SECRET_FILE, read_secret
from .archive import Entry, entries, opened
from .collecting import Collected, collected
from .layouts import people
from .marking import Kept, Result, Work, marked_all
from .pages import write_pages
from .table import write_table
from .who import Identity, identities

__all__ = ["ClassMarks", "mark_class"]

JOBS = 2
"""Works marked at a time."""
DOWNLOAD = timedelta(minutes=10)
"""Files of a class that all came within this time bear the time at which they were packed."""


@dataclass(frozen=True)
class ClassMarks:
    """What was made.

    Attributes
    ----------
    results : list of Result
        A row each.
    refused : list of Entry
        Entries that belong to nobody.
    pages : int
    minutes : float
    """

    results: list[Result]
    refused: list[Entry]
    pages: int
    minutes: float

    def report(self) -> list[str]:
        """Return what to tell the teacher."""
        count = Counter(result.status for result in self.results)
        states = ", ".join(f"{number} {status}" for status, number in count.most_common())
        lines = [f"refused {entry.path!r}: {entry.refused}" for entry in self.refused]
        took = f"{self.minutes:.1f} minutes in all ({60 * self.minutes:.0f} s)"
        return [*lines, f"{len(self.results)} rows: {states}", took]


def mark_class(
    submissions: Path,
    *,
    table: Path,
    feedback: Path,
    roster: Path | None = None,
    course: Path | None = None,
    secret_file: Path | None = None,
    due: datetime | None = None,
    trust: bool = False,
    limits: Limits | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ClassMarks:
    """Mark what a class handed in.

    Parameters
    ----------
    submissions : Path
        The zip of a learning platform, see `layouts`.
    table : Path
        The CSV file to write; marks are kept beside it in ``TABLE.kept`` while it is made.
    feedback : Path
        The folder for the pages and the zip to upload.
    roster : Path, optional
        See `read_roster`; students who sent nothing get a row too.
    course, secret_file : Path, optional
        Where the course's secret is; without, the public course.
    due : datetime, optional
        By which files should have come, in the zip's own time.
    trust : bool
        See `grading.grade`.
    limits : Limits, optional

    Raises
    ------
    InputError
        When zip, roster or secret cannot be used, or the system offers no walls and ``trust`` is not given.
    """
    start = time.monotonic()
    students = read_roster(roster) if roster else None
    source = secret_file or course
    secret = read_secret(source) if source else seeds.PUBLIC
    hidden = _made_ready(submissions, table, feedback, course, source)
    kept_in = table.with_name(table.name + ".kept")
    road = choose_road(tuple(str(path.resolve()) for path in hidden), trust=trust)
    kept = Kept(kept_in, secret, limits or Limits(), trust, road.name, hidden)
    with opened(submissions) as file, tempfile.TemporaryDirectory(dir=kept_in) as folder:
        found, refused = people(entries(file))
        handed_in = collected(file, found, Path(folder))
        _must_be_of_this_course(handed_in, secret)
        works = _works(handed_in, students, _times_known(handed_in, due, say))
        results = marked_all(works, kept, jobs=min(JOBS, os.cpu_count() or 1), say=say)
    write_table(table, results)
    pages = write_pages(feedback, results)
    return ClassMarks(results, refused, pages, (time.monotonic() - start) / 60)


def _made_ready(
    submissions: Path, table: Path, feedback: Path, course: Path | None, source: Path | None
) -> tuple[Path, ...]:
    """Make the folders to write to; return what answers must not see."""
    kept = table.with_name(table.name + ".kept")
    try:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        feedback.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    for left in kept.glob("tmp*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    secret = source / SECRET_FILE if source and source.is_dir() else source
    asked = [submissions, kept, feedback, table, course, secret]
    return tuple(path for path in asked if path is not None and path.exists())


def _must_be_of_this_course(handed_in: Sequence[Collected], secret: str) -> None:
    made_for = Counter(notebook.course for one in handed_in for notebook in one.notebooks)
    private = sum(number for token, number in made_for.items() if token not in ("", seeds.PUBLIC))
    if secret == seeds.PUBLIC and 2 * private > made_for.total():
        raise InputError("the notebooks were made for a course with a secret; give its folder with --course")


def _times_known(
    handed_in: Sequence[Collected], due: datetime | None, say: Callable[[str], None]
) -> datetime | None:
    """Return when the work was due, None where the zip's times say nothing about it."""
    times = [one.when for one in handed_in if one.when and one.person.layout != "canvas"]
    if due and len(times) > 1 and max(times) - min(times) < DOWNLOAD:
        say("the zip's times are those of its packing: minutes late are not known")
        return None
    return due


def _works(
    handed_in: Sequence[Collected], students: Sequence[Student] | None, due: datetime | None
) -> list[Work]:
    """Return the works in the order of the roster, without one of the names."""
    typed = {i: one.typed for i, one in enumerate(handed_in)}
    who = identities([one.person for one in handed_in], students, typed)
    named = {notebook.assignment for one in handed_in for notebook in one.notebooks}
    alone = named.pop() if len(named) == 1 else ""
    twice = Counter(filter(None, typed.values()))
    works = [
        work
        for one, identity in zip(handed_in, who, strict=True)
        for work in _of_person(one, identity, due, alone, twice, students is not None)
    ]
    there = {work.who.student for work in works}
    for student in students or ():
        if student["id"] not in there:
            name = f"{student['first_name']} {student['last_name']}".strip() or student["id"]
            absent = Identity(student["id"], student["id"], name, True)
            works.append(Work(None, absent, alone, None, "not handed in", None, ()))
    place = {student["id"]: i for i, student in enumerate(students or ())}
    last = len(place)
    return sorted(
        works,
        key=lambda work: (
            place.get(work.who.student, last),
            "" if work.who.in_roster else work.who.name.casefold(),
            work.who.student,
            work.person.number if work.person else "",
            work.assignment,
        ),
    )


def _of_person(
    one: Collected, who: Identity, due: datetime | None, alone: str, twice: Counter[str], with_roster: bool
) -> list[Work]:
    notes = [] if who.in_roster or not with_roster else ["Not found in the roster."]
    late = _minutes_late(one, due)
    if one.person.late:
        notes.append("Late, says the platform.")
    if not one.notebooks:
        return [Work(one.person, who, alone, None, one.status, late, (*notes, *one.faults))]
    works = []
    for notebook in one.notebooks:
        own, student = list(notes), who.id
        if not student:
            student = notebook.typed or one.typed or who.student
            own.append(
                f"Marked for the id {student!r}, which is typed in the notebook."
                if one.typed
                else "No id is typed in the notebook."
            )
        if notebook.typed and twice[notebook.typed] > 1:
            own.append(f"The id {notebook.typed!r} is typed in {twice[notebook.typed]} students' notebooks.")
        if notebook.earlier:
            own.append(
                f"The latest copy counts ({notebook.entry.name}), not {', '.join(notebook.earlier[:5])}."
            )
        works.append(
            Work(
                one.person,
                who._replace(id=student),
                notebook.assignment,
                notebook,
                "",
                late,
                (*own, *one.faults),
            )
        )
    return works


def _minutes_late(one: Collected, due: datetime | None) -> int | None:
    """Return the whole minutes after ``due`` at which the latest file came."""
    if due is None or one.when is None or one.person.layout == "canvas":
        return None
    return max(0, -((due - one.when) // timedelta(minutes=1)))
