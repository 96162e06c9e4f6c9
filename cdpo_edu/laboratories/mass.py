"""Where did the mass go? The probability of chosen, rejected and unseen responses over training, exactly.

A trainer's log shows log pi of the chosen and of the rejected response of a pair, and often both fall. What
one lost another has won, and in a world that can be listed one can see who. Every response of a prompt is of
one of four `KINDS`, fixed before training:

* ``chosen``: it stands in training pairs, and wins them with a mean probability above 1/2;
* ``rejected``: it stands in training pairs, and does not;
* ``unseen, to rise``: in no pair, and the exact optimum gives it more than the reference does;
* ``unseen, to fall``: in no pair, and the exact optimum gives it no more.

The four masses add up to 1 at every step. The second cut asks the question that a log cannot answer: did
the mass go to something better or to something worse?

Left out: ink (`plots`), and worlds that cannot be listed.

References: Razin et al. 2024, arXiv 2410.08847 (the fall of the chosen response); Pang et al. 2024, arXiv
2404.19733 (a term against it, `Engine.sft_weight`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..certificate import enumerated
from ..exact import FiniteProblem
from ..pairs import Pairs, Preferences
from ..toy_language import INGREDIENTS, Kitchen
from ..types import Batch, InputError, Policy, World

Array = NDArray[np.float64]

KINDS = ("chosen", "rejected", "unseen, to rise", "unseen, to fall")
"""What a response can be, in the order of every array of masses here."""


class MassRecord(NamedTuple):
    """One look at a policy, all by enumeration.

    Attributes
    ----------
    step : int
        Gradient steps so far; 0 is the reference.
    mass : array of shape (4,)
        Probability of each of `KINDS`, averaged over prompts; the sum is 1.
    chosen_logp, rejected_logp : float
        Change of log pi against the reference, nats, mean over pairs: what a trainer's log shows.
    reward, cost, kl : float
    closeness : float or None
        See `Certificate`.
    """

    step: int
    mass: Array
    chosen_logp: float
    rejected_logp: float
    reward: float
    cost: float
    kl: float
    closeness: float | None


@dataclass(frozen=True, eq=False)
class MassPath:
    """A training run as `MassRecord` s, the first the reference, and the exact optimum's masses (4,)."""

    records: tuple[MassRecord, ...]
    optimum: Array
    cost_limit: float

    @property
    def steps(self) -> NDArray[np.int64]:
        """Return the gradient steps of every record, shape (T,)."""
        return np.array([record.step for record in self.records])

    @property
    def masses(self) -> Array:
        """Return the mass of each of `KINDS` in every record, shape (T, 4)."""
        return np.array([record.mass for record in self.records])


def chances(world: World, preferences: Preferences) -> Array:
    """Return how often each response is chosen among its training pairs, shape (X, Y); nan where unseen.

    The mean target over the pairs that a response stands in; a pair of equal responses says nothing.

    >>> from cdpo_edu import Kitchen
    >>> pair = Preferences(["nuts sweet"], ["bean"], ["apple"], torch.zeros(1, 2), torch.tensor([0.75]))
    >>> kitchen = Kitchen(portions=1)
    >>> row = chances(kitchen, pair)[0]
    >>> [(dish, p) for dish, p in zip(kitchen.responses, row.tolist()) if p == p]
    [('apple', 0.75), ('bean', 0.25)]
    """
    wins: dict[tuple[Any, Any], list[float]] = {}
    for x, y0, y1, p in zip(
        *(_plain(part) for part in preferences[:3]), preferences.target.tolist(), strict=True
    ):
        if y0 != y1:
            wins.setdefault((x, y0), []).append(1 - p)
            wins.setdefault((x, y1), []).append(p)

    def look_up(prompts: Batch, responses: Batch) -> Tensor:
        keys = zip(_plain(prompts), _plain(responses), strict=True)
        return torch.tensor([float(np.mean(wins[key])) if key in wins else float("nan") for key in keys])

    return world.table(look_up).numpy()


def kinds(world: World, preferences: Preferences, problem: FiniteProblem) -> NDArray[np.int64]:
    """Return the place in `KINDS` of every response, shape (X, Y), for the optimum of ``problem``.

    Raises
    ------
    InputError
        When no policy meets the problem's limit, so that there is no optimum to compare with.
    """
    best = problem.solve().probs
    if best is None:
        raise InputError("no policy meets this limit, so no response can be said to be one that should rise")
    share = chances(world, preferences)
    unseen = np.where(best > problem.reference, 2, 3)
    return np.where(np.isnan(share), unseen, np.where(share > 0.5, 0, 1))


