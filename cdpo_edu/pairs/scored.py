"""Comparisons with their scores as columns, and the labels that a multiplier puts on them.

Left out: where answers and scores come from (`people`, `scorers`).

References: Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1 (relabelling); Ouyang et al. 2022, arXiv
2203.02155, section 3.5 (all comparisons among the answers to one prompt in one batch).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..lagrangian import penalized
from ..types import Batch, InputError, Policy, Scorer, World, join, take
from .digests import digest
from .prompt_sets import PromptSets

Labels = Literal["soft", "bernoulli", "hard"]


class Preferences(NamedTuple):
    """What DPO trains on.

    Attributes
    ----------
    prompts, y0, y1 : Batch of n
    ref_logp : Tensor, shape (n, 2)
        Summed log-probability of y0 and y1 under the reference, nats.
    target : Tensor, shape (n,)
        Probability in [0, 1] that y1 is the chosen answer.
    sets : Tensor, shape (n,), long, optional
        Pairs of equal number are comparisons among one set of answers to one prompt, and neighbours here. An
        engine may read each answer of a set once for all its comparisons. Absent, every pair is its own set.
    """

    prompts: Batch
    y0: Batch
    y1: Batch
    ref_logp: Tensor
    target: Tensor
    sets: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """Return 1/(K - 1) for each pair of a set of K answers, shape (n,): each answer weighs the same.

        K answers have m = K (K - 1)/2 comparisons, so K = (1 + sqrt(1 + 8 m))/2; where equal answers were
        dropped it is a little less.

        >>> columns = ["x"] * 4, ["a"] * 4, ["b"] * 4, torch.zeros(4, 2), torch.zeros(4)
        >>> Preferences(*columns, torch.tensor([0, 0, 0, 1])).weight
        tensor([0.5000, 0.5000, 0.5000, 1.0000])
        """
        if self.sets is None:
            return torch.ones(len(self.prompts), dtype=self.target.dtype)
        pairs = torch.bincount(self.sets)[self.sets].to(self.target.dtype)
        answers: Tensor = (1 + (1 + 8 * pairs).sqrt()) / 2
        return 1 / (answers - 1)


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with the three columns that constrained DPO needs, all of shape (n, 2) for y0 and y1.

    ``reward`` (higher is better), ``cost`` (higher is more harmful), both scaled, and ``ref_logp`` in nats.
    The scorers and the reference that made them stay attached, because the dual step scores the policy's
    own samples with the very same ones. ``sets`` is that of `Preferences`.
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
    sets: Tensor | None = None

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
        return Preferences(self.prompts, self.y0, self.y1, self.ref_logp, target, self.sets)

    def compared(self, size: int, *, seed: int) -> ScoredPairs:
        """Return every comparison among sets of ``size`` answers, drawn anew from the answers to each prompt.

        Scores say how any two answers to one prompt compare, not only the two that stood in one row. So K
        answers give K (K - 1)/2 comparisons for the price of reading K answers; rows of one prompt are
        pooled, shuffled and cut into sets. Answers that stay over make a smaller set; equal answers no pair.

        Parameters
        ----------
        size : int
            K, at least 2; 2 draws new pairs.
        seed : int
            Of the shuffle.

        Reference
        ---------
        Ouyang et al. 2022, arXiv 2203.02155, section 3.5, for reward models.

        Two rows of one prompt hold four answers, which are six pairs:

        >>> columns = ["x", "x"], ["a", "b"], ["c", "d"], *[torch.zeros(2, 2)] * 3
        >>> len(ScoredPairs(*columns, None, None, None, None).compared(4, seed=0))
        6
        """
        order = torch.randperm(2 * len(self), generator=torch.Generator().manual_seed(seed)).tolist()
        prompts = join([self.prompts, self.prompts])
        keys = prompts.tolist() if isinstance(prompts, Tensor) else prompts
        pools: dict[object, list[int]] = {}
        for answer in order:
            pools.setdefault(keys[answer], []).append(answer)
        parts = [pool[i : i + size] for pool in pools.values() for i in range(0, len(pool), size)]
        columns = {name: getattr(self, name).T.reshape(-1) for name in ("reward", "cost", "ref_logp")}
        return self.among(parts, prompts=prompts, answers=join([self.y0, self.y1]), **columns)

    def among(
        self,
        parts: list[list[int]],
        *,
        prompts: Batch,
        answers: Batch,
        reward: Tensor,
        cost: Tensor,
        ref_logp: Tensor,
    ) -> ScoredPairs:
        """Return all comparisons within each part of these N answers as pairs with these scorers.

        Parameters
        ----------
        parts : lists of places in ``answers``
            Each of one prompt; they become the ``sets``. Equal answers are no pair.
        prompts, answers : Batch of N
        reward, cost, ref_logp : Tensor, shape (N,)
        """
        names = answers.tolist() if isinstance(answers, Tensor) else answers
        couples = [
            (a, b, k)
            for k, part in enumerate(parts)
            for a, b in combinations(part, 2)
            if names[a] != names[b]
        ]
        index = torch.tensor(couples, dtype=torch.long).reshape(-1, 3)
        y0, y1, sets = index.T
        return replace(
            self,
            prompts=take(prompts, y0),
            y0=take(answers, y0),
            y1=take(answers, y1),
            reward=reward[index[:, :2]],
            cost=cost[index[:, :2]],
            ref_logp=ref_logp[index[:, :2]],
            sets=sets,
        )

    def extended(self, other: ScoredPairs) -> ScoredPairs:
        """Return these pairs followed by ``other``'s; scorers, reference and prompt sets stay these."""
        own, more = (
            part.sets if part.sets is not None else torch.arange(len(part)) for part in (self, other)
        )
        sets = torch.cat([own, more + (int(own[-1]) + 1 if len(own) else 0)])
        return replace(
            self,
            prompts=join([self.prompts, other.prompts]),
            y0=join([self.y0, other.y0]),
            y1=join([self.y1, other.y1]),
            reward=torch.cat([self.reward, other.reward]),
            cost=torch.cat([self.cost, other.cost]),
            ref_logp=torch.cat([self.ref_logp, other.ref_logp]),
            sets=sets,
        )


class Scaled:
    """A scorer times a positive constant: the zero stays where it is, so ``anchored`` is kept.

    ``bounds`` is the range that the scorer says it has, in the scaled unit, or None.
    """

    def __init__(self, scorer: Scorer, scale: float) -> None:
        if not (scale > 0 and scale < float("inf")):
            raise InputError(f"a score scale must be a positive number, not {scale}")
        self.scorer, self.scale = scorer, scale
        self.anchored = bool(getattr(scorer, "anchored", False))
        inner = getattr(scorer, "fingerprint", "")
        self.fingerprint = digest(inner, repr(float(scale))) if inner else ""
        stated = getattr(scorer, "bounds", None)
        self.bounds = None if stated is None else (scale * float(stated[0]), scale * float(stated[1]))

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return ``scale`` times the score, shape (batch,)."""
        return self.scale * self.scorer(prompts, responses)
