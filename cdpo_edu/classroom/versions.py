"""The versions of an assignment, all made from its one source.

    student    stubs where the answers go, locked checks, no outputs
    solution   the answers, without the marks around them
    lecture    the answers and the prose that is for the lecture alone
    source     for nbgrader: the answers inside the marks that its generate_assignment replaces

A version belongs to a course: its token picks the wording of each exercise and stands in the cell that makes
the desk. Nothing here knows a secret. Left out: running cells, which is the builder's part.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from . import seeds
from .exercise import Assignment, Exercise
from .sources import SourceCell, read_source

__all__ = ["CODE_STUB", "TEXT_STUB", "Version", "code_of", "version"]

Version = Literal["student", "solution", "lecture", "source"]

CODE_STUB = "...  # your code here"
TEXT_STUB = "*Your words here.*"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SOLUTION = re.compile(rf"^( *){BEGIN} *\n(.*?)^ *{END} *(?:\n|\Z)", re.MULTILINE | re.DOTALL)
ROLES = ("student", "given", "answer", "check", "written")
"""Roles of cells, by the name of the metadata that gives the key."""

HEADER = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class _Placed(NamedTuple):
    """A source's cell with its role and key; prose belongs to the exercise above it."""

    cell: SourceCell
    role: str
    key: str


def version(
    assignment: Assignment,
    kind: Version,
    *,
    token: str = seeds.PUBLIC,
    student: str | None = None,
    cells: Sequence[SourceCell] | None = None,
) -> Any:
    """Return a version of an assignment as a notebook without outputs.

    Parameters
    ----------
    assignment : Assignment
    kind : {"student", "solution", "lecture", "source"}
    token : str
        The course's; it picks the wordings.
    student : str, optional
        An id to fill in where the student types hers.
    cells : sequence of SourceCell, optional
        In place of the assignment's source.

    Returns
    -------
    nbformat.NotebookNode
    """
    import nbformat

    script = read_source(assignment.name) if cells is None else cells
    made = [_notebook_cell(placed, assignment, kind) for placed in _kept(script, assignment, kind, token)]
    for cell in made:
        _personalise(cell, token, student)
    notebook = nbformat.v4.new_notebook(cells=made, metadata=json.loads(json.dumps(HEADER)))
    notebook.nbformat_minor = 5
    notebook.metadata["cdpo_edu"] = {"assignment": assignment.name, "version": kind, "course": token}
    _number(notebook.cells)
    nbformat.validate(notebook)
    return notebook


def code_of(
    assignment: Assignment, kind: Version, *, token: str = seeds.PUBLIC
) -> list[tuple[str, str, str]]:
    """Return role, key and text of the code cells of a version, for marking; nbformat is slow to import."""
    kept = _kept(read_source(assignment.name), assignment, kind, token)
    return [
        (placed.role, placed.key, _of_course(_text(placed, kind), placed.role, token))
        for placed in kept
        if placed.cell.kind == "code"
    ]


def _of_course(text: str, role: str, token: str) -> str:
    """Return a cell's text with the course's token, where it makes the desk."""
    return text.replace(f'course="{seeds.PUBLIC}"', f'course="{token}"') if role == "given" else text


def _kept(
    script: Sequence[SourceCell], assignment: Assignment, kind: Version, token: str
) -> Iterator[_Placed]:
    """Yield the cells of this version and these wordings."""
    exercises = {exercise.key: exercise for exercise in assignment.exercises}
    current = ""
    for cell in script:
        role, key = next(((name, cell.meta[name]) for name in ROLES if name in cell.meta), ("text", ""))
        current = cell.meta.get("exercise", current)
        about = exercises.get(key if role in ("answer", "check") else current)
        wording = cell.meta.get("variant")
        if wording and (about is None or wording not in about.variants):
            raise ValueError(f"{assignment.name}: no exercise here has the wording {wording!r}")
        if wording and about and wording != about.variant(token):
            continue
        if _is_for(cell.meta.get("only", ""), kind):
            yield _Placed(cell, role, key or cell.meta.get("exercise", ""))


