"""What every exercise of every assignment must be: blank fails, solved passes, mistakes get their sentence.

Nothing here knows an exercise, so a new one falls under these tests as it arrives. The answers are run from
the assignments' sources, wording by wording; the oracles are held against the library elsewhere.
"""

from __future__ import annotations

import copy
import functools
import itertools
import re
from typing import Any

import numpy as np
import pytest

from cdpo_edu.classroom import CheckFailed, Desk, seeds
from cdpo_edu.classroom.agreement import disagreement
from cdpo_edu.classroom.exercise import OTHER_WORDING, Assignment, Exercise, Inputs, Wrong
from cdpo_edu.classroom.exercises import ASSIGNMENTS, exercise_named
from cdpo_edu.classroom.sources import read_source
from cdpo_edu.classroom.versions import code_of

STUDENTS = [f"student {number}" for number in range(20)]
WORDED = [
    pytest.param(assignment, exercise, variant, id=f"{exercise.key}-{variant}")
    for assignment in ASSIGNMENTS
    for exercise in assignment.exercises
    for variant in exercise.variants
]
EVERY_ASSIGNMENT = pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda one: one.name)
EVERY = pytest.mark.parametrize(("assignment", "exercise", "variant"), WORDED)


def token_of(exercise: Exercise, variant: str) -> str:
    """Return the token of a course that has this wording, the same one for as many exercises as can be."""
    tokens = [seeds.PUBLIC, *(f"{number:016x}" for number in range(1000))]
    return next(token for token in tokens if exercise.variant(token) == variant)


def students(exercise: Exercise, count: int = 20) -> list[str]:
    """Return ids; an exercise that is called once trains something, and two of its students have to do."""
    return STUDENTS[: 2 if exercise.is_function and exercise.trials == 1 else count]


def shown(exercise: Exercise, variant: str, student: str) -> Inputs:
    """Return what a student of such a course sees."""
    return copy.deepcopy(_shown(exercise.key, token_of(exercise, variant), student))


@functools.cache
def _shown(key: str, token: str, student: str) -> Inputs:
    return exercise_named(key).shown(token, student)


def asked(exercise: Exercise, variant: str, student: str) -> list[Inputs]:
    """Return what is marked in such a course, with its token for a secret."""
    if not exercise.is_function:
        return [shown(exercise, variant, student)]
    return copy.deepcopy(_asked(exercise.key, token_of(exercise, variant), student))


@functools.cache
def _asked(key: str, token: str, student: str) -> list[Inputs]:
    exercise, rng = exercise_named(key), seeds.generator(token, key, student)
    return [exercise.draw(rng) for _ in range(exercise.trials)]


@functools.cache
def solved(name: str, token: str, student: str) -> dict[str, Any]:
    """Return the names that an assignment's solution leaves behind.

    Cells that answers do not need, pictures above all, may ask for the package and are not run.
    """
    assignment = next(one for one in ASSIGNMENTS if one.name == name)
    found: dict[str, Any] = {}
    for role, _, text in code_of(assignment, "solution", token=token):
        text = text.replace("your id", student) if role == "student" else text
        if role in ("student", "given", "answer") or "desk.instance" in text:
            exec(compile(text, f"{name} {role}", "exec"), found)
    return found


def replied(exercise: Exercise, answer: Any, inputs: list[Inputs]) -> list[Any]:
    return [answer(**one) for one in inputs] if exercise.is_function else [answer] * len(inputs)


def given_by(wrong: Wrong, inputs: list[Inputs]) -> list[Any]:
    with np.errstate(all="ignore"):
        return [wrong.answer(**one) for one in inputs]


# ---- right, blank and wrong -----------------------------------------------------------------------


@EVERY
def test_the_solution_passes(assignment: Assignment, exercise: Exercise, variant: str) -> None:
    token = token_of(exercise, variant)
    for student in students(exercise, 3):
        answer = solved(assignment.name, token, student)[exercise.key]
        inputs = asked(exercise, variant, student)
        assert exercise.verdict(inputs, replied(exercise, answer, inputs), variant) is None


