r"""Read finite problems from a file, and put their solutions into words that JSON knows.

A file holds one problem as a JSON document, or one per line (JSON Lines; blank lines are skipped):

    {"reference": [[0.5, 0.5]], "reward": [[1, 0]], "cost": [[1, 0]], "beta": 1.0, "cost_limit": 0.25}

with the fields of `cdpo_edu.exact.FiniteProblem`, of which only ``prompt_probs`` may be left out. Several
limits are a cost of K tables and a list of K limits. Whatever cannot be used ends in one `InputError` that
names the file, the line and the field.

Left out: writing problems, and reading anything but UTF-8.

Reference: the problem is that of Liu, Sun & Zheng 2024, arXiv 2403.02475, on finite tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import PathLike
from typing import IO, Any

from .exact import FiniteProblem, Solution
from .types import InputError

NEEDED = ("reference", "reward", "cost", "beta", "cost_limit")
KNOWN = (*NEEDED, "prompt_probs")
DEEPEST = 3  # cost[k][x][y]
RECORD = ("status", "lam", "reward", "cost", "kl", "objective", "dual_bound", "gap", "min_cost")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_problems(path: str | PathLike[str]) -> Iterator[tuple[int, FiniteProblem]]:
    """Yield (line number, problem) for each problem of the file, in order, reading no further than asked.

    Parameters
    ----------
    path : str or path
        A JSON file of one problem, or JSON Lines with one problem per line, in UTF-8.

    Yields
    ------
    tuple of int and FiniteProblem
        The line, counted from 1, on which the problem begins, and the problem.

    Raises
    ------
    InputError
        When the file cannot be read, holds no problem, or a problem in it cannot be used; those on the lines
        before have been yielded by then.

    Examples
    --------
    >>> from tempfile import NamedTemporaryFile
    >>> problem = {"reference": [[0.5, 0.5]], "reward": [[1, 0]], "cost": [[1, 0]], "beta": 1}
    >>> with NamedTemporaryFile(mode="w", suffix=".jsonl") as file:
    ...     for limit in (0.25, 0.75):
    ...         print(json.dumps(problem | {"cost_limit": limit}), file=file, flush=True)
    ...     [(line, problem.solve().status) for line, problem in read_problems(file.name)]
    [(1, 'optimal'), (2, 'slack')]
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the path of a JSON or JSON Lines file") from None
    with file:
        for number, value in _documents(str(path), file):
            yield number, _problem(f"{path}, line {number}", value)


def solution_record(solution: Solution) -> dict[str, Any]:
    """Return what a solution comes to as a JSON object: numbers, lists of K numbers, or null for none.

    ``lam`` is null when the problem is infeasible or at its edge; when infeasible so is everything but
    ``status`` and ``min_cost``.

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[2, 1]], beta=1, cost_limit=0.25)
    >>> json.dumps({k: v for k, v in solution_record(problem.solve()).items() if v is not None})
    '{"status": "infeasible", "min_cost": 1.0}'
    """
    values = {name: getattr(solution, name) for name in RECORD}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _documents(path: str, file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of each document: one per line, or the whole file if its first line is none."""
    lines = _lines(path, file)
    filled = ((number, text) for number, text in lines if text.strip())
    number, text = next(filled, (0, ""))
    if number == 0:
        raise InputError(f"{path}: it is empty; give one problem as JSON, or one per line")
    if not _is_complete(text):
        text += "".join(rest for _, rest in lines)
    yield number, _parsed(path, number, text)
    for number, text in filled:
        yield number, _parsed(path, number, text)


def _lines(path: str, file: IO[bytes]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, line.removeprefix(BYTE_ORDER_MARK if number == 1 else b"").decode()
        except UnicodeDecodeError as error:
            what = f"byte {error.object[error.start]:#04x} at column {error.start + 1} is not UTF-8"
            raise InputError(f"{path}, line {number}: {what}; save the file as UTF-8") from None


def _is_complete(text: str) -> bool:
    try:
        json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(path: str, number: int, text: str) -> Any:
    try:
        return json.loads(text.rstrip(), parse_int=float, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        place = f"{path}, line {number + error.lineno - 1}, column {error.colno}"
        raise InputError(f"{place}: not JSON ({error.msg}); mend it, or write one problem per line") from None
    except InputError as error:
        raise InputError(f"{path}, line {number}, {error}") from None
    except RecursionError:
        raise InputError(f"{path}, line {number}: nested too deeply; a table is a list of lists") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise InputError(f"field {name!r}: it is given twice; keep one")
        fields[name] = value
    return fields


def _problem(place: str, value: Any) -> FiniteProblem:
    if not isinstance(value, dict):
        raise InputError(f"{place}: {_kind(value)}, not a problem; write one {{...}} object per line")
    for name in value:
        if name not in KNOWN:
            raise InputError(f"{place}, field {name!r}: no such field; the fields are {', '.join(KNOWN)}")
    for name in NEEDED:
        if name not in value:
            raise InputError(f"{place}, field '{name}': it is missing; give all of {', '.join(NEEDED)}")
    for name, entry in value.items():
        odd = next(_no_numbers(entry), None)
        if odd is not None:
            raise InputError(f"{place}, field '{name}': {odd}; give numbers")
    try:
        return FiniteProblem(**value)
    except InputError as error:
        raise InputError(f"{place}, {error}") from None


def _no_numbers(value: Any, at: str = "") -> Iterator[str]:
    """Yield what in nested lists is not a number, with its place; true and false are none."""
    if isinstance(value, list) and at.count("[") < DEEPEST:
        for i, entry in enumerate(value):
            yield from _no_numbers(entry, f"{at}[{i}]")
    elif not isinstance(value, float):
        yield f"{_kind(value)}{at and f' at {at}'}"


def _kind(value: Any) -> str:
    kinds = {list: "a list", dict: "an object", str: "a string", bool: "true or false", float: "a number"}
    return kinds.get(type(value), "null")
