"""Marks of a class, two works at a time, each kept as soon as it is there.

A kept mark is found by what it depends on: the notebook's bytes, the id, the course's token, how the answers
were shut in, and the code that marks. So a run that was killed goes on where it was, and a second run marks
what is new.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...bars import bar
from ...types import InputError
from .. import seeds
from ..grading import Mark, Marked, grade
from ..sandbox import Limits
from .collecting import Notebook
from .layouts import Person
from .who import Identity

__all__ = ["Kept", "Result", "Work", "marked_all"]

CODE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Work:
    """One work to mark, or the reason why there is none; one row of the table.

    Attributes
    ----------
    person : Person or None
        None for a student of the roster who is not in the zip.
    who : Identity
    assignment : str
        Empty where it is not known.
    notebook : Notebook or None
    status : str
        Used when there is no notebook.
    minutes_late : int or None
        None where it is not known.
    notes : tuple of str
    """

    person: Person | None
    who: Identity
    assignment: str
    notebook: Notebook | None
    status: str
    minutes_late: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A work with its mark, None where there is none."""

    work: Work
    marked: Marked | None
    status: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """Where marks are kept, and how works are marked.

    Attributes
    ----------
    folder : Path
    secret : str
    limits : Limits
    trust : bool
    road : str
        How answers are shut in here.
    hidden : tuple of Path
        What answers must not see.
    """

    folder: Path
    secret: str
    limits: Limits
    trust: bool
    road: str
    hidden: tuple[Path, ...]

    def path(self, notebook: Notebook, student: str) -> Path:
        """Return the file of a mark."""
        token = seeds.course_token(self.secret)
        parts = [notebook.digest, notebook.assignment, student, token, self.road, repr(self.limits), code()]
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"

    def read(self, path: Path) -> Marked | None:
        """Return a kept mark, None where there is none that can be read."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            marks = tuple(Mark(**mark) for mark in told.pop("exercises"))
            return Marked(**told | {"exercises": marks, "notes": tuple(told["notes"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, path: Path, marked: Marked) -> None:
        """Keep a mark; a run that is killed here leaves none or a whole one."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(marked.as_dict(), ensure_ascii=False), encoding="utf-8")
        partial.replace(path)


@functools.cache
def code() -> str:
    """Return a digest of the code that marks and of the assignments' sources."""
    digest = hashlib.sha256()
    for folder in (CODE, CODE.parents[1] / "notebooks" / "src" / "assignments"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def marked_all(works: Sequence[Work], kept: Kept, *, jobs: int, say: Callable[[str], None]) -> list[Result]:
    """Return a result for each work, in their order."""
    done = sum(_is_kept(work, kept) for work in works)
    if done:
        say(f"{done} marks were kept from an earlier run")
    with ThreadPoolExecutor(max_workers=jobs) as pool, bar(title="marking", total=len(works)) as progress:
        futures = [pool.submit(_result, work, kept) for work in works]
        try:
            for future in as_completed(futures):
                future.result()
                progress.update(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _is_kept(work: Work, kept: Kept) -> bool:
    return work.notebook is not None and kept.path(work.notebook, work.who.id).exists()


def _result(work: Work, kept: Kept) -> Result:
    """Return the result of one work, whatever happens while it is marked."""
    if work.notebook is None:
        return Result(work, None, work.status, work.notes)
    path = kept.path(work.notebook, work.who.id)
    marked = kept.read(path)
    try:
        if marked is None:
            marked = _graded(work.notebook, work.who.id, kept)
            kept.write(path, marked)
    except InputError as error:
        reason = str(error).removeprefix(f"{work.notebook.path}: ")
        return Result(work, None, "not marked", (*work.notes, f"Marking failed: {reason}."))
    except Exception as error:
        reason = f"Marking failed ({type(error).__name__}: {error}); look at this notebook by hand."
        return Result(work, None, "not marked", (*work.notes, reason))
    return Result(work, marked, "marked", (*work.notes, *marked.notes))


def _graded(notebook: Notebook, student: str, kept: Kept) -> Marked:
    return grade(
        notebook.path,
        student=student,
        secret=kept.secret,
        limits=kept.limits,
        trust=kept.trust,
        hidden=kept.hidden,
    )


def points(result: Result) -> dict[str, Any]:
    """Return the points by exercise, empty where nothing was marked."""
    return {mark.key: mark.points for mark in result.marked.exercises} if result.marked else {}
