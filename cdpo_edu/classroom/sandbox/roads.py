"""How a student's process is started: shut in by the system, or, where it cannot be, on trust."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .limits import Limits

__all__ = ["INSIDE", "PACKAGE", "Road"]

INSIDE = Path(__file__).with_name("inside")
LAUNCHER = Path(__file__).with_name("launcher.py")
PACKAGE = Path(__file__).parents[2]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")


@dataclass(frozen=True)
class Road:
    """A way to start the process.

    Attributes
    ----------
    name : {"namespaces", "bubblewrap", "trust"}
    hidden : tuple of str
        Files and folders of the teacher that must not be seen; the library's own is always hidden.
    """

    name: str
    hidden: tuple[str, ...] = ()

    def command(self, reading: int, writing: int, limits: Limits, room: str) -> list[str]:
        """Return the command that starts the process, with the ends of its pipes and a folder of its own."""
        plan = {
            "road": self.name,
            "reading": reading,
            "writing": writing,
            "memory": limits.memory,
            "file_size": limits.file_size,
            "processes": limits.processes,
            "python": sys.executable,
            "inside": str(INSIDE),
            "room": room,
            "seen": seen(),
            "hidden": [str(PACKAGE), *self.hidden],
            "packages": packages(),
        }
        if self.name == "bubblewrap":
            return [*bubblewrap(plan), "--", sys.executable, "-I", "-S", "/launcher.py", json.dumps(plan)]
        return [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(plan)]

    def environment(self, room: str) -> dict[str, str]:
        """Return the environment, with nothing of the teacher's in it."""
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
        home = room if self.name == "trust" else "/tmp"
        places = {"PATH": os.defpath, "HOME": home, "TMPDIR": home, "MPLCONFIGDIR": home}
        return {**places, **threads, "MPLBACKEND": "Agg", "LC_ALL": "C.UTF-8"}


def bubblewrap(plan: Mapping[str, Any]) -> list[str]:
    """Return the command `bwrap` with walls like those of `walls`; `isolation` tries whether they hold."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for path in plan["seen"]:
        command += ["--ro-bind", path, path]
    for path in map(os.path.realpath, plan["hidden"]):
        if any(path.startswith(os.path.join(shown, "")) for shown in plan["seen"]):
            command += ["--tmpfs", path] if os.path.isdir(path) else ["--ro-bind", os.devnull, path]
    command += ["--ro-bind", plan["inside"], "/inside", "--ro-bind", str(LAUNCHER), "/launcher.py"]
    return [
        *command,
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
    ]


def packages() -> list[str]:
    """Return the folders of installed packages that an isolated Python does not look into by itself."""
    ours = (os.path.join(sys.prefix, ""), os.path.join(sys.base_prefix, ""))
    folders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return [path for path in folders if not path.startswith(ours)]


def seen() -> list[str]:
    """Return what exists inside the walls: the system's programs, this Python and its packages."""
    python = [sys.base_prefix, sys.prefix, str(Path(sys.executable).resolve().parents[1]), *packages()]
    real = [os.path.realpath(path) for path in python]
    return [
        path
        for path in dict.fromkeys([*SYSTEM, *SETTINGS, *real, *python])
        if path != "/" and os.path.lexists(path)
    ]
