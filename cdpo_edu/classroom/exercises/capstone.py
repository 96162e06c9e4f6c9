"""Assignment 6: the whole of constrained DPO on a toy language, held against its exact optimum."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..exercise import Assignment, Exercise, Inputs, Wrong
from . import capstone_runs as language
from .capstone_parts import LOGP, LOSS, STEP
from .fair import Oracle, fair
from .run_histories import columns, tilted

Array = np.ndarray


def best_policy(relative: bool = False, **inputs: Any) -> Array:
    """Return the exact constrained optimum, (2, 31)."""
    kitchen = _kitchen(inputs, relative)
    return tilted(kitchen, language.exact_price(kitchen))


def _kitchen(inputs: Inputs, relative: bool) -> language.Kitchen:
    tables = {name: inputs[name] for name in ("seed", "reward", "cost", "beta", "limit", "step")}
    return language.kitchen_of(**tables, relative=relative)


def judged(inputs: Inputs, got: Any, variant: str) -> str | None:
    """Return what a trained policy lacks: probabilities, closeness to the exact optimum, the limit."""
    try:
        table = np.asarray(got, dtype=float)
    except (TypeError, ValueError):
        table = np.zeros(())
    if table.shape != inputs["reward"].shape:
        return f"is no table of the expected shape {inputs['reward'].shape}, one row for each guest"
    if not (np.isfinite(table).all() and (table >= 0).all() and np.allclose(table.sum(axis=1), 1, atol=1e-4)):
        return "should return probabilities: each row is not negative and sums to 1"
    kitchen = _kitchen(inputs, variant == "relative")
    close, over = language.closeness(kitchen, table), columns(kitchen, table)["cost"] - kitchen.limit
    if close >= language.CLOSE and over <= language.VIOLATION:
        return None
    return (
        f"ends at closeness {close:.2f} to the exact optimum ({language.CLOSE} is asked for) "
        f"and {over:+.3f} from the limit (at most {language.VIOLATION:+} is)"
    )


RUN_MISTAKES = {
    "price stays at 0": "Your policy is the best one at the price 0. Either the price never moves (look "
    "at the sign of "
    "its step), or it moves and nobody makes new labels from it.",
    "cost added": "Your policy looks for harm: the higher the price, the more. What is the sign of the "
    "cost in the "
    "score that labels the pairs?",
    "mean log-probs": "Your policy is one that was trained on mean log-probabilities: long dishes move "
    "further than "
    "short ones. Take the sum.",
    "beta left out": "Your policy is nearer to the reference than beta asks for. Is beta in the loss, and "
    "is it the "
    "problem's own?",
    "reference moves": "Your policy has left the reference far behind: in each round it is tied to the "
    "round before. "
    "Take the reference's log-probabilities once, before training, and detach them.",
}
RUN_WRONG = tuple(
    Wrong(name, partial(language.learned, bug=name, relative=flag), words, (wording,))
    for wording, flag in (("standard", False), ("relative", True))
    for name, words in RUN_MISTAKES.items()
)
RUN = Exercise(
    key="constrained_dpo",
    title="Constrained DPO",
    kind="implement",
    points=7,
    minutes=40,
    difficulty="hard",
    draw=language.draw_language,
    oracles={"standard": partial(best_policy, False), "relative": partial(best_policy, True)},
    wrong=RUN_WRONG,
    tolerance=0.02,
    judge=judged,
    trials=1,
)


def _draw_priced(rng: np.random.Generator) -> Inputs:
    """Return the tables of one's own language, with the reference written out."""
    drawn = language.draw_language(rng)
    tables = {name: drawn[name] for name in ("reward", "cost", "beta", "limit")}
    return {"reference": language.reference_table(drawn["seed"])} | tables


def end_of_the_run(
    reference: Array, reward: Array, cost: Array, beta: float, limit: float
) -> dict[str, float]:
    """Return the multiplier and the expected reward of the exact optimum."""
    weights = np.full(len(reference), 1 / len(reference))
    kitchen = language.Kitchen(weights, reference, reward, cost, beta, limit, 1.0)
    lam = language.exact_price(kitchen)
    return {"lam": lam, "reward": columns(kitchen, tilted(kitchen, lam))["reward"]}


END_WRONG = (
    Wrong(
        "beta left out",
        lambda **inputs: end_of_the_run(**(inputs | {"beta": 1.0})),
        "You tilt with beta = 1. The exponent is the score divided by beta.",
    ),
    Wrong(
        "first guest alone",
        lambda **inputs: end_of_the_run(
            **{name: value[:1] if np.ndim(value) else value for name, value in inputs.items()}
        ),
        "Your price is that of the first guest alone. One limit holds for the mean over both, and one price.",
    ),
    Wrong(
        "reward left out of the tilt",
        lambda **inputs: end_of_the_run(**(inputs | {"reward": 0 * inputs["reward"]})),
        "Your policy is the nearest to the reference that meets the limit: it does not look at the reward.",
    ),
    Wrong(
        "no limit",
        lambda **inputs: end_of_the_run(**(inputs | {"limit": 1e9})),
        "That is the optimum without a limit.",
    ),
)
END_ORACLES: dict[str, Oracle] = {"standard": end_of_the_run}
END = Exercise(
    key="end_of_the_run",
    title="Where a run must end",
    kind="predict",
    points=3,
    minutes=20,
    difficulty="medium",
    draw=fair(_draw_priced, END_ORACLES, END_WRONG, apart=0.01),
    oracles=END_ORACLES,
    wrong=END_WRONG,
    tolerance=2e-3,
)

ASSIGNMENT = Assignment(
    "06_capstone", "Capstone: constrained DPO on a toy language", (LOGP, LOSS, STEP, END, RUN)
)
