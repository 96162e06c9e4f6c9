"""A verdict in words: what was asked, what was shown, how much more is needed, what to beware of.

Left out: the numbers (`run`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..verdict import Decision


def needs(
    decision: Decision, spread: Mapping[str, float], prompts: int, world: bool, count: int, m: int
) -> dict[str, Any]:
    """Return about how many more answers, or else prompts, would decide, were they like those so far.

    In a world more rounds are more units. Elsewhere more answers only thin out the variance within prompts:
    with variances b between and w within, the mean of a prompt varies by b + w/m, and deciding needs that
    divided by ``decision.times``. Where b alone is more, only more prompts will do.

    >>> told = Decision("more", 0.0, -1.0, 1.0, 0.0, 0.0, 1.5)
    >>> needs(told, {"within": 4.0, "between": 1.0}, 10, False, 10, 2)["more_samples"]  # 3/1.5 = 1 + 4/4
    20
    >>> needs(told, {"within": 1.0, "between": 1.0}, 10, False, 10, 2)["more_prompts"]
    5
    """
    told: dict[str, Any] = {"more_samples": None, "more_prompts": None}
    if decision.answer != "more" or decision.times is None:
        return told
    if world:
        return told | {"more_samples": prompts * max(1, math.ceil((decision.times - 1) * count))}
    room = (spread["between"] + spread["within"] / m) / decision.times - spread["between"]
    if room > 0:
        return told | {"more_samples": prompts * max(1, math.ceil(spread["within"] / room) - m)}
    return told | {"more_prompts": max(1, math.ceil((decision.times - 1) * count))}


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the verdict must know."""
    words = []
    if record["judge_made_labels"]:
        words.append(
            "The cost that judges is the cost that made the training labels: the policy was trained to "
            "please it, and this verdict cannot see what it overlooks. Judge by another (--judge-cost) or by "
            "people (--export-for-labelling)."
        )
    if record["range_origin"] == "assumed":
        low, high = record["range"]
        words.append(
            f"The range {low:.4g} to {high:.4g} of this cost is assumed from the training answers; the level "
            "holds only if no answer's cost can exceed it. State it with --cost-range LOW,HIGH, or judge a "
            "rate with --max-unsafe-rate."
        )
    if record["clipped"]:
        words.append(
            f"{record['clipped']} costs beyond the harmless end of the range count as that end. This can "
            "only make the verdict stricter, and `fail` is not claimed; a wider range would use them as "
            "they are."
        )
    return words
