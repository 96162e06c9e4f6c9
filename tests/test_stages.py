"""Fine-tuning and fitted score models: each folder is what the next stage takes; a kill changes nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from cdpo_edu import presets, stages, tiers
from cdpo_edu.cli import app
from cdpo_edu.language_model import LanguageModelPolicy
from cdpo_edu.pairs import Pairs
from cdpo_edu.preference_data import load_pairs
from cdpo_edu.scorers import CostModel, RewardModel, ScoreModel
from cdpo_edu.spoken_kitchen import spoken_cost, spoken_reward, write_kitchen_rows
from cdpo_edu.stages import FitOptions, SftOptions, fit_scorers, sft
from cdpo_edu.stages.calibration import clustered_share, cost_report, of_signs, reward_report
from cdpo_edu.stages.fit import halves
from cdpo_edu.toy_language import Kitchen
from cdpo_edu.types import InputError

SMALL: dict[str, Any] = {"max_prompt_tokens": 48, "max_response_tokens": 16}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_kitchen_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 240))


@pytest.fixture(scope="module")
def tuned(rows: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "tuned"
    sft(SftOptions(rows, steps=20, **SMALL), out)
    return out


@pytest.fixture(scope="module")
def fitted(rows: str, tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "fitted"
    fit_scorers(FitOptions(rows, str(tuned), steps=10, bins=5, **SMALL), out)
    return out


def command(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Killed(Exception):
    """Stands for a kill."""


# ---------------------------------------------------------------- sft


def test_fine_tuning_lowers_the_loss_on_prompts_it_has_not_seen(tuned: Path) -> None:
    record = json.loads((tuned / "sft.json").read_text())
    nats = record["held_out_nats_per_token"]
    assert nats["after"] < nats["before"] - 1 and record["packed"] is True
    assert record["rows"]["train"] > record["rows"]["held_out"] > 10


def test_its_folder_is_a_plain_model(tuned: Path) -> None:
    """Without us: transformers loads it, and the numbers are the policy's."""
    model = AutoModelForCausalLM.from_pretrained(tuned).eval()
    policy = LanguageModelPolicy.load(tuned)
    (x, y) = (policy._prompt_ids(["Table 1"]), policy._response_ids(["Rice."]))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([x[0] + y[0]])).logits[0].log_softmax(dim=-1)
    by_hand = sum(logits[len(x[0]) - 1 + k, token].item() for k, token in enumerate(y[0]))
    assert policy.log_prob(["Table 1"], ["Rice."]).item() == pytest.approx(by_hand, abs=1e-4)
    assert not list(tuned.parent.glob("*.unfinished")) and model.generation_config.max_new_tokens == 16


def test_adapters_become_a_frozen_reference(rows: str, tuned: Path, tmp_path: Path) -> None:
    """A run's reference is the model with the adapter on, and a score model's trunk has it merged."""
    out = tmp_path / "lora"
    sft(SftOptions(rows, str(tuned), steps=4, lora_rank=2, learning_rate=5e-2, **SMALL), out)
    assert (out / "adapter_model.safetensors").exists() and not (out / "model.safetensors").exists()
    policy = LanguageModelPolicy.load(out, lora_rank=4)
    before, plain = policy.frozen().log_prob(["T"], ["Rice."]), LanguageModelPolicy.load(tuned)
    assert (before - plain.log_prob(["T"], ["Rice."])).abs() > 1e-3
    fit_scorers(FitOptions(rows, str(out), "reward", steps=1, **SMALL), tmp_path / "fit")
    loaded = RewardModel.load(tmp_path / "fit" / "reward")
    weights = {n: w for n, w in loaded.net.trunk.named_parameters() if "lora" not in n}
    own = dict(plain.model.model.named_parameters())  # type: ignore[union-attr, operator]
    assert weights.keys() == own.keys()
    assert max(float((weights[n] - own[n]).detach().abs().max()) for n in own) > 1e-2  # the adapter is in it


