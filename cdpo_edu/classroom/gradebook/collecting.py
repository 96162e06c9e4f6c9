"""The works in a zip: for each person the latest notebook of each assignment that can be read, or why none.

The bytes go into a folder of our own under names of our own.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ...types import InputError
from ..submission import read_submission
from .archive import Entry, read_entry
from .layouts import Person

__all__ = ["Collected", "Notebook", "collected"]

BUDGET = 2_000_000_000
"""Bytes that all the notebooks of a class may unpack to."""
STUB_ID = "your id"
"""What the notebook's first cell says before an id is typed."""


@dataclass(frozen=True)
class Notebook:
    """A notebook that can be marked.

    Attributes
    ----------
    path : Path
        Our copy.
    digest : str
        SHA-256 of its bytes.
    assignment, typed, course : str
        Of the submission; ``typed`` is empty where the stub stands.
    entry : Entry
    earlier : tuple of str
        Names of the copies that do not count.
    """

    path: Path
    digest: str
    assignment: str
    typed: str
    course: str
    entry: Entry
    earlier: tuple[str, ...] = ()


@dataclass
class Collected:
    """What one person handed in.

    Attributes
    ----------
    person : Person
    notebooks : list of Notebook
        One for each assignment.
    faults : list of str
        Sentences on what was not used.
    refused : bool
        Whether an entry was refused.
    """

    person: Person
    notebooks: list[Notebook] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    refused: bool = False

    @property
    def typed(self) -> str:
        """Return the id typed in the latest notebook."""
        return next((notebook.typed for notebook in self.notebooks if notebook.typed), "")

    @property
    def when(self) -> datetime | None:
        """Return when the latest file came, as the zip says."""
        return next((entry.when for entry in self.person.latest_first()), None)

    @property
    def status(self) -> str:
        """Return why there is nothing to mark."""
        if self.refused:
            return "refused"
        return "unreadable" if self.faults else "no notebook"


def collected(file: zipfile.ZipFile, found: list[Person], folder: Path) -> list[Collected]:
    """Return what each person handed in, with the notebooks copied into ``folder``."""
    budget, made = BUDGET, list[Collected]()
    for i, person in enumerate(found):
        one = Collected(person)
        for j, entry in enumerate(person.latest_first()):
            budget -= _take(file, entry, one, folder / f"{i}-{j}", budget)
        if not one.notebooks and not one.faults and person.files:
            sent = ", ".join(entry.name for entry in person.latest_first()[:5])
            one.faults = [f"Sent {sent}; a notebook (.ipynb) is expected."]
        made.append(one)
    return made


def _take(file: zipfile.ZipFile, entry: Entry, one: Collected, folder: Path, budget: int) -> int:
    """Add an entry to what a person handed in; return the bytes that it took."""
    if entry.refused:
        one.refused = True
        one.faults.append(f"{entry.name or 'An entry'} was refused: {entry.refused}.")
        return 0
    if not entry.name.lower().endswith(".ipynb"):
        return 0
    read = read_entry(file, entry) if budget > 0 else "the notebooks of the class unpack to too much"
    if isinstance(read, str):
        one.refused = True
        one.faults.append(f"{entry.name} was refused: {read}.")
        return 0
    _keep(read, entry, one, folder)
    return len(read)


def _keep(content: bytes, entry: Entry, one: Collected, folder: Path) -> None:
    folder.mkdir(parents=True)
    path = folder / (re.sub(r"[^\w.-]+", "_", entry.name[:-6])[-80:].lstrip(".") + ".ipynb")
    path.write_bytes(content)
    try:
        if not content.strip():
            raise InputError("the file is empty")
        read = read_submission(path)
    except InputError as error:
        one.faults.append(f"{entry.name}: {str(error).removeprefix(f'{path}: ')}.")
        return
    digest, typed = hashlib.sha256(content).hexdigest(), "" if read.typed == STUB_ID else read.typed
    notebook = Notebook(path, digest, read.assignment.name, typed, read.course, entry)
    for i, later in enumerate(one.notebooks):
        if later.assignment == notebook.assignment:
            fields = {**later.__dict__, "earlier": (*later.earlier, entry.name)}
            one.notebooks[i] = Notebook(**fields)
            return
    one.notebooks.append(notebook)
