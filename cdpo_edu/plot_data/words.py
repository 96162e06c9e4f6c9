"""Write a picture's numbers: the words on its axes, digits, a cost against the limit, a record's column.

Left out: ink, and any sentence about one picture (each picture's data describes itself).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exact import PerLimit
from ..types import InputError

Array = NDArray[np.float64]
AXIS = {
    "lam": "multiplier λ (nats per cost unit)",
    "lam1": "multiplier λ1 of limit 1 (nats per cost unit)",
    "lam2": "multiplier λ2 of limit 2 (nats per cost unit)",
    "dual": "dual function D(λ) (nats)",
    "reward": "expected reward E[r] (nats)",
    "cost": "expected cost E[c] (cost units)",
    "kl": "KL to the reference (nats)",
    "excess": "distance |E[c] − C| (cost units)",
    "excess_slack": "distance |E[c] − exact E[c]| (cost units)",
    "limit": "limit C on the expected cost (cost units)",
    "beta": "KL tie β (nats of reward per nat)",
    "round": "dual round",
    "step": "dual step",
    "probs": "probability π(y|x)",
    "predicted": "predicted probability",
    "observed": "observed frequency, 95 % intervals",
    "offset": "what the fitted cost is off by, in the mean (nats)",
    "true_cost": "true expected cost E[c] of its policy (nats)",
    "steps": "gradient steps (count)",
    "mass": "probability π (mean over prompts)",
    "refusal": "probability of an empty plate (mean over guests)",
    "score": "score r − λc (nats)",
    "implicit": "implicit reward β log(π/πref) (nats)",
    "copies": "labels per pair, m (count)",
    "variance": "variance of the implicit reward (nats²)",
    "flips": "labels that flip per step of λ (%)",
    "margin": "margin of the pair (nats)",
    "violation": "violation max(0, E[c] − C) (cost units)",
    "closeness": "closeness (1 is the exact optimum)",
    "residual": "residual (in the unit at each bar)",
}


def num(value: float, digits: int = 3) -> str:
    """Return significant digits with a true minus sign; below 1e-12 nought.

    >>> num(-0.12345), num(1e-15)
    ('−0.123', '0')
    """
    return f"{0.0 if abs(value) < 1e-12 else value:.{digits}g}".replace("-", "−")


def against(cost: float, limit: float) -> str:
    """Return cost and limit in words, with as many digits as a violation needs to show.

    >>> against(0.5001, 0.5)
    'limit not met, E[c] = 0.5001 > C = 0.5'
    """
    met = _met(cost, limit)
    digits = 3 if met or num(cost) != num(limit) else 7
    sign = "≤" if met else ">"
    words = "limit met" if met else "limit not met"
    return f"{words}, E[c] = {num(cost, digits)} {sign} C = {num(limit, digits)}"


def _met(cost: float, limit: float) -> bool:
    """Say whether the limit is met, float rounding of the solver's edge forgiven."""
    return cost <= limit + 1e-9 * max(1.0, abs(limit))


def entry(record: Any, name: str) -> float:
    """Return one column of a record, mapping or object; nan where it is None.

    >>> entry({"lam": 2}, "lam"), entry({"lam": None}, "lam")
    (2.0, nan)
    """
    missing = name not in record if isinstance(record, Mapping) else not hasattr(record, name)
    if missing:
        raise InputError(f"{name}: a record without this column cannot be drawn")
    value = record[name] if isinstance(record, Mapping) else getattr(record, name)
    return math.nan if value is None else float(value)


def single_limit(value: PerLimit) -> float:
    """Return the one number of a problem with one limit."""
    if isinstance(value, tuple):
        raise InputError(f"cost_limit: these pictures are of one limit, and the problem has {len(value)}")
    return float(value)
