"""Work that takes long, cut into chunks: shared among processes, kept on disk, gone on with after a kill.

What a run keeps for good it writes whole: a reference, a column of scores, the state after a round. On the
way to each, `kept_in` gives the work a folder. The work is a fixed sequence of pieces (a fit, a draw of
samples, a column of log-probabilities); each takes the next number and keeps there what it has finished, and
the run that comes after a kill begins the same sequence and finds it. Once the goal is on disk the folder
goes. Outside `kept_in` nothing is written.

A chunk is computed by one process and must depend on nothing but its own place: then the result is the same
however many processes there are and however often they were killed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from . import processes
from .bars import bar

Piece = TypeVar("Piece")
KEEP_EVERY = 120.0
"""Seconds of work that a kill may cost; the environment variable CDPO_EDU_KEEP_EVERY overrides it."""


@dataclass
class Shelf:
    """Where unfinished work lies, and how many pieces were begun."""

    folder: Path
    every: float
    begun: int = 0

    def next_place(self) -> Path:
        """Return the path of the next piece of work."""
        self.begun += 1
        return self.folder / f"{self.begun:03d}"


_shelf: Shelf | None = None


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Keep the work within below ``folder`` until it ends well: by then its result must be on disk."""
    global _shelf
    before = _shelf
    _shelf = Shelf(folder, float(os.environ.get("CDPO_EDU_KEEP_EVERY", KEEP_EVERY)))
    try:
        yield
        processes.wait()
        if processes.first():
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        _shelf = before


def place_for_a_fit() -> tuple[Path, float] | None:
    """Return where the next fit may keep its checkpoints and after how many seconds; None for nowhere."""
    return None if _shelf is None else (_shelf.next_place(), _shelf.every)


def in_chunks(pieces: Sequence[Piece], compute: Callable[[int, Piece], Any], *, title: str) -> list[Any]:
    """Return ``compute(place, piece)`` of every piece, in their order.

    Parameters
    ----------
    pieces : sequence
    compute : callable
        Returns tensors, numbers, strings or lists of them.
    title : str
        Of the progress bar.

    >>> in_chunks(["a", "b"], lambda place, piece: piece * (place + 1), title="doubling")
    ['a', 'bb']
    """
    mine = range(processes.place(), len(pieces), processes.count())
    path = None if _shelf is None else _shelf.next_place().with_suffix(f".{processes.place()}.pt")
    done: list[Any] = torch.load(path, weights_only=True) if path is not None and path.exists() else []
    kept = time.monotonic()
    for place in bar(mine[len(done) :], title=title, delay=2):
        done.append(compute(place, pieces[place]))
        if path is not None and _shelf is not None and time.monotonic() - kept >= _shelf.every:
            _write(done, path)
            kept = time.monotonic()
    shares = processes.gathered(done)
    return [shares[place % len(shares)][place // len(shares)] for place in range(len(pieces))]


def _write(done: list[Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(done, partial)
    partial.replace(path)
