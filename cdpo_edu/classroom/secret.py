"""The instructor's secret as a file: made once, readable by its owner alone, never in a notebook."""

from __future__ import annotations

import secrets
from pathlib import Path

from ..types import InputError

__all__ = ["SECRET_FILE", "new_secret", "read_secret", "write_secret"]

SECRET_FILE = "secret.txt"
SHORTEST = 16
"""Characters; a shorter secret can be found by trying, since the course's token is known to the students."""


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_hex(32)


def read_secret(path: Path) -> str:
    """Return the secret in a file, or in the file `SECRET_FILE` of a course's folder.

    Raises
    ------
    InputError
        If it cannot be read, or is short enough to be guessed.
    """
    file = path / SECRET_FILE if path.is_dir() else path
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise InputError(f"{file}: {reason}; the course's secret cannot be read") from None
    if len(secret) < SHORTEST:
        raise InputError(f"{file}: the secret has {len(secret)} characters; at least {SHORTEST} are needed")
    return secret


def write_secret(folder: Path, secret: str) -> Path:
    """Write the secret into a course's folder, for its owner's eyes alone; return the file."""
    path = folder / SECRET_FILE
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="utf-8")
    return path
