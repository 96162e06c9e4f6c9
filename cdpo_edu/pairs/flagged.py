"""Single answers that people called safe or unsafe: what many teams have, and no comparison.

A cost model learns from them as they are (`scorers.CostModel`). Constrained DPO relabels pairs by score, so
`Flagged.paired` makes pairs of them: the answers to one prompt two by two, and one drawn from the reference
for an answer that stays alone.

Left out: reading files (`preference_data`); a label of helpfulness, which such rows do not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..types import Batch, InputError, take
from .digests import digest, digest_of_batch
from .people import Pairs
from .prompt_sets import PromptSets, set_aside


@dataclass(frozen=True)
class Flagged:
    """Rows (x, y, unsafe).

    Parameters
    ----------
    prompts, answers : Batch of n
    unsafe : Tensor, shape (n,)
        1 unsafe, 0 safe.
    prompt_sets : PromptSets, optional
        As in `Pairs`; `split` makes them.
    """

    prompts: Batch
    answers: Batch
    unsafe: Tensor
    prompt_sets: PromptSets | None = None

    def __post_init__(self) -> None:
        """Check that every column has one entry per row."""
        for name in ("answers", "unsafe"):
            if len(getattr(self, name)) != len(self.prompts):
                raise InputError(
                    f"flagged answers: {len(self.prompts)} prompts but {len(getattr(self, name))} entries in "
                    f"{name!r}"
                )

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.prompts)

    @property
    def fingerprint(self) -> str:
        """Return a digest of prompts, answers and flags."""
        flags = repr(self.unsafe.tolist())
        return digest(*(digest_of_batch(part) for part in (self.prompts, self.answers)), flags)

    def take(self, index: Tensor | Sequence[int]) -> Flagged:
        """Return the rows at ``index``, in that order."""
        places = torch.as_tensor(index, dtype=torch.long)
        prompts, answers = (take(part, places) for part in (self.prompts, self.answers))
        return replace(self, prompts=prompts, answers=answers, unsafe=self.unsafe[places])

    def split(self, *, seed: int = 0, dual: float = 0.15, judge: float = 0.15) -> Flagged:
        """Set ``dual`` and ``judge`` prompts aside and return the rows that remain, as `Pairs.split` does."""
        rows, sets = set_aside(self.prompts, seed=seed, dual=dual, judge=judge)
        return replace(self.take(rows), prompt_sets=sets)

    @property
    def alone(self) -> list[int]:
        """Return the rows that `paired` needs a second answer for, in order.

        >>> Flagged(["x", "y", "x"], ["a", "b", "c"], torch.tensor([1.0, 0.0, 0.0])).alone
        [1]
        """
        return [couple[0] for couple in self._couples() if len(couple) == 1]

    def paired(self, others: Sequence[str] = ()) -> Pairs:
        """Return pairs of answers to one prompt, with their flags as ``unsafe`` and no other label.

        Equal answers to one prompt count once.

        Parameters
        ----------
        others : sequence of str
            One more answer for each row of `alone`, such as the reference gives; nobody has flagged it. An
            answer that is the same again makes no pair, and its row is left out.

        Raises
        ------
        InputError
            When there is not one more answer for each, or no pair at all.

        Examples
        --------
        >>> rows = Flagged(["x", "y", "x"], ["a", "b", "c"], torch.tensor([1.0, 0.0, 0.0]))
        >>> pairs = rows.paired(["another"])
        >>> pairs.y0, pairs.y1, pairs.unsafe.tolist()
        (['a', 'b'], ['c', 'another'], [[1.0, 0.0], [0.0, nan]])
        """
        if len(others) != len(self.alone):
            raise InputError(
                f"paired: {len(self.alone)} answers stand alone and {len(others)} more were given"
            )
        more = iter(others)
        found: list[tuple[int, str, float]] = []
        for first, *second in self._couples():
            if second:
                found.append((first, str(self.answers[second[0]]), float(self.unsafe[second[0]])))
            elif (other := next(more)) != self.answers[first]:
                found.append((first, other, float("nan")))
        if not found:
            raise InputError("paired: no prompt has two different answers")
        rows, y1, flags = zip(*found, strict=True)
        prompts, y0 = (take(part, rows) for part in (self.prompts, self.answers))
        unsafe = torch.stack([self.unsafe[list(rows)].double(), torch.tensor(flags).double()], dim=1)
        return Pairs(prompts, y0, list(y1), unsafe=unsafe, prompt_sets=self.prompt_sets)

    def _couples(self) -> list[list[int]]:
        """Return the rows of each prompt two by two, in order of first appearance."""
        rows: dict[str, dict[str, int]] = {}
        for i, (prompt, answer) in enumerate(zip(self.prompts, self.answers, strict=True)):
            rows.setdefault(str(prompt), {}).setdefault(str(answer), i)
        lists = [list(places.values()) for places in rows.values()]
        return [places[k : k + 2] for places in lists for k in range(0, len(places), 2)]
