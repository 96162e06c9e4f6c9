"""Mark a tests file: it must pass on the correct code, and scores a point for every exhibit it fails on.

Left out: the processes in which the tests run (`warden`, `watching`).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..types import InputError
from .exhibits import EXHIBITS


class Found(NamedTuple):
    """What the tests made of one exhibit.

    Attributes
    ----------
    key : str
    caught : bool
    by : tuple of str
        The tests that failed, or the one that did not end.
    how : str
        ``test``, ``time limit``, ``crash``, or empty where nothing was caught.
    """

    key: str
    caught: bool
    by: tuple[str, ...] = ()
    how: str = ""

    def describe(self) -> str:
        """Return one line.

        >>> Found("sum-of-costs", True, ("test_mean",), "test").describe()
        'caught      sum-of-costs: test_mean'
        >>> Found("sum-of-costs", False).describe()
        'not caught  sum-of-costs'
        """
        if not self.caught:
            return f"not caught  {self.key}"
        more = f" and {len(self.by) - 1} more" if len(self.by) > 1 else ""
        cause = "" if self.how == "test" else f" ({self.how})"
        return f"caught      {self.key}: {self.by[0] or 'before the first test'}{more}{cause}"


class Report(NamedTuple):
    """The mark.

    Attributes
    ----------
    tests : int
        How many tests passed on the correct code.
    failed : dict of str to str
        Tests that did not pass on the correct code, with the reason. With any of them there are no points.
    found : tuple of Found
        One per exhibit.
    """

    tests: int
    failed: dict[str, str]
    found: tuple[Found, ...]

    @property
    def score(self) -> int:
        """Return how many exhibits were caught."""
        return sum(found.caught for found in self.found)

    @property
    def max_score(self) -> int:
        """Return how many exhibits there are."""
        return len(EXHIBITS)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON knows it."""
        correct = {"passed": not self.failed, "tests": self.tests, "failed": self.failed}
        exhibits = [found._asdict() | {"by": list(found.by)} for found in self.found]
        return {
            "score": self.score,
            "max_score": self.max_score,
            "correct_code": correct,
            "exhibits": exhibits,
        }


def run_museum(
    tests: Path | str, *, seconds: float = 10.0, say: Callable[[str], None] = lambda line: None
) -> Report:
    """Run a tests file on the correct code and, where it holds there, on every exhibit.

    Parameters
    ----------
    tests : Path or str
        A Python file with functions ``def test_...(code)``.
    seconds : float
        Time the tests have on the correct code, above 0; on an exhibit twice that, so that a slow machine
        catches nothing. A test that does not end within it, or ends the process, has caught the exhibit.
    say : callable
        Gets a line as soon as there is one.

    Raises
    ------
    InputError
        When the file is missing, is no Python, cannot be imported or has no tests.
    """
    path = _checked(Path(tests))
    if not 0 < seconds < math.inf:
        raise InputError(f"seconds: {seconds} must be a finite number above 0")
    visits = _visits(path, seconds)
    correct = next(visits)
    if correct["broken"]:
        raise InputError(f"{tests}: cannot be imported ({correct['broken']})")
    failed = dict(correct["failed"])
    if correct["stuck"] is not None:
        name = correct["stuck"] or "importing the file"
        failed[name] = f"did not end within {seconds:g} s" if correct["late"] else "ended the process"
    if not failed and not correct["passed"]:
        raise InputError(f"{tests}: has no tests; write functions def test_...(code)")
    for name, why in failed.items():
        say(f"fails on the correct code  {name}: {why}")
    found = []
    for item in visits:
        found.append(_found(item))
        say(found[-1].describe())
    return Report(len(correct["passed"]), failed, tuple(found) or _nothing())


def _checked(path: Path) -> Path:
    """Return the absolute path of a file that compiles."""
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'there is no such file'}")
    if path.suffix != ".py":
        raise InputError(f"{path}: must be a Python file, named *.py")
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not Python ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return path.resolve()


def _visits(path: Path, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what the warden prints."""
    root = str(Path(__file__).parents[2])
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-P", "-m", "cdpo_edu.museum.warden", str(path), str(seconds)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, encoding="utf-8") as warden:
        assert warden.stdout is not None
        for line in warden.stdout:
            yield json.loads(line)
    if warden.returncode:
        raise RuntimeError(f"the museum's own program ended with exit code {warden.returncode}")


def _found(visit: dict[str, Any]) -> Found:
    """Return whether an exhibit was caught: a failing test counts before one that did not end."""
    if visit["failed"]:
        return Found(visit["key"], True, tuple(visit["failed"]), "test")
    if visit["stuck"] is not None:
        return Found(visit["key"], True, (visit["stuck"],), "time limit" if visit["late"] else "crash")
    return Found(visit["key"], False)


def _nothing() -> tuple[Found, ...]:
    return tuple(Found(item.key, False) for item in EXHIBITS)
