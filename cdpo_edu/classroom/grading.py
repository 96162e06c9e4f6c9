"""The mark of one notebook, with a sentence for each exercise.

Its answers run in a process of their own (`sandbox`); what they give is judged here, where the oracles are.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..types import InputError
from . import seeds
from .copied import copied_from, library_asked
from .exercise import Exercise, Inputs
from .exercises import assignment_named
from .sandbox import Ended, Limits, Road, StudentProcess, choose_road
from .sitting import Given, Sitting
from .submission import Cell, Submission, bare, cell_of, changed, in_order, read_submission
from .versions import code_of

__all__ = ["Mark", "Marked", "grade"]

LIMITS = Limits()
_FILTERS = threading.Lock()
"""Filters of warnings belong to the whole process, and a class is marked in two threads."""
UNANSWERED = "Not answered."
RIGHT = "Right."
ASKED_LIBRARY = "No points: the answer asks for the library's own ({}); the exercise asks for yours."
OPENED = "No points: the answer opens {}, which is not its own."
COPIED = "No points: this is the library's own code ({}), with other names at most."
WRONG_ID = "This is right for the id {!r}, which is typed in the notebook; it was handed in as {!r}."
OTHER_COURSE = "The notebook was made for another course: its wording and its instances may be others."
ON_TRUST = (
    "Marked on trust: time, memory and output were limited, but nothing kept the answers from the network, "
    "from files outside their folder and from other processes."
)


@dataclass(frozen=True)
class Mark:
    """What one exercise earned, and why, for its author."""

    key: str
    title: str
    points: float
    max_points: float
    sentence: str


@dataclass(frozen=True)
class Marked:
    """The mark of a notebook.

    Attributes
    ----------
    assignment, student : str
    score, max_score : float
    exercises : tuple of Mark
        In the assignment's order.
    notes : tuple of str
        What the teacher should know: a changed locked cell, a cell that did not end, limits not held.
    """

    assignment: str
    student: str
    score: float
    max_score: float
    exercises: tuple[Mark, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the mark as JSON knows it."""
        return asdict(self) | {
            "exercises": [asdict(mark) for mark in self.exercises],
            "notes": list(self.notes),
        }


def grade(
    notebook: Path,
    *,
    student: str,
    secret: str = seeds.PUBLIC,
    limits: Limits = LIMITS,
    trust: bool = False,
    hidden: Sequence[Path] = (),
) -> Marked:
    """Mark a notebook.

    Parameters
    ----------
    notebook : Path
    student : str
        The id under which it was handed in; empty, the id typed in the notebook.
    secret : str
        The course's; "public" for the exercises of the repository.
    limits : Limits
        Of each cell, and of the calls of each answer.
    trust : bool
        Where the system offers no walls around the answers, run them without.
    hidden : sequence of Path
        Files and folders of the teacher, which answers must not see.

    Raises
    ------
    InputError
        When it cannot be read, belongs to no assignment or names no student; when the system offers no
        walls and ``trust`` is not given.
    """
    submission = read_submission(Path(notebook))
    student = student.strip() or submission.typed
    if not student:
        raise InputError(f"{notebook}: names no student; give --student ID")
    road = choose_road(tuple(str(Path(path).resolve()) for path in hidden), trust=trust)
    marking = _Marking(submission, student, secret)
    marks = marking.marks(road, limits)
    notes = (*marking.notes(), *([ON_TRUST] if road.name == "trust" else []))
    total = sum(mark.points for mark in marks)
    return Marked(submission.assignment.name, student, total, submission.assignment.max_score, marks, notes)


