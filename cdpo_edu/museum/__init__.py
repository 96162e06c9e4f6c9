"""The bug museum: real mistakes of published alignment code, and a score for the tests that catch them.

`CORRECT` is a namespace of small functions; each of `EXHIBITS` replaces one of them by a mistake that stood
in published code. Tests are plain pytest functions that take the namespace as their argument ``code``.
`run_museum` runs them on the correct code, on which all must pass, and then on every exhibit.

Left out: mistakes that show on a real model only, such as a tokenizer's or a card's.
"""

from __future__ import annotations

from .code import CORRECT, Code
from .exhibits import EXHIBITS, Exhibit, exhibit
from .running import Found, Report, run_museum

__all__ = ["CORRECT", "EXHIBITS", "Code", "Exhibit", "Found", "Report", "exhibit", "run_museum"]
