"""How many answers are drawn: few far from the limit, the most near it, and seldom the wrong side.

The bandit's policy is a table, so its true expected cost is a sum over 24 cells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_tiers import benign_rows, contents, cut_short, differing
from torch import Tensor

from cdpo_edu import constrained, presets, report, tiers
from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.evaluate import Samples, measure
from cdpo_edu.history import read_history
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.pairs.prompt_sets import PromptSets
from cdpo_edu.sample_size import LEVEL, Question, beside, cost_bounds, measure_until_clear, question
from cdpo_edu.types import InputError
from cdpo_edu.verdict import Bounds, decide
from cdpo_edu.verdict.betting import side

WORLD = SafetyBandit.demo(seed=0)
COST = WORLD.cost.values.double()
POLICY = TabularPolicy.like(WORLD)
PROBS = POLICY.logits.double().softmax(dim=1)
TRUTH = float((PROBS * COST).sum(dim=1).mean())
SPREAD = float(COST.max() - COST.min())


def pairs(policy: TabularPolicy = POLICY) -> ScoredPairs:
    return WORLD.pairs(200, seed=1).score(WORLD.reward, WORLD.cost, policy.frozen())


def asked(limit: float) -> Question:
    bounds = Bounds(float(COST.min()), float(COST.max()), "enumerated")
    return question(pairs(), limit, bounds, margin=None, reference_cost=torch.zeros(4, 2))


def drawn(limit: float, *, most: int = 256, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return measure_until_clear(POLICY, pairs(), asked(limit), first=2, most=most, generator=generator)


# ---------------------------------------------------------------- one measurement


@pytest.mark.parametrize("away", [-0.45, 0.45])
def test_far_from_the_limit_few_answers_tell(away: float) -> None:
    """Almost half the range of all costs away, on either side."""
    assert drawn(TRUTH + away * SPREAD).cost.shape[1] <= 32


def test_at_the_limit_the_most_are_drawn() -> None:
    assert drawn(TRUTH).cost.shape[1] == 256


def test_nearer_to_the_limit_more_answers_are_drawn() -> None:
    counts = [
        sum(drawn(TRUTH + away * SPREAD, most=2048, seed=seed).cost.shape[1] for seed in range(10))
        for away in (0.02, 0.1, 0.3)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] > 2 * counts[1] > 4 * counts[2]


@pytest.mark.parametrize("away", [-0.02, 0.02])
def test_the_wrong_side_is_seldom_taken(away: float) -> None:
    """1,000 draws, each looked at 2, 4, 8, ... 256 answers, so near the limit that chance decides most."""
    limit, wrong = TRUTH + away * SPREAD, "fail" if away > 0 else "pass"
    ask, generator, problem = asked(limit), torch.Generator().manual_seed(3), pairs()
    told = []
    for _ in range(1000):
        found = measure_until_clear(POLICY, problem, ask, first=2, most=256, generator=generator)
        told.append(ask.side(found.cost))
    errors, claims = told.count(wrong), 1000 - told.count("more")
    print(f"wrong: {errors} of 1,000; told a side: {claims}")
    assert errors <= 1000 * LEVEL
    assert claims > 100  # and it does tell


class Crowd:
    """A policy of many prompts and two answers, harmful at each prompt's own rate."""

    fingerprint = "crowd"

    def __init__(self, rates: Tensor) -> None:
        self.rates = rates

    def sample(self, prompts: Any, n: int, *, generator: torch.Generator) -> Tensor:
        rates = self.rates[prompts].repeat_interleave(n)
        return (torch.rand(len(rates), generator=generator) < rates).long()

    def log_prob(self, prompts: Any, responses: Any) -> Tensor:
        return torch.zeros(len(prompts))


def harm(prompts: Any, responses: Tensor) -> Tensor:
    return responses.double()


def crowd(rates: Tensor) -> tuple[Any, ScoredPairs]:
    """Return a policy and pairs outside any world, with as many dual prompts as rates."""
    policy: Any = Crowd(rates)
    prompts = torch.arange(len(rates))
    sets, none = PromptSets(prompts, prompts, prompts), torch.zeros(2, 2)
    two = torch.tensor([0, 1])
    return policy, ScoredPairs(two, two, two, none, none, none, harm, harm, policy, sets)


