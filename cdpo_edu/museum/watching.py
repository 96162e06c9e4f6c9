"""One run of a tests file on one namespace, inside a process that may hang, shout or die without harm.

What happens is written line by line to a log file, so that it is known however the process ends. All output
of the tests goes nowhere, memory and files are bounded where the system can, and nothing is written beside
the tests file.

Left out: starting that process and ending it in time (`warden`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from .code import CORRECT, Code, disguised
from .exhibits import exhibit

MEMORY, FILE = 4 << 30, 64 << 20
"""Bytes that a run may add to its memory, and to any one file."""

WORDS = 200
"""Characters that are kept of a message."""


class Watch:
    """A pytest plugin that hands out the namespace and logs what becomes of every test.

    Parameters
    ----------
    namespace : Code
        What the argument ``code`` of a test is.
    log : Path
        One JSON object per line: ``begin``, ``end`` or ``broken`` (a file that cannot be collected).
    """

    def __init__(self, namespace: Code, log: Path) -> None:
        self.namespace, self.log = namespace, log

    def write(self, **record: Any) -> None:
        """Append a record and leave it on the disk before anything else happens."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    @pytest.fixture
    def code(self) -> Code:
        """Return the code under test."""
        return self.namespace

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Log a file that cannot be imported."""
        if report.failed:
            self.write(broken=str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Log the test that begins."""
        self.write(begin=nodeid.rpartition("::")[2])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Log a test that ended, or failed on the way there."""
        if report.when == "call" or report.failed:
            name = report.nodeid.rpartition("::")[2]
            self.write(end=name, failed=report.failed, why=_why(report) if report.failed else "")


def _why(report: pytest.TestReport) -> str:
    """Return the first line of what went wrong, with its number where it lies in the tests file."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return (str(report.longrepr).strip().splitlines() or ["failed"])[-1].strip()[:WORDS]
    message = (str(crash.message).splitlines() or ["failed"])[0][:WORDS]
    here = Path(crash.path).name == Path(report.location[0]).name
    return f"line {crash.lineno}: {message}" if here else message


def watch(tests: str, key: str | None, folder: str) -> None:
    """Run ``tests`` on exhibit ``key``, or on the correct code where it is None, and end the process.

    Parameters
    ----------
    tests : str
        Path of the tests file.
    key : str or None
    folder : str
        An empty folder; the log is its file ``log``.
    """
    _apart()
    namespace = CORRECT if key is None else exhibit(key).code()
    watch_ = Watch(disguised(namespace), Path(folder, "log"))
    settings = Path(folder, "pytest.ini")
    settings.write_text("[pytest]\n", encoding="utf-8")
    pytest.main(
        ["-c", str(settings), "--rootdir", folder, "--noconftest", "-p", "no:cacheprovider", "-s", "-q"]
        + ["--import-mode=importlib", tests],
        plugins=[watch_],
    )
    watch_.write(done=True)
    os._exit(0)  # not waiting for threads that a test has left behind


def _apart() -> None:
    """Cut the process off: a session of its own, no input, no output, bounded memory, no other plugins."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    if sys.platform != "win32":
        import resource

        os.setsid()
        for kind, bound in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_FSIZE, FILE)):
            resource.setrlimit(kind, (bound, resource.getrlimit(kind)[1]))
