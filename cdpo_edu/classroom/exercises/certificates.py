"""Assignment 3, last part: what a policy may still lose, and what the limit does to the price."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Exercise, Inputs, Wrong
from . import tables
from .dual_policy import from_safety
from .fair import fair
from .statements import TURNED, Claims, four_of, truth
from .wordings import in_both, reworded

Array = np.ndarray


def _draw_certificate(rng: np.random.Generator) -> Inputs:
    drawn = tables.draw_tables(rng)
    return drawn | {
        "policy": rng.dirichlet(np.full(4, 2.0), size=3),
        "lam": float(rng.uniform(0.3, 1.5)),
        "limit": float(rng.uniform(-0.8, 0.8)),
    }


def _divergence(policy: Array, other: Array, weights: Array) -> float:
    """Return E_x KL(policy || other), nats."""
    return tables.expected(policy, np.log(policy / other), weights)


def _certificate(
    policy: Array,
    reference: Array,
    reward: Array,
    cost: Array,
    weights: Array,
    beta: float,
    lam: float,
    limit: float,
) -> dict[str, float]:
    """Return the two terms of D(lam) - J(pi): beta E_x KL(pi || pi_lam) and lam (C - E_pi[c])."""
    best = tables.tilted(reference, reward, cost, lam, beta)
    return {
        "kl_term": beta * _divergence(policy, best, weights),
        "slack_term": lam * (limit - tables.expected(policy, cost, weights)),
    }


def _reversed(policy: Array, weights: Array, beta: float, **rest: Any) -> dict[str, float]:
    names = ("reference", "reward", "cost", "lam")
    best = tables.tilted(**{name: rest[name] for name in names}, beta=beta)
    found = _certificate(policy=policy, weights=weights, beta=beta, **rest)
    return found | {"kl_term": beta * _divergence(best, policy, weights)}


def _to_the_reference(policy: Array, weights: Array, beta: float, **rest: Any) -> dict[str, float]:
    found = _certificate(policy=policy, weights=weights, beta=beta, **rest)
    return found | {"kl_term": beta * _divergence(policy, rest["reference"], weights)}


def _without_beta(beta: float, **rest: Any) -> dict[str, float]:
    found = _certificate(beta=beta, **rest)
    return found | {"kl_term": found["kl_term"] / beta}


def _violation(**inputs: Any) -> dict[str, float]:
    found = _certificate(**inputs)
    return found | {"slack_term": -found["slack_term"]}


CERTIFICATE_ORACLES = {"standard": _certificate, "safety": reworded(_certificate, from_safety)}
CERTIFICATE_WRONG = in_both(
    (
        Wrong(
            "KL turned round",
            _reversed,
            "Your KL goes from the tilted policy to yours. The mean is to be taken under the policy that "
            "is judged.",
        ),
        Wrong(
            "KL to the reference",
            _to_the_reference,
            "Your KL is to the reference. The gap measures the distance to the best policy of this price.",
        ),
        Wrong(
            "beta left out",
            _without_beta,
            "Your first term is in nats of KL. The gap is in units of reward: which number turns one "
            "into the other?",
        ),
        Wrong(
            "sign of the slack",
            _violation,
            "Your slack term is positive for a policy that breaks the limit. Room is what makes it positive.",
        ),
        Wrong(
            "guests counted alike",
            lambda weights, **rest: _certificate(weights=np.full(3, 1 / 3), **rest),
            "You count every guest alike. Guests who come more often weigh more in E_x.",
        ),
    ),
    "safety",
    from_safety,
)
CERTIFICATE = Exercise(
    key="certificate_terms",
    title="The certificate's two terms",
    kind="implement",
    points=3,
    minutes=14,
    difficulty="medium",
    draw=fair(_draw_certificate, CERTIFICATE_ORACLES, CERTIFICATE_WRONG),
    oracles=CERTIFICATE_ORACLES,
    wrong=CERTIFICATE_WRONG,
)

CLAIMS: Claims = (
    (
        "A tighter limit never has a lower multiplier.",
        "A tighter limit never has a higher multiplier.",
    ),
    (
        "A tighter limit never lets the best policy reach a higher objective.",
        "A tighter limit can let the best policy reach a higher objective.",
    ),
    (
        "Where the limit binds, a little more limit raises the best objective by lam* times as much.",
        "Where the limit binds, a little more limit raises the best objective by beta times as much.",
    ),
    (
        "Below the least cost of any policy, no multiplier is large enough.",
        "Below the least cost of any policy, a large enough multiplier still meets the limit.",
    ),
    (
        "For a policy that breaks the limit, D(lam) - J can be negative.",
        "For every policy, feasible or not, D(lam) - J is at least 0.",
    ),
)


def _draw_limit(rng: np.random.Generator) -> Inputs:
    """Return a problem and the price that its limit is to have."""
    drawn = tables.draw_tables(rng, prompts=2, responses=3)
    return drawn | {"wanted_lam": round(float(rng.uniform(0.5, 2.0)), 2), "statements": four_of(rng, CLAIMS)}


def _limit(wanted_lam: float, statements: list[str], **drawn: Any) -> dict[str, Any]:
    """Return the limit E_lam[c], for which ``wanted_lam`` is the multiplier."""
    return {"limit": tables.cost_at(**drawn, lam=wanted_lam), "statements": truth(statements, CLAIMS)}


def _at_zero(wanted_lam: float, **inputs: Any) -> dict[str, Any]:
    return _limit(wanted_lam=0.0, **inputs)


def _least(**inputs: Any) -> dict[str, Any]:
    return _limit(**inputs) | {"limit": tables.least_cost(inputs["cost"], inputs["weights"])}


def _reference_cost(**inputs: Any) -> dict[str, Any]:
    cost = tables.expected(inputs["reference"], inputs["cost"], inputs["weights"])
    return _limit(**inputs) | {"limit": cost}


def _paid(**inputs: Any) -> dict[str, Any]:
    return _limit(**(inputs | {"wanted_lam": -inputs["wanted_lam"]}))


def _statements_turned(**inputs: Any) -> dict[str, Any]:
    found = _limit(**inputs)
    return found | {"statements": [not true for true in found["statements"]]}


DIAL_ORACLES = {"standard": _limit}
DIAL_WRONG = (
    Wrong(
        "slack from here on",
        _at_zero,
        "This is the cost without any price: at this limit, and at every looser one, the multiplier is 0.",
    ),
    Wrong(
        "least cost",
        _least,
        "This is the least cost that anyone can reach. The price of this limit is beyond every number.",
    ),
    Wrong(
        "cost of the reference",
        _reference_cost,
        "This is the reference's cost, which has no price in it. At which cost does a step at the wanted "
        "price rest?",
    ),
    Wrong(
        "harm is paid for",
        _paid,
        "At this limit the policy would have to be paid for harm. Check the sign of the cost in the score.",
    ),
    Wrong("statements turned round", _statements_turned, TURNED),
)
DIAL = Exercise(
    key="limit_dial",
    title="Turn the limit",
    kind="dial",
    points=3,
    minutes=14,
    difficulty="medium",
    draw=fair(_draw_limit, DIAL_ORACLES, DIAL_WRONG, apart=1e-2),
    oracles=DIAL_ORACLES,
    wrong=DIAL_WRONG,
    tolerance=1e-3,
)
