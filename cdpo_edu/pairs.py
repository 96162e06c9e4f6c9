"""Comparisons, their scores, and the labels that a multiplier puts on them.

`Pairs` is what people gave: two answers to one prompt and their labels. `ScoredPairs` adds the columns
that are computed once: reward, cost and reference log-probability of both answers. `Preferences` is what
DPO trains on: the same answers and one target probability each. A new multiplier changes the targets and
nothing else, so relabelling costs microseconds (Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1).

Left out: reading files (`preference_data`), fitting scorers (`scorers`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .lagrangian import penalized
from .types import Batch, InputError, Policy, Scorer, World, join, take

Labels = Literal["soft", "bernoulli", "hard"]


class PromptSets(NamedTuple):
    """Three disjoint sets of prompts: to train on, to measure cost and choose lam on, to judge on."""

    train: Batch
    dual: Batch
    judge: Batch

    @property
    def fingerprint(self) -> str:
        """Return a digest of the three sets, so that two runs can show that they split alike."""
        return digest(*(digest(*sorted(map(str, part))) for part in self))  # of sets: row order is no part


class Preferences(NamedTuple):
    """What DPO trains on.

    Attributes
    ----------
    prompts, y0, y1 : Batch of n
    ref_logp : Tensor, shape (n, 2)
        Summed log-probability of y0 and y1 under the reference, nats.
    target : Tensor, shape (n,)
        Probability in [0, 1] that y1 is the chosen answer.
    """

    prompts: Batch
    y0: Batch
    y1: Batch
    ref_logp: Tensor
    target: Tensor


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
    """

    prompts: Batch
    y0: Batch
    y1: Batch
    better: Tensor | None = None
    safer: Tensor | None = None
    unsafe: Tensor | None = None
    prompt_sets: PromptSets | None = None
    world: World | None = None

    def __post_init__(self) -> None:
        """Check that every column has one entry per pair."""
        for name in ("y0", "y1", "better", "safer", "unsafe"):
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
        better, safer, unsafe = (
            None if column is None else column[index] for column in (self.better, self.safer, self.unsafe)
        )
        prompts, y0, y1 = (take(part, index) for part in (self.prompts, self.y0, self.y1))
        return replace(self, prompts=prompts, y0=y0, y1=y1, better=better, safer=safer, unsafe=unsafe)

    def split(self, *, seed: int = 0, dual: float = 0.15, judge: float = 0.15) -> Pairs:
        """Set ``dual`` and ``judge`` prompts aside and return the training pairs that remain.

        Prompts that share their first turn stay together, so a near-copy of a judge prompt is never
        trained on. Groups are ordered by sha256(seed | first turn) and fill judge, then dual, then
        train: no random numbers, and the order of the rows does not matter.

        Parameters
        ----------
        seed : int
            Another seed, another split.
        dual, judge : float
            Shares of the pairs, each in (0, 1), together below 1.

        Raises
        ------
        InputError
            When a set would be empty.
        """
        if not (0 < dual and 0 < judge and dual + judge < 1):
            raise InputError(f"split: shares dual={dual} and judge={judge} must be above 0 and sum below 1")
        keys = [first_turn(str(prompt)) for prompt in self.prompts]
        sizes = Counter(keys)
        part_of: dict[str, str] = {}
        filled = Counter({"judge": 0, "dual": 0})
        for key in sorted(sizes, key=lambda k: digest(str(seed), k)):
            room = [p for p, share in (("judge", judge), ("dual", dual)) if filled[p] < share * len(self)]
            part_of[key] = room[0] if room else "train"
            filled[part_of[key]] += sizes[key]
        rows = {
            part: [i for i, k in enumerate(keys) if part_of[k] == part] for part in ("train", "dual", "judge")
        }
        if not all(rows.values()):
            raise InputError(f"split: {len(sizes)} different first turns are too few for three prompt sets")
        sets = PromptSets(*(distinct(take(self.prompts, rows[part])) for part in ("train", "dual", "judge")))
        return replace(self.take(rows["train"]), prompt_sets=sets)

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
        if path is not None and path.exists():
            columns = load_file(path)
        else:
            functions = {"reward": scaled[0], "cost": scaled[1], "ref_logp": reference.log_prob}
            columns = {name: self._both(function) for name, function in functions.items()}
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(columns, path)
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
        )

    def _both(self, function: object) -> Tensor:
        columns = [function(self.prompts, answers) for answers in (self.y0, self.y1)]  # type: ignore[operator]
        both = torch.stack([column.detach().to("cpu", torch.float64) for column in columns], dim=1)  # (n, 2)
        if not both.isfinite().all():
            row = int((~both.isfinite()).any(dim=1).nonzero()[0])
            raise InputError(f"pair {row + 1}: a score or reference log-probability is not a finite number")
        return both


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with the three columns that constrained DPO needs, all of shape (n, 2) for y0 and y1.

    ``reward`` (higher is better), ``cost`` (higher is more harmful), both scaled, and ``ref_logp`` in nats.
    The scorers and the reference that made them stay attached, because the dual step scores the policy's
    own samples with the very same ones.
    """

    prompts: Batch
    y0: Batch
    y1: Batch
    reward: Tensor
    cost: Tensor
    ref_logp: Tensor
    reward_scorer: Scorer
    cost_scorer: Scorer
    reference: Policy
    prompt_sets: PromptSets
    world: World | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.prompts)

    def gap(self, lam: float) -> Tensor:
        """Return the gap of r - lam * c between y1 and y0, nats, shape (n,)."""
        score = penalized(self.reward, self.cost, lam)  # (n, 2)
        return score[:, 1] - score[:, 0]

    def label(self, lam: float, *, labels: Labels = "soft", uniforms: Tensor | None = None) -> Preferences:
        """Return the pairs relabelled by Bradley-Terry on r - lam * c.

        Parameters
        ----------
        lam : float
            Multiplier, at least 0.
        labels : {"soft", "bernoulli", "hard"}
            ``soft``: the probability s(gap) itself, no label noise. ``bernoulli``: 1 where the pair's
            uniform lies below s(gap); the same uniforms for every lam make a label change only when lam
            makes it. ``hard``: the arg-max, 0.5 on a tie; it has no finite optimum on separable pairs.
        uniforms : Tensor, shape (n,)
            Needed by ``bernoulli``, in [0, 1).

        Examples
        --------
        A gap of ln 3 is odds of 3 to 1:

        >>> pairs = ScoredPairs(["x"], ["a"], ["b"], torch.tensor([[0.0, 1.0986123]]), torch.zeros(1, 2),
        ...                     torch.zeros(1, 2), None, None, None, None)
        >>> round(pairs.label(0.0).target.item(), 6)
        0.75
        """
        gap = self.gap(lam)
        if labels == "soft":
            target = gap.sigmoid()
        elif labels == "bernoulli":
            if uniforms is None:
                raise InputError("bernoulli labels need one fixed uniform per pair")
            target = (uniforms.to(gap) < gap.sigmoid()).to(gap)
        elif labels == "hard":
            target = (gap.sign() + 1) / 2
        else:
            raise InputError(f"labels must be soft, bernoulli or hard, not {labels!r}")
        return Preferences(self.prompts, self.y0, self.y1, self.ref_logp, target)

    def extended(self, other: ScoredPairs) -> ScoredPairs:
        """Return these pairs followed by ``other``'s; scorers, reference and prompt sets stay these."""
        return replace(
            self,
            prompts=join([self.prompts, other.prompts]),
            y0=join([self.y0, other.y0]),
            y1=join([self.y1, other.y1]),
            reward=torch.cat([self.reward, other.reward]),
            cost=torch.cat([self.cost, other.cost]),
            ref_logp=torch.cat([self.ref_logp, other.ref_logp]),
        )


