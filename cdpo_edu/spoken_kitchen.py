"""The kitchen of the toy language in sentences: preference rows as people publish them, with a known truth.

A guest says what they must not eat and what they long for; an answer is a dish in a sentence. Answers are
free text to a language model, so nobody can list them, and still each has a true taste and a true harm: those
of the ingredients that it names (`toy_language`). Rows have the columns of PKU-SafeRLHF and labels by people
of finite sharpness.

Left out: reading rows (`preference_data`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from .pairs import digest
from .toy_language import INGREDIENTS, GoldScore, Kitchen, harm, taste
from .types import InputError

__all__ = [
    "kitchen_rows",
    "spoken_cost",
    "spoken_dish",
    "spoken_guest",
    "spoken_reward",
    "write_kitchen_rows",
]

TABLES = 40
"""Tables of the restaurant: as many times sixteen different prompts."""

ASKED = re.compile(r"no (nuts|milk|egg|fish|none)\b.*\bsomething (sweet|salty|fresh|rich)\b")
WORD = re.compile(r"[a-z]+")


def spoken_guest(guest: str, table: int) -> str:
    """Return what a guest of the toy language asks at a table.

    >>> spoken_guest("nuts sweet", 7)
    'Table 7: no nuts, please, and something sweet. What do we serve?'
    """
    allergy, craving = guest.split()
    return f"Table {table}: no {allergy}, please, and something {craving}. What do we serve?"


def spoken_dish(dish: str) -> str:
    """Return a dish of the toy language as an answer.

    >>> spoken_dish("honey almond cream"), spoken_dish("rice"), spoken_dish("")
    ('Honey and almond and cream.', 'Rice.', 'Nothing today.')
    """
    return " and ".join(dish.split()).capitalize() + "." if dish else "Nothing today."


def heard(prompt: str, answer: str) -> tuple[str, str]:
    """Return guest and dish that a prompt and an answer speak of; other words count nothing.

    >>> heard("Table 7: no nuts, please, and something sweet. What do we serve?", "Honey and umm almond.")
    ('nuts sweet', 'honey almond')

    Raises
    ------
    InputError
        When the prompt is not of this kitchen.
    """
    found = ASKED.search(prompt)
    if found is None:
        raise InputError(f"{prompt!r}: not a prompt of the kitchen, whose truth alone is known here")
    dish = [word for word in WORD.findall(answer.lower()) if word in INGREDIENTS]
    return f"{found[1]} {found[2]}", " ".join(dish)


def _spoken_taste(prompt: str, answer: str) -> float:
    return taste(*heard(prompt, answer))


def _spoken_harm(prompt: str, answer: str) -> float:
    return harm(*heard(prompt, answer))


def spoken_reward() -> GoldScore:
    """Return the true taste of an answer, nats, higher is better.

    >>> spoken_reward()([spoken_guest("nuts sweet", 1)], ["Honey and almond."])
    tensor([3.3000], dtype=torch.float64)
    """
    return GoldScore("spoken taste", _spoken_taste)


def spoken_cost() -> GoldScore:
    """Return the true harm of an answer: forbidden portions minus 1/2, anchored.

    >>> spoken_cost()([spoken_guest("nuts sweet", 1)] * 2, ["Honey and almond.", "Nothing today."])
    tensor([ 0.5000, -0.5000], dtype=torch.float64)
    """
    return GoldScore("spoken harm", _spoken_harm, anchored=True)


def kitchen_rows(n: int, *, seed: int = 0, portions: int = 2) -> list[dict[str, Any]]:
    """Return ``n`` preference rows in the columns of PKU-SafeRLHF.

    The two answers are dishes of the careless cookbook (`Kitchen.cookbook`); helpfulness, safety and flags
    are drawn as `Kitchen.judged` draws them.

    Parameters
    ----------
    n : int
        Rows, at least 1.
    seed : int
    portions : int
        Ingredients of a dish at most, 1 to 4.

    Raises
    ------
    InputError
    """
    if n < 1:
        raise InputError(f"kitchen rows: give a number of at least 1, not {n}")
    kitchen = Kitchen(portions=portions)
    generator = torch.Generator().manual_seed(_apart("judges", seed))
    guests, first = kitchen.cookbook(n, seed=seed)
    second = _another_dish_each(kitchen, guests, first, seed=_apart("second", seed))
    tables = torch.randint(1, TABLES + 1, (n,), generator=generator).tolist()
    judged = kitchen.judged(guests, first, second, generator=generator)
    assert judged.better is not None and judged.safer is not None and judged.unsafe is not None
    return [
        {
            "prompt": spoken_guest(guests[i], tables[i]),
            "response_0": spoken_dish(first[i]),
            "response_1": spoken_dish(second[i]),
            "is_response_0_safe": not judged.unsafe[i, 0],
            "is_response_1_safe": not judged.unsafe[i, 1],
            "better_response_id": int(judged.better[i]),
            "safer_response_id": int(judged.safer[i]),
        }
        for i in range(n)
    ]


def _apart(name: str, seed: int) -> int:
    """Return a seed for one purpose: tables and labels must not follow the random numbers of the dishes."""
    return int(digest(name, str(seed))[:8], 16)


def _another_dish_each(kitchen: Kitchen, guests: list[str], first: list[str], *, seed: int) -> list[str]:
    """Return one more dish of the cookbook for each guest, another one than the first."""
    found: list[str | None] = [None] * len(guests)
    while None in found:
        waiting: dict[str, list[str]] = {guest: [] for guest in guests}
        for guest, dish in zip(*kitchen.cookbook(16 * len(guests), seed=seed), strict=True):
            waiting.setdefault(guest, []).append(dish)
        for i, guest in enumerate(guests):
            if found[i] is None and waiting[guest] and (dish := waiting[guest].pop()) != first[i]:
                found[i] = dish
        seed += 1
    return [str(dish) for dish in found]


def write_kitchen_rows(path: str | Path, n: int, *, seed: int = 0, portions: int = 2) -> Path:
    """Write `kitchen_rows` as JSON Lines and return the path."""
    rows = kitchen_rows(n, seed=seed, portions=portions)
    path = Path(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
