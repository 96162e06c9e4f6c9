"""Assignment 5: what a right row of a run says, and which mistake a run was made with.

The exercises on the step itself are in `dual_walks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from . import dual_walks
from . import run_histories as runs
from .fair import Oracle, fair

Array = np.ndarray


def _from_safety(inputs: Inputs) -> Inputs:
    return inputs | {"cost": -inputs["cost"]}


def _draw_row(rng: np.random.Generator) -> Inputs:
    kitchen = runs.draw_kitchen(rng)
    tables = {name: getattr(kitchen, name) for name in ("weights", "reference", "reward", "cost", "beta")}
    return {"lam": float(rng.uniform(0.5, 2.5))} | tables


def expected_row(
    lam: float, weights: Array, reference: Array, reward: Array, cost: Array, beta: float
) -> dict[str, float]:
    """Return E[r], E[c] and KL of the best policy for a price."""
    kitchen = runs.Kitchen(weights, reference, reward, cost, beta, 0.0, 1.0)
    return runs.columns(kitchen, runs.tilted(kitchen, lam))


def _row_in_safety(**inputs: Any) -> dict[str, float]:
    """Return the row where ``cost`` is a safety: of the same policy, with the sign of E turned back."""
    row = expected_row(**_from_safety(inputs))
    return row | {"cost": -row["cost"]}


def _pooled(weights: Array, reference: Array, reward: Array, cost: Array, beta: float, lam: float) -> Any:
    """Return the row with one normalising sum for all prompts."""
    joint = weights[:, None] * reference
    policy = runs.tilt(joint.reshape(1, -1), (reward - lam * cost).reshape(1, -1), beta).reshape(joint.shape)
    return {
        "reward": float((policy * reward).sum()),
        "cost": float((policy * cost).sum()),
        "kl": float((policy * np.log(policy / joint)).sum()),
    }


def _turned_kl(**inputs: Any) -> dict[str, float]:
    kitchen = runs.Kitchen(
        **{name: value for name, value in inputs.items() if name != "lam"}, limit=0.0, step=1.0
    )
    policy = runs.tilted(kitchen, inputs["lam"])
    turned = (kitchen.reference * np.log(kitchen.reference / policy)).sum(axis=1)
    return expected_row(**inputs) | {"kl": float(kitchen.weights @ turned)}


def _equal_weights(**inputs: Any) -> dict[str, float]:
    return expected_row(**(inputs | {"weights": np.full_like(inputs["weights"], 1 / len(inputs["weights"]))}))


def _no_beta(**inputs: Any) -> dict[str, float]:
    return expected_row(**(inputs | {"beta": 1.0}))


ROW_ORACLES: dict[str, Oracle] = {"standard": expected_row, "safety": _row_in_safety}
ROW_MISTAKES = (
    (
        "one sum for all prompts",
        _pooled,
        "You normalise over all prompts at once. A policy is a distribution for each prompt: divide row "
        "by row.",
    ),
    (
        "KL turned round",
        _turned_kl,
        "Your KL is that of the reference to the policy. Asked is KL(policy || reference), an average "
        "under the "
        "policy.",
    ),
    (
        "every prompt weighs the same",
        _equal_weights,
        "You take the plain mean over prompts. Some guests come more often: use the weights.",
    ),
    ("beta left out", _no_beta, "Your tilt does not know beta: the exponent is the score divided by it."),
)


def _in_safety(answer: Any) -> Any:
    def answered(**inputs: Any) -> dict[str, float]:
        row = answer(**_from_safety(inputs))
        return row | {"cost": -row["cost"]}

    return answered


ROW_WRONG = tuple(Wrong(name, answer, words, ("standard",)) for name, answer, words in ROW_MISTAKES) + tuple(
    Wrong(name, _in_safety(answer), words, ("safety",)) for name, answer, words in ROW_MISTAKES
)
ROW = Exercise(
    key="expected_row",
    title="What a right row says",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=fair(_draw_row, ROW_ORACLES, ROW_WRONG),
    oracles=ROW_ORACLES,
    wrong=ROW_WRONG,
)


def _opened(inputs: Inputs) -> tuple[runs.Kitchen, dict[str, list[Any]]]:
    tables = {name: inputs[name] for name in runs.Kitchen._fields}
    return runs.Kitchen(**tables), inputs["history"]


def first_bad_row(**inputs: Any) -> int:
    """Return the first round whose row a correct run would not have written."""
    return runs.bad_rounds(*_opened(inputs))[0]


def bad_rows(**inputs: Any) -> list[int]:
    """Return all rounds whose row a correct run would not have written."""
    return runs.bad_rounds(*_opened(inputs))


def _price_alone(**inputs: Any) -> list[int]:
    kitchen, history = _opened(inputs)
    return [
        k for k, row in zip(history["round"], runs.faults(kitchen, history), strict=True) if row["lam"] > 1e-3
    ]


def _policy_alone(**inputs: Any) -> list[int]:
    kitchen, history = _opened(inputs)
    found = zip(history["round"], runs.faults(kitchen, history), strict=True)
    return [k for k, row in found if max(row["reward"], row["cost"], row["kl"]) > 1e-3]


def _above_limit(**inputs: Any) -> list[int]:
    rounds, cost = inputs["history"]["round"], inputs["history"]["cost"]
    return [k for k, value in zip(rounds, cost, strict=True) if value > inputs["limit"]]


FIRST_ROW_WRONG = (
    Wrong(
        "only the price checked",
        lambda **inputs: next(iter(_price_alone(**inputs)), None),
        "You hold the price against its step and nothing else. A mistake in the labels or in the measured "
        "cost leaves "
        "the price's arithmetic right: check the other columns too.",
        ("standard",),
    ),
    Wrong(
        "only the policy checked",
        lambda **inputs: next(iter(_policy_alone(**inputs)), None),
        "You hold reward, cost and KL against the price of the row. The price itself must be one step "
        "from the row "
        "before.",
        ("standard",),
    ),
    Wrong(
        "one row early",
        lambda **inputs: first_bad_row(**inputs) - 1,
        "You are one row early. Rounds count from 1, places in a list from 0; and a wrong step shows in "
        "the row after.",
        ("standard",),
    ),
    Wrong(
        "above the limit",
        lambda **inputs: _above_limit(**inputs)[0],
        "A row above the limit is no mistake: every run that begins at price 0 begins there.",
        ("standard",),
    ),
    Wrong(
        "only the price checked",
        _price_alone,
        "You hold the price against its step and nothing else. A mistake in the labels or in the measured "
        "cost leaves "
        "the price's arithmetic right: check the other columns too.",
        ("all rows",),
    ),
    Wrong(
        "places for rounds",
        lambda **inputs: [k - 1 for k in bad_rows(**inputs)],
        "You return places in the list, which count from 0. Rounds count from 1.",
        ("all rows",),
    ),
    Wrong(
        "above the limit",
        _above_limit,
        "A row above the limit is no mistake: every run that begins at price 0 begins there.",
        ("all rows",),
    ),
    Wrong(
        "the first row alone",
        lambda **inputs: [first_bad_row(**inputs)],
        "You list the first such row. Asked are all of them, each held against the row before as that "
        "stands.",
        ("all rows",),
    ),
)
FIRST_ROW = Exercise(
    key="first_bad_row",
    title="The first row that cannot be",
    kind="implement",
    points=4,
    minutes=15,
    difficulty="medium",
    draw=runs.draw_broken,
    oracles={"standard": first_bad_row, "all rows": bad_rows},
    wrong=FIRST_ROW_WRONG,
)


def which_bug(**inputs: Any) -> dict[str, Any]:
    """Return the mistake of a run and the round in which it first shows."""
    bug, shows = runs.diagnosis(*_opened(inputs))
    return {"bug": bug, "round": shows}


CONFUSED = {
    "flipped sign": "frozen multiplier",
    "frozen multiplier": "labels not relabelled",
    "sum for mean": "unanchored cost",
    "reward for cost": "sum for mean",
    "unanchored cost": "reward for cost",
    "labels not relabelled": "frozen multiplier",
    "reference moves": "beta twice",
    "cost added to the score": "flipped sign",
    "beta twice": "reference moves",
}
"""What a mistake is taken for when only its effect is looked at."""


def _draw_named(*bugs: str) -> Any:
    def draw(rng: np.random.Generator) -> Inputs:
        about = {"samples": runs.SAMPLES, "names": [str(name) for name in rng.permutation(runs.BUGS)]}
        return runs.draw_broken(rng, bugs) | about

    return draw


BUG_WRONG = (
    Wrong(
        "taken for another",
        lambda **inputs: which_bug(**inputs) | {"bug": CONFUSED[which_bug(**inputs)["bug"]]},
        "The round is right, the name is not. Ask of that row which columns are off, and off by what: a "
        "number that "
        "stays as it was, a factor, a constant, another column?",
    ),
    Wrong(
        "one row early",
        lambda **inputs: which_bug(**inputs) | {"round": which_bug(**inputs)["round"] - 1},
        "The name is right. The row that you give could still have come from a correct run: asked is "
        "where the "
        "mistake first shows, not where it acted.",
    ),
    Wrong(
        "one row late",
        lambda **inputs: which_bug(**inputs) | {"round": which_bug(**inputs)["round"] + 1},
        "The name is right. A row before the one that you give is wrong already.",
    ),
    Wrong(
        "from the start",
        lambda **inputs: which_bug(**inputs) | {"round": 1},
        "The name is right. The first rows are those of a correct run: this one was stopped and went on "
        "with other "
        "code.",
    ),
)


def _diagnose(key: str, title: str, bugs: tuple[str, ...]) -> Exercise:
    oracles = {"standard": which_bug}
    return Exercise(
        key=key,
        title=title,
        kind="diagnose",
        points=3,
        minutes=12,
        difficulty="medium",
        draw=_draw_named(*bugs),
        oracles=oracles,
        wrong=BUG_WRONG,
    )


BUG_IN_PRICE = _diagnose("bug_in_the_price", "What happened to the price?", runs.PRICE_BUGS)
BUG_IN_POLICY = _diagnose("bug_in_the_policy", "What happened to the policy?", runs.POLICY_BUGS)


ASSIGNMENT = Assignment(
    "05_broken_runs",
    "Broken runs",
    (ROW, FIRST_ROW, BUG_IN_PRICE, BUG_IN_POLICY, dual_walks.STEP, dual_walks.ROUND),
)
