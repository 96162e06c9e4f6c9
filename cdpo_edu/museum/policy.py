"""The correct code of the policy: a toy with an adapter and dropout, its reference, and the margin of a pair.

The toy has what makes real references go wrong: weights of a base model, an adapter on top of them, and
dropout while it trains.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import implicit_reward


class ToyPolicy:
    """pi(y|x) = softmax(base + adapter)[x, y], with dropout on the logits while ``training`` is True.

    Parameters
    ----------
    base : Tensor, shape (X, Y)
        Logits of the base model.
    adapter : Tensor, shape (X, Y), optional
        What fine-tuning has added so far; absent it is 0.
    dropout : float
        Share of the logits that a training pass sets to 0, in [0, 1).
    """

    def __init__(self, base: Tensor, adapter: Tensor | None = None, *, dropout: float = 0.0) -> None:
        self.base = base
        self.adapter = torch.zeros_like(base) if adapter is None else adapter
        self.dropout, self.training = dropout, True

    def log_prob(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """Return log pi(y|x) in nats; ``prompts`` and ``answers`` are long, shape (n,), and so is it.

        >>> policy = ToyPolicy(torch.zeros(1, 2))
        >>> policy.log_prob(torch.tensor([0]), torch.tensor([1]))
        tensor([-0.6931])
        """
        logits = F.dropout(self.base + self.adapter, self.dropout, training=self.training)
        return logits.log_softmax(dim=1)[prompts, answers]


def frozen(policy: ToyPolicy) -> ToyPolicy:
    """Return the reference: a copy of the policy *as it is now*, its adapter included, without dropout.

    >>> reference = frozen(ToyPolicy(torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]).log1p()))
    >>> reference.log_prob(torch.tensor([0]), torch.tensor([1])).exp()
    tensor([0.8000])
    """
    reference = ToyPolicy(policy.base.clone(), policy.adapter.clone())
    reference.training = False
    return reference


def paired_margin(
    policy: ToyPolicy, reference: ToyPolicy, prompts: Tensor, chosen: Tensor, rejected: Tensor, *, beta: float
) -> Tensor:
    r"""Return DPO's margin beta [log pi/ref (chosen) - log pi/ref (rejected)], nats, shape (n,).

    Both answers are read without dropout, and the policy's mode is left as it was found.

    Parameters
    ----------
    policy, reference : ToyPolicy
    prompts, chosen, rejected : Tensor, shape (n,), long
    beta : float
        Strength of the KL tie, above 0.

    Reference
    ---------
    Rafailov et al. 2023, arXiv 2305.18290, the argument of the sigmoid in eq. 7.

    Examples
    --------
    The policy has raised the chosen answer's odds by e^2; at beta = 0.5 that is a margin of 1:

    >>> policy, first = ToyPolicy(torch.tensor([[2.0, 0.0]])), torch.tensor([0])
    >>> paired_margin(policy, ToyPolicy(torch.zeros(1, 2)), first, first, first + 1, beta=0.5)
    tensor([1.])
    """
    mode, policy.training = policy.training, False
    rewards = [
        implicit_reward(policy.log_prob(prompts, y), reference.log_prob(prompts, y), beta)
        for y in (chosen, rejected)
    ]
    policy.training = mode
    return rewards[0] - rewards[1]