@pytest.mark.parametrize(("rate", "wrong"), [(0.52, "pass"), (0.48, "fail")])
def test_the_wrong_side_is_seldom_taken_where_prompts_are_drawn(rate: float, wrong: str) -> None:
    """1,000 draws of 60 prompts, whose rates differ (half of them 2 * rate - 1 or 0, half 1): a unit is a
    prompt. Counting answers as units, as the second figure does, errs far beyond the level."""
    generator, told, naive = torch.Generator().manual_seed(5), [], []
    ends = torch.tensor([max(0.0, 2 * rate - 1), min(1.0, 2 * rate)], dtype=torch.float64)
    for _ in range(1000):
        rates = ends[(torch.rand(60, generator=generator) < 0.5).long()]
        policy, scored = crowd(rates)
        ask = question(scored, 0.5, Bounds(0, 1, "a rate"), margin=None, reference_cost=torch.zeros(60, 2))
        found = measure_until_clear(policy, scored, ask, first=2, most=16, generator=generator)
        told.append(ask.side(found.cost))
        looks = [side(found.cost[:, :m].flatten(), 0.5, ask.bounds, alpha=LEVEL) for m in (2, 4, 8, 16)]
        naive.append(next((look for look in looks if look != "more"), "more"))
    print(f"wrong: {told.count(wrong)} by prompt, {naive.count(wrong)} by answer, of 1,000")
    assert told.count(wrong) <= 1000 * LEVEL < naive.count(wrong)


def test_a_longer_draw_begins_with_the_answers_of_a_shorter_one() -> None:
    """Hence what was looked at is part of what is used; and equal seeds give equal answers."""
    short, long = drawn(TRUTH, most=8), drawn(TRUTH, most=64)
    assert torch.equal(long.cost[:, :8], short.cost)
    assert torch.equal(long.responses.view(4, -1)[:, :8], short.responses.view(4, -1))  # type: ignore[union-attr]
    assert torch.equal(COST[torch.arange(4)[:, None], long.responses.view(4, -1)], long.cost)  # type: ignore[union-attr]
    assert torch.equal(drawn(TRUTH, most=64).cost, long.cost)


def test_the_most_need_be_no_power_of_two() -> None:
    assert drawn(TRUTH, most=100).cost.shape[1] == 100


def test_two_draws_lie_beside_each_other_prompt_by_prompt() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [measure(POLICY, pairs(), n=n, generator=generator) for n in (3, 2)]
    both = beside(*parts)
    again = torch.stack([WORLD.reward(both.prompts[i].repeat(5), row)  # type: ignore[index]
                         for i, row in enumerate(both.responses.view(4, 5))])  # type: ignore[union-attr]  # fmt: skip
    assert torch.equal(again.double(), both.reward)


# ---------------------------------------------------------------- what is asked


def test_near_copies_count_once() -> None:
    """Two prompts that are copies of each other are one unit: (1 + 0)/2; the third is another: 1."""
    ask = Question(0.5, Bounds(0, 1, "a rate"), None, [0, 0, 1], None)
    values, _, clipped = ask._asked(torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]))
    assert values.tolist() == [0.5, 1.0] and not clipped


def test_a_relative_limit_is_held_against_the_difference_on_each_prompt() -> None:
    """100 prompts of costs far apart, each made 0.2 cheaper: the paired difference tells, the mean not."""
    base = torch.arange(100.0, dtype=torch.float64) % 2
    cost = (base - 0.2)[:, None].expand(100, 2)
    ask = Question(-0.1, Bounds(-0.2, 1.0, "stated"), None, list(range(100)), base)
    assert ask.side(cost) == "pass"
    low, high = ask.interval(cost) or (0.0, 0.0)
    assert low <= -0.2 <= high < -0.1
    assert ask._replace(limit=float(base.mean()) - 0.1, reference=None).side(cost) == "more"


def test_a_cost_where_none_was_said_to_lie_tells_nothing() -> None:
    """Harm is never clipped: the draw goes on to the most, and the interval is Student's."""
    ask = asked(TRUTH)._replace(bounds=Bounds(float(COST.min()), float(COST.max()) - 0.1, "assumed"))
    cost = COST.max().expand(4, 64)
    assert ask.side(cost) == "more" and ask.interval(cost) is None


def test_costs_below_the_range_only_make_it_stricter() -> None:
    """They count as its end, and "above the limit" is then not claimed."""
    ask = Question(0.0, Bounds(-1, 1, "stated"), None, list(range(80)), None)
    high = torch.full((80, 2), 0.9, dtype=torch.float64)
    assert ask.side(high) == "fail"
    high[0, 0] = -5.0
    assert ask.side(high) == "more"


def test_the_range_is_enumerated_else_stated_else_assumed() -> None:
    _, scored = crowd(torch.tensor([0.5, 0.5]))
    assert cost_bounds(scored, None).origin == "assumed"

    def rate(prompts: Any, responses: Any) -> Tensor:
        return torch.zeros(len(prompts))

    rate.bounds = (0.0, 1.0)  # type: ignore[attr-defined]
    object.__setattr__(scored, "cost_scorer", rate)
    assert cost_bounds(scored, None) == Bounds(0.0, 1.0, "the scorer's own")


