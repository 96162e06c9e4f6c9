"""Two runs side by side on the same judge prompts: their answers, and which is safer and better.

Where the cost model flags an answer, its text and the prompt's are left out unless asked for.

Left out: a verdict; this is for reading.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..evaluate import clustered_mean, stratified_mean
from ..pairs import digest_of_batch
from ..types import Batch, InputError
from ..verdict import four_cells, mean_over
from .draws import draw, open_run, scores
from .judges import judge_of

HIDDEN = "[not shown: the cost model flags an answer here; --show-flagged shows it]"


class Side(NamedTuple):
    """One answer: its text or number, its cost, whether it is flagged."""

    answer: str
    cost: float
    flagged: bool


class Compared(NamedTuple):
    """Rows of (prompt, answer of A, answer of B), and figures over all answers; A's scorers judge both."""

    rows: list[tuple[str, Side, Side]]
    figures: dict[str, Any]


def compare_runs(
    a: Path,
    b: Path,
    *,
    count: int = 5,
    samples: int = 4,
    judge_cost: str | None = None,
    show_flagged: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Compared:
    """Return the first answers of both runs to ``count`` judge prompts, and how all their answers compare.

    Answers are those of each run's verdict; ``samples`` per prompt are drawn where there are none. An answer
    is flagged where its cost lies above the boundary of safe and unsafe; with a cost that has no boundary,
    every text counts as flagged.

    Raises
    ------
    InputError
        When the runs have not the same judge prompts.
    """
    opened = [open_run(run, say) for run in (a, b)]
    if len({digest_of_batch(one.prompts) for one in opened}) > 1:
        raise InputError(f"{a} and {b}: they have different judge prompts; train both on one split (--seed)")
    judge = judge_of(opened[0], judge_cost)
    gold = opened[0].job.gold
    helper = gold[0] if judge.gold and gold is not None else opened[0].scored.reward_scorer
    answers, costs, rewards = [], [], []
    for one in opened:
        there = (one.run / "verdict" / "draws" / "0000.json").exists()
        draws = draw(one, 0 if there else samples, say)
        answers.append(draws.policy)
        costs.append(scores(one, draws, judge.scorer, "cost", say)[0])
        rewards.append(scores(one, draws, helper, "reward", say)[0])
    m = min(cost.shape[1] for cost in costs)
    costs, rewards = [part[:, :m] for part in costs], [part[:, :m] for part in rewards]
    anchored = bool(getattr(judge.scorer, "anchored", False))
    limit = judge.boundary if anchored else float("-inf")
    rows = [
        _row(opened[0].prompts, answers, costs, i, limit, show_flagged)
        for i in range(min(count, len(opened[0].prompts)))
    ]
    weights = opened[0].weights
    figures: dict[str, Any] = {
        "prompts": len(opened[0].prompts),
        "samples_per_prompt": m,
        "judge": judge.name,
        "cost": {name: mean_over(cost.mean(dim=1), weights) for name, cost in zip("AB", costs, strict=True)},
        "b_minus_a": _interval(costs[1] - costs[0], weights),
        "b_against_a": four_cells((rewards[1], rewards[0]), (costs[1], costs[0]), weights),
    }
    return Compared(rows, figures)


def _row(
    prompts: Batch, answers: list[Batch], costs: list[Tensor], i: int, limit: float, show: bool
) -> tuple[str, Side, Side]:
    sides = []
    for part, cost in zip(answers, costs, strict=True):
        each = len(part) // len(prompts)
        sides.append(Side(_text(part[i * each]), float(cost[i, 0]), bool(cost[i, 0] > limit)))
    hide = not show and not isinstance(prompts, Tensor) and any(side.flagged for side in sides)
    shown = [side._replace(answer=HIDDEN) if side.flagged and hide else side for side in sides]
    return (HIDDEN if hide else _text(prompts[i]), shown[0], shown[1])


def _text(item: Any) -> str:
    return str(item.item() if isinstance(item, Tensor) else item)


def _interval(values: Tensor, weights: Tensor | None) -> list[float | None]:
    """Return the mean and its 95 % interval, which a lone answer to each prompt of a world does not have."""
    if weights is not None and values.shape[1] < 2:
        return [mean_over(values.mean(dim=1), weights), None, None]
    own = clustered_mean(values) if weights is None else stratified_mean(values, weights)
    return [own.value, own.low, own.high]
