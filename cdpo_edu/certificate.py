"""The certificate of a run: what is proved about its last policy, and what is not.

In a world every expectation is a sum, so the certificate compares the policy with the exact constrained
optimum. Outside one the cost is an estimate with an interval, the sampled dual is biased and no bound,
and the status never says more than that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from .exact import FiniteProblem
from .pairs import ScoredPairs
from .types import InputError, Policy, Scorer, World

COST_TOLERANCE = 0.02
"""How far above the limit an exact cost may lie and still count as meeting it, in the cost's unit."""

CLOSENESS_TOLERANCE = 0.99
"""The least closeness, 1 - KL(pi||pi*) / KL(ref||pi*), that an `optimal` policy has."""


def cost_tolerance(cost: Scorer) -> float:
    """Return `COST_TOLERANCE`, but 0 for a probability: a rate of 0.02 has no room for 0.02 more."""
    return 0.0 if getattr(cost, "bounds", None) == (0.0, 1.0) else COST_TOLERANCE


def enumerated(world: World, policy: Policy) -> Tensor:
    """Return pi(y|x) of every response, shape (X, Y), rows normalised to the last digit.

    Raises
    ------
    InputError
        When a row is no distribution: its probabilities miss 1 by more than 1e-3. Log-probabilities that
        are averaged over tokens, or lack the end token, show up here.
    """
    logp = world.table(policy.log_prob)  # (X, Y)
    sums = logp.exp().sum(dim=1)
    worst = int((sums - 1).abs().argmax())
    if not abs(sums[worst].item() - 1) <= 1e-3:
        raise InputError(
            f"prompt {worst}: the probabilities of its responses add up to {sums[worst].item():.4g}, not 1; "
            "log_prob must sum over the response tokens, end token included"
        )
    return logp.softmax(dim=1)


def world_problem(scored: ScoredPairs, *, beta: float, cost_limit: float) -> FiniteProblem:
    """Return the exact problem that a run solves: every response enumerated, scored by the run's scorers."""
    world = scored.world
    if world is None:
        raise ValueError("only a world can be enumerated")
    return FiniteProblem(
        prompt_probs=world.prompt_probs.numpy(),
        reference=enumerated(world, scored.reference).numpy(),
        reward=world.table(scored.reward_scorer).numpy(),
        cost=world.table(scored.cost_scorer).numpy(),
        beta=beta,
        cost_limit=cost_limit,
    )


def exact_certificate(problem: FiniteProblem, scored: ScoredPairs, policy: Policy) -> dict[str, Any]:
    """Return the certificate of ``policy`` against the exact optimum of ``problem``.

    Status: ``infeasible`` when no policy meets the limit; ``violated`` when the policy's exact cost lies
    above the limit by more than `cost_tolerance`; else ``slack`` when the optimum's multiplier is 0,
    ``optimal`` when closeness is at least `CLOSENESS_TOLERANCE`, ``feasible`` otherwise.
    """
    assert scored.world is not None
    probs = enumerated(scored.world, policy).numpy()
    best = problem.solve()
    own = problem.evaluate(probs)
    allowed = cost_tolerance(scored.cost_scorer)
    record: dict[str, Any] = {
        "exact": True,
        "lam_exact": best.lam,
        "reward": own.reward,
        "cost": own.cost,
        "kl": own.kl,
        "objective": own.objective,
        "min_cost": best.min_cost,
        "tolerance": {"cost": allowed, "closeness": CLOSENESS_TOLERANCE},
    }
    if best.status == "infeasible":
        return record | {"status": "infeasible", **dict.fromkeys(_GAPS)}
    terms = problem.certify(probs)
    record |= {name: _finite(getattr(terms, name)) for name in _GAPS}
    most = np.add(problem.cost_limit, allowed)
    status = _exact_status(own.cost, most, best.status, record["closeness"])
    return record | {"status": status}


_GAPS = ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness")


def _exact_status(cost: Any, most: Any, best: str, closeness: float | None) -> str:
    if cost > most:
        return "violated"
    if best == "slack":
        return "slack"
    return "optimal" if closeness is not None and closeness >= CLOSENESS_TOLERANCE else "feasible"


def sampled_status(low: float, high: float, limit: float, lam: float) -> str:
    """Return what an interval [low, high] of the cost says of the limit: met, not met or unknown.

    >>> sampled_status(-0.3, -0.1, 0.0, lam=1.0), sampled_status(-0.1, 0.1, 0.0, lam=1.0)
    ('feasible', 'unknown')
    """
    if high <= limit:
        return "slack" if lam == 0 else "feasible"
    return "violated" if low > limit else "unknown"


def _finite(value: float | None) -> float | None:
    """Return ``value``, or None (null in JSON) where it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None
