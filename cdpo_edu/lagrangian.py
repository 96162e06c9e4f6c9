r"""The Lagrangian score and the step of its multiplier.

The constrained problem  max E[r] - beta KL  s.t.  E[c] <= C  has the Lagrangian score r - lam * c; the
dual D(lam) = beta E_x log Z_lam(x) + lam C is convex with slope C - E_pi_lam[c] and curvature
E_x Var_pi_lam(c | x) / beta. Descending D (the literature's "dual ascent" speaks of the minimisation
form) raises lam while the policy is too costly and lowers it, never below 0, while it has room.

Left out: rules that need more than the last measurement.

References: Liu, Sun & Zheng 2024, arXiv 2403.02475 (the loop); Huang et al. 2024, arXiv 2405.19544
(the dual of the sampled problem).
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from torch import Tensor

from .types import InputError


class Measurement(NamedTuple):
    """What the dual step sees of the current policy.

    Attributes
    ----------
    round : int
        Which dual round this is, from 1.
    cost : float
        Mean cost of the policy's own samples, anchored or not, higher is more harmful.
    stderr : float
        Its standard error, at least 0, same unit.
    cost_variance : float
        E_x Var(c | x) of those samples, the dual's curvature times beta, at least 0.
    """

    round: int
    cost: float
    stderr: float
    cost_variance: float


def penalized(reward: Tensor, cost: Tensor, lam: float) -> Tensor:
    """Return the Lagrangian score r - lam * c, same shape as ``reward``.

    The limit C is the same for both answers of a pair and cancels; it belongs to the dual step.

    >>> import torch
    >>> penalized(torch.tensor([3.0]), torch.tensor([2.0]), lam=0.5)
    tensor([2.])
    """
    return reward - lam * cost


def dual_step(lam: float, cost: float, cost_limit: float, *, eta: float) -> float:
    """Return the next multiplier: max(0, lam + eta * (E_pi[c] - C)).

    Parameters
    ----------
    lam : float
        Current multiplier, at least 0.
    cost : float
        Expected cost of the *current policy's own* samples, not of the data set.
    cost_limit : float
        C, in the unit of ``cost``.
    eta : float
        Step size, above 0, in units of lam per unit of cost.

    Raises
    ------
    InputError
        When ``cost`` is nan.

    Reference
    ---------
    Projected dual gradient step of arXiv 2403.02475 (Algorithm 1); the projection is written out.

    Examples
    --------
    A policy 0.5 above its limit raises lam by eta/2; one far below it ends at 0, not under:

    >>> dual_step(1.0, cost=0.5, cost_limit=0.0, eta=2.0), dual_step(1.0, cost=-9.0, cost_limit=0.0, eta=2.0)
    (2.0, 0.0)
    """
    if math.isnan(cost):  # max(0, nan) is 0: the limit would be dropped without a word
        raise InputError("the measured cost is not a number, so the multiplier cannot move")
    return max(0.0, lam + eta * (cost - cost_limit))


class Rule(Protocol):
    """How the multiplier moves: called once per round, with this round's lam and measurement."""

    def __call__(self, lam: float, measured: Measurement, cost_limit: float, *, beta: float) -> float:
        """Return the next multiplier, at least 0."""
        ...


class GradientRule(NamedTuple):
    """The paper's rule: a fixed step size ``eta``, above 0."""

    eta: float

    def __call__(self, lam: float, measured: Measurement, cost_limit: float, *, beta: float) -> float:
        """Return ``dual_step(lam, ...)`` at the fixed step size."""
        return dual_step(lam, measured.cost, cost_limit, eta=self.eta)


class CurvatureRule(NamedTuple):
    """A Newton step on the dual, then averaged: eta = damping * beta / E_x Var(c | x) / max(1, k - settle).

    No step size to tune: the curvature of D is E Var(c)/beta, read off the same samples, so the full step
    is the one that a quadratic dual would need. After ``settle`` rounds the step of round k shrinks like
    1/(k - settle), which averages the noise of the measurements instead of hovering with it.

    Parameters
    ----------
    damping : float
        In (0, 1], a factor on every step.
    settle : int
        Rounds with full steps, at least 0.
    max_step : float
        Largest move of lam in one round, for samples with hardly any spread in cost left.
    """

    damping: float = 1.0
    settle: int = 3
    max_step: float = 1.0

    def __call__(self, lam: float, measured: Measurement, cost_limit: float, *, beta: float) -> float:
        """Return ``dual_step(lam, ...)`` at the step size that the measured curvature asks for.

        A policy 0.5 above its limit, Var(c) = 1, beta = 0.5: the Newton step is 0.5 * 0.5 / 1.

        >>> CurvatureRule()(1.0, Measurement(1, cost=0.5, stderr=0.0, cost_variance=1.0), 0.0, beta=0.5)
        1.25
        """
        excess = abs(measured.cost - cost_limit)
        gain = self.damping / max(1, measured.round - self.settle)
        newton = gain * beta / max(measured.cost_variance, 1e-12)
        bound = self.max_step / max(excess, 1e-12)
        return dual_step(lam, measured.cost, cost_limit, eta=min(newton, bound))
