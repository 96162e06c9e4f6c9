"""Small exact runs of constrained DPO, correct or with one planted mistake, and what a right row says.

Soft labels on all pairs make the best policy of a price exact, so a round is a formula: tilt the reference,
measure, step the price. Each mistake here is one that published code has made (see `cdpo_edu.museum`).

Left out: sampling noise, so that a row is right or wrong and not likely or unlikely.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ..exercise import Inputs

Array = np.ndarray

ROUNDS = 9
SAMPLES = 16
"""Answers that a round draws; what a sum over them is larger by than their mean."""

PRICE_BUGS = ("flipped sign", "frozen multiplier", "sum for mean", "reward for cost", "unanchored cost")
POLICY_BUGS = ("labels not relabelled", "reference moves", "cost added to the score", "beta twice")
BUGS = PRICE_BUGS + POLICY_BUGS
COLUMNS = ("lam", "reward", "cost", "kl")


class Kitchen(NamedTuple):
    """A problem on tables: ``weights`` (X,), the others (X, Y), and the run's settings."""

    weights: Array
    reference: Array
    reward: Array
    cost: Array
    beta: float
    limit: float
    step: float


def tilted(kitchen: Kitchen, lam: float, *, sign: float = -1.0, beta: float | None = None) -> Array:
    """Return pi(y|x) proportional to ref exp((r + sign lam c)/beta), shape (X, Y)."""
    return tilt(kitchen.reference, kitchen.reward + sign * lam * kitchen.cost, beta or kitchen.beta)


def tilt(reference: Array, score: Array, beta: float) -> Array:
    """Return reference exp(score/beta), normalised for each prompt, shape (X, Y).

    >>> tilt(np.array([[0.5, 0.5]]), np.array([[np.log(3.0), 0.0]]), 1.0).round(6).tolist()
    [[0.75, 0.25]]
    """
    weight = reference * np.exp((score - score.max(axis=1, keepdims=True)) / beta)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def columns(kitchen: Kitchen, policy: Array) -> dict[str, float]:
    """Return E[r], E[c] and E_x KL(pi || ref) of a policy, nats."""
    ratio = np.maximum(policy, np.finfo(float).tiny) / kitchen.reference  # 0 log 0 = 0
    each = {
        "reward": (policy * kitchen.reward).sum(axis=1),
        "cost": (policy * kitchen.cost).sum(axis=1),
        "kl": (policy * np.log(ratio)).sum(axis=1),
    }
    return {name: float(kitchen.weights @ value) for name, value in each.items()}


def stepped(kitchen: Kitchen, lam: float, cost: float, *, sign: float = 1.0) -> float:
    """Return max(0, lam + sign step (cost - C))."""
    return max(0.0, lam + sign * kitchen.step * (cost - kitchen.limit))


def draw_kitchen(rng: np.random.Generator) -> Kitchen:
    """Return a problem whose limit binds, and a step that brings a correct run near it in nine rounds."""
    shape = (3, 5)
    reward = rng.normal(0, 0.8, size=shape)
    cost = 1 / (1 + np.exp(-reward - rng.normal(0, 1, size=shape)))
    reference, weights = rng.dirichlet(np.full(5, 3.0), size=3), rng.dirichlet(np.full(3, 6.0))
    open_end = Kitchen(weights, reference, reward, cost, 0.5, 0.0, 1.0)
    limit = columns(open_end, tilted(open_end, rng.uniform(1.5, 2.5)))["cost"]
    return open_end._replace(limit=limit, step=float(rng.uniform(0.2, 0.35) / variance(open_end, 1.0)))


def variance(kitchen: Kitchen, lam: float) -> float:
    """Return E_x Var(c | x) of the best policy for a price."""
    policy = tilted(kitchen, lam)
    mean = (policy * kitchen.cost).sum(axis=1, keepdims=True)
    return float(kitchen.weights @ (policy * (kitchen.cost - mean) ** 2).sum(axis=1))


def history(kitchen: Kitchen, bug: str = "", start: int = 0, *, shift: float = 0.4) -> dict[str, list[Any]]:
    """Return the columns of a run whose code has ``bug`` from round ``start`` on; rounds count from 1."""
    lam, labelled, policy = 0.0, 0.0, kitchen.reference
    rows: list[dict[str, float]] = []
    for number in range(1, ROUNDS + 1):
        now = bug if number >= start else ""
        labelled = labelled if now == "labels not relabelled" else lam
        policy = _trained(kitchen, now, lam, labelled, policy)
        row = columns(kitchen, policy)
        row["cost"] = _measured(row, now, shift)
        rows.append({"round": number, "lam": lam} | row)
        lam = _next_price(kitchen, now, lam, row["cost"])
    return {name: [row[name] for row in rows] for name in ("round", *COLUMNS)}


def _trained(kitchen: Kitchen, bug: str, lam: float, labelled: float, before: Array) -> Array:
    """Return the policy of a round: the best for the price, or what the mistake makes of it."""
    if bug == "cost added to the score":
        return tilted(kitchen, lam, sign=1.0)
    if bug == "beta twice":
        return tilted(kitchen, lam, beta=kitchen.beta**2)
    if bug == "reference moves":
        return tilt(before, kitchen.reward - lam * kitchen.cost, kitchen.beta)
    return tilted(kitchen, labelled)