@pytest.mark.parametrize("stage", ["sft", "fit"])
def test_a_killed_stage_goes_on_and_ends_as_if_it_had_not_been(
    stage: str, rows: str, tuned: Path, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its seventh step, with a checkpoint at every step."""
    monkeypatch.setenv("CDPO_EDU_KEEP_EVERY", "0")
    from cdpo_edu.training import Checkpoints

    ended, out = Checkpoints.on_save, tmp_path / stage
    steps: list[int] = []

    def on_save(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        ended(self, args, state, control, **more)
        steps.append(state.global_step)
        if len(steps) == 7:
            raise Killed

    def run() -> None:
        if stage == "sft":
            sft(SftOptions(rows, steps=20, **SMALL), out)
        else:
            fit_scorers(FitOptions(rows, str(tuned), steps=10, bins=5, **SMALL), out)

    monkeypatch.setattr(Checkpoints, "on_save", on_save)
    with pytest.raises(Killed):
        run()
    run()
    assert steps[7] == 8  # it did not begin again
    assert bytes_of(out) == bytes_of(tuned if stage == "sft" else fitted)


def test_other_rows_are_refused_when_it_goes_on(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(Path(rows).read_text())
    place = tmp_path / "out.unfinished"
    place.mkdir()
    (place / "options.json").write_text(json.dumps({"data": str(path), "rows": "others"}))
    with pytest.raises(InputError, match="begun with other rows"):
        sft(SftOptions(str(path), steps=1, **SMALL), tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"lora_rank": 4}, "its weights are random"),
        ({"bits": 4}, "its weights are random"),
        ({"model": "some/model", "bits": 4}, "add --lora-rank"),
    ],
)
def test_what_makes_no_sense_is_refused(rows: str, tmp_path: Path, more: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sft(SftOptions(rows, **more), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_bad_input_leaves_nothing_behind(rows: str, tmp_path: Path) -> None:
    for function, options in (
        (sft, SftOptions(rows, "no/such-model")),
        (fit_scorers, FitOptions(rows, "no/such-model")),
    ):
        with pytest.raises(InputError, match="was found neither as a folder nor on the hub"):
            function(options, tmp_path / "out")  # type: ignore[operator]
        assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- figures


def test_a_share_by_hand() -> None:
    """3 of 4 right in 4 clusters: variance p q/n * 4/3, so 4 count as 3; all right: as many as clusters."""
    share = clustered_share([1, 1, 1, 0], ["a", "b", "c", "d"])
    assert share["effective"] == pytest.approx(3) and share["value"] == 0.75
    z2, p, n = 1.959963984540054**2, 0.75, 3
    half = np.sqrt(z2 * p * (1 - p) / n + z2**2 / (4 * n**2))
    assert share["low"] == pytest.approx((p + z2 / (2 * n) - half) / (1 + z2 / n))
    sure = clustered_share([1] * 10, ["a"] * 5 + ["b"] * 5)
    assert sure["effective"] == 2 and sure["low"] == pytest.approx(2 / (2 + z2))
    assert clustered_share([], [])["value"] is None


def test_intervals_cover_what_they_say_when_answers_of_a_prompt_are_alike() -> None:
    """60 prompts, 4 answers each that agree with chance 0.8: 95 % within noise, and a naive one far less."""
    rng = np.random.default_rng(0)
    held = naive = 0
    for _ in range(600):
        common = rng.random(60) < 0.7
        own = rng.random((60, 4)) < 0.7
        hits = np.where(rng.random((60, 4)) < 0.8, common[:, None], own)
        share = clustered_share(hits.ravel().astype(float), np.repeat(np.arange(60), 4).astype(str))
        held += share["low"] <= 0.7 <= share["high"]
        naive += abs(hits.mean() - 0.7) <= 1.96 * np.sqrt(0.21 / 240)
    assert held / 600 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 600) and naive / 600 < 0.85


def test_signs_by_hand() -> None:
    """Costs 2, 1, -1, -2 and one unknown; flags 1, 0, 0, 1: half is right of all, of unsafe and of safe."""
    nan = float("nan")
    found = of_signs(
        torch.tensor([2.0, 1.0, -1.0, -2.0, 9.0]), torch.tensor([1.0, 0.0, 0.0, 1.0, nan]), "abcde", bins=2
    )
    assert [found["accuracy"][part]["value"] for part in ("all", "unsafe", "safe")] == [0.5, 0.5, 0.5]
    s = [1 / (1 + np.exp(-c)) for c in (-2, -1, 1, 2)]  # lowest first: outcomes 1, 0 and 0, 1
    error = (abs((s[0] + s[1]) / 2 - 0.5) + abs((s[2] + s[3]) / 2 - 0.5)) / 2
    assert found["calibration"]["expected_calibration_error"] == pytest.approx(error)
    assert [row["count"] for row in found["calibration"]["bins"]] == [2, 2]


def test_the_known_truth_is_right_about_its_own_signs(rows: str) -> None:
    """The kitchen's true scores on its people's labels, and the cost turned round, which must be as wrong."""
    held = halves(load_pairs(rows), seed=0)[1]
    cost, reward = (
        cost_report(spoken_cost(), held, bins=5),
        reward_report(spoken_reward(), held, bins=5),
    )
    assert cost["anchored"] and cost["sign"]["accuracy"]["all"]["value"] > 0.6
    assert reward["comparisons"]["accuracy"]["value"] > 0.6

    class Opposite:
        anchored = True

        def __call__(self, prompts: Any, responses: Any) -> Any:
            return -spoken_cost()(prompts, responses)

    turned = cost_report(Opposite(), held, bins=5)
    assert turned["sign"]["accuracy"]["all"]["value"] == pytest.approx(
        1 - cost["sign"]["accuracy"]["all"]["value"]
    )


def test_a_cost_without_flags_states_no_sign(tmp_path: Path) -> None:
    made = [
        {"prompt": f"Guest {i}?", "response_0": "a b", "response_1": "c", "better": i % 2, "safer": 1}
        for i in range(60)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    report = fit_scorers(FitOptions(str(path), steps=1, **SMALL), tmp_path / "fit")
    assert report["cost"]["sign"] is None and report["cost"]["anchored"] is False
    assert any("--cost-limit-relative" in words for words in report["not_known"])
    assert "--cost-limit-relative" in (tmp_path / "fit" / "calibration.html").read_text()


def test_missing_labels_are_named_with_what_can_be_fitted(tmp_path: Path) -> None:
    made = [
        {"prompt": f"Guest {i}?", "response_0": "a", "response_1": "b", "unsafe_0": 0, "unsafe_1": 1}
        for i in range(30)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    with pytest.raises(InputError, match=r"lack a helpfulness label .* --only cost fits what they have"):
        fit_scorers(FitOptions(str(path)), tmp_path / "fit")
    report = fit_scorers(FitOptions(str(path), only="cost", steps=1, **SMALL), tmp_path / "fit")
    assert report["reward"] is None and report["cost"]["comparisons"] is None
    assert report["cost"]["sign"]["accuracy"]["all"]["n"] > 0


# ---------------------------------------------------------------- fit-scorers


def test_the_models_come_back_bit_for_bit_with_their_heads(rows: str, tuned: Path, tmp_path: Path) -> None:
    """The saved scorer scores as the fitted one did, which the head alone could not if it were fresh."""
    pairs = load_pairs(rows)
    kept: dict[str, ScoreModel] = {}
    fit = ScoreModel.fit

    def watched(self: ScoreModel, *a: Any, **k: Any) -> ScoreModel:
        kept[type(self).__name__] = self
        return fit(self, *a, **k)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScoreModel, "fit", watched)
        fit_scorers(FitOptions(rows, str(tuned), steps=3, **SMALL), tmp_path / "fit")
    for kind, role in ((RewardModel, "reward"), (CostModel, "cost")):
        loaded = kind.load(tmp_path / "fit" / role)
        own = kept[kind.__name__]
        assert torch.equal(loaded(pairs.prompts, pairs.y0), own(pairs.prompts, pairs.y0))
        assert loaded.net.head.weight.any() and loaded.fingerprint == own.fingerprint
        assert loaded.anchored is (role == "cost")


def test_what_is_measured_was_not_fitted_on_and_a_runs_judge_prompts_stay(rows: str, fitted: Path) -> None:
    pairs = load_pairs(rows)
    train, held = halves(pairs, seed=0)
    run = pairs.split(seed=0)
    assert run.prompt_sets is not None and isinstance(train, Pairs)
    assert set(train.prompts) == set(run.prompts)
    assert set(held.prompts) == set(run.prompt_sets.dual)
    report = json.loads((fitted / "calibration.json").read_text())
    assert report["pairs"]["train"] == len(train) and report["pairs"]["held_out"] == len(held)


def test_the_page_is_whole_and_asks_nothing_of_the_network(fitted: Path) -> None:
    class Reader(HTMLParser):
        tags: list[str] = []
        sources: list[str] = []

        def handle_starttag(self, tag: str, attributes: Any) -> None:
            self.tags.append(tag)
            self.sources += [value for name, value in attributes if name in ("src", "href")]

    page, reader = (fitted / "calibration.html").read_text(), Reader()
    reader.feed(page)
    assert "script" not in reader.tags and reader.tags.count("img") == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in reader.sources)
    report = json.loads((fitted / "calibration.json").read_text())
    share = report["cost"]["sign"]["accuracy"]["all"]["value"]
    assert f"{share:.1%}" in page and "5 bins of equal count" in page
    rows = [json.loads(line) for line in Path(report["options"]["pairs"]).read_text().splitlines()]
    assert not any(row["response_0"] in page for row in rows)  # no text of the rows
    assert not re.search(r"https?://", page)


def test_every_stage_takes_what_the_one_before_left(
    rows: str, tuned: Path, fitted: Path, tmp_path: Path
) -> None:
    given = {
        "pairs": rows, "model": str(tuned), "reward": str(fitted / "reward"), "cost": str(fitted / "cost"),
        "cost_limit": 0.0, "rounds": 1, "max_steps": 2, "samples": 2, "batch_size": 4, **SMALL,
    }  # fmt: skip
    records = list(tiers.train(presets.configure("lm", **given), tmp_path / "run"))
    inputs = json.loads((tmp_path / "run" / "inputs.json").read_text())
    assert records and (tmp_path / "run" / "certificate.json").exists()
    assert inputs["cost"] and not (tmp_path / "run" / "scorers").exists()


# ---------------------------------------------------------------- commands


def test_the_commands_say_what_they_did_and_go_on(rows: str, tmp_path: Path) -> None:
    out, fit = tmp_path / "tuned", tmp_path / "fit"
    small = ["--max-prompt-tokens", 48, "--max-response-tokens", 16]
    first = command("sft", "--data", rows, "--steps", 2, "--out", out, *small)
    assert (
        first.exit_code == 0 and "nats per token before" in first.stdout and f"model: {out}" in first.stdout
    )
    again = command("sft", "--resume", "--out", out, "--json")
    assert json.loads(again.stdout)["steps"] == 2
    for wrong, words in (
        (("sft", "--data", rows, "--out", out), "something is there"),
        (("sft", "--resume", "--steps", 3, "--out", out), "--steps 3 differs from 2"),
        (("sft", "--resume", "--out", tmp_path / "nothing"), "nothing was begun"),
        (("sft", "--out", tmp_path / "nothing"), "--data is missing"),
        (("fit-scorers", "--out", tmp_path / "nothing"), "--pairs is missing"),
    ):
        told = command(*wrong)
        assert isinstance(told.exception, InputError) and words in str(told.exception)
    told = command("fit-scorers", "--pairs", rows, "--only", "cost", "--steps", 2, "--out", fit, *small)
    assert told.exit_code == 0 and "cost: sign right, of the unsafe ones" in told.stdout
    again = command("fit-scorers", "--resume", "--out", fit, "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["reward"] is None


def test_the_room_names_its_stages() -> None:
    assert set(stages.__all__) == {"FitOptions", "SftOptions", "fit_scorers", "sft"}


# ---------------------------------------------------------------- planted truth


class TrueOdds:
    """The kitchen's people flag an answer with probability s(sharpness x true harm): this cost knows it."""

    anchored = True

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor * Kitchen().sharpness

    def __call__(self, prompts: Any, responses: Any) -> torch.Tensor:
        return self.factor * spoken_cost()(prompts, responses)


def test_the_true_log_odds_are_calibrated_and_an_overconfident_cost_is_not(tmp_path: Path) -> None:
    """s(3c) for s(c) is off by as much as the two differ on average, which the known truth says."""
    pairs = load_pairs(write_kitchen_rows(tmp_path / "rows.jsonl", 3000))
    held = halves(pairs, seed=0)[1]
    right, over = (cost_report(TrueOdds(factor), held, bins=5)["sign"] for factor in (1.0, 3.0))
    assert right["calibration"]["expected_calibration_error"] < 0.04  # 900 flags in 5 bins: noise
    costs = torch.cat([TrueOdds()(held.prompts, y) for y in (held.y0, held.y1)])
    gap = ((3 * costs).sigmoid() - costs.sigmoid()).abs().mean().item()
    assert over["calibration"]["expected_calibration_error"] == pytest.approx(gap, abs=0.04) and gap > 0.08
    assert over["accuracy"] == right["accuracy"]  # the sign does not know how sure a cost is


@pytest.mark.slow
def test_a_fitted_cost_finds_the_planted_zero(tmp_path: Path) -> None:
    """Its reported calibration error is that of the true probabilities, within the noise of the flags."""
    rows = str(write_kitchen_rows(tmp_path / "rows.jsonl", 3000))
    options = FitOptions(rows, only="cost", steps=600, batch_size=64, learning_rate=3e-3, bins=5, **SMALL)
    report = fit_scorers(options, tmp_path / "fit")
    sign = report["cost"]["sign"]
    base = sign["calibration"]["base_rate"]
    assert sign["accuracy"]["all"]["low"] > max(base, 1 - base)
    cost, held = CostModel.load(tmp_path / "fit" / "cost"), halves(load_pairs(rows), seed=0)[1]
    sides = [(held.prompts, y) for y in (held.y0, held.y1)]
    true = torch.cat([TrueOdds()(*side) for side in sides])
    found = torch.cat([cost(*side) for side in sides])
    agreed = ((found > 0) == (true > 0)).double().mean().item()
    assert agreed > sign["accuracy"]["all"]["value"]  # people err where it does not
    order = found.argsort().tensor_split(5)
    error = sum((found[i].sigmoid().mean() - true[i].sigmoid().mean()).abs().item() * len(i) for i in order)
    reported = sign["calibration"]["expected_calibration_error"]
    assert reported == pytest.approx(error / len(found), abs=0.04)
