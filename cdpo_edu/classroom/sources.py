r"""The notebooks' sources: percent scripts, from which every version of an assignment is made.

A percent script is a Python file whose cells begin with ``# %%``, followed by ``[markdown]`` for prose and by
metadata as ``name="value"``; prose is commented out, and so are magics. In a clone the scripts are in
``notebooks/src``; a wheel carries the same files beside this module, so a marker needs no clone.

The format is jupytext's; the part of it that the lessons use is read here in a few lines, so that marking
needs numpy alone. Left out: cell titles, nested ``# %%%`` and raw cells, which are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["SourceCell", "parse", "read_source", "source_path"]

PACKED = Path(__file__).with_name("scripts")
CLONED = Path(__file__).resolve().parents[2] / "notebooks" / "src"
HEAD = re.compile(r"# %%(?: (\[markdown\]))?((?: [A-Za-z_]\w*=.+)?)\s*\Z")
OPTION = re.compile(r' ([A-Za-z_]\w*)=(?:"((?:[^"\\]|\\.)*)"|(\[[^\]]*\]))')
FRONT = re.compile(r"\A# ---\n(?:#.*\n)*?# ---\n")


class SourceCell(NamedTuple):
    """One cell of a source.

    Attributes
    ----------
    kind : {"markdown", "code"}
    text : str
        Without the comment marks of prose and magics.
    meta : dict of str to str
        What stands after ``# %%``; a list keeps its JSON text.
    """

    kind: Literal["markdown", "code"]
    text: str
    meta: dict[str, str]


def source_path(name: str) -> Path:
    """Return the script of an assignment ("01_the_dual_step") or a lesson ("03_the_dual").

    Raises
    ------
    ValueError
        If neither this package nor a clone around it has the script.
    """
    for folder in (PACKED, CLONED):
        for path in (folder / "assignments" / f"{name}.py", folder / f"{name}.py"):
            if path.is_file():
                return path
    raise ValueError(f"no source is called {name!r}; looked in {PACKED} and {CLONED}")


def read_source(name: str) -> list[SourceCell]:
    """Return the cells of an assignment's or a lesson's source, in order."""
    return parse(source_path(name).read_text(encoding="utf-8"))


def parse(script: str) -> list[SourceCell]:
    r"""Return the cells of a percent script.

    Raises
    ------
    ValueError
        With the line that cannot be read.

    Examples
    --------
    >>> parse('# %% [markdown] exercise="sum"\n# Add **two**.\n\n# %% answer="sum"\ntwo = 1 + 1\n')
    [SourceCell(kind='markdown', text='Add **two**.', meta={'exercise': 'sum'}),
     SourceCell(kind='code', text='two = 1 + 1', meta={'answer': 'sum'})]
    """
    return [_cell(head, lines) for head, lines in _split(FRONT.sub("", script))]


def _split(script: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each cell's first line and the lines below it; what stands above the first cell must be blank."""
    head, lines = "", list[str]()
    for line in script.splitlines():
        if line.startswith("# %%"):
            if head:
                yield head, lines
            head, lines = line, []
        elif head:
            lines.append(line)
        elif line.strip():
            raise ValueError(f"this line stands above the first cell: {line!r}")
    if head:
        yield head, lines


def _cell(head: str, lines: list[str]) -> SourceCell:
    found = HEAD.match(head)
    options = found[2] if found else "?"
    if not found or OPTION.sub("", options).strip():
        raise ValueError(f'this cell\'s first line is not # %% [markdown] name="value": {head!r}')
    meta = {
        name: listed if listed else json.loads(f'"{text}"') for name, text, listed in OPTION.findall(options)
    }
    plain = [_uncommented(line) if found[1] else re.sub(r"^# (?=%[A-Za-z])", "", line) for line in lines]
    return SourceCell("markdown" if found[1] else "code", "\n".join(plain).strip("\n"), meta)


def _uncommented(line: str) -> str:
    if line.strip() and not line.startswith("#"):
        raise ValueError(f"prose must be commented out: {line!r}")
    return line.removeprefix("#").removeprefix(" ")
