"""The student's process as the grader sees it: commands go in, answers come out, and it ends when it must.

Whatever runs in there, the grader is told one of these: an answer in plain values, what was raised, or why
the process had to be ended. Nothing that the process sends is trusted beyond that.
Left out: how it is started and shut in (`roads`), and what it runs (`inside.child`).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .inside.plain import decode, encode
from .limits import Limits
from .roads import Road
from .usage import Usage, usage

__all__ = ["Ended", "Reply", "StudentProcess"]

LOOK_EVERY = 0.05
"""Seconds between two looks at what a process uses."""


OUTSIDE = 2
"""Processes of one's own that wait outside the walls for the one inside."""


@dataclass(frozen=True)
class Reply:
    """What a command came to.

    Attributes
    ----------
    state : {"done", "raised", "absent"}
    value : object
        The answer, of plain types.
    error : str
        What was raised, on which line of which cell.
    looked : tuple of str
        Attempts to import the library or to open a hidden file.
    """

    state: str
    value: Any = None
    error: str = ""
    looked: tuple[str, ...] = ()


class Ended(Exception):
    """The process is no more; the message says why, as the end of a sentence.

    Attributes
    ----------
    earlier : bool
        Whether what came before this command is to blame.
    """

    def __init__(self, why: str, *, earlier: bool = False) -> None:
        super().__init__(why)
        self.earlier = earlier


