"""Time the lessons, one after the other, each in a kernel of its own; print a table. Nothing is written.

    python scripts/time_lessons.py             every lesson, as committed
    python scripts/time_lessons.py --fast 05   lesson 05 in the fast setting (CDPO_EDU_FAST=1)

Executes the committed notebooks with the environment of scripts/lessons.env, so one thread a lesson. User
seconds are processor time of the kernel, start and imports included; they depend less than the clock's on
what else the machine does, but they do: a shared core is slower. A cell that fails ends the run with exit
code 1: what the cells assert holds in both settings.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import nbformat
from build_notebooks import KERNEL, LESSONS, execute
from nbclient.exceptions import CellExecutionError


def seconds_of(path: Path) -> tuple[float, float]:
    """Execute a lesson; return its kernel's user seconds and the clock's."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.perf_counter()
    execute(nbformat.read(path, as_version=4), path.parent)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="Time the lessons, one after the other.")
    parser.add_argument("names", nargs="*", help="beginnings of names; default all")
    parser.add_argument("--fast", action="store_true", help="in the fast setting, CDPO_EDU_FAST=1")
    chosen = parser.parse_args()
    KERNEL["CDPO_EDU_FAST"] = "1" if chosen.fast else "0"
    beginnings = tuple(chosen.names) or ("",)
    paths = [path for path in sorted(LESSONS.glob("[0-9]*.ipynb")) if path.name.startswith(beginnings)]
    if not paths:
        parser.error(f"no lesson starts with {' or '.join(beginnings)}")
    total = [0.0, 0.0]
    print("| lesson | user seconds | clock seconds |\n|---|---|---|")
    for path in paths:
        try:
            spent = seconds_of(path)
        except CellExecutionError as error:
            print(f"{path.stem}: a cell failed\n{error}", file=sys.stderr)
            return 1
        total = [a + b for a, b in zip(total, spent, strict=True)]
        print(f"| {path.stem} | {spent[0]:.0f} | {spent[1]:.0f} |", flush=True)
    print(f"| together | {total[0]:.0f} | {total[1]:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
