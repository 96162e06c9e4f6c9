"""The lessons as files to keep: copied, with their outputs, from the installed package or its clone.

A wheel carries the built notebooks in ``cdpo_edu/notebooks``; in a clone they are in ``notebooks``. What is
copied runs with the package alone: no lesson reads a file of the clone. Left out: solved assignments, the
lectures made of them, and the scripts that all are built from (`classroom` has these).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from .types import InputError

__all__ = ["copy_lessons", "lesson_files"]

PACKED = Path(__file__).with_name("notebooks")
CLONED = Path(__file__).resolve().parents[1] / "notebooks"
PATTERNS = ("[0-9]*.ipynb", "*.md", "museum/*.ipynb", "assignments/*.ipynb")
LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s:#]+\.(?:md|ipynb))(?:#[^()\s]*)?\)")


def lesson_files() -> dict[str, Path]:
    """Return every file of the course, name in the copy to path here: lessons, map, museum, assignments.

    Raises
    ------
    InputError
        If neither this package nor a clone around it has lessons.
    """
    for folder in (PACKED, CLONED):
        if any(folder.glob(PATTERNS[0])):
            found = sorted(path for pattern in PATTERNS for path in folder.glob(pattern))
            return {path.relative_to(folder).as_posix(): path for path in found}
    raise InputError(
        f"no lessons are in {PACKED} or {CLONED}; install cdpo_edu from its wheel, or call this in a clone"
    )


def copy_lessons(folder: Path) -> list[Path]:
    """Copy the course into ``folder``, which is new or empty; return the files written, in order.

    A link between copied files stays; a link to anything else of the clone becomes its words, since that
    page is not there.

    Raises
    ------
    InputError
        If ``folder`` holds something already, is a file, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already and not empty; name a new folder")
    files, written = lesson_files(), []
    try:
        for name, path in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                _own_links(path.read_text(encoding="utf-8"), name, set(files)), encoding="utf-8"
            )
            written.append(target)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; give a folder that can be written") from None
    return written


def _own_links(text: str, name: str, copied: set[str]) -> str:
    """Keep the links whose target is copied too; of the others keep the words."""

    def kept(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link[2]))
        return link[0] if target in copied else link[1]

    return LINK.sub(kept, text)