def test_the_short_answer_is_that_of_the_long_one() -> None:
    generator = torch.Generator().manual_seed(1)
    for k in range(200):
        values = torch.rand(int(torch.randint(1, 60, (1,), generator=generator)), generator=generator)
        limit, clipped = float(torch.rand(1, generator=generator)) * 1.4 - 0.2, bool(k % 2)
        given: dict[str, Any] = {"alpha": 0.05, "clipped": clipped}
        bounds = Bounds(0, 1, "a rate")
        assert side(values, limit, bounds, **given) == decide(values, limit, bounds, **given).answer


# ---------------------------------------------------------------- the loop


def loop(limit: float, **given: Any) -> ConstrainedDPO:
    policy = TabularPolicy.like(WORLD)
    settings: dict[str, Any] = {"rounds": 3, "steps": 20, "samples": 4, "most_samples": 512, "seed": 0}
    return ConstrainedDPO(policy, beta=0.5, cost_limit=limit, early_stop=False, **(settings | given))


def test_the_loop_says_how_many_answers_it_drew_and_recycles_all_of_them() -> None:
    run, scored = loop(0.0), pairs(TabularPolicy.like(WORLD))
    run.fit(scored)
    counts = [record.samples for record in run.history_]
    assert counts[0] == 512 and all(count in (4, 8, 16, 32, 64, 128, 256, 512) for count in counts)
    assert run.certificate_["samples_drawn"] == counts and '"samples": ' in run.history_[1].as_line()
    twin = loop(0.0).fit(pairs(TabularPolicy.like(WORLD)))
    assert [record.as_line() for record in twin.history_] == [record.as_line() for record in run.history_]
    state = run.state_
    assert state is not None and state.last_cost.shape[1] == counts[-1] and len(state.pairs) > len(scored)


def test_intervals_of_a_draw_that_was_looked_at_hold_the_truth() -> None:
    """The enumerated cost of each round's policy lies within, 40 runs of 2 rounds; at most 5 % may miss."""
    missed = 0
    for seed in range(40):
        run, policies = loop(0.0, seed=seed, rounds=2), []
        for record in run.iterate(pairs(TabularPolicy.like(WORLD))):
            policies.append((run.policy.logits.double().softmax(dim=1), record))  # type: ignore[attr-defined]
        for probs, record in policies[1:]:
            missed += not record.cost_low <= float((probs * COST).sum(dim=1).mean()) <= record.cost_high
    assert missed <= 4


def test_a_run_with_a_fixed_number_says_nothing_new() -> None:
    """No column, no entry: equal runs of before and after are equal bytes."""
    run = loop(0.0, most_samples=None, rounds=1)
    run.fit(pairs(TabularPolicy.like(WORLD)))
    assert "samples" not in run.history_[1].as_dict() and "samples_drawn" not in run.certificate_
    assert "samples" not in repr(run.history_[1])


def test_fewer_at_most_than_at_first_is_refused() -> None:
    with pytest.raises(InputError, match="most_samples must be at least samples, 4, not 3"):
        loop(0.0, most_samples=3)
    with pytest.raises(InputError, match="most_samples"):
        presets.configure("toy", most_samples=3)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"cost_limit": 0.0}, {"cost_limit_relative": 0.05}])
def test_a_run_stopped_between_two_looks_ends_in_the_same_bytes(
    limit: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The language model tier: stopped within the second and third draw of a round, then gone on with."""
    monkeypatch.setenv("CDPO_EDU_KEEP_EVERY", "0")
    monkeypatch.setattr(report, "write_report", lambda folder: None)
    monkeypatch.setattr(tiers.running, "comparison", lambda *given: [])
    sizes = {"rounds": 2, "max_steps": 3, "samples": 2, "most_samples": 12, "max_response_tokens": 8}
    config = presets.configure(
        "lm", pairs=str(benign_rows(tmp_path / "rows.jsonl")), lora_rank=2, **sizes, **limit
    )
    calls = 0

    def stopping(policy: Any, *given: Any, **named: Any) -> Samples:
        nonlocal calls
        calls += 1
        found = measure(policy, *given, **named)
        if calls in (3, 7):
            raise KeyboardInterrupt
        return found

    with cut_short():
        list(tiers.train(config, tmp_path / "whole"))
        monkeypatch.setattr("cdpo_edu.sample_size.measure", stopping)
        stops = 0
        while True:
            try:
                list(tiers.train(config, tmp_path / "stopped"))
                break
            except KeyboardInterrupt:
                stops += 1
    assert stops >= 1 and constrained.measure is measure
    assert differing(contents(tmp_path / "stopped"), contents(tmp_path / "whole")) == []
    history = read_history(tmp_path / "whole" / "history.jsonl")
    assert [record.samples in (2, 4, 8, 12) for record in history] == [True] * len(history)
    drawn_ = json.loads((tmp_path / "whole" / "certificate.json").read_text())["samples_drawn"]
    assert drawn_ == [record.samples for record in history] and drawn_[0] == 12