@EVERY
def test_the_visible_check_passes_the_solution_and_fails_the_stub(
    assignment: Assignment, exercise: Exercise, variant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    token = token_of(exercise, variant)
    desk = Desk(STUDENTS[0], course=token)
    capsys.readouterr()
    desk.check(exercise.key, solved(assignment.name, token, STUDENTS[0])[exercise.key])
    assert f"{exercise.key}: right" in capsys.readouterr().out
    for blank in (None, ..., lambda **inputs: None, lambda **inputs: ..., not_written):
        with pytest.raises(CheckFailed, match="not answered|not written|asks for a function|expected"):
            desk.check(exercise.key, blank)


def not_written(**inputs: Any) -> Any:
    raise NotImplementedError


@EVERY
def test_mistakes_get_the_sentence_meant_for_them(
    assignment: Assignment, exercise: Exercise, variant: str
) -> None:
    """Also where they come in several, as marking meets them; the other wordings' answers are mistakes."""
    mistakes = exercise.mistakes(variant)
    own = [wrong for wrong in mistakes if wrong.message != OTHER_WORDING]
    assert len({wrong.name for wrong in own}) >= 3
    assert len({wrong.message for wrong in own}) == len(own)
    for student in students(exercise, 5):
        inputs = asked(exercise, variant, student)
        for wrong in mistakes:
            said = exercise.verdict(inputs, given_by(wrong, inputs), variant)
            if wrong in own:
                assert said == wrong.message, wrong.name
            else:  # a mistake by name may be what another wording asks for
                assert said in {one.message for one in mistakes}, wrong.name


@EVERY
def test_a_sentence_does_not_give_the_answer(
    assignment: Assignment, exercise: Exercise, variant: str
) -> None:
    """Words of a mistake are as long as help needs, and hold no number that was computed."""
    for wrong in exercise.mistakes(variant):
        assert 20 < len(wrong.message) < 250
        assert not re.search(r"\d\.\d", wrong.message)


@EVERY
def test_no_mistake_passes_for_any_student(assignment: Assignment, exercise: Exercise, variant: str) -> None:
    """A value has one instance, so on it every mistake must differ from what is right."""
    for student in students(exercise):
        inputs = asked(exercise, variant, student)
        for wrong in exercise.mistakes(variant):
            assert exercise.verdict(inputs, given_by(wrong, inputs), variant), (student, wrong.name)


@EVERY
def test_the_public_solution_is_wrong_in_the_other_wordings(
    assignment: Assignment, exercise: Exercise, variant: str
) -> None:
    if variant == exercise.variants[0]:
        return
    answer = solved(assignment.name, seeds.PUBLIC, STUDENTS[0])[exercise.key]
    inputs = asked(exercise, variant, STUDENTS[0])
    assert exercise.verdict(inputs, replied(exercise, answer, inputs), variant)


# ---- instances ------------------------------------------------------------------------------------


@EVERY
def test_each_student_has_an_instance_of_her_own(
    assignment: Assignment, exercise: Exercise, variant: str
) -> None:
    instances = [shown(exercise, variant, student) for student in students(exercise)]
    assert all(disagreement(instances[0], other) for other in instances[1:])
    again = exercise.shown(token_of(exercise, variant), STUDENTS[0])
    assert disagreement(instances[0], again) is None


@EVERY
def test_a_copied_value_is_hardly_ever_right(
    assignment: Assignment, exercise: Exercise, variant: str
) -> None:
    if exercise.is_function or exercise.judge is not None or exercise.kind == "diagnose":
        return
    instances = [shown(exercise, variant, student) for student in STUDENTS]
    right = [exercise.oracles[variant](**inputs) for inputs in instances]
    pairs = list(itertools.combinations(right, 2))
    copies = [disagreement(one, other, tolerance=exercise.tolerance) is None for one, other in pairs]
    assert sum(copies) < len(pairs) / 10


@EVERY
def test_instances_are_alike_in_shape(assignment: Assignment, exercise: Exercise, variant: str) -> None:
    """The plainest part of equal difficulty: as many guests, dishes, rounds and statements for everyone."""
    instances = [shown(exercise, variant, student) for student in students(exercise)]
    assert len({shape_of(inputs) for inputs in instances}) == 1


def shape_of(value: Any) -> Any:
    """Return names, lengths and shapes, and nothing of the values."""
    if isinstance(value, dict):
        return tuple((name, shape_of(one)) for name, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(shape_of, value))
    return value.shape if isinstance(value, np.ndarray) else type(value).__name__


# ---- assignments ----------------------------------------------------------------------------------


@EVERY_ASSIGNMENT
def test_an_assignment_has_twenty_points_and_an_hour_or_more_of_work(assignment: Assignment) -> None:
    assert assignment.max_score == 20
    assert 4 <= len(assignment.exercises) <= 6
    longest = 120 if assignment is ASSIGNMENTS[-1] else 95  # the last one is the capstone
    assert 60 <= sum(exercise.minutes for exercise in assignment.exercises) <= longest


@EVERY_ASSIGNMENT
def test_every_function_has_a_second_wording_and_kinds_are_mixed(assignment: Assignment) -> None:
    functions = [exercise for exercise in assignment.exercises if exercise.is_function]
    assert all(len(exercise.variants) >= 2 for exercise in functions)
    assert len({exercise.kind for exercise in assignment.exercises}) >= 2


def test_keys_are_unique() -> None:
    keys = [exercise.key for assignment in ASSIGNMENTS for exercise in assignment.exercises]
    assert len(keys) == len(set(keys))


@EVERY_ASSIGNMENT
def test_answers_need_no_package(assignment: Assignment) -> None:
    """They are marked where it is not installed."""
    cells = read_source(assignment.name)
    needed = [cell.text for cell in cells if "answer" in cell.meta or "given" in cell.meta]
    for text in needed:
        asked_for = re.findall(r"^\s*(?:from|import) (cdpo_edu\S*)", text, re.MULTILINE)
        assert set(asked_for) <= {"cdpo_edu.classroom"}, text


@EVERY_ASSIGNMENT
def test_each_exercise_has_a_hint_and_says_what_to_expect(assignment: Assignment) -> None:
    texts: dict[str, str] = {}
    current = ""
    for cell in read_source(assignment.name):
        current = cell.meta.get("exercise", cell.meta.get("answer", current))
        if cell.kind == "markdown":
            texts[current] = texts.get(current, "") + cell.text
    for exercise in assignment.exercises:
        assert "<summary>Hint" in texts[exercise.key], exercise.key
        assert "Expected:" in texts[exercise.key], exercise.key
