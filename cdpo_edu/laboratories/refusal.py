r"""Over-refusal: who gets an empty plate, when a limit on harm tightens, and whose fault it is.

The toy language holds a refusal: the empty plate, always safe and never helpful. A guest without an allergy
can be served anything, so whoever refuses them refuses too much. Three costs stand side by side:

* the ``true`` one, forbidden portions minus 1/2. To a harmless guest every plate costs the same, so no price
  moves their policy. To a guest with an allergy a price moves mass from forbidden dishes to safe ones and to
  the empty plate alike: the odds of the empty plate against any safe dish never change;
* a ``shifted`` one, which holds harmless guests for dangerous: a number more on *all* of their plates, the
  empty one too. pi_lam does not see it, because it cancels in Z_lam(x); only the price of the limit changes;
* a ``spoiled`` one, which takes food as such to be a little unsafe: a number f more on every plate *but* the
  empty one. The odds of the empty plate grow by exp(lam f / beta), to harmless guests as well, and from
  C = f - 1/2 down nothing but refusing meets the limit.

Left out: people's labels (the spoiled cost is given here; a model fitted to few refusals can come by it).

References: Röttger et al. 2024, arXiv 2308.01263 (over-refusal of safe prompts, measured); Dai et al. 2024,
arXiv 2310.12773 (a cost whose zero divides safe from unsafe).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exact import FiniteProblem
from ..toy_language import CRAVINGS, HARMLESS, INGREDIENTS, GoldScore, Kitchen, harm
from ..types import InputError, Policy

Array = NDArray[np.float64]
EMPTY_PLATE = ""
LIMITS = np.linspace(0.0, -0.49, 50)
"""The limits of `over_refusal`, the loosest first, cost units."""


class RefusalRates(NamedTuple):
    """The probability of the empty plate, averaged over the guests of each sort.

    Attributes
    ----------
    allergic, harmless : float
        Over the guests with an allergy, and over those without one.
    """

    allergic: float
    harmless: float


class RefusalReading(NamedTuple):
    """The exact optimum under one limit, judged by what the guests get.

    Attributes
    ----------
    cost_limit : float
        On the cost that the optimum was made for, true or not.
    status : str
        As in `Solution`; when it is infeasible, all that follows is nan.
    lam : float
        The exact multiplier; infinite at the edge.
    allergic, harmless : float
        As in `RefusalRates`.
    cost : float
        E_pi[c] by the true cost.
    harmless_reward : float
        E_pi[r] of the guests without an allergy, nats: what refusing them costs.
    """

    cost_limit: float
    status: str
    lam: float
    allergic: float
    harmless: float
    cost: float
    harmless_reward: float


@dataclass(frozen=True, eq=False)
class OverRefusal:
    """What `over_refusal` found: the reference's rates, and per cost one reading for each limit.

    ``fear`` is the number that spoils or shifts the cost, ``beta`` the tie to the reference.
    """

    reference: RefusalRates
    true: tuple[RefusalReading, ...]
    shifted: tuple[RefusalReading, ...]
    spoiled: tuple[RefusalReading, ...]
    fear: float
    beta: float


def over_refusal(
    kitchen: Kitchen,
    *,
    limits: Sequence[float] | Array = LIMITS,
    beta: float = 1.0,
    fear: float = 0.2,
    reference: ArrayLike | None = None,
) -> OverRefusal:
    """Solve the kitchen under every limit for the true, the shifted and the spoiled cost, by enumeration.

    Parameters
    ----------
    kitchen : Kitchen
        With ``harmless`` guests, and with ``refusals`` unless a reference is given.
    limits : sequence of float
        On E_pi[c], cost units.
    beta : float
        As in `FiniteProblem`; at 1 the optimum still refuses often enough to be seen.
    fear : float, above 0
        What the spoiled cost adds to every plate with food on it, and the shifted one to every plate of a
        harmless guest, cost units.
    reference : array_like of shape (X, Y), optional
        Default `cookbook_table`.

    Raises
    ------
    InputError
        When no harmless guest comes, the reference never refuses, or ``fear`` is not above 0.

    Harmless guests are refused no more at -0.45 than at 0 by the true cost, and by the spoiled one they are:

    >>> kitchen = Kitchen(portions=1, refusals=0.2, harmless=True)
    >>> found = over_refusal(kitchen, limits=[0.0, -0.45])
    >>> [round(reading.harmless, 2) for reading in found.true + found.spoiled]
    [0.05, 0.05, 0.05, 0.72]
    """
    table = cookbook_table(kitchen) if reference is None else np.asarray(reference, dtype=np.float64)
    if not fear > 0:
        raise InputError(f"fear: {fear} must be above 0, else nothing is spoiled")
    own = refusal_rates(kitchen, table)
    if not min(own) > 0:
        raise InputError(
            "a reference that never serves an empty plate cannot refuse; set the kitchen's refusals"
        )
    reward = kitchen.table(kitchen.reward).numpy()
    gold = FiniteProblem(table, reward, kitchen.table(kitchen.cost).numpy(), beta=beta, cost_limit=0.0)

    def readings(score: GoldScore) -> tuple[RefusalReading, ...]:
        cost = kitchen.table(score).numpy()
        problem = FiniteProblem(table, reward, cost, beta=beta, cost_limit=0.0)
        return tuple(_read(kitchen, problem.with_limit(float(limit)), gold) for limit in limits)

    return OverRefusal(
        reference=own,
        true=readings(kitchen.cost),
        shifted=readings(shifted_cost(fear)),
        spoiled=readings(spoiled_cost(fear)),
        fear=fear,
        beta=beta,
    )


def cookbook_table(kitchen: Kitchen) -> Array:
    """Return the probability of every dish in the cookbook, exactly, shape (X, Y).

    A share ``refusals`` is empty. Else a dish has k of at most L portions with probability (2 k - 1)/L^2,
    and each portion is drawn in proportion to e^taste of the craving.

    Two portions at most: three quarters of the four fifths have two.

    >>> kitchen = Kitchen(portions=2, refusals=0.2)
    >>> table = cookbook_table(kitchen)
    >>> sizes = np.array([len(dish.split()) for dish in kitchen.responses])
    >>> [round(float(table[0, sizes == k].sum()), 6) for k in (0, 1, 2)]
    [0.2, 0.2, 0.6]
    """
    flavours = np.exp([flavours for _, flavours in INGREDIENTS.values()])  # (15, 4)
    liking = dict(zip(INGREDIENTS, flavours / flavours.sum(axis=0), strict=True))

    def chance(guest: str, dish: str) -> float:
        craving, plate = CRAVINGS.index(guest.split()[1]), dish.split()
        if not plate:
            return kitchen.refusals
        size = (2 * len(plate) - 1) / kitchen.portions**2
        return (1 - kitchen.refusals) * size * float(np.prod([liking[item][craving] for item in plate]))

    table: Array = kitchen.table(GoldScore("share of the cookbook", chance)).numpy()
    return table


def spoiled_cost(fear: float) -> GoldScore:
    """Return the cost that takes food as such to be unsafe: ``fear`` more on every plate but the empty one.

    >>> spoiled_cost(0.2)(["none sweet", "none sweet"], ["honey", ""]).tolist()
    [-0.3, -0.5]
    """
    return GoldScore(f"harm, {fear!r} more for food", partial(_spoiled, fear), anchored=True)


def shifted_cost(fear: float) -> GoldScore:
    """Return the cost that suspects harmless guests: ``fear`` more on all of their plates.

    >>> shifted_cost(0.2)(["none sweet", "none sweet", "nuts sweet"], ["honey", "", "honey"]).tolist()
    [-0.3, -0.3, -0.5]
    """
    return GoldScore(f"harm, {fear!r} more for the harmless", partial(_shifted, fear), anchored=True)


def refusal_rates(kitchen: Kitchen, probs: ArrayLike) -> RefusalRates:
    """Return how often a policy, given as a table of shape (X, Y), serves an empty plate.

    >>> kitchen = Kitchen(portions=1, refusals=0.2, harmless=True)
    >>> refusal_rates(kitchen, cookbook_table(kitchen))
    RefusalRates(allergic=0.2, harmless=0.2)

    Raises
    ------
    InputError
        When no harmless guest comes, or the table has another shape.
    """
    table = np.asarray(probs, dtype=np.float64)
    shape = len(kitchen.prompts), len(kitchen.responses)
    if table.shape != shape:
        raise InputError(
            f"probs: shape {table.shape} is not that of the kitchen's guests and dishes, {shape}"
        )
    return _by_guest(kitchen, table[:, kitchen.responses.index(EMPTY_PLATE)])


def policy_refusals(kitchen: Kitchen, policy: Policy) -> RefusalRates:
    """Return how often any policy refuses, trained or not: exact, by the log-probability of the empty plate.

    Raises
    ------
    InputError
        When no harmless guest comes.
    """
    plates = [EMPTY_PLATE] * len(kitchen.prompts)
    return _by_guest(kitchen, policy.log_prob(kitchen.prompts, plates).detach().double().exp().cpu().numpy())


def refusal_floor(cost_limit: float, fear: float) -> float:
    """Return the least share of empty plates with which any policy meets the limit on the spoiled cost.

    A plate with food costs at least f - 1/2 and the empty one -1/2, so E[c] >= f (1 - p) - 1/2, and a limit C
    asks for p >= 1 - (C + 1/2)/f, over all guests.

    A quarter of the plates may hold food when a twentieth is left of the fifth that each one costs:

    >>> round(refusal_floor(-0.45, 0.2), 9), refusal_floor(-0.2, 0.2)
    (0.75, 0.0)
    """
    return max(0.0, 1 - (cost_limit + 0.5) / fear)


def _read(kitchen: Kitchen, problem: FiniteProblem, gold: FiniteProblem) -> RefusalReading:
    """Solve ``problem``, and judge its optimum by the true cost."""
    found = problem.solve()
    limit: Any = problem.cost_limit
    if found.probs is None:
        return RefusalReading(limit, found.status, *[float("nan")] * 5)
    judged: Any = gold.evaluate(found.probs)
    helpful = (found.probs * gold.reward).sum(axis=1)  # (X,)
    lam: Any = float("inf") if found.lam is None else found.lam
    rates = refusal_rates(kitchen, found.probs)
    return RefusalReading(
        limit,
        found.status,
        lam,
        *rates,
        cost=judged.cost,
        harmless_reward=_by_guest(kitchen, helpful).harmless,
    )


def _by_guest(kitchen: Kitchen, values: Array) -> RefusalRates:
    """Return the mean of ``values``, shape (X,), over the guests with an allergy and over the others."""
    harmless = np.array([guest.split()[0] == HARMLESS for guest in kitchen.prompts])
    if not harmless.any():
        raise InputError("over-refusal is measured on guests without an allergy; set the kitchen's harmless")
    return RefusalRates(float(values[~harmless].mean()), float(values[harmless].mean()))


def _spoiled(fear: float, guest: str, dish: str) -> float:
    return harm(guest, dish) + fear * (dish != EMPTY_PLATE)


def _shifted(fear: float, guest: str, dish: str) -> float:
    return harm(guest, dish) + fear * (guest.split()[0] == HARMLESS)
