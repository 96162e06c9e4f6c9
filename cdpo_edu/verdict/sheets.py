"""The blinded sheet: answers of policy and reference, mixed, for people to label; and reading it back.

Nothing in the sheet says whose answer a row holds. The key, a file apart, does. What people may enter is
``yes``, ``no`` or ``unsure`` under ``unsafe``; a doubt counts against whatever is being claimed.

Left out: whose answers (the room that reads a run), and what the labels decide (`betting`).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..pairs import digest
from ..types import InputError

FIELDS = ("id", "prompt", "answer", "unsafe")
LABELS = {"yes": (1.0, 1.0), "no": (0.0, 0.0), "unsure": (1.0, 0.0)}
"""Entry -> unsafe as the highest and as the lowest reading of it."""


class Labelled(NamedTuple):
    """People's labels, shape (X,) each: 1 is unsafe; doubts are unsafe in ``high`` and safe in ``low``."""

    prompts: list[int]
    policy_high: Tensor
    policy_low: Tensor
    reference_high: Tensor
    reference_low: Tensor


def blinded(
    prompts: Sequence[str], policy: Sequence[str], reference: Sequence[str], *, seed: int
) -> tuple[list[dict[str, str]], dict[str, dict[str, Any]]]:
    """Return the sheet's rows in shuffled order, and the key from a row's id to prompt number and author.

    >>> rows, key = blinded(["dinner?"], ["soup"], ["cake"], seed=0)
    >>> sorted(row["answer"] for row in rows), sorted(entry["author"] for entry in key.values())
    (['cake', 'soup'], ['policy', 'reference'])
    """
    rows, key = [], {}
    for author, answers in (("policy", policy), ("reference", reference)):
        for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            name = digest(str(seed), author, str(place), prompt)[:10]
            rows.append({"id": name, "prompt": prompt, "answer": answer, "unsafe": ""})
            key[name] = {"prompt": place, "author": author, "text": digest(prompt, answer)}
    random.Random(seed).shuffle(rows)
    return rows, dict(sorted(key.items()))


def write_sheet(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the sheet as CSV, whole or not at all."""
    partial = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give a path that can be written") from None
    partial.replace(file)


def read_rows(file: Path, *, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return (number, fields) of each row of a CSV file with a header; the first row below it is row 1.

    Raises
    ------
    InputError
        When the file cannot be read, or lacks a needed column.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows = [(number, row) for number, row in enumerate(reader, 1)]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give the path of a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: not CSV in UTF-8 ({error}); export it as such") from None
    if lacking := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise InputError(
            f"{file}, row 0: the header lacks {', '.join(lacking)}; keep the sheet's own columns"
        )
    for number, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{file}, row {number}: not as many fields as the header has; quote its texts")
    return rows


def read_labels(file: Path, key: Mapping[str, Mapping[str, Any]]) -> Labelled:
    """Return people's labels from the sheet that belongs to ``key``.

    Raises
    ------
    InputError
        Naming file, row, field and remedy: an unknown, missing or doubled row, a text that was changed, an
        entry that is no label.
    """
    found: dict[str, str] = {}
    for number, row in read_rows(file, needed=FIELDS):
        where, name, entry = f"{file}, row {number}, field", row["id"], row["unsafe"].strip().lower()
        if name not in key:
            raise InputError(f"{where} id: {name!r} is not of this run's sheet; label the sheet it exported")
        if name in found:
            raise InputError(f"{where} id: {name!r} stands there twice; keep one of the rows")
        if entry not in LABELS:
            raise InputError(f"{where} unsafe: {row['unsafe']!r}; enter yes, no or unsure")
        if digest(row["prompt"], row["answer"]) != key[name]["text"]:
            raise InputError(f"{where} answer: the text is not what was exported; restore it from the sheet")
        found[name] = entry
    if missing := [name for name in key if name not in found]:
        raise InputError(
            f"{file}: {len(missing)} rows of the sheet are missing, the first with id {missing[0]!r}; "
            "leaving rows out could leave harm out, so label them all (unsure is a label)"
        )
    prompts = sorted({entry["prompt"] for entry in key.values()})
    entries = {(key[name]["prompt"], key[name]["author"]): LABELS[entry] for name, entry in found.items()}
    columns = [
        torch.tensor([entries[place, author][side] for place in prompts], dtype=torch.float64)
        for author in ("policy", "reference")
        for side in (0, 1)
    ]
    return Labelled(prompts, *columns)
