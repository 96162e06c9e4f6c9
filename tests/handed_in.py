"""A small assignment and notebooks that hand it in, for the tests of the marking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cdpo_edu.classroom import exercises, grading, sources, submission, versions
from cdpo_edu.classroom.exercise import Assignment, Exercise, Inputs, Wrong
from cdpo_edu.classroom.exercises.dual_step import STEP
from cdpo_edu.classroom.grading import Marked, grade
from cdpo_edu.classroom.sandbox import Limits

NAME = "90_the_test_kitchen"
TIGHT = Limits(seconds=0.6, wall_seconds=5.0, memory=500 << 20, output=200_000, processes=24)

SOURCE = '''
# %% student="id"
STUDENT = "your id"

# %% given="desk"
from cdpo_edu.classroom import Desk

desk = Desk(STUDENT, course="public")

# %% answer="dual_step"
def dual_step(lam, cost, limit, step):
    """Return the multiplier after one step."""
    ### BEGIN SOLUTION
    return max(0.0, lam + step * (cost - limit))
    ### END SOLUTION

# %% check="dual_step"
desk.check("dual_step", dual_step)

# %% answer="bill"
bill = None
### BEGIN SOLUTION
bill = sum(desk.instance("bill")["prices"])
### END SOLUTION

# %% check="bill"
desk.check("bill", bill)

# %% given="scale"
SCALE = 2.0

# %% answer="doubled"
def doubled(x):
    """Return x twice."""
    ### BEGIN SOLUTION
    return SCALE * x
    ### END SOLUTION

# %% check="doubled"
desk.check("doubled", doubled)
'''


def _prices(rng: np.random.Generator) -> Inputs:
    return {"prices": [float(price) for price in rng.uniform(1, 9, size=3)]}


def _bill(prices: Sequence[float]) -> float:
    return sum(prices)


def _doubled(x: float) -> float:
    return 2 * x


BILL = Exercise(
    key="bill",
    title="The bill",
    kind="predict",
    points=2,
    minutes=1,
    difficulty="easy",
    draw=_prices,
    oracles={"standard": _bill},
    wrong=(Wrong("the first dish", lambda prices: prices[0], "There is more than one dish."),),
)
DOUBLED = Exercise(
    key="doubled",
    title="Twice",
    kind="implement",
    points=1,
    minutes=1,
    difficulty="easy",
    draw=lambda rng: {"x": float(rng.uniform(1, 2))},
    oracles={"standard": _doubled},
    wrong=(Wrong("once", lambda x: x, "That is x once."),),
    trials=3,
)
ASSIGNMENT = Assignment(NAME, "The test kitchen", (STEP, BILL, DOUBLED))

SOLVED = {
    "dual_step": "def dual_step(lam, cost, limit, step):\n    return max(0.0, lam + step * (cost - limit))",
    "bill": 'bill = sum(desk.instance("bill")["prices"])',
    "doubled": "def doubled(x):\n    return SCALE * x",
}
FULL = {"dual_step": 3, "bill": 2, "doubled": 1}


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kitchen:
    """The library with the small assignment in place of its own ones."""
    for room in (exercises, submission):
        monkeypatch.setattr(room, "ASSIGNMENTS", (ASSIGNMENT,))
    monkeypatch.setattr(versions, "read_source", lambda name: sources.parse(SOURCE))
    grading.handed_out.cache_clear()
    yield Kitchen(tmp_path)
    grading.handed_out.cache_clear()


class Kitchen:
    """Where notebooks are made and marked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def notebook(self, *, student: str = "ada", before: str = "", after: str = "", **answers: str) -> Path:
        """Return a notebook with the solutions, but for the answers given, and own cells around them."""
        cells = [
            cell(text, role, key)
            for role, key, text in versions.code_of(ASSIGNMENT, "student", token="public")
        ]
        for each in cells:
            about = each["metadata"]["cdpo_edu"]
            if about["role"] == "answer":
                each["source"] = answers.get(about["key"], SOLVED[about["key"]])
            each["source"] = each["source"].replace("your id", student)
        own = [[cell(text)] if text else [] for text in (before, after)]
        return self.write([*cells[:2], *own[0], *cells[2:], *own[1]])

    def write(self, cells: Sequence[dict[str, Any]], name: str = NAME) -> Path:
        """Return a notebook of these cells."""
        about = {"cdpo_edu": {"assignment": NAME, "version": "student", "course": "public"}}
        book = {"cells": list(cells), "metadata": about, "nbformat": 4, "nbformat_minor": 5}
        path = self.folder / f"{name}.ipynb"
        path.write_text(json.dumps(book), encoding="utf-8")
        return path

    def marked(self, *, student: str = "ada", **parts: str) -> Marked:
        """Return the mark of such a notebook."""
        return grade(self.notebook(**parts), student=student, limits=TIGHT, trust=True)


def cell(text: str, role: str = "", key: str = "") -> dict[str, Any]:
    """Return a code cell."""
    about = {"cdpo_edu": {"role": role, "key": key}} if role else {}
    return {"cell_type": "code", "source": text, "metadata": about, "outputs": [], "execution_count": None}


def points(marked: Marked) -> dict[str, float]:
    """Return the points by exercise."""
    return {mark.key: mark.points for mark in marked.exercises}


def sentence(marked: Marked, key: str) -> str:
    """Return what is said of one exercise."""
    return next(mark.sentence for mark in marked.exercises if mark.key == key)
