"""Whether an answer is the expected one, and in which words it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def disagreement(got: Any, expected: Any, *, tolerance: float = 1e-6, reveal: bool = True) -> str | None:
    """Return how ``got`` differs from ``expected``, or None where it does not.

    Numbers agree when |got - expected| <= tolerance (1 + |expected|), arrays when each entry does, dicts
    when they have the same names and each value agrees, everything else when it is equal. Without ``reveal``
    the words say what is wrong and not what would be right: a value about one instance is asked only once.

    >>> disagreement(0.5, 0.5 + 1e-9) is None
    True
    >>> disagreement([0.2, 0.9], np.array([0.2, 0.8]))
    'is 0.9 at position 1, expected 0.8'
    >>> disagreement({"lam": 1.0}, {"lam": 2.0})
    "['lam'] is 1, expected 2"
    >>> disagreement({"lam": 1.0}, {"lam": 2.0}, reveal=False)
    "['lam'] is 1, which is not right"
    >>> disagreement(["beta", "cost"], ["beta", "reward"])
    "[1] is 'cost', expected 'reward'"
    """
    if got is None or got is Ellipsis:
        return None if expected is None else "is not answered yet (it is None)"
    if isinstance(expected, Mapping):
        return _in_a_dict(got, expected, tolerance, reveal)
    if isinstance(expected, str | bool | None | np.bool_):
        return _if_equal(got, expected, reveal)
    if isinstance(expected, Sequence) and any(isinstance(one, str) for one in expected):
        return _in_a_list(got, expected, tolerance, reveal)
    return _in_numbers(got, expected, tolerance, reveal)


def _if_equal(got: Any, expected: Any, reveal: bool) -> str | None:
    same_kind = isinstance(got, bool | np.bool_) == isinstance(expected, bool | np.bool_)
    if same_kind and bool(got == expected):
        return None
    return f"is {_short(got)}, {_instead(repr(expected), reveal)}"


def _instead(right: str, reveal: bool) -> str:
    return f"expected {right}" if reveal else "which is not right"


def _in_a_dict(got: Any, expected: Mapping[str, Any], tolerance: float, reveal: bool) -> str | None:
    if not isinstance(got, Mapping):
        return f"is a {type(got).__name__}, expected a dict with {', '.join(expected)}"
    if set(got) != set(expected):
        return f"has the names {sorted(map(str, got))}, expected {sorted(expected)}"
    for name, value in expected.items():
        if words := disagreement(got[name], value, tolerance=tolerance, reveal=reveal):
            return f"[{name!r}] {words}"
    return None


def _in_a_list(got: Any, expected: Sequence[Any], tolerance: float, reveal: bool) -> str | None:
    if not isinstance(got, list | tuple) or len(got) != len(expected):
        return f"is {_short(got)}, expected a list of {len(expected)}"
    for place, (one, value) in enumerate(zip(got, expected, strict=True)):
        if words := disagreement(one, value, tolerance=tolerance, reveal=reveal):
            return f"[{place}] {words}"
    return None


def _in_numbers(
    got: Any, expected: float | Sequence[Any] | np.ndarray, tolerance: float, reveal: bool
) -> str | None:
    want = np.asarray(expected, dtype=float)
    try:
        have = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        return f"is {_short(got)}, expected {'a number' if want.ndim == 0 else 'numbers'}"
    if have.shape != want.shape:
        return f"has shape {have.shape}, expected {want.shape}"
    near = np.isclose(have, want, rtol=tolerance, atol=tolerance, equal_nan=True)
    if near.all():
        return None
    place = tuple(int(i) for i in np.argwhere(~near)[0])
    where = f" at position {place[0] if len(place) == 1 else place}" if place else ""
    return f"is {have[place]:.6g}{where}, {_instead(f'{want[place]:.6g}', reveal)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
