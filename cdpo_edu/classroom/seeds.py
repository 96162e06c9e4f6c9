"""Where an instance comes from: the course's secret, the student and the exercise, through HMAC-SHA256.

    secret --"token"--> token       printed in the course's notebooks
    token  + exercise          -->  the wording (variant) of the exercise in this course
    token  + exercise + student --> the instance that this student sees
    secret + exercise + student --> the instances on which the answer is marked

HMAC cannot be run backwards, so a notebook shows its reader her own instance and the course's wording, and
nothing of what will be marked; the repository and a student id alone give neither. The course of the
repository itself, `PUBLIC`, has no secret: everybody can draw all its instances.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import numpy as np

PUBLIC = "public"
"""Secret and token of the exercises in the repository, which are for self-study."""


def _digest(key: str, *words: str) -> bytes:
    return hmac.digest(key.encode(), "\x1f".join(words).encode(), "sha256")


def course_token(secret: str) -> str:
    """Return what a course's notebooks may show, 16 hexadecimal digits.

    >>> course_token(PUBLIC)
    'public'
    >>> len(course_token("a long secret")), course_token("a") == course_token("b")
    (16, False)
    """
    return PUBLIC if secret == PUBLIC else _digest(secret, "token").hex()[:16]


def generator(key: str, exercise: str, student: str) -> np.random.Generator:
    """Return the random numbers of one student's instance; ``key`` is the token (shown) or secret (marked).

    >>> ada, again, bob = (generator(PUBLIC, "dual_step", name).random() for name in ("ada", "ada", "bob"))
    >>> ada == again, ada == bob
    (True, False)
    """
    return np.random.default_rng(list(_digest(key, "instance", exercise, student)))


def chosen_variant(token: str, exercise: str, variants: Sequence[str]) -> str:
    """Return the wording of an exercise in a course: the first in public, another one in a course of its own.

    >>> chosen_variant(PUBLIC, "dual_step", ["standard", "safety"])
    'standard'
    >>> chosen_variant("0123456789abcdef", "dual_step", ["standard", "safety"])
    'safety'
    """
    if token == PUBLIC or len(variants) == 1:
        return variants[0]
    return variants[1 + int.from_bytes(_digest(token, "variant", exercise)[:8]) % (len(variants) - 1)]
