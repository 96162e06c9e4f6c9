"""Instances that are fair: on none does a mistake give the right answer, or what another mistake gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from ..agreement import disagreement
from ..exercise import Inputs, Wrong

Draw = Callable[[np.random.Generator], Inputs]
Oracle = Callable[..., Any]


def fair(draw: Draw, oracles: Mapping[str, Oracle], wrong: Iterable[Wrong], *, apart: float = 1e-3) -> Draw:
    """Return ``draw``, redrawn until right answers and mistakes are more than ``apart`` from each other.

    Parameters
    ----------
    draw : callable
        One instance from random numbers.
    oracles : mapping of str to callable
        The right answer of each wording; they must differ from each other too.
    wrong : iterable of Wrong
        Each is held against the wordings for which it is wrong.
    apart : float
        In the sense of `agreement.disagreement`'s tolerance.

    Examples
    --------
    Nobody can tell x + x from x * x at 2:

    >>> twice = Wrong("sum for product", lambda x: x + x, "")
    >>> fair(lambda rng: {"x": int(rng.integers(2, 4))}, {"standard": lambda x: x * x}, [twice])(
    ...     np.random.default_rng(0)
    ... )
    {'x': 3}
    """
    named = tuple(wrong)

    def redrawn(rng: np.random.Generator) -> Inputs:
        while True:
            inputs = draw(rng)
            answers = [_answers(inputs, name, oracles, named) for name in oracles]
            if all(_differ(a, b, apart) for one in answers for a, b in combinations(one, 2)):
                return inputs

    return redrawn


def _answers(inputs: Inputs, name: str, oracles: Mapping[str, Oracle], named: tuple[Wrong, ...]) -> list[Any]:
    """Return the right answers of all wordings, and what the mistakes of this wording give."""
    right = [oracle(**inputs) for oracle in oracles.values()]
    return right + [wrong.answer(**inputs) for wrong in named if name in (wrong.variants or (name,))]


def _differ(one: Any, other: Any, apart: float) -> bool:
    return disagreement(one, other, tolerance=apart) is not None
