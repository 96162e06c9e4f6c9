"""Constrained Direct Preference Optimization, from a two-armed bandit to a 4-bit language model.

Public names resolve lazily: ``import cdpo_edu`` loads neither transformers nor matplotlib.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# On some CPUs bitsandbytes warns at import that it could not fetch a kernel; nothing here wants that kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_ROOMS = {
    "types": ["FitResult", "InputError", "Policy", "Scorer", "World"],
    "losses": ["anchored_cost_loss", "bradley_terry_loss", "dpo_loss", "implicit_reward"],
    "lagrangian": [
        "AdaGradRule",
        "AdamRule",
        "BisectionRule",
        "CurvatureRule",
        "GradientRule",
        "GuardedSecantRule",
        "LogRule",
        "NewtonRule",
        "PIDRule",
        "SafeRLHFRule",
        "SecantRule",
        "Visit",
        "dual_step",
        "gradient_step_bound",
        "log_step_bound",
        "penalized",
    ],
    "exact": ["FiniteProblem", "Solution", "dual_walk", "frontier", "phase_map", "solve_many"],
    "pairs": ["Flagged", "Pairs", "Preferences", "ScoredPairs"],
    "score_table": ["ScoreTable"],
    "history": ["Record", "read_history"],
    "bandit": ["SafetyBandit", "TabularPolicy"],
    "pace": ["paced"],
    "toy_language": ["Kitchen"],
    "toy_models": ["cook", "fitted_scorer"],
    "language_model": ["LanguageModelPolicy"],
    "scorers": ["CostModel", "RewardModel"],
    "unsafe_rate": ["NoReward", "UnsafeProbability"],
    "preference_data": ["load_flagged", "load_pairs", "load_rows", "validate"],
    "evaluate": ["Estimate", "measure"],
    "verdict": ["Bounds", "Decision", "decide", "upper_bound"],
    "judgement": ["compare_runs", "label_run", "sheet_run", "verdict_run"],
    "constrained": ["ConstrainedDPO"],
    "methods": ["FixedLam", "KnownLam", "Method", "MoCAN", "SACPO", "Spent"],
    "laboratories.coverage": [
        "Coverage",
        "comparisons",
        "cost_range",
        "fitted_table",
        "grow_coverage",
        "islands",
        "measure_coverage",
    ],
    "laboratories.mass": ["MassPath", "chances", "follow_mass", "variations"],
    "laboratories.refusal": [
        "OverRefusal",
        "cookbook_table",
        "over_refusal",
        "policy_refusals",
        "refusal_floor",
        "refusal_rates",
        "shifted_cost",
        "spoiled_cost",
    ],
    "plots": [
        "plot_calibration",
        "plot_comparison",
        "plot_dual",
        "plot_dual_path",
        "plot_frontier",
        "plot_identifiability",
        "plot_islands",
        "plot_kkt",
        "plot_mass",
        "plot_phase_map",
        "plot_policy",
        "plot_relabelling",
        "plot_refusal",
        "plot_two_constraints",
        "plot_update_rules",
    ],
    "widgets": ["dual_explorer", "dual_explorer_picture", "dual_view", "explorer_page", "retilt_explorer"],
    "laboratories.identifiability": ["identifiability"],
    "report": ["write_report"],
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = ["__version__", *_ROOM_OF]


def __getattr__(name: str) -> Any:
    """Import the room that holds ``name`` the first time it is asked for."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'cdpo_edu' has no attribute {name!r}")
    return getattr(import_module(f".{_ROOM_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
