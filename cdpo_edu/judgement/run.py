"""The verdict on a run folder: by a cost scorer on kept answers, or by people on a blinded sheet.

Both leave their record in ``verdict.json`` and in the report. Left out: the test (`verdict`), the answers
(`draws`), who judges (`judges`), the words (`words`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..certificate import enumerated
from ..evaluate import Estimate, clustered_mean, stratified_mean
from ..report import write_report
from ..run_folder import write_json
from ..types import Batch, InputError, take
from ..unsafe_rate import check_rate
from ..verdict import (
    Bounds,
    Decision,
    blinded,
    by_cluster,
    decide,
    four_cells,
    lengths,
    looks_unsafe,
    mean_over,
    read_labels,
    refuses,
    tail_mean,
    units,
    variances,
    write_sheet,
)
from .draws import Draws, Opened, draw, open_run, scores
from .judges import Judge, judge_of, range_of
from .words import needs, warnings_of

Say = Callable[[str], None]
RATE = Bounds(0.0, 1.0, "a rate")


class Question(NamedTuple):
    """What is asked of the judged values: shape (X, m), their limit and range, how many were clipped."""

    kind: str
    values: Tensor
    limit: float
    bounds: Bounds
    clipped: int


def verdict_run(
    run: Path,
    *,
    alpha: float = 0.05,
    samples: int | None = None,
    judge_cost: str | None = None,
    cost_range: tuple[float, float] | None = None,
    max_unsafe_rate: float | None = None,
    xstest: Path | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Draw ``samples`` more answers per judge prompt and return the record of the verdict on all of them.

    Parameters
    ----------
    run : path
        Of a finished run.
    alpha : float
        Chance of a false pass, and of a false fail, over all calls together.
    samples : int, optional
        Answers per prompt that this call adds, by default as many as the run drew in a round; 0 adds none.
    judge_cost : str, optional
        See `judge_of`.
    cost_range : pair of float, optional
        Of the cost of one answer, stated before looking. Lower costs count as LOW; a higher one is an error.
    max_unsafe_rate : float, optional
        Judge P(unsafe) against this rate, in place of the run's limit on E[c].
    xstest : path, optional
        Safe prompts that look unsafe, in XSTest's format.

    Raises
    ------
    InputError
        For whatever of these cannot be used.
    """
    if samples is not None and samples < 0:
        raise InputError(f"--samples {samples}: give a number of at least 0")
    if not 0 < alpha < 1:
        raise InputError(f"--alpha {alpha:g}: alpha must lie between 0 and 1")
    opened = open_run(run, say)
    judge = judge_of(opened, judge_cost)
    wary = looks_unsafe(xstest) if xstest is not None else None
    if wary is not None and opened.config.tier != "lm":
        raise InputError(
            "--xstest: only a language model of the lm tier can read these prompts; leave it out"
        )
    _check(opened, judge, max_unsafe_rate)
    bounds = RATE if max_unsafe_rate is not None else range_of(opened, judge, cost_range)
    draws = draw(opened, opened.config.samples if samples is None else samples, say)
    cost = scores(opened, draws, judge.scorer, "cost", say)
    asked = _question(opened, judge, cost, bounds, max_unsafe_rate)
    decision = decide(
        _units(opened, asked.values), asked.limit, asked.bounds, alpha=alpha, clipped=asked.clipped > 0
    )
    record = _record(opened, asked, decision, alpha, draws) | {
        "judge": judge.name,
        "judge_is_truth": judge.gold,
        "judge_made_labels": judge.same,
        **needs(decision, variances(_clustered(opened, asked.values)), len(opened.prompts), _world(opened),
                len(_units(opened, asked.values)), asked.values.shape[1]),
        "beside": _beside(opened, judge, draws, cost, wary, say),
        "truth": _truth(opened, judge, asked) if opened.weights is not None else None,
    }  # fmt: skip
    return _leave(run, "by_scorer", record | {"warnings": warnings_of(record)})


def sheet_run(run: Path, file: Path, count: int, *, say: Say = lambda line: None) -> int:
    """Write the blinded sheet for ``count`` prompts, its key apart, and return the number of its rows.

    A longer sheet holds every row of a shorter one, so labels can be added without spending the level.

    Raises
    ------
    InputError
        When answers are no texts, or there are fewer prompts.
    """
    opened = open_run(run, say)
    if isinstance(opened.prompts, Tensor):
        raise InputError("--export-for-labelling: the bandit's answers are numbers, which nobody can judge")
    if count < 1:
        raise InputError(f"--export-for-labelling {count}: give a number of at least 1")
    places = _places(opened, count)
    needed = max(k for _, k in places) + 1
    draws = draw(opened, 0 if (run / "verdict" / "draws" / "0000.json").exists() else needed, say)
    m = len(draws.policy) // len(opened.prompts)
    if m < needed:
        draws = draw(opened, needed - m, say)
        m = needed
    index = [i * m + k for i, k in places]
    asked = _texts(take(opened.prompts, [i for i, _ in places]))
    answers = [_texts(take(part, index)) for part in (draws.policy, draws.reference)]
    rows, key = blinded(asked, answers[0], answers[1], seed=opened.config.seed)
    write_sheet(file, rows)
    write_json(run / "verdict" / "labels-key.json", {"prompts": len(places), "rows": key})
    return len(rows)


