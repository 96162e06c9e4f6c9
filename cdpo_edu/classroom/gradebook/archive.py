"""A zip whose makers are not trusted: its entries, each used or refused with the reason.

Nothing is unpacked to a path that the zip names: an entry is read into memory, up to a limit.
"""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...types import InputError
from ..submission import LARGEST

__all__ = ["Entry", "entries", "read_entry"]

MOST_ENTRIES = 20_000
BOMB_SIZE, BOMB_RATIO = 10_000_000, 200
"""A notebook packs to a tenth or, with pictures, little less than itself; beyond both it is no notebook."""
DRIVE = re.compile(r"[A-Za-z]:")
JUNK = re.compile(r"(^|/)(__MACOSX|\.ipynb_checkpoints|\.git)(/|$)|(^|/)(\._[^/]*|\.DS_Store|Thumbs\.db)$")
"""What systems and editors leave in a folder."""


@dataclass(frozen=True)
class Entry:
    """One entry of a zip.

    Attributes
    ----------
    path : str
        With "/" between folders; a folder ends in one.
    when : datetime or None
        As the zip says; many platforms write the time of the download here.
    refused : str
        Why it is not read, empty where it may be.
    index : int
        Its place in the zip.
    """

    path: str
    when: datetime | None
    refused: str
    index: int

    @property
    def is_folder(self) -> bool:
        """Return whether it is a folder."""
        return self.path.endswith("/")

    @property
    def is_astray(self) -> bool:
        """Return whether its path leads out of the zip, and so says nothing about whose it is."""
        return self.path.startswith("/") or bool(DRIVE.match(self.path)) or ".." in self.path.split("/")

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]


def entries(file: zipfile.ZipFile) -> list[Entry]:
    """Return the entries of a zip without what systems leave there, each refused or not.

    Raises
    ------
    InputError
        When there are too many for the submissions of a class.
    """
    infos = file.infolist()
    if len(infos) > MOST_ENTRIES:
        raise InputError(f"{file.filename}: {len(infos)} entries; at most {MOST_ENTRIES} are read")
    made = [Entry(_path(info), _when(info), _refused(info), i) for i, info in enumerate(infos)]
    return [entry for entry in made if not JUNK.search(entry.path)]


def opened(path: Path) -> zipfile.ZipFile:
    """Return the zip in a file.

    Raises
    ------
    InputError
        When there is none.
    """
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: not a zip that can be read ({error})") from None


def read_entry(file: zipfile.ZipFile, entry: Entry) -> bytes | str:
    """Return what an entry holds, or why it cannot be read."""
    parts, left = list[bytes](), LARGEST + 1
    try:
        with file.open(file.infolist()[entry.index]) as stream:
            while left > 0 and (part := stream.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        return f"it is damaged in the zip ({error})"
    return b"".join(parts) if left > 0 else "it is larger than a notebook may be"


def _path(info: zipfile.ZipInfo) -> str:
    r"""Return an entry's path: in UTF-8 even where the zip does not say so, composed, with "/" alone.

    >>> _path(zipfile.ZipInfo("Zoe\u0308_1_assignsubmission_file_\\a.ipynb"))
    'Zoë_1_assignsubmission_file_/a.ipynb'
    """
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _when(info: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*info.date_time)
    except ValueError:
        return None


def _refused(info: zipfile.ZipInfo) -> str:
    """Return why an entry is not read, empty where it may be."""
    return next(_faults(info, _path(info)), "")


def _faults(info: zipfile.ZipInfo, path: str) -> Iterator[str]:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if path.startswith("/") or DRIVE.match(path):
        yield "its path is absolute"
    if ".." in path.split("/"):
        yield "its path leads out of the zip"
    if any(unicodedata.category(letter) == "Cc" for letter in path) or not path.strip("/. "):
        yield "its path is no name of a file"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield "it is a link" if kind == stat.S_IFLNK else "it is not a plain file"
    if info.flag_bits & 1:
        yield "it is encrypted"
    if info.file_size > LARGEST:
        yield f"it unpacks to {info.file_size >> 20} MB"
    if info.file_size > BOMB_SIZE and info.file_size > BOMB_RATIO * max(1, info.compress_size):
        yield f"it unpacks to {info.file_size // max(1, info.compress_size)} times its size"
