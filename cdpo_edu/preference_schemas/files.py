"""Read one file as numbered rows: JSON lines, a JSON array, CSV, TSV, Parquet or plain text, gzipped or not.

Rows are counted from 1: lines in JSON lines and plain text, records (not lines) in CSV and TSV, elements in
JSON and Parquet. Text is UTF-8, with or without a byte order mark. A row that cannot be parsed is handed on
as `Unreadable`; a file of which nothing can be said row by row is an `InputError`.

Left out: what the rows mean (`table`, `readers`).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..types import InputError

Numbered = Iterable[tuple[int, Any]]

LABEL_COLUMNS = frozenset(
    "better_response_id safer_response_id is_response_0_safe is_response_1_safe "
    "better safer unsafe_0 unsafe_1 original_label label annotator1 annotator2 annotator3 "
    "preference_strength".split()
)
"""Columns of numbers and truth values: their cells in CSV and TSV are told from text by the column's name."""


class Unreadable(NamedTuple):
    """Stands for a row that could not be parsed, and says why."""

    why: str


def ending(path: Path) -> str:
    """Return the ending that names the format, without ``.gz``.

    >>> ending(Path("train.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def rows_of(path: Path) -> list[tuple[int, Any]]:
    """Return (number, row) for every row of the file.

    Raises
    ------
    InputError
        When the ending is unknown or the file cannot be opened, unpacked or parsed.
    """
    parse = FORMATS.get(ending(path))
    if parse is None:
        raise InputError(f"{path}: unknown ending; known are {', '.join(FORMATS)}, each also with .gz")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        if data.startswith(b"version https://git-lfs"):
            raise InputError("this is a Git LFS pointer, not the data: fetch it with git lfs pull")
        return list(parse(data))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("the text is UTF-16: save it as UTF-8")
    # Bytes that are no UTF-8 become lone surrogates, which the checks of a row name as a problem of that row.
    return data.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")


def _json_lines(data: bytes) -> Numbered:
    lines = enumerate(_text(data).split("\n"), start=1)  # not splitlines: U+2028 may stand inside a string
    return [(number, _json_row(line)) for number, line in lines if line.strip()]


def _json_row(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return Unreadable(f"not JSON ({error.msg}, column {error.colno}); is the line cut short?")
    except (ValueError, RecursionError):
        return Unreadable("not JSON (a number or a nesting beyond all bounds)")


def _json_array(data: bytes) -> Numbered:
    whole = _text(data)
    if not whole.strip():
        return []
    try:
        rows = json.loads(whole)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # several values: JSON lines under the ending of an array
            return _json_lines(data)
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"not JSON ({error.msg}, {where}); is the file cut short?") from None
    except (ValueError, RecursionError):
        raise InputError("not JSON (a number or a nesting beyond all bounds)") from None
    if not isinstance(rows, list):
        raise InputError("must be one JSON array of rows; name the file .jsonl if each line is a row")
    return enumerate(rows, start=1)


def _table(data: bytes, delimiter: str) -> Numbered:
    limit = csv.field_size_limit(2**31 - 1)  # an answer may be longer than csv's default of 131072 characters
    reader = csv.DictReader(io.StringIO(_text(data), newline=""), delimiter=delimiter, strict=True)
    try:
        return [(number, _typed(row)) for number, row in enumerate(reader, start=1)]
    except csv.Error as error:
        raise InputError(f"line {reader.reader.line_num} is no row of a table ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _typed(row: dict[str, Any]) -> Any:
    if cast(str, None) in row:  # DictReader's key for cells beyond the header
        return Unreadable("more cells than the header has names")
    return {name: _cell(value) if name in LABEL_COLUMNS else value for name, value in row.items()}


def _cell(value: str | None) -> Any:
    """Return the number, truth value or None that a cell spells, or else its text.

    >>> _cell("1"), _cell("False"), _cell(""), _cell("maybe")
    (1, False, None, 'maybe')
    """
    word = (value or "null").strip().lower()
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return value


def _parquet(data: bytes) -> Numbered:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet files need pyarrow: pip install pyarrow") from error
    try:
        return enumerate(parquet.read_table(pyarrow.BufferReader(data)).to_pylist(), start=1)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"not readable as Parquet ({str(error).splitlines()[0]})") from error


def _plain_lines(data: bytes) -> Numbered:
    lines = _text(data).removesuffix("\n").split("\n") if data else []
    return [(number, {"text": line}) for number, line in enumerate(lines, start=1)]


FORMATS: dict[str, Callable[[bytes], Numbered]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": lambda data: _table(data, ","),
    ".tsv": lambda data: _table(data, "\t"),
    ".parquet": _parquet,
    ".txt": _plain_lines,
}
