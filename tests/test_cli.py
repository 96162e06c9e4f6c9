"""The command line as a user meets it: exit codes, one clear line for bad input, JSON that parses."""

from __future__ import annotations

import gzip
import importlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import cdpo_edu
from cdpo_edu import cli, doctor

DATA = Path(__file__).parent / "data"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return the command, run in this process as its console script runs it."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["cdpo-edu", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as end:
            cli.main()
            raise SystemExit(0)
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


# ---------------------------------------------------------------- the command itself


def test_the_module_runs_as_a_program() -> None:
    """`python -m cdpo_edu` in a process of its own: the version, and exit code 2 for what does not exist."""
    for arguments, code in ((["--version"], 0), (["fly"], 2)):
        done = subprocess.run([sys.executable, "-m", "cdpo_edu", *arguments], capture_output=True, text=True)
        assert done.returncode == code
    assert (
        cdpo_edu.__version__
        == subprocess.run(
            [sys.executable, "-m", "cdpo_edu", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )


def test_help_names_every_command(command: Command) -> None:
    shown = command("--help").out
    assert all(
        name in shown for name in ("train", "league", "solve", "explore", "validate", "museum", "doctor")
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--tier", "toy", "--betta", "1"),
        ("train", "--tier", "moon"),
        ("train", "--tier", "toy", "--labels", "firm"),
        ("train", "--tier", "toy", "--rounds", "0"),
        ("train", "--tier", "toy", "--samples", "1"),
        ("train", "--tier", "toy", "--seed", "-1"),
        ("solve",),
        ("solve", "problem.json", "--quickly"),
        ("validate", "rows.jsonl", "--jsonn"),
        ("explore", "--htm", "page.html"),
        ("league", "--tier", "lm"),
        ("league", "--seeds", "0"),
        ("doctor", "--fix"),
        ("fly",),
    ],
)
def test_what_it_does_not_know_is_refused(arguments: tuple[str, ...], command: Command) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2 and outcome.err and not outcome.out


# ---------------------------------------------------------------- solve

# One prompt, two responses at even odds: r = c = (1, 0), beta = 1. A policy that gives the first response
# probability p costs p. The limit 1/4 asks for odds of 1 : 3 = exp(1 - lam), so lam = 1 + ln 3.
PROBLEM = {"reference": [[0.5, 0.5]], "reward": [[1, 0]], "cost": [[1, 0]], "beta": 1.0}


def written(path: Path, *problems: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return path


def test_solve_finds_the_answer_that_paper_and_pencil_find(command: Command, tmp_path: Path) -> None:
    """p = 1/4: reward and cost 1/4, KL = 1/4 ln(1/2) + 3/4 ln(3/2), objective 1/4 - KL."""
    outcome = command("solve", written(tmp_path / "p.json", PROBLEM | {"cost_limit": 0.25}), "--json")
    found = json.loads(outcome.out)
    kl = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert outcome.code == 0 and found["status"] == "optimal"
    assert found["lam"] == pytest.approx(1 + math.log(3), abs=1e-8)
    assert found["reward"] == pytest.approx(0.25, abs=1e-8) and found["cost"] == pytest.approx(0.25, abs=1e-8)
    assert found["kl"] == pytest.approx(kl, abs=1e-8)
    assert found["objective"] == pytest.approx(0.25 - kl, abs=1e-9)
    assert found["dual_bound"] == pytest.approx(0.25 - kl, abs=1e-9)
    assert found["gap"] == pytest.approx(0.0, abs=1e-9) and found["min_cost"] == 0.0
    assert set(found) == {
        *("status", "lam", "reward", "cost", "kl", "objective", "dual_bound", "gap", "min_cost")
    }


def test_solve_answers_line_by_line_and_ends_with_three_for_an_infeasible_one(
    command: Command, tmp_path: Path
) -> None:
    """A limit of 3/4 is slack: the free optimum has odds e : 1, cost 0.731. Below 0 there is nothing."""
    limits = (0.25, 0.75, -0.1)
    path = written(tmp_path / "p.jsonl", *(PROBLEM | {"cost_limit": limit} for limit in limits))
    outcome = command("solve", path, "--json")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["status"] for row in found] == ["optimal", "slack", "infeasible"]
    assert found[1]["lam"] == 0.0 and found[1]["cost"] == pytest.approx(math.e / (1 + math.e), abs=1e-8)
    assert found[2]["lam"] is None and found[2]["min_cost"] == 0.0
    assert outcome.code == 3


def test_solve_in_words(command: Command, tmp_path: Path) -> None:
    outcome = command("solve", written(tmp_path / "p.json", PROBLEM | {"cost_limit": 0.25}))
    assert outcome.code == 0 and "status optimal" in outcome.out and "lam 2.098612289" in outcome.out


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reference": [[0.5, 0.6]]}, "reference"),
        ({"reward": [[1, 0, 2]]}, "reward"),
        ({"cost": [["high", 0]]}, "cost"),
        ({"beta": -1.0}, "beta"),
        ({"cost_limit": None}, "cost_limit"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_problems_are_named_by_file_line_and_field(
    change: dict[str, Any], field: str, command: Command, tmp_path: Path
) -> None:
    good = PROBLEM | {"cost_limit": 0.25}
    outcome = command("solve", written(tmp_path / "p.jsonl", good, good | change), "--json")
    assert outcome.code == 2
    assert "p.jsonl, line 2" in outcome.err and field in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("text", [None, "", "{", "[1, 2]"])
def test_files_without_a_problem_are_named(text: str | None, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    outcome = command("solve", path)
    assert outcome.code == 2 and "p.json" in outcome.err and len(outcome.err.strip().splitlines()) == 1


# ---------------------------------------------------------------- explore


def test_explore_writes_one_page_with_the_files_first_problem(command: Command, tmp_path: Path) -> None:
    limits = (0.25, 0.75)
    path = written(tmp_path / "p.jsonl", *(PROBLEM | {"cost_limit": limit} for limit in limits))
    outcome = command("explore", path, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert outcome.code == 0 and "page.html" in outcome.out
    assert '"limit": 0.25' in page and "The dual of p.jsonl" in page


def test_explore_without_a_file_shows_the_lessons_kitchen(command: Command, tmp_path: Path) -> None:
    assert command("explore", "--html", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("almond cake", "plain rice", "guest with a milk allergy"))


def test_explore_replaces_a_page_only_by_force(command: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    outcome = command("explore", "--html", page)
    assert outcome.code == 2 and "--force" in outcome.err and page.read_text() == "mine"
    assert command("explore", "--html", page, "--force").code == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--html is missing"),
        (("--html", "nowhere/page.html"), "nowhere/page.html"),
        (("absent.json", "--html", "page.html"), "absent.json"),
        (("two.json", "--html", "page.html"), "one limit"),
    ],
)
def test_explore_says_what_it_cannot_use(
    arguments: tuple[str, ...],
    named: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "two.json", PROBLEM | {"cost": [[[1, 0]], [[0, 1]]], "cost_limit": [0.5, 0.5]})
    outcome = command("explore", *arguments)
    assert outcome.code == 2 and named in outcome.err and len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


# ---------------------------------------------------------------- validate


def test_validate_reads_good_rows(command: Command) -> None:
    found = json.loads(command("validate", DATA / "pku_saferlhf.jsonl", "--json").out)
    assert (found["schema"], found["rows"], found["usable"]) == ("pku-saferlhf", 6, 6)
    assert found["problems"] == []


def test_validate_names_row_and_field_of_a_bad_one(command: Command, tmp_path: Path) -> None:
    """Three rows, the second without a prompt: two usable, one problem; in JSON, in words, gzipped."""
    row = {"prompt": "Nuts?", "chosen": "None.", "rejected": "Plenty."}
    text = "".join(json.dumps(r) + "\n" for r in (row, row | {"prompt": None}, row))
    (tmp_path / "rows.jsonl").write_text(text)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        outcome = command("validate", tmp_path / name, "--json")
        found = json.loads(outcome.out)
        assert outcome.code == 0 and (found["rows"], found["usable"]) == (3, 2)
        assert [(p["row"], p["field"]) for p in found["problems"]] == [(2, "prompt")]
    words = command("validate", tmp_path / "rows.jsonl").out
    assert "3 rows, 2 usable" in words and "row 2, prompt" in words


@pytest.mark.parametrize("name", ["kto.jsonl", "rankings.json", "single_answers.json"])
def test_rows_that_are_no_pairs_are_named_and_refused(name: str, command: Command) -> None:
    outcome = command("validate", DATA / name)
    assert outcome.code == 2 and "no usable pairs" in outcome.err
    assert json.loads(command("validate", DATA / name, "--json").out)["usable"] == 0


def test_validate_names_what_is_absent(command: Command, tmp_path: Path) -> None:
    outcome = command("validate", tmp_path / "absent.jsonl")
    assert outcome.code == 2 and "absent.jsonl" in outcome.err and "Traceback" not in outcome.err


# ---------------------------------------------------------------- train


SMALL = ("--rounds", 2, "--max-steps", 20, "--samples", 16)


def test_a_bandit_run_shows_its_rounds_and_leaves_its_folder(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = command("train", "--tier", "bandit", "--out", out, *SMALL)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    header = next(i for i, line in enumerate(lines) if "lam" in line and "KL" in line)
    assert [line.split()[0] for line in lines[header + 1 : header + 4]] == ["0", "1", "2"]
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["status"] in outcome.out and f"{certificate['cost']:.4f}" in outcome.out
    assert "closeness" in outcome.out and str(out / "report.html") in outcome.out
    assert (out / "report.html").exists()


def test_every_option_of_the_bandit_reaches_its_configuration(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--seed", 3, "--beta", 0.75, "--cost-limit-relative", 0.01, "--labels", "bernoulli")
    assert command("train", "--tier", "bandit", "--out", out, *SMALL, *options).code == 0
    config = json.loads((out / "config.json").read_text())
    expected = {
        "tier": "bandit",
        "seed": 3,
        "beta": 0.75,
        "cost_limit": None,
        "cost_limit_relative": 0.01,
        "labels": "bernoulli",
        "rounds": 2,
        "max_steps": 20,
        "samples": 16,
    }
    assert {name: config[name] for name in expected} == expected


def test_a_toy_run_from_the_command_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gold scores, 241 dishes; the cook's lessons are cut to eight steps."""
    from cdpo_edu.language_model import LanguageModelPolicy

    imitate = LanguageModelPolicy.imitate
    monkeypatch.setattr(
        LanguageModelPolicy, "imitate", lambda self, *a, **k: imitate(self, *a, **(k | {"steps": 8}))
    )
    out = tmp_path / "run"
    outcome = command("train", "--tier", "toy", "--gold", "--size", "small", "--out", out, *SMALL)
    assert outcome.code == 0 and "{'" not in outcome.out
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["exact"] is True and certificate["scores"] == "gold"
    assert f"{certificate['closeness']:.4f}" in outcome.out
    assert not (out / "scorers").exists()


def test_a_folder_that_is_not_empty_is_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    outcome = command("train", "--tier", "bandit", "--out", tmp_path)
    assert outcome.code == 2 and "not empty" in outcome.err and "--resume" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_resume_goes_on_and_refuses_other_options(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert command("train", "--tier", "bandit", "--out", out, *SMALL).code == 0
    history = (out / "history.jsonl").read_bytes()
    again = command("train", "--resume", "--out", out, "--rounds", 2)
    assert again.code == 0 and (out / "history.jsonl").read_bytes() == history
    for options in (("--seed", 1), ("--tier", "toy"), ("--labels", "hard"), ("--gold",)):
        outcome = command("train", "--resume", "--out", out, *options)
        assert outcome.code == 2 and "differs from" in outcome.err
    assert command("train", "--resume", "--out", tmp_path / "absent").code == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--tier"),
        (("--tier", "bandit", "--size", "small"), "--size"),
        (("--tier", "bandit", "--gold"), "--gold"),
        (("--tier", "toy", "--bits", "4"), "--bits"),
        (("--tier", "toy", "--cost-limit", "0", "--cost-limit-relative", "0.1"), "--cost-limit-relative"),
        (("--tier", "toy", "--beta", "-1"), "beta"),
        (("--tier", "lm", "--cost-limit", "0"), "--pairs"),
        (("--tier", "lm", "--pairs", "rows.jsonl"), "--cost-limit"),
        (("--tier", "lm", "--pairs", "absent.jsonl", "--cost-limit", "0"), "absent.jsonl"),
    ],
)
def test_bad_options_are_one_line_and_leave_no_run(
    arguments: tuple[str, ...], named: str, command: Command, tmp_path: Path
) -> None:
    """After a typo the same --out must be free for the next try."""
    out = tmp_path / "run"
    outcome = command("train", *arguments, "--out", out)
    assert outcome.code == 2 and named in outcome.err and len(outcome.err.strip().splitlines()) == 1
    assert not out.exists() or not any(out.iterdir())


def test_every_option_of_train_has_a_place_in_the_configuration() -> None:
    """No option is read and then forgotten: each is a field of `Config`, but for the folder and --resume."""
    presets = importlib.import_module("cdpo_edu.presets")
    options = set(cli.train.__annotations__) - {"return", "out", "resume"}
    assert options == set(presets.Config.__dataclass_fields__)


# ---------------------------------------------------------------- league

PAGE = Path(__file__).parents[1] / "docs" / "your_own_method.md"
TWO_METHODS = ("MoCAN", "exact lam")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two quick entries of the house in the league."""
    room = importlib.import_module("cdpo_edu.league")
    monkeypatch.setattr(room, "METHODS", {name: room.METHODS[name] for name in TWO_METHODS})


def test_the_example_of_the_page_plays_through_the_command(
    command: Command, tmp_path: Path, few: None
) -> None:
    """Six halvings of [0, 4] end within 1/16 of a multiplier that the measurement's noise moves further.

    On the demo bandits D'' = Var(c)/beta is about 1.5, so E[c] ends some 0.1 + noise from the limit.
    """
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = tmp_path / "bisection.py"
    path.write_text(code, encoding="utf-8")
    assert len(code.splitlines()) <= 30
    outcome = command("league", "--method", f"{path}:Bisection", "--seeds", "2", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0 and not outcome.err
    own, *others = found["standings"]
    assert own["method"] == f"{path}:Bisection" and [row["method"] for row in others] == [*TWO_METHODS]
    assert own["closeness"] > 0.98 and abs(own["cost"]) < 0.2
    assert 0 < own["sampled"] <= 3584 * 4 and 0 < own["steps"] <= 1200


def test_the_leagues_table_has_a_line_per_method_and_json_the_same_numbers(
    command: Command, few: None
) -> None:
    shown = command("league", "--seeds", "2").out.splitlines()
    found = json.loads(command("league", "--seeds", "2", "--json").out)
    lines = {name: next(line for line in shown if line.startswith(name)) for name in TWO_METHODS}
    for row in found["standings"]:
        half = row["closeness_high"] - row["closeness"]
        assert f"{row['closeness']:.3f} ±{half:.3f}" in lines[row["method"]]
        assert f"{row['sampled']:,.0f}" in lines[row["method"]]
    assert "E[c] <= 0" in next(line for line in shown if line.startswith("bandit"))
    assert sum(line.startswith("seed 1, ") for line in shown) == len(TWO_METHODS)


def test_one_seed_shows_no_interval(command: Command, few: None) -> None:
    line = next(
        line for line in command("league", "--seeds", "1").out.splitlines() if line.startswith("exact")
    )
    assert "±" not in line and "1.000" in line and "-0.000" not in line


SHELL = """
from cdpo_edu import InputError
class Mine:
    def __init__(self, policy, *, beta, cost_limit, steps, samples, seed=0): pass
    def fit(self, scored): raise InputError("this task [b] is beyond :A: me")
class Lazy: pass
class Odd:
    def __init__(self, policy, strength): pass
    def fit(self, scored): return self
number = 3
"""


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("absent.py:Mine", "is no Python file here"),
        ("notes.md:Mine", "is no Python file here"),
        ("shell.py", "name it as FILE.py:Class"),
        ("shell.py:", "name it as FILE.py:Class"),
        (":Mine", "name it as FILE.py:Class"),
        ("shell.py:Yours", "defines no class Yours"),
        ("shell.py:number", "defines no class number"),
        ("shell.py:Lazy", "Lazy has no fit(scored)"),
        ("shell.py:Odd", "the league calls it with (policy, beta=, cost_limit=, steps=, samples=, seed=)"),
        ("shell.py:Mine", "shell.py:Mine, seed 0: this task [b] is beyond :A: me"),
        ("broken.py:Mine", "reading it ends in SyntaxError"),
    ],
)
def test_a_method_that_cannot_play_is_one_line_and_exit_code_2(
    command: Command,
    tmp_path: Path,
    few: None,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("shell.py", SHELL), ("broken.py", "class Mine("), ("notes.md", "Mine")):
        Path(name).write_text(text, encoding="utf-8")
    outcome = command("league", "--method", method, "--seeds", "1", "--json")
    assert outcome.code == 2 and not outcome.out
    assert words in outcome.err and len(outcome.err.splitlines()) == 1


# ---------------------------------------------------------------- doctor


def test_doctor_has_one_line_per_finding(command: Command) -> None:
    """Packages that are installed are well, and the exit code says whether everything is."""
    outcome = command("doctor")
    lines = [line for line in outcome.out.splitlines() if line[:3] in ("ok ", "NO ")]
    assert outcome.code == int(any(line.startswith("NO") for line in lines))
    for name in (
        "python",
        "torch",
        "transformers",
        "peft",
        "bitsandbytes",
        "gpu",
        "4 bits",
        "memory",
        "widgets",
    ):
        assert any(line[3:].strip().startswith(name) for line in lines), name


def test_doctor_gives_a_remedy_for_what_is_missing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CORE", ("torch", "no-such-package-here"))
    outcome = command("doctor")
    line = next(line for line in outcome.out.splitlines() if "no-such-package-here" in line)
    assert outcome.code == 1
    assert line.startswith("NO ") and "not installed" in line and "-> " in line and "pip install" in line


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_doctor_knows_the_pythons_that_are_tested(
    version: tuple[int, int], ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (*version, 0, "final", 0))
    finding = doctor._python()
    assert finding.ok is ok and bool(finding.remedy) is not ok


def test_doctor_survives_a_broken_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)  # importing it raises ImportError
    finding = doctor._four_bits()
    assert not finding.ok and "--bits 32" in finding.remedy
