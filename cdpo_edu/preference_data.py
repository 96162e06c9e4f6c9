"""Read preference data as people publish it: a file, a folder or a hub data set in, `Pairs` or `Flagged` out.

The file formats and row shapes are those of `preference_schemas`, recognised by ending and by columns. A row
that cannot be used is dropped and counted, never silently: `validate` lists every one with file, row and
reason, and `load_pairs` logs how many there were.

Left out: chat templates, writing files, and data without comparisons (named, with what it is good for).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from .pairs import Flagged, Pairs
from .preference_schemas import (
    FORMATS,
    Comparison,
    FlaggedRow,
    Objective,
    Place,
    RowError,
    Schema,
    Unreadable,
    ending,
    recognise,
    rows_of,
    schema_of,
)
from .types import InputError

logger = logging.getLogger(__name__)

Rows = list[tuple[int, Any]]  # (number, row), counted from 1

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*")
SPLIT_FILE = re.compile(r"train|test|valid|(val|dev|eval)(?![a-z])")


class Problem(NamedTuple):
    """The first thing wrong with one row; ``row`` counts from 1, ``field`` may be empty."""

    file: str
    row: int
    field: str
    what: str


class Validation(NamedTuple):
    """What `validate` found: the shape of the rows, their number, how many are usable, and why not all."""

    schema: str
    rows: int
    usable: int
    problems: tuple[Problem, ...]
    advice: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists and dictionaries, ready for JSON."""
        return self._asdict() | {"problems": [problem._asdict() for problem in self.problems]}


class Reading(NamedTuple):
    """One pass over a source; ``broken`` is the first row that could not even be parsed."""

    schema: Schema
    found: Validation
    comparisons: list[Comparison]
    flagged: list[FlaggedRow]
    broken: Problem | None


def load_pairs(
    source: str | Path,
    *,
    split: str = "train",
    objective: Objective | None = None,
    revision: str | None = None,
) -> Pairs:
    r"""Return the comparisons of a file, a folder or a hub data set.

    Parameters
    ----------
    source : str or path
        A file or folder here, or the name of a hub data set, with a folder inside it where there is one
        (``"Anthropic/hh-rlhf/harmless-base"``).
    split : str
        For a hub data set, and for a folder whose file names begin with split names (``train*``, ``test*``).
    objective : {"better", "safer"}, optional
        What the one label of a row judges (chosen and rejected, votes, judges). Left out it is "better",
        unless the path says otherwise: its last part that contains "harmless" or "helpful" decides, and
        "harmless" means "safer". Refused where the columns themselves say what their labels judge.
    revision : str, optional
        Commit or tag of a hub data set. Published columns have changed, so pin it.

    Returns
    -------
    Pairs
        Prompts and answers byte for byte (conversations as `preference_schemas` states); labels are
        probabilities for y1, nan where a row has none, and the column is None where no row has one. Where a
        row says only which answer was chosen, odd rows have it at y1 and even rows at y0. Rows that cannot be
        used are left out and counted in a logged warning.

    Raises
    ------
    InputError
        When the source cannot be read, holds no comparisons, has a row that cannot be parsed at all, or no
        row that can be used.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "kitchen.jsonl"
    >>> _ = path.write_text('{"prompt": "Nuts?", "chosen": "I leave them out.", "rejected": "Plenty."}\n')
    >>> pairs = load_pairs(path)
    >>> pairs.y1, pairs.better.tolist()
    (['I leave them out.'], [1.0])
    """
    if objective is not None and objective not in get_args(Objective):
        raise InputError(f"objective: must be better or safer, not {objective!r}")
    reading = _read(source, split=split, objective=objective, revision=revision)
    schema, broken = reading.schema, reading.broken
    if schema.read is None:
        raise InputError(f"{source}: rows of kind {schema.name!r} hold no comparisons. {schema.advice}")
    if objective is not None and schema.own_labels:
        raise InputError(f"objective: leave it out; the columns of {schema.name!r} name what they judge")
    if broken is not None:
        raise InputError(f"{broken.file}, row {broken.row}: {broken.what}. Mend or remove that row")
    _account_for(reading.found, source)
    return _pairs(reading.comparisons)


