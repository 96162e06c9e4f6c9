"""Reading a problem's fields: float64 tables, or one clear `InputError` that names the field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import InputError
from .results import EPS, Array, PerLimit

LARGEST = 1e50
"""Tables hold finite numbers of at most this size; beta lies between its inverse and itself."""

FINEST = 1e14
"""Rewards of one prompt are at most this many times beta apart: beyond it float64 cannot resolve a nat."""

_KINDS = ("one number", "a list of numbers", "a table (a list of rows)", "a list of K tables")


def as_array(field: str, value: ArrayLike) -> NDArray[Any]:
    """Return ``value`` as an array of numbers of any kind."""
    try:
        raw = np.asarray(value)
    except ValueError:
        raise InputError(f"field '{field}': its rows differ in length; make them equally long") from None
    if raw.dtype.kind not in "fiu":
        raise InputError(f"field '{field}': it holds something that is no number; give finite numbers only")
    return raw


def numbers(field: str, value: ArrayLike, *, ndim: int) -> Array:
    """Return a read-only float64 copy of ``value``, or say what in it is no finite number."""
    raw = as_array(field, value)
    if raw.ndim != ndim or raw.size == 0:
        raise InputError(f"field '{field}': it has shape {raw.shape}; give {_KINDS[ndim]}, not empty")
    array = np.array(raw, dtype=np.float64)
    bad = np.argwhere(~(np.abs(array) <= LARGEST))  # nan fails every comparison
    if len(bad):
        what = f"{array[tuple(bad[0])]}{_place(bad[0])}"
        raise InputError(f"field '{field}': {what}; give finite numbers, of size {LARGEST:g} at most")
    array.setflags(write=False)
    return array


def _place(index: NDArray[np.intp]) -> str:
    return " at " + "".join(f"[{i}]" for i in index) if len(index) else ""


def agree(field: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Return ``array`` if it has the ``shape`` that the other fields ask for."""
    if array.shape != shape:
        raise InputError(
            f"field '{field}': shape {array.shape}, not {shape} as in the others; make them agree"
        )
    return array


def distribution(field: str, value: ArrayLike, *, ndim: int) -> Array:
    """Return probabilities that sum to 1 over the last axis; a sum off by up to 1e-6 is divided out."""
    array = numbers(field, value, ndim=ndim)
    if np.any(array < 0):
        worst = np.argwhere(array < 0)[0]
        what = f"{array[tuple(worst)]:g}{_place(worst)}"
        raise InputError(f"field '{field}': {what} is negative; give probabilities, at least 0")
    total = array.sum(-1, keepdims=True)
    off = np.abs(total - 1)
    if np.any(off > 1e-6):
        where = f"row {int(off.argmax())} sums" if ndim > 1 else "it sums"
        what = f"{where} to {total.flat[off.argmax()]:.9g}"
        raise InputError(f"field '{field}': {what}; make it 1 (within 1e-6)")
    array = np.where(off > 8 * EPS, array / total, array)  # a sum that is 1 to rounding stays as given
    array.setflags(write=False)
    return array


def strength(beta: float, spread: float) -> float:
    """Return ``beta`` if it is above 0 and not too small for rewards that are ``spread`` apart."""
    number = float(numbers("beta", beta, ndim=0))
    if number < 1 / LARGEST:
        raise InputError(f"field 'beta': {number:g}; give a number above 0 (at least {1 / LARGEST:g})")
    if spread > FINEST * number:
        what = f"rewards of one prompt are {spread:g} apart, {spread / number:.1e} times beta"
        raise InputError(f"field 'beta': {what}; raise beta or scale the rewards to {FINEST:g} times at most")
    return number


def listed(values: Array) -> PerLimit:
    """Return one number as a float, several as a tuple of floats."""
    return float(values) if values.ndim == 0 else tuple(values.tolist())
