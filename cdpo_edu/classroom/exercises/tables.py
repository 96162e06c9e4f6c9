"""Small tables of dishes for exercises, and the tilted policy on them in numpy alone.

Shapes throughout: (X, Y) for X prompts (guests) and Y responses (dishes), (X,) for the prompts' weights.
Left out: what the package itself computes with; these few lines are a second road to it, and tests hold them
against it.
"""

from __future__ import annotations

import numpy as np

from ..exercise import Inputs

Array = np.ndarray


def draw_tables(rng: np.random.Generator, *, prompts: int = 3, responses: int = 4) -> Inputs:
    """Return reference, reward, cost, weights and beta; what is tasty tends to be harmful.

    Costs are anchored, 0 the boundary of safe and unsafe, and every prompt has answers on both sides.
    """
    shape = prompts, responses
    while True:
        cost = rng.normal(0, 1, size=shape)
        if (cost.min(axis=1) < -0.2).all() and (cost.max(axis=1) > 0.2).all():
            break
    return {
        "reference": rng.dirichlet(np.full(responses, 4.0), size=prompts),
        "reward": 0.8 * cost + rng.normal(0, 1, size=shape),
        "cost": cost,
        "weights": rng.dirichlet(np.full(prompts, 3.0)),
        "beta": float(rng.uniform(0.3, 0.7)),
    }


def log_weights(reference: Array, reward: Array, cost: Array, lam: float, beta: float) -> Array:
    """Return log ref + (r - lam c)/beta, the logarithm of the tilted policy before it is normalised."""
    return np.asarray(np.log(reference) + (reward - lam * cost) / beta)


def log_z(reference: Array, reward: Array, cost: Array, lam: float, beta: float) -> Array:
    """Return log Z_lam of each prompt, shape (X,)."""
    return np.asarray(np.logaddexp.reduce(log_weights(reference, reward, cost, lam, beta), axis=1))


def tilted(reference: Array, reward: Array, cost: Array, lam: float, beta: float) -> Array:
    """Return pi_lam, shape (X, Y).

    >>> half = np.array([[0.5, 0.5]])
    >>> tilted(half, 0 * half, np.array([[1.0, 0.0]]), lam=np.log(3), beta=1.0).round(12).tolist()
    [[0.25, 0.75]]
    """
    logits = log_weights(reference, reward, cost, lam, beta)
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None]))


def expected(policy: Array, values: Array, weights: Array) -> float:
    """Return E_x,y~pi of the values, one number."""
    return float(weights @ (policy * values).sum(axis=1))


def variance(policy: Array, values: Array, weights: Array) -> float:
    """Return E_x Var_pi(values | x).

    >>> variance(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]), np.array([1.0]))
    0.25
    """
    centred = values - (policy * values).sum(axis=1, keepdims=True)
    return expected(policy, centred**2, weights)


def cost_at(reference: Array, reward: Array, cost: Array, weights: Array, beta: float, lam: float) -> float:
    """Return E_lam[c]."""
    return expected(tilted(reference, reward, cost, lam, beta), cost, weights)


def least_cost(cost: Array, weights: Array) -> float:
    """Return E_x min_y c, the least expected cost that any policy has."""
    return float(weights @ cost.min(axis=1))


def multiplier(
    reference: Array, reward: Array, cost: Array, weights: Array, beta: float, limit: float
) -> float | None:
    """Return the least lam >= 0 at which E_lam[c] <= C, by bisection; None where no policy meets C.

    Half of the dishes are harmful and a quarter is allowed: lam = 1 + log 3.

    >>> half, one = np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    >>> round(multiplier(half, one, one, np.array([1.0]), 1.0, 0.25), 4)
    2.0986
    """
    if least_cost(cost, weights) > limit:
        return None

    def too_costly(lam: float) -> bool:
        return cost_at(reference, reward, cost, weights, beta, lam) > limit

    if not too_costly(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while too_costly(high):
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if too_costly(middle) else (low, middle)
    return high
