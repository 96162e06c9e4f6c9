"""Assignment 4, second half: labels for a new price, what the loss says, and how large scores may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from . import dpo
from .fair import fair
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_pairs(rng: np.random.Generator) -> Inputs:
    """Return twelve pairs of which two to five change sides between the prices."""
    while True:
        reward, cost = rng.normal(0, 1.5, size=(2, 12, 2))
        lam_old, lam_new = rng.uniform(0.2, 0.6), rng.uniform(1.2, 2.0)
        inputs = {"reward": reward, "cost": cost, "lam_old": float(lam_old), "lam_new": float(lam_new)}
        if all(2 <= relabel(**one)["flipped"] <= 5 for one in (inputs, _from_safety(inputs))):
            return inputs


def _from_safety(inputs: Inputs) -> Inputs:
    return inputs | {"cost": -inputs["cost"]}


def _target(reward: Array, cost: Array, lam: float) -> Array:
    """Return s(gap of r - lam c between y1 and y0), shape (n,)."""
    score = reward - lam * cost  # (n, 2)
    return np.asarray(1 / (1 + np.exp(score[:, 0] - score[:, 1])))


def relabel(reward: Array, cost: Array, lam_old: float, lam_new: float) -> dict[str, Any]:
    """Return the soft labels at ``lam_new`` and how many pairs changed their likelier response."""
    before, after = _target(reward, cost, lam_old), _target(reward, cost, lam_new)
    return {"target": after, "flipped": int(((before > 0.5) != (after > 0.5)).sum())}


def _hard(**inputs: Any) -> dict[str, Any]:
    found = relabel(**inputs)
    return found | {"target": np.round(found["target"])}


def _stale(reward: Array, cost: Array, lam_old: float, lam_new: float) -> dict[str, Any]:
    found = relabel(reward, cost, lam_old, lam_new)
    return found | {"target": _target(reward, cost, lam_old)}


def _every_change(reward: Array, cost: Array, lam_old: float, lam_new: float) -> dict[str, Any]:
    return relabel(reward, cost, lam_old, lam_new) | {"flipped": len(reward)}


def _share(reward: Array, cost: Array, lam_old: float, lam_new: float) -> dict[str, Any]:
    found = relabel(reward, cost, lam_old, lam_new)
    return found | {"flipped": found["flipped"] / len(reward)}


LABEL_ORACLES = {"standard": relabel, "safety": reworded(relabel, _from_safety)}
LABEL_WRONG = in_both(
    (
        Wrong(
            "hard labels",
            _hard,
            "Your labels are bits. A soft label is the probability itself, so that a small gap stays a "
            "small gap.",
        ),
        Wrong(
            "labels of the old price",
            _stale,
            "Your labels are those of the old price. The point of relabelling is that they follow the price.",
        ),
        Wrong(
            "every change counted",
            _every_change,
            "You count every label that moved, and all of them do. A label flips when the likelier "
            "response changes.",
        ),
        Wrong(
            "share for number",
            _share,
            "You return the share of the pairs that flipped. Asked is how many they are.",
        ),
    ),
    "safety",
    _from_safety,
)
RELABEL = Exercise(
    key="relabel",
    title="Labels follow the price",
    kind="implement",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_pairs, LABEL_ORACLES, LABEL_WRONG),
    oracles=LABEL_ORACLES,
    wrong=LABEL_WRONG,
)


def _draw_targets(rng: np.random.Generator) -> Inputs:
    """Return six soft targets and the reference's log-probabilities of the two responses."""
    return {
        "target": rng.uniform(0.1, 0.9, size=6).round(2),
        "ref_logp": -rng.uniform(5, 60, size=(6, 2)).round(1),
        "beta": float(rng.choice([0.1, 0.2, 0.5])),
    }


def _entropy(target: Array) -> float:
    return float(-(target * np.log(target) + (1 - target) * np.log(1 - target)).mean())


def first_loss(target: Array, ref_logp: Array, beta: float) -> dict[str, float]:
    """Return the mean loss at the reference, and the least that any policy has, for soft and hard labels.

    At the reference every margin is 0, so log(1 + e^0) - p 0 = ln 2 whatever p is. The least loss of a soft
    label is its entropy, at the margin log(p/(1-p)); that of a hard label is 0, which no finite margin has.
    """
    start = float(np.log(2))
    return {"soft_start": start, "hard_start": start, "soft_floor": _entropy(target), "hard_floor": 0.0}


FIRST_ORACLES = {"standard": first_loss}
FIRST_WRONG = (
    Wrong(
        "entropy at the start",
        lambda target, ref_logp, beta: first_loss(target, ref_logp, beta) | {"soft_start": _entropy(target)},
        "The entropy of the labels is where a soft loss can end. What is the margin of each pair at the "
        "reference?",
    ),
    Wrong(
        "soft floor 0",
        lambda target, ref_logp, beta: first_loss(target, ref_logp, beta) | {"soft_floor": 0.0},
        "No policy brings the loss of a soft label to 0: one of the two outcomes keeps a part of the weight.",
    ),
    Wrong(
        "in bits",
        lambda target, ref_logp, beta: {
            name: value / np.log(2) for name, value in first_loss(target, ref_logp, beta).items()
        },
        "Your numbers are in bits. Losses here are in nats: the natural logarithm.",
    ),
    Wrong(
        "no loss at the reference",
        lambda target, ref_logp, beta: (
            first_loss(target, ref_logp, beta) | {"soft_start": 0.0, "hard_start": 0.0}
        ),
        "A margin of 0 is not a loss of 0: at the reference both responses are held to be equally likely "
        "chosen.",
    ),
)
FIRST = Exercise(
    key="first_loss",
    title="Before the first step",
    kind="predict",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_targets, FIRST_ORACLES, FIRST_WRONG, apart=1e-2),
    oracles=FIRST_ORACLES,
    wrong=FIRST_WRONG,
    tolerance=1e-3,
)

