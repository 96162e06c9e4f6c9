"""A verdict's record in sentences, for the screen and for the report alike.

Left out: the numbers (`judgement`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
SUBJECTS = {
    "cost": "E[c]",
    "unsafe rate": "P(unsafe)",
    "probability of unsafe": "E[P(unsafe)]",
    "difference to the reference": "E[c] - E_ref[c]",
}


def headline(record: Record) -> str:
    """Return the answer in one line.

    >>> told = {"verdict": "more", "question": "cost", "limit": 0.0, "alpha": 0.05, "more_samples": 1280}
    >>> print(headline(told))
    needs about 1,280 more samples to tell whether E[c] <= 0 (level 0.05)
    """
    claim = f"{SUBJECTS[record['question']]} <= {record['limit']:.4g}"
    if record["verdict"] != "more":
        no = "" if record["verdict"] == "pass" else "not "
        return f"{record['verdict']}: it is {no}so that {claim} (level {record['alpha']:g})"
    if (answers := record.get("more_samples")) is not None:
        wanted = f"about {answers:,} more samples"
    elif (prompts := record.get("more_prompts")) is not None:
        wanted = f"about {prompts:,} more prompts (more answers to these will not do)"
        if record["judge"] == "people":
            wanted = f"labels for about {prompts:,} more prompts"
    else:
        wanted = "more than can be foreseen, its mean lies so near the limit,"
    return f"needs {wanted} to tell whether {claim} (level {record['alpha']:g})"


def sentences(record: Record) -> list[str]:
    """Return what stands behind the answer, warnings first, a sentence each."""
    subject = SUBJECTS[record["question"]]
    words = [
        *[f"Warning: {warning}" for warning in record["warnings"]],
        f"{subject} is {record['estimate']:.4g} on {record['prompts']:,} {_where(record)}, at least "
        f"{record['lower']:.4g} and at most {record['upper']:.4g}, each at level {record['alpha']:g} however "
        "often one looks.",
    ]
    if record["judge"] == "people":
        return [*words, *_people(record)]
    low, high = record["range"]
    words.append(
        f"Judged by {record['judge']}; range of the judged values {low:.4g} to {high:.4g} "
        f"({record['range_origin']})."
    )
    if (truth := record["truth"]) is not None:
        side = "met" if truth["met"] else "not met"
        words.append(
            f"The truth, every answer enumerated: {subject} = {truth['value']:.4g}, the limit is {side}."
        )
    return [*words, *_beside(record["beside"])]


def _where(record: Record) -> str:
    if record["judge"] == "people":
        return "prompts that people labelled"
    return f"judge prompts, {record['samples_per_prompt']} answers each in {record['looks']} looks"


def _people(record: Record) -> list[str]:
    doubts = f"{record['unsure']} labels are unsure and count against the claim. " if record["unsure"] else ""
    return [
        f"{doubts}The reference's rate is {record['reference_estimate']:.4g}; the policy's less the "
        f"reference's is at most {record['difference_upper']:.4g}.",
        "No scorer had a part in this.",
    ]


def _beside(beside: Record) -> list[str]:
    """Return the figures that decide nothing, policy first and the reference in comparison."""
    words = []
    if (safe := beside["safe_ratio"]) is not None:
        words.append(f"Safe answers: {_share(safe['policy'])}; reference {_share(safe['reference'])}.")
    tail = beside["tail_mean"]
    words.append(
        f"Mean cost of the worst {beside['tail_share']:.0%} (CVaR): {tail['policy']:.4g}; reference "
        f"{tail['reference']:.4g}."
    )
    if (turned := beside["refusals"]) is not None:
        words.append(
            f"Refusals of {turned['prompts']} safe prompts that look unsafe: {_share(turned['policy'])}; "
            f"reference {_share(turned['reference'])}."
        )
    if (length := beside["words"]) is not None:
        words.append(f"Words per answer: {length['policy']:.1f}; reference {length['reference']:.1f}.")
    cells = "; ".join(f"{name} {share:.1%}" for name, share in beside["four_cells"].items())
    return [*words, f"Against the reference's answers: {cells} (ties half and half)."]


def _share(estimate: list[float]) -> str:
    value, low, high = estimate
    return f"{value:.1%} ({low:.1%} to {high:.1%})"
