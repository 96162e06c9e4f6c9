"""A second wording of an exercise, as the first one on translated inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..exercise import Inputs, Wrong

Translate = Callable[[Inputs], Inputs]


def reworded(answer: Callable[..., Any], translate: Translate) -> Callable[..., Any]:
    """Return the answer to the wording whose inputs ``translate`` turns into those of the standard one.

    >>> reworded(lambda cost: 2 * cost, lambda inputs: {"cost": -inputs["cost"]})(cost=3)
    -6
    """

    def answered(**inputs: Any) -> Any:
        return answer(**translate(inputs))

    return answered


def in_both(wrong: Iterable[Wrong], other: str, translate: Translate) -> tuple[Wrong, ...]:
    """Return each mistake twice: for the standard wording, and for the wording ``other``.

    A mistake that is for the standard wording alone already stays so.

    >>> sign = Wrong("sign", lambda cost: -cost, "")
    >>> found = in_both([sign], "safety", lambda inputs: {"cost": -inputs["cost"]})
    >>> [(wrong.variants, wrong.answer(cost=3)) for wrong in found]
    [(('standard',), -3), (('safety',), 3)]
    """
    both: list[Wrong] = []
    for one in wrong:
        both.append(replace(one, variants=("standard",)))
        if one.variants is None:
            both.append(replace(one, answer=reworded(one.answer, translate), variants=(other,)))
    return tuple(both)