SCALES = np.round(np.geomspace(1, 1e-3, 13), 4).tolist()
"""Score scales to choose from, a factor of 1.78 from one to the next."""

CLAIMS = (
    (
        "Half the score scale gives the same weights as twice the beta.",
        "Half the score scale gives the same weights as half the beta.",
    ),
    (
        "When every score is scaled by s, the limit on the mean cost is scaled by s as well.",
        "When every score is scaled by s, the limit on the mean cost keeps its number.",
    ),
    (
        "An effective sample size near 1 says that one sample has nearly all the weight.",
        "A large effective sample size says that the tilted policy is far from the reference.",
    ),
    (
        "Adding the same number to the reward of every sample leaves the effective sample size as it is.",
        "Adding the same number to the reward of every sample raises the effective sample size.",
    ),
    (
        "At a score scale of 0 the effective sample size is the number of samples.",
        "At a score scale of 0 the effective sample size is 0.",
    ),
)
"""What a student judges, each in a form that is true and in one that is false."""
TRUE = {true for true, _ in CLAIMS}


def effective_samples(score: Array) -> float:
    """Return 1/sum w^2 of the weights w proportional to exp(score)."""
    weight = np.exp(score - score.max())
    return float(weight.sum() ** 2 / (weight**2).sum())


def _draw_scores(rng: np.random.Generator) -> Inputs:
    """Return raw scores as wide as those of published models, and four statements, two of them true."""
    about = rng.permutation(len(CLAIMS))[:4]
    forms = rng.permutation([0, 0, 1, 1])
    return {
        "reward": rng.normal(0, 6, size=60),
        "cost": rng.normal(0, 10, size=60),
        "lam": float(rng.uniform(1.5, 2.5)),
        "beta": 0.1,
        "wanted": int(rng.integers(8, 41)),
        "scales": SCALES,
        "statements": [CLAIMS[claim][form] for claim, form in zip(about, forms, strict=True)],
    }


def _largest(score: Array, wanted: float, scales: Sequence[float]) -> float:
    """Return the largest scale with enough effective samples, else the smallest there is."""
    enough = [scale for scale in scales if effective_samples(scale * score) >= wanted]
    return max(enough, default=min(scales))


def score_scale(
    reward: Array,
    cost: Array,
    lam: float,
    beta: float,
    wanted: int,
    scales: list[float],
    statements: list[str],
) -> dict[str, Any]:
    """Return the largest scale that leaves ``wanted`` effective samples, and the truth of the statements."""
    scale = _largest((reward - lam * cost) / beta, wanted, scales)
    return {"scale": scale, "statements": [text in TRUE for text in statements]}


def _other_scale(reward: Array, cost: Array, lam: float, beta: float, *, instead: str, **rest: Any) -> Any:
    found = score_scale(reward, cost, lam, beta, **rest)
    scales, place = rest["scales"], rest["scales"].index(found["scale"])
    scale = {
        "beta left out": lambda: _largest(reward - lam * cost, rest["wanted"], scales),
        "cost left out": lambda: _largest(reward / beta, rest["wanted"], scales),
        "one too far": lambda: scales[place - 1],
        "smallest": lambda: min(scales),
    }[instead]()
    return found | {"scale": scale}


def _scale_wrong(name: str, message: str) -> Wrong:
    return Wrong(name, lambda **inputs: _other_scale(instead=name, **inputs), message)


SCALE_ORACLES = {"standard": score_scale}
SCALE_WRONG = (
    _scale_wrong(
        "beta left out", "Your weights do not know beta. A small beta makes a small gap a large one."
    ),
    _scale_wrong("cost left out", "Your weights hold the reward alone. The tilted policy weighs r - lam c."),
    _scale_wrong("one too far", "At this scale fewer samples are effective than are wanted."),
    _scale_wrong(
        "smallest",
        "This scale has samples enough, and gives scores away that could have counted: take the largest "
        "that has.",
    ),
    Wrong(
        "statements turned round",
        lambda **inputs: {
            "scale": score_scale(**inputs)["scale"],
            "statements": [text not in TRUE for text in inputs["statements"]],
        },
        "The scale is right; each statement is judged the wrong way round.",
    ),
)
SCALE = Exercise(
    key="score_scale",
    title="How large may scores be?",
    kind="dial",
    points=3,
    minutes=16,
    difficulty="medium",
    draw=fair(_draw_scores, SCALE_ORACLES, SCALE_WRONG, apart=1e-6),
    oracles=SCALE_ORACLES,
    wrong=SCALE_WRONG,
)

ASSIGNMENT = Assignment("04_dpo", "DPO by hand", (dpo.MASK, dpo.LOGP, dpo.LOSS, RELABEL, FIRST, SCALE))
