"""Whether the walls hold: a program inside tries what must not be possible, and its successes are counted."""

from __future__ import annotations

import functools
import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from ...types import InputError
from .limits import Limits
from .process import Ended, StudentProcess
from .roads import INSIDE, PACKAGE, Road, seen

__all__ = ["choose_road", "escapes", "fault"]

TRY = """
import os, socket

def succeeded(do):
    try:
        do()
    except BaseException:
        return 0
    return 1

def write(folder):
    path = os.path.join(folder, "cdpo-edu-probe")
    open(path, "w").close()
    os.remove(path)

def escapes(port, abstract, files, folders, parent):
    local = socket.socket(socket.AF_UNIX)
    processes = [name for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []
    return {
        "connections made": succeeded(lambda: socket.create_connection(("127.0.0.1", port), 2))
        + succeeded(lambda: local.connect("\\0" + abstract)),
        "files read": sum(succeeded(lambda: open(path, "rb").read(1)) for path in files),
        "folders written to": sum(succeeded(lambda: write(folder)) for folder in folders),
        "processes reached": max(0, len(processes) - 3) + succeeded(lambda: os.kill(parent, 0)),
    }
"""
TRUST = "With --trust they are run all the same, with limits but without walls: for authors you trust."


def choose_road(hidden: tuple[str, ...] = (), *, trust: bool = False) -> Road:
    """Return the way to start a student's process, the safest that this system offers.

    Raises
    ------
    InputError
        When it offers no walls and ``trust`` is not given.
    """
    why = []
    for name in ("namespaces", "bubblewrap") if sys.platform == "linux" else ():
        found = fault(name, hidden)
        if found is None:
            return Road(name, hidden)
        why.append(f"{name}: {found}")
    if trust:
        return Road("trust", hidden)
    reason = "; ".join(why) or f"there are no namespaces on {sys.platform}"
    raise InputError(f"this system offers no walls around answers ({reason}). {TRUST}")


@functools.cache
def fault(name: str, hidden: tuple[str, ...]) -> str | None:
    """Return what is wrong with a road, None where it holds."""
    try:
        made = escapes(Road(name, hidden))
    except (Ended, OSError) as error:
        return str(error)
    return ", ".join(f"{number} {what}" for what, number in made.items() if number) or None


def escapes(road: Road) -> dict[str, int]:
    """Return how often a program on this road did what it must not: all zeros where the walls hold.

    Raises
    ------
    Ended
        When the program did not start at all.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        marked = Path(folder, "outside.txt")
        marked.write_text("seen", encoding="utf-8")
        abstract = f"cdpo-edu-{secrets.token_hex(8)}"
        if sys.platform == "linux":
            local.bind("\0" + abstract)
            local.listen(1)
        hidden = [path for path in road.hidden if Path(path).is_file()]
        asked: dict[str, Any] = {
            "port": server.getsockname()[1],
            "abstract": abstract,
            "files": [str(marked), str(PACKAGE / "__init__.py"), *hidden],
            "folders": ["/", "/inside", str(INSIDE), folder, str(Path.home()), *seen()],
            "parent": os.getpid(),
        }
        with StudentProcess(road, Limits(), {}) as process:
            process.ask("run", text=TRY, cell="probe")
            found = process.ask("call", key="escapes", inputs=asked)
    if not isinstance(found.value, dict):
        raise Ended(f"the probe did not answer ({found.error})")
    return found.value