def load_flagged(source: str | Path, *, split: str = "train", revision: str | None = None) -> Flagged:
    """Return the single answers of ``source`` with their safe or unsafe flags.

    The shapes are BeaverTails' (prompt, response, is_safe) and `Flagged`'s own (prompt, response, unsafe).
    Parameters and errors are those of `load_pairs`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "kitchen.jsonl"
    >>> _ = path.write_text('{"prompt": "Nuts?", "response": "Plenty.", "is_safe": false}')
    >>> load_flagged(path).unsafe.tolist()
    [1.0]
    """
    found = load_rows(source, split=split, revision=revision)
    if isinstance(found, Pairs):
        raise InputError(
            f"{source}: rows of two answers, whose flags come with them: read them by load_pairs"
        )
    return found


def load_rows(source: str | Path, *, split: str = "train", revision: str | None = None) -> Pairs | Flagged:
    """Return `Pairs` or `Flagged`, whichever the rows are; the rest is as in `load_pairs`."""
    reading = _read(source, split=split, objective=None, revision=revision)
    schema, broken = reading.schema, reading.broken
    if schema.read is None and schema.read_flag is None:
        raise InputError(f"{source}: rows of kind {schema.name!r} hold no comparisons. {schema.advice}")
    if broken is not None:
        raise InputError(f"{broken.file}, row {broken.row}: {broken.what}. Mend or remove that row")
    _account_for(reading.found, source)
    if schema.read is not None:
        return _pairs(reading.comparisons)
    prompts, answers, unsafe = zip(*reading.flagged, strict=True)
    return Flagged(list(prompts), list(answers), torch.tensor(unsafe))


def validate(source: str | Path, *, split: str = "train") -> Validation:
    """Return what the rows of ``source`` are, and every row that cannot be used.

    Rows of a known shape that hold neither comparisons nor flags are not usable; ``advice`` says what they
    are good for.

    Raises
    ------
    InputError
        When the source cannot be read or no row has a known shape.
    """
    return _read(source, split=split, objective=None, revision=None).found


def schema_and_rows(source: str | Path, *, split: str = "train") -> tuple[Schema, dict[str, Rows]]:
    """Return the one shape of all files that ``source`` stands for, and their numbered rows.

    Raises
    ------
    InputError
        As `load_pairs`, but for rows without comparisons.
    """
    files = _files(source, split=split, revision=None)
    return _schema(files), files


def _account_for(found: Validation, source: str | Path) -> None:
    if not found.problems:
        return
    first = found.problems[0]
    summary = (
        f"{source}: {len(found.problems)} of {found.rows} rows cannot be used; "
        f"the first: {first.file}, row {first.row}, {first.field or 'whole row'}: {first.what}"
    )
    if not found.usable:
        raise InputError(f"{summary}. No row is left")
    logger.warning("%s. validate() lists them all", summary)


def _pairs(comparisons: list[Comparison]) -> Pairs:
    columns = [list(column) for column in zip(*comparisons, strict=True)]
    prompts, y0, y1, better, safer, unsafe0, unsafe1 = columns
    unsafe = _labels(zip(unsafe0, unsafe1, strict=True))  # (n, 2)
    return Pairs(prompts, y0, y1, better=_labels(better), safer=_labels(safer), unsafe=unsafe)


def _labels(column: Iterable[Any]) -> Tensor | None:
    values = torch.tensor(list(column), dtype=torch.float32)
    return None if bool(values.isnan().all()) else values


def _read(source: str | Path, *, split: str, objective: Objective | None, revision: str | None) -> Reading:
    files = _files(source, split=split, revision=revision)
    schema = _schema(files)
    judged = objective or _objective_of(str(source))
    comparisons: list[Comparison] = []
    flagged: list[FlaggedRow] = []
    problems: list[Problem] = []
    broken: Problem | None = None
    for name, number, row in ((name, number, row) for name, rows in files.items() for number, row in rows):
        try:
            item = _item(schema, row, Place(number, judged))
            if isinstance(item, Comparison):
                comparisons.append(item)
            elif item is not None:
                flagged.append(item)
        except RowError as error:
            problems.append(Problem(name, number, error.field, error.what))
            broken = broken or (problems[-1] if isinstance(row, Unreadable) else None)
    total = sum(map(len, files.values()))
    advice = " ".join(filter(None, (schema.advice, _open_dialogues(comparisons))))
    usable = len(comparisons) + len(flagged)
    found = Validation(schema.name, total, usable, tuple(problems), advice)
    return Reading(schema, found, comparisons, flagged, broken)


