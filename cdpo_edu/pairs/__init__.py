"""Comparisons, their scores, and the labels that a multiplier puts on them.

`Pairs` is what people gave: two answers to one prompt and their labels; `Flagged` is single answers with
safe/unsafe flags. `ScoredPairs` adds the columns
that are computed once: reward, cost and reference log-probability of both answers. `Preferences` is what
DPO trains on: the same answers and one target probability each. A new multiplier changes the targets and
nothing else, so relabelling costs microseconds (Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1).

Left out: reading files (`preference_data`), fitting scorers (`scorers`).
"""

from __future__ import annotations

from .digests import digest, digest_of_batch, write_atomically
from .flagged import Flagged
from .people import Pairs
from .prompt_sets import PromptSets, distinct, first_turn
from .scored import Labels, Preferences, Scaled, ScoredPairs

__all__ = [
    "Flagged",
    "Labels",
    "Pairs",
    "Preferences",
    "PromptSets",
    "Scaled",
    "ScoredPairs",
    "digest",
    "digest_of_batch",
    "distinct",
    "first_turn",
    "write_atomically",
]
