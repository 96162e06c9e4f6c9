r"""Relabelling: what soft, Bernoulli and hard labels of one score difference do to the policy.

A pair with gap g in r - lam c has the label probability p = s(g). Three ways to train on it:

* soft, p itself: the minimum of the loss is the tilted policy, exactly;
* Bernoulli, the mean of m draws: nearly the same minimum on average, with one m-th of one draw's variance;
* hard, 1 or 0: no finite minimum. The margin grows like the logarithm of the steps, without end.

Left out: labels of people, which are draws whether one likes it or not (`Kitchen.pairs`).

References: Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1 (relabelling); the covariance is the
delta method on a logistic regression, e.g. McCullagh & Nelder 1989, section 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..bandit import SafetyBandit, TabularPolicy
from ..pairs import Pairs, ScoredPairs
from ..types import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Relabelling:
    """What `relabelling` found.

    Attributes
    ----------
    copies : Array, shape (k,)
        m, Bernoulli labels per pair.
    variance, predicted : Array, shape (k,)
        Mean variance of the implicit reward beta log(pi/pi_ref), centred per prompt, over draws of the labels
        and as the Fisher information predicts it; nats squared.
    lams : Array, shape (j,)
        Multipliers, rising.
    flipped_common, flipped_fresh : Array, shape (j - 1,)
        Share of Bernoulli labels that differ between neighbours, with one uniform per pair for all
        multipliers and with new uniforms for each.
    steps, hard, soft : Array, shape (i,)
        Margin of one pair after so many gradient steps, hard and soft label; nats.
    gap : float
        The gap of that pair, where the soft margin ends; nats.
    """

    copies: Array
    variance: Array
    predicted: Array
    lams: Array
    flipped_common: Array
    flipped_fresh: Array
    steps: Array
    hard: Array
    soft: Array
    gap: float


def relabelling(
    world: SafetyBandit,
    *,
    repeats: int = 60,
    lam: float = 1.0,
    beta: float = 0.5,
    copies: Sequence[int] = (1, 4, 16, 64),
    draws: int = 40,
    lams: Sequence[float] = tuple(np.linspace(0.0, 2.0, 21)),
    gap: float = 2.0,
    steps: int = 10_000,
    seed: int = 0,
) -> Relabelling:
    """Run the three experiments on all pairs of a bandit's responses.

    Parameters
    ----------
    world : SafetyBandit
    repeats : int
        How often each two responses to a prompt are compared; with few repeats one label each may leave a
        response unbeaten, and its margin without end.
    lam, beta : float
        Where the variance is measured.
    copies : sequence of int, at least 1 each
    draws : int
        Draws of the labels per entry of ``copies``, at least 2.
    lams : sequence of float
        At least two multipliers.
    gap, steps
        Of the one pair that is followed through training.

    Raises
    ------
    InputError
        When a count is too small.
    """
    if draws < 2 or min(copies) < 1 or len(lams) < 2 or steps < 1:
        raise InputError("relabelling needs 2 draws, 1 label per pair, 2 multipliers and 1 step at least")
    reference = TabularPolicy.like(world)
    scored = every_pair(world, repeats).score(world.reward, world.cost, reference)
    generator = torch.Generator().manual_seed(seed)
    found = [margin_variance(scored, lam, beta, m, draws, generator) for m in copies]
    one = predicted_variance(scored, lam)
    common, fresh = flips(scored, lams, generator)
    places = np.unique(np.geomspace(1, steps, 60).astype(int))
    hard, soft = (margin_path(target, steps)[places] for target in (1.0, 1 / (1 + np.exp(-gap))))
    return Relabelling(
        np.array(copies, dtype=float),
        np.array(found),
        one / np.array(copies, dtype=float),
        np.array(lams, dtype=float),
        common,
        fresh,
        places.astype(float),
        hard,
        soft,
        gap,
    )


def every_pair(world: SafetyBandit, repeats: int) -> Pairs:
    """Return each two responses to each prompt ``repeats`` times as a pair without labels.

    >>> len(every_pair(SafetyBandit.demo(0), 2))  # 4 prompts, 15 pairs of 6 responses, twice
    120
    """
    count, width = world.ref_probs.shape
    y0, y1 = torch.combinations(torch.arange(width)).T
    prompts = torch.arange(count).repeat_interleave(len(y0)).repeat(repeats)
    y0, y1 = (side.repeat(count * repeats) for side in (y0, y1))
    return Pairs(prompts, y0, y1, world=world)


def margin_variance(
    scored: ScoredPairs, lam: float, beta: float, m: int, draws: int, generator: torch.Generator
) -> float:
    """Return the mean variance of the centred implicit reward over draws of m labels per pair."""
    soft = scored.label(lam)
    assert isinstance(scored.reference, TabularPolicy)
    rewards = []
    for _ in range(draws):
        uniforms = torch.rand(m, len(scored), generator=generator, dtype=torch.float64)
        policy = scored.reference.frozen()
        target = (uniforms < soft.target).double().mean(dim=0)
        policy.fit(soft._replace(target=target), beta=beta, steps=500, seed=0)
        implicit = beta * (policy.logits - scored.reference.logits)
        rewards.append(implicit - implicit.mean(dim=1, keepdim=True))
    return float(torch.stack(rewards).var(dim=0).mean())


def predicted_variance(scored: ScoredPairs, lam: float) -> float:
    r"""Return what `margin_variance` tends to for one label per pair: the mean diagonal of H^+.

    .. math:: H_x = \\sum_{i \\in x} p_i (1 - p_i)\\, (e_{1i} - e_{0i})(e_{1i} - e_{0i})^T

    With one label per pair the gradient's covariance is H itself, so the fitted scores have covariance
    H^+ H H^+ = H^+; with m labels, H^+/m. H has an eigenvalue 0, the shift of a prompt, which rounding leaves
    near 1e-16 on either side of it; what is below 1e-9 of the largest counts as 0.

    One prompt, two responses, n pairs at even odds: H = n/4 (1, -1)(1, -1)^T, so H^+ has 1/n on its diagonal.

    >>> from cdpo_edu.bandit import Table
    >>> flat = Table(torch.zeros(1, 2, dtype=torch.float64))
    >>> world = SafetyBandit(torch.full((1, 2), 0.5), flat, flat, torch.ones(1))
    >>> pairs = world.pairs(50, seed=0).score(flat, flat, TabularPolicy.like(world))
    >>> different = int((pairs.y0 != pairs.y1).sum())
    >>> round(predicted_variance(pairs, 0.0) * different, 9)
    1.0
    """
    p = scored.label(lam).target
    weight = (p * (1 - p)).numpy()
    prompts, y0, y1 = (torch.as_tensor(part).numpy() for part in (scored.prompts, scored.y0, scored.y1))
    assert isinstance(scored.reference, TabularPolicy)
    count, width = scored.reference.logits.shape
    diagonals = []
    for x in range(count):
        own = prompts == x
        differences = np.eye(width)[y1[own]] - np.eye(width)[y0[own]]  # (m, Y)
        information = differences.T @ (weight[own][:, None] * differences)
        diagonals.append(np.diag(np.linalg.pinv(information, rcond=1e-9, hermitian=True)))
    return float(np.mean(diagonals))


def flips(scored: ScoredPairs, lams: Sequence[float], generator: torch.Generator) -> tuple[Array, Array]:
    """Return the share of labels that differ from one multiplier to the next, common and fresh uniforms."""
    once = torch.rand(len(scored), generator=generator, dtype=torch.float64)
    columns = []
    for fresh in (False, True):
        labels = []
        for lam in lams:
            draw = torch.rand(len(scored), generator=generator, dtype=torch.float64) if fresh else once
            labels.append(scored.label(lam, labels="bernoulli", uniforms=draw).target)
        columns.append((torch.stack(labels).diff(dim=0) != 0).double().mean(dim=1).numpy())
    return columns[0], columns[1]


def margin_path(target: float, steps: int, *, rate: float = 1.0) -> Array:
    """Return the margin after 0 .. ``steps`` gradient steps on one pair, m <- m + rate (target - s(m)).

    Started at 0. For target 1 the flow has m + e^m = 1 + rate t, so m is about log(rate t) in the end.

    >>> margin_path(1.0, 2).round(4).tolist()
    [0.0, 0.5, 0.8775]
    """
    margins = np.zeros(steps + 1)
    for t in range(steps):
        margins[t + 1] = margins[t] + rate * (target - 1 / (1 + np.exp(-margins[t])))
    return margins
