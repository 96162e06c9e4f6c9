"""The list of students, as a CSV file with a column ``id``.

The other columns that nbgrader's gradebook knows are kept: ``first_name``, ``last_name``, ``email``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from ..types import InputError

__all__ = ["COLUMNS", "read_roster", "write_roster"]

COLUMNS = ("id", "first_name", "last_name", "email")
NAME_OF_A_FOLDER = re.compile(r"[\w@][\w@.+-]*")
"""What an id may be: nbgrader keeps each student's work in a folder of that name."""

Student = dict[str, str]


def read_roster(path: Path) -> list[Student]:
    """Return the students of a CSV file, each with every column of `COLUMNS`.

    Raises
    ------
    InputError
        With the row that cannot be used.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "id" not in (reader.fieldnames or ()):
                raise InputError(f"{path}: needs a column named id; it has {reader.fieldnames or 'nothing'}")
            students = [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a CSV file in UTF-8"
        raise InputError(f"{path}: {reason}") from None
    _check(path, [student["id"] for student in students])
    return students


def _check(path: Path, ids: Sequence[str]) -> None:
    for number, name in enumerate(ids, start=1):
        if not NAME_OF_A_FOLDER.fullmatch(name):
            raise InputError(f"{path}, student {number}: the id {name!r} cannot be the name of a folder")
        if name in ids[: number - 1]:
            raise InputError(f"{path}, student {number}: the id {name!r} is there twice")


def write_roster(path: Path, students: Sequence[Student]) -> None:
    """Write students as ``nbgrader db student import`` reads them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(students)
