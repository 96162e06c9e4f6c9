"""Values as JSON knows them, and back: numbers, text, lists, dicts with string keys and numpy arrays.

Both sides of the pipe use it. What it builds is of plain types alone, whatever was sent: no pickle, no code.
What has no plain form (a generator, a function, an array of 10^9 numbers) becomes its description, `Foreign`.
"""

from __future__ import annotations

import sys

# Names of one's own: a cell that overwrites builtins.isinstance does not reach them.
from builtins import dict, float, getattr, int, isinstance, list, str, tuple, type  # noqa: UP029
from typing import Any

MAX_NUMBERS = 1_000_000
MAX_DEPTH = 20
MAX_TEXT = 1_000_000


class Foreign:
    """An answer that is no plain value, by its description."""

    def __init__(self, description: str) -> None:
        self.description = str(description)[:200]

    def __repr__(self) -> str:
        return self.description


class _TooMuch(Exception):
    pass


def encode(value: object) -> object:
    """Return a value as JSON knows it.

    >>> encode({"lam": 1.5, "names": ("a", None)})
    {'lam': 1.5, 'names': ['a', None]}
    >>> encode(x for x in [])
    {'__foreign__': 'a generator'}
    """
    try:
        return _encoded(value, 0, [MAX_NUMBERS])
    except _TooMuch as error:
        return {"__foreign__": str(error)}


def _encoded(value: object, depth: int, left: list[int]) -> object:
    left[0] -= 1
    if left[0] < 0:
        raise _TooMuch(f"more than {MAX_NUMBERS} values")
    if depth > MAX_DEPTH:
        raise _TooMuch(f"lists inside lists, more than {MAX_DEPTH} deep")
    if value is None or value is True or value is False:
        return value
    if value is Ellipsis:
        return {"__ellipsis__": True}
    for scalar in (_whole, _real, _text):
        found = scalar(value)
        if found is not None:
            return found
    if isinstance(value, (list, tuple)):
        return [_encoded(item, depth + 1, left) for item in list.__iter__(list(value))]
    if isinstance(value, dict):
        return _named(value, depth, left)
    return _numbers(value, left)


def _whole(value: object) -> object:
    if not isinstance(value, int):
        return None
    plain = int.__add__(value, 0)
    return plain if plain.bit_length() < 1000 else {"__foreign__": f"a number of {plain.bit_length()} bits"}


def _real(value: object) -> object:
    return float.__add__(value, 0.0) if isinstance(value, float) else None


def _text(value: object) -> object:
    return str.__str__(str.__getitem__(value, slice(MAX_TEXT))) if isinstance(value, str) else None


def _named(value: dict, depth: int, left: list[int]) -> object:
    found = {}
    for name, item in dict.items(value):
        if not isinstance(name, str):
            raise _TooMuch(f"a dict with a name that is no text ({type(name).__name__})")
        found["" + str.__str__(name)] = _encoded(item, depth + 1, left)
    return found


def _numbers(value: Any, left: list[int]) -> object:
    """Return a numpy array, numpy number or torch tensor as its numbers, anything else as its description."""
    torch: Any = sys.modules.get("torch")
    numpy: Any = sys.modules.get("numpy")
    tensor = getattr(torch, "Tensor", None)
    if tensor is not None and isinstance(value, tensor):
        value = tensor.numpy(
            tensor.cpu(tensor.detach(value)).double() if value.is_floating_point() else value
        )
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return {"__foreign__": _article(type(value).__name__)}
    if isinstance(value, numpy.generic):
        value = numpy.ndarray.reshape(numpy.array(value), ())
    return _array(value, numpy, left)


def _array(value: Any, numpy: Any, left: list[int]) -> object:
    plain = numpy.ndarray.view(value, numpy.ndarray)
    kind, size = plain.dtype.kind, 1
    for side in plain.shape:
        size *= side
    if kind not in "biufU":
        return {"__foreign__": f"an array of {plain.dtype}"[:60]}
    if size > left[0]:
        raise _TooMuch(f"an array of shape {plain.shape}, more than {MAX_NUMBERS} numbers")
    left[0] -= size
    numbers = numpy.ndarray.tolist(plain)
    if plain.ndim == 0:
        return numbers
    return {"__array__": numbers, "dtype": str(plain.dtype), "shape": list(plain.shape)}


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' and name[:1] else 'a'} {str.__str__(name)[:60]}"


def decode(value: object) -> object:
    """Return what `encode` was given.

    >>> decode({"__array__": [1.0, 2.0], "dtype": "float64", "shape": [2]})
    array([1., 2.])
    >>> decode({"__foreign__": "a generator"})
    a generator
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "__array__" in value:
        return _as_array(value)
    if "__foreign__" in value:
        return Foreign(value["__foreign__"])
    if "__ellipsis__" in value:
        return Ellipsis
    return {name: decode(item) for name, item in value.items()}


def _as_array(value: dict) -> object:
    import numpy

    kinds = ("bool", "int", "uint", "float", "<U")
    dtype = str(value.get("dtype"))
    if not dtype.startswith(kinds):
        return Foreign(f"an array of {dtype[:40]}")
    try:
        return numpy.array(value["__array__"], dtype=dtype).reshape(value["shape"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return Foreign("an array whose numbers do not fit its shape")
