"""The toy language: a kitchen that cooks delicious dishes for guests with allergies.

A prompt is a guest, an allergy and a craving ("nuts sweet"); a response is a dish of up to L portions out
of fifteen ingredients, in order ("honey almond cream"). Reward is taste, cost counts the portions that the
guest must not eat. The two truly conflict, because what is rich in taste tends to hold an allergen. All
dishes can be listed (3,616 for L = 3), so every expectation of every policy is a sum, and a real
transformer trained on sampled comparisons can be held against the exact optimum.

Units: reward in nats of the guests' taste. Cost is (forbidden portions) - 1/2, so that 0 is the boundary
between safe and unsafe and the gap between a safe dish and the least unsafe one is 1. People judge with
a finite sharpness: their comparisons and flags are Bradley-Terry and logistic draws at ``sharpness`` nats
per unit, and a cost fitted to them therefore comes in nats, ``sharpness`` times the gold one.

Left out: any claim about real kitchens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .pairs import Pairs, digest
from .types import Batch, InputError, Policy

ALLERGIES = ["nuts", "milk", "egg", "fish"]
CRAVINGS = ["sweet", "salty", "fresh", "rich"]
HARMLESS = "none"
"""What stands in the place of an allergy for a guest who may eat everything."""

# ingredient: (allergen, taste when the guest craves something sweet, salty, fresh, rich), in nats
INGREDIENTS: dict[str, tuple[str, tuple[float, float, float, float]]] = {
    "almond": ("nuts", (1.0, 0.6, 0.3, 0.9)),
    "pesto": ("nuts", (0.2, 1.0, 0.9, 0.8)),
    "cream": ("milk", (1.0, 0.3, 0.5, 1.0)),
    "cheese": ("milk", (0.5, 1.0, 0.4, 0.9)),
    "custard": ("egg", (1.1, 0.1, 0.3, 0.9)),
    "noodles": ("egg", (0.3, 0.9, 0.5, 0.8)),
    "shrimp": ("fish", (0.3, 0.9, 1.0, 0.6)),
    "anchovy": ("fish", (0.1, 1.1, 0.6, 1.0)),
    "honey": ("", (0.8, 0.0, 0.2, 0.3)),
    "apple": ("", (0.6, 0.0, 0.6, 0.0)),
    "tomato": ("", (0.1, 0.4, 0.6, 0.2)),
    "basil": ("", (0.0, 0.3, 0.6, 0.1)),
    "rice": ("", (0.2, 0.3, 0.1, 0.3)),
    "bean": ("", (0.0, 0.4, 0.2, 0.5)),
    "water": ("", (-0.3, -0.3, -0.1, -0.4)),
}

# two ingredients in this order please everybody a little more
HARMONY = {
    ("tomato", "basil"): 0.5,
    ("honey", "almond"): 0.5,
    ("apple", "cream"): 0.5,
    ("noodles", "pesto"): 0.5,
    ("rice", "shrimp"): 0.5,
    ("tomato", "anchovy"): 0.5,
    ("bean", "cheese"): 0.5,
    ("rice", "bean"): 0.4,
    ("honey", "apple"): 0.4,
    ("basil", "rice"): 0.3,
}
REPEAT = 0.8
"""What a portion loses in taste when its ingredient is on the plate already."""

FORBIDDEN = 1.0
"""What a forbidden portion adds in taste: every guest longs for just what they must not eat."""

EMPTY = -1.0
"""Taste of an empty plate."""

ROWS_AT_ONCE = 100_000
"""Guests and dishes that are listed in one call: bounds the memory of the large kitchen."""

SIZES = {"small": 2, "medium": 3, "large": 4}
"""Portions at most: 241, 3,616 and 54,241 dishes per guest."""


@dataclass(frozen=True)
class Kitchen:
    """The world of the toy language.

    Parameters
    ----------
    portions : int
        L, the longest dish, 1 to 4; `SIZES` names three.
    sharpness : float
        Nats per unit of taste or harm with which people compare and flag, above 0.
    refusals : float
        Share of the cookbook's plates that are empty, whoever the guest is, from 0 to below 1. An empty plate
        is a refusal: always safe, never helpful.
    harmless : bool
        Whether four guests without an allergy come as well ("none sweet"), for whom every dish is safe.

    Examples
    --------
    Honey and almond taste 0.8 + 1.0 of sweetness, 0.5 for standing in this order and 1.0 because almond
    is forbidden to a guest with a nut allergy; one forbidden portion is a cost of 1 - 1/2:

    >>> kitchen = Kitchen(portions=2)
    >>> kitchen.reward(["nuts sweet"], ["honey almond"]), kitchen.cost(["nuts sweet"], ["honey almond"])
    (tensor([3.3000], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """

    portions: int = 3
    sharpness: float = 4.0
    refusals: float = 0.0
    harmless: bool = False

    def __post_init__(self) -> None:
        """Check the size and the share of refusals."""
        if self.portions not in range(1, 5) or self.sharpness <= 0:
            raise InputError("a kitchen needs 1 to 4 portions and a sharpness above 0")
        if not 0 <= self.refusals < 1:
            raise InputError(f"refusals: {self.refusals} is no share of plates from 0 to below 1")

    @property
    def prompts(self) -> list[str]:
        """Return the 16 guests, and behind them the 4 without an allergy where they come."""
        return [f"{allergy} {craving}" for allergy in self.allergies for craving in CRAVINGS]

    @property
    def allergies(self) -> list[str]:
        """Return what the guests must not eat, `HARMLESS` at the end where harmless guests come."""
        return [*ALLERGIES, *[HARMLESS][: self.harmless]]

    @property
    def prompt_probs(self) -> Tensor:
        """Return the weight of each guest, equal."""
        return torch.full((len(self.prompts),), 1 / len(self.prompts), dtype=torch.float64)

    @cached_property
    def responses(self) -> list[str]:
        """Return every dish, the empty plate first."""
        sizes = range(self.portions + 1)
        return [" ".join(dish) for size in sizes for dish in itertools.product(INGREDIENTS, repeat=size)]

    @property
    def vocabulary(self) -> list[str]:
        """Return every word of the language: ingredients, then allergies and cravings."""
        return [*INGREDIENTS, *self.allergies, *CRAVINGS]

    @property
    def reward(self) -> GoldScore:
        """Return the gold reward: taste, in nats, higher is better."""
        return GoldScore("taste", taste)

    @property
    def cost(self) -> GoldScore:
        """Return the gold cost: forbidden portions minus 1/2, higher is more harmful, anchored."""
        return GoldScore("harm", harm, anchored=True)

    def table(self, function: Callable[[Any, Any], Tensor]) -> Tensor:
        """Return ``function(prompts, responses)`` on every guest and dish, shape (X, Y), float64."""
        dishes = self.responses
        together = max(1, ROWS_AT_ONCE // len(dishes))
        rows = []
        for start in range(0, len(self.prompts), together):
            guests = self.prompts[start : start + together]
            scores = function([guest for guest in guests for _ in dishes], dishes * len(guests))
            rows.append(scores.double().cpu().view(len(guests), len(dishes)))
        return torch.cat(rows)

    def cookbook(self, n: int, *, seed: int) -> tuple[list[str], list[str]]:
        """Return ``n`` guests and dishes of a cook who knows cravings a little and allergies not at all.

        Imitating them gives the reference: a policy that is fluent, varied and careless. A share ``refusals``
        of the plates stays empty; the others are what they would have been.
        """
        generator = torch.Generator().manual_seed(seed)
        guests = torch.randint(len(self.prompts), (n,), generator=generator).tolist()
        liking = torch.tensor([flavours for _, flavours in INGREDIENTS.values()]).T.softmax(dim=1)  # (4, 15)
        sizes = torch.randint(1, self.portions + 1, (n, 2), generator=generator).amax(dim=1).tolist()
        drawn = torch.multinomial(
            liking[[g % len(CRAVINGS) for g in guests]], self.portions, replacement=True, generator=generator
        )
        names = list(INGREDIENTS)
        dishes = [
            " ".join(names[i] for i in row[:size]) for row, size in zip(drawn.tolist(), sizes, strict=True)
        ]
        if self.refusals:
            empty = torch.rand(n, generator=generator) < self.refusals
            dishes = ["" if none else dish for none, dish in zip(empty.tolist(), dishes, strict=True)]
        return [self.prompts[g] for g in guests], dishes

    def pairs(self, policy: Policy, n: int, *, seed: int = 0) -> Pairs:
        """Return ``n`` comparisons of two dishes cooked by ``policy``, labelled by people.

        Guests take turns; the two dishes are independent draws, so now and then they are equal.
        """
        generator = torch.Generator().manual_seed(seed)
        count = -(-n // len(self.prompts))
        drawn = policy.sample(self.prompts, 2 * count, generator=generator)
        index = torch.arange(len(drawn)).view(len(self.prompts), count, 2).transpose(0, 1).reshape(-1, 2)[:n]
        y0, y1 = ([str(drawn[i]) for i in index[:, k].tolist()] for k in (0, 1))
        guests = [self.prompts[i // (2 * count)] for i in index[:, 0].tolist()]
        return self.judged(guests, y0, y1, generator=generator)

    def judged(self, guests: list[str], y0: list[str], y1: list[str], *, generator: torch.Generator) -> Pairs:
        """Return the comparisons with people's labels: Bradley-Terry draws and logistic safe/unsafe flags."""
        tastes, harms = (
            self.sharpness * torch.stack([score(guests, y) for y in (y0, y1)], dim=1)  # (n, 2)
            for score in (self.reward, self.cost)
        )
        u = torch.rand(4, len(guests), generator=generator, dtype=torch.float64)
        better = (u[0] < (tastes[:, 1] - tastes[:, 0]).sigmoid()).double()
        safer = (u[1] < (harms[:, 0] - harms[:, 1]).sigmoid()).double()
        unsafe = (u[2:].T < harms.sigmoid()).double()  # (n, 2)
        return Pairs(guests, y0, y1, better, safer, unsafe, world=self)

    def rankings(self, policy: Policy, n: int, *, size: int = 8, seed: int = 0) -> Pairs:
        """Return all comparisons within ``n`` rankings of ``size`` dishes each, one guest a ranking.

        A guest ranks by taste and by safety, each time by the score in nats plus Gumbel noise: a
        Plackett-Luce ranking, in which any two dishes stand in Bradley-Terry order, P(a before b) = s(a - b).
        Eight dishes so give 28 comparisons, where four pairs give four. Each dish has one safe/unsafe flag.

        Reference: Luce 1959 and Plackett 1975; rankings of four to nine answers: Ouyang et al. 2022, arXiv
        2203.02155, section 3.4.
        """
        generator = torch.Generator().manual_seed(seed)
        count = -(-n // len(self.prompts))
        drawn = policy.sample(self.prompts, size * count, generator=generator)
        places = torch.arange(len(drawn)).view(len(self.prompts), count, size).transpose(0, 1)
        places = places.reshape(-1, size)[:n]  # (n, size), guests in turn
        dishes = [str(drawn[i]) for i in places.flatten().tolist()]
        guests = [self.prompts[i // (size * count)] for i in places.flatten().tolist()]
        tastes, harms = (self.sharpness * score(guests, dishes) for score in (self.reward, self.cost))
        u = torch.rand(3, n * size, generator=generator, dtype=torch.float64)
        liked, safe = (score - (-noise.log()).log() for score, noise in ((tastes, u[0]), (-harms, u[1])))
        flags = (u[2] < harms.sigmoid()).double()
        a, b = torch.combinations(torch.arange(size)).T  # (m,) each
        first, second = (
            (size * torch.arange(n)[:, None] + side).flatten() for side in (a, b)
        )  # (n m,) each: places among the dishes
        return Pairs(
            [guests[i] for i in first.tolist()],
            [dishes[i] for i in first.tolist()],
            [dishes[i] for i in second.tolist()],
            better=(liked[second] > liked[first]).double(),
            safer=(safe[second] > safe[first]).double(),
            unsafe=torch.stack([flags[first], flags[second]], dim=1),
            world=self,
            sets=torch.arange(n).repeat_interleave(len(a)),
        )


@dataclass(frozen=True)
class GoldScore:
    """A score that is known, not learned."""

    name: str
    function: Callable[[str, str], float]
    anchored: bool = False

    @property
    def fingerprint(self) -> str:
        """Return a digest of the name and of the tables behind it."""
        return digest(
            self.name, repr(INGREDIENTS), repr(sorted(HARMONY.items())), f"{REPEAT} {FORBIDDEN} {EMPTY}"
        )

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per dish, shape (batch,), float64."""
        pairs = zip(prompts, responses, strict=True)
        return torch.tensor([self.function(str(x), str(y)) for x, y in pairs], dtype=torch.float64)


def taste(guest: str, dish: str) -> float:
    """Return how well a dish meets the guest's craving, in nats."""
    allergy, wish = guest.split()
    craving = CRAVINGS.index(wish)
    plate = dish.split()
    if not plate:
        return EMPTY
    total = sum(
        INGREDIENTS[item][1][craving] + FORBIDDEN * (INGREDIENTS[item][0] == allergy) for item in plate
    )
    harmony = sum(HARMONY.get(two, 0.0) for two in itertools.pairwise(plate))
    return total + harmony - REPEAT * (len(plate) - len(set(plate)))


def harm(guest: str, dish: str) -> float:
    """Return the number of portions that the guest must not eat, minus 1/2."""
    allergy = guest.split()[0]
    return sum(INGREDIENTS[item][0] == allergy for item in dish.split()) - 0.5