class Scaled:
    """A scorer times a positive constant: the zero stays where it is, so ``anchored`` is kept."""

    def __init__(self, scorer: Scorer, scale: float) -> None:
        if not (scale > 0 and scale < float("inf")):
            raise InputError(f"a score scale must be a positive number, not {scale}")
        self.scorer, self.scale = scorer, scale
        self.anchored = bool(getattr(scorer, "anchored", False))
        inner = getattr(scorer, "fingerprint", "")
        self.fingerprint = digest(inner, repr(float(scale))) if inner else ""

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return ``scale`` times the score, shape (batch,)."""
        return self.scale * self.scorer(prompts, responses)


def first_turn(prompt: str) -> str:
    r"""Return the first human turn, lower case and white space folded: what makes two prompts near-copies.

    >>> first_turn("\n\nHuman: Hello  there\n\nAssistant: Hi\n\nHuman: Bye\n\nAssistant:")
    'hello there'
    """
    turn = prompt.split("Human:", 1)[-1].split("\n\nAssistant:", 1)[0]
    return " ".join(turn.lower().split())


def distinct(batch: Batch) -> Batch:
    """Return each item once, in order of first appearance (a tensor comes back sorted)."""
    return torch.unique(batch) if isinstance(batch, Tensor) else list(dict.fromkeys(batch))


def digest(*parts: str) -> str:
    """Return the first 16 hex digits of sha256 over the parts, each with its length in front."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_batch(batch: Batch) -> str:
    """Return the digest of prompts or responses, whatever they are made of."""
    items: Iterable[str] = map(str, batch.tolist() if isinstance(batch, Tensor) else batch)
    return digest(json.dumps(list(items)))


def write_atomically(columns: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file that is either whole or absent, never half."""
    partial = path.with_suffix(".partial")
    save_file({name: column.contiguous().clone() for name, column in columns.items()}, partial)
    partial.replace(path)
