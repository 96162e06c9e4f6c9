r"""The correct code of the dual: its value, its multiplier, the cost it is fed, the labels it asks for.

Thin where the library has the function already: `dual_step`, `penalized`.

Reference: Liu, Sun & Zheng 2024, arXiv 2403.02475, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from torch import Tensor

from ..lagrangian import dual_step, penalized
from ..types import InputError


class Answers(NamedTuple):
    """Scored answers: n answers to each of X prompts.

    Attributes
    ----------
    reward : Tensor, shape (X, n)
        Higher is better.
    cost : Tensor, shape (X, n)
        Higher is more harmful.
    """

    reward: Tensor
    cost: Tensor


def dual_value(log_z: Tensor, *, lam: float, cost_limit: float, beta: float) -> float:
    r"""Return D(lam) = beta E_x log Z_lam(x) + lam C: a mean of logarithms, one for each prompt.

    Parameters
    ----------
    log_z : Tensor, shape (X,)
        log Z_lam(x) = log E_ref exp((r - lam c)/beta) of each prompt; the prompts weigh the same.
    lam : float
        The multiplier, at least 0.
    cost_limit : float
        C, in the unit of the cost.
    beta : float
        Strength of the KL tie, above 0.

    Examples
    --------
    Two prompts, log Z = 0 and 2, beta = 0.5 and lam C = 3: 0.5 * 1 + 3

    >>> import torch
    >>> dual_value(torch.tensor([0.0, 2.0]), lam=3.0, cost_limit=1.0, beta=0.5)
    3.5
    """
    return beta * float(log_z.double().mean()) + lam * cost_limit


class Multiplier:
    """The multiplier lam >= 0 and its step lam <- max(0, lam + eta (E[c] - C)).

    Parameters
    ----------
    value : float
        Where it starts, at least 0.
    eta : float
        Step size, above 0, in units of lam per unit of cost.

    Examples
    --------
    Half a unit too costly at eta = 2 is one unit up, and the same again:

    >>> multiplier = Multiplier(1.0, eta=2.0)
    >>> multiplier.step(0.5, 0.0), multiplier.step(0.5, 0.0), multiplier.step(-9.0, 0.0)
    (2.0, 3.0, 0.0)
    """

    def __init__(self, value: float = 0.0, *, eta: float) -> None:
        self.value, self.eta = float(value), eta

    def step(self, cost: float, cost_limit: float) -> float:
        """Move once, for the measured expected cost of the policy, and return the new multiplier."""
        self.value = dual_step(self.value, cost, cost_limit, eta=self.eta)
        return self.value


def expected_cost(answers: Answers) -> float:
    """Return E[c], the mean cost over all answers, in the unit of the cost.

    >>> import torch
    >>> expected_cost(Answers(reward=torch.ones(1, 2), cost=torch.tensor([[0.0, 3.0]])))
    1.5
    """
    return float(answers.cost.double().mean())


def targets(reward: Tensor, cost: Tensor, lam: float) -> Tensor:
    """Return the probability s(gap of r - lam c) that the second answer of each pair is chosen, shape (n,).

    Parameters
    ----------
    reward, cost : Tensor, shape (n, 2)
        Scores of the two answers of each pair, in nats.
    lam : float
        The multiplier, at least 0.

    Examples
    --------
    A gap of ln 3 is odds of 3 to 1:

    >>> import torch
    >>> targets(torch.tensor([[0.0, 1.0986123]]), torch.zeros(1, 2), 0.0)
    tensor([0.7500])
    """
    score = penalized(reward, cost, lam)
    return (score[:, 1] - score[:, 0]).sigmoid()


def meets_limit(answers: Answers, cost_limit: float, *, anchored: bool) -> bool:
    """Return whether E[c] <= C.

    Raises
    ------
    InputError
        When the cost is not anchored: a cost that was learned from comparisons alone has no zero, so an
        absolute limit on it means nothing. Such a cost can be compared with the reference's only.

    >>> import torch
    >>> meets_limit(Answers(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])), 0.5, anchored=True)
    True
    """
    if not anchored:
        raise InputError("this cost has no zero, so an absolute limit on it means nothing")
    return bool(answers.cost.double().mean() <= cost_limit)


@dataclass(frozen=True)
class Settings:
    """The options of a run: ``beta`` (above 0), ``eta`` (above 0), ``rounds`` (at least 1) and ``seed``."""

    beta: float = 0.1
    eta: float = 1.0
    rounds: int = 6
    seed: int = 0


def configure(**options: Any) -> Settings:
    """Return the settings with the given options on top of the defaults.

    Raises
    ------
    InputError
        For an option that there is not: a typing error must not run with the default.

    >>> configure(rounds=3).rounds
    3
    """
    known = [field.name for field in fields(Settings)]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    return Settings(**options)
