"""Assignment 4, first half: from token rows to the DPO loss.

The second half, labels and scales, is in `dpo_labels`; the assignment is put together there.
"""

from __future__ import annotations

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from .fair import fair
from .wordings import in_both, reworded

Array = np.ndarray

END = 0
"""The end token; rows are filled up with it too, as many tokenizers do."""


def draw_rows(rng: np.random.Generator, *, vocabulary: int = 7, width: int = 9) -> Inputs:
    """Return four rows; one has padding, one never ended, one has an end token in its prompt."""
    tokens = rng.integers(1, vocabulary, size=(4, width))
    starts = np.array([rng.integers(1, 4), rng.integers(1, 4), rng.integers(2, 4), 1])
    stops = np.array([rng.integers(4, 6), width, rng.integers(4, 7), rng.integers(3, 7)])
    for row, stop in enumerate(stops):
        tokens[row, stop:] = END  # the first of these belongs to the response, the others fill the row
    tokens[2, starts[2] - 1] = END
    order = rng.permutation(4)
    return {"tokens": tokens[order], "starts": starts[order], "end": END}


def _ended_before(tokens: Array, starts: Array, end: int) -> tuple[Array, Array]:
    """Return the places of the response or after it, and of these the ones after an end token."""
    after = np.arange(tokens.shape[1]) >= starts[:, None]  # (B, T)
    ends = after & (tokens == end)
    return after, np.cumsum(ends, axis=1) - ends > 0


def response_mask(tokens: Array, starts: Array, end: int) -> Array:
    """Return True from the first response token to the first end token, both included; (B, T)."""
    after, over = _ended_before(tokens, starts, end)
    return after & ~over


def _finished_mask(tokens: Array, starts: Array, end: int) -> Array:
    mask = response_mask(tokens, starts, end)
    return mask & (mask & (tokens == end)).any(axis=1, keepdims=True)


def _without_end(tokens: Array, starts: Array, end: int) -> Array:
    return response_mask(tokens, starts, end) & (tokens != end)


def _with_padding(tokens: Array, starts: Array, end: int) -> Array:
    return _ended_before(tokens, starts, end)[0]


def _with_prompt(tokens: Array, starts: Array, end: int) -> Array:
    after, over = _ended_before(tokens, starts, end)
    return ~(after & over)


def _first_end_of_the_row(tokens: Array, starts: Array, end: int) -> Array:
    return _with_padding(tokens, starts, end) & response_mask(tokens, np.zeros_like(starts), end)


MASK_ORACLES = {"standard": response_mask, "finished": _finished_mask}
MASK_WRONG = (
    Wrong(
        "end token left out",
        _without_end,
        "Your mask stops before the end token. To stop is a decision of the policy and has a probability "
        "too.",
    ),
    Wrong(
        "padding counted",
        _with_padding,
        "Your mask goes on after the response has ended: what fills the row up was not written by the "
        "policy.",
    ),
    Wrong(
        "prompt counted",
        _with_prompt,
        "Your mask holds the prompt. The policy did not choose it, it is what the policy answers to.",
    ),
    Wrong(
        "first end token of the whole row",
        _first_end_of_the_row,
        "A prompt may hold an end token, at the end of an earlier turn. Look for one in the response alone.",
    ),
)
MASK = Exercise(
    key="response_mask",
    title="Which tokens count",
    kind="implement",
    points=3,
    minutes=12,
    difficulty="medium",
    draw=fair(draw_rows, MASK_ORACLES, MASK_WRONG),
    oracles=MASK_ORACLES,
    wrong=MASK_WRONG,
)


def _draw_logits(rng: np.random.Generator) -> Inputs:
    rows = draw_rows(rng)
    return {
        "logits": rng.normal(0, 2, size=(*rows["tokens"].shape, 7)),
        "tokens": rows["tokens"],
        "mask": response_mask(**rows),
    }


