"""What Gradescope runs for each submission: marks the notebook and writes results.json, whatever happens.

    /autograder/source                  the zip, unpacked
    /autograder/submission              what the student sent
    /autograder/submission_metadata.json   who sent it, and when
    /autograder/results/results.json    what the student is shown

`CDPO_EDU_AUTOGRADER` names another folder than /autograder. The secret is read and removed before an answer
runs. A student may submit again and again, so a wrong answer is not told the inputs and results on which it
is marked. Reference: Gradescope's "Autograder Specifications" and "Submission Metadata".
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..types import InputError
from . import seeds
from .exercises import exercise_named
from .gradebook.collecting import STUB_ID
from .gradescope import ABOUT
from .grading import Mark, Marked, grade
from .secret import SECRET_FILE
from .submission import Submission, read_submission

__all__ = ["main", "results"]

PLACE = "CDPO_EDU_AUTOGRADER"
NOT_RIGHT = "Not right yet. The notebook's own check says more: run it, it draws fresh instances."
NOT_YOUR_VALUE = "Not right for your instance. The notebook's own check says more."


def main() -> None:
    """Mark the submission in the folder."""
    root = Path(os.environ.get(PLACE, "/autograder"))
    start = time.monotonic()
    about = json.loads((root / "source" / ABOUT).read_text(encoding="utf-8"))
    secret = _secret_taken(root / "source" / SECRET_FILE)
    try:
        if seeds.course_token(secret) != about["course"]:
            raise InputError("the course's secret is not there")
        made = results(root, about, secret)
    except InputError as error:
        made = _without_mark(about, str(error).replace(f"{root}/submission/", ""))
    except Exception as error:
        print(f"marking failed: {type(error).__name__}: {error}")
        made = _without_mark(about, "The marking failed; your teacher sees why.")
    made |= {"execution_time": round(time.monotonic() - start), "stdout_visibility": "hidden"}
    (root / "results").mkdir(exist_ok=True)
    (root / "results" / "results.json").write_text(json.dumps(made), encoding="utf-8")


def _secret_taken(path: Path) -> str:
    if not path.exists():
        return seeds.PUBLIC
    secret = path.read_text(encoding="utf-8").strip()
    path.unlink()
    return secret


def results(root: Path, about: Mapping[str, Any], secret: str) -> dict[str, Any]:
    """Return the content of results.json.

    Raises
    ------
    InputError
        When no notebook of the assignment is there.
    """
    notebook, submission = _notebook(root / "submission", str(about["assignment"]))
    senders = _senders(root / "submission_metadata.json")
    typed = "" if submission.typed == STUB_ID else submission.typed
    student = typed or next(iter(senders), "unknown")
    hidden = [path for name in ("source", "results") if (path := root / name).exists()]
    marked = grade(notebook, student=student, secret=secret, trust=True, hidden=hidden)
    if senders and student not in _names(senders):
        print(f"the id typed in the notebook is {typed!r}; it was sent by {', '.join(senders)}")
    for note in marked.notes:
        print(note)
    return _shown(marked)


def _notebook(folder: Path, assignment: str) -> tuple[Path, Submission]:
    """Return the notebook of the assignment; where there are several, the last to be saved."""
    found = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    faults = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if path.is_symlink():
            continue
        try:
            submission = read_submission(path)
        except InputError as error:
            faults.append(str(error))
            continue
        if submission.assignment.name == assignment:
            return path, submission
        faults.append(f"{path.name}: belongs to {submission.assignment.name}")
    raise InputError("; ".join([f"no notebook of {assignment} was handed in", *faults]))


def _senders(path: Path) -> list[str]:
    """Return the e-mail addresses of who sent it."""
    try:
        users = json.loads(path.read_text(encoding="utf-8")).get("users") or []
        return [str(user["email"]) for user in users if user.get("email")]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _names(senders: list[str]) -> set[str]:
    return {name for sender in senders for name in (sender, sender.partition("@")[0])}


def _shown(marked: Marked) -> dict[str, Any]:
    tests = [
        {
            "name": mark.title,
            "score": mark.points,
            "max_score": mark.max_points,
            "output": sentence(mark),
            "visibility": "visible",
        }
        for mark in marked.exercises
    ]
    return {
        "score": marked.score,
        "tests": tests,
        "visibility": "visible",
        "extra_data": {"student": marked.student},
    }


def sentence(mark: Mark) -> str:
    """Return what a student who may submit again is told: no input and no result on which it is marked."""
    if not mark.sentence.startswith(f"{mark.key} "):
        return mark.sentence
    return NOT_RIGHT if exercise_named(mark.key).is_function else NOT_YOUR_VALUE


def _without_mark(about: Mapping[str, Any], why: str) -> dict[str, Any]:
    return {"score": 0, "output": why, "visibility": "visible", "tests": []}


if __name__ == "__main__":
    main()
