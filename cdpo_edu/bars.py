"""Progress bars for long work, gone when it is done.

``CDPO_EDU_BARS=0`` turns them off: a notebook that is kept with its outputs should not keep half a bar.
"""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def turned_off() -> bool:
    """Return whether nobody wants bars."""
    return os.environ.get("CDPO_EDU_BARS") == "0"


def bar(items: Any = None, *, title: str, total: int | None = None, delay: float = 0.0) -> Any:
    """Return a tqdm bar over ``items``, or one of ``total`` steps to move by hand.

    It shows on a terminal and in a notebook, elsewhere not; ``delay`` is the seconds before it does.
    """
    return tqdm(items, total=total, desc=title, leave=False, delay=delay, disable=turned_off() or None)
