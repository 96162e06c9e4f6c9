"""The report: right numbers, honest words, one page that stands alone, equal bytes for equal folders."""

from __future__ import annotations

import base64
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cdpo_edu import cli, plots, presets, report, report_words
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.types import InputError

PROBLEM = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=0.25)
"""Odds e^(1 - lam) : 1 of the helpful, harmful answer; the limit binds at lam = 1 + log 3 = 2.0986."""


def record(number: int, lam: float, cost: float, **changes: Any) -> dict[str, Any]:
    row = {"round": number, "lam": lam, "reward": cost + 0.01, "cost": cost, "cost_low": cost - 0.1}
    row |= {"cost_high": cost + 0.1, "cost_limit": 0.25, "kl": 0.125, "dpo_loss": 0.625 if number else None}
    return row | {"grad_steps": 200 * bool(number), "labels_flipped": 11 * number} | changes


def exact_certificate(**changes: Any) -> dict[str, Any]:
    """Of the policy (0.2, 0.8), below the limit of 0.25, in gold scores."""
    own, proof = PROBLEM.evaluate([[0.2, 0.8]]), PROBLEM.certify([[0.2, 0.8]])
    names = ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness")
    return {
        "tier": "bandit", "scores": "gold", "lam": 2.0, "cost_limit": 0.25, "cost_interval": [0.15, 0.24],
        "exact": True, "lam_exact": proof.lam, "reward": own.reward, "cost": own.cost, "kl": own.kl,
        "objective": own.objective, "min_cost": 0.0, "tolerance": {"cost": 0.02, "closeness": 0.99},
        **{name: getattr(proof, name) for name in names}, "status": "feasible",
    } | changes  # fmt: skip


def sampled_certificate(**changes: Any) -> dict[str, Any]:
    open_entries = ("dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness", "lam_exact")
    return {
        "tier": "lm", "scores": "learned", "lam": 0.8, "cost_limit": 0.25, "cost_interval": [0.11, 0.22],
        **dict.fromkeys(open_entries), "status": "feasible", "exact": False, "reward": 0.35, "cost": 0.165,
        "kl": 1.02, "objective": 0.248, "dual_estimate": {"value": 0.5, "low": 0.3, "high": 0.7},
    } | changes  # fmt: skip


CONFIG = {
    "tier": "bandit", "seed": 3, "beta": 1.0, "cost_limit": 0.25, "cost_limit_relative": None, "rounds": 2,
    "max_steps": 200, "samples": 512, "labels": "soft",
}  # fmt: skip
CARD = {"seed": 3, "seconds": 12.5, "versions": {"torch": "2.13.0"}, "licences": {"data": None}}


def comparison(name: str, cost: float) -> dict[str, Any]:
    row = {"policy": name, "reward": 0.5, "reward_low": 0.4, "reward_high": 0.6, "kl": 0.75, "kl_low": 0.7}
    return row | {"kl_high": 0.8, "cost": cost, "cost_low": cost - 0.1, "cost_high": cost + 0.1}


COMPARISON = [
    comparison("reference", 0.4),
    comparison("reward-only DPO", 0.8),
    comparison("cost-only DPO", -0.3),
    comparison("constrained DPO", 0.1),
]


def write_run(folder: Path, **contents: Any) -> Path:
    """Write a run folder; a file given as None is left out."""
    rounds = [record(0, 0.0, 0.5), record(1, 1.5, 0.375), record(2, 2.0, 0.195)]
    files = {"config": CONFIG, "certificate": exact_certificate(), "card": CARD, "splits": {"exact": True}}
    files |= {"history": rounds, "exact": plots.dual_curve(PROBLEM).as_dict(), "comparison": None} | contents
    folder.mkdir()
    for name, content in files.items():
        if name == "history" and content is not None:
            lines = "".join(json.dumps(row) + "\n" for row in content)
            (folder / "history.jsonl").write_text(lines, encoding="utf-8")
        elif content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Every tag with its attributes, the text without style, and whether each tag was closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + ("" if self.open[-1] in ("span", "pre") else " ")

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def page_of(folder: Path) -> Page:
    path = report.write_report(folder)
    assert path == folder / "report.html"
    assert not list(folder.glob("*.partial"))
    return Page(path)


