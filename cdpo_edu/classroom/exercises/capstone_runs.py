"""Constrained DPO on the capstone's toy language: its exact answer, and runs with a typical mistake.

torch is imported inside functions: importing the list of exercises must stay light.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..exercise import Inputs
from .run_histories import Kitchen, columns, tilted, variance

Array = np.ndarray

BETA, ROUNDS, GRAD_STEPS = 0.5, 10, 40
CLOSE, VIOLATION = 0.95, 0.03
"""What a trained policy must reach: closeness to the exact optimum, and at most this much above the limit."""


@lru_cache(maxsize=64)
def reference_table(seed: int) -> Array:
    """Return the probability of each dish for each guest under the untrained network, (2, 31)."""
    import torch

    from .tiny_policy import TinyPolicy

    with torch.no_grad():
        return np.asarray(_logp(TinyPolicy(seed)).exp().numpy())


def _logp(policy: Any) -> Any:
    """Return log pi(y|x) of all dishes, (2, 31)."""
    from .tiny_policy import MASK, TOKENS

    logits = policy.logits()
    picked = logits.log_softmax(dim=-1).gather(-1, TOKENS.expand(logits.shape[:-1])[..., None])[..., 0]
    return (picked * MASK).sum(dim=-1)


def kitchen_of(
    seed: int, reward: Array, cost: Array, beta: float, limit: float, step: float, relative: bool = False
) -> Kitchen:
    """Return the problem on tables; a ``relative`` limit is a margin below the reference's own cost."""
    reference = reference_table(seed)
    if relative:
        limit = float((reference * cost).sum(axis=1).mean()) - limit
    return Kitchen(np.full(2, 0.5), reference, reward, cost, beta, limit, step)


def exact_price(kitchen: Kitchen) -> float:
    """Return the least multiplier whose best policy meets the limit, by bisection; 64 where there is none."""
    low, high = 0.0, 64.0
    if columns(kitchen, tilted(kitchen, low))["cost"] <= kitchen.limit:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        above = columns(kitchen, tilted(kitchen, middle))["cost"] > kitchen.limit
        low, high = (middle, high) if above else (low, middle)
    return high


def closeness(kitchen: Kitchen, policy: Array) -> float:
    """Return 1 - E KL(pi to pi*) / E KL(ref to pi*): 1 is the exact optimum, 0 the reference."""
    best = tilted(kitchen, exact_price(kitchen))

    def distance(table: Array) -> float:
        held = np.maximum(table, np.finfo(float).tiny)
        return float(kitchen.weights @ (table * np.log(held / best)).sum(axis=1))

    return 1 - distance(policy) / distance(kitchen.reference)


def draw_language(rng: np.random.Generator) -> Inputs:
    """Return tables in which the tasty ingredient is a guest's allergen; the limit binds in both readings."""
    from .tiny_policy import DISHES

    while True:
        taste, risk = rng.normal(0.3, 0.5, size=(2, 6)), rng.uniform(0.0, 0.2, size=(2, 6))
        for guest, allergen in enumerate(rng.choice(5, size=2, replace=False) + 1):
            taste[guest, allergen], risk[guest, allergen] = 1.2, 0.7
        taste[:, 0] = risk[:, 0] = 0.0  # the end token is no ingredient
        reward, cost = (np.array([[row[dish].sum() for dish in DISHES] for row in t]) for t in (taste, risk))
        inputs = {
            "seed": int(rng.integers(1_000_000)),
            "reward": reward + rng.normal(0, 0.1, size=reward.shape),
            "cost": np.minimum(cost, 1.0),
            "beta": BETA,
        }
        limit = _limit_for_both(inputs, rng)
        if fits(inputs, limit):
            step = 0.8 * BETA / variance(kitchen_of(**inputs, limit=limit, step=1.0), 1.5)
            return inputs | {"limit": limit, "step": step, "rounds": ROUNDS, "grad_steps": GRAD_STEPS}


LEAST, MOST = 0.7, 3.0
"""Multipliers between which both readings of a limit have theirs."""


def _limit_for_both(inputs: Inputs, rng: np.random.Generator) -> float:
    """Return a limit L such that L and E_ref[c] - L are both costs of moderate multipliers, and far apart."""
    kitchen = kitchen_of(**inputs, limit=0.0, step=1.0)
    high, low = (columns(kitchen, tilted(kitchen, lam))["cost"] for lam in (LEAST, MOST))
    own = columns(kitchen, kitchen.reference)["cost"]
    ends = max(low, own - high), min(high, own - low)
    return float(ends[0] + rng.choice([0.1, 0.9]) * (ends[1] - ends[0]))


def fits(inputs: Inputs, limit: float) -> bool:
    """Return whether what is best for one reading of the limit, or without it, is far from the other."""
    absolute, relative = (
        kitchen_of(**inputs, limit=limit, step=1.0, relative=flag) for flag in (False, True)
    )
    if abs(absolute.limit - relative.limit) < 0.08:
        return False
    prices = exact_price(absolute), exact_price(relative)
    if not all(LEAST < price < MOST for price in prices):
        return False
    crossed = (
        closeness(absolute, tilted(relative, prices[1])),
        closeness(relative, tilted(absolute, prices[0])),
    )
    unlimited = (closeness(kitchen, tilted(kitchen, 0.0)) for kitchen in (absolute, relative))
    return max(*crossed, *unlimited) < 0.85


def learned(
    seed: int,
    reward: Array,
    cost: Array,
    beta: float,
    limit: float,
    step: float,
    rounds: int,
    grad_steps: int,
    *,
    bug: str = "",
    relative: bool = False,
) -> Array:
    """Return the policy table of a whole run of constrained DPO; the latest runs are remembered."""
    settings = beta, limit, step, rounds, grad_steps
    return _run(seed, reward.tobytes(), cost.tobytes(), reward.shape, settings, bug, relative).copy()


@lru_cache(maxsize=16)
def _run(
    seed: int,
    rewards: bytes,
    costs: bytes,
    shape: tuple[int, int],
    settings: tuple[float, float, float, int, int],
    bug: str,
    relative: bool,
) -> Array:
    """Return what the loop that students write gives, or what it gives with one mistake in it."""
    import torch

    from .tiny_policy import MASK, TinyPolicy

    reward, cost = (np.frombuffer(table).reshape(shape).copy() for table in (rewards, costs))
    beta, limit, step, rounds, grad_steps = settings
    goal = kitchen_of(seed, reward, cost, beta, limit, step, relative).limit
    policy = TinyPolicy(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.03)
    length = MASK.sum(dim=1) if bug == "mean log-probs" else torch.ones(len(MASK))

    def logp() -> Any:
        return _logp(policy) / length

    ref_logp, (y0, y1) = logp().detach(), torch.triu_indices(len(MASK), len(MASK), offset=1)
    r, c, lam = torch.as_tensor(reward), torch.as_tensor(cost), 0.0
    for _ in range(rounds):
        score = r + lam * c if bug == "cost added" else r - lam * c
        target = (score[:, y1] - score[:, y0]).sigmoid()
        for _ in range(grad_steps):
            implicit = (1.0 if bug == "beta left out" else beta) * (logp() - ref_logp)
            margin = implicit[:, y1] - implicit[:, y0]
            loss = (torch.nn.functional.softplus(margin) - target * margin).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if bug == "reference moves":
            ref_logp = logp().detach()
        table = _logp(policy).detach().exp()
        seen = float((table * c).sum(dim=1).mean())
        lam = 0.0 if bug == "price stays at 0" else max(0.0, lam + step * (seen - goal))
    return np.asarray(table.numpy())
