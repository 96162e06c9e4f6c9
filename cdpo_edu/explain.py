"""Say in plain words which regime a run is in, on what evidence, and what to change.

Each diagnosis is one function: evidence in, a finding or nothing out. Several may hold at once.

Left out: reading the folder and asking the policy (`explain_run`); the report's verdict (`report_words`).

References: Rafailov et al. 2023, arXiv 2305.18290 (why only differences of log-probability are trained);
Razin et al. 2024, arXiv 2410.08847 (when the chosen answer's fall matters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .history import Record
from .score_table import ScoreTable

Array = NDArray[np.float64]

SURE = 6.9
"""Nats of gap at which a label is 0.999: from here on it hardly says how much better the better answer is."""


class Finding(NamedTuple):
    """A regime by name, what shows it, what to do."""

    regime: str
    evidence: str
    advice: str


class Evidence(NamedTuple):
    """What a run left to judge it by.

    Attributes
    ----------
    certificate : mapping
    history : sequence of Record
    beta : float
    gaps : Array, shape (n,)
        Gap of r - lam c between the two answers of each pair at the last multiplier, nats.
    reward_spread, cost_spread : float
        Standard deviation of reward and cost differences over the pairs, nats and cost units.
    table : ScoreTable
        The reference's own samples.
    chosen, rejected : Array, shape (m,), or None
        log pi - log pi_ref of the likelier and of the other answer of m pairs, nats.
    """

    certificate: Mapping[str, Any]
    history: Sequence[Record]
    beta: float
    gaps: Array
    reward_spread: float
    cost_spread: float
    table: ScoreTable
    chosen: Array | None = None
    rejected: Array | None = None


def findings(given: Evidence) -> list[Finding]:
    """Return every finding that holds; the limit's regime first, then what ails the measurement."""
    made = [diagnosis(given) for diagnosis in DIAGNOSES]
    return [finding for finding in made if finding is not None]


def limit_regime(given: Evidence) -> Finding:
    """Return infeasible, out of reach, slack, violated or binding: how the limit stands to the policy."""
    found, last = given.certificate, given.history[-1]
    limit, price = f"the limit {last.cost_limit:.3g}", f"lam = {last.lam:.3g}"
    cost = f"E[c] = {last.cost:.3g} ({last.cost_low:.3g} to {last.cost_high:.3g})"
    stopped = found.get("stopped") or {}
    if found["status"] == "infeasible":
        least = f"the least cost that any policy can have is {found['min_cost']:.3g}"
        advice = "raise the limit above that, or let the reference say more safe things (data, prompt)"
        return Finding("infeasible", f"{least}, above {limit}: proved", advice)
    if stopped.get("reason") == "out of reach":
        advice = (
            "raise the limit to what is reachable, lower beta, or give the reference safe answers to prefer"
        )
        return Finding("out of reach", str(stopped["words"]), advice)
    if last.lam == 0 and last.cost_low <= last.cost_limit:
        advice = "nothing: reward alone keeps it. Tighten the limit if it was meant to bind"
        return Finding("slack", f"lam is 0 and {cost}, {limit}", advice)
    if last.cost_low > last.cost_limit:
        advice = "more rounds or a longer step; if lam already rose a lot, see whether the limit is in reach"
        return Finding("violated", f"{cost} lies above {limit} at {price}", advice)
    if last.cost_high < last.cost_limit:
        advice = "the price is too high: helpfulness is given away. More rounds, or a shorter step"
        return Finding("overpaid", f"{cost} lies below {limit} at {price}", advice)
    return Finding("binding", f"{cost} cannot be told from {limit} at {price}", "nothing: this is the aim")


def hovering(given: Evidence) -> Finding | None:
    """Return that the multiplier goes back and forth without coming nearer."""
    mean = given.certificate.get("lam_average")
    if mean is None:
        return None
    walk = ", ".join(f"{record.lam:.3g}" for record in given.history[-4:])
    advice = "shorten the step (CurvatureRule needs none), or take the mean as the multiplier of a last round"
    return Finding("hovering", f"lam went {walk}; their mean is {mean:.3g}", advice)


def at_its_cap(given: Evidence) -> Finding | None:
    """Return that lam rose by the same step in the last two rounds and the limit is still not met.

    A first-order step of a constant excess looks the same, and asks for the same remedy.
    """
    lams = [record.lam for record in given.history[1:]]
    moves = np.diff(lams)
    last = given.history[-1]
    if len(moves) < 2 or last.cost_low <= last.cost_limit or moves[-1] <= 0:
        return None
    if abs(moves[-1] - moves[-2]) > 1e-6 * moves[-1]:
        return None
    advice = "raise the rule's largest step (max_step), start nearer (one-shot), or allow more rounds"
    return Finding(
        "multiplier at its cap", f"lam rose by {moves[-1]:.3g} twice and cost is above the limit", advice
    )


def saturated(given: Evidence) -> Finding | None:
    """Return that the labels are all but certain, or that the scores tell no answers apart."""
    sure = float((np.abs(given.gaps) > SURE).mean())
    if sure > 0.5:
        evidence = (
            f"{sure:.0%} of the pairs have a gap above {SURE} nats: their labels are 0 or 1 to three digits"
        )
        return Finding("scorer saturated", evidence, "scale the scores down (reward_scale, cost_scale)")
    for name, spread in (("reward", given.reward_spread), ("cost", given.cost_spread)):
        if spread < 1e-3:
            evidence = f"the {name} differs by {spread:.1g} between the answers of a pair"
            return Finding(
                "scorer saturated", evidence, f"the {name} model says the same of all: fit it anew"
            )
    return None


def few_samples(given: Evidence) -> Finding | None:
    """Return that re-weighting the reference's samples to the last lam leaves few of them that count."""
    trust = given.table.trustworthy(given.history[-1].lam, beta=given.beta)
    if trust:
        return None
    evidence = trust.describe().partition(";")[0]
    advice = "believe the rounds' own samples, not the one-shot start or a sweep; or draw more (--samples)"
    return Finding("effective sample too small", evidence, advice)


def chosen_falls(given: Evidence) -> Finding | None:
    """Return that the chosen answers lost probability, and whether that matters here.

    DPO trains differences, so both answers of a pair may fall while their margin grows. It is harmless when
    the mass went to answers that are better still: then the policy's own samples score higher, by r - lam c,
    than the reference's. It matters when they do not.
    """
    if given.chosen is None or given.rejected is None or given.chosen.mean() >= 0:
        return None
    first, last = given.history[0], given.history[-1]
    gain = (last.reward - last.lam * last.cost) - (first.reward - last.lam * first.cost)
    evidence = (
        f"log pi - log pi_ref is {given.chosen.mean():.2f} nats on chosen and {given.rejected.mean():.2f} on "
        f"rejected answers; the policy's own samples score {gain:+.2f} nats against the reference's"
    )
    if gain > 0:
        return Finding(
            "chosen log-prob falls, harmlessly", evidence, "nothing: the mass went to better answers"
        )
    advice = "add pairs from the policy's own samples (recycle), anchor it (Engine.sft_weight), or raise beta"
    return Finding("chosen log-prob falls, and it matters", evidence, advice)


DIAGNOSES = (limit_regime, hovering, at_its_cap, saturated, few_samples, chosen_falls)