def _is_for(only: str, kind: Version) -> bool:
    """Return whether a version has a cell; nbgrader's source is what becomes the student's version."""
    return only in ("", "student" if kind == "source" else kind)


def _notebook_cell(placed: _Placed, assignment: Assignment, kind: Version) -> Any:
    import nbformat

    cell, role, key = placed
    exercise = next((one for one in assignment.exercises if one.key == key), None)
    if role in ("answer", "check") and exercise is None:
        raise ValueError(f"{assignment.name}: no exercise is called {key!r}, though a cell names it")
    text = _text(placed, kind)
    if "exercise" in cell.meta and exercise is not None:
        text = _with_points(text, exercise)
    new = nbformat.v4.new_markdown_cell if cell.kind == "markdown" else nbformat.v4.new_code_cell
    made = new(text)
    made.metadata.update(_metadata(placed, exercise, kind))
    return made


def _text(placed: _Placed, kind: Version) -> str:
    """Return a cell's text with its solution kept in the marks, kept without them, or replaced."""
    text = placed.cell.text
    if placed.role == "written" and not SOLUTION.search(text):  # a question alone: below it is room to write
        text = f"{text}\n\n{BEGIN}\n{END}"
    if kind == "source":
        return text
    if kind != "student":
        return SOLUTION.sub(r"\2", text).rstrip()
    stub = TEXT_STUB if placed.cell.kind == "markdown" else CODE_STUB
    return SOLUTION.sub(lambda found: f"{found[1]}{stub}\n", text).rstrip()


def _with_points(text: str, exercise: Exercise) -> str:
    """Return the text of an exercise with what it is worth and costs under its first line."""
    points = f"{exercise.points} point" + "s" * (exercise.points != 1)
    head, _, rest = text.partition("\n")
    return f"{head}\n\n*{points}, about {exercise.minutes} minutes, {exercise.difficulty}*\n{rest}".rstrip()


def _metadata(placed: _Placed, exercise: Exercise | None, kind: Version) -> dict[str, Any]:
    """Return a cell's metadata: its words for a picture, its tags, what we and what nbgrader need."""
    cell, role, key = placed
    meta: dict[str, Any] = {"alt": cell.meta["alt"]} if "alt" in cell.meta else {}
    if "tags" in cell.meta:
        meta["tags"] = json.loads(cell.meta["tags"])
    if key or role != "text":
        meta["cdpo_edu"] = {"role": "text" if role == "written" else role, "key": key}
    if role in ("given", "answer", "check", "written"):
        meta["nbgrader"] = _for_nbgrader(role, key, exercise)
        if kind == "student":  # as nbgrader's LockCells does
            meta["deletable"] = False
            meta |= {"editable": False} if role in ("given", "check") else {}
    return meta


def _for_nbgrader(role: str, key: str, exercise: Exercise | None) -> dict[str, Any]:
    graded = role in ("check", "written")
    points = {"points": exercise.points if exercise is not None and role == "check" else 0} if graded else {}
    return {
        "schema_version": 3,
        "grade": graded,
        "solution": role in ("answer", "written"),
        "locked": role in ("given", "check"),
        "task": False,
        "grade_id": f"{role}-{key}",
        **points,
    }


def _personalise(cell: Any, token: str, student: str | None) -> None:
    """Put the course's token and, if one is given, a student's id into the cells that ask for them."""
    role = cell.metadata.get("cdpo_edu", {}).get("role")
    cell.source = _of_course(cell.source, role, token)
    if role == "student" and student is not None:
        cell.source = re.sub(r"= *([\"']).*?\1", lambda _: f"= {json.dumps(student)}", cell.source, count=1)


def _number(cells: Sequence[Any]) -> None:
    """Give each cell an id that depends on its role and key, or on its text, and each grade id once."""
    seen: Counter[str] = Counter()
    for cell in cells:
        about = cell.metadata.get("cdpo_edu")
        text = hashlib.sha256(f"{cell.cell_type}:{cell.source}".encode()).hexdigest()[:12]
        name = f"{about['role']}-{about['key']}" if about else text
        seen[name] += 1
        again = f"-{seen[name]}" if seen[name] > 1 else ""
        cell.id = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:56] + again
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader["grade_id"] += again
