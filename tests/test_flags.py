"""Whoever has only flags: rows of single answers, no reward, a limit on a rate."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cdpo_edu import presets, tiers
from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.bandit import SafetyBandit, TabularPolicy
from cdpo_edu.certificate import COST_TOLERANCE, cost_tolerance, world_problem
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.judgement import verdict_run
from cdpo_edu.lagrangian import CurvatureRule
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.pairs import Flagged, Pairs
from cdpo_edu.preference_data import load_flagged, load_pairs, load_rows, validate
from cdpo_edu.scorers import CostModel, RewardModel, ScoreSettings
from cdpo_edu.spoken_kitchen import kitchen_rows
from cdpo_edu.stages import FitOptions, fit_scorers
from cdpo_edu.stages.calibration import cost_report
from cdpo_edu.types import InputError
from cdpo_edu.unsafe_rate import NoReward, UnsafeProbability

LN3 = math.log(3.0)


def flagged_rows(path: Path, n: int, *, sides: int = 2) -> Path:
    """Write the spoken kitchen's answers, each by itself with its flag."""
    rows = [
        {"prompt": row["prompt"], "response": row[f"response_{k}"], "is_safe": row[f"is_response_{k}_safe"]}
        for row in kitchen_rows(n, seed=0)
        for k in range(sides)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- rows ----


def test_flagged_answers_are_read_with_their_flags(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [
        {"prompt": "Nuts?", "response": " Plenty.\n", "unsafe": True},
        {"prompt": "Nuts?", "response": "None.", "unsafe": 0},
        {"prompt": "Nuts?", "response": "Some.", "unsafe": 0.5},
        {"prompt": "Nuts?", "response": " ", "unsafe": 1},
        {"prompt": "Nuts?", "response": "Few.", "unsafe": None},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = validate(path)
    assert (found.schema, found.rows, found.usable) == ("flagged-answers", 5, 2)
    assert [(p.row, p.field) for p in found.problems] == [(3, "unsafe"), (4, "response"), (5, "unsafe")]
    flagged = load_flagged(path)
    assert flagged.answers == [" Plenty.\n", "None."] and flagged.unsafe.tolist() == [1.0, 0.0]


def test_pairs_and_flagged_answers_are_told_apart(tmp_path: Path) -> None:
    single = flagged_rows(tmp_path / "single.jsonl", 3)
    with pytest.raises(InputError, match=r"(?s)beavertails.*no comparisons.*--only cost"):
        load_pairs(single)
    assert isinstance(load_rows(single), Flagged)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in kitchen_rows(3, seed=0)))
    assert isinstance(load_rows(pairs), Pairs)
    with pytest.raises(InputError, match="load_pairs"):
        load_flagged(pairs)


def test_flagged_answers_are_paired_within_prompts() -> None:
    """Prompt x: a, b, c (a twice) makes (a, b), and c alone; y: d alone. Two more answers are needed."""
    rows = Flagged(["x", "x", "y", "x", "x"], ["a", "b", "d", "a", "c"], torch.tensor([1.0, 0, 0, 0, 1]))
    assert rows.alone == [4, 2]
    pairs = rows.paired(["new", "d"])  # the reference gave d again: no pair for y
    assert (pairs.prompts, pairs.y0, pairs.y1) == (["x", "x"], ["a", "c"], ["b", "new"])
    assert pairs.unsafe is not None and pairs.better is None and pairs.safer is None
    assert pairs.unsafe[0].tolist() == [1.0, 0.0] and pairs.unsafe[1].isnan().tolist() == [False, True]
    with pytest.raises(InputError, match="2 answers stand alone and 0 more"):
        rows.paired()
    with pytest.raises(InputError, match="no prompt has two different answers"):
        Flagged(["y"], ["d"], torch.zeros(1)).paired(["d"])


def test_pairs_and_flagged_answers_are_split_alike() -> None:
    """The prompts that a run sets aside depend on the prompts alone, so stages agree on them."""
    prompts = [f"prompt {i % 40}" for i in range(80)]
    answers = [f"answer {i}" for i in range(80)]
    flagged = Flagged(prompts, answers, torch.zeros(80)).split(seed=3)
    pairs = Pairs(prompts, answers, answers[::-1]).split(seed=3)
    assert flagged.prompt_sets == pairs.prompt_sets and flagged.prompts == pairs.prompts
    assert not set(flagged.prompts) & {*flagged.prompt_sets.dual, *flagged.prompt_sets.judge}


# ---- the cost model, from flags alone ----


def tiny(rows: Flagged) -> LanguageModelPolicy:
    tokenizer = bpe_tokenizer([*rows.prompts, *rows.answers], vocabulary=512)
    return LanguageModelPolicy.tiny(
        tokenizer, seed=0, budget=Budget(40, 12), engine=Engine(64, 6e-3, 256, matrix_rate=1e-2)
    )


def test_a_cost_of_single_answers_is_the_cost_of_pairs_with_those_flags() -> None:
    """The oracle: two single answers are, term by term, a pair without comparison, so a step moves alike."""
    prompts = [f"p{i}" for i in range(16)]
    one, two = [f"good {i}" for i in range(16)], [f"bad {i}" for i in range(16)]
    flags = torch.tensor([[i % 2, (i // 2) % 2] for i in range(16)]).double()
    single = Flagged(prompts + prompts, one + two, flags.T.reshape(-1))
    both = Pairs(prompts, one, two, unsafe=flags)
    settings = ScoreSettings(16, 8, batch_size=16, group_by_length=False)
    fitted = []
    for rows in (single, both):
        policy = tiny(single)
        cost = CostModel(policy.model, policy.tokenizer, settings=settings).fit(rows, steps=1)
        assert cost.anchored
        fitted.append(cost(prompts, one))
    # one full batch each: the same sum of terms, so AdamW's first step is the same to rounding
    assert torch.allclose(fitted[0], fitted[1], atol=1e-4) and fitted[0].abs().max() > 1e-3


def test_a_reward_cannot_be_fitted_to_flags() -> None:
    rows = Flagged(["x"] * 4, list("abcd"), torch.zeros(4))
    policy = tiny(rows)
    with pytest.raises(InputError, match="no helpfulness label"):
        RewardModel(policy.model, policy.tokenizer).fit(rows)


def test_the_calibration_of_flags_is_that_of_their_answers() -> None:
    """Costs ln 3 (three in four) on three unsafe answers and one safe: all signs but one are right."""

    def cost(prompts: Any, responses: Any) -> torch.Tensor:
        return torch.full((len(responses),), LN3, dtype=torch.float64)

    rows = Flagged(["a", "b", "c", "d"], ["1", "2", "3", "4"], torch.tensor([1.0, 1.0, 1.0, 0.0]))
    found = cost_report(cost, rows, bins=1)
    assert found["comparisons"] is None
    assert found["sign"]["accuracy"]["all"]["value"] == 0.75
    assert found["sign"]["calibration"]["expected_calibration_error"] == pytest.approx(0.0)


def test_fit_scorers_takes_flagged_answers(tmp_path: Path) -> None:
    rows = flagged_rows(tmp_path / "rows.jsonl", 60)
    with pytest.raises(InputError, match="helpfulness label.*--only cost fits what they have"):
        fit_scorers(FitOptions(str(rows), steps=1), tmp_path / "both")
    report = fit_scorers(FitOptions(str(rows), only="cost", steps=2), tmp_path / "cost")
    assert report["reward"] is None and report["cost"]["anchored"]
    assert "answers of" in report["measured"] and CostModel.load(tmp_path / "cost" / "cost").anchored


# ---- the probability as a cost ----


def test_the_probability_of_a_probability_is_itself() -> None:
    class Rate:
        anchored, bounds, fingerprint = True, (0.0, 1.0), "rate"

        def __call__(self, prompts: Any, responses: Any) -> torch.Tensor:
            return torch.tensor([0.25])

    assert UnsafeProbability(Rate())(["x"], ["a"]).tolist() == [0.25]


def test_a_cost_without_a_zero_is_no_probability() -> None:
    with pytest.raises(InputError, match="no zero"):
        UnsafeProbability(NoReward())


def test_a_probability_has_no_tolerance_and_a_cost_has() -> None:
    world = SafetyBandit.demo(0)
    scored = world.pairs(50, seed=0).score(
        world.reward, UnsafeProbability(world.cost), TabularPolicy.like(world)
    )
    assert cost_tolerance(scored.cost_scorer) == 0.0 and cost_tolerance(world.cost) == COST_TOLERANCE


def test_the_rate_of_a_bandit_meets_its_limit_near_the_exact_optimum() -> None:
    """Ten worlds; the rate asked for lies half-way between the least possible and the reference's."""
    for seed in range(10):
        world = SafetyBandit.demo(seed)
        policy = TabularPolicy.like(world)
        scored = world.pairs(4000, seed=seed + 1).score(
            NoReward(), UnsafeProbability(world.cost), policy.frozen()
        )
        table = world.table(UnsafeProbability(world.cost))
        least = float(table.min(dim=1).values.mean())
        careless = float((world.ref_probs * table).sum(dim=1).mean())
        rate = (least + careless) / 2
        run = ConstrainedDPO(
            policy, beta=0.5, cost_limit=rate, margin=0.05 * rate, steps=200, samples=512, seed=seed,
            rule=CurvatureRule(),
        ).fit(scored)  # fmt: skip
        found = run.certificate_
        exact = world_problem(scored, beta=0.5, cost_limit=rate).solve()
        assert found["cost"] <= rate and found["status"] in ("optimal", "feasible"), (seed, found)
        assert found["closeness"] > 0.9 and exact.lam > 0
        # the bill of a flipped sign: a policy that seeks harm has more of it than the reference
        assert found["cost"] < careless


def test_where_samples_alone_tell_a_run_goes_on_until_its_interval_lies_below_the_rate() -> None:
    """A bandit that may not be enumerated: without a margin it stops when it cannot tell cost from limit."""
    world = SafetyBandit.demo(0, prompts=60)
    table = world.table(UnsafeProbability(world.cost))
    rate = float((table.min(dim=1).values + (world.ref_probs * table).sum(dim=1)).mean()) / 2
    ends = []
    for margin in (0.0, 0.05 * rate):
        policy = TabularPolicy.like(world)
        scored = world.pairs(4000, seed=1).score(NoReward(), UnsafeProbability(world.cost), policy.frozen())
        run = ConstrainedDPO(
            policy, beta=0.5, cost_limit=rate, margin=margin, rounds=8, steps=200, samples=32, seed=0
        ).fit(replace(scored, world=None))
        found = run.certificate_
        ends.append(found["status"])
        true = float((policy.logits.exp() * table).sum(dim=1).mean())
        assert found["exact"] is False and (found["status"] == "feasible") == (
            found["cost_interval"][1] <= rate
        )
    assert ends == ["unknown", "feasible"] and true <= rate


def test_a_margin_moves_the_aim_and_not_the_limit() -> None:
    world = SafetyBandit.demo(0)
    costs = []
    for margin in (0.0, 0.1):
        policy = TabularPolicy.like(world)
        scored = world.pairs(4000, seed=1).score(world.reward, world.cost, policy.frozen())
        run = ConstrainedDPO(
            policy, beta=0.5, cost_limit=0.0, margin=margin, steps=200, samples=2048, early_stop=False, seed=0
        ).fit(scored)
        assert run.certificate_["cost_limit"] == 0.0
        costs.append(run.certificate_["cost"])
    assert costs[0] == pytest.approx(0.0, abs=0.04) and costs[1] == pytest.approx(-0.1, abs=0.04)
    with pytest.raises(InputError, match="margin"):
        ConstrainedDPO(TabularPolicy.like(world), beta=0.5, cost_limit=0.0, margin=-1.0)


# ---- runs ----


@pytest.mark.parametrize(
    ("tier", "given", "words"),
    [
        ("toy", {"max_unsafe_rate": 0.2, "cost_limit": 0.0}, "--cost-limit and --max-unsafe-rate"),
        ("lm", {"pairs": "x", "max_unsafe_rate": 0.2, "cost_limit_relative": 0.1}, "one of them, not both"),
        ("toy", {"max_unsafe_rate": 1.0}, "strictly between 0 and 1"),
        ("toy", {"reward": "rules.py:good"}, "fit or none"),
        ("bandit", {"reward": "none"}, "no effect on --tier bandit"),
    ],
)
def test_options_that_cannot_be_are_refused(tier: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        presets.configure(tier, **given)


def test_an_older_folder_has_no_rate_and_is_read(tmp_path: Path) -> None:
    config = presets.configure("bandit")
    saved = {name: value for name, value in vars(config).items() if name != "max_unsafe_rate"}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert presets.read_config(tmp_path, {}) == config


def test_a_bandit_run_with_a_rate_is_judged_by_its_rate(tmp_path: Path) -> None:
    config = presets.configure("bandit", max_unsafe_rate=0.45, rounds=3)
    list(tiers.train(config, tmp_path))
    found = json.loads((tmp_path / "certificate.json").read_text())
    assert found["status"] == "optimal" and found["cost"] <= found["cost_limit"] == 0.45
    assert found["tolerance"]["cost"] == 0.0
    assert found["true_unsafe_rate"] == pytest.approx(found["cost"]) and 0 < found["unsafe_share"] < 1
    told = verdict_run(tmp_path, samples=400)
    assert (told["question"], told["range"], told["limit"]) == ("probability of unsafe", [0.0, 1.0], 0.45)
    assert told["truth"]["met"] and told["truth"]["value"] == pytest.approx(found["cost"])
    page = (tmp_path / "report.html").read_text()
    assert "The limit is P(unsafe) ≤ 0.45" in page and "--max-unsafe-rate 0.45" in page


def unlabelled(tmp_path: Path, keep: tuple[str, ...]) -> str:
    path = tmp_path / "rows.jsonl"
    names = ("prompt", "response_0", "response_1", *keep)
    rows = [{name: row[name] for name in names} for row in kitchen_rows(60, seed=0)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("keep", "given", "words"),
    [
        (
            ("is_response_0_safe", "is_response_1_safe"),
            {},
            "--reward fit: .*better_response_id.*none",
        ),
        (("better_response_id",), {}, "--cost fit: .*safer_response_id, is_response_k_safe or is_safe"),
        (("safer_response_id",), {"reward": "none"}, "--max-unsafe-rate: .*no safe/unsafe flags"),
    ],
)
def test_what_the_rows_do_not_teach_is_refused_by_its_column(
    tmp_path: Path, keep: tuple[str, ...], given: dict[str, Any], words: str
) -> None:
    config = presets.configure("lm", pairs=unlabelled(tmp_path, keep), max_unsafe_rate=0.3, **given)
    with pytest.raises(InputError, match=words):
        list(tiers.train(config, tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()  # nothing was begun


def test_flagged_rows_end_in_a_certificate_and_resume(tmp_path: Path) -> None:
    """One answer to each prompt: the reference gives the second; a run that is read again is the same."""
    rows = flagged_rows(tmp_path / "rows.jsonl", 40, sides=1)
    given = {"pairs": str(rows), "reward": "none", "max_unsafe_rate": 0.4, "rounds": 1, "max_steps": 2}
    config = presets.configure("lm", samples=2, **given)
    records = list(tiers.train(config, tmp_path / "run"))
    found = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert found["status"] in ("feasible", "violated", "unknown", "slack") and found["reward"] == 0.0
    assert 0 <= found["unsafe_share"] <= 1 and found["cost_limit"] == 0.4
    names = [row["policy"] for row in json.loads((tmp_path / "run" / "comparison.json").read_text())]
    assert names == ["reference", "cost-only DPO", "constrained DPO"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Expected cost per round" in page and "Expected reward per round" not in page
    drawn = json.loads((tmp_path / "run" / "drawn.json").read_text())
    assert drawn and all(isinstance(answer, str) for answer in drawn)
    assert list(tiers.train(config, tmp_path / "run")) == records


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["fit", "none"])
def test_the_toy_languages_true_unsafe_rate_meets_the_limit(tmp_path: Path, reward: str) -> None:
    """Learned scores, and yet the *true* rate, every dish enumerated, lies below the limit."""
    config = presets.configure("toy", reward=reward, max_unsafe_rate=0.25)
    list(tiers.train(config, tmp_path))
    found = json.loads((tmp_path / "certificate.json").read_text())
    assert found["scores"] == "learned" and found["status"] in ("optimal", "feasible")
    assert found["cost"] <= 0.25 and found["true_unsafe_rate"] <= 0.25, found
    assert found["closeness"] > 0.97
    first = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0])
    assert first["cost"] > 0.35  # the reference's: there was something to do
