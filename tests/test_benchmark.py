"""The benchmarks run and print what they promise, and both ways solve what they were given. No speed test."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import Budget, LanguageModelPolicy
from cdpo_edu.scorers import RewardModel
from cdpo_edu.toy_language import INGREDIENTS, Kitchen

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=250)


def test_the_oracle_benchmark_prints_one_object_and_both_ways_reach_the_gap() -> None:
    found = run("oracle", "--json", "--problems", "20", "--rounds", "2")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["benchmark"] == "oracle" and len(said["rounds"]) == 2
    ratios = sorted(one["ratio"] for one in said["rounds"])
    assert said["ratio"] == pytest.approx(sum(ratios) / 2)  # the median of two
    for one in said["rounds"]:
        assert one["ratio"] == pytest.approx(one["peer"] / one["ours"]) and one["ours"] > 0
    assert said["settings"]["problems"] == 20
    assert 0 <= said["ours"]["largest_gap"] < 1e-9 and 0 <= said["peer"]["largest_gap"] < 1e-9
    assert said["ours"]["largest_certificate_gap"] < 1e-9
    assert said["ours"]["policies_over_the_limit"] == 0
    assert said["machine"]["cores"] >= 1 and said["machine"]["memory_gib"] > 0 and said["machine"]["cpu"]
    assert set(said["versions"]) == {"cdpo_edu", "numpy", "scipy"}


NAMES = ("oracle", "redraw", "economy", "quality", "step", "sweep", "verdict")


@pytest.mark.parametrize("name", NAMES)
def test_every_subcommand_prints_one_object_with_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parsed and printed as in a real run; the measuring itself, which may take long, is handed in."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import benchmark
    from benchmarks.measured import Measured

    (commands,) = [action.choices for action in benchmark.parser()._actions if action.dest == "name"]
    assert tuple(commands) == NAMES  # a new subcommand belongs into this test
    seen: list[Any] = []

    def measured(options: Any) -> Measured:
        seen.append(options)
        runs = [{"ours": 1.0, "peer": 2.5}, {"ours": 2.0, "peer": 5.0}]
        return Measured(
            2.5, "peer over ours", {"s": 1.5}, {"s": 3.75}, {"seed": options.seed}, runs, ("torch",)
        )

    monkeypatch.setattr(benchmark, name, measured)
    assert benchmark.main([name, "--json", "--rounds", "2", "--seed", "3"]) == 0
    said = json.loads(capsys.readouterr().out)  # one object, and nothing beside it
    assert (said["benchmark"], said["ratio"], said["settings"]) == (name, 2.5, {"seed": 3})
    assert [one["peer"] / one["ours"] for one in said["rounds"]] == [2.5, 2.5]
    assert said["machine"]["cpu"] and said["versions"] == {"torch": torch.__version__}
    assert seen[0].json is True and seen[0].rounds == 2


def test_without_json_it_prints_a_table() -> None:
    found = run("oracle", "--problems", "3", "--rounds", "1", "--prompts", "2", "--responses", "4")
    assert found.returncode == 0, found.stderr
    first, *rest = found.stdout.splitlines()
    assert first.startswith("oracle: ratio ") and any(line.startswith("largest gap") for line in rest)


def test_the_verdict_benchmark_prints_shares_and_the_power_curve() -> None:
    found = run("verdict", "--runs", "60")
    assert found.returncode == 0, found.stderr
    assert "peeking over 16 answers to 100 prompts" in found.stdout and "passed: cost" in found.stdout
    said = json.loads(run("verdict", "--runs", "60", "--json").stdout)
    assert said["ours"]["rows_above_it"] == 0 < said["peer"]["rows_above_it"]
    shares = [row["ours"] for row in said["rounds"] if "looking" in row]
    assert len(shares) == 18 and said["ours"]["largest_false_pass_share"] == max(shares)


def test_bad_arguments_exit_with_2() -> None:
    found = run("oracle", "--problems", "0")
    assert found.returncode == 2 and "0 is no whole number of at least 1" in found.stderr


def test_without_a_browser_redraw_says_how_to_get_one() -> None:
    found = run("redraw", CDPO_EDU_CHROMIUM="/nowhere/chromium")
    assert found.returncode == 2 and found.stdout == ""
    assert "/nowhere/chromium does not exist" in found.stderr and "apt install chromium" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_the_redraw_benchmark_moves_the_slider_of_two_pages() -> None:
    if not (os.environ.get("CDPO_EDU_CHROMIUM") or any(map(shutil.which, BROWSERS))):
        pytest.skip("no Chromium: apt install chromium, or set CDPO_EDU_CHROMIUM")
    found = run("redraw", "--json", "--rounds", "1", "--moves", "2")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    for name in ("kitchen", "16x64"):
        for way in ("ours", "peer"):
            assert len(said["rounds"][0][name][way]) == 2
            assert 0 < said[way][f"{name}_median_ms"] <= said[way][f"{name}_p95_ms"]


@pytest.mark.slow
def test_the_economy_benchmark_judges_three_ways_by_enumeration() -> None:
    """Far too short a run to be close: the ratio is 0, and every way says what it spent."""
    short = ("--size", "small", "--dual-rounds", "1", "--dual-steps", "3", "--plain-steps", "4")
    found = run("economy", "--json", "--rounds", "1", "--paper-rounds", "2", *short)
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    (row,) = said["rounds"]
    assert [row[way]["steps"] for way in ("ours", "plain", "paper")] == [3, 4, 8]
    assert [row[way]["answers_scored"] for way in ("ours", "plain", "paper")] == [
        2 * 16 * 128,
        0,
        2 * 16 * 128,
    ]
    assert row["plain"]["lam"] == row["lam_exact"] > 0
    assert (row["cold"]["steps"], row["cold"]["lam"]) == (3, row["ours"]["lam"])
    assert row["cold"]["closeness"] != row["ours"]["closeness"] and row["ours"]["labels_flipped"] > 0
    assert said["ratio"] == 0.0 and "on 0 of 1" in said["meaning"]
    assert all(row[way]["closeness"] < 0.99 for way in ("ours", "plain", "paper"))


def test_the_quality_benchmark_reads_a_run_and_gold_scorers_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gold scores in the simpler scorers' place, their exact optimum is the true one."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmarks import quality

    kitchen = Kitchen(portions=2)
    words = dict(budget=Budget(4, 2), response_words=list(INGREDIENTS))
    policy = LanguageModelPolicy.tiny(word_tokenizer(kitchen.vocabulary), hidden=16, layers=1, **words)
    policy.save(tmp_path / "reference")

    def gold(kind: type, world: Kitchen, *given: Any, seed: int, readout: str) -> Any:
        score = world.reward if kind is RewardModel else world.cost
        return lambda prompts, responses: world.sharpness * score(prompts, responses)

    monkeypatch.setattr(quality, "fitted_scorer", gold)
    found = quality.peer(tmp_path, "small", seed=0)
    assert found["scorer_error"] == pytest.approx(0.0, abs=1e-9)
    assert found["over_the_limit"] == pytest.approx(0.0, abs=1e-9)

    rows = [
        {"part": "scorer error", "lost": 0.1, "closeness": 0.9, "over": 0.0},
        {"part": "training", "lost": 0.05, "closeness": 0.85, "over": 0.02},
    ]
    (tmp_path / "split.json").write_text(json.dumps(rows))
    (tmp_path / "certificate.json").write_text(json.dumps({"closeness": 0.95}))
    (tmp_path / "history.jsonl").write_text('{"grad_steps": 0}\n{"grad_steps": 80}\n')
    assert quality.ours(tmp_path) == {
        "closeness": 0.85,
        "over_the_limit": 0.02,
        "steps": 80,
        "scorer_error": 0.1,
        "training": 0.05,
        "closeness_to_posed": 0.95,
    }


def one_cpu_pass(*options: str) -> dict[str, Any]:
    found = run(*options, "--json", "--rounds", "1", CDPO_EDU_DATA="/nowhere")
    assert found.returncode == 0, found.stderr
    said: dict[str, Any] = json.loads(found.stdout)
    return said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_step_benchmark_compares_the_same_tokens_in_both_settings() -> None:
    """Without the real rows: words of a kitchen. The ratio is what the raw figures of the passes give."""
    pytest.importorskip("trl", reason="trl, the peer, is not installed")
    said = one_cpu_pass("step", "--pairs", "2", "--batch", "2", "--device", "cpu")
    plain, allocator = said["rounds"]
    assert (plain["setting"], allocator["setting"]) == ("plain", "allocator")
    raw = plain["seconds_per_pair"]
    assert set(raw) == {"trl", "trl_precomputed", "ours", "ours_plain_rows"}
    assert said["ratio"] == pytest.approx(raw["trl_precomputed"][0] / raw["ours"][0])
    tokens = said["settings"]["tokens_per_pair"]
    assert tokens["shared"] < tokens["plain"] and "synthetic" in said["settings"]["source"]
    assert said["settings"]["first_pass_losses"]["ours"] == pytest.approx(math.log(2), abs=1e-3)
    assert all(way["peak_mib"] > 0 for one in said["rounds"] for way in one["ways"].values())


@pytest.mark.slow
def test_the_sweep_benchmark_keeps_what_does_not_depend_on_the_multiplier() -> None:
    """Kept and anew end at the same losses; the warm start does not."""
    said = one_cpu_pass("sweep", "--pairs", "4", "--batch", "2", "--steps", "2")
    (row,) = said["rounds"]
    assert row["kept"]["losses"] == pytest.approx(row["anew"]["losses"], abs=1e-4)
    assert row["warm"]["losses"][0] == pytest.approx(row["kept"]["losses"][0], abs=1e-6)
    assert row["warm"]["losses"][1:] != pytest.approx(row["kept"]["losses"][1:], abs=1e-6)
    assert said["ratio"] == pytest.approx(row["anew"]["cpu_seconds"] / row["warm"]["cpu_seconds"])


def test_the_step_benchmark_wants_a_gpu_where_it_is_told_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    found = run("step", "--device", "cuda")
    assert found.returncode == 2 and "torch sees no GPU here" in found.stderr
