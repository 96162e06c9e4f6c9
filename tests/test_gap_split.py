"""The parts of the distance to the true optimum: each by hand, all together, and by training again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cdpo_edu import presets, tiers
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.gap_split import Rung, exact_rungs, ladder
from cdpo_edu.history import read_history
from cdpo_edu.split_run import split_run
from cdpo_edu.types import InputError

COST = [[0.5, -0.5]]


def problem(reward: float) -> FiniteProblem:
    """Two answers at even odds; the costly one is ``reward`` nats better; at most half of the mass on it."""
    return FiniteProblem([[0.5, 0.5]], [[reward, 0.0]], COST, beta=1.0, cost_limit=0.1)


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def test_the_parts_by_hand() -> None:
    """The limit 0.1 binds at pi = (0.6, 0.4) for both rewards, so wrong scores lose nothing here.

    The posed reward is 2 (true: 3); at lam = 1 the posed policy is s(2 - 1) = 0.731, which breaks the limit.
    """
    gold, posed = problem(3.0), problem(2.0)
    best, reference = np.array([0.6, 0.4]), np.array([0.5, 0.5])
    trained = np.array([[0.7, 0.3]])
    rows = ladder(gold, [*exact_rungs(posed, lam=1.0), Rung("training", "trained", trained)])
    odds = 1 / (1 + np.exp(-1.0))
    whole = kl(reference, best)
    expected = [1.0, 1 - kl(np.array([odds, 1 - odds]), best) / whole, 1 - kl(trained[0], best) / whole]
    assert [row["closeness"] for row in rows] == pytest.approx(expected, abs=1e-9)
    assert [row["lost"] for row in rows] == pytest.approx(-np.diff([1.0, *expected]), abs=1e-9)
    assert [row["over"] for row in rows] == pytest.approx([0.0, odds - 0.6, 0.1], abs=1e-9)
    assert [row["part"] for row in rows] == ["scorer error", "multiplier error", "training"]


def test_a_wrong_score_is_the_scorers_part_alone() -> None:
    """The posed problem rewards the safe answer: its optimum is all that is wrong, and lam is its own."""
    gold, posed = problem(3.0), problem(-1.0)
    best = posed.solve()
    assert best.lam == 0.0
    rows = ladder(gold, exact_rungs(posed, lam=0.0))
    assert rows[0]["lost"] > 1 and rows[1]["lost"] == pytest.approx(0.0, abs=1e-12)


def test_a_gold_problem_without_an_optimum_is_no_ladder() -> None:
    gold = FiniteProblem([[0.5, 0.5]], [[1.0, 0.0]], COST, beta=1.0, cost_limit=-1.0)
    with pytest.raises(ValueError, match="no optimum"):
        ladder(gold, [Rung("all", "reference", gold.reference)])


# ---------------------------------------------------------------- a run's own split


@pytest.fixture(scope="module")
def hard_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bandit run on Bernoulli labels with few steps: noise and optimisation both show."""
    out = tmp_path_factory.mktemp("split") / "run"
    config = presets.configure("bandit", labels="bernoulli", rounds=3, samples=256)
    list(tiers.train(config, out))
    return out


def test_every_run_of_a_world_leaves_the_parts_that_need_no_training(hard_run: Path) -> None:
    rows = json.loads((hard_run / "split.json").read_text())
    found = json.loads((hard_run / "certificate.json").read_text())
    assert [row["part"] for row in rows] == ["scorer error", "multiplier error", "training"]
    assert rows[0]["lost"] == pytest.approx(0.0, abs=1e-9)  # gold scores
    assert rows[-1]["closeness"] == pytest.approx(found["closeness"], abs=1e-9)
    assert sum(row["lost"] for row in rows) == pytest.approx(1 - found["closeness"], abs=1e-9)
    assert "What it lost to what" in (hard_run / "report.html").read_text()


def test_training_is_split_by_training_again(hard_run: Path) -> None:
    """On a table with soft labels every pair is known exactly: Bernoulli labels lose by noise alone."""
    before = json.loads((hard_run / "split.json").read_text())
    rows = split_run(hard_run)
    parts = {row["part"]: row["lost"] for row in rows}
    assert list(parts) == ["scorer error", "multiplier error", "optimisation", "finite pairs", "label noise"]
    assert sum(parts.values()) == pytest.approx(sum(row["lost"] for row in before), abs=1e-9)
    assert abs(parts["optimisation"]) < 1e-4 and abs(parts["finite pairs"]) < 1e-4
    assert parts["label noise"] > 1e-3
    assert json.loads((hard_run / "split.json").read_text()) == rows
    assert "label noise" in (hard_run / "report.html").read_text()


def test_soft_labels_have_no_noise(tmp_path: Path) -> None:
    config = presets.configure("bandit", rounds=2, max_steps=2, samples=32, all_rounds=True)
    list(tiers.train(config, tmp_path / "run"))
    rows = {row["part"]: row["lost"] for row in split_run(tmp_path / "run")}
    assert rows["label noise"] == 0.0
    assert len(read_history(tmp_path / "run" / "history.jsonl")) == 3


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        split_run(tmp_path)
    config = presets.configure("bandit", cost_limit=-50.0, rounds=1, samples=16)
    list(tiers.train(config, tmp_path / "run"))
    with pytest.raises(InputError, match="no policy meets"):
        split_run(tmp_path / "run")
