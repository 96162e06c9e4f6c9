"""Under which id a person's work is marked: the roster's, where there is one, else what was typed."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..roster import Student
from .layouts import Person

__all__ = ["Identity", "identities"]


class Identity(NamedTuple):
    """Who someone in the zip is.

    Attributes
    ----------
    student : str
        For the table: the roster's id, else the platform's number.
    id : str
        For marking; empty, the one typed in the notebook.
    name : str
    in_roster : bool
    """

    student: str
    id: str
    name: str
    in_roster: bool


def identities(
    found: Sequence[Person], roster: Sequence[Student] | None, typed: Mapping[int, str]
) -> list[Identity]:
    """Return who each person in the zip is.

    A roster's student is found by id, by name in either order, or, where the name finds nobody, by the id
    typed in the notebook, if nobody else is that student.

    Parameters
    ----------
    found : sequence of Person
    roster : sequence of Student or None
        See `roster.read_roster`.
    typed : mapping of int to str
        The id typed in the notebook, by the person's place.
    """
    if roster is None:
        return [_without_roster(person) for person in found]
    by_id = {student["id"]: student for student in roster}
    names = _by_name(roster)
    first = [_by_platform(person, by_id, names) for person in found]
    taken = Counter(filter(None, first)) + Counter(
        typed.get(i, "") for i, one in enumerate(first) if not one and typed.get(i, "") in by_id
    )
    made = []
    for i, (person, student) in enumerate(zip(found, first, strict=True)):
        if not student and typed.get(i, "") in by_id and taken[typed[i]] == 1:
            student = typed[i]
        made.append(_known(by_id[student], person) if student else _without_roster(person))
    return made


def folded(name: str) -> str:
    """Return a name without accents, case and what is no letter.

    >>> folded("Zoë  O'Neill-Ångström")
    'zoeoneillangstrom'
    """
    split = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in split if letter.isalnum())


def _by_name(roster: Sequence[Student]) -> dict[str, str]:
    """Return the ids by folded name, first or last name first; a name of two students finds nobody."""
    spelled = [
        (name, student["id"])
        for student in roster
        for name in {
            folded(student["first_name"] + student["last_name"]),
            folded(student["last_name"] + student["first_name"]),
        }
        if name
    ]
    count = Counter(name for name, _ in spelled)
    return {name: student for name, student in spelled if count[name] == 1}


def _by_platform(person: Person, by_id: Mapping[str, Student], names: Mapping[str, str]) -> str:
    for one in (person.number, person.name) if person.layout == "plain" else (person.name,):
        if one in by_id:
            return one
    return names.get(folded(person.name), "")


def _known(student: Student, person: Person) -> Identity:
    name = f"{student['first_name']} {student['last_name']}".strip() or person.name
    return Identity(student["id"], student["id"], name, True)


def _without_roster(person: Person) -> Identity:
    return Identity(person.number, person.number if person.layout == "plain" else "", person.name, False)
