"""Whether an answer is the library's own: by importing it, or by its text.

Two functions count as the same when their syntax trees agree after every name that the author chose is
replaced by the order in which it appears, and docstrings, annotations and comments are gone. A short formula
has one natural form, which honest work finds too: where the functions of a cell that agree have fewer than
`LARGE` nodes together, the cell is let through. So is the assignment's own solution, because teachers hand it
in to try the marking. What is left is the library's functions and the oracles with what they rest on, where
they are longer and are not the solution. Copies that were rewritten are not found, and not looked for.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .exercise import Exercise
from .submission import parsed

__all__ = ["LARGE", "copied_from", "library_asked"]

LARGE = 30
"""Nodes of syntax trees from which on equal trees are no accident: about three lines of arithmetic."""

LEAST = 8
"""Nodes of a function that counts at all."""

PACKAGE = Path(__file__).parents[1]
ROOMS = ("losses.py", "lagrangian.py", "lagrangian", "sequences.py", "exact.py", "exact", "pairs.py", "pairs")
"""Rooms of formulas that assignments ask for; files and folders, those that exist."""

ALLOWED = {"cdpo_edu.classroom": {"Desk", "CheckFailed"}}
NAMED = re.compile(r"(\A|\bimport |\bfrom |[/\\])cdpo_edu\b")


def library_asked(text: str) -> str | None:
    """Return the name under which a cell asks for the library, None where it does not.

    >>> library_asked("from cdpo_edu.lagrangian import dual_step")
    'cdpo_edu.lagrangian'
    >>> library_asked('step = __import__("cdpo_edu.lagrangian").dual_step')
    'cdpo_edu.lagrangian'
    >>> library_asked("from cdpo_edu.classroom import Desk") is None
    True
    """
    return next(_asked(parsed(text)), None)


def _asked(tree: ast.Module) -> Iterator[str]:
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "cdpo_edu")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cdpo_edu":
            if not {alias.name for alias in node.names} <= ALLOWED.get(str(node.module), set()):
                yield str(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if NAMED.search(node.value):
                yield node.value if len(node.value) <= 60 else "cdpo_edu"


def copied_from(text: str, exercise: Exercise, solution: str = "") -> str | None:
    """Return the library's function that a cell repeats, None where it repeats none.

    Parameters
    ----------
    text : str
        The answer cell.
    exercise : Exercise
    solution : str
        The cell with the assignment's own solution, which may be handed in.
    """
    known = _oracles(exercise) | _public()
    allowed = {form for form, _, _ in _forms(parsed(solution))}
    found = [(size, known[form]) for form, _, size in _forms(parsed(text)) if form in known.keys() - allowed]
    return max(found)[1] if sum(size for size, _ in found) >= LARGE else None


def _forms(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield the form of each function that counts, its name and its number of nodes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = _without_prose(node.body)
            size = sum(not isinstance(each, SMALL) for part in body for each in ast.walk(part))
            if size >= LEAST:
                yield _form(node, body), node.name, size


SMALL = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
"""Nodes that always go with another one."""


def _without_prose(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    return [
        each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]


def _form(function: ast.FunctionDef | ast.AsyncFunctionDef, body: Sequence[ast.stmt]) -> str:
    """Return a function's tree with names in the order of their first appearance."""
    order: dict[str, str] = {function.name: "itself"}
    given = function.args
    names = [arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    for name in names:
        order.setdefault(name, f"name{len(order)}")
    tree = ast.Module(body=[_renamed(part, order) for part in body], type_ignores=[])
    return ast.dump(tree, annotate_fields=False)


def _renamed(node: ast.stmt, order: dict[str, str]) -> ast.stmt:
    copy = ast.parse(ast.unparse(node)).body[0]
    for each in ast.walk(copy):
        for place in () if isinstance(each, ast.keyword) else ("id", "arg", "name"):
            name = getattr(each, place, None)
            if isinstance(name, str) and not hasattr(builtins, name):
                setattr(each, place, order.setdefault(name, f"name{len(order)}"))
        if isinstance(each, ast.FunctionDef):
            each.body, each.returns = _without_prose(each.body) or each.body, None
        if isinstance(each, ast.arg):
            each.annotation = None
    return copy


@functools.cache
def _public() -> dict[str, str]:
    """Return the forms of the functions in the rooms of formulas, with the module and name of each."""
    paths = [PACKAGE / room for room in ROOMS]
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return {
        form: f"{'.'.join(file.relative_to(PACKAGE.parent).with_suffix('').parts)}.{name}"
        for file in files
        if file.is_file()
        for form, name, _ in _forms(ast.parse(file.read_text(encoding="utf-8")))
    }


@functools.cache
def _oracles_of(module: str) -> dict[str, str]:
    text = Path(module).read_text(encoding="utf-8")
    return {form: f"the oracle {name}" for form, name, _ in _forms(ast.parse(text))}


def _oracles(exercise: Exercise) -> dict[str, str]:
    """Return the forms of the functions in the files where an exercise's oracles are written."""
    found: dict[str, str] = {}
    for oracle in exercise.oracles.values():
        try:
            found |= _oracles_of(str(inspect.getsourcefile(oracle)))
        except (TypeError, OSError, SyntaxError):
            continue
    return found
