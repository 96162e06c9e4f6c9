"""From tables to solutions: which solver, and its answers put into words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .one_limit import one_limit
from .results import Array, Residuals, Solution
from .several_limits import several_limits
from .tables import Answer, Tables, bounds, expectations

if TYPE_CHECKING:
    from .problem import FiniteProblem


def answers(tables: Tables) -> Answer:
    """Return where the optima lie, by the solver for the number of limits."""
    return one_limit(tables) if tables.limit.shape[1] == 1 else several_limits(tables)


def solutions(problems: Sequence[FiniteProblem], tables: Tables, answer: Answer) -> list[Solution]:
    """Return the answers as `Solution`s, one per problem."""
    listed = _tuples if problems[0].cost.ndim == 3 else _firsts
    columns, feasible = _columns_of_optima(tables, answer, listed), answer.feasible.tolist()
    if not all(feasible):
        for name, column in columns.items():
            columns[name] = [value if ok else None for value, ok in zip(column, feasible, strict=True)]
    binding = np.where(answer.binding.any(1), "optimal", "slack")
    columns |= {
        "status": np.where(answer.feasible, binding, "infeasible").tolist(),
        "min_cost": listed((tables.weights[:, None] * tables.cheapest).sum(-1)),
        "active": [tuple(k for k, binds in enumerate(row) if binds) for row in answer.binding.tolist()],
        "worst_prompts": [() if ok else _worst_prompts(answer, n) for n, ok in enumerate(feasible)],
        "iterations": answer.passes.astype(int).tolist(),
    }
    rows = zip(*(columns[field.name] for field in fields(Solution)), strict=True)
    return [Solution(*row) for row in rows]


def _columns_of_optima(
    tables: Tables, answer: Answer, listed: Callable[[Array], list[Any]]
) -> dict[str, Sequence[Any]]:
    """Return the columns of `Solution` that an infeasible problem has not."""
    own = expectations(tables, answer.policies)
    bound = bounds(answer.face, answer.policies, answer.lam, own.slack)
    answer.policies.probs.setflags(write=False)
    violation = np.maximum(-own.slack.min(-1), 0)
    residuals = np.stack(
        [violation, np.zeros_like(violation), bound.stationarity, np.abs(bound.slack_term)], 1
    )
    edge = answer.edge.tolist()
    return {
        "lam": [None if off else lam for lam, off in zip(listed(answer.lam), edge, strict=True)],
        "probs": list(answer.policies.probs),
        "reward": own.reward.tolist(),
        "cost": listed(own.cost),
        "kl": own.kl.tolist(),
        "objective": own.objective.tolist(),
        "dual_bound": bound.dual.tolist(),
        "gap": (bound.kl_term + bound.slack_term).tolist(),
        "gap_kl_term": bound.kl_term.tolist(),
        "gap_slack_term": bound.slack_term.tolist(),
        "violation": violation.tolist(),
        "complementary_slackness": bound.slack_term.tolist(),
        "kkt": [Residuals(*row) for row in residuals.tolist()],
    }


def _tuples(rows: Array) -> list[Any]:
    return [tuple(row) for row in rows.tolist()]


def _firsts(rows: Array) -> list[Any]:
    firsts: list[Any] = rows[:, 0].tolist()
    return firsts


def _worst_prompts(answer: Answer, n: int) -> tuple[int, ...]:
    """Return the prompts in which no response has a priced cost within the priced limit, the worst first."""
    t = answer.face
    over = t.excess[n] + (t.cheapest[n] - t.limit[n][:, None])[..., None]  # c - C: (K, X, Y)
    least = np.where(t.ref.probs[n] > 0, np.tensordot(answer.prices[n], over, 1), np.inf).min(-1)  # (X,)
    worst = np.argsort(-least, kind="stable")
    return tuple(worst[(least[worst] > 0) & (t.weights[n, worst] > 0)].tolist())
