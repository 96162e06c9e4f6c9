"""What a student's process may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of one cell, and of all calls of one answer together.

    Attributes
    ----------
    seconds : float
        Processor time.
    wall_seconds : float
        Time on the clock: for a cell that sleeps, on a machine that may be busy.
    memory : int
        Bytes of memory in use, of the process and what it started.
    output : int
        Bytes printed.
    answer : int
        Bytes of one answer as it passes the pipe.
    file_size : int
        Bytes of one file, and of its own /tmp.
    processes : int
        Processes and threads at one time.
    """

    seconds: float = 20.0
    wall_seconds: float = 60.0
    memory: int = 3072 * MIB
    output: int = 2 * MIB
    answer: int = 64 * MIB
    file_size: int = 64 * MIB
    processes: int = 64
