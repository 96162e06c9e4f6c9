"""Hand out the argument ``code`` to plain pytest, while one writes tests: always the correct code.

Use it with ``python -m pytest -p cdpo_edu.museum.fixture my_tests.py``.
"""

from __future__ import annotations

import pytest

from .code import CORRECT, Code


@pytest.fixture
def code() -> Code:
    """Return the code without a mistake."""
    return CORRECT
