"""The league: equal terms for all, an exact judge, and a clear word for an entry that breaks the rules."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from cdpo_edu import league as room
from cdpo_edu import presets
from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.league import METHODS, DualDescent, League, Play, Terms, league
from cdpo_edu.methods import FixedLam, KnownLam, Spent
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.types import InputError


class Idle:
    """A method that leaves the policy as it is."""

    def __init__(self, policy: Any, *, beta: float, cost_limit: float, steps: int, samples: int, seed: int):
        self.policy, self.settings = policy, (beta, cost_limit, steps, samples, seed)
        self.history_: list[Any] = []
        self.lam_: float | None = None
        self.spent_ = Spent(0, 0, 0, 0)

    def fit(self, scored: ScoredPairs) -> Idle:
        return self


def problem_of(seed: int) -> FiniteProblem:
    world = SafetyBandit.demo(seed)
    tables = (world.ref_probs.numpy(), world.reward.values.numpy(), world.cost.values.numpy())
    return FiniteProblem(*tables, beta=0.5, cost_limit=0.0)


class Cheat(Idle):
    """A method that copies the optimum out of the oracle."""

    def fit(self, scored: ScoredPairs) -> Cheat:
        best = problem_of(self.settings[4]).solve()
        assert best.probs is not None and isinstance(best.lam, float)
        self.policy.logits, self.lam_ = torch.from_numpy(np.log(best.probs)), best.lam
        return self


# ---------------------------------------------------------------- the judge


def test_doing_nothing_has_closeness_0_and_the_optimum_has_1() -> None:
    found = league("bandit", {"idle": Idle, "cheat": Cheat}, seeds=[0, 1])
    for play in found.plays:
        problem = problem_of(play.seed)
        best = problem.solve()
        assert play.lam_exact == pytest.approx(best.lam, abs=1e-9)
        if play.method == "idle":
            cost = float(problem.evaluate(problem.reference).cost)  # type: ignore[arg-type]
            assert play.closeness == pytest.approx(0, abs=1e-9) and play.lam is None
            assert play.cost == pytest.approx(cost) and play.violation == pytest.approx(max(0.0, cost))
        else:
            assert play.closeness == pytest.approx(1, abs=1e-9) and play.lam == pytest.approx(play.lam_exact)
            assert abs(play.cost) < 1e-9 and play.violation < 1e-9


def test_intervals_are_students_over_the_seeds() -> None:
    """Mean 0.2, s.d. 0.1, standard error 0.1/sqrt 3, t(0.975, 2) = 4.30265: half-width 0.248414."""
    terms = Terms("bandit", (0, 1, 2), 0.5, 0.0, 10, 10)
    plays = [
        Play("a", k, value, 2 * value, -value, None, 1.0, Spent(10 + k, 4, 6, 1))
        for k, value in enumerate((0.1, 0.2, 0.3))
    ]
    (row,) = League(terms, tuple(plays)).standings()
    assert row.closeness.value == pytest.approx(0.2)
    assert row.closeness.high - 0.2 == pytest.approx(0.248414, abs=1e-6)
    assert row.violation.value == pytest.approx(0.4)
    assert 0.4 - row.violation.low == pytest.approx(0.496828, abs=1e-6)
    assert row.cost.value == pytest.approx(-0.2)
    assert (row.steps, row.sampled, row.scored, row.trials) == (11, 4, 6, 1)


def test_rows_come_in_the_order_of_entry_and_json_is_strict() -> None:
    found = league("bandit", {"b": Idle, "a": Idle}, seeds=[3])
    record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [row["method"] for row in record["standings"]] == ["b", "a"]
    assert record["standings"][0]["closeness_low"] is None  # one seed has no spread
    assert record["seeds"] == [3] and record["tier"] == "bandit"
    assert record["plays"][0]["spent"] == {"steps": 0, "sampled": 0, "scored": 0, "trials": 0}


# ---------------------------------------------------------------- equal terms


def test_all_entries_meet_the_same_reference_pairs_and_settings() -> None:
    met = []

    class Watch(Idle):
        def fit(self, scored: ScoredPairs) -> Watch:
            met.append((self.policy.fingerprint, self.policy, scored, self.settings))
            self.policy.logits = (-self.policy.logits).log_softmax(dim=1)  # nobody else may see this
            return self

    league("bandit", {"a": Watch, "b": Watch}, seeds=[0, 1])
    first, second, third, _ = met
    assert first[0] == second[0] == TabularPolicy.like(SafetyBandit.demo(0)).fingerprint != third[0]
    assert first[1] is not second[1] and first[2] is second[2] is not third[2]
    assert first[3] == second[3] == (0.5, 0.0, 1200, 3584, 0)  # 6 rounds of 200 steps, 7 times 512 answers
    assert third[3][4] == 1


def test_constrained_dpo_plays_as_the_tiers_own_run() -> None:
    """The adapter's shares of the budget are the preset's rounds, steps and samples, to the last digit."""
    world = SafetyBandit.demo(0)
    policies = [TabularPolicy.like(world) for _ in range(2)]
    scored = world.pairs(4000, seed=1).score(world.reward, world.cost, policies[0].frozen())
    terms = room.terms_of(room.task("bandit"), [0])
    keywords = {name: getattr(terms, name) for name in ("beta", "cost_limit", "steps", "samples")}
    method = DualDescent(policies[0], seed=0, **keywords).fit(scored)
    run = ConstrainedDPO(
        policies[1], beta=0.5, cost_limit=0.0, rounds=6, steps=200, samples=512, early_stop=False
    )
    run.fit(scored)
    assert policies[0].fingerprint == policies[1].fingerprint
    assert method.history_ == run.history_ and method.lam_ == run.history_[-1].lam
    assert method.spent_.sampled == 7 * 512 * 4


def test_the_houses_own_methods_play_within_their_budgets() -> None:
    """What the bandit must show: no limit violates it, a known multiplier is exact, coarse sweeps obey it."""
    found = league("bandit", seeds=[0, 1])
    rows = {row.method: row for row in found.standings()}
    assert list(rows) == list(METHODS)
    assert rows["reward alone"].violation.value > 0.3
    assert rows["exact lam"].closeness.value > 0.9999 and rows["exact lam"].violation.value < 1e-5
    for name in ("MoCAN", "C-DPO"):
        assert rows[name].closeness.value > 0.999 and rows[name].violation.value < 0.05
    for name in ("fixed lam, 4 tried", "SACPO, reward first", "SACPO, safety first"):
        assert rows[name].violation.value < 0.01 and rows[name].trials == 4
    # The three sweeps try the same multipliers, and where DPO is exact they find the same policies.
    swept = [rows[name].closeness.value for name in rows if "4 tried" in name or "SACPO" in name]
    assert max(swept) - min(swept) < 1e-4
    assert all(row.steps <= 1200 and row.sampled <= 3584 * 4 for row in rows.values())


def test_equal_leagues_are_equal_bytes() -> None:
    entries = {name: METHODS[name] for name in ("fixed lam, 4 tried", "MoCAN")}
    runs = [json.dumps(league("bandit", entries, seeds=[4]).as_dict()) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_the_toy_league_starts_every_method_from_the_same_cook() -> None:
    """Doing nothing has closeness 0; one gradient step at the exact multiplier has a little more."""
    short = partial(short_of, KnownLam)
    found = league("toy", {"idle": Idle, "short": short, "again": Idle}, seeds=[0])
    idle, one, again = found.plays
    assert idle.closeness == pytest.approx(0, abs=1e-6) and idle.cost == again.cost
    assert 0 < one.closeness < 0.9 and one.spent.steps == 4
    assert found.terms.cost_limit == -0.4 and found.terms.steps == 480


def short_of(entry: Any, policy: Any, *, steps: int, **settings: Any) -> Any:
    return entry(policy, steps=4, **settings)


# ---------------------------------------------------------------- entries that break the rules


def with_result(**results: Any) -> Any:
    """Return an entry whose fit leaves these results, or lacks the ones that are None."""

    class Entry(Idle):
        def fit(self, scored: ScoredPairs) -> Entry:
            for name, value in results.items():
                if value is None:
                    delattr(self, name)
                else:
                    setattr(self, name, value)
            return self

    return Entry


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (with_result(spent_=None), "after fit it has no spent_"),
        (with_result(history_=None, lam_=None), "no history_, lam_"),
        (with_result(spent_=(1, 2, 3, 4)), "must be a cdpo_edu.methods.Spent, not tuple"),
        (
            with_result(spent_=Spent(1201, 0, 0, 1)),
            "1201 gradient steps were used where every method has 1200",
        ),
        (with_result(spent_=Spent(0, 14337, 0, 1)), "14337 sampled answers were used .* has 14336"),
        (partial(FixedLam, lams=[0.1] * 2 + [k / 1000 for k in range(1300)]), "steps: 1200 shared among"),
    ],
)
def test_an_entry_that_breaks_the_rules_is_named(entry: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"mine, seed 0: .*{words}"):
        league("bandit", {"mine": entry}, seeds=[0])


def test_an_entry_that_cannot_be_called_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stranger:
        def __init__(self, policy: Any, beta: float) -> None:
            raise NotImplementedError

    monkeypatch.setattr(room, "BUILDERS", {})
    with pytest.raises(InputError, match="stranger: the league calls it with .*unexpected keyword argument"):
        league("bandit", {"stranger": Stranger})


def test_what_no_league_can_be_played_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="bandit or toy"):
        league("lm")
    with pytest.raises(InputError, match="at least one seed and one method"):
        league("bandit", seeds=[])
    with pytest.raises(InputError, match="at least one seed and one method"):
        league("bandit", {})
    monkeypatch.setitem(presets.PRESETS, "bandit", presets.PRESETS["bandit"] | {"cost_limit": -50.0})
    with pytest.raises(InputError, match="seed 0: no policy of this world meets the limit"):
        league("bandit", {"idle": Idle}, seeds=[0])


def test_a_league_tells_each_result_as_it_comes() -> None:
    told: list[str] = []
    league("bandit", {"idle": Idle}, seeds=[0, 1], say=told.append)
    assert [line.split(":")[0] for line in told] == ["seed 0, idle", "seed 1, idle"]
