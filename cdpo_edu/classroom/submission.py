"""A notebook that was handed in: which assignment it is, and its code cells with what each is for.

The builder writes into a cell what it is for; some platforms strip that, so names that a cell defines and
the text of the source are looked at too. Left out: running it (`sandbox`) and judging it (`grading`).
"""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..types import InputError
from .exercise import Assignment
from .exercises import ASSIGNMENTS

__all__ = ["Cell", "Submission", "bare", "changed", "cell_of", "in_order", "read_submission"]

Role = Literal["answer", "check", "given", "student", "own"]
LARGEST = 50_000_000
"""Bytes of a notebook."""


@dataclass(frozen=True)
class Cell:
    """One code cell: its text, what it is for, and the exercise (or the name of the given code)."""

    role: Role
    key: str
    text: str


@dataclass(frozen=True)
class Submission:
    """What was handed in.

    Attributes
    ----------
    assignment : Assignment
    cells : tuple of Cell
        In the notebook's order.
    typed : str
        The id in the cell ``STUDENT = "..."``, empty where there is none.
    course : str
        The token of the course that it was made for, empty where it is lost.
    """

    assignment: Assignment
    cells: tuple[Cell, ...]
    typed: str
    course: str = ""


def read_submission(path: Path) -> Submission:
    """Return what a notebook holds.

    Raises
    ------
    InputError
        When it cannot be read or belongs to no assignment.
    """
    book = _read(path)
    codes = [cell for cell in book["cells"] if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    texts = [_text(cell) for cell in codes]
    assignment = _assignment(path, book, texts)
    keys = {exercise.key for exercise in assignment.exercises}
    cells = tuple(_cell(_about(cell), text, keys) for cell, text in zip(codes, texts, strict=True))
    typed = next(filter(None, map(typed_id, texts)), "")
    return Submission(assignment, cells, typed, str(_marks(book).get("course") or ""))


def cell_of(role: str, key: str, text: str) -> Cell:
    """Return a cell that the builder made."""
    return _cell((role, key), text, {key})


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(
                f"{path}: larger than {LARGEST >> 20} MB; clear its outputs and hand it in again"
            )
        book = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a notebook ({error})") from None
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise InputError(f"{path}: not a notebook (it has no list of cells)")
    return book


def _text(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _marks(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the builder's own metadata of a notebook or a cell, empty where it was stripped."""
    metadata = thing.get("metadata")
    marks = metadata.get("cdpo_edu") if isinstance(metadata, dict) else None
    return marks if isinstance(marks, dict) else {}


def _about(cell: dict[str, Any]) -> tuple[str, str]:
    """Return role and key from the builder's metadata, else from nbgrader's, else from the cell's id."""
    marks = _marks(cell)
    if isinstance(marks.get("role"), str):
        return marks["role"], str(marks.get("key") or "")
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else cell.get("id")
    role, _, key = str(name or "").partition("-")
    return role, key


def _assignment(path: Path, book: dict[str, Any], texts: Sequence[str]) -> Assignment:
    """Return the assignment that the metadata names, else the file's name, else the names in its cells."""
    named = _marks(book).get("assignment")
    for assignment in ASSIGNMENTS:
        if assignment.name == named:
            return assignment
    for assignment in ASSIGNMENTS:
        if assignment.name in path.stem:
            return assignment
    found = {name for text in texts for name in defined(text)}
    most = max(ASSIGNMENTS, key=lambda each: sum(exercise.key in found for exercise in each.exercises))
    if not any(exercise.key in found for exercise in most.exercises):
        known = ", ".join(assignment.name for assignment in ASSIGNMENTS)
        raise InputError(f"{path}: belongs to no assignment; there are {known}")
    return most


def _cell(about: tuple[str, str], text: str, keys: set[str]) -> Cell:
    role, key = about
    if role == "answer" and key in keys:
        return Cell("answer", key, text)
    if role == "check" and key in keys:
        return Cell("check", key, text)
    if role == "given" and key:
        return Cell("given", key, text)
    checked = re.match(r"\s*desk\.check\(\s*[\"'](\w+)[\"']", text)
    if checked and checked[1] in keys:
        return Cell("check", checked[1], text)
    if typed_id(text) and defined(text) == {"STUDENT"}:
        return Cell("student", "id", text)
    return Cell("own", "", text)


def typed_id(text: str) -> str:
    """Return the id that a cell gives to STUDENT, empty where it gives none.

    >>> typed_id('STUDENT = "ada"  # type yours')
    'ada'
    """
    for statement in parsed(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            if any(isinstance(target, ast.Name) and target.id == "STUDENT" for target in statement.targets):
                return str(statement.value.value).strip()
    return ""


def parsed(text: str) -> ast.Module:
    """Return a cell's syntax tree, without its magics; an empty one where it is no Python."""
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n")]
    try:
        return ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def defined(text: str) -> set[str]:
    r"""Return the names that a cell gives a meaning at its top level.

    >>> sorted(defined("import numpy as np\ndef f(x):\n    y = x\n    return y\nz = w = 1"))
    ['f', 'np', 'w', 'z']
    """
    return set(_defined(parsed(text).body))


def names_used(text: str) -> set[str]:
    r"""Return the names that a cell takes from elsewhere in the notebook, built-in ones among them.

    >>> sorted(names_used("def f(x):\n    y = x + step\n    return np.exp(y)"))
    ['np', 'step']
    """
    try:
        tables = [symtable.symtable(text, "cell", "exec")] if parsed(text).body else []
    except (SyntaxError, ValueError, RecursionError):
        return set()
    used = set[str]()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        inner = table.get_type() != "module"
        used |= {
            s.get_name() for s in table.get_symbols() if s.is_referenced() and (s.is_global() or not inner)
        }
    return used


def _defined(body: Sequence[ast.AST]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda):
            yield from _defined(list(ast.iter_child_nodes(node)))


def in_order(submission: Submission, handed_out: Sequence[Cell]) -> list[Cell]:
    """Return the cells to run: the student's in their order, the given ones as they were handed out.

    Code that was handed out to look at something is left out, unless an answer uses a name from it.

    Parameters
    ----------
    submission : Submission
    handed_out : sequence of Cell
        The code cells of the student version in this course.
    """
    place: dict[tuple[str, str], int] = {
        (cell.role, cell.key): i for i, cell in enumerate(handed_out) if cell.role in ("answer", "check")
    }
    shown = {bare(cell.text) for cell in handed_out if cell.role == "own"}
    used = {
        name for cell in submission.cells if bare(cell.text) not in shown for name in names_used(cell.text)
    }
    ordered, reached = list[Cell](), 0
    for cell in _answers_found(submission):
        spare = cell.role == "own" and bare(cell.text) in shown and not defined(cell.text) & used
        if cell.role == "given" or spare:
            continue
        until = place.get((cell.role, cell.key), 0)
        ordered += [each for each in handed_out[reached:until] if each.role == "given"]
        reached = max(reached, until)
        ordered.append(cell)
    return ordered + [each for each in handed_out[reached:] if each.role == "given"]


def changed(submission: Submission, handed_out: Sequence[Cell]) -> list[str]:
    """Return which locked cells are not as they were handed out, as "check of dual_step"."""
    found = {(cell.role, cell.key): bare(cell.text) for cell in submission.cells}
    locked = [cell for cell in handed_out if cell.role in ("check", "given")]
    return [f"{c.role} cell {c.key!r}" for c in locked if found.get((c.role, c.key)) != bare(c.text)]


def bare(text: str) -> str:
    """Return a text without what an editor changes: spaces at the ends of lines, blank lines."""
    return "\n".join(filter(None, (line.rstrip() for line in text.splitlines())))


def _answers_found(submission: Submission) -> list[Cell]:
    """Return the cells; where no cell is marked as an exercise's answer, the last that defines it is."""
    cells = list(submission.cells)
    for exercise in submission.assignment.exercises:
        if not any(cell.role == "answer" and cell.key == exercise.key for cell in cells):
            for i in reversed(range(len(cells))):
                if cells[i].role == "own" and exercise.key in defined(cells[i].text):
                    cells[i] = Cell("answer", exercise.key, cells[i].text)
                    break
    return cells
