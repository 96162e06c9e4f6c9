"""The six assignments and their exercises."""

from __future__ import annotations

from ..exercise import Assignment, Exercise
from . import broken_runs, capstone, dpo_labels, dual_function, dual_step, preferences

ASSIGNMENTS: tuple[Assignment, ...] = (
    dual_step.ASSIGNMENT,
    preferences.ASSIGNMENT,
    dual_function.ASSIGNMENT,
    dpo_labels.ASSIGNMENT,
    broken_runs.ASSIGNMENT,
    capstone.ASSIGNMENT,
)


def exercise_named(key: str) -> Exercise:
    """Return an exercise by its key.

    Raises
    ------
    ValueError
        With the keys there are.
    """
    found = {exercise.key: exercise for assignment in ASSIGNMENTS for exercise in assignment.exercises}
    if key not in found:
        raise ValueError(f"no exercise is called {key!r}; there are {', '.join(found)}")
    return found[key]


def assignment_named(name: str) -> Assignment:
    """Return an assignment by the stem of its notebook.

    Raises
    ------
    ValueError
        With the names there are.
    """
    for assignment in ASSIGNMENTS:
        if assignment.name == name:
            return assignment
    raise ValueError(f"no assignment is called {name!r}; there are {', '.join(a.name for a in ASSIGNMENTS)}")
