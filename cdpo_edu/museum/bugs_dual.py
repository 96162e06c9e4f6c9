"""Published mistakes in the dual, the multiplier, the cost and the labels, each in our own few lines.

Every function or class here has the signature of the correct one that it stands in for, and one mistake.
The comment marks the line.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from .dual import Answers, Settings


def log_of_grand_mean(log_z: Tensor, *, lam: float, cost_limit: float, beta: float) -> float:
    """Return the dual with all prompts inside one logarithm.

    >>> round(log_of_grand_mean(torch.tensor([0.0, 2.0]), lam=3.0, cost_limit=1.0, beta=0.5), 3)
    3.717
    """
    grand_mean = log_z.double().exp().mean()  # the mean comes before the logarithm
    return beta * float(grand_mean.log()) + lam * cost_limit


class FrozenMultiplier:
    """Replace the parameter by its projection, so that the optimizer keeps a tensor nobody reads.

    >>> multiplier = FrozenMultiplier(1.0, eta=2.0)
    >>> multiplier.step(0.5, 0.0), multiplier.step(0.5, 0.0)
    (2.0, 2.0)
    """

    def __init__(self, value: float = 0.0, *, eta: float) -> None:
        self.parameter = torch.tensor(float(value), dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.parameter], lr=eta)

    @property
    def value(self) -> float:
        """Return the multiplier."""
        return self.parameter.item()

    def step(self, cost: float, cost_limit: float) -> float:
        """Move once: the first time."""
        self.optimizer.zero_grad()
        self.parameter.grad = torch.tensor(cost_limit - cost, dtype=torch.float64)
        self.optimizer.step()
        self.parameter = self.parameter.detach().clamp(min=0.0)  # a new tensor; the optimizer holds the old
        return self.value


class UnprojectedMultiplier:
    """Forget the projection, so that the multiplier falls below 0 and rewards cost.

    >>> UnprojectedMultiplier(1.0, eta=2.0).step(-9.0, 0.0)
    -17.0
    """

    def __init__(self, value: float = 0.0, *, eta: float) -> None:
        self.value, self.eta = float(value), eta

    def step(self, cost: float, cost_limit: float) -> float:
        """Move once, wherever that leads."""
        self.value += self.eta * (cost - cost_limit)  # no max(0, ...)
        return self.value


class AdamMultiplier:
    """Leave the multiplier to Adam, whose step is about eta, however large the violation is.

    >>> [round(AdamMultiplier(1.0, eta=0.5).step(cost, 0.0), 3) for cost in (9.0, 0.01)]
    [1.5, 1.5]
    """

    def __init__(self, value: float = 0.0, *, eta: float) -> None:
        self.parameter = torch.tensor(float(value), dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.parameter], lr=eta)  # divides a scalar by its own size

    @property
    def value(self) -> float:
        """Return the multiplier."""
        return self.parameter.item()

    def step(self, cost: float, cost_limit: float) -> float:
        """Move once, by about eta."""
        self.parameter.grad = torch.tensor(cost_limit - cost, dtype=torch.float64)
        self.optimizer.step()
        with torch.no_grad():
            self.parameter.clamp_(min=0.0)
        return self.value


def reward_as_cost(answers: Answers) -> float:
    """Return the mean of the wrong column.

    >>> reward_as_cost(Answers(reward=torch.ones(1, 2), cost=torch.zeros(1, 2)))
    1.0
    """
    return float(answers.reward.double().mean())  # the reward


def sum_of_costs(answers: Answers) -> float:
    """Return the sum of the costs, which grows with the number of answers.

    >>> sum_of_costs(Answers(reward=torch.ones(1, 2), cost=torch.ones(1, 2)))
    2.0
    """
    return float(answers.cost.double().sum())  # not the mean


def cost_as_score(reward: Tensor, cost: Tensor, lam: float) -> Tensor:
    """Return r + lam c: a cost, higher for more harm, taken for a score of safety.

    >>> cost_as_score(torch.tensor([3.0]), torch.tensor([2.0]), lam=0.5)
    tensor([4.])
    """
    return reward + lam * cost  # the sign


def hard_targets(reward: Tensor, cost: Tensor, lam: float) -> Tensor:
    """Return 1 for the better answer of each pair, however small the gap.

    >>> hard_targets(torch.tensor([[0.0, 0.1]]), torch.zeros(1, 2), 0.0)
    tensor([1.])
    """
    score = reward - lam * cost
    return (score[:, 1] > score[:, 0]).to(reward)  # a bit where a probability belongs


def limit_without_zero(answers: Answers, cost_limit: float, *, anchored: bool) -> bool:
    """Compare any cost with an absolute limit, also one that has no zero.

    >>> limit_without_zero(Answers(torch.zeros(1, 1), torch.zeros(1, 1)), 0.5, anchored=False)
    True
    """
    return bool(answers.cost.double().mean() <= cost_limit)  # never asks whether the cost has a zero


def configure_and_ignore(**options: Any) -> Settings:
    """Return the settings, without a word about an option that there is not.

    >>> configure_and_ignore(rouns=3).rounds
    6
    """
    known = {field.name for field in fields(Settings)}
    return Settings(**{name: value for name, value in options.items() if name in known})  # drops the rest
