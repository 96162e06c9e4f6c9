"""The program of the student's process: it runs cells and calls answers, one command a line.

    python -I child.py READ WRITE {"hidden": [...], "packages": [...]}

reads commands from the file descriptor READ and answers each with one line on WRITE, both JSON with the
command's own number. It must not open the hidden folders, where the system cannot hide them; packages are
folders to import from.
`cdpo_edu` does not exist here but for `cdpo_edu.classroom.Desk`, which hands out the student's own instances.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import types
from builtins import (  # noqa: UP029
    BaseException,
    ImportError,
    PermissionError,
    SyntaxError,
    TypeError,
    ValueError,
    any,
    callable,
    compile,
    dict,
    exec,
    isinstance,
    len,
    list,
    print,
    str,
    tuple,
    type,
    vars,
)

HERE = os.path.join(os.path.dirname(os.path.realpath(__file__)), "")
sys.path.insert(0, HERE)
from plain import decode, encode  # type: ignore[import-not-found]  # noqa: E402  (beside this file)

del sys.path[0]

LIBRARY = "cdpo_edu"
MESSAGE = 300
_loads = json.JSONDecoder(strict=False).decode
_dumps = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode


class CheckFailed(AssertionError):
    """As in the notebook; never raised here."""


class Desk:
    """The stand-in: instances as they were sent, and a check that says nothing."""

    _instances: dict = {}

    def __init__(self, student: str = "", course: str = "") -> None:
        self.student, self.course = student, course

    def instance(self, key: str) -> dict:
        """Return the instance of an exercise, for the id under which the notebook was handed in."""
        if key not in Desk._instances:
            raise ValueError(f"no exercise is called {key!r}; there are {', '.join(Desk._instances)}")
        return decode(Desk._instances[key])

    def check(self, key: str, answer: object) -> None:
        """Do nothing: the answer is marked outside this process."""


def stand_in() -> None:
    """Put `cdpo_edu.classroom` with its Desk where an import looks first."""
    library, classroom = types.ModuleType(LIBRARY), types.ModuleType(f"{LIBRARY}.classroom")
    library.__path__ = classroom.__path__ = []
    vars(classroom).update(Desk=Desk, CheckFailed=CheckFailed)
    vars(library).update(classroom=classroom)
    sys.modules[LIBRARY], sys.modules[f"{LIBRARY}.classroom"] = library, classroom


def watch(looked: list, hidden: tuple) -> None:
    """Refuse to import the library or open hidden files; Python cannot take such a hook off again."""

    def hook(event: str, given: tuple) -> None:
        if event == "import":
            name = given[0]
            if name == LIBRARY or str(name).startswith(LIBRARY + "."):
                looked.append(f"import {name}")
                raise ImportError(f"{name} is not part of the process in which answers are marked", name=name)
        elif hidden and event in ("open", "os.listdir", "os.scandir", "sqlite3.connect") and given:
            _refuse_hidden(given[0], looked, hidden)
        elif hidden and event in STARTING:
            raise PermissionError(f"{event}: answers are marked without starting other programs")

    sys.addaudithook(hook)


STARTING = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"})


def _refuse_hidden(path: object, looked: list, hidden: tuple, real=os.path.realpath) -> None:
    if isinstance(path, (str, bytes)):
        found = os.fsdecode(real(path))
        process = found.split("/")[2] if found.startswith("/proc/") else ""
        others = process.isdigit() and process != str(os.getpid())
        if found.startswith(HERE):  # inspect and linecache read this program when they look at a stack
            return
        if others or any(f"{found}/".startswith(folder.rstrip("/") + "/") for folder in hidden):
            looked.append(f"open {found}")
            raise PermissionError(f"{found} is not open to answers")


def notebook() -> dict:
    """Return the names of a fresh notebook, in a module of its own called __main__."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__["display"] = print
    return module.__dict__


def run(names: dict, text: str, cell: str) -> dict:
    """Run a cell's text."""
    text = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n"))
    linecache.cache[f"<{cell}>"] = (len(text), None, text.splitlines(True), f"<{cell}>")
    try:
        exec(compile(text, f"<{cell}>", "exec", dont_inherit=True), names)
    except BaseException as error:
        return fault(error)
    return {"state": "done"}


def call(names: dict, key: str, inputs: dict) -> dict:
    """Call the function of that name with keyword arguments."""
    if key not in names or names[key] is None or names[key] is Ellipsis:
        return {"state": "absent"}
    try:
        if not callable(names[key]):
            raise TypeError(f"{key} is a {type(names[key]).__name__}, the exercise asks for a function")
        return {"state": "done", "value": encode(names[key](**inputs))}
    except BaseException as error:
        return fault(error)


def value(names: dict, key: str) -> dict:
    """Return the value of that name."""
    try:
        return {"state": "done", "value": encode(names[key])} if key in names else {"state": "absent"}
    except BaseException as error:
        return fault(error)


def fault(error: BaseException) -> dict:
    """Say what was raised, with the last line of a cell on its way."""
    where, step = None, error.__traceback__
    deep = 0
    while step is not None and deep < 100_000:
        name = step.tb_frame.f_code.co_filename
        if name.startswith("<") and name in linecache.cache and step.tb_lineno:
            where = (name.strip("<>"), step.tb_lineno, linecache.getline(name, step.tb_lineno).strip()[:120])
        step, deep = step.tb_next, deep + 1
    if isinstance(error, SyntaxError) and error.lineno:
        where = ("", error.lineno, "")
    try:
        message = str.__str__(str(error.msg if isinstance(error, SyntaxError) else error))[:MESSAGE]
    except BaseException:
        message = ""
    return {"state": "raised", "type": type(error).__name__[:60], "message": message, "where": where}


def serve(reading: int, writing: int, hidden: tuple) -> None:
    """Answer commands until there are no more."""
    looked: list = []
    stand_in()
    watch(looked, hidden)
    names = notebook()
    flush, write = sys.stdout.flush, os.write
    with open(reading, encoding="utf-8", closefd=False) as commands:
        for line in commands:
            asked = _loads(line)
            looked.clear()
            reply = obey(names, asked)
            flush()
            reply = {"id": asked["id"], "looked": list(looked)[:5], **reply}
            left = (_dumps(reply) + "\n").encode("ascii")
            while left:
                left = left[write(writing, left) :]


def obey(names: dict, asked: dict) -> dict:
    """Do what a command says."""
    what = asked["do"]
    if what == "desk":
        Desk._instances = asked["instances"]
        return {"state": "done"}
    if what == "run":
        return run(names, asked["text"], asked["cell"])
    if what == "call":
        return call(names, asked["key"], decode(asked["inputs"]))
    return value(names, asked["key"])


if __name__ == "__main__":
    options = _loads(sys.argv[3])
    sys.path += options["packages"]
    serve(int(sys.argv[1]), int(sys.argv[2]), tuple(options["hidden"]))
