"""The words every room shares: what a policy is, what a scorer is, what a world is.

Floor 0. Nothing here computes anything of the method; it fixes the contracts that let a bandit's
table, a tiny transformer and a 4-bit adapter stand in for each other. A batch of prompts or responses
is either a long tensor (the bandit) or a list of strings (the text tiers); `take`, `repeat_each` and
`join` are the only three things that anyone above may do to one without knowing which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .pairs import Preferences

Batch = Tensor | list[str]
"""Prompts or responses: a long tensor of shape (n,), or a list of n strings."""


Span = tuple[float, float]
"""Part of a run, from and to, each in [0, 1]."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message says where, what and how to mend it."""


class FitResult(NamedTuple):
    """What one call of `Policy.fit` did: the DPO loss at its end (nats per pair) and its gradient steps."""

    loss: float
    grad_steps: int


@runtime_checkable
class Scorer(Protocol):
    """Any callable that scores a batch of answers: `(prompts, responses) -> (batch,)` float tensor.

    A reward is higher for the more helpful answer. A cost is higher for the more harmful one; it may
    carry ``anchored = True``, which says that 0 is the boundary between safe and unsafe (or that the
    cost is a probability of being unsafe), so that an absolute limit means something. A ``fingerprint``
    string names what produced the scores, so that they can be cached.
    """

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per answer, shape (batch,)."""
        ...


@runtime_checkable
class Policy(Protocol):
    """A conditional distribution pi(y|x) that can be read, sampled and tuned.

    ``log_prob`` is the **sum** of the token log-probabilities of the whole response, end token
    included, never their mean. ``sample`` draws at temperature 1 from the full distribution and returns
    the n responses of the first prompt, then those of the second, and so on.
    """

    @property
    def fingerprint(self) -> str:
        """A short digest of the weights and of everything else that changes ``log_prob``."""
        ...

    def log_prob(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return log pi(y|x) in nats, shape (batch,), no gradient."""
        ...

    def sample(self, prompts: Batch, n: int, *, generator: torch.Generator) -> Batch:
        """Return ``n`` responses per prompt, prompt-major, length ``n * len(prompts)``."""
        ...

    def frozen(self) -> Policy:
        """Return the reference: this policy as it is now, whatever happens to it later."""
        ...

    def fit(
        self, preferences: Preferences, *, beta: float, steps: int, seed: int, progress: Span = (0.0, 1.0)
    ) -> FitResult:
        """Lower the DPO loss on ``preferences`` with the engine that suits this policy.

        ``progress`` says which part of the whole run these steps are, so that an engine with a learning
        rate follows one schedule across the rounds and ends the last one at rest.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write everything that the class's ``load`` needs below ``directory``."""
        ...

    def restore(self, directory: Path) -> None:
        """Put the weights that `save` wrote below ``directory`` back into this very policy."""
        ...


@runtime_checkable
class World(Protocol):
    """A finite universe of prompts and responses in which every expectation is a sum.

    ``prompt_probs`` has shape (X,) and sums to 1; ``table`` evaluates any function of
    (prompts, responses) on every pair and returns an (X, Y) float64 tensor.
    """

    @property
    def prompt_probs(self) -> Tensor:
        """Return the weight of each prompt, shape (X,)."""
        ...

    @property
    def prompts(self) -> Batch:
        """Return the X prompts."""
        ...

    def table(self, function: Callable[[Any, Any], Tensor]) -> Tensor:
        """Return ``function`` on every (prompt, response), shape (X, Y)."""
        ...


def take(batch: Batch, index: Tensor | Sequence[int]) -> Batch:
    """Return the items of ``batch`` at ``index``, in that order.

    >>> take(["a", "b", "c"], [2, 0])
    ['c', 'a']
    """
    index = torch.as_tensor(index, dtype=torch.long)
    if isinstance(batch, Tensor):
        return batch[index]
    return [batch[i] for i in index.tolist()]


def repeat_each(batch: Batch, n: int) -> Batch:
    """Return every item ``n`` times in a row: the prompts that go with `Policy.sample`'s answer.

    >>> repeat_each(["a", "b"], 2)
    ['a', 'a', 'b', 'b']
    """
    if isinstance(batch, Tensor):
        return batch.repeat_interleave(n)
    return [item for item in batch for _ in range(n)]


def join(batches: Iterable[Batch]) -> Batch:
    """Return the batches one after another.

    >>> join([["a"], ["b", "c"]])
    ['a', 'b', 'c']
    """
    parts = list(batches)
    if isinstance(parts[0], Tensor):
        return torch.cat([torch.as_tensor(part) for part in parts])
    return [item for part in parts for item in part]
