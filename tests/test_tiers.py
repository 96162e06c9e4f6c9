"""Runs of each tier: refused options, whole folders, killed runs that end as if they had not been killed.

The last part plants bugs in the loop on the toy language and shows that its exact optimum notices each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from cdpo_edu import language_model, presets, reading, report, tiers
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.constrained import ConstrainedDPO
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.history import read_history
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.pairs import Pairs, Preferences, ScoredPairs
from cdpo_edu.preference_data import load_pairs
from cdpo_edu.scorers import CostModel, RewardModel, ScoreModel
from cdpo_edu.sequences import Rows
from cdpo_edu.tiers import running
from cdpo_edu.toy_language import INGREDIENTS, Kitchen
from cdpo_edu.types import InputError, Policy

# ---------------------------------------------------------------- options


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(InputError, match="bandit, toy, lm"):
        presets.configure("moon")


@pytest.mark.parametrize(
    ("tier", "given"),
    [
        ("bandit", {"size": "small"}),
        ("bandit", {"gold": True}),
        ("bandit", {"pairs": "rows.jsonl"}),
        ("toy", {"bits": 4}),
        ("toy", {"reward_scale": 2.0}),
        ("toy", {"model": "tiny"}),
        ("lm", {"pairs": "rows.jsonl", "cost_limit": 0.0, "gold": True}),
        ("lm", {"pairs": "rows.jsonl", "cost_limit": 0.0, "size": "small"}),
        # the tiny model is built in float32, so bits would be ignored
        ("lm", {"pairs": "rows.jsonl", "cost_limit": 0.0, "model": "tiny", "bits": 4}),
    ],
)
def test_an_option_without_effect_is_refused(tier: str, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no effect"):
        presets.configure(tier, **given)


@pytest.mark.parametrize("tier", ["bandit", "toy", "lm"])
def test_two_limits_are_refused(tier: str) -> None:
    with pytest.raises(InputError, match="one of them, not both"):
        presets.configure(tier, cost_limit=0.0, cost_limit_relative=0.1)


def test_a_language_model_needs_rows_and_a_limit() -> None:
    with pytest.raises(InputError, match="--pairs"):
        presets.configure("lm", cost_limit=0.0)
    with pytest.raises(InputError, match="--cost-limit"):
        presets.configure("lm", pairs="rows.jsonl")


def test_given_options_take_the_place_of_the_presets() -> None:
    """A relative limit replaces the preset's absolute one; None means not given."""
    config = presets.configure("toy", cost_limit_relative=0.1, rounds=2, seed=None, labels="hard")
    assert (config.cost_limit, config.cost_limit_relative) == (None, 0.1)
    assert (config.rounds, config.labels, config.tier) == (2, "hard", "toy")
    assert config.seed == presets.configure("toy").seed