def follow_mass(
    policy: Policy,
    preferences: Preferences,
    *,
    problem: FiniteProblem,
    world: World,
    steps: int = 60,
    every: int = 5,
    seed: int = 0,
) -> MassPath:
    """Train ``policy`` on ``preferences`` and return where its probability went.

    The policy is trained in stretches of ``every`` steps with one schedule over all of them, as the rounds of
    constrained DPO are, and listed after each.

    Parameters
    ----------
    policy : Policy
        The reference as it is now; trained in place.
    preferences : Preferences
        Labelled for the multiplier of ``problem``, else its optimum is not what the pairs ask for.
    problem : FiniteProblem
        The exact problem on the same prompts and responses, with one limit; its ``beta`` is the loss's.
    world : World
    steps, every : int
        ``every`` divides ``steps``.
    seed : int

    Raises
    ------
    InputError
        When ``every`` does not divide ``steps``, or no policy meets the limit.
    """
    if every < 1 or steps < 1 or steps % every:
        raise InputError(f"every: {every} must divide steps, {steps}")
    scales = Scales(world, preferences, problem, kinds(world, preferences, problem))
    records = [scales.weigh(policy, 0)]
    for start in range(0, steps, every):
        span = (start / steps, (start + every) / steps)
        policy.fit(preferences, beta=problem.beta, steps=every, seed=seed + start, progress=span)
        records.append(scales.weigh(policy, start + every))
    best: Any = problem.solve().probs
    limit: Any = problem.cost_limit
    return MassPath(tuple(records), masses_of(best, scales.kind, problem.prompt_probs), limit)


class Scales(NamedTuple):
    """What a policy is weighed on: a world, training pairs, the exact problem, and every response's kind."""

    world: World
    preferences: Preferences
    problem: FiniteProblem
    kind: NDArray[np.int64]

    def weigh(self, policy: Policy, step: int) -> MassRecord:
        """Return the record of ``policy`` after ``step`` gradient steps."""
        probs = enumerated(self.world, policy).numpy()
        own: Any = self.problem.evaluate(probs)
        chosen, rejected = self._changes(policy)
        return MassRecord(
            step=step,
            mass=masses_of(probs, self.kind, self.problem.prompt_probs),
            chosen_logp=chosen,
            rejected_logp=rejected,
            reward=own.reward,
            cost=own.cost,
            kl=own.kl,
            closeness=self.problem.certify(probs).closeness,
        )

    def _changes(self, policy: Policy) -> tuple[float, float]:
        """Return the mean change of log pi against the reference, of the likelier answers and the others."""
        x, y0, y1, ref_logp, target, _ = self.preferences
        change = torch.stack([policy.log_prob(x, y) for y in (y0, y1)], dim=1) - ref_logp  # (n, 2)
        chosen = (target >= 0.5).long()[:, None]
        first, second = (change.gather(1, which).mean() for which in (chosen, 1 - chosen))
        return float(first), float(second)


def masses_of(probs: Array, kind: NDArray[np.int64], weights: Array) -> Array:
    """Return the probability of each of `KINDS`, averaged over prompts, shape (4,).

    >>> kind = np.array([[0, 1, 2, 2], [3, 3, 0, 1]])
    >>> probs = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    >>> masses_of(probs, kind, np.array([0.5, 0.5])).round(9).tolist()
    [0.15, 0.15, 0.35, 0.35]
    """
    rows = np.stack([np.where(kind == k, probs, 0.0).sum(axis=1) for k in range(len(KINDS))], axis=1)
    masses: Array = weights @ rows
    return masses


def variations(kitchen: Kitchen, policy: Policy, n: int, *, seed: int = 0) -> Pairs:
    """Return ``n`` unlabelled pairs: a dish of ``policy``, and the same dish with another last portion.

    Guests take turns. An empty plate has no last portion and gets one. Pairs as alike as these are where the
    chosen response falls most; two independent draws are in `Kitchen.pairs`.
    """
    generator = torch.Generator().manual_seed(seed)
    count = -(-n // len(kitchen.prompts))
    drawn = policy.sample(kitchen.prompts, count, generator=generator)
    plates = [str(drawn[x * count + i]).split() for i in range(count) for x in range(len(kitchen.prompts))][
        :n
    ]
    names = list(INGREDIENTS)
    rows = []
    for plate in plates:
        others = [name for name in names if plate[-1:] != [name]]
        pick = int(torch.randint(len(others), (1,), generator=generator))
        rows.append(" ".join([*plate[:-1], others[pick]]))
    guests = [kitchen.prompts[i % len(kitchen.prompts)] for i in range(n)]
    return Pairs(guests, [" ".join(plate) for plate in plates], rows, world=kitchen)


def _plain(batch: Batch) -> list[Any]:
    return batch.tolist() if isinstance(batch, Tensor) else batch
