"""The package as a wheel, packed again from the files that run here: no build tool, no network.

The wheel names no requirements; whoever installs it says which packages it is to find.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from .sources import CLONED, PACKED

__all__ = ["wheel_bytes", "wheel_name"]

PACKAGE = Path(__file__).resolve().parents[1]
INFO = f"cdpo_edu-{__version__}.dist-info"
METADATA = f"Metadata-Version: 2.1\nName: cdpo_edu\nVersion: {__version__}\nRequires-Python: >=3.11,<3.14\n"
LEFT_OUT = {"__pycache__", PACKED.name, "notebooks"}  # a marker reads no lesson
WHEEL = "Wheel-Version: 1.0\nGenerator: cdpo_edu\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_name() -> str:
    """Return the file name that installers expect."""
    return f"cdpo_edu-{__version__}-py3-none-any.whl"


def wheel_bytes() -> bytes:
    """Return the wheel; equal files give equal bytes."""
    buffer, record = io.BytesIO(), list[str]()
    with zipfile.ZipFile(buffer, "w") as file:
        for path, content in _files():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(content)}")
            _write(file, path, content)
        _write(file, f"{INFO}/RECORD", "\n".join([*record, f"{INFO}/RECORD,,", ""]).encode())
    return buffer.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield the package with the notebooks' sources beside its own modules, as `sources` looks for them."""
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and not LEFT_OUT & set(path.relative_to(PACKAGE).parts):
            yield f"cdpo_edu/{path.relative_to(PACKAGE).as_posix()}", path.read_bytes()
    scripts = PACKED if PACKED.is_dir() else CLONED
    for path in sorted(scripts.rglob("*.py")):
        yield f"cdpo_edu/classroom/{PACKED.name}/{path.relative_to(scripts).as_posix()}", path.read_bytes()
    yield f"{INFO}/METADATA", METADATA.encode()
    yield f"{INFO}/WHEEL", WHEEL.encode()


def _write(file: zipfile.ZipFile, path: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(path)
    entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
    file.writestr(entry, content)
