"""What people gave: two answers to one prompt and their labels, and prompts set aside.

Left out: reading files (`preference_data`), fitting scorers (`scorers`), labels by score (`scored`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import processes
from ..long_work import kept_in
from ..types import Batch, InputError, Policy, Scorer, World, take
from .digests import digest, digest_of_batch, write_atomically
from .prompt_sets import PromptSets, distinct, set_aside
from .scored import Scaled, ScoredPairs


@dataclass(frozen=True)
class Pairs:
    """Comparisons (x, y0, y1) with whatever labels people gave.

    Parameters
    ----------
    prompts, y0, y1 : Batch of n
        Long tensors on the bandit, lists of strings on the text tiers.
    better : Tensor, shape (n,), optional
        Probability (or share of judges) in [0, 1] that y1 is the more helpful; 0.5 a tie; nan unknown.
    safer : Tensor, shape (n,), optional
        The same for "y1 is the safer one".
    unsafe : Tensor, shape (n, 2), optional
        1 unsafe, 0 safe, nan unknown, for y0 and y1. Only these flags give a fitted cost its zero.
    prompt_sets : PromptSets, optional
        Where cost is measured and who is set aside; `split` makes them. Absent, all prompts do all jobs.
    world : World, optional
        The finite universe these pairs come from, where there is one: it makes certificates exact.
    sets : Tensor, shape (n,), long, optional
        Pairs of equal number are comparisons within one ranking of answers to one prompt, and neighbours.
    """

    prompts: Batch
    y0: Batch
    y1: Batch
    better: Tensor | None = None
    safer: Tensor | None = None
    unsafe: Tensor | None = None
    prompt_sets: PromptSets | None = None
    world: World | None = None
    sets: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that every column has one entry per pair."""
        for name in ("y0", "y1", "better", "safer", "unsafe", "sets"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.prompts):
                raise InputError(f"pairs: {len(self.prompts)} prompts but {len(column)} entries in {name!r}")

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.prompts)

    @property
    def fingerprint(self) -> str:
        """Return a digest of prompts and answers, the part of a cache key that stands for the data."""
        return digest(*(digest_of_batch(part) for part in (self.prompts, self.y0, self.y1)))

    def take(self, index: Tensor | list[int]) -> Pairs:
        """Return the pairs at ``index``, in that order."""
        index = torch.as_tensor(index, dtype=torch.long)
        named = {name: getattr(self, name) for name in ("better", "safer", "unsafe", "sets")}
        columns = {name: None if column is None else column[index] for name, column in named.items()}
        prompts, y0, y1 = (take(part, index) for part in (self.prompts, self.y0, self.y1))
        return replace(self, prompts=prompts, y0=y0, y1=y1, **columns)

    def split(self, *, seed: int = 0, dual: float = 0.15, judge: float = 0.15) -> Pairs:
        """Set ``dual`` and ``judge`` prompts aside and return the training pairs that remain.

        Parameters
        ----------
        seed : int
            Another seed, another split; see `set_aside`.
        dual, judge : float
            Shares of the pairs, each in (0, 1), together below 1.

        Raises
        ------
        InputError
            When a set would be empty.
        """
        rows, sets = set_aside(self.prompts, seed=seed, dual=dual, judge=judge)
        return replace(self.take(rows), prompt_sets=sets)

    def score(
        self,
        reward: Scorer,
        cost: Scorer,
        reference: Policy,
        *,
        reward_scale: float = 1.0,
        cost_scale: float = 1.0,
        cache: str | Path | None = None,
    ) -> ScoredPairs:
        """Return the same pairs with reward, cost and log pi_ref as columns, each computed once.

        Parameters
        ----------
        reward, cost : Scorer
            Higher is better; higher is more harmful.
        reference : Policy
            Frozen before training starts.
        reward_scale, cost_scale : float
            Above 0; they bring published scores (spread 6 to 17) to nats that ``beta`` can work with.
            A limit is stated in the scaled unit.
        cache : path, optional
            Folder for the columns, keyed by data, scorers, reference and scales. A scorer or reference
            without ``fingerprint`` is never cached: equal names would not mean equal numbers.
        """
        scaled = (Scaled(reward, reward_scale), Scaled(cost, cost_scale))
        prints = [getattr(part, "fingerprint", "") for part in (*scaled, reference)]
        path = (
            Path(cache) / f"{digest(self.fingerprint, *prints)}.safetensors"
            if cache and all(prints)
            else None
        )
        functions = {"reward": scaled[0], "cost": scaled[1], "ref_logp": reference.log_prob}
        columns = self._cached(functions, path) if path else self._columns(functions)
        sets = self.prompt_sets or PromptSets(*(distinct(self.prompts),) * 3)
        return ScoredPairs(
            self.prompts,
            self.y0,
            self.y1,
            **columns,
            reward_scorer=scaled[0],
            cost_scorer=scaled[1],
            reference=reference,
            prompt_sets=sets,
            world=self.world,
            sets=self.sets,
        )

    def _cached(self, functions: dict[str, Any], path: Path) -> dict[str, Tensor]:
        """Return the columns of a file, computed and written first when it is not there."""
        if processes.agreed(not path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            with kept_in(path.with_suffix(".unfinished")):
                columns = self._columns(functions)
                write_atomically(columns, path)
            return columns
        return load_file(path)

    def _columns(self, functions: dict[str, Any]) -> dict[str, Tensor]:
        return {name: self._both(function) for name, function in functions.items()}

    def _both(self, function: object) -> Tensor:
        columns = [function(self.prompts, answers) for answers in (self.y0, self.y1)]  # type: ignore[operator]
        both = torch.stack([column.detach().to("cpu", torch.float64) for column in columns], dim=1)  # (n, 2)
        if not both.isfinite().all():
            row = int((~both.isfinite()).any(dim=1).nonzero()[0])
            raise InputError(f"pair {row + 1}: a score or reference log-probability is not a finite number")
        return both
