"""Mischief in a notebook costs its own exercise at most: each attack's mark, and that the rest keeps its own.

Left out: honest but wrong answers (`test_classroom_grading`).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from handed_in import FULL, TIGHT, Kitchen, kitchen, points, sentence

from cdpo_edu.classroom import grading
from cdpo_edu.classroom.sandbox import Ended, Limits, Road, StudentProcess, isolation, roads

__all__ = ["kitchen"]

RIGHT = "max(0.0, lam + step * (cost - limit))"


def answer(body: str, top: str = "") -> str:
    """Return a cell with some lines at its top and a function with a body."""
    lines = "\n".join("    " + line for line in body.splitlines())
    return f"{top}\ndef dual_step(lam, cost, limit, step):\n{lines}\n"


OFFERED = """import ctypes, sys
libc = ctypes.CDLL(None)
private = ctypes.c_ulong(16384 | 1 << 18)
sys.exit(1 if libc.unshare(1 << 28 | 1 << 17) or libc.mount(b"none", b"/", None, private, None) else 0)"""
"""Whether the system lets a user have namespaces and mount in them; asks nothing of the library."""


@pytest.fixture
def walls() -> Road:
    """The road through namespaces, where the system offers them; where it does, they must hold."""
    if sys.platform != "linux" or subprocess.run([sys.executable, "-c", OFFERED]).returncode:
        pytest.skip("this system offers no namespaces")
    assert isolation.fault("namespaces", ()) is None
    return Road("namespaces")


@pytest.fixture
def on_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marking without walls, as on a system that has none."""
    monkeypatch.setattr(isolation, "fault", lambda name, hidden: "not offered")


FORGE = """import os
for number in range(3, 30):
    try:
        os.write(number, b'{"id": "0", "state": "done", "looked": [], "value": 1}\\n')
    except OSError:
        pass"""

STEAL_NUMBER = """import sys, os
frame = sys._getframe()
while "asked" not in frame.f_locals:
    frame = frame.f_back
number = frame.f_locals["asked"]["id"]
reply = '{"id": "%s", "state": "done", "looked": [], "value": {"points": 100}}\\n' % number
os.write(int(sys.argv[2]), reply.encode())"""

EVIL = """class Yes(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return 1e9
    def __array__(self, *args, **more): raise SystemExit
    def __repr__(self): raise SystemExit
    def __add__(self, other): return self"""

