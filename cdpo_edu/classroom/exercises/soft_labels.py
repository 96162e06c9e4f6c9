"""Assignment 2, last part: labels of penalised pairs, and how large rewards may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from .fair import fair
from .statements import TURNED, Claims, four_of, truth
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_pairs(rng: np.random.Generator) -> Inputs:
    """Return eight pairs with raw scores; one scale is well below 1 and the other well above."""
    scales = rng.permutation([rng.uniform(0.55, 0.8), rng.uniform(1.2, 1.6)])
    return {
        "reward": rng.normal(0, 1, size=(8, 2)),
        "cost": rng.normal(0, 1, size=(8, 2)),
        "reward_scale": float(scales[0]),
        "cost_scale": float(scales[1]),
        "lam": float(rng.uniform(0.5, 2.0)),
        "beta": float(rng.uniform(0.2, 0.5)),
    }


def _gap(reward: Array, cost: Array, reward_scale: float, cost_scale: float, lam: float) -> Array:
    """Return the gap of r - lam c in nats, y1 minus y0, shape (n,)."""
    score = reward_scale * reward - lam * cost_scale * cost  # (n, 2)
    return np.asarray(score[:, 1] - score[:, 0])


def _label(
    reward: Array, cost: Array, reward_scale: float, cost_scale: float, lam: float, beta: float
) -> Array:
    """Return s(gap in nats); beta plays no part in a label."""
    return 1 / (1 + np.exp(-_gap(reward, cost, reward_scale, cost_scale, lam)))


def _by_beta(beta: float, **inputs: Any) -> Array:
    return 1 / (1 + np.exp(-_gap(**inputs) / beta))


def _from_units(inputs: Inputs) -> Inputs:
    """Return factors from scales that say how many raw points a nat is."""
    return inputs | {name: 1 / inputs[name] for name in ("reward_scale", "cost_scale")}


LABEL_ORACLES = {"standard": _label, "points_a_nat": reworded(_label, _from_units)}
LABEL_WRONG = in_both(
    (
        Wrong(
            "divided by beta",
            _by_beta,
            "You divided the gap by beta. Labels say what people would choose, in nats; beta ties the "
            "policy to the reference and has no part in them.",
        ),
        Wrong(
            "cost added",
            lambda lam, **inputs: _label(lam=-lam, **inputs),
            "Your label likes harm: the price is to be taken off the reward.",
        ),
        Wrong(
            "scales left out",
            lambda reward_scale, cost_scale, **inputs: _label(reward_scale=1.0, cost_scale=1.0, **inputs),
            "You use raw scores. Bring each to nats by its own scale before you compare.",
        ),
        Wrong(
            "one scale for both",
            lambda cost_scale, reward_scale, **inputs: _label(
                cost_scale=reward_scale, reward_scale=reward_scale, **inputs
            ),
            "You bring the cost to nats by the reward's scale. Two models, two scales.",
        ),
        Wrong(
            "hard labels",
            lambda **inputs: np.round(_label(**inputs)),
            "Your labels are bits. A soft label is the probability itself.",
        ),
        Wrong(
            "the first dish",
            lambda **inputs: 1 - _label(**inputs),
            "That is the probability of the first dish. The target is about y1.",
        ),
    ),
    "points_a_nat",
    _from_units,
)
LABEL = Exercise(
    key="soft_label",
    title="The label of a penalised pair",
    kind="implement",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_pairs, LABEL_ORACLES, LABEL_WRONG),
    oracles=LABEL_ORACLES,
    wrong=LABEL_WRONG,
)

CLAIMS: Claims = (
    (
        "Another positive scale of all rewards never changes which dish of a pair is the likelier winner.",
        "Another positive scale of all rewards can change which dish of a pair is the likelier winner.",
    ),
    (
        "As the scale grows without end, soft labels become hard ones.",
        "As the scale grows without end, all soft labels tend to one half.",
    ),
    (
        "At scale 0 the mean loss is ln 2, whoever won.",
        "At scale 0 the mean loss is 0, whoever won.",
    ),
    (
        "If the higher reward had won every time, the larger the scale, the smaller the loss.",
        "If the higher reward had won every time, the best scale would be 1.",
    ),
    (
        "In r - lam c, doubling the scale of r alone leaves the same likelier dishes as halving lam.",
        "In r - lam c, doubling the scale of r alone leaves the same likelier dishes as doubling lam.",
    ),
)
RATIO = 2.0
"""From one scale on the dial to the next."""


def _draw_scales(rng: np.random.Generator) -> Inputs:
    """Return 60 raw gaps with winners who follow a true scale, and eight scales to choose from."""
    while True:
        true = float(rng.uniform(0.08, 0.2))
        gap = np.round(rng.normal(0, 10, size=60), 1)
        won = (rng.random(60) < 1 / (1 + np.exp(-true * gap))).astype(int)
        first = true / RATIO ** int(rng.integers(2, 6))
        scales = [round(float(first * RATIO**k), 5) for k in range(8)]
        losses = sorted(_mean_loss(gap, won, scale) for scale in scales)
        if losses[1] - losses[0] > 0.004:
            return {"gap": gap, "won": won, "scales": scales, "statements": four_of(rng, CLAIMS)}


def _mean_loss(gap: Array, won: Array, scale: float) -> float:
    margin = scale * np.where(won == 1, gap, -gap)
    return float(np.logaddexp(0.0, -margin).mean())


def _best(gap: Array, won: Array, scales: list[float], statements: list[str]) -> dict[str, Any]:
    losses = [_mean_loss(gap, won, scale) for scale in scales]
    return {"scale": scales[int(np.argmin(losses))], "statements": truth(statements, CLAIMS)}


def _matching_confidence(gap: Array, won: Array, scales: list[float], statements: list[str]) -> Any:
    """Return the scale that maximises the winners' own probability, not its logarithm."""
    means = [float((1 / (1 + np.exp(-scale * np.where(won == 1, gap, -gap)))).mean()) for scale in scales]
    return _best(gap, won, scales, statements) | {"scale": scales[int(np.argmax(means))]}


