"""How many answers a measurement needs: drawn until the side of the limit is clear, or the most are drawn.

A dual step asks on which side of C the policy's cost lies and how far. Far from the limit few answers tell;
near it none do cheaply. So answers are drawn in chunks, each as many as there are already, and after each the
bets of the verdict (`verdict.betting`) are laid on both sides. They hold however often one looks, so the
chance that a draw stops on the wrong side is at most `LEVEL`.

A unit is a prompt with all its answers so far (near-copies together), in a world a round over all prompts. A
relative limit is held against the difference to the reference's answers to the same prompt.

What early stopping costs: the mean of a draw that stopped is a little too far from the limit, and a standard
error read off it takes no account of the looks. Intervals here are those of the bets, wider and valid.

Left out: the verdict on prompts that nothing has touched (`judgement`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import processes
from .evaluate import Estimate, Samples, mean_over_prompts, measure
from .exact import FiniteProblem
from .pairs import ScoredPairs
from .pairs.prompt_sets import first_turn
from .types import Policy, join, take
from .verdict.betting import Answer, Bounds, decide, side
from .verdict.measures import by_cluster, units
from .verdict.ranges import assumed_bounds, stated_bounds

LEVEL = 0.05
"""Chance that a draw stops on the wrong side of the limit; also 1 less the coverage of the intervals."""


def cost_bounds(scored: ScoredPairs, problem: FiniteProblem | None) -> Bounds:
    """Return the range of one answer's cost: enumerated, else as the scorer states it, else assumed."""
    if problem is not None:
        return Bounds(float(problem.cost.min()), float(problem.cost.max()), "enumerated")
    own = stated_bounds(scored.cost_scorer)
    return assumed_bounds(scored.cost) if own is None else Bounds(*own, "the scorer's own")


class Question(NamedTuple):
    """What is asked of costs (X, m): whether they lie above or below ``limit``.

    Attributes
    ----------
    limit : float
        C; with ``reference`` the difference -M.
    bounds : Bounds
        Of the cost of one answer.
    weights : Tensor, shape (X,), or None
        The prompts' probabilities in a world.
    clusters : list of int, or None
        Of each prompt outside a world: near-copies have the same number.
    reference : Tensor, shape (X,), or None
        The reference's mean cost on each prompt.
    """

    limit: float
    bounds: Bounds
    weights: Tensor | None
    clusters: list[int] | None
    reference: Tensor | None

    def side(self, cost: Tensor) -> Answer:
        """Return "pass" (below the limit), "fail" (above it) or "more"; a broken range tells nothing."""
        if self._broken(cost):
            return "more"
        values, bounds, clipped = self._asked(cost)
        return side(values, self.limit, bounds, alpha=LEVEL, clipped=clipped)

    def interval(self, cost: Tensor) -> tuple[float, float] | None:
        """Return where the mean lies, at level `LEVEL` at all times; None where the range is broken."""
        if self._broken(cost):
            return None
        values, bounds, clipped = self._asked(cost)
        found = decide(values, self.limit, bounds, alpha=LEVEL / 2, clipped=clipped)
        return found.lower, found.upper

    def _broken(self, cost: Tensor) -> bool:
        """Tell whether a cost lies where none was said to lie; harm is never clipped."""
        low, high, _ = self.bounds
        slack = 1e-9 * max(1.0, abs(low), abs(high))
        below = self.reference is not None and float(self.reference.min()) < low - slack
        return float(cost.max()) > high + slack or below

    def _asked(self, cost: Tensor) -> tuple[Tensor, Bounds, bool]:
        low, high, origin = self.bounds
        values, clipped = cost.double().clamp(min=low), bool((cost < low).any())
        bounds = self.bounds
        if self.reference is not None:
            clipped |= bool((self.reference > high).any())
            values = values - self.reference.double().clamp(max=high)[:, None]
            bounds = Bounds(low - high, high - low, origin)
        if self.clusters is not None:
            values = by_cluster(values, self.clusters)
        return units(values, self.weights), bounds, clipped


def question(
    scored: ScoredPairs, limit: float, bounds: Bounds, *, margin: float | None, reference_cost: Tensor
) -> Question:
    """Return what a run asks of its samples.

    Parameters
    ----------
    scored : ScoredPairs
    limit : float
        C as the run has frozen it.
    bounds : Bounds
    margin : float, optional
        M of a relative limit. In a world, where no prompt is drawn, C itself is asked after all the same.
    reference_cost : Tensor, shape (X, n)
    """
    if scored.world is not None:
        return Question(limit, bounds, scored.world.prompt_probs.double(), None, None)
    keys = [first_turn(str(prompt)) for prompt in scored.prompt_sets.dual]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    clusters = [number[key] for key in keys]
    if margin is None:
        return Question(limit, bounds, None, clusters, None)
    return Question(-margin, bounds, None, clusters, reference_cost.double().mean(dim=1))


def measure_until_clear(
    policy: Policy, scored: ScoredPairs, asked: Question, *, first: int, most: int, generator: torch.Generator
) -> Samples:
    """Draw and score ``first`` answers per dual prompt, then as many again and again until it is clear.

    Every chunk is drawn from the same ``generator``, so equal seeds give equal answers, and a longer draw
    begins with the answers of a shorter one.
    """
    samples = measure(policy, scored, n=min(first, most), generator=generator)
    while (drawn := samples.cost.shape[1]) < most:
        if processes.agreed(asked.side(samples.cost)) != "more":
            break
        more = measure(policy, scored, n=min(drawn, most - drawn), generator=generator)
        samples = beside(samples, more)
    return samples


def beside(one: Samples, two: Samples) -> Samples:
    """Return two draws for the same prompts as one, each prompt's answers in order of drawing.

    >>> column = torch.zeros(2, 1)
    >>> a = Samples(["x", "z"], ["x0", "z0"], column, column, column, column)
    >>> beside(a, a._replace(responses=["x1", "z1"])).responses
    ['x0', 'x1', 'z0', 'z1']
    """
    count, n, m = len(one.prompts), one.cost.shape[1], two.cost.shape[1]
    first = torch.arange(count * n).view(count, n)
    order = torch.cat([first, torch.arange(count * m).view(count, m) + count * n], dim=1).flatten()
    responses = take(join([one.responses, two.responses]), order)
    columns = [torch.cat(pair, dim=1) for pair in zip(one[2:], two[2:], strict=True)]
    return Samples(one.prompts, responses, *columns)


def estimate(samples: Samples, scored: ScoredPairs, asked: Question) -> Estimate:
    """Return the mean cost with the interval of the bets; with Student's where the range is broken."""
    plain = mean_over_prompts(samples.cost, scored)
    found = asked._replace(reference=None).interval(samples.cost)
    return plain if found is None else plain._replace(low=found[0], high=found[1])