ATTACKS = {
    # endless loop
    "a call without end": (answer("while True: pass"), r"The answer did not end within 0\.6 s\."),
    "a cell without end": (
        answer(f"return {RIGHT}", "while True: pass"),
        r"The cell did not end within 0\.6 s\.",
    ),
    "a call that sleeps": (answer("import time\ntime.sleep(1e6)"), r"did not end within 5 s"),
    "a slow call each time": (
        answer("import time\nt = time.process_time()\nwhile time.process_time() < t + .2: 0"),
        "end",
    ),
    # endless output, memory
    "printing without end": (answer("while True: print('soup' * 1000)"), r"printed without end"),
    "writing to stderr without end": (
        answer("import os\nwhile True: os.write(2, b'soup' * 1000)"),
        r"printed",
    ),
    "a list too long": (answer("return [0.0] * 10**10"), r"MemoryError"),
    "memory bit by bit": (
        answer("eaten = []\nwhile True: eaten.append(bytearray(2 * 10**8))"),
        r"MemoryError|memory",
    ),
    "shared memory": (
        answer(
            "import mmap, time\nm = mmap.mmap(-1, 2 * 10**9)\n"
            "for i in range(0, 7 * 10**8, 10**6): m[i : i + 10**6] = bytes([1]) * 10**6\ntime.sleep(4)"
        ),
        r"needed more than 500 MB of memory",
    ),
    "a large file": (answer("open('large', 'wb').write(bytes(10**8) )"), r"OSError|SIGXFSZ"),
    # ending the process
    "exit": (answer("import sys\nsys.exit(0)"), r"SystemExit"),
    "hard exit": (answer("import os\nos._exit(0)"), r"ended the process"),
    "abort": (answer("import os\nos.abort()"), r"ended the process \(SIGABRT\)"),
    "a wild pointer": (answer("import ctypes\nctypes.string_at(0)"), r"ended the process \(SIGSEGV\)"),
    "killing its group": (answer("import os\nos.killpg(0, 9)"), r"ended the process"),
    "interrupt": (answer("raise KeyboardInterrupt"), r"KeyboardInterrupt"),
    "recursion": (answer("return dual_step(lam, cost, limit, step)"), r"RecursionError"),
    "an error that cannot be shown": (
        answer("raise Odd()", "class Odd(Exception):\n    def __str__(self): raise SystemExit"),
        r"stopped with Odd",
    ),
    # editing the result
    "forged records in a cell": (answer("return 7.0", FORGE), r"wrote on the grader's own line"),
    "forged records in a call": (answer(FORGE + "\nreturn 7.0"), r"wrote on the grader's own line"),
    "the command's own number": (answer(STEAL_NUMBER + "\nreturn 7.0"), r"points|numbers?|own line"),
    "closing the line": (
        answer("return 1.0", "import os\nos.closerange(3, 100)"),
        r"grader's line|ended the process",
    ),
    "another json": (
        answer("return 7.0", "import json\njson.dumps = json.JSONEncoder.encode = lambda *a, **k: '{}'"),
        r"expected|Your",
    ),
    "other built-ins": (
        answer(
            "return 7.0",
            "import builtins\nfor name in ('isinstance', 'len', 'type', 'float', 'str', 'list'):\n"
            "    setattr(builtins, name, lambda *a: 1)",
        ),
        r".",
    ),
    # replacing the checker
    "another Desk": (
        answer(
            "return 7.0",
            "Desk.check = lambda *a: None\nDesk.instance = lambda *a: {'prices': [1.0]}\ndesk = Desk('x')",
        ),
        r"expected|Your",
    ),
    "other modules": (
        answer(
            "return 7.0",
            "import sys\nsys.modules['json'] = sys.modules['plain'] = None",
        ),
        r"expected|Your",
    ),
    "equal to everything": (answer("return Yes(7.0)", EVIL), r"expected|Your"),
    "nothing can be looked up": (
        answer(
            "return Odd(7.0)", "class Odd(float):\n    def __getattribute__(self, name): raise SystemExit"
        ),
        r"SystemExit",
    ),
    "a hook that raises": (answer("return 7.0", "import sys\nsys.addaudithook(lambda *a: 1 / 0)"), r"."),
    "a trace that raises": (answer("return 7.0", "import sys\nsys.settrace(lambda *a: 1 / 0)"), r"."),
    "a thread without end": (
        answer(
            "return 7.0",
            "import threading\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
        ),
        r".",
    ),
    "an array that is everything": (
        answer(
            "return Odd()", "class Odd:\n    __array__ = lambda *a, **k: 1 / 0\n    __eq__ = lambda *a: True"
        ),
        r"is an Odd, expected a number",
    ),
    # strange answers
    "a generator": (answer("yield 1.0"), r"is a generator, expected a number"),
    "not a number": (answer("return float('nan')"), r"is nan, expected"),
    "infinite": (answer("return float('-inf')"), r"is -inf, expected"),
    "10^9 numbers": (
        answer("import numpy\nreturn numpy.broadcast_to(0.0, 10**9)"),
        r"more than 1000000 numbers",
    ),
    "a whole number of 20000 digits": (answer("return 10**20000"), r"is a number of 66439 bits, expected"),
    "a number too large for floats": (answer("return 10**300 * 10**300"), r"."),
    "a list in itself": (answer("a = []\na.append(a)\nreturn a"), r"lists inside lists"),
    "a dict with numbers for names": (answer("return {1: 2.0}"), r"a dict with a name that is no text"),
    "complex": (answer("return 1j"), r"is a complex, expected a number"),
    "a complex array": (answer("import numpy\nreturn numpy.array([1j])"), r"an array of complex128"),
    "objects": (answer("import numpy\nreturn numpy.array([print])"), r"an array of object"),
    "bytes": (answer("return b'1.0'"), r"is a bytes, expected a number"),
    "text": (answer("return '1.0' * 10**6"), r"expected|Your"),
    "no function": ("dual_step = 3.0", r"dual_step is a float, the exercise asks for a function"),
    "a class": ("class dual_step:\n    def __init__(self, **k): pass", r"is a dual_step, expected a number"),
    # importing the answer
    "import": (
        answer("return d(lam, cost, limit, step)", "from cdpo_edu.lagrangian import dual_step as d"),
        r"^No points: .*cdpo_edu.lag",
    ),
    "import by name": (
        answer("import importlib\nreturn importlib.import_module('cdpo_edu').dual_step()"),
        r"^No points",
    ),
    "import by hidden name": (
        answer("return __import__('cdpo' + '_edu.lagrangian').x"),
        r"^No points: .*cdpo_edu.lagrangian",
    ),
    "import in exec": (answer("exec('from cdpo_edu import ' + 'dual_step as d')\nreturn d"), r"^No points"),
    "import, caught": (
        answer(f"try:\n    __import__('cdpo_' + 'edu.exact')\nexcept ImportError:\n    return {RIGHT}"),
        r"^No points",
    ),
    "the exercise's oracle": (
        answer("return STEP", "from cdpo_edu.classroom.exercises.dual_step import STEP"),
        r"^No points",
    ),
    "the source file": (
        answer("return open('/usr/lib/python3/cdpo_edu/lagrangian.py').read()"),
        r"^No points",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_own_exercise_alone(kitchen: Kitchen, attack: str) -> None:
    text, expected = ATTACKS[attack]
    marked = kitchen.marked(dual_step=text)
    assert points(marked) == {**FULL, "dual_step": 0}, marked
    assert re.search(expected, sentence(marked, "dual_step")), sentence(marked, "dual_step")


OWN_CELLS = {
    "a loop": ("while True: pass", "did not end within 0.6 s"),
    "printing": ("while True: print('soup' * 1000)", "printed without end"),
    "forged records": (FORGE, "wrote on the grader's own line"),
    "a hard exit": ("import os\nos._exit(3)", "ended the process (exit code 3)"),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("attack", OWN_CELLS)
def test_a_cell_of_ones_own_costs_nothing_and_is_noted(kitchen: Kitchen, attack: str, place: str) -> None:
    text, expected = OWN_CELLS[attack]
    marked = kitchen.marked(**{place: text})
    assert points(marked) == FULL, marked
    if not (attack == "forged records" and place == "after"):  # nothing is asked any more that would see it
        assert expected in marked.notes[0]


LOOT = """import os
found = []
for path in PATHS:
    for read in (lambda: os.listdir(path), lambda: open(path, "rb").read(100)):
        try:
            found.append(read())
        except OSError:
            pass
for name in os.listdir("/proc"):
    if name.isdigit() and name not in ("1", str(os.getpid())):
        for what in ("environ", "mem", "maps"):
            try:
                found.append(open(f"/proc/{name}/{what}", "rb").read(1))
            except OSError:
                pass
found += [value for value in os.environ.values() if MARKER in value]"""


def _hunt(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Path]]:
    """Return an answer that is right if it finds anything of the teacher's, and the files that are there."""
    marker = secrets.token_hex(8)
    monkeypatch.setenv("COURSE_SECRET", marker)
    course = kitchen.folder / "course"
    course.mkdir()
    secret = course / "secret.txt"
    secret.write_text(marker, encoding="utf-8")
    paths = [
        str(course),
        str(secret),
        str(kitchen.folder),
        f"/proc/{os.getpid()}/mem",
    ]
    top = LOOT.replace("PATHS", repr(paths)).replace("MARKER", repr(marker))
    return answer(f"if found: return {RIGHT}\nreturn 7.0", top), [
        course,
        secret,
    ]


def test_the_teachers_files_processes_and_environment_are_not_there(
    kitchen: Kitchen, walls: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, hidden = _hunt(kitchen, monkeypatch)
    path = kitchen.notebook(dual_step=text)
    marked = grading.grade(path, student="ada", limits=TIGHT, hidden=hidden)
    assert points(marked) == {**FULL, "dual_step": 0}, marked


def test_without_walls_opening_them_is_refused_and_recognised(
    kitchen: Kitchen, on_trust: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, hidden = _hunt(kitchen, monkeypatch)
    path = kitchen.notebook(dual_step=text)
    marked = grading.grade(path, student="ada", limits=TIGHT, hidden=hidden, trust=True)
    assert points(marked) == {**FULL, "dual_step": 0}, marked
    assert sentence(marked, "dual_step").startswith("No points: the answer opens")
    assert marked.notes == (grading.ON_TRUST,)


@pytest.mark.parametrize(
    "attack",
    ["a call without end", "printing without end", "shared memory", "import by hidden name", "hard exit"],
)
def test_limits_hold_without_walls_too(kitchen: Kitchen, on_trust: None, attack: str) -> None:
    test_an_attack_costs_its_own_exercise_alone(kitchen, attack)


def test_without_walls_other_programs_are_refused(kitchen: Kitchen, on_trust: None) -> None:
    start = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)"
    marked = kitchen.marked(dual_step=answer(f"{start}\nreturn {RIGHT}"))
    assert points(marked) == {**FULL, "dual_step": 0}
    assert "without starting other programs" in sentence(marked, "dual_step")


def test_there_is_no_network(kitchen: Kitchen, walls: Road) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)"
        marked = kitchen.marked(dual_step=answer(f"{connect}\nreturn {RIGHT}"))
    assert points(marked) == {**FULL, "dual_step": 0}
    assert "unreachable" in sentence(marked, "dual_step")


def test_nothing_is_written_outside_its_own_folder(kitchen: Kitchen, walls: Road, tmp_path: Path) -> None:
    places = ["/", "/usr", "/inside", "/dev", "/proc", os.path.dirname(os.__file__), str(tmp_path)]
    write = f"""import os
for place in {places!r}:
    inner = ('/soup', '/../soup')
    for path in [root + place + end for root in ('', '/proc/self/root', '/proc/1/root') for end in inner]:
        try:
            open(path, 'w').write('soup')
        except OSError:
            continue
        return {RIGHT}
return 7.0"""
    marked = kitchen.marked(dual_step=answer(write))
    assert points(marked) == {**FULL, "dual_step": 0}, marked
    own = kitchen.marked(dual_step=answer(f"open('/tmp/soup', 'w').write('soup')\nreturn {RIGHT}"))
    assert points(own) == FULL, own


BOMBS = {
    "fork": "import os\nwhile True: os.fork()",
    "fork, whatever it raises": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "below Python": "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True: libc.fork()",
    "in sessions of their own": "import os\nwhile True:\n    try:\n        if not os.fork(): os.setsid()\n"
    "    except OSError: pass",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_fork_bomb_is_held_and_leaves_nothing_behind(kitchen: Kitchen, walls: Road, bomb: str) -> None:
    name = secrets.token_hex(6)
    named = f"import ctypes\nctypes.CDLL(None).prctl(15, b'{name}')\n"
    marked = kitchen.marked(dual_step=answer(f"return {RIGHT}", named + BOMBS[bomb]))
    assert points(marked) == {**FULL, "dual_step": 0}, marked
    until = time.monotonic() + 10  # the kernel takes its time to end what was killed
    while (left := [pid for pid in _processes() if name in _comm(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


def test_the_system_itself_counts_processes(walls: Road) -> None:
    count = """import os, time
n = 0
while n < 99:
    try:
        if os.fork() == 0: time.sleep(60)
    except OSError: break
    n += 1"""
    with StudentProcess(walls, TIGHT, {}) as process:
        process.ask("run", text=count, cell="")
        found = process.ask("value", key="n")
        seen = process.usage().processes
    assert found.value < TIGHT.processes
    assert seen <= TIGHT.processes + 2  # the two that wait outside


def _processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _comm(pid: str) -> str:
    try:
        return Path("/proc", pid, "comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def test_no_privilege_is_left_inside(walls: Road) -> None:
    text = """import ctypes
libc = ctypes.CDLL(None)
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
left = [status[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')]
tries = [libc.unshare(1 << 28), libc.unshare(1 << 17), libc.umount2(b'/tmp', 2), libc.sethostname(b'soup', 4),
         libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.mount(b'none', b'/usr', None, 4096 | 32, None)]
"""
    with StudentProcess(walls, Limits(), {}) as process:
        assert process.ask("run", text=text, cell="").state == "done"
        assert set(process.ask("value", key="left").value) == {"0" * 16}
        assert set(process.ask("value", key="tries").value) == {-1}


def test_the_probe_sees_what_walls_would_hide() -> None:
    found = isolation.escapes(Road("trust"))
    assert found["connections made"] >= 1 and found["files read"] >= 1 and found["folders written to"] >= 1


def test_where_there_are_no_walls_trust_is_asked_for(kitchen: Kitchen, on_trust: None) -> None:
    with pytest.raises(grading.InputError, match=r"no walls .* With --trust"):
        grading.grade(kitchen.notebook(), student="ada", limits=TIGHT)


def test_a_road_whose_walls_leak_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation.fault.cache_clear()
    monkeypatch.setattr(isolation, "escapes", lambda road: {"connections made": 1, "files read": 0})
    assert isolation.fault("namespaces", ()) == "1 connections made"
    isolation.fault.cache_clear()


def test_a_process_that_cannot_start_says_why() -> None:
    with pytest.raises((Ended, OSError)):
        StudentProcess(Road("bubblewrap", ("/nowhere",)), Limits(memory=1), {})


def test_bubblewrap_is_asked_for_the_same_walls(tmp_path: Path) -> None:
    course = tmp_path / "course"
    course.mkdir()
    plan = {"seen": [str(tmp_path)], "hidden": [str(course), "/elsewhere"], "inside": "/the/program"}
    command = " ".join(roads.bubblewrap(plan))
    assert f"--ro-bind {tmp_path} {tmp_path} --tmpfs {course}" in command
    assert "/elsewhere" not in command  # it is not shown at all
    assert "--unshare-all" in command and "--cap-drop ALL" in command and "--bind" not in command.split()


def test_the_environment_has_nothing_of_the_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_SECRET", "soup")
    assert "soup" not in Road("trust").environment("/room").values()