def _by_spread(gap: Array, scales: list[float], **inputs: Any) -> dict[str, Any]:
    """Return the scale at which the standard deviation of the gaps is nearest to 1."""
    nearest = min(scales, key=lambda scale: abs(np.log(scale * gap.std())))
    return _best(gap=gap, scales=scales, **inputs) | {"scale": nearest}


SCALE_ORACLES = {"standard": _best}
SCALE_WRONG = (
    Wrong(
        "mean probability",
        _matching_confidence,
        "At this scale the winners' mean probability is highest. The loss is the mean of its negative "
        "logarithm, which punishes being sure and wrong.",
    ),
    Wrong(
        "the largest",
        lambda **inputs: _best(**inputs) | {"scale": max(inputs["scales"])},
        "At this scale the model is as sure as it can be, and pays dearly where the other dish won.",
    ),
    Wrong(
        "the smallest",
        lambda **inputs: _best(**inputs) | {"scale": min(inputs["scales"])},
        "At this scale every pair is nearly a coin toss. The rewards know more than that.",
    ),
    Wrong(
        "spread of one nat",
        _by_spread,
        "You made the spread of the gaps about one nat. How large a nat is, only people's choices can say.",
    ),
    Wrong(
        "statements turned round",
        lambda **inputs: (
            _best(**inputs) | {"statements": [not true for true in _best(**inputs)["statements"]]}
        ),
        TURNED,
    ),
)
SCALE = Exercise(
    key="reward_scale",
    title="How large is a nat?",
    kind="dial",
    points=3,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_scales, SCALE_ORACLES, SCALE_WRONG, apart=1e-6),
    oracles=SCALE_ORACLES,
    wrong=SCALE_WRONG,
)
