"""What a policy is worth, from its own samples: expected reward, cost and KL with intervals.

Samples of one prompt are alike, so the unit that is counted is the prompt: `clustered_mean` takes the
prompts as drawn from a population (the language-model tier), `stratified_mean` takes them as the whole
population (a world whose prompts are all there are), where only the sampling of answers is random.

Left out: the verdict on the judge prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from .pairs import ScoredPairs
from .types import Batch, InputError, Policy, repeat_each

COLUMNS = ("reward", "cost", "log-probability", "reference log-probability")


class Estimate(NamedTuple):
    """A mean, its 95 % interval and its standard error, all in the unit of what was averaged."""

    value: float
    low: float
    high: float
    stderr: float


class Samples(NamedTuple):
    """Answers a policy gave: ``responses`` prompt-major, every column of shape (X, n)."""

    prompts: Batch
    responses: Batch
    reward: Tensor
    cost: Tensor
    logp: Tensor
    ref_logp: Tensor


def clustered_mean(values: Tensor, *, confidence: float = 0.95) -> Estimate:
    """Return the mean over prompts of per-prompt means, with Student's t interval over the prompts.

    Parameters
    ----------
    values : Tensor, shape (X, n)
        n answers to each of X prompts; the X rows count as independent, the n columns do not.
    confidence : float
        In (0, 1).

    Returns
    -------
    Estimate
        With one prompt the spread is unknown and the interval is infinite.

    Examples
    --------
    Row means 1 and 3: mean 2, standard error sqrt(2)/sqrt(2) = 1, t(0.975, 1) = 12.706:

    >>> clustered_mean(torch.tensor([[1.0, 1.0], [2.0, 4.0]]))
    Estimate(value=2.0, low=-10.706204736174694, high=14.706204736174694, stderr=1.0)
    """
    rows = values.double().mean(dim=1)  # (X,)
    if len(rows) < 2:
        return Estimate(rows.mean().item(), float("-inf"), float("inf"), float("inf"))
    stderr = (rows.std() / len(rows) ** 0.5).item()
    return _interval(rows.mean().item(), stderr, len(rows) - 1, confidence)


def stratified_mean(values: Tensor, weights: Tensor, *, confidence: float = 0.95) -> Estimate:
    """Return the weighted mean over *all* prompts there are, with the error of sampling answers alone.

    The standard error is sqrt(sum_x w_x^2 s_x^2 / n), s_x the standard deviation within prompt x.

    Parameters
    ----------
    values : Tensor, shape (X, n), n at least 2
    weights : Tensor, shape (X,)
        Prompt probabilities, summing to 1.

    Examples
    --------
    The spread between prompts does not count, only that within them: s = (0, sqrt 2), so the standard
    error is sqrt(0.25 * 2 / 2) = 0.5:

    >>> stratified_mean(torch.tensor([[1.0, 1.0], [2.0, 4.0]]), torch.tensor([0.5, 0.5])).stderr
    0.5
    """
    weights = weights.double()
    mean = (weights * values.double().mean(dim=1)).sum().item()
    variance = (weights**2 * values.double().var(dim=1)).sum() / values.shape[1]
    return _interval(mean, variance.sqrt().item(), values.numel() - len(weights), confidence)


def _interval(mean: float, stderr: float, freedom: int, confidence: float) -> Estimate:
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * stderr
    return Estimate(mean, mean - half, mean + half, stderr)


def prompt_weights(scored: ScoredPairs, prompts: Batch) -> Tensor:
    """Return the weight of each prompt in an expectation: the world's, or equal ones; shape (X,)."""
    if scored.world is not None:
        return scored.world.prompt_probs.double()
    return torch.full((len(prompts),), 1 / len(prompts), dtype=torch.float64)


def mean_over_prompts(values: Tensor, scored: ScoredPairs) -> Estimate:
    """Return the expectation of ``values`` (X, n): stratified in a world, clustered outside one."""
    if scored.world is not None:
        return stratified_mean(values, scored.world.prompt_probs)
    return clustered_mean(values)


def measure(policy: Policy, scored: ScoredPairs, *, n: int, generator: torch.Generator) -> Samples:
    """Draw ``n`` answers per dual prompt from ``policy`` and score them like the pairs.

    Parameters
    ----------
    policy : Policy
    scored : ScoredPairs
        Whose scorers and reference judge the samples.
    n : int
        Answers per prompt, at least 2.
    generator : torch.Generator
        All randomness of the draw.
    """
    prompts = scored.world.prompts if scored.world is not None else scored.prompt_sets.dual
    responses = policy.sample(prompts, n, generator=generator)
    repeated = repeat_each(prompts, n)
    functions = (scored.reward_scorer, scored.cost_scorer, policy.log_prob, scored.reference.log_prob)
    columns = [f(repeated, responses).detach().cpu().double().view(-1, n) for f in functions]  # (X, n) each
    for name, column in zip(COLUMNS, columns, strict=True):
        if bad := int((~column.isfinite()).sum()):
            raise InputError(f"fresh samples: {bad} of {column.numel()} have no finite {name}")
    return Samples(prompts, responses, *columns)


def misfit(samples: Samples, weights: Tensor, *, lam: float, beta: float) -> float:
    r"""Return an estimate of KL(pi || pi_lam) from the policy's own samples, nats, at least 0.

    .. math:: \tfrac12 E_x Var_{y \sim \pi}[\, \log\pi - \log\pi_{ref} - (r - \lambda c)/\beta \,]

    The bracket is constant, log Z, for the tilted policy itself; near it half the variance is the divergence
    to second order, without any normaliser.

    Parameters
    ----------
    samples : Samples
        Of the policy, n at least 2.
    weights : Tensor, shape (X,)
        Prompt probabilities.

    At the reference, with rewards 0 and 2 at even odds and beta 1: Var = 2 by two samples, so 1.

    >>> column = torch.zeros(1, 2)
    >>> own = Samples(["x"], ["a", "b"], torch.tensor([[0.0, 2.0]]), column, column, column)
    >>> misfit(own, torch.ones(1), lam=1.0, beta=1.0)
    1.0
    """
    tilt = samples.logp - samples.ref_logp - (samples.reward - lam * samples.cost) / beta
    return float((weights * tilt.double().var(dim=1)).sum() / 2)


def recycled(samples: Samples, scored: ScoredPairs, *, size: int = 8) -> ScoredPairs:
    """Return the samples as fresh comparisons: all among sets of ``size`` answers, equal answers dropped.

    The DPO optimum does not depend on where pairs come from, and these lie where the policy now is;
    their scores and reference log-probabilities are already there, so they cost nothing more.
    """
    count, n = samples.reward.shape
    rows = torch.arange(count * n).view(count, n)
    parts = [part.tolist() for row in rows for part in row.split(size)]
    columns = {name: getattr(samples, name).reshape(-1) for name in ("reward", "cost", "ref_logp")}
    prompts = repeat_each(samples.prompts, n)
    return scored.among(parts, prompts=prompts, answers=samples.responses, **columns)