def _measured(row: dict[str, float], bug: str, shift: float) -> float:
    """Return the cost that a round writes down and gives to the dual step."""
    wrong = {
        "sum for mean": SAMPLES * row["cost"],
        "reward for cost": row["reward"],
        "unanchored cost": row["cost"] + shift,
    }
    return wrong.get(bug, row["cost"])


def _next_price(kitchen: Kitchen, bug: str, lam: float, cost: float) -> float:
    if bug == "frozen multiplier":
        return lam
    return stepped(kitchen, lam, cost, sign=-1.0 if bug == "flipped sign" else 1.0)


def faults(kitchen: Kitchen, run: dict[str, list[Any]]) -> list[dict[str, float]]:
    """Return for each row how far each column is from what a correct run would have written there.

    The price must be one step from the row before, as that row stands; the other columns must be those of
    the best policy for this row's price.
    """
    found, price = [], 0.0
    for lam, cost, reward, kl in zip(run["lam"], run["cost"], run["reward"], run["kl"], strict=True):
        right = columns(kitchen, tilted(kitchen, lam)) | {"lam": price}
        row = {"lam": lam, "cost": cost, "reward": reward, "kl": kl}
        found.append({name: abs(row[name] - right[name]) for name in COLUMNS})
        price = stepped(kitchen, lam, cost)
    return found


VISIBLE = 1e-3
"""What a student is told to take for a difference."""


def bad_rounds(kitchen: Kitchen, run: dict[str, list[Any]]) -> list[int]:
    """Return the rounds whose row a correct run would not have written."""
    return [
        k for k, row in zip(run["round"], faults(kitchen, run), strict=True) if max(row.values()) > VISIBLE
    ]


def diagnosis(kitchen: Kitchen, run: dict[str, list[Any]]) -> tuple[str, int]:
    """Return the mistake and the round in which it shows, from the first wrong row and the one before."""
    first = bad_rounds(kitchen, run)[0]
    at = {name: run[name][first - 1] for name in COLUMNS}
    before = {name: run[name][first - 2] for name in COLUMNS}
    off = faults(kitchen, run)[first - 1]
    if off["lam"] > VISIBLE:
        return ("frozen multiplier" if at["lam"] == before["lam"] else "flipped sign"), first
    if max(off["reward"], off["kl"]) <= VISIBLE:
        return _of_the_measurement(at, columns(kitchen, tilted(kitchen, at["lam"]))["cost"]), first
    rivals = _rivals(kitchen, at["lam"], before["lam"])
    distance = {name: sum(abs(at[c] - row[c]) for c in row) for name, row in rivals.items()}
    return min(distance, key=lambda name: distance[name]), first


def _of_the_measurement(at: dict[str, float], cost: float) -> str:
    if abs(at["cost"] - at["reward"]) <= VISIBLE:
        return "reward for cost"
    return "sum for mean" if abs(at["cost"] - SAMPLES * cost) <= VISIBLE else "unanchored cost"


def draw_broken(rng: np.random.Generator, bugs: tuple[str, ...] = BUGS) -> Inputs:
    """Return a run with one of the mistakes, in which every row is plainly right or plainly wrong."""
    bug, start = str(rng.choice(bugs)), int(rng.integers(3, 7))
    while True:
        kitchen, shift = draw_kitchen(rng), float(rng.uniform(0.3, 0.6))
        run = history(kitchen, bug, start, shift=shift)
        shows = start + (bug in ("flipped sign", "frozen multiplier"))
        sizes = np.array([max(row.values()) for row in faults(kitchen, run)])
        plain = (sizes[: shows - 1] < 1e-9).all() and (sizes[shows - 1 :] > 0.02).all()
        if plain and diagnosis(kitchen, run) == (bug, shows) and _alone(kitchen, run, shows):
            return {"history": run} | kitchen._asdict()


def _rivals(kitchen: Kitchen, lam: float, before: float) -> dict[str, dict[str, float]]:
    """Return the columns that each mistake in the policy gives at ``lam``, after a right row ``before``."""
    last = tilted(kitchen, before)
    return {name: columns(kitchen, _trained(kitchen, name, lam, before, last)) for name in POLICY_BUGS}


def _alone(kitchen: Kitchen, run: dict[str, list[Any]], shows: int) -> bool:
    """Return whether the first wrong row could come from one mistake only, also when read to two digits."""
    lam, before = run["lam"][shows - 1], run["lam"][shows - 2]
    own = columns(kitchen, tilted(kitchen, lam))
    off = faults(kitchen, run)[shows - 1]
    if off["lam"] > VISIBLE:  # a frozen price stays where it is, a flipped one goes the other way
        return off["lam"] > 0.05
    if max(off["reward"], off["kl"]) <= VISIBLE:
        costs = sorted([own["cost"], own["reward"], SAMPLES * own["cost"], own["cost"] + 0.3])
        return bool(min(np.diff(costs)) > 0.02)
    rows = [own, *_rivals(kitchen, lam, before).values()]
    gaps = [max(abs(a[c] - b[c]) for c in ("reward", "kl")) for a, b in combinations(rows, 2)]
    return min(gaps) > 0.02
