"""Can this package be installed here at all? One line where it cannot, and what to do instead.

Read before anything else is imported, on Pythons and systems where nothing else is there: the standard
library alone, and no syntax younger than Python 3.7. Left out: what is installed and how well it works
(`doctor`).
"""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec

INSTEAD = "the lessons can be read with their outputs, and the explorer's page needs a browser only"


def hopeless() -> str | None:
    """Return why nothing can be installed on this Python or system, in one line; None where it can."""
    found = sys.version_info[:2]
    if not (3, 11) <= found < (3, 14):
        age = "old" if found < (3, 11) else "new"
        needed = "install Python 3.11, 3.12 or 3.13"
        return f"Python {platform.python_version()} is too {age}: {needed}"
    if sys.platform == "darwin" and platform.machine() == "x86_64" and find_spec("torch") is None:
        return (
            "this Python is built for Intel Macs, for which PyTorch has no packages since 2.3: on Apple "
            "silicon install a Python for arm64; on an Intel Mac use Linux on a hosted machine. Here "
            + INSTEAD
        )
    return None
