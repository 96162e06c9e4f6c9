"""The lessons' fast setting: the same cells with smaller numbers, under ``CDPO_EDU_FAST=1``.

A cell writes both numbers, so that a reader sees what the fast setting leaves out. Left out here: what a
number counts; a lesson decides which of its numbers may shrink, and asserts its claim in both settings.
"""

from __future__ import annotations

import os
from typing import TypeVar

from .types import InputError

__all__ = ["paced"]

VARIABLE = "CDPO_EDU_FAST"
Number = TypeVar("Number", int, float)


def paced(number: Number, *, fast: Number) -> Number:
    """Return ``number``, or ``fast`` in the fast setting.

    Raises
    ------
    InputError
        If ``CDPO_EDU_FAST`` is anything but 0, 1 or nothing.

    Examples
    --------
    >>> import os
    >>> os.environ["CDPO_EDU_FAST"] = "1"
    >>> paced(300, fast=100)
    100
    >>> del os.environ["CDPO_EDU_FAST"]
    >>> paced(300, fast=100)
    300
    """
    setting = os.environ.get(VARIABLE, "")
    if setting not in ("", "0", "1"):
        raise InputError(f"{VARIABLE} is {setting!r}; set it to 1 for the fast setting, or unset it")
    return fast if setting == "1" else number
