"""Running a notebook so that each exercise gets its chance, whatever the other cells do.

The cells run in order in one process, and an exercise is asked where its check stands. A cell that does not
end, or spoils the line, costs the process; it is left out of the next one. An exercise that came out wrong is
asked once more, in a process with nothing but the cells that it needs, so that another cell's mischief is
not paid for twice. Left out: what the answers are worth (`grading`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .exercise import Exercise, Inputs
from .sandbox import Ended, Reply, StudentProcess
from .submission import Cell, defined, names_used

__all__ = ["Given", "Sitting"]

STARTS = 6
"""Processes for a whole notebook; after that each exercise has one of its own."""


@dataclass(frozen=True)
class Given:
    """What was given as an answer.

    Attributes
    ----------
    values : tuple
        One per input, of plain types; empty where there is a fault.
    fault : str
        Why there are no values: a sentence, empty where there are.
    looked : tuple of str
        Attempts to import the library or to open a hidden file, by the answer.
    """

    values: tuple[Any, ...] = ()
    fault: str = ""
    looked: tuple[str, ...] = ()


class Sitting:
    """One notebook in its processes.

    Parameters
    ----------
    cells : sequence of Cell
        In the order to run, checks among them.
    start : callable
        Starts a process.
    asked : mapping of str to (Exercise, inputs)
        What to ask of each exercise that was answered.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        start: Callable[[], StudentProcess],
        asked: Mapping[str, tuple[Exercise, Sequence[Inputs]]],
    ) -> None:
        self.cells, self.start, self.asked = cells, start, asked
        self.given: dict[str, Given] = {}
        self.spoiled: dict[int, str] = {}  # cells that cost a process, and how
        self.ran: dict[str, set[int]] = {}  # cells that had run when an exercise was asked

    def together(self) -> None:
        """Ask all exercises, in as few processes as it takes."""
        for _ in range(STARTS):
            if len(self.given) == len(self.asked) or self._walk(self._steps()):
                return

    def alone(self, key: str) -> Given | None:
        """Ask one exercise with nothing but the cells that it needs; None where that was done already."""
        needed = self.needed(key)
        ran = self.ran.get(key, set())
        others = any(self.cells[i].role in ("answer", "own") for i in ran - needed)
        if key in self.given and needed <= ran and not others:
            return None
        asked = Sitting(self.cells, self.start, {key: self.asked[key]})
        for _ in range(3):
            asked._walk([*sorted(needed - set(asked.spoiled)), key])
            if key in asked.given:
                break
        return asked.given.get(key)

    def _steps(self) -> list[int | str]:
        """Return cells to run (by number) and exercises to ask (by key), in order."""
        last = {cell.key: i for i, cell in enumerate(self.cells) if cell.role == "answer"}
        checks = [(i, cell.key) for i, cell in enumerate(self.cells) if cell.role == "check"]
        place = {key: i for i, key in checks if i > last.get(key, i)}
        steps: list[int | str] = []
        for i, cell in enumerate(self.cells):
            if place.get(cell.key) == i:
                steps.append(cell.key)
            elif cell.role != "check" and i not in self.spoiled:
                steps.append(i)
        steps += [key for key in self.asked if key not in place]
        waiting = self.asked.keys() - self.given.keys()
        return [step for step in steps if isinstance(step, int) or step in waiting]

    def _walk(self, steps: Sequence[int | str]) -> bool:
        """Take the steps in one process; return whether it came to the end."""
        ran: list[int] = []
        raised: dict[str, Reply] = {}
        step: int | str = ""
        try:
            with self.start() as process:
                for step in steps:
                    if isinstance(step, str):
                        self.ran[step] = set(ran)
                        self._ask(process, step, raised)
                        continue
                    cell = self.cells[step]
                    reply = process.ask("run", text=cell.text, cell=cell.key or "cell")
                    ran.append(step)
                    if cell.role == "answer":
                        raised[cell.key] = reply
        except Ended as error:
            self._blame(step, ran, error)
            return False
        return True

    def _ask(self, process: StudentProcess, key: str, raised: Mapping[str, Reply]) -> None:
        exercise, inputs = self.asked[key]
        cell = raised.get(key, Reply("done"))
        replies = []
        for reply in (
            process.answers(key, inputs) if exercise.is_function else [process.ask("value", key=key)]
        ):
            replies.append(reply)
            if reply.state != "done":
                break
        looked = (*cell.looked, *(path for reply in replies for path in reply.looked))
        self.given[key] = Given(tuple(reply.value for reply in replies), _fault(cell, replies[-1]), looked)

    def _blame(self, step: int | str, ran: Sequence[int], error: Ended) -> None:
        """Note which cell or exercise cost the process."""
        written = [i for i in ran if self.cells[i].role in ("answer", "own")]
        given = isinstance(step, int) and self.cells[step].role == "given"
        if written and (error.earlier or given):
            step = written[-1]
        elif given:
            raise error
        if isinstance(step, int):
            self.spoiled[step] = str(error)
            if self.cells[step].role == "answer":
                self.given.setdefault(self.cells[step].key, Given(fault=f"The cell {error}."))
                self.ran.setdefault(self.cells[step].key, set(ran))
        elif step:
            self.given[step] = Given(fault=f"The answer {error}.")
        else:
            raise error

    def needed(self, key: str) -> set[int]:
        """Return what an answer rests on: given cells, its own, and those that define names it uses."""
        defines = [defined(cell.text) if cell.role != "check" else set() for cell in self.cells]
        given = {i for i, cell in enumerate(self.cells) if cell.role == "given"}
        locked = {name for i in given for name in defines[i]}
        needed = {i for i, cell in enumerate(self.cells) if cell.role == "answer" and cell.key == key}
        waiting = list(needed)
        while waiting:
            used = names_used(self.cells[waiting.pop()].text) - locked
            more = {i for i, names in enumerate(defines) if names & used} - needed
            needed |= more
            waiting += more
        return needed | given


def _fault(cell: Reply, reply: Reply) -> str:
    """Return a sentence for an answer that gave nothing, empty where it gave something."""
    if reply.state == "raised":
        return f"The answer stopped with {reply.error}."
    if reply.state == "absent":
        return f"The cell stopped with {cell.error}." if cell.error else "Not answered."
    return ""
