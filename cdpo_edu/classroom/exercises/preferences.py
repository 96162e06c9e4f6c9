"""Assignment 2: preferences and costs, from the Bradley-Terry probability to how large rewards may be.

Here is what compares two rewards; the cost and its zero are in `costs`, labels and scales in `soft_labels`.
"""

from __future__ import annotations

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from .costs import ANCHORED, ZERO
from .fair import fair
from .soft_labels import LABEL, SCALE
from .wordings import in_both, reworded

Array = np.ndarray


def logistic(margin: Array) -> Array:
    """Return s(m) = 1/(1 + e^-m).

    >>> logistic(np.log(np.array([1.0, 3.0]))).tolist()
    [0.5, 0.75]
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -margin)))


def _draw_rewards(rng: np.random.Generator) -> Inputs:
    return {"reward0": rng.normal(0, 1.5, size=6), "reward1": rng.normal(0, 1.5, size=6)}


def _probability(reward0: Array, reward1: Array) -> Array:
    return logistic(reward1 - reward0)


def _from_bits(inputs: Inputs) -> Inputs:
    """Return rewards in nats from rewards in bits."""
    return {name: np.log(2) * value for name, value in inputs.items()}


def _ratio(reward0: Array, reward1: Array) -> Array:
    return np.asarray(reward1 / (reward0 + reward1))


PROBABILITY_ORACLES = {"standard": _probability, "bits": reworded(_probability, _from_bits)}
PROBABILITY_WRONG = in_both(
    (
        Wrong(
            "order turned round",
            lambda reward0, reward1: _probability(reward1, reward0),
            "That is the probability that the other dish wins. Which of the two is asked for?",
        ),
        Wrong(
            "ratio of rewards",
            _ratio,
            "You divide rewards. They may be negative and have no zero: only their difference counts, "
            "and it is the logarithm of odds.",
        ),
        Wrong(
            "log-odds for probability",
            lambda reward0, reward1: reward1 - reward0,
            "You return the log-odds. A probability lies between 0 and 1.",
        ),
        Wrong(
            "the better one always wins",
            lambda reward0, reward1: np.where(reward1 > reward0, 1.0, 0.0),
            "With you the better dish always wins. A small difference makes people disagree.",
        ),
        Wrong(
            "odds for probability",
            lambda reward0, reward1: np.exp(reward1 - reward0),
            "You return odds, which may be above 1. Odds of 3 to 1 are a probability of three quarters.",
        ),
    ),
    "bits",
    _from_bits,
)
PROBABILITY = Exercise(
    key="preference_probability",
    title="Who wins?",
    kind="implement",
    points=3,
    minutes=8,
    difficulty="easy",
    draw=fair(_draw_rewards, PROBABILITY_ORACLES, PROBABILITY_WRONG),
    oracles=PROBABILITY_ORACLES,
    wrong=PROBABILITY_WRONG,
)


def _draw_labelled(rng: np.random.Generator) -> Inputs:
    """Return six comparisons, three won by each side; one loser leads by a thousand nats and one winner."""
    gap = rng.normal(0, 1.5, size=6)
    gap[:2] = 1000.0, -1000.0
    order, reward0 = rng.permutation(6), rng.normal(0, 1.5, size=6)
    label = np.array([0, 0, 0, 1, 1, 1])
    return {"reward0": reward0, "reward1": reward0 + gap[order], "label": label[rng.permutation(6)]}


def _loss(reward0: Array, reward1: Array, label: Array) -> Array:
    """Return -log s(winner - loser), where ``label`` is the number of the winner."""
    lead = np.where(label == 1, reward1 - reward0, reward0 - reward1)
    return np.asarray(np.logaddexp(0.0, -lead))


def _overflowing(reward0: Array, reward1: Array, label: Array) -> Array:
    with np.errstate(all="ignore"):
        chance = 1 / (1 + np.exp(reward0 - reward1))
        return np.asarray(-np.log(np.where(label == 1, chance, 1 - chance)))


def _from_losers(inputs: Inputs) -> Inputs:
    return inputs | {"label": 1 - inputs["label"]}


LOSS_ORACLES = {"standard": _loss, "loser": reworded(_loss, _from_losers)}
LOSS_WRONG = in_both(
    (
        Wrong(
            "overflow",
            _overflowing,
            "Some of your losses are not finite: a probability was rounded to 0 before its logarithm was "
            "taken. Write the loss as log(1 + e^-m), for which numpy has logaddexp.",
        ),
        Wrong(
            "label ignored",
            lambda reward0, reward1, label: _loss(reward0, reward1, np.ones_like(label)),
            "Your loss does not look at the label: with you the second dish won each time.",
        ),
        Wrong(
            "mean over the batch",
            lambda reward0, reward1, label: float(_loss(reward0, reward1, label).mean()),
            "You return one number. Return a loss for each comparison; who calls you decides how to "
            "reduce them.",
        ),
        Wrong(
            "one minus the probability",
            lambda reward0, reward1, label: -np.expm1(-_loss(reward0, reward1, label)),
            "You return how improbable the label was. The loss is the negative logarithm of its probability.",
        ),
        Wrong(
            "in bits",
            lambda reward0, reward1, label: _loss(reward0, reward1, label) / np.log(2),
            "Your losses are in bits. Here they are in nats: the natural logarithm.",
        ),
    ),
    "loser",
    _from_losers,
)
LOSS = Exercise(
    key="preference_loss",
    title="The loss of a reward model",
    kind="implement",
    points=4,
    minutes=12,
    difficulty="medium",
    draw=fair(_draw_labelled, LOSS_ORACLES, LOSS_WRONG),
    oracles=LOSS_ORACLES,
    wrong=LOSS_WRONG,
)

ASSIGNMENT = Assignment(
    "02_preferences_and_costs",
    "Preferences and costs",
    (PROBABILITY, LOSS, ANCHORED, ZERO, LABEL, SCALE),
)