def label_run(
    run: Path, file: Path, *, alpha: float = 0.05, max_unsafe_rate: float, say: Say = lambda line: None
) -> dict[str, Any]:
    """Return the record of the verdict on people's labels: no scorer has any part in it.

    Raises
    ------
    InputError
        For a sheet that is not this run's, or not fully labelled.
    """
    keyed = run / "verdict" / "labels-key.json"
    if not keyed.exists():
        raise InputError(f"{keyed}: missing; --export-for-labelling writes a sheet and its key first")
    key = json.loads(keyed.read_text(encoding="utf-8"))
    labels = read_labels(file, key["rows"])
    check_rate(max_unsafe_rate)
    opened = open_run(run, say)
    weights = opened.weights

    def counted(column: Tensor) -> Tensor:
        return column if weights is None else column.view(-1, len(weights)) @ weights

    high, low = counted(labels.policy_high), counted(labels.policy_low)
    decision = decide(high, max_unsafe_rate, RATE, alpha=alpha, lowest=low)
    against = decide(
        high - counted(labels.reference_low), 0.0, Bounds(-1.0, 1.0, "a difference of rates"), alpha=alpha
    )
    short = None if decision.times is None or decision.answer != "more" else decision.times - 1
    record: dict[str, Any] = {
        "verdict": decision.answer,
        "question": "unsafe rate",
        "alpha": alpha,
        "limit": max_unsafe_rate,
        "estimate": decision.estimate,
        "lower": decision.lower,
        "upper": decision.upper,
        "prompts": len(labels.prompts),
        "unsure": int((labels.policy_high != labels.policy_low).sum()),
        "reference_estimate": float(counted(labels.reference_high).mean()),
        "difference_upper": against.upper,
        "more_prompts": None if short is None else max(1, round(short * len(labels.prompts))),
        "judge": "people",
        "warnings": [],
    }
    return _leave(run, "by_people", record)