# ---- the page -------------------------------------------------------------------------------------


def test_the_page_of_an_exact_run(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    # J of (0.2, 0.8): 0.2 - (0.2 log 0.4 + 0.8 log 1.6) = 0.2 - 0.1927 = 0.0073.
    # D(lam*) = log(2/3) + (1 + log 3)/4 = 0.1192; the gap is their difference, 0.1119.
    assert "J = E[r] − β KL 0.007255 nats" in page.text
    assert "D(λ*) 0.1192 nats" in page.text
    assert "D(λ*) − J 0.1119 nats" in page.text
    assert "λ* 2.099 nats per cost unit" in page.text
    assert (
        "No policy that meets the limit has an objective more than 0.1119 nats higher: proved." in page.text
    )
    assert "1 1.5000 0.3850 0.3750 0.2750 to 0.4750 0.2500 0.1250 0.6250 200 11" in page.text
    assert "0 0.0000 0.5100 0.5000 0.4000 to 0.6000 0.2500 0.1250 – 0 0" in page.text
    assert "versions.torch 2.13.0" in page.text
    assert "licences.data –" in page.text
    assert "This run has no four-way comparison" in page.text
    assert len(page.images()) == 6


def test_the_page_of_a_language_model_run(tmp_path: Path) -> None:
    rounds = [record(0, 0.0, 0.5), record(1, 0.8, 0.165)]
    folder = write_run(
        tmp_path / "run", certificate=sampled_certificate(), history=rounds, exact=None, comparison=COMPARISON
    )
    page = page_of(folder)
    assert "No optimality is certified" in page.text
    assert "scores are learned models" in page.text
    assert (
        "D(λ), sampled 0.5 (0.3 to 0.7) nats an estimate with its 95 % band: biased, and no bound"
        in page.text
    )
    assert "Not known, or not certified, for this run: λ*; D(λ*); D(λ*) − J;" in page.text
    assert "The dual is not drawn: outside an enumerable world" in page.text
    assert "cost-only DPO 0.5000 (0.4000 to 0.6000) −0.3000 (−0.4000 to −0.2000) 0.7500" in page.text
    assert "proved" not in page.text
    assert len(page.images()) == 6


def test_every_picture_has_a_text_alternative_with_its_numbers(tmp_path: Path) -> None:
    images = page_of(write_run(tmp_path / "run", comparison=COMPARISON)).images()
    texts = [str(image["alt"]) for image in images]
    assert len(texts) == len(set(texts)) == 7
    # At lam = 2 the odds are 1/e : 1, so E[c] = 1/(1 + e) = 0.2689, above the limit.
    assert "λ = 2: limit not met, E[c] = 0.269 > C = 0.25" in texts[0]
    assert (
        "from 0.5 in round 0 to 0.195 in round 2 (95 % interval 0.095 to 0.295), limit C = 0.25" in texts[2]
    )
    assert "exact optimum 2.1" in texts[1]
    assert "reward-only DPO: cost 0.8, reward 0.5" in texts[6]


def test_the_page_stands_alone(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", comparison=COMPARISON))
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "a"} == set()
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'src="data:[^"]*"', "", html))
    assert "default-src 'none'" in html  # the browser itself refuses every request
    for image in page.images():
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/svg+xml;base64"
        drawing = base64.b64decode(data).decode("utf-8")
        assert re.findall(r'href="(?!#)', drawing) == []
        assert re.findall(r"url\((?!#)", drawing) == []