class _Marking:
    """The marking of one submission."""

    def __init__(self, submission: Submission, student: str, secret: str) -> None:
        self.submission, self.student, self.secret = submission, student, secret
        self.token = seeds.course_token(secret)
        self.handed_out, self.solved = handed_out(submission.assignment.name, self.token)
        named = Cell("given", "STUDENT", f"STUDENT = {student!r}")
        ordered = in_order(submission, self.handed_out)
        self.cells = [named, *(cell for cell in ordered if cell.role != "student")]
        self.spoiled: dict[int, str] = {}

    def marks(self, road: Road, limits: Limits) -> tuple[Mark, ...]:
        """Return the mark of each exercise."""
        exercises = self.submission.assignment.exercises
        instances = {exercise.key: exercise.shown(self.token, self.student) for exercise in exercises}
        asked = {
            exercise.key: (exercise, exercise.marked(self.secret, self.student))
            for exercise in exercises
            if not self._before_running(exercise)
        }
        sitting = Sitting(self.cells, lambda: StudentProcess(road, limits, instances), asked)
        try:
            sitting.together()
            sentences = [self._sentence(exercise, sitting) for exercise in exercises]
        except Ended as error:
            raise InputError(f"the process for answers {error}, before any answer ran") from None
        self.spoiled = sitting.spoiled
        return tuple(_mark(exercise, words) for exercise, words in zip(exercises, sentences, strict=True))

    def notes(self) -> list[str]:
        """Return what the teacher should know beyond the exercises."""
        notes = [
            f"The {what} is not as it was handed out; the original was used."
            for what in changed(self.submission, self.handed_out)
        ]
        typed = self.submission.typed
        if typed and typed != self.student:
            notes.append(f"The id typed in the notebook is {typed!r}; it is marked for {self.student!r}.")
        if self.submission.course not in ("", self.token):
            notes.append(OTHER_COURSE)
        for i, why in self.spoiled.items():
            if self.cells[i].role == "own":
                notes.append(f"A cell ({_first_line(self.cells[i].text)}) {why}; it was left out.")
        return notes

    def _texts(self, key: str) -> list[str]:
        return [cell.text for cell in self.cells if cell.role == "answer" and cell.key == key]

    def _before_running(self, exercise: Exercise) -> str:
        """Return the sentence for an answer that needs no running, empty where it must be run."""
        texts = self._texts(exercise.key)
        stubs = {bare(cell.text) for cell in self.handed_out if cell.role == "answer"}
        if all(bare(text) in stubs for text in texts):
            return UNANSWERED if texts else f"Not answered: no cell defines {exercise.key}."
        for text in texts:
            if name := library_asked(text):
                return ASKED_LIBRARY.format(name)
            if name := copied_from(text, exercise, self.solved.get(exercise.key, "")):
                return COPIED.format(name)
        return ""

    def _sentence(self, exercise: Exercise, sitting: Sitting) -> str | None:
        """Return None for a right answer, else what is wrong with it."""
        if refused := self._before_running(exercise):
            return refused
        given = sitting.given.get(exercise.key)
        words = self._judged(exercise, given, sitting) if given else "The other cells left no process for it."
        if words is None or (given and given.looked):
            return words
        again = sitting.alone(exercise.key)
        alone = self._judged(exercise, again, sitting) if again else words
        return alone if alone is None or given is None else words

    def _judged(self, exercise: Exercise, given: Given, sitting: Sitting) -> str | None:
        if given.looked:
            how, _, what = given.looked[0].partition(" ")
            return (ASKED_LIBRARY if how == "import" else OPENED).format(what)
        if given.fault:
            return self._through_library(exercise, sitting) or given.fault
        asked = sitting.asked[exercise.key][1]
        words = _verdict(exercise, asked, given.values, exercise.variant(self.token))
        if words and self._for_typed_id(exercise, given.values):
            return WRONG_ID.format(self.submission.typed, self.student)
        return words and UNANSWERED if all(value is None or value is ... for value in given.values) else words

    def _through_library(self, exercise: Exercise, sitting: Sitting) -> str | None:
        """Return the sentence for an answer that failed because a cell it rests on asks for the library."""
        for i in sitting.needed(exercise.key):
            if self.cells[i].role == "own" and (name := library_asked(self.cells[i].text)):
                return ASKED_LIBRARY.format(name)
        return None

    def _for_typed_id(self, exercise: Exercise, values: Sequence[Any]) -> bool:
        """Return whether a value is right for the id typed in the notebook, which is another one."""
        typed = self.submission.typed
        if exercise.is_function or typed in ("", self.student):
            return False
        shown = [exercise.shown(self.token, typed)]
        return _verdict(exercise, shown, values, exercise.variant(self.token)) is None


@functools.lru_cache(maxsize=32)
def handed_out(name: str, token: str) -> tuple[list[Cell], dict[str, str]]:
    """Return the code cells that students of a course got, and the solution's answers by key."""
    assignment = assignment_named(name)
    student, solution = (code_of(assignment, kind, token=token) for kind in ("student", "solution"))
    return [cell_of(*each) for each in student], {
        key: text for role, key, text in solution if role == "answer"
    }


def _verdict(exercise: Exercise, asked: Sequence[Inputs], got: Sequence[Any], variant: str) -> str | None:
    """Return what the exercise says; an answer that cannot even be compared is wrong."""
    try:
        with _FILTERS, warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return exercise.verdict(asked, got, variant)
    except Exception as error:
        return (
            f"{exercise.key} gave what cannot be compared with an answer ({type(error).__name__}: {error})."
        )


def _mark(exercise: Exercise, words: str | None) -> Mark:
    sentence = RIGHT if words is None else words
    points = exercise.points if words is None else 0
    return Mark(exercise.key, exercise.title, points, exercise.points, sentence)


def _first_line(text: str) -> str:
    return next(filter(None, map(str.strip, text.splitlines())), "")[:60]
