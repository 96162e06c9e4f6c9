"""Several limits: a linear program for feasibility, then Newton on lam >= 0 with an Armijo line search."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import linprog, nnls
from scipy.sparse import coo_array

from .results import EPS, Array
from .tables import Answer, Policies, Tables, covariance

TOUCH = 1e-13  # with several limits: a shortfall that counts as none, in units of the cost's largest spread
PASSES = 500


class _Bowl(NamedTuple):
    """The dual of one problem with K limits: weights exp(logits - theta @ excess)."""

    logits: Array  # (X, Y)
    excess: Array  # (K, X, Y)
    weights: Array  # (X,)
    margin: Array  # (K,)

    def at(self, theta: Array) -> tuple[float, Array, Array]:
        """Return D, its gradient (K,) and its Hessian (K, K) at ``theta``."""
        policy, log_z = Policies.of_logits(self.logits - np.tensordot(theta, self.excess, 1))
        spent, hessian = covariance(policy.probs, self.excess, self.weights)
        return float(theta @ self.margin + self.weights @ log_z), self.margin - spent, hessian

    def centred(self, theta: Array) -> _Bowl:
        """Return the same dual with ``theta`` as its new zero."""
        logits = self.logits - np.tensordot(theta, self.excess, 1)
        return self._replace(logits=logits - logits.max(-1, keepdims=True))


def several_limits(tables: Tables) -> Answer:
    """Return the optimum of one problem with K limits, each cost counted in its own largest spread."""
    excess = tables.reach()[0]
    span = excess.max((1, 2))
    span = np.where(span > 0, span, 1.0)
    logits, weights = tables.logits()[0], tables.weights[0]
    bowl = _Bowl(logits, excess / span[:, None, None], weights, tables.margin[0] / span)
    scale = (np.abs(tables.limit[0]) + np.abs(tables.cheapest[0]) @ weights) / span
    theta, prices, passes, shortfall = np.zeros_like(span), np.ones_like(span), 1, 0.0
    slope = bowl.at(theta)[1]
    if np.any(slope < -4 * EPS * (scale + bowl.margin - slope)):
        prices, shortfall = _least_violation(bowl)
        if shortfall <= TOUCH:
            theta, logits, passes = _meet_all(bowl, tables.ref.log_probs[0])
    return Answer(
        face=tables,
        feasible=np.array([shortfall <= TOUCH]),
        edge=np.array([False]),
        binding=(theta > 0)[None],
        lam=tables.beta[:, None] * theta / span,
        policies=Policies.of_logits(logits[None])[0],
        prices=(prices / span)[None],
        passes=np.array([float(passes)]),
    )


def _least_violation(bowl: _Bowl) -> tuple[Array, float]:
    """Return prices (K,) that sum to 1 and the t they prove: every policy exceeds some limit by at least t.

    They are the multipliers of the linear program  min t  s.t.  E[excess_k] <= B_k + t; and for any prices,
    E_x min_y prices @ excess - prices @ B bounds t from below.
    """
    possible = np.isfinite(bowl.logits)
    prompt = np.nonzero(possible)[0]  # (S,), the prompt of each possible cell
    spent = (bowl.weights[:, None] * bowl.excess)[:, possible]  # (K, S)
    one_each = (np.ones(len(prompt)), (prompt, np.arange(len(prompt))))
    program = linprog(
        np.append(np.zeros(len(prompt)), 1.0),
        A_ub=np.hstack([spent, -np.ones((len(spent), 1))]),
        b_ub=bowl.margin,
        A_eq=coo_array(one_each, shape=(len(possible), len(prompt) + 1)),
        b_eq=np.ones(len(possible)),
        bounds=[(0, None)] * len(prompt) + [(None, None)],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    prices: Array = np.maximum(-program.ineqlin.marginals, 0)
    prices = prices / prices.sum()
    cheapest = np.where(possible, np.tensordot(prices, bowl.excess, 1), np.inf).min(-1)
    return prices, float(bowl.weights @ cheapest - prices @ bowl.margin)


def _meet_all(bowl: _Bowl, log_ref: Array) -> tuple[Array, Array, int]:
    """Return the theta that minimises D over theta >= 0, its policy's logits, and the passes it took.

    The path runs in factors of 4 from a temperature at which rewards are at most 1 apart, where D is smooth,
    down to 1; then, as with one limit, to the small step from there, in centred tables.
    """
    with np.errstate(invalid="ignore"):
        reward = np.where(np.isfinite(log_ref), bowl.logits - log_ref, 0.0)
    zero, passes = np.zeros_like(bowl.margin), 1
    theta, heat = zero, max(1.0, -float(reward.min()))
    while heat > 1:
        warm = _Bowl(log_ref + reward / heat, bowl.excess / heat, bowl.weights, bowl.margin / heat)
        theta, count = _newton(warm, theta, lower=zero, tolerance=1e-3)
        heat, passes = max(1.0, heat / 4), passes + count
    theta, count = _newton(bowl, theta, lower=zero, tolerance=1e-6)
    near = bowl.centred(theta)
    step, again = _newton(near, zero, lower=-theta, tolerance=1e-12)
    return theta + step, near.centred(step).logits, passes + count + again


def _newton(bowl: _Bowl, theta: Array, *, lower: Array, tolerance: float) -> tuple[Array, int]:
    """Return the minimiser of D over theta >= lower, each slope known to ``tolerance`` of B, and the passes.

    Each step minimises D's quadratic model over theta >= lower and is halved until D falls by Armijo's rule.
    """
    allowed, passes = tolerance * np.maximum(np.abs(bowl.margin), 1e-3 * bowl.excess.max()), 0
    while passes < PASSES:
        value, slope, hessian = bowl.at(theta)
        passes += 1
        step = _bounded_step(slope, hessian, theta - lower)
        settled = np.all(np.where(theta > lower, np.abs(slope), -slope) <= allowed)
        if settled or np.abs(step).max() <= EPS:
            break
        size, fall = 1.0, 1e-4 * float(slope @ step)
        noise = 16 * EPS * (1 + abs(value) + abs(float(theta @ bowl.margin)))
        while size > EPS and bowl.at(theta + size * step)[0] > value + size * fall + noise:
            size, passes = size / 2, passes + 1
        theta = np.maximum(theta + size * step, lower)
    return theta, passes


def _bounded_step(slope: Array, hessian: Array, room: Array) -> Array:
    """Return the d >= -room that minimises slope @ d + d @ hessian @ d / 2.

    Non-negative least squares tells which coordinates end at their bound. The others are then solved for
    again, because in the sum with room, which may be large, they lose digits.
    """
    hessian = hessian + np.diag(1e-13 * hessian.diagonal() + 1e-12 * np.abs(slope) + 1e-300)
    root = np.linalg.cholesky(hessian)
    ends, _ = nnls(root.T, root.T @ room - solve_triangular(root, slope, lower=True))
    free, step = ends > 0, -room
    pull = slope[free] + hessian[np.ix_(free, ~free)] @ step[~free]
    step[free] = np.maximum(-np.linalg.solve(hessian[np.ix_(free, free)], pull), step[free])
    return step