class StudentProcess:
    """One process, from its start to `close`.

    Parameters
    ----------
    road : Road
        How it is started and shut in.
    limits : Limits
    instances : mapping of str to dict
        What its `Desk` hands out.
    """

    def __init__(self, road: Road, limits: Limits, instances: Mapping[str, Any]) -> None:
        self.limits = limits
        self._room = tempfile.TemporaryDirectory(prefix="cdpo-edu-", ignore_cleanup_errors=True)
        commands, self._write = os.pipe()
        self._read, replies = os.pipe()
        self._pending = bytearray()
        try:
            self._process = self._started(road, commands, replies)
        except OSError:
            self._room.cleanup()
            os.close(self._write)
            os.close(self._read)
            raise
        finally:
            os.close(commands)
            os.close(replies)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        for end in (self._write, self._read, self._output.fileno()):
            os.set_blocking(end, False)
        self._tail = b""
        try:
            self.ask("desk", instances={key: encode(value) for key, value in instances.items()})
        except Ended as error:
            said = self._tail.decode(errors="replace").strip().rpartition("\n")[2]
            raise Ended(said or str(error)) from None

    def _started(self, road: Road, commands: int, replies: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            road.command(commands, replies, self.limits, self._room.name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(commands, replies),
            env=road.environment(self._room.name),
            cwd=self._room.name,
            start_new_session=True,
        )

    def __enter__(self) -> StudentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and all that it started."""
        if self._output.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        for end in (self._write, self._read):
            with contextlib.suppress(OSError):
                os.close(end)
        self._room.cleanup()

    def usage(self) -> Usage:
        """Return what the process and all that it started use now."""
        return usage(self._process.pid)

    def answers(self, key: str, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
        """Yield what a function gives to each input, all calls together within the limits of one command."""
        start, before = time.monotonic(), self.usage().seconds
        for asked in inputs:
            spent = (self.usage().seconds - before, time.monotonic() - start)
            yield self.ask("call", spent=spent, key=key, inputs=encode(asked))

    def ask(self, do: str, *, spent: tuple[float, float] = (0.0, 0.0), **what: Any) -> Reply:
        """Send one command and wait for its answer.

        Parameters
        ----------
        do : {"desk", "run", "call", "value"}
        spent : tuple of float
            Processor time and time on the clock already counted.

        Raises
        ------
        Ended
            When there is none within the limits; the process is closed then.
        """
        number = secrets.token_hex(8)
        line = json.dumps({"id": number, "do": do, **what}).encode() + b"\n"
        try:
            return self._answered(number, line, spent)
        except Ended:
            self.close()
            raise

    def _answered(self, number: str, line: bytes, spent: tuple[float, float]) -> Reply:
        if self._pending or self._waits():
            raise Ended("wrote on the grader's own line", earlier=True)
        answer = self._exchange(memoryview(line), spent)
        try:
            return _reply(json.loads(answer), number)
        except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
            raise Ended("wrote on the grader's own line") from None

    def _waits(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            self._pending += os.read(self._read, 1)
        return bool(self._pending)

    def _exchange(self, left: memoryview, spent: tuple[float, float]) -> bytes:
        """Write a line and read one, with an eye on what is used; return the line."""
        printed, start = 0, time.monotonic() - spent[1]
        before = self.usage().seconds - spent[0]
        with selectors.DefaultSelector() as ready:
            ready.register(self._read, selectors.EVENT_READ)
            ready.register(self._output, selectors.EVENT_READ)
            ready.register(self._write, selectors.EVENT_WRITE)
            look = start
            while True:
                events = {key.fd for key, _ in ready.select(LOOK_EVERY)}
                if self._write in events:
                    left = self._sent(left)
                    if not left:
                        ready.unregister(self._write)
                if self._output.fileno() in events:
                    printed += self._drained(ready)
                if self._read in events and self._received():
                    return self._line()
                now = time.monotonic()
                if now - look >= LOOK_EVERY:
                    look = now
                    self._within(before, now - start)
                if printed > self.limits.output:
                    raise Ended("printed without end")

    def _sent(self, left: memoryview) -> memoryview:
        try:
            return left[os.write(self._write, left) :]
        except BlockingIOError:
            return left
        except OSError:
            raise Ended(self._how_it_died()) from None

    def _drained(self, ready: selectors.BaseSelector) -> int:
        try:
            text = os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return 0
        if not text:
            ready.unregister(self._output)
        self._tail = (self._tail + text)[-2000:]
        return len(text)

    def _received(self) -> bool:
        """Read what is there; return whether a line is complete."""
        text = os.read(self._read, 1 << 20)
        if not text:
            raise Ended(self._how_it_died())
        self._pending += text
        if len(self._pending) > self.limits.answer:
            raise Ended("gave an answer too large to read")
        return b"\n" in text

    def _line(self) -> bytes:
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        return line

    def _within(self, before: float, wall: float) -> None:
        """Raise Ended when a limit is passed."""
        now, limits = self.usage(), self.limits
        if now.memory > limits.memory:
            raise Ended(f"needed more than {limits.memory >> 20} MB of memory")
        if now.processes > limits.processes + OUTSIDE:
            raise Ended(f"started more than {limits.processes} processes")
        if now.seconds - before > limits.seconds or wall > limits.wall_seconds:
            spent = limits.seconds if now.seconds - before > limits.seconds else limits.wall_seconds
            raise Ended(f"did not end within {spent:g} s")

    def _how_it_died(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            if code < 0 or code > 128:
                number = -code if code < 0 else code - 128
                with contextlib.suppress(ValueError):
                    return f"ended the process ({signal.Signals(number).name})"
            return f"ended the process (exit code {code})"
        return "closed the grader's line"


def _reply(told: dict[str, Any], number: str) -> Reply:
    """Return a reply from what was received, believing nothing of it."""
    if told["id"] != number or told["state"] not in ("done", "raised", "absent"):
        raise ValueError("not the answer to this command")
    looked = tuple(str(path)[:200] for path in list(told["looked"])[:5])
    if told["state"] != "raised":
        return Reply(told["state"], decode(told.get("value")), "", looked)
    return Reply("raised", None, _raised(told), looked)


def _raised(told: dict[str, Any]) -> str:
    words = f"{str(told['type'])[:60]}: {str(told['message'])[:300]}".rstrip(": ")
    if told.get("where"):
        _, number, text = told["where"]
        words += f" (line {int(number)}" + (f": {str(text)[:120]})" if text else ")")
    return words
