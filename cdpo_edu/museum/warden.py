"""The program that visits the correct code and then every exhibit, each in a process with a time limit.

    python -m cdpo_edu.museum.warden TESTS SECONDS

It prints one JSON object per visit. It never runs a line of the tests itself: on Linux it forks, so that the
libraries are loaded once and not twenty times; elsewhere each visit starts from nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .exhibits import EXHIBITS
from .watching import watch

CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def visit(tests: str, key: str | None, seconds: float) -> dict[str, Any]:
    """Return what became of the tests on one namespace.

    Parameters
    ----------
    tests : str
        Path of the tests file.
    key : str or None
        The exhibit's, None for the correct code.
    seconds : float
        After which the process is ended.

    Returns
    -------
    dict
        ``key``; ``passed`` and ``failed``, the names of the tests, the latter with the reason; ``stuck``, the
        test that was running when the process was ended or died, if any; ``late``, whether time was the
        cause; ``broken``, why the file could not be read as tests, if so.
    """
    with tempfile.TemporaryDirectory() as folder:
        process: BaseProcess = CONTEXT.Process(target=watch, args=(tests, key, folder))  # type: ignore[attr-defined]
        process.start()
        try:
            process.join(seconds)
            late = process.is_alive()
        finally:
            _end(process)
        log = Path(folder, "log")
        lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []  # whole ones
    return {"key": key, "late": late, **_read([json.loads(line) for line in lines])}


def _end(process: BaseProcess) -> None:
    """End the process and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform != "win32" and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _read(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up a log."""
    ended = {record["end"]: record for record in records if "end" in record}
    begun = [record["begin"] for record in records if "begin" in record]
    whole = any("done" in record for record in records)
    stuck = None if whole else next((name for name in begun if name not in ended), "")
    return {
        "passed": [name for name, record in ended.items() if not record["failed"]],
        "failed": {name: record["why"] for name, record in ended.items() if record["failed"]},
        "stuck": stuck,
        "broken": next((record["broken"] for record in records if "broken" in record), None),
    }


def main() -> None:
    """Visit and print; stop after the correct code where the tests do not hold on it."""
    tests, seconds = sys.argv[1], float(sys.argv[2])
    correct = visit(tests, None, seconds)
    print(json.dumps(correct), flush=True)
    if correct["failed"] or correct["stuck"] is not None or correct["broken"] or not correct["passed"]:
        return
    for item in EXHIBITS:
        print(json.dumps(visit(tests, item.key, 2 * seconds)), flush=True)


if __name__ == "__main__":
    main()
