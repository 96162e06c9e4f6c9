"""What a stage was begun with, so that a killed one goes on as itself or says what differs.

Left out: the work that is kept meanwhile (`long_work`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ..run_folder import write_json
from ..types import InputError

OPTIONS = "options.json"
SMALL = 20_000_000
"""Parameters up to which a model learns at the rates of the tiny one."""


def is_small(model: nn.Module) -> bool:
    """Tell whether a model has at most SMALL parameters; 4-bit ones count half."""
    return sum(weight.numel() for weight in model.parameters()) <= SMALL


def options_of(out: Path, place: Path, given: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """Return the options to work with: those that were given, or with ``resume`` those that are kept.

    Parameters
    ----------
    out : path
        What the stage is to leave.
    place : path
        The folder that keeps its options; ``out`` itself or one beside it.
    given : dict
        By name; None was not given.

    Raises
    ------
    InputError
        When there is something else in the way, nothing to go on with, or an option differs.
    """
    given = {name: value for name, value in given.items() if value is not None}
    file = next((path for path in (place / OPTIONS, out / OPTIONS) if path.exists()), None)
    if not resume:
        if any(folder.exists() and any(folder.iterdir()) for folder in (out, place)):
            raise InputError(f"--out {out}: something is there; name another folder, or go on with --resume")
        return given
    if file is None:
        raise InputError(f"--resume: nothing was begun in {out}; leave --resume out")
    kept = json.loads(file.read_text(encoding="utf-8"))
    for name, value in given.items():
        if kept.get(name) != value:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"--resume: {option} {value} differs from {kept.get(name)} in {file}; leave it out, or begin "
                "in another folder"
            )
    return {name: value for name, value in kept.items() if name != "rows"}


@contextmanager
def begun(place: Path, options: dict[str, Any], rows: str) -> Iterator[None]:
    """Keep the options with the digest of the rows; bad input that comes up at once leaves nothing behind.

    Raises
    ------
    InputError
        When the rows are not those that the stage was begun with.
    """
    file = place / OPTIONS
    if file.exists():
        if json.loads(file.read_text(encoding="utf-8"))["rows"] != rows:
            raise InputError(f"{place}: begun with other rows than are there now; begin in another folder")
    else:
        place.mkdir(parents=True, exist_ok=True)
        write_json(file, options | {"rows": rows})
    try:
        yield
    except InputError:
        if [path.name for path in place.iterdir()] == [OPTIONS]:
            shutil.rmtree(place)
        raise