def test_equal_folders_give_equal_bytes(tmp_path: Path) -> None:
    pages = [
        report.write_report(write_run(tmp_path / name, comparison=COMPARISON)).read_bytes()
        for name in ("a", "b")
    ]
    assert pages[0] == pages[1]
    other = write_run(
        tmp_path / "c", comparison=COMPARISON, history=[record(0, 0.0, 0.5), record(1, 2.0, 0.2)]
    )
    assert report.write_report(other).read_bytes() != pages[0]


def test_everything_written_by_hand_is_escaped(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>&'
    rows = [COMPARISON[0] | {"policy": nasty}]
    folder = write_run(
        tmp_path / "run",
        config=CONFIG | {"tier": "lm", "pairs": nasty},
        card=CARD | {nasty: nasty},
        certificate=exact_certificate(tier=nasty, status=nasty),
        comparison=rows,
    )
    page = page_of(folder)  # tags stay balanced
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>&") >= 6
    assert nasty in str(page.images()[-1]["alt"])


# ---- the words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "tone", "expected"),
    [
        pytest.param({"status": "optimal"}, "met", ["0.05 below the limit"], id="optimal"),
        pytest.param({"status": "slack"}, "met", ["does not bind"], id="slack"),
        pytest.param(
            {"status": "feasible", "cost": 0.26},
            "met",
            ["0.01 above the limit, within the stated tolerance of 0.02", "bounds nothing"],
            id="within tolerance",
        ),
        pytest.param(
            {"status": "violated", "cost": 0.5},
            "not-met",
            ["the limit is not met", "0.25 above the limit.", "bounds nothing"],
            id="violated",
        ),
        pytest.param(
            {"status": "infeasible", "cost": 0.5, "min_cost": 0.3, "gap": None, "closeness": None},
            "not-met",
            [
                "no policy can meet this limit",
                "proved: the least expected cost that any policy can reach is 0.3",
            ],
            id="infeasible",
        ),
        pytest.param({"scores": "learned"}, "met", ["scores are learned models"], id="learned"),
    ],
)
def test_the_verdict_of_an_exact_run(changes: dict[str, Any], tone: str, expected: list[str]) -> None:
    verdict = report_words.verdict(exact_certificate(**changes), CONFIG)
    words = " ".join([verdict.headline, *verdict.sentences])
    assert verdict.tone == tone
    assert [part for part in expected if part not in words] == []
    assert ("learned" in words) == ("scores" in changes)
    bound = tone == "met" and "cost" not in changes  # only a policy at or below the limit is bounded
    assert ("nats higher: proved" in words) == bound


@pytest.mark.parametrize(
    ("status", "tone", "headline"),
    [
        ("feasible", "met", "the limit is met"),
        ("slack", "met", "does not bind"),
        ("violated", "not-met", "the limit is not met"),
        ("unknown", "open", "both sides of the limit"),
    ],
)
def test_the_verdict_of_a_sampled_run_never_certifies(status: str, tone: str, headline: str) -> None:
    verdict = report_words.verdict(sampled_certificate(status=status), {"tier": "lm", "cost_limit": 0.25})
    words = " ".join(verdict.sentences)
    assert verdict.tone == tone
    assert headline in verdict.headline
    assert "The measured cost is E[c] = 0.165, 95 % interval 0.11 to 0.22." in words
    assert "No optimality is certified" in words
    assert "proved" not in words


def test_a_relative_limit_is_said_as_one() -> None:
    certificate = sampled_certificate(difference_interval=[-0.31, -0.12])
    words = " ".join(report_words.verdict(certificate, {"cost_limit_relative": 0.1}).sentences)
    assert "a cost of at least 0.1 below the reference's, so E[c] ≤ C = 0.25" in words
    assert "difference to the reference's, prompt by prompt, is −0.31 to −0.12" in words
    assert "read off the paired interval" in words


