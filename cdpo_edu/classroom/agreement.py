"""Whether an answer is the expected one, and in which words it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Plain = str | bool | None | np.bool_
"""What is compared by being equal."""


def disagreement(got: Any, expected: Any, *, tolerance: float = 1e-6, reveal: bool = True) -> str | None:
    """Return how ``got`` differs from ``expected``, or None where it does not.

    Numbers agree when |got - expected| <= tolerance (1 + |expected|), arrays when each entry does, dicts
    when they have the same names and each value agrees, everything else when it is equal. Without ``reveal``
    the words say what is wrong and not what would be right: a value about one instance is asked only once.
    Of words, truths or None in a list they then say how many are wrong, since which ones would tell all.

    >>> disagreement(0.5, 0.5 + 1e-9) is None
    True
    >>> disagreement([0.2, 0.9], np.array([0.2, 0.8]))
    'is 0.9 at position 1, expected 0.8'
    >>> disagreement({"lam": 1.0}, {"lam": 2.0})
    "['lam'] is 1, expected 2"
    >>> disagreement({"lam": 1.0}, {"lam": 2.0}, reveal=False)
    "['lam'] is 1, which is not right"
    >>> disagreement([0.0, 3.1], [0.0, None]), disagreement(["up", "up"], ["up", "down"], reveal=False)
    ('[1] is 3.1, expected None', 'has 1 of 2 not right')
    >>> disagreement(["beta", "cost"], ["beta", "reward"])
    "[1] is 'cost', expected 'reward'"
    """
    if got is None or got is Ellipsis:
        return None if expected is None else "is not answered yet (it is None)"
    if isinstance(expected, Mapping):
        return _in_a_dict(got, expected, tolerance, reveal)
    if isinstance(expected, list | tuple) and any(isinstance(one, Plain | Mapping) for one in expected):
        return _in_a_list(got, expected, tolerance, reveal)
    if isinstance(expected, Plain):
        return _if_equal(got, expected, reveal)
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
    if not isinstance(got, list | tuple | np.ndarray):
        return f"is {_short(got)}, expected a list of {len(expected)}"
    if len(got) != len(expected):
        return f"has {len(got)} entries, expected {len(expected)}"
    words = [disagreement(one, right, tolerance=tolerance) for one, right in zip(got, expected, strict=True)]
    wrong = [place for place, fault in enumerate(words) if fault]
    if not wrong:
        return None
    return f"[{wrong[0]}] {words[wrong[0]]}" if reveal else f"has {len(wrong)} of {len(words)} not right"


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
