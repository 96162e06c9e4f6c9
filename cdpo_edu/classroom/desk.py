"""What an assignment's notebook uses: one's own instance, and the check of an answer."""

from __future__ import annotations

import copy
from typing import Any

from . import seeds
from .exercise import CheckFailed, Exercise, Inputs
from .exercises import exercise_named

__all__ = ["Desk"]


class Desk:
    """A student's place in a course.

    Parameters
    ----------
    student : str
        The id under which the work is handed in; it decides the instances.
    course : str
        The course's token; "public" is the repository's own, for self-study.

    Examples
    --------
    >>> desk = Desk("ada")
    >>> desk.check("dual_step", lambda lam, cost, limit, step: max(0.0, lam + step * (cost - limit)))
    dual_step: right on 36 fresh instances
    """

    def __init__(self, student: str, course: str = seeds.PUBLIC) -> None:
        if not student.strip():
            raise ValueError(
                "STUDENT is empty: type the id under which you hand in, it decides your instances"
            )
        self.student, self.course = student.strip(), course

    def instance(self, key: str) -> Inputs:
        """Return this student's own instance of an exercise, the same at each call."""
        return exercise_named(key).shown(self.course, self.student)

    def check(self, key: str, answer: Any) -> None:
        """Compare an answer with the oracle and say that it is right.

        A function is called on instances drawn afresh at each check; a value is held against one's own
        instance.

        Raises
        ------
        CheckFailed
            With what is wrong, where it is.
        """
        exercise = exercise_named(key)
        inputs = exercise.drawn_afresh() if exercise.is_function else [self.instance(key)]
        got = [_called(exercise, answer, asked) for asked in inputs] if exercise.is_function else [answer]
        words = exercise.verdict(inputs, got, exercise.variant(self.course))
        if words:
            raise CheckFailed(words)
        print(f"{key}: right" + (f" on {len(inputs)} fresh instances" if exercise.is_function else ""))


def _called(exercise: Exercise, answer: Any, inputs: Inputs) -> Any:
    if not callable(answer):
        raise CheckFailed(f"{exercise.key} is a {type(answer).__name__}, the exercise asks for a function")
    try:
        return answer(**copy.deepcopy(inputs))
    except NotImplementedError:
        raise CheckFailed(f"{exercise.key} is not written yet") from None
    except Exception as error:
        raise CheckFailed(f"{exercise.key} stopped with {type(error).__name__}: {error}") from error