def _leave(run: Path, name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write the record beside the other one's in verdict.json, and the report anew."""
    path = run / "verdict.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, kept | {name: record})
    write_report(run)
    return record


def _check(opened: Opened, judge: Judge, rate: float | None) -> None:
    anchored = bool(getattr(judge.scorer, "anchored", False))
    if rate is not None:
        check_rate(rate)
    if not anchored and (rate is not None or opened.config.cost_limit_relative is None):
        raise InputError(
            f"{judge.name}: this cost has no zero (it does not say `anchored = True`), so neither an "
            "absolute limit nor an unsafe rate means anything by it; judge by another, see --judge-cost"
        )


def _question(
    opened: Opened, judge: Judge, cost: tuple[Tensor, Tensor], bounds: Bounds, rate: float | None
) -> Question:
    """Return the values to be judged. Harm is never clipped: what is, makes the policy look worse."""
    if rate is not None:
        return Question("unsafe rate", (cost[0] > judge.boundary).double(), rate, RATE, 0)
    low, high, origin = bounds
    _within(cost[0], high, "above")
    policy, clipped = cost[0].clamp(min=low), int((cost[0] < low).sum())
    if (margin := opened.config.cost_limit_relative) is None:
        assert opened.config.limit is not None
        kind = "cost" if opened.config.max_unsafe_rate is None else "probability of unsafe"
        return Question(kind, policy, opened.config.limit, bounds, clipped)
    _within(-cost[1], -low, "below")
    reference, also = cost[1].clamp(max=high), int((cost[1] > high).sum())
    difference = Bounds(low - high, high - low, origin)
    return Question("difference to the reference", policy - reference, -margin, difference, clipped + also)


def _within(values: Tensor, end: float, side: str) -> None:
    if (beyond := int((values > end + 1e-9 * max(1.0, abs(end))).sum())) > 0:
        worst, end = float(values.max()), end
        if side == "below":
            worst, end = -worst, -end
        raise InputError(
            f"{beyond} judge answers have a cost {side} the stated range, as far as {worst:.4g} (it ends at "
            f"{end:.4g}); the verdict would not hold. State with --cost-range LOW,HIGH what no answer can "
            "leave, or judge a rate with --max-unsafe-rate R, which needs no range"
        )


def _world(opened: Opened) -> bool:
    return opened.weights is not None


def _clustered(opened: Opened, values: Tensor) -> Tensor:
    return values if opened.weights is not None else by_cluster(values, opened.clusters)


def _units(opened: Opened, values: Tensor) -> Tensor:
    return units(_clustered(opened, values), opened.weights)


def _record(
    opened: Opened, asked: Question, decision: Decision, alpha: float, draws: Draws
) -> dict[str, Any]:
    return {
        "verdict": decision.answer,
        "question": asked.kind,
        "alpha": alpha,
        "limit": asked.limit,
        "estimate": decision.estimate,
        "lower": decision.lower,
        "upper": decision.upper,
        "range": [asked.bounds.low, asked.bounds.high],
        "range_origin": asked.bounds.origin,
        "clipped": asked.clipped,
        "prompts": len(opened.prompts),
        "near_copies": len(opened.prompts) - len(set(opened.clusters)) if opened.weights is None else 0,
        "samples_per_prompt": asked.values.shape[1],
        "looks": len(draws.places),
        "prompt_sets": opened.scored.prompt_sets.fingerprint,
    }


def _beside(
    opened: Opened,
    judge: Judge,
    draws: Draws,
    cost: tuple[Tensor, Tensor],
    wary: list[str] | None,
    say: Say,
) -> dict[str, Any]:
    """Return the figures that stand beside the verdict and decide nothing."""
    gold = opened.job.gold
    helper = gold[0] if judge.gold and gold is not None else opened.scored.reward_scorer
    reward = scores(opened, draws, helper, "reward", say)
    w = opened.weights
    words = [lengths(part, len(opened.prompts)) for part in (draws.policy, draws.reference)]
    anchored = bool(getattr(judge.scorer, "anchored", False))
    return {
        "safe_ratio": None if not anchored else _two([(c <= judge.boundary).double() for c in cost], w),
        "tail_share": 0.1,
        "tail_mean": {"policy": tail_mean(cost[0], w), "reference": tail_mean(cost[1], w)},
        "four_cells": four_cells(reward, cost, w),
        "words": None if words[0] is None or words[1] is None
        else {"policy": mean_over(words[0].mean(dim=1), w), "reference": mean_over(words[1].mean(dim=1), w)},
        "refusals": None if wary is None else _refusals(opened, wary, say),
    }  # fmt: skip


def _two(columns: list[Tensor], weights: Tensor | None) -> dict[str, Any]:
    def estimate(values: Tensor) -> Estimate:
        if weights is None:
            return clustered_mean(values)
        return (
            stratified_mean(values, weights)
            if values.shape[1] > 1
            else Estimate(mean_over(values[:, 0], weights), 0.0, 1.0, float("inf"))
        )

    pairs = zip(("policy", "reference"), map(estimate, columns), strict=True)
    return {name: [own.value, max(0.0, own.low), min(1.0, own.high)] for name, own in pairs}


def _refusals(opened: Opened, wary: list[str], say: Say) -> dict[str, Any]:
    """Return the share of safe prompts that policy and reference turn away, by one answer to each."""
    say(f"answering {len(wary)} safe prompts that look unsafe")
    found: dict[str, Any] = {"prompts": len(wary)}
    for name, policy in (("policy", opened.job.policy), ("reference", opened.scored.reference)):
        generator = torch.Generator().manual_seed(opened.config.seed)
        answers = _texts(policy.sample(wary, 1, generator=generator))
        rate = clustered_mean(torch.tensor([[float(refuses(answer))] for answer in answers]))
        found[name] = [rate.value, max(0.0, rate.low), min(1.0, rate.high)]
    return found


def _truth(opened: Opened, judge: Judge, asked: Question) -> dict[str, Any]:
    """Return the judged expectation by enumeration, and whether the limit is met; worlds alone have one."""
    world = opened.scored.world
    assert world is not None and opened.weights is not None
    table = world.table(judge.scorer)
    if asked.kind == "unsafe rate":
        table = (table > judge.boundary).double()

    def expected(policy: Any) -> float:
        return mean_over((enumerated(world, policy) * table).sum(dim=1), opened.weights)

    value = expected(opened.job.policy)
    if asked.kind.startswith("difference"):
        value -= expected(opened.scored.reference)
    return {"value": value, "met": value <= asked.limit}


def _places(opened: Opened, count: int) -> list[tuple[int, int]]:
    """Return (prompt, answer) of each place on the sheet: one of each cluster, or whole rounds in a world."""
    x = len(opened.prompts)
    if opened.weights is not None:
        return [(i, k) for k in range(-(-count // x)) for i in range(x)]
    first = {cluster: i for i, cluster in reversed(list(enumerate(opened.clusters)))}
    order = sorted(first.values())
    random.Random(opened.config.seed).shuffle(order)
    if count > len(order):
        raise InputError(
            f"--export-for-labelling {count}: there are {len(order)} judge prompts that are no near-copies; "
            "give at most as many"
        )
    return [(i, 0) for i in order[:count]]


def _texts(batch: Batch) -> list[str]:
    return [str(item) for item in batch]
