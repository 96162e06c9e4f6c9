"""What a process and all that it started use: processor time, memory and number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Usage", "usage"]

MANY = 2000
"""Descendants that are counted at most."""


class Usage(NamedTuple):
    """Seconds of processor time, bytes of memory, processes."""

    seconds: float
    memory: int
    processes: int


def usage(pid: int) -> Usage:
    """Return what the process ``pid`` and its descendants use, zeros when there is none."""
    return _from_proc(pid) if sys.platform == "linux" else _from_ps(pid)


def _from_proc(pid: int) -> Usage:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    seconds, memory, processes = 0.0, 0, 0
    for each in _family(pid):
        try:
            with open(f"/proc/{each}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        seconds += sum(map(int, fields[11:15])) / tick  # with its children that have ended
        memory += int(fields[21]) * page
        processes += 1
    return Usage(seconds, memory, processes)


def _family(pid: int) -> Iterator[int]:
    waiting, seen = [pid], 0
    while waiting and seen < MANY:
        each = waiting.pop()
        seen += 1
        yield each
        try:
            with open(f"/proc/{each}/task/{each}/children", encoding="ascii") as file:
                waiting += map(int, file.read().split())
        except OSError:
            continue


def _from_ps(pid: int) -> Usage:
    """Return the same by the command ps, for the process group (macOS)."""
    found = subprocess.run(["ps", "-o", "rss=,time=", "-g", str(pid)], capture_output=True, text=True)
    rows = [line.split() for line in found.stdout.splitlines() if len(line.split()) == 2]
    return Usage(sum(_clock(row[1]) for row in rows), sum(int(row[0]) << 10 for row in rows), len(rows))


def _clock(text: str) -> float:
    """Return seconds from what ps prints.

    >>> _clock("1:02.50"), _clock("1-00:00:01")
    (62.5, 86401.0)
    """
    days, _, rest = text.rpartition("-")
    seconds = 0.0
    for part in rest.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds + 86400 * int(days or 0)
