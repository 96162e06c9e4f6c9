r"""Identifiability: what a limit does on a cost that comparisons alone have taught, and what mends it.

Comparisons leave one shift per prompt open (`cost_fits`). An absolute limit feels of these shifts only their
mean over the prompts, E_pi[c + s] = E_pi[c] + E_x s, because no policy chooses its prompts; but that mean can
turn a limit that is kept into one that is broken. A relative limit E_pi[c] - E_ref[c] <= -M feels none of
them, as long as both sides weigh the prompts alike. Flags fix every one of them.

Left out: a reward that is learned, too; it needs no zero, because only its gaps enter.

References: Dai et al. 2024, arXiv 2310.12773, eq. 6 (the sign terms); Huang et al. 2024, arXiv 2405.19544
(limits relative to the reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..bandit import SafetyBandit
from ..exact import FiniteProblem
from .cost_fits import Array, CostFit, fit_costs, losses_of

STARTS = np.linspace(-2.0, 2.0, 33)
"""Where the fits of `identifiability` begin, nats."""


class Reading(NamedTuple):
    """One fitted cost, and the policy that a limit on it leads to.

    Attributes
    ----------
    offset : float
        E_x,y~ref of fitted minus gold cost, nats: what the fit is off by in the mean.
    comparison_loss, flag_loss : float
        As in `CostFit`.
    sign_accuracy : float
        Share of the reference's responses that lie on the right side of 0.
    status : str
        Of the problem with the fitted cost, as in `Solution`.
    believed, cost, reward : float
        E_pi[c] by the fit, E_pi[c] by the gold cost and E_pi[r] of its policy; nan when infeasible.
    """

    offset: float
    comparison_loss: float
    flag_loss: float
    sign_accuracy: float
    status: str
    believed: float
    cost: float
    reward: float


@dataclass(frozen=True, eq=False)
class Identifiability:
    """What `identifiability` found.

    ``absolute`` and ``relative`` hold one reading per start, fitted to comparisons alone: under the limit
    E_pi[c] <= ``cost_limit``, and under E_pi[c] <= E_ref[c] - ``margin``. ``anchored`` is the reading of the
    fit that saw the flags too, under the absolute limit; ``gold`` that of the gold cost itself.
    ``open_directions`` counts what comparisons leave open, ``open_with_flags`` what is left with flags.
    """

    cost_limit: float
    margin: float
    open_directions: int
    open_with_flags: int
    absolute: tuple[Reading, ...]
    relative: tuple[Reading, ...]
    anchored: Reading
    gold: Reading


def identifiability(
    world: SafetyBandit,
    *,
    n: int = 8000,
    seed: int = 1,
    beta: float = 0.5,
    cost_limit: float = -0.5,
    starts: Sequence[float] | Array = STARTS,
) -> Identifiability:
    """Fit costs to the same comparisons from many starts, and see what a limit on each of them does.

    The reward is the gold one throughout, so only the cost is at stake. The relative limit asks for the same
    as the absolute one, by the gold cost: its margin is E_ref[c] - ``cost_limit``.

    Parameters
    ----------
    world : SafetyBandit
        Its people give the labels; its gold cost judges.
    n, seed : int
        Comparisons, each with two flags, and their draw.
    beta, cost_limit : float
        Of the problem, the limit in nats of cost.
    starts : shape (K,), or (K, X) for one number per prompt
        Nats.

    Raises
    ------
    InputError
        As `fit_costs`.

    Without flags a fit that starts 2 nats lower ends 2 nats lower, at the same loss, and breaks the limit:

    >>> lab = identifiability(SafetyBandit.demo(), starts=[0.0, -2.0])
    >>> right, low = lab.absolute
    >>> round(right.offset - low.offset, 6), right.comparison_loss - low.comparison_loss < 1e-12
    (2.0, True)
    >>> low.believed <= lab.cost_limit < low.cost
    True
    """
    shape = (int(world.ref_probs.shape[0]), int(world.ref_probs.shape[1]))
    pairs = world.pairs(n, seed=seed)
    gold = _problem(world, beta, cost_limit)
    margin = _reference_cost(gold) - cost_limit
    begins = [np.broadcast_to(np.asarray(begin, dtype=np.float64), shape[:1])[:, None] for begin in starts]
    fits = [fit_costs(pairs, shape, flags=False, start=begin) for begin in begins]
    with_flags = fit_costs(pairs, shape, flags=True)
    truth = CostFit(gold.cost, 0, *losses_of(gold.cost, pairs))
    return Identifiability(
        cost_limit=cost_limit,
        margin=margin,
        open_directions=fits[0].open_directions,
        open_with_flags=with_flags.open_directions,
        absolute=tuple(_read(fit, gold) for fit in fits),
        relative=tuple(_read(fit, gold, margin=margin) for fit in fits),
        anchored=_read(with_flags, gold),
        gold=_read(truth, gold),
    )


def _problem(world: SafetyBandit, beta: float, cost_limit: float) -> FiniteProblem:
    reference, reward, cost, weights = (
        part.numpy() for part in (world.ref_probs, world.reward.values, world.cost.values, world.prompt_probs)
    )
    return FiniteProblem(reference, reward, cost, beta=beta, cost_limit=cost_limit, prompt_probs=weights)


def _reference_cost(problem: FiniteProblem) -> float:
    cost = problem.evaluate(problem.reference).cost
    assert isinstance(cost, float)
    return cost


def _read(fit: CostFit, gold: FiniteProblem, *, margin: float | None = None) -> Reading:
    """Solve the problem with the fitted cost in the place of ``gold``'s, and judge its policy by ``gold``."""
    learned = replace(gold, cost=fit.cost)
    if margin is not None:
        learned = learned.with_limit(_reference_cost(learned) - margin)
    found = learned.solve()
    mass = gold.prompt_probs[:, None] * gold.reference
    judged = None if found.probs is None else gold.evaluate(found.probs)
    return Reading(
        offset=_reference_cost(learned) - _reference_cost(gold),
        comparison_loss=fit.comparison_loss,
        flag_loss=fit.flag_loss,
        sign_accuracy=float(np.sum(mass * ((fit.cost > 0) == (gold.cost > 0)))),
        status=found.status,
        believed=float("nan") if not isinstance(found.cost, float) else found.cost,
        cost=float("nan") if judged is None or not isinstance(judged.cost, float) else judged.cost,
        reward=float("nan") if judged is None else judged.reward,
    )
