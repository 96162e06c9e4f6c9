"""Statements to be judged true or false: each has a form that is true and one that is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Claims = Sequence[tuple[str, str]]
"""Each claim as it is true, then as it is false."""


def four_of(rng: np.random.Generator, claims: Claims) -> list[str]:
    """Return statements about four claims, two in their true form and two in their false one.

    >>> claims = [(f"{name} is a dish", f"{name} is a guest") for name in ("soup", "cake", "rice", "pie")]
    >>> said = four_of(np.random.default_rng(0), claims)
    >>> sorted(truth(said, claims))
    [False, False, True, True]
    """
    about = rng.permutation(len(claims))[:4]
    forms = rng.permutation([0, 0, 1, 1])
    return [claims[claim][form] for claim, form in zip(about, forms, strict=True)]


def truth(statements: Sequence[str], claims: Claims) -> list[bool]:
    """Return which statements stand in their true form."""
    true = {form for form, _ in claims}
    return [statement in true for statement in statements]


TURNED = "The rest is right; each statement is judged the wrong way round."
"""What is said to one who turned every statement round."""
