"""How a student's process is started: shut in by the system, or, where it cannot be, on trust."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .limits import Limits

__all__ = ["Road", "trusted"]

INSIDE = Path(__file__).with_name("inside")
PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Road:
    """A way to start the process.

    Attributes
    ----------
    name : {"namespaces", "bubblewrap", "trust"}
    hidden : tuple of str
        Files and folders of the teacher that must not be seen.
    """

    name: str
    hidden: tuple[str, ...] = field(default=())

    def command(self, reading: int, writing: int, limits: Limits, room: str) -> list[str]:
        """Return the command that starts the process."""
        plan = {
            "road": self.name,
            "reading": reading,
            "writing": writing,
            "seconds": limits.seconds,
            "memory": limits.memory,
            "file_size": limits.file_size,
            "processes": limits.processes,
            "python": sys.executable,
            "inside": str(INSIDE),
            "room": room,
            "hidden": [str(PACKAGE), *self.hidden],
        }
        return [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py")), json.dumps(plan)]

    def environment(self, room: str) -> dict[str, str]:
        """Return the environment, with nothing of the teacher's in it."""
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
        quiet = {"MPLBACKEND": "Agg", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
        home = room if self.name == "trust" else "/tmp"
        return {"PATH": os.defpath, "HOME": home, "TMPDIR": home, **threads, **quiet}


def trusted(hidden: tuple[str, ...] = ()) -> Road:
    """Return the road for answers that are trusted."""
    return Road("trust", hidden)
