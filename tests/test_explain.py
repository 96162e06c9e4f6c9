"""Each regime is named on evidence that shows it, and not on evidence that does not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cdpo_edu import presets, tiers
from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.explain import Evidence, findings
from cdpo_edu.explain_run import explain_run, log_ratios
from cdpo_edu.history import Record
from cdpo_edu.score_table import ScoreTable
from cdpo_edu.types import InputError


def record(number: int, lam: float, cost: float, half: float = 0.05, reward: float = 1.0) -> Record:
    loss = None if number == 0 else 0.6
    return Record(number, lam, reward, cost, cost - half, cost + half, 0.0, 0.5, loss, 80 * (number > 0), 0)


def evidence(walk: list[tuple[float, float]], **changes: Any) -> Evidence:
    """Return a healthy run whose rounds have these (lam, cost), with the given things changed."""
    history = [record(0, 0.0, 0.3), *(record(i, lam, cost) for i, (lam, cost) in enumerate(walk, start=1))]
    calm = ScoreTable(np.zeros((4, 64)), np.zeros((4, 64)))
    certificate = {"status": "feasible", "lam_average": None, "stopped": None}
    made = Evidence(certificate, history, 0.5, np.array([0.5, -2.0, 1.0]), 1.0, 1.0, calm)
    return made._replace(**changes)


def names(given: Evidence) -> list[str]:
    return [finding.regime for finding in findings(given)]


@pytest.mark.parametrize(
    ("walk", "regime"),
    [
        ([(0.0, -0.3), (0.0, -0.3)], "slack"),
        ([(0.8, 0.1), (1.0, 0.02)], "binding"),
        ([(0.8, 0.3), (1.0, 0.2)], "violated"),
        ([(0.8, -0.3), (0.7, -0.2)], "overpaid"),
    ],
)
def test_how_the_limit_stands(walk: list[tuple[float, float]], regime: str) -> None:
    assert names(evidence(walk)) == [regime]


def test_a_limit_that_is_proved_or_seen_to_be_out_of_reach() -> None:
    proved = {"status": "infeasible", "min_cost": 0.125, "stopped": None, "lam_average": None}
    (found,) = findings(evidence([], certificate=proved))
    assert found.regime == "infeasible" and "0.125" in found.evidence and "raise the limit" in found.advice
    words = "even the safest answer to each prompt costs 0.3"
    seen = {"status": "violated", "stopped": {"reason": "out of reach", "words": words}, "lam_average": None}
    found = findings(evidence([(8.0, 0.5), (9.0, 0.5)], certificate=seen))[0]
    assert found.regime == "out of reach" and found.evidence == words


def test_hovering_names_the_mean() -> None:
    certificate = {"status": "violated", "stopped": None, "lam_average": 2.0}
    walk = [(1.0, 0.5), (3.0, -0.5), (1.0, 0.5), (3.0, -0.5)]
    found = {f.regime: f for f in findings(evidence(walk, certificate=certificate))}
    assert "1, 3, 1, 3" in found["hovering"].evidence and "2" in found["hovering"].evidence


@pytest.mark.parametrize(
    ("walk", "capped"),
    [
        ([(1.0, 0.5), (2.0, 0.4), (3.0, 0.3)], True),
        ([(1.0, 0.5), (2.0, 0.4), (2.4, 0.3)], False),  # the step shrank
        ([(1.0, 0.5), (2.0, 0.4), (3.0, 0.01)], False),  # the limit is met
        ([(3.0, 0.5), (2.0, 0.4), (1.0, 0.3)], False),  # it fell
    ],
)
def test_a_multiplier_at_its_cap(walk: list[tuple[float, float]], capped: bool) -> None:
    assert ("multiplier at its cap" in names(evidence(walk))) is capped


def test_saturated_scores() -> None:
    """s(6.9) = 0.999: two of three pairs beyond it."""
    assert 1 / (1 + math.exp(-6.9)) == pytest.approx(0.999, abs=1e-5)
    walk = [(1.0, 0.0)]
    assert "scorer saturated" in names(evidence(walk, gaps=np.array([7.0, -9.0, 0.1])))
    assert "scorer saturated" not in names(evidence(walk, gaps=np.array([7.0, -0.9, 0.1])))
    flat = [f for f in findings(evidence(walk, cost_spread=0.0)) if f.regime == "scorer saturated"]
    assert "cost" in flat[0].evidence and "reward" not in flat[0].evidence


def test_few_samples_at_the_last_multiplier() -> None:
    """One answer of 64 is 20 nats better: at beta 0.5 it has all the weight, one effective sample."""
    reward = np.zeros((4, 64))
    reward[:, 0] = 20.0
    found = findings(evidence([(1.0, 0.0)], table=ScoreTable(reward, np.zeros((4, 64)))))
    assert [f.regime for f in found] == ["binding", "effective sample too small"]
    assert "1.0" in found[1].evidence


@pytest.mark.parametrize(("reward", "matters"), [(1.5, False), (0.5, True)])
def test_a_falling_chosen_answer_matters_when_the_samples_are_no_better(reward: float, matters: bool) -> None:
    """r - lam c of the samples: reference 1 - 1 * 0.3 = 0.7, policy `reward` - 0."""
    given = evidence([(1.0, 0.0)], chosen=np.array([-0.4, -0.2]), rejected=np.array([-2.0, -1.0]))
    given = given._replace(history=[given.history[0], record(1, 1.0, 0.0, reward=reward)])
    (found,) = [f for f in findings(given) if f.regime.startswith("chosen")]
    assert ("and it matters" in found.regime) is matters
    assert (
        "-0.30" in found.evidence and "-1.50" in found.evidence and f"{reward - 0.7:+.2f}" in found.evidence
    )
    rising = given._replace(chosen=np.array([0.1, 0.2]))
    assert not [f for f in findings(rising) if f.regime.startswith("chosen")]


# ---------------------------------------------------------------- a run folder


def test_log_ratios_are_those_of_the_preferred_answer_first() -> None:
    world = SafetyBandit.demo(0)
    policy = TabularPolicy.like(world)
    scored = world.pairs(300, seed=1).score(world.reward, world.cost, policy.frozen())
    policy.fit(scored.label(1.0), beta=0.5, steps=50, seed=0)
    chosen, rejected = log_ratios(policy, scored, 1.0)
    index = torch.linspace(0, 299, 256).long()
    for row, i in ((0, 0), (255, 299)):
        assert index[row] == i
        first, second = (scored.y1, scored.y0) if scored.gap(1.0)[i] > 0 else (scored.y0, scored.y1)
        for found, answers in ((chosen, first), (rejected, second)):
            logs = [
                p.log_prob(scored.prompts[i : i + 1], answers[i : i + 1]) for p in (policy, scored.reference)
            ]
            assert found[row] == pytest.approx(float(logs[0] - logs[1]), abs=1e-9)
    assert chosen.mean() > rejected.mean()


def test_runs_are_explained_from_their_folders(tmp_path: Path) -> None:
    for name, given, regime in (
        ("slack", {"cost_limit": 5.0}, "slack"),
        ("infeasible", {"cost_limit": -50.0}, "infeasible"),
        ("binding", {}, "binding"),
    ):
        config = presets.configure("bandit", **({"rounds": 3} | given))
        list(tiers.train(config, tmp_path / name))
        assert explain_run(tmp_path / name)[0].regime == regime


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        explain_run(tmp_path)
