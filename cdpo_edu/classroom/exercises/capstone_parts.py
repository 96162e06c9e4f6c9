"""Assignment 6, the parts of the loop: log-probabilities of all dishes, loss, step of the price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from . import dpo
from .fair import Oracle, fair
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_dishes(rng: np.random.Generator) -> Inputs:
    """Return logits of five dishes for two guests: the empty one, two of one word and two of two."""
    words = rng.integers(1, 6, size=(5, 2))
    tokens = np.zeros((5, 3), dtype=int)
    lengths = rng.permutation([1, 2, 2, 3, 3])
    for row, length in enumerate(lengths):
        tokens[row, : length - 1] = words[row, : length - 1]
    return {
        "logits": rng.normal(0, 1.5, size=(2, 5, 3, 6)),
        "tokens": tokens,
        "mask": np.arange(3) < lengths[:, None],
    }


def masked_logp(logits: Array, tokens: Array, mask: Array) -> Array:
    """Return log pi(y|x), (2, dishes): the sum over the tokens that the mask marks."""
    return _summed(logits, tokens, mask)


def _summed(logits: Array, tokens: Array, mask: Array, *, normalised: bool = True) -> Array:
    everywhere = np.broadcast_to(tokens, logits.shape[:-1])
    return np.asarray((dpo.picked(logits, everywhere, normalised=normalised) * mask).sum(axis=-1))


def _in_bits(answer: Oracle) -> Oracle:
    """Return the surprise -log2 p in place of log p."""
    return lambda **inputs: -answer(**inputs) / np.log(2)


LOGP_ORACLES: dict[str, Oracle] = {"standard": masked_logp, "bits": _in_bits(masked_logp)}
LOGP_MISTAKES = (
    Wrong(
        "mean for sum",
        lambda logits, tokens, mask: masked_logp(logits, tokens, mask) / mask.sum(axis=-1),
        "You take the mean over the tokens. The probability of a dish is a product, so its logarithm is a "
        "sum.",
    ),
    Wrong(
        "mask left out",
        lambda logits, tokens, mask: _summed(logits, tokens, np.ones_like(mask)),
        "You add up places that only fill a row up.",
    ),
    Wrong(
        "end token left out",
        lambda logits, tokens, mask: _summed(logits, tokens, mask & (tokens > 0)),
        "Your sum stops before the end token. That a dish is finished is the policy's decision too.",
    ),
    Wrong(
        "logits not normalised",
        lambda logits, tokens, mask: _summed(logits, tokens, mask, normalised=False),
        "You add up logits. log_softmax over the last axis makes log-probabilities of them.",
    ),
)
LOGP_WRONG = tuple(replace(wrong, variants=("standard",)) for wrong in LOGP_MISTAKES) + tuple(
    replace(wrong, answer=_in_bits(wrong.answer), variants=("bits",)) for wrong in LOGP_MISTAKES
)
LOGP = Exercise(
    key="masked_logp",
    title="The log-probability of every dish",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_dishes, LOGP_ORACLES, LOGP_WRONG),
    oracles=LOGP_ORACLES,
    wrong=LOGP_WRONG,
)


def _draw_comparisons(rng: np.random.Generator) -> Inputs:
    pairs = [(x, *rng.choice(5, size=2, replace=False)) for x in (0, 1) for _ in range(4)]
    ref_logp = -rng.uniform(0.5, 5, size=(2, 5))
    return {
        "logp": ref_logp + rng.normal(0, 1.5, size=(2, 5)),
        "ref_logp": ref_logp,
        "pairs": np.array(pairs),
        "target": rng.uniform(0.05, 0.95, size=8),
        "beta": float(rng.uniform(0.3, 0.7)),
    }


def pair_loss(logp: Array, ref_logp: Array, pairs: Array, target: Array, beta: float) -> float:
    """Return the mean DPO loss of the pairs (x, y0, y1), nats."""
    return float(_losses(logp, ref_logp, pairs, target, beta).mean())


def _losses(logp: Array, ref_logp: Array, pairs: Array, target: Array, beta: float) -> Array:
    prompts, responses = pairs[:, :1], pairs[:, 1:]
    return dpo.dpo_loss(logp[prompts, responses], ref_logp[prompts, responses], target, beta)


def _from_first(inputs: Inputs) -> Inputs:
    return inputs | {"target": 1 - inputs["target"]}


LOSS_ORACLES: dict[str, Oracle] = {"standard": pair_loss, "first": reworded(pair_loss, _from_first)}
LOSS_WRONG = in_both(
    (
        Wrong(
            "sum for mean",
            lambda **inputs: float(_losses(**inputs).sum()),
            "You add the losses up. With the mean a step does not grow with the number of pairs.",
        ),
        Wrong(
            "reference left out",
            lambda **inputs: pair_loss(**(inputs | {"ref_logp": 0 * inputs["ref_logp"]})),
            "Your loss does not know the reference, so nothing ties the policy to it.",
        ),
        Wrong(
            "beta left out",
            lambda **inputs: pair_loss(**(inputs | {"beta": 1.0})),
            "Your margin does not know beta.",
        ),
        Wrong(
            "hard labels",
            lambda **inputs: pair_loss(**(inputs | {"target": np.round(inputs["target"])})),
            "You made bits of the targets. Both outcomes count, each with its own weight.",
        ),
    ),
    "first",
    _from_first,
)
LOSS = Exercise(
    key="pair_loss",
    title="The loss on pairs",
    kind="implement",
    points=3,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_comparisons, LOSS_ORACLES, LOSS_WRONG),
    oracles=LOSS_ORACLES,
    wrong=LOSS_WRONG,
)


def _draw_step(rng: np.random.Generator) -> Inputs:
    return {
        "policy": rng.dirichlet(np.ones(5), size=2),
        "cost": rng.uniform(0, 1, size=(2, 5)),
        "lam": float(rng.uniform(1.0, 2.0)),
        "limit": float(rng.uniform(0.1, 0.3)),
        "step": float(rng.uniform(0.5, 1.5)),
    }


def price_step(policy: Array, cost: Array, lam: float, limit: float, step: float) -> float:
    """Return max(0, lam + step (E[c] - C)), both guests equally frequent."""
    return max(0.0, lam + step * (_expected(policy, cost) - limit))


def _multiplied(policy: Array, cost: Array, lam: float, limit: float, step: float) -> float:
    """Return lam exp(step (E[c] - C)): the same step on log lam."""
    return lam * float(np.exp(step * (_expected(policy, cost) - limit)))


def _expected(policy: Array, cost: Array) -> float:
    return float((policy * cost).sum(axis=1).mean())


def _step_mistakes(right: Oracle, wording: str) -> tuple[Wrong, ...]:
    def with_policy(change: Any) -> Oracle:
        return lambda policy, **rest: right(policy=change(policy), **rest)

    return (
        Wrong(
            "sum over guests",
            with_policy(lambda policy: 2 * policy),
            "You add the guests' costs up. The limit is on their mean.",
            (wording,),
        ),
        Wrong(
            "mean of the table",
            with_policy(lambda policy: np.full_like(policy, 1 / policy.shape[1])),
            "Your cost does not depend on the policy. Weigh each dish with the probability that it is "
            "served.",
            (wording,),
        ),
        Wrong(
            "flipped sign",
            lambda step, **rest: right(step=-step, **rest),
            "Your price falls when the limit is broken.",
            (wording,),
        ),
        Wrong(
            "limit left out",
            lambda limit, **rest: right(limit=0.0, **rest),
            "Your price would rise for ever: it must stand still when the cost is at the limit.",
            (wording,),
        ),
    )


STEP_ORACLES: dict[str, Oracle] = {"standard": price_step, "multiplicative": _multiplied}
STEP_WRONG = _step_mistakes(price_step, "standard") + _step_mistakes(_multiplied, "multiplicative")
STEP = Exercise(
    key="price_step",
    title="The step of the price",
    kind="implement",
    points=3,
    minutes=10,
    difficulty="easy",
    draw=fair(_draw_step, STEP_ORACLES, STEP_WRONG),
    oracles=STEP_ORACLES,
    wrong=STEP_WRONG,
)
