"""Which settings a run of constrained DPO may have; each refusal is one sentence.

Left out: the options of a command (`presets`).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from .pairs import Labels, ScoredPairs
from .types import InputError

Start = float | Literal["one-shot"]


def check_settings(
    beta: float,
    limit: float | None,
    relative: float | None,
    rounds: int,
    steps: int,
    samples: int,
    most_samples: int | None = None,
) -> None:
    """Refuse settings that no run can have: InputError names the first of them."""
    if (limit is None) == (relative is None):
        raise InputError("give exactly one of cost_limit and cost_limit_relative")
    for name, value in (("cost_limit", limit), ("cost_limit_relative", relative)):
        if value is not None and not math.isfinite(value):
            raise InputError(f"{name} must be a finite number, not {value}")
    if not (0 < beta < float("inf")):
        raise InputError(f"beta must be a positive number, not {beta}")
    for name, count, least in (("rounds", rounds, 1), ("steps", steps, 1), ("samples", samples, 2)):
        if count < least:
            raise InputError(f"{name} must be at least {least}, not {count}")
    if most_samples is not None and most_samples < samples:
        raise InputError(f"most_samples must be at least samples, {samples}, not {most_samples}")


def check_choices(labels: str, start: Start) -> None:
    """Refuse an unknown kind of label, or a first multiplier that is none."""
    if labels not in get_args(Labels):
        raise InputError(f"labels must be soft, bernoulli or hard, not {labels!r}")
    if start != "one-shot" and not (isinstance(start, (int, float)) and 0 <= start < float("inf")):
        raise InputError(f"start must be 'one-shot' or a multiplier of at least 0, not {start!r}")


def check_problem(scored: ScoredPairs, cost_limit: float | None) -> None:
    """Refuse an absolute limit on a cost without a zero, and a lone dual prompt."""
    if cost_limit is not None and not getattr(scored.cost_scorer, "anchored", False):
        raise InputError(
            "cost_limit: this cost has no zero (it was learned from comparisons without safe/unsafe "
            "flags), so an absolute limit on it means nothing. State it against the reference with "
            "cost_limit_relative=M (--cost-limit-relative M: at least M below the reference's expected "
            "cost), or fit the cost on rows with is_response_k_safe flags"
        )
    if scored.world is None and len(scored.prompt_sets.dual) < 2:
        raise InputError("prompt sets: one dual prompt says nothing about other prompts; give at least 2")