def picked(logits: Array, tokens: Array, *, normalised: bool = True) -> Array:
    """Return log softmax(logits)[token] at each place, or the bare logit; (B, T)."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    if normalised:
        shifted = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    found: Array = np.take_along_axis(shifted if normalised else logits, tokens[..., None], axis=-1)[..., 0]
    return found


def response_logp(logits: Array, tokens: Array, mask: Array) -> Array:
    """Return the sum over the response of log p(token), where place t predicts token t + 1; (B,)."""
    return np.asarray((picked(logits[:, :-1], tokens[:, 1:]) * mask[:, 1:]).sum(axis=1))


def _from_aligned(inputs: Inputs) -> Inputs:
    """Return rows in which place t predicts token t + 1, from rows in which it predicts token t."""
    front = ((0, 0), (1, 0))
    return {
        "logits": np.pad(inputs["logits"], ((0, 0), (0, 1), (0, 0))),
        "tokens": np.pad(inputs["tokens"], front),
        "mask": np.pad(inputs["mask"], front),
    }


def _mean_logp(logits: Array, tokens: Array, mask: Array) -> Array:
    return response_logp(logits, tokens, mask) / mask.sum(axis=1)


def _unmasked_logp(logits: Array, tokens: Array, mask: Array) -> Array:
    return np.asarray(picked(logits[:, :-1], tokens[:, 1:]).sum(axis=1))


def _unnormalised_logp(logits: Array, tokens: Array, mask: Array) -> Array:
    return np.asarray((picked(logits[:, :-1], tokens[:, 1:], normalised=False) * mask[:, 1:]).sum(axis=1))


def _mask_not_moved(logits: Array, tokens: Array, mask: Array) -> Array:
    return np.asarray((picked(logits[:, :-1], tokens[:, 1:]) * mask[:, :-1]).sum(axis=1))


LOGP_ORACLES = {"standard": response_logp, "aligned": reworded(response_logp, _from_aligned)}
LOGP_WRONG = in_both(
    (
        Wrong(
            "mean for sum",
            _mean_logp,
            "You take the mean over the tokens. The probability of a response is the product of its tokens' "
            "probabilities, so its logarithm is their sum; the mean gives beta another meaning for every "
            "length.",
        ),
        Wrong(
            "mask left out",
            _unmasked_logp,
            "You add up tokens that the policy did not write as its response. What is the mask for?",
        ),
        Wrong(
            "logits not normalised",
            _unnormalised_logp,
            "You add up logits. They become log-probabilities when the log of the sum of their exps is "
            "taken off.",
        ),
        Wrong(
            "mask not moved with the tokens",
            _mask_not_moved,
            "Your first response token is lost and the place after the last one counts. The mask marks "
            "tokens, "
            "so it moves along when the tokens do.",
            ("standard",),
        ),
    ),
    "aligned",
    _from_aligned,
)
LOGP = Exercise(
    key="response_logp",
    title="The log-probability of a response",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_logits, LOGP_ORACLES, LOGP_WRONG),
    oracles=LOGP_ORACLES,
    wrong=LOGP_WRONG,
)


def _draw_comparisons(rng: np.random.Generator) -> Inputs:
    """Return six comparisons, of which two have margins of hundreds of nats, as long texts do."""
    ref_logp = -rng.uniform(5, 60, size=(6, 2))
    moved = rng.normal(0, 3, size=(6, 2))
    moved[rng.choice(6, size=2, replace=False), 0] += rng.permutation([4000.0, -4000.0])
    target = rng.uniform(0.05, 0.95, size=6)
    return {
        "logp": ref_logp + moved,
        "ref_logp": ref_logp,
        "target": target,
        "beta": float(rng.uniform(0.3, 0.8)),
    }


def dpo_loss(logp: Array, ref_logp: Array, target: Array, beta: float) -> Array:
    """Return the DPO loss of each comparison, nats; ``target`` is the probability that y1 is chosen."""
    return _logistic(_margin(logp, ref_logp, beta), target)


def _margin(logp: Array, ref_logp: Array, beta: float) -> Array:
    implicit = beta * (logp - ref_logp)  # (n, 2)
    return np.asarray(implicit[:, 1] - implicit[:, 0])


def _logistic(margin: Array, target: Array) -> Array:
    """Return -p log s(m) - (1 - p) log s(-m) as log(1 + e^m) - p m, which does not overflow."""
    return np.asarray(np.logaddexp(0.0, margin) - target * margin)


def _from_first(inputs: Inputs) -> Inputs:
    """Return the target of y1 from the target of y0."""
    return inputs | {"target": 1 - inputs["target"]}


def _overflowing(logp: Array, ref_logp: Array, target: Array, beta: float) -> Array:
    with np.errstate(all="ignore"):
        chosen = 1 / (1 + np.exp(-_margin(logp, ref_logp, beta)))
        return np.asarray(-target * np.log(chosen) - (1 - target) * np.log(1 - chosen))


LOSS_ORACLES = {"standard": dpo_loss, "first": reworded(dpo_loss, _from_first)}
LOSS_WRONG = in_both(
    (
        Wrong(
            "reference left out",
            lambda logp, ref_logp, target, beta: dpo_loss(logp, 0 * ref_logp, target, beta),
            "Your loss does not know the reference, so nothing ties the policy to it.",
        ),
        Wrong(
            "beta left out",
            lambda logp, ref_logp, target, beta: dpo_loss(logp, ref_logp, target, 1.0),
            "Your margin does not know beta. The implicit reward is beta times the log-ratio.",
        ),
        Wrong(
            "hard labels",
            lambda logp, ref_logp, target, beta: dpo_loss(
                logp, ref_logp, np.where(target > 0.5, 1.0, 0.0), beta
            ),
            "You made a bit of the target. It is a probability: both outcomes count, each with its own "
            "weight.",
        ),
        Wrong(
            "overflow",
            _overflowing,
            "Some of your losses are not finite: exp of a margin of hundreds of nats is too large a "
            "number. Write "
            "the loss with log(1 + e^m), for which numpy has logaddexp(0, m).",
        ),
        Wrong(
            "mean over the batch",
            lambda logp, ref_logp, target, beta: float(dpo_loss(logp, ref_logp, target, beta).mean()),
            "You return one number. Return a loss for each comparison; who calls you decides how to "
            "reduce them.",
        ),
    ),
    "first",
    _from_first,
)
LOSS = Exercise(
    key="dpo_loss",
    title="The DPO loss with a soft target",
    kind="implement",
    points=4,
    minutes=12,
    difficulty="medium",
    draw=fair(_draw_comparisons, LOSS_ORACLES, LOSS_WRONG),
    oracles=LOSS_ORACLES,
    wrong=LOSS_WRONG,
)