@pytest.mark.parametrize(
    "given",
    [
        {"beta": -0.5},
        {"beta": 0.0},
        {"beta": float("nan")},
        {"cost_limit": float("nan")},
        {"cost_limit_relative": float("inf")},
        {"rounds": 0},
        {"max_steps": 0},
        {"samples": 1},
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_built(
    given: dict[str, Any], tmp_path: Path
) -> None:
    """A toy run teaches its cook first; a beta of -0.5 must not cost that wait, nor leave a folder behind."""
    out = tmp_path / "run"
    with pytest.raises(InputError):
        for _ in tiers.train(presets.configure("toy", size="small", gold=True, **given), out):
            pass
    assert not (out / "reference").exists()


# ---------------------------------------------------------------- small runs


@contextmanager
def cut_short() -> Iterator[None]:
    """Cut a tier's fixed stages short: eight steps of imitation and of each scorer, 512 pairs repeated."""
    imitate, fit, pairs = LanguageModelPolicy.imitate, ScoreModel.fit, Kitchen.pairs

    def few_pairs(kitchen: Kitchen, policy: Policy, n: int, *, seed: int = 0) -> Pairs:
        few = min(n, 512)
        return pairs(kitchen, policy, few, seed=seed).take([i % few for i in range(n)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            LanguageModelPolicy, "imitate", lambda self, *a, **k: imitate(self, *a, **(k | {"steps": 8}))
        )
        patch.setattr(ScoreModel, "fit", lambda self, *a, **k: fit(self, *a, **(k | {"steps": 8})))
        patch.setattr(Kitchen, "pairs", few_pairs)
        yield


@pytest.fixture
def quick() -> Iterator[None]:
    with cut_short():
        yield


def benign_rows(path: Path) -> Path:
    """Write 60 rows in the PKU-SafeRLHF shape: what a guest with an allergy may eat."""
    safe = ["Try rice with basil.", "An apple, sliced.", "Beans and tomato.", "A bowl of plain rice, warm."]
    risky = [
        "Have the almond cake!",
        "Pesto on everything.",
        "Cream, and then more cream.",
        "Cheese will do.",
    ]
    rows = []
    for i in range(60):
        answers = [safe[i % 4], risky[(i // 4) % 4]]
        k = i % 2  # odd rows have the safe answer second
        rows.append(
            {
                "prompt": f"Guest {i} at table {i % 7} may not eat nuts or milk. What do I serve?",
                "response_0": answers[k],
                "response_1": answers[1 - k],
                "is_response_0_safe": k == 0,
                "is_response_1_safe": k == 1,
                "better_response_id": int(k == 0) if i % 3 else k,
                "safer_response_id": k,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SMALL: dict[str, dict[str, Any]] = {
    "bandit": {"rounds": 2, "max_steps": 20, "samples": 16},
    "toy": {"rounds": 2, "max_steps": 20, "samples": 8, "size": "small", "cost_limit_relative": 0.005},
    "lm": {"rounds": 1, "max_steps": 3, "samples": 2, "cost_limit": 0.0, "max_response_tokens": 16},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of a tier's uninterrupted run, made once."""
    root = tmp_path_factory.mktemp("runs")
    made: dict[str, Path] = {}

    def run(tier: str) -> Path:
        if tier not in made:
            with cut_short():
                list(tiers.train(config_of(tier, root), root / tier))
            made[tier] = root / tier
        return made[tier]

    return run


def config_of(tier: str, root: Path) -> presets.Config:
    given = dict(SMALL[tier])
    if tier == "lm":
        given["pairs"] = str(benign_rows(root / "rows.jsonl"))
    return presets.configure(tier, **given)


COMMON_FILES = {"config.json", "history.jsonl", "certificate.json", "splits.json", "card.json", "report.html"}


@pytest.mark.parametrize("tier", ["bandit", "toy", "lm"])
def test_a_run_leaves_a_whole_folder(tier: str, runs: Callable[[str], Path]) -> None:
    out = runs(tier)
    names = {path.name for path in out.iterdir()}
    assert names >= COMMON_FILES | {"policy"} | ({"comparison.json"} if tier == "lm" else {"exact.json"})
    assert not [path for path in out.rglob("*.partial")]
    config = json.loads((out / "config.json").read_text())
    assert config["tier"] == tier and config["max_steps"] == SMALL[tier]["max_steps"]
    history = read_history(out / "history.jsonl")
    assert [record.round for record in history] == list(range(SMALL[tier]["rounds"] + 1))
    assert history[0].grad_steps == 0
    assert all(0 < record.grad_steps <= SMALL[tier]["max_steps"] for record in history[1:])
    card = json.loads((out / "card.json").read_text())
    assert card["seed"] == 0 and card["seconds"] > 0 and card["versions"]["torch"] == torch.__version__
    assert all(card["fingerprints"].values())


@pytest.mark.parametrize("tier", ["bandit", "toy", "lm"])
def test_the_report_is_one_page_that_needs_no_other(tier: str, runs: Callable[[str], Path]) -> None:
    page = (runs(tier) / "report.html").read_text(encoding="utf-8")
    assert page.count("<html") == 1 and "<svg" in page or "data:image" in page
    assert 'src="http' not in page and "<script src=" not in page and '<link rel="stylesheet"' not in page


STATUSES = {"optimal", "slack", "feasible", "infeasible", "violated", "unknown"}


def test_the_toy_certificate_is_exact_and_adds_up(runs: Callable[[str], Path]) -> None:
    """gap = dual bound - objective = its KL term + its slack term; scores are learned ones."""
    given = json.loads((runs("toy") / "certificate.json").read_text())
    assert given["exact"] is True and given["scores"] == "learned" and given["tier"] == "toy"
    assert given["status"] in STATUSES - {"infeasible", "unknown"}
    assert given["gap"] == pytest.approx(given["dual_bound"] - given["objective"], abs=1e-9)
    assert given["gap"] == pytest.approx(given["gap_kl_term"] + given["gap_slack_term"], abs=1e-6)
    assert given["objective"] == pytest.approx(given["reward"] - 0.5 * given["kl"], abs=1e-9)


def test_the_toy_certificate_is_about_the_saved_policy(runs: Callable[[str], Path]) -> None:
    """Cost and KL summed again over 241 dishes, from the folder alone."""
    out, kitchen = runs("toy"), Kitchen(portions=2)
    given = json.loads((out / "certificate.json").read_text())
    policy, reference = (LanguageModelPolicy.load(out / name) for name in ("policy", "reference"))
    logs = [kitchen.table(p.log_prob) for p in (policy, reference)]
    cost = kitchen.table(CostModel.load(out / "scorers" / "cost")) / kitchen.sharpness
    assert ((logs[0].exp() * cost).sum(dim=1).mean()).item() == pytest.approx(given["cost"], abs=1e-5)
    kl = (logs[0].exp() * (logs[0] - logs[1])).sum(dim=1).mean().item()
    assert kl == pytest.approx(given["kl"], abs=1e-5) and kl > 1e-3


def test_the_first_round_of_a_run_is_the_reference(runs: Callable[[str], Path]) -> None:
    """KL 0, no loss, no step; the dual prompts of an exact tier are all of them."""
    first = read_history(runs("toy") / "history.jsonl")[0]
    assert (first.kl, first.dpo_loss, first.grad_steps, first.lam) == (0.0, None, 0, 0.0)


def test_the_language_model_certificate_claims_no_more_than_it_can(runs: Callable[[str], Path]) -> None:
    given = json.loads((runs("lm") / "certificate.json").read_text())
    assert given["exact"] is False and given["status"] in STATUSES - {"optimal", "infeasible"}
    assert all(given[name] is None for name in ("dual_bound", "gap", "closeness", "lam_exact"))
    assert given["dual_estimate"]["low"] <= given["dual_estimate"]["value"] <= given["dual_estimate"]["high"]


def test_the_four_way_table(runs: Callable[[str], Path]) -> None:
    rows = json.loads((runs("lm") / "comparison.json").read_text())
    assert [row["policy"] for row in rows] == [
        "reference",
        "reward-only DPO",
        "cost-only DPO",
        "constrained DPO",
    ]
    for row in rows:
        for name in ("reward", "cost", "kl"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert rows[0]["kl"] == 0.0 and all(row["kl"] != 0.0 for row in rows[1:])


def test_judge_prompts_are_set_aside(runs: Callable[[str], Path]) -> None:
    """60 rows at 15 %: 9 judge, 9 dual, 42 train. The last state's pairs have train and dual prompts only."""
    out = runs("lm")
    splits = json.loads((out / "splits.json").read_text())
    assert [splits[name]["prompts"] for name in ("train", "dual", "judge")] == [42, 9, 9]
    sets = load_pairs(out.parent / "rows.jsonl").split(seed=0).prompt_sets
    assert sets is not None and sets.fingerprint == splits["fingerprint"]
    (state,) = (out / "state").iterdir()
    used = set(json.loads((state / "loop.json").read_text())["pairs"][0])
    assert used & set(sets.train) and used & set(sets.dual) and not used & set(sets.judge)


def test_saved_models_of_a_run_read_the_same_each_time(runs: Callable[[str], Path]) -> None:
    """The scorers and the policy of the folder hold all of their weights: two readings agree to the bit."""
    out = runs("lm")
    prompts, answers = ["What do I serve?", "Guest 3?"], ["Rice.", "Almond cake!"]
    for load in (
        lambda: RewardModel.load(out / "scorers" / "reward")(prompts, answers),
        lambda: CostModel.load(out / "scorers" / "cost")(prompts, answers),
        lambda: LanguageModelPolicy.load(out / "policy").log_prob(prompts, answers),
    ):
        assert torch.equal(load(), load())
    reference = LanguageModelPolicy.load(out / "reference")
    assert torch.equal(reference.log_prob(prompts, answers), reference.frozen().log_prob(prompts, answers))


# ---------------------------------------------------------------- killed runs


class Killed(Exception):
    """Stands for the power cut."""


def contents(out: Path) -> dict[str, bytes]:
    """Return every file of a run but those that hold clock times or the names of folders."""
    files = {p.relative_to(out).as_posix(): p for p in sorted(out.rglob("*")) if p.is_file()}
    timed, named = {"card.json", "report.html"}, {"config.json", "adapter_config.json", "README.md"}
    return {name: p.read_bytes() for name, p in files.items() if p.name not in timed | named}


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Return the names of the files that differ from the expected ones, are missing, or are too many."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def raises_at(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """Return ``function``, killed right after its ``call``-th call has done its work."""
    count = 0

    def wrapped(*given: Any, **named: Any) -> Any:
        nonlocal count
        result = function(*given, **named)
        count += 1
        if count == call:
            raise Killed
        return result

    return wrapped


def kill_and_resume(tier: str, out: Path, where: tuple[Any, str, int]) -> None:
    place, name, call = where
    config = config_of(tier, out.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda folder: None)  # it holds no part of the run's state
        with pytest.MonkeyPatch.context() as deadly:
            deadly.setattr(place, name, raises_at(getattr(place, name), call))
            with pytest.raises(Killed):
                list(tiers.train(config, out))
        assert not (out / "card.json").exists()
        rounds = [record.round for record in tiers.train(presets.read_config(out, {}), out)]
    assert rounds == list(range(config.rounds + 1))


TOY_KILLS = {
    "while the cook learns": (LanguageModelPolicy, "imitate", 1),
    "after the reward model": (RewardModel, "save", 1),
    "before the first round is saved": (ConstrainedDPO, "_measure_reference", 1),
    "in the middle of round 2": (LanguageModelPolicy, "fit", 2),
    "while round 1 is saved": (ConstrainedDPO, "save", 2),
    "after round 2 is saved": (running, "save_state", 3),
    "after its last line": (running, "write_history", 3),
    "before the certificate": (LanguageModelPolicy, "save", 5),
}


QUICK_KILLS = {"in the middle of round 2", "after round 2 is saved"}


@pytest.mark.parametrize(
    "where", [w if w in QUICK_KILLS else pytest.param(w, marks=pytest.mark.slow) for w in TOY_KILLS]
)
def test_a_killed_toy_run_ends_as_if_it_had_not_been(
    where: str, quick: None, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """History, certificate, weights and every other file: byte for byte."""
    expected = contents(runs("toy"))
    kill_and_resume("toy", tmp_path / "toy", TOY_KILLS[where])
    assert differing(contents(tmp_path / "toy"), expected) == []


def test_a_killed_bandit_run_ends_as_if_it_had_not_been(runs: Callable[[str], Path], tmp_path: Path) -> None:
    expected = contents(runs("bandit"))
    kill_and_resume("bandit", tmp_path / "bandit", (running, "save_state", 2))
    assert differing(contents(tmp_path / "bandit"), expected) == []


@pytest.mark.parametrize("call", [1, 3], ids=["in round 1", "between the two baselines"])
def test_a_killed_language_model_run_ends_as_if_it_had_not_been(
    call: int, quick: None, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """`fit` is called for round 1 and then for each of the two baselines."""
    expected = contents(runs("lm"))
    kill_and_resume("lm", tmp_path / "lm", (LanguageModelPolicy, "fit", call))
    assert differing(contents(tmp_path / "lm"), expected) == []


def test_equal_seeds_leave_equal_bytes_and_others_do_not(runs: Callable[[str], Path], tmp_path: Path) -> None:
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        for _ in tiers.train(presets.configure("bandit", seed=seed, **SMALL["bandit"]), out):
            pass
        assert ((out / "history.jsonl").read_bytes() == contents(runs("bandit"))["history.jsonl"]) is same


def test_a_finished_run_can_be_read_again(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Resuming it repeats its records, trains nothing and changes nothing."""
    out = tmp_path / "again"
    shutil.copytree(runs("bandit"), out)
    before = contents(out)
    records = list(tiers.train(presets.read_config(out, {}), out))
    assert [r.as_line() for r in records] == [r.as_line() for r in read_history(out / "history.jsonl")]
    assert differing(contents(out), before) == []


@pytest.mark.parametrize(
    "given", [{"seed": 1}, {"beta": 0.25}, {"labels": "hard"}, {"tier": "toy"}, {"cost_limit_relative": 0.5}]
)
def test_resuming_with_another_option_is_refused(given: dict[str, Any], runs: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="differs from"):
        presets.read_config(runs("bandit"), given)


def test_resuming_with_the_same_options_is_fine(runs: Callable[[str], Path]) -> None:
    config = presets.read_config(runs("bandit"), {"seed": 0, "tier": "bandit", "rounds": 2, "beta": None})
    assert config == presets.configure("bandit", **SMALL["bandit"])


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was started"):
        presets.read_config(tmp_path, {})


@pytest.mark.parametrize("text", ['{"tier": "toy"}', "not json", "[]"])
def test_a_foreign_configuration_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        presets.read_config(tmp_path, {})


# ---------------------------------------------------------------- the language-model tier's refusals


def test_too_much_truncation_is_refused(quick: None, tmp_path: Path) -> None:
    config = presets.configure(
        "lm",
        pairs=str(benign_rows(tmp_path / "rows.jsonl")),
        cost_limit=0.0,
        max_response_tokens=2,
        max_truncated=0.1,
    )
    with pytest.raises(InputError, match="--max-response-tokens"):
        list(tiers.train(config, tmp_path / "out"))


def test_a_cost_without_flags_takes_no_absolute_limit(quick: None, tmp_path: Path) -> None:
    """The same rows without is_response_k_safe: refused with the remedy, and run with a relative limit."""
    path = benign_rows(tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("is_response_0_safe"), row.pop("is_response_1_safe")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="--cost-limit-relative"):
        list(tiers.train(presets.configure("lm", pairs=str(path), **SMALL["lm"]), tmp_path / "absolute"))
    relative = SMALL["lm"] | {"cost_limit": None, "cost_limit_relative": 0.1}
    out = tmp_path / "relative"
    history = list(tiers.train(presets.configure("lm", pairs=str(path), **relative), out))
    assert all(record.cost_limit == pytest.approx(history[0].cost - 0.1) for record in history)
    assert json.loads((out / "certificate.json").read_text())["cost_limit"] == pytest.approx(
        history[0].cost - 0.1
    )


def test_a_run_on_an_adapted_model_folder_with_scorers_of_ones_own(
    quick: None, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """--model PATH --reward PATH --cost PATH: nothing is fitted; a scale of 2 doubles what is measured."""
    first, costs = runs("lm"), {}
    for scale in (1.0, 2.0):
        given = SMALL["lm"] | {
            "pairs": str(benign_rows(tmp_path / "rows.jsonl")),
            "model": str(first / "reference"),
            "reward": str(first / "scorers" / "reward"),
            "cost": str(first / "scorers" / "cost"),
            "cost_scale": scale,
        }
        out = tmp_path / str(scale)
        costs[scale] = next(tiers.train(presets.configure("lm", **given), out)).cost
        assert not (out / "scorers").exists()
    assert costs[2.0] == pytest.approx(2 * costs[1.0], rel=1e-5)


# ---------------------------------------------------------------- planted bugs

LIMIT, BETA = -0.4, 1.0
KITCHEN = Kitchen(portions=2)


class Lesson(NamedTuple):
    """An untrained cook's folder, and pairs of its dishes."""

    folder: Path
    pairs: Pairs


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(KITCHEN.vocabulary),
        hidden=32,
        layers=2,
        seed=0,
        budget=Budget(4, 2),
        engine=Engine(256, 1e-2, 4096, group_by_length=False),
        response_words=list(INGREDIENTS),
    )
    policy.imitate(*KITCHEN.cookbook(2048, seed=0), steps=60, seed=0)
    folder = tmp_path_factory.mktemp("lesson") / "cook"
    policy.save(folder)
    return Lesson(folder, KITCHEN.pairs(policy, 8192, seed=0))


def align(lesson: Lesson) -> LanguageModelPolicy:
    """Run two rounds on the gold scores, with whatever the package's functions now do."""
    policy = LanguageModelPolicy.load(lesson.folder)
    scored = lesson.pairs.score(KITCHEN.reward, KITCHEN.cost, policy.frozen())
    settings: dict[str, Any] = dict(beta=BETA, cost_limit=LIMIT, rounds=2, steps=150, samples=64, seed=0)
    rounds = ConstrainedDPO(policy, **settings).iterate(scored)
    list(islice(rounds, 3))  # stop before the certificate, which refuses some of the planted bugs by itself
    return policy


def verdict(lesson: Lesson, policy: LanguageModelPolicy) -> tuple[float, float]:
    """Return closeness to the exact optimum and distance of the cost from the limit, by honest functions."""
    reference, own = (
        KITCHEN.table(p.log_prob).softmax(dim=1).numpy()
        for p in (LanguageModelPolicy.load(lesson.folder), policy)
    )
    problem = FiniteProblem(
        reference=reference,
        reward=KITCHEN.table(KITCHEN.reward).numpy(),
        cost=KITCHEN.table(KITCHEN.cost).numpy(),
        beta=BETA,
        cost_limit=LIMIT,
    )
    closeness = problem.certify(own).closeness
    assert closeness is not None and problem.solve().status == "optimal"
    return closeness, abs(float(problem.evaluate(own).cost) - LIMIT)  # type: ignore[arg-type]


def passes(closeness: float, off: float) -> bool:
    return closeness >= 0.9 and off <= 0.05


@pytest.mark.slow
def test_the_honest_loop_reaches_the_exact_optimum(lesson: Lesson) -> None:
    """Dishes of none, one and two portions; the multiplier is that of the exact problem, within sampling."""
    assert passes(*verdict(lesson, align(lesson)))


def flipped(scored: ScoredPairs, lam: float) -> Tensor:
    score = scored.reward + lam * scored.cost
    return score[:, 1] - score[:, 0]


def swapped(scored: ScoredPairs, lam: float) -> Tensor:
    score = scored.cost - lam * scored.reward
    return score[:, 1] - score[:, 0]


honest_logp = reading.sequence_logp


def averaged(logits: Tensor, rows: Rows, **given: Any) -> Tensor:
    return honest_logp(logits, rows, **given) / rows.response.sum(dim=1)


def endless(policy: LanguageModelPolicy, responses: Any) -> list[list[int]]:
    encoded = policy.tokenizer(list(responses), add_special_tokens=False)["input_ids"]
    return [ids[: policy.budget.response] for ids in encoded]


honest_collate, honest_fit = language_model.collate_sets, LanguageModelPolicy.fit


def unmasked(part: list[Any], *, pad: int) -> dict[str, Tensor]:
    """Score the guest's words too in each dish that loses most of its comparisons."""
    batch = honest_collate(part, pad=pad)
    loses = batch["pairs"].gather(1, (batch["target"] < 0.5).long()[:, None])[:, 0]
    lost, met = (
        torch.bincount(rows, minlength=len(batch["ids"])) for rows in (loses, batch["pairs"].flatten())
    )
    batch["response"] |= (2 * lost > met)[:, None] & batch["attention"].bool() & (batch["ids"] != BOS)
    return batch


def of_any_words(logits: Tensor, rows: Rows, *, allowed: Tensor) -> Tensor:
    """Let the guest's words, which no dish may hold, have a probability of their own."""
    words = rows.response & ~allowed[rows.ids]
    dish = honest_logp(logits, rows._replace(response=rows.response & ~words), allowed=allowed)
    return dish + honest_logp(logits, rows._replace(response=words))


BOS = word_tokenizer(KITCHEN.vocabulary).bos_token_id


def against_itself(policy: LanguageModelPolicy, preferences: Preferences, **given: Any) -> Any:
    """Hold the policy against what it was when the round began."""
    sides = (preferences.y0, preferences.y1)
    moved = torch.stack([policy.log_prob(preferences.prompts, side).double() for side in sides], dim=1)
    return honest_fit(policy, preferences._replace(ref_logp=moved), **given)


BUGS: dict[str, list[tuple[Any, str, Callable[..., Any]]]] = {
    "the multiplier's sign is flipped": [(ScoredPairs, "gap", flipped)],
    "reward and cost are swapped": [(ScoredPairs, "gap", swapped)],
    "log-probabilities are averaged": [(reading, "sequence_logp", averaged)],
    "the end token is dropped": [(LanguageModelPolicy, "_response_ids", endless)],
    "the rejected prompt is unmasked": [
        (LanguageModelPolicy, "shares_prompts", False),  # the bug is one of plain rows
        (language_model, "collate_sets", unmasked),
        (reading, "sequence_logp", of_any_words),
    ],
    "the reference moves": [(LanguageModelPolicy, "fit", against_itself)],
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str, lesson: Lesson) -> None:
    """Closeness falls far below 0.9, or the probabilities of all responses do not add up to 1."""
    with pytest.MonkeyPatch.context() as patch:
        for change in BUGS[bug]:
            patch.setattr(*change)
        if bug in ("log-probabilities are averaged", "the end token is dropped"):
            with pytest.raises(InputError, match="add up to .* not 1; log_prob must sum"):
                align(lesson)
            return
        policy = align(lesson)
    closeness, off = verdict(lesson, policy)
    assert not passes(closeness, off) and closeness < 0.6


def test_a_reward_in_the_costs_place_is_refused_at_once() -> None:
    """Swapped at the door: the gold reward has no zero, so the loop will not hold it against a limit."""
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(KITCHEN.vocabulary),
        hidden=16,
        layers=1,
        budget=Budget(4, 2),
        response_words=[*INGREDIENTS],
    )
    scored = KITCHEN.pairs(policy, 16, seed=0).score(KITCHEN.cost, KITCHEN.reward, policy.frozen())
    with pytest.raises(InputError, match="no zero"):
        ConstrainedDPO(policy, beta=1.0, cost_limit=-0.4).fit(scored)