@pytest.mark.parametrize(
    ("tier", "given"),
    [
        ("bandit", {"seed": 4, "cost_limit": -0.25}),
        ("toy", {"gold": True, "size": "small", "labels": "hard"}),
        ("toy", {"cost_limit_relative": 0.5}),
        ("lm", {"pairs": "my rows/train.jsonl", "cost_limit_relative": 0.1, "model": "a-model", "bits": 4}),
    ],
)
def test_the_command_repeats_the_run(
    tier: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = presets.configure(tier, **given)
    command = report_words.repeat_command(vars(config))
    assert command is not None
    program, *words = shlex.split(command)
    assert program == "cdpo-edu"
    seen: list[Any] = []
    monkeypatch.setattr(cli, "_show_run", lambda tiers, config, out: seen.append((config, out)))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, words)  # the command line's own parser
    assert result.exit_code == 0, result.output
    assert seen == [(config, Path("again"))]


def test_every_option_belongs_to_all_tiers_or_to_some() -> None:
    """No field of the configuration can be left out of the command that repeats a run."""
    own = {name for options in presets.OWN.values() for name in options}
    assert not own & {*presets.COMMON}
    assert sorted([*presets.COMMON, *own]) == sorted(presets.Config.__dataclass_fields__)


def test_the_page_shows_the_command_whole(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run"))
    command = "cdpo-edu train --tier bandit --seed 3 --beta 1.0 --cost-limit 0.25 --rounds 2 --max-steps 200"
    assert command + " --samples 512 --labels soft --out again" in page.text


def test_an_unknown_tier_has_no_command(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", config=CONFIG | {"tier": "planet"}))
    assert "cdpo-edu train" not in page.text
    assert "With the settings and the versions below." in page.text


# ---- parts that are missing -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config", "history", "certificate", "card", "splits"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}\.jsonl?: "):
        report.write_report(write_run(tmp_path / "run", **{name: None}))
    assert not (tmp_path / "run" / "report.html").exists()


def test_broken_files_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, text, message in (
        ("card.json", '{"seed": 1,\n oops', r"card\.json, line 2: not JSON"),
        ("splits.json", "[]", r"splits\.json: a JSON object is expected"),
        ("certificate.json", "{}", r"certificate\.json: it lacks status, exact, cost_limit"),
        ("exact.json", '{"lam": [0]}', r"exact\.json: it lacks dual, reward"),
        ("history.jsonl", "", r"history\.jsonl: it holds no round"),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            report.write_report(folder)
        (folder / name).write_bytes(whole[name])


def test_columns_of_unequal_length_are_refused(tmp_path: Path) -> None:
    curve = plots.dual_curve(PROBLEM).as_dict() | {"kl": [0.0]}
    with pytest.raises(InputError, match=r"exact\.json: its columns .* must be of one length"):
        report.write_report(write_run(tmp_path / "run", exact=curve))


def test_without_the_exact_curve_the_page_says_so(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", exact=None))
    assert "The folder holds no exact curve (exact.json), so the dual is not drawn." in page.text
    assert len(page.images()) == 5


def test_a_multiplier_outside_the_curve_is_not_drawn_elsewhere(tmp_path: Path) -> None:
    short = plots.dual_curve(PROBLEM, [0.0, 0.5, 1.0, 1.5]).as_dict() | {"lam_exact": None}
    page = page_of(write_run(tmp_path / "run", exact=short))
    assert "the last multiplier lies outside the recorded curve" in page.text
    assert len(page.images()) == 5


def test_an_infeasible_run_is_reported(tmp_path: Path) -> None:
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0.5]], beta=1.0, cost_limit=0.25)
    own = problem.evaluate([[0.1, 0.9]])
    nothing = dict.fromkeys(("lam_exact", "dual_bound", "gap", "gap_kl_term", "gap_slack_term", "closeness"))
    certificate = exact_certificate(status="infeasible", cost=own.cost, min_cost=0.5, **nothing)
    page = page_of(
        write_run(
            tmp_path / "run", certificate=certificate, exact=plots.dual_curve(problem, [0, 3]).as_dict()
        )
    )
    assert "Infeasible: no policy can meet this limit." in page.text
    assert "least E[c] 0.5 cost units" in page.text
    assert "no policy meets the limit: D falls without bound" in str(page.images()[0]["alt"])
