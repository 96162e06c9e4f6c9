"""Whose an entry is: the layouts in which learning platforms export a class.

    Moodle   Full Name_12345_assignsubmission_file_/any/path.ipynb, since 4.1 without the last "_";
             without folders Full Name_12345_assignsubmission_file_name.ipynb
    Canvas   lovelaceada_12345_67890_name.ipynb, late ones lovelaceada_LATE_12345_67890_name.ipynb
    plain    student/name.ipynb, or student.ipynb

The number is Moodle's participant, Canvas's user; Canvas's second one is the file. References: Moodle's
mod/assign/feedback/file/importziplib.php, Canvas's lib/content_zipper.rb (what they write and take back).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from .. import exercises
from .archive import Entry

__all__ = ["Person", "people"]

Layout = Literal["moodle", "canvas", "plain"]

MOODLE = re.compile(r"(?P<stem>(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+)(?P<rest>_.*|)\Z", re.S)
CANVAS = re.compile(
    r"(?P<stem>(?:(?P<name>(?!LATE_|anon_)\w+?)_)?(?P<late>LATE_)?(?P<number>\d+|anon_[A-Za-z0-9]+)_)"
    r"(?:(?P<file>\d+)_(?P<rest>.+)|(?:text|link)\.html)\Z",
    re.S,
)


@dataclass
class Person:
    """Someone in the zip, with what came under their name.

    Attributes
    ----------
    layout : {"moodle", "canvas", "plain"}
    number : str
        The platform's number; for a plain zip the name.
    name : str
    stem : str
        What the platform puts before each file of theirs; for Moodle the folder.
    folders : bool
        Whether Moodle made a folder for them.
    late : bool
        Whether Canvas marked something as late.
    files : list of (tuple, Entry)
        Each with the key by which the latest is found.
    """

    layout: Layout
    number: str
    name: str
    stem: str
    folders: bool = True
    late: bool = False
    files: list[tuple[tuple[float, ...], Entry]] = field(default_factory=list)

    def latest_first(self) -> list[Entry]:
        """Return the entries, the latest first."""
        return [entry for _, entry in sorted(self.files, key=lambda each: each[0], reverse=True)]


def people(found: Sequence[Entry]) -> tuple[list[Person], list[Entry]]:
    """Return whose the entries are, in the order of the zip, and refused ones that are nobody's."""
    known, nobody = dict[tuple[str, str], Person](), list[Entry]()
    lead = _lead([entry for entry in found if not entry.refused])
    for entry in found:
        person, order = _owner(entry, lead)
        if person is None:
            if entry.refused:
                nobody.append(entry)
            continue
        person = known.setdefault((person.layout, person.number), person)
        if not entry.is_folder:
            person.late |= _late(entry)
            person.files.append((order, entry))
    return list(known.values()), nobody


def _owner(entry: Entry, lead: int) -> tuple[Person | None, tuple[float, ...]]:
    """Return whose an entry is, and its place in time among theirs."""
    when = entry.when.timestamp() if entry.when else 0.0
    parts = [part for part in entry.path.split("/") if part not in ("", ".", "..")]
    for part in parts:
        if match := MOODLE.match(part):
            folder = entry.is_folder or part != parts[-1]
            stem = part if folder else match["stem"] + "_"
            return Person("moodle", match["number"], match["name"], stem, folder), (when, entry.index)
    if not entry.is_folder and (match := CANVAS.match(entry.name)):
        name = match["name"] or match["number"]
        place = (float(match["file"] or 0), when, entry.index)
        return Person("canvas", match["number"], name, match["stem"]), place
    return _plain(entry, parts[lead:]), (when, entry.index)


def _plain(entry: Entry, parts: Sequence[str]) -> Person | None:
    """Return the student whose folder or file it is; a path that leads out of the zip does not say."""
    if entry.is_astray or not parts or (len(parts) == 1 and not (entry.is_folder or _notebook(entry.name))):
        return None
    name = parts[0] if len(parts) > 1 or entry.is_folder else PurePosixPath(parts[0]).stem
    return Person("plain", name, name, name)


def _lead(found: Sequence[Entry]) -> int:
    """Return how many folders stand around the whole class: one, where it was packed as a folder."""
    paths = [entry.path.strip("/").split("/") for entry in found if not entry.is_folder]
    if len({path[0] for path in paths}) != 1 or any(len(path) < 2 for path in paths):
        return 0
    named = {assignment.name for assignment in exercises.ASSIGNMENTS}
    stems = {PurePosixPath(path[-1]).stem for path in paths}
    of_students = len(stems) > 1 and not any(name in stem for name in named for stem in stems)
    return 1 if any(len(path) > 2 for path in paths) or of_students else 0


def _late(entry: Entry) -> bool:
    match = CANVAS.match(entry.name)
    return bool(match and match["late"])


def _notebook(name: str) -> bool:
    return name.lower().endswith(".ipynb")
