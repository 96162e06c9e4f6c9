"""Started before the student's process, as a program of its own: sets the limits and becomes that process.

    python -I -S launcher.py PLAN

PLAN is a JSON object; see `roads.Road.command`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys


def limit(plan: dict) -> None:
    """Set the limits that the system itself holds."""
    memory, size = int(plan["memory"]), int(plan["file_size"])
    chosen = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": size,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_DATA": memory,
        "RLIMIT_AS": memory + (16 << 30),  # torch asks for much room and uses little of it
    }
    if plan["road"] != "trust":
        chosen["RLIMIT_NPROC"] = int(plan["processes"])
    for name, most in chosen.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))


def become_student(plan: dict, inside: str) -> None:
    """Become the program `inside/child.py`."""
    open_to_it = {"hidden": plan["hidden"] if plan["road"] == "trust" else [], "packages": plan["packages"]}
    ends = [str(plan["reading"]), str(plan["writing"])]
    os.execv(plan["python"], [plan["python"], "-I", f"{inside}/child.py", *ends, json.dumps(open_to_it)])


def main() -> None:
    """Do what the plan says."""
    plan = json.loads(sys.argv[1])
    inside = plan["inside"] if plan["road"] == "trust" else "/inside"
    if plan["road"] == "namespaces":
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import walls  # type: ignore[import-not-found]  # it is beside this file, not in the package

        walls.enter(plan)
    limit(plan)
    become_student(plan, inside)


if __name__ == "__main__":
    main()
