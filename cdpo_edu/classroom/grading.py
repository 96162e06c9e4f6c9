"""The mark of one notebook, with a sentence for each exercise.

Its answers run in a process of their own (`sandbox`); what they give is judged here, where the oracles are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..types import InputError
from . import seeds
from .exercise import Exercise, Inputs
from .sandbox import Ended, Limits, Reply, StudentProcess, trusted
from .sources import read_source
from .submission import Cell, in_order, read_submission

__all__ = ["Mark", "Marked", "grade"]

UNANSWERED = "Not answered."
RIGHT = "Right."


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
        return asdict(self) | {"exercises": [asdict(mark) for mark in self.exercises], "notes": list(self.notes)}


def grade(
    notebook: Path, *, student: str, secret: str = seeds.PUBLIC, limits: Limits = Limits(), trust: bool = False
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
        Run the answers without the system's walls around them, where there are none.

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
    marks = tuple(_marks(submission, student, secret, limits))
    total = sum(mark.points for mark in marks)
    return Marked(submission.assignment.name, student, total, submission.assignment.max_score, marks)


def _marks(submission: Any, student: str, secret: str, limits: Limits) -> Iterator[Mark]:
    token = seeds.course_token(secret)
    exercises = submission.assignment.exercises
    cells = in_order(submission, read_source(submission.assignment.name))
    with StudentProcess(trusted(), limits, {e.key: e.shown(token, student) for e in exercises}) as process:
        for cell in cells:
            if cell.role != "check":
                process.ask("run", text=cell.text, cell=cell.key or "cell")
        for exercise in exercises:
            asked = exercise.marked(secret, student)
            if exercise.is_function:
                got = [process.ask("call", key=exercise.key, inputs=one) for one in asked]
            else:
                got = [process.ask("value", key=exercise.key)]
            words = exercise.verdict(asked, [reply.value for reply in got], exercise.variant(token))
            yield Mark(exercise.key, exercise.title, 0 if words else exercise.points, exercise.points, words or RIGHT)
