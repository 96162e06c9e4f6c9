"""Everything the dual loop knows between two rounds, on disk and back.

Left out: the policy's own weights (a policy saves itself), and the loop (`constrained`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .history import Record, read_history, write_history
from .lagrangian import Visit
from .pairs import ScoredPairs, write_atomically
from .types import Batch, InputError

PAIR_COLUMNS = ("reward", "cost", "ref_logp")
STATE_COLUMNS = ("last_target", "reference_reward", "reference_cost", "last_cost")


@dataclass
class LoopState:
    """Everything the loop knows between two rounds, apart from the policy's own weights."""

    cost_limit: float
    lam: float
    pairs: ScoredPairs
    last_target: Tensor
    """Targets of the round before, to count the labels that a new lam flips."""
    reference_reward: Tensor
    reference_cost: Tensor
    """Scores of the reference's own samples, shape (X, n): the sampled problem, and one side of a pair."""
    last_cost: Tensor
    """Costs of the last policy's samples, shape (X, n): the other side."""
    history: list[Record] = field(default_factory=list)
    walk: list[Visit] = field(default_factory=list)
    """The multipliers of the rounds so far, each with what was measured there: all that a rule sees."""
    misfit: float = math.inf
    """Estimate of KL(pi || pi_lam) of the last policy, nats."""

    def save(self, directory: Path) -> None:
        """Write history.jsonl, loop.json and loop.safetensors into ``directory``."""
        pairs = (self.pairs.prompts, self.pairs.y0, self.pairs.y1)
        texts = [part.tolist() if isinstance(part, Tensor) else part for part in pairs]
        numbers = {"cost_limit": self.cost_limit, "lam": self.lam, "pairs": texts, "walk": self.walk}
        numbers["misfit"] = self.misfit if math.isfinite(self.misfit) else None
        write_history(self.history, directory / "history.jsonl")
        (directory / "loop.json").write_text(json.dumps(numbers), encoding="utf-8")
        columns = {name: getattr(self.pairs, name) for name in PAIR_COLUMNS}
        columns |= {name: getattr(self, name) for name in STATE_COLUMNS}
        if self.pairs.sets is not None:
            columns["sets"] = self.pairs.sets
        write_atomically(columns, directory / "loop.safetensors")

    @classmethod
    def load(cls, directory: Path, scored: ScoredPairs) -> LoopState:
        """Return the state that `save` left in ``directory`` by a run that began with ``scored``.

        Raises
        ------
        InputError
            When the run there began with other pairs or other scores.
        """
        saved = json.loads((directory / "loop.json").read_text(encoding="utf-8"))
        columns = load_file(directory / "loop.safetensors")
        texts: list[Batch] = saved["pairs"]
        if isinstance(scored.prompts, Tensor):
            texts = [torch.tensor(part) for part in saved["pairs"]]
        own: dict[str, Any] = {name: columns[name] for name in PAIR_COLUMNS}
        own["sets"] = columns.get("sets")
        pairs = replace(scored, prompts=texts[0], y0=texts[1], y1=texts[2], **own)
        if not _begins_with(pairs, scored):
            raise InputError(f"{directory}: the run there began with other pairs or scores than these")
        rest: dict[str, Any] = {name: columns[name] for name in STATE_COLUMNS}
        history, walk = read_history(directory / "history.jsonl"), [Visit(*visit) for visit in saved["walk"]]
        misfit = math.inf if saved["misfit"] is None else float(saved["misfit"])
        numbers = (saved["cost_limit"], saved["lam"], pairs)
        return cls(*numbers, history=history, walk=walk, misfit=misfit, **rest)


def _begins_with(pairs: ScoredPairs, scored: ScoredPairs) -> bool:
    """Tell whether the first of ``pairs`` are the whole of ``scored``: rounds only ever add pairs."""
    count = len(scored)
    if len(pairs) < count:
        return False
    return all(torch.equal(getattr(pairs, name)[:count], getattr(scored, name)) for name in PAIR_COLUMNS)
