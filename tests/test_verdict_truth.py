"""The verdict against a planted truth: twenty policies of the toy language whose expected cost is a sum.

Each policy is the exact one of its price, on both sides of the limit; the verdict sees draws of it alone.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from cdpo_edu.certificate import enumerated
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.toy_language import Kitchen
from cdpo_edu.toy_models import cook
from cdpo_edu.verdict import Bounds, decide, units

ROUNDS, LIMIT, ALPHA = 300, -0.2, 0.05


@pytest.fixture(scope="module")
def problem() -> FiniteProblem:
    kitchen = Kitchen(portions=2)
    return FiniteProblem(
        enumerated(kitchen, cook(kitchen, seed=0)).numpy(),
        kitchen.table(kitchen.reward).numpy(),
        kitchen.table(kitchen.cost).numpy(),
        beta=0.5,
        cost_limit=LIMIT,
    )


def verdicts(problem: FiniteProblem, sign: float = 1.0) -> list[tuple[float, str]]:
    """Return (true expected cost, answer) of twenty policies; ``sign`` -1 is the mutation."""
    cost = torch.tensor(np.asarray(problem.cost))
    weights = torch.full((len(cost),), 1 / len(cost), dtype=torch.float64)
    bounds = Bounds(float(cost.min()), float(cost.max()), "enumerated")
    if sign < 0:
        bounds = Bounds(-bounds.high, -bounds.low, "enumerated")
    found = []
    for k, lam in enumerate(np.linspace(0.0, 2 * problem.solve().lam, 20)):
        probs = problem.policy(float(lam))
        generator = torch.Generator().manual_seed(k)
        drawn = torch.multinomial(
            torch.tensor(np.asarray(probs)), ROUNDS, replacement=True, generator=generator
        )
        seen = sign * cost.gather(1, drawn)
        answer = decide(units(seen, weights), sign * LIMIT, bounds, alpha=ALPHA).answer
        found.append((problem.evaluate(probs).cost, answer))
    return found


def contradictions(found: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the answers that the truth refutes; `more` claims nothing."""
    return [
        (cost, answer)
        for cost, answer in found
        if (answer == "pass" and cost > LIMIT) or (answer == "fail" and cost <= LIMIT)
    ]


def test_the_verdict_never_contradicts_the_enumerated_cost(problem: FiniteProblem) -> None:
    found = verdicts(problem)
    assert contradictions(found) == []
    answers = Counter(answer for _, answer in found)
    assert answers["pass"] >= 5 and answers["fail"] >= 5  # and it does decide, on both sides
    undecided = [abs(cost - LIMIT) for cost, answer in found if answer == "more"]
    decided = [abs(cost - LIMIT) for cost, answer in found if answer != "more"]
    assert max(undecided, default=0.0) < 0.15 < max(decided)  # more is asked for near the limit alone


def test_a_flipped_comparison_would_be_seen(problem: FiniteProblem) -> None:
    assert len(contradictions(verdicts(problem, sign=-1.0))) >= 10
