"""The certificate where answers cannot be listed: what the last policy's own samples show, and no more.

Left out: the exact certificate (`certificate`).
"""

from __future__ import annotations

from typing import Any

from .certificate import sampled_status
from .evaluate import clustered_mean
from .loop_state import LoopState
from .score_table import ScoreTable
from .stopping import reachable_limit


def sampled_certificate(
    state: LoopState, *, beta: float, relative: bool, difference: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Certify on fresh samples of the last policy: no optimality, and the dual only as an estimate.

    A ``relative`` limit is tested on the paired difference to the reference's cost, prompt by prompt: by
    Student's interval, or by the ``difference`` interval of a run that looked while it drew.
    """
    last = state.history[-1]
    low, high = last.cost_low, last.cost_high
    paired: dict[str, Any] = {}
    if relative:
        base = state.reference_cost.mean(dim=1)  # (X,)
        students = clustered_mean((state.last_cost.mean(dim=1) - base)[:, None])
        difference = difference or (students.low, students.high)
        paired = {"difference_interval": list(difference)}
        low, high = (float(base.mean()) + bound for bound in difference)
    table = ScoreTable(state.reference_reward, state.reference_cost)
    dual = table.sweep([last.lam], beta=beta, cost_limit=state.cost_limit).dual_estimate
    unknown = ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness", "lam_exact")
    known = {
        "status": sampled_status(low, high, state.cost_limit, last.lam),
        "exact": False,
        "reward": last.reward,
        "cost": last.cost,
        "kl": last.kl,
        "objective": last.reward - beta * last.kl,
        "reachable_limit": reachable_limit(state.last_cost),
        "dual_estimate": {name: float(column[0]) for name, column in dual._asdict().items()},
    }
    return dict.fromkeys(unknown) | paired | known
