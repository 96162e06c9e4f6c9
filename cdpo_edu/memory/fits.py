"""Whether a plan fits a memory, and the cheapest change of settings that makes it fit.

"Cheapest" is in time: the changes are tried in the order of `CHANGES`, which begins with those that only
divide the same work and ends with those that compute more; the model, its bits and the budgets, which change
the result, are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from ..types import InputError
from .plan import GIB, Plan
from .predict import Prediction, predict


def available(device: str) -> int:
    """Return the bytes that a run may take: what is free on the card, or what the system can give."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield ever smaller plans with the options that make them, cheapest in time first."""
    said: list[str] = []

    def now(option: str) -> str:
        said[:] = [old for old in said if old.split()[0] != option.split()[0]] + [option]
        return " ".join(said)

    while plan.eval_rows > 8:
        plan = plan._replace(eval_rows=plan.eval_rows // 2)
        yield now(f"--eval-rows {plan.eval_rows}"), plan
    while plan.pairs_at_once % 2 == 0 and plan.pairs_at_once > 2:
        plan = plan._replace(micro_batch=plan.pairs_at_once // 2)
        yield now(f"--micro-batch {plan.micro_batch}"), plan
    if plan.scorers == "resident" and (plan.reward or plan.cost):
        plan = plan._replace(scorers="swapped")
        yield now("--scorers swapped"), plan
    if not plan.checkpointing:
        plan = plan._replace(checkpointing=True)
        yield now("--checkpointing"), plan
    if plan.pairs_at_once > 1:
        plan = plan._replace(micro_batch=1)
        yield now("--micro-batch 1"), plan
    while plan.eval_rows > 1:
        plan = plan._replace(eval_rows=plan.eval_rows // 2)
        yield now(f"--eval-rows {plan.eval_rows}"), plan


def cheapest(plan: Plan, room: int) -> tuple[str, Prediction] | None:
    """Return the first change after which the plan fits in ``room`` bytes, or None where none is enough.

    Only the last plan is looked at first: where it does not fit, none before it does.
    """
    tried = list(changes(plan))
    if not tried or predict(tried[-1][1]).peak.total > room:
        return None
    low, high = 0, len(tried) - 1  # each change needs no more memory than the one before
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if predict(tried[middle][1]).peak.total <= room else (middle + 1, high)
    return tried[low][0], predict(tried[low][1])


def require_room(plan: Plan, room: int | None = None) -> Prediction:
    """Return the prediction of a plan that fits.

    Parameters
    ----------
    room : int, optional
        Bytes; absent, what the device has free now.

    Raises
    ------
    InputError
        When it does not fit: how much is missing, and the cheapest settings that would.
    """
    room = available(plan.device) if room is None else room
    found = predict(plan)
    if found.peak.total <= room:
        return found
    change = cheapest(plan, room)
    if change is None:
        remedy = "no setting of batches, checkpointing or scorers is enough: fewer --bits or a smaller model"
    else:
        options, smaller = change
        remedy = f"the cheapest that fits: {options} ({smaller.peak.total / GIB:.2f} GiB)"
    raise InputError(
        f"this run would need {found.peak.total / GIB:.2f} GiB ({found.peak.name}) and {room / GIB:.2f} GiB "
        f"are free; {remedy}"
    )
