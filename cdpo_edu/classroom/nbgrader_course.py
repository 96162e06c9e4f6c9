"""What is asked of nbgrader itself when a course is made: the releases and the gradebook.

nbgrader is optional (extra ``classroom``); `installed` says whether it is there.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..types import InputError

__all__ = ["fill_gradebook", "installed", "release"]


def installed() -> bool:
    """Return whether nbgrader can be imported."""
    return importlib.util.find_spec("nbgrader") is not None


@contextmanager
def _programs_beside_python() -> Iterator[None]:
    """Let nbgrader find the program ``alembic``, which is called by name and may not be in the path."""
    path = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
    try:
        yield
    finally:
        os.environ["PATH"] = path


@contextmanager
def _api(folder: Path) -> Iterator[Any]:
    """Open nbgrader's programming interface on a course, silent, with the settings of its config file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nbgrader's and SQLAlchemy's own making
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import PyFileConfigLoader

        config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
        api = NbGraderAPI(config=config)
        api.log_level = logging.ERROR
        with _programs_beside_python():
            yield api


def release(folder: Path, assignments: Sequence[str]) -> None:
    """Run nbgrader's generate_assignment: ``source/`` becomes ``release/``, and the gradebook learns of it.

    Raises
    ------
    InputError
        With the last line that nbgrader says, if it refuses.
    """
    with _api(folder) as api:
        for name in assignments:
            done = api.generate_assignment(name)
            if not done["success"]:
                raise InputError(f"{folder}: nbgrader cannot release {name}: {_reason(done)}")


def _reason(done: Mapping[str, Any]) -> str:
    """Return the last error that nbgrader's log or traceback names."""
    lines = f"{done.get('error', '')}\n{done.get('log', '')}".splitlines()
    named = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Error|Exception): ", line)]
    return named[-1] if named else "it does not say why"


def fill_gradebook(folder: Path, students: Sequence[Mapping[str, str]]) -> None:
    """Enter the students into the gradebook."""
    with _api(folder) as api, api.gradebook as gradebook:
        for student in students:
            known = {name: value for name, value in student.items() if value and name != "id"}
            gradebook.update_or_create_student(student["id"], **known)
