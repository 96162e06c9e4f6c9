"""An assignment as an autograder for Gradescope: setup.sh, run_autograder, this package, the course's secret.

What runs there is `gradescope_run`. Reference: Gradescope, "Autograder Specifications",
gradescope-autograders.readthedocs.io/en/latest/specs (layout of the zip and of /autograder).
"""

from __future__ import annotations

import io
import json
import zipfile
from importlib.metadata import version as installed
from pathlib import Path

from ..types import InputError
from . import seeds
from .exercises import assignment_named
from .own_wheel import wheel_bytes, wheel_name
from .secret import SECRET_FILE, read_secret
from .template import fill_template

__all__ = ["ABOUT", "NEEDED", "write_autograder"]

ABOUT = "assignment.json"
NEEDED = ("numpy", "torch", "jinja2", "tqdm")
"""What marking imports; the capstone's answers use torch, and torch brings the rest that it needs itself."""


def write_autograder(assignment: str, out: Path, *, source: Path | None = None) -> list[str]:
    """Write the zip; return what to tell the teacher.

    Parameters
    ----------
    assignment : str
    out : Path
    source : Path, optional
        The course's folder or the file of its secret; absent, the public course.

    Raises
    ------
    InputError
        When there is no such assignment, the secret cannot be read or the file cannot be written.
    """
    try:
        named = assignment_named(assignment)
    except ValueError as error:
        raise InputError(str(error)) from None
    secret = read_secret(source) if source else seeds.PUBLIC
    about = {"assignment": named.name, "course": seeds.course_token(secret), "max_score": named.max_score}
    files: dict[str, tuple[str | bytes, int]] = {
        "setup.sh": (_setup(), 0o755),
        "run_autograder": (fill_template("gradescope_run.sh.j2"), 0o755),
        ABOUT: (json.dumps(about), 0o644),
        wheel_name(): (wheel_bytes(), 0o644),
    }
    if secret != seeds.PUBLIC:
        files[SECRET_FILE] = (secret, 0o600)
    try:
        out.write_bytes(_zipped(files))
        out.chmod(0o600)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    return _said(out, named.max_score, secret != seeds.PUBLIC)


def _setup() -> str:
    return fill_template(
        "gradescope_setup.sh.j2",
        wheel=wheel_name(),
        needed=[f"{name}=={installed(name).partition('+')[0]}" for name in NEEDED],
    )


def _zipped(files: dict[str, tuple[str | bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, (content, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return buffer.getvalue()


def _said(out: Path, points: int, private: bool) -> list[str]:
    lines = [
        f"{out}: upload it as the autograder of an assignment of {points} points",
        f"setup.sh installs the wheel in it, packed from the files that run here, and {', '.join(NEEDED)}",
    ]
    if private:
        lines.append(f"the zip holds the course's secret ({SECRET_FILE}): whoever has it can draw the marks")
    return [
        *lines,
        "answers run there without walls where its containers allow none: see docs/marking_a_class.md",
    ]