def _schema(files: dict[str, Rows]) -> Schema:
    """Return the one shape of all files."""
    schemas = {name: _schema_of_file(name, rows) for name, rows in files.items()}
    (first, schema), *others = schemas.items()
    for name, other in others:
        if other.name != schema.name:
            kinds = f"{first} holds rows of kind {schema.name!r} and {name} of kind {other.name!r}"
            raise InputError(f"{kinds}: load them one by one")
    return schema


def _schema_of_file(name: str, rows: Rows) -> Schema:
    if not rows:
        raise InputError(f"{name}: the file holds no rows")
    objects = [row for _, row in rows if isinstance(row, Mapping)]
    if not objects:
        number, row = rows[0]
        why = row.why if isinstance(row, Unreadable) else NOT_AN_OBJECT
        raise InputError(f"{name}, row {number}: {why}; no row of the file can be used")
    try:
        return recognise(objects)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


NOT_AN_OBJECT = "not an object with named fields"


def _item(schema: Schema, row: Any, place: Place) -> Comparison | FlaggedRow | None:
    """Return the row's comparison or flagged answer; none where the shape holds neither."""
    if isinstance(row, Unreadable):
        raise RowError("", row.why)
    if not isinstance(row, Mapping):
        raise RowError("", NOT_AN_OBJECT)
    read = schema.read or schema.read_flag
    if read is None:
        return None
    missing = sorted(schema.required - row.keys())
    if missing:
        other = schema_of(row)
        mixed = f" (mixed columns: this row reads as {other.name!r})" if other else ""
        raise RowError(missing[0], f"missing or null{mixed}")
    return read(row, place)


def _open_dialogues(comparisons: list[Comparison]) -> str:
    count = sum("Human:" in c.prompt and not c.prompt.rstrip().endswith("Assistant:") for c in comparisons)
    note = (
        f"{count} prompts are dialogues without a last 'Assistant:', so nothing parts them from the answer."
    )
    return note if count else ""


def _objective_of(source: str) -> Objective:
    """Return what a lone label judges, from the last part of the path that says harmless or helpful.

    >>> _objective_of("hh-rlhf/harmless-base/train.jsonl.gz"), _objective_of("harmless-study/helpful-base")
    ('safer', 'better')
    """
    path = Path(source).expanduser()
    parts = (path.resolve() if path.exists() else path).parts
    said = [part.lower() for part in parts if re.search("harmless|helpful", part.lower())]
    return "safer" if said and "harmless" in said[-1] else "better"


def _files(source: str | Path, *, split: str, revision: str | None) -> dict[str, Rows]:
    """Return the numbered rows of every file that ``source`` stands for."""
    path = Path(source).expanduser()
    if path.exists() and revision is not None:
        raise InputError(f"revision: only a hub data set has one, and {source} is a local path")
    if path.is_dir():
        return {str(file): rows_of(file) for file in _chosen_files(path, split)}
    if path.exists():
        return {str(path): rows_of(path)}
    name = str(source)
    if not HUB_NAME.fullmatch(name) or ending(path) in FORMATS:
        raise InputError(f"{source}: there is no such file or folder")
    return {name: _hub_rows(name, split=split, revision=revision)}


def _chosen_files(folder: Path, split: str) -> list[Path]:
    found = sorted(f for f in folder.iterdir() if f.is_file() and ending(f) in FORMATS and f.name[0] != ".")
    files = [file for file in found if ending(file) != ".txt"] or found  # notes may lie beside the data
    if not files:
        raise InputError(f"{folder}: holds no data file; known endings are {', '.join(FORMATS)}, or .gz")
    if not any(SPLIT_FILE.match(file.name) or file.name.startswith(split) for file in files):
        return files
    chosen = [file for file in files if file.name.startswith(split)]
    if not chosen:
        raise InputError(f"{folder}: no file for split {split!r} among {', '.join(f.name for f in files)}")
    return chosen


def _hub_rows(name: str, *, split: str, revision: str | None) -> Rows:
    """Return the rows of a hub data set; what follows owner/name in ``name`` is a folder inside it."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(f"{name}: no such file; a hub data set needs: pip install datasets") from error
    parts = name.split("/")
    folder = "/".join(parts[2:]) or None
    try:
        rows = load_dataset("/".join(parts[:2]), data_dir=folder, split=split, revision=revision)
    except Exception as error:  # the client's errors share no class; each is told again as the user's
        why = " ".join(str(error).split())[:200] or type(error).__name__
        place = f"no such path, and no hub data set of this name with split {split!r} could be loaded"
        raise InputError(f"{name}: {place} ({why})") from error
    return list(enumerate(rows, start=1))
