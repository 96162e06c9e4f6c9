"""The record of a run: one line per dual round, the only thing training hands to plots and reports.

JSON lines with fixed columns and no clock times, so that equal runs are equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from . import processes
from .types import InputError


@dataclass(frozen=True)
class Record:
    """One dual round; round 0 is the reference before any training.

    Attributes
    ----------
    round : int
    lam : float
        Multiplier that labelled this round's pairs, at least 0.
    reward, cost : float
        Means of the policy's own samples on the dual prompts; higher is better, higher is more harmful.
    cost_low, cost_high : float
        95 % interval of ``cost``.
    cost_limit : float
        C, in the unit of ``cost``.
    kl : float
        E_x KL(pi || pi_ref) in nats, estimated on the same samples.
    dpo_loss : float or None
        Mean DPO loss over the last tenth of the round's steps, nats per pair; None in round 0.
    grad_steps : int
        Gradient steps of this round.
    labels_flipped : int
        Pairs whose preferred answer changed against the round before (round 1: against lam = 0).
    samples : int or None
        Answers per prompt that were drawn, where that was decided while drawing (`sample_size`); then
        ``cost_low`` and ``cost_high`` hold however often one looked. None, and no column, where it was fixed.
    """

    round: int
    lam: float
    reward: float
    cost: float
    cost_low: float
    cost_high: float
    cost_limit: float
    kl: float
    dpo_loss: float | None
    grad_steps: int
    labels_flipped: int
    samples: int | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the columns in their fixed order."""
        columns = asdict(self)
        if self.samples is None:
            del columns["samples"]
        return columns

    def as_line(self) -> str:
        """Return one line of history.jsonl, without the line end."""
        return json.dumps(self.as_dict(), allow_nan=False)


def write_history(records: Iterable[Record], path: Path) -> None:
    """Write one JSON line per round, whole or not at all, once for all processes."""
    if not processes.first():
        return
    partial = path.with_suffix(".partial")
    partial.write_text("".join(record.as_line() + "\n" for record in records), encoding="utf-8")
    partial.replace(path)


def read_history(path: str | Path) -> list[Record]:
    """Read what `write_history` wrote.

    Raises
    ------
    InputError
        Naming file and line, when a line is no JSON object with exactly the columns of `Record`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such history; a run folder holds it as history.jsonl")
    columns = {field.name for field in fields(Record)} - {"samples"}
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from error
        if not isinstance(row, dict) or set(row) - {"samples"} != columns:
            raise InputError(f"{path}, line {number}: the columns must be {', '.join(sorted(columns))}")
        records.append(Record(**row))
    return records
