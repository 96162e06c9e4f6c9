"""Write a run folder's report: one HTML page with the verdict in words, the pictures and every number.

The page carries its style and its pictures (SVG, as data) in itself, runs no script and asks no network
for anything. Equal folders give equal bytes: no clock is read. Left out: the texts of prompts and answers.

The certificate's two terms are those of D(lam) - J(pi) = beta E_x KL(pi || pi_lam) + lam (C - E_pi[c]), which
holds for every policy; the problem is that of Liu, Sun and Zheng 2024, arXiv 2403.02475.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from . import plots
from .history import Record, read_history
from .types import InputError

Row = Mapping[str, Any]


class RunFolder(NamedTuple):
    """What a finished run left behind; ``comparison`` and ``curve`` are None where the run has none."""

    config: dict[str, Any]
    certificate: dict[str, Any]
    card: dict[str, Any]
    splits: dict[str, Any]
    history: list[Record]
    comparison: list[dict[str, Any]] | None
    curve: plots.DualCurve | None


class Verdict(NamedTuple):
    """The outcome in words: a tone for the colour, the status explained, what is certified and what not."""

    tone: str
    headline: str
    sentences: list[str]


class Picture(NamedTuple):
    """One figure of the page: its heading, its text alternative, and its SVG as a data address."""

    title: str
    alt: str
    source: str


HEADLINES = {  # status -> tone, the status in words
    "optimal": ("met", "Optimal, within the stated tolerance: the limit is met and it binds."),
    "slack": ("met", "Slack: the limit is met and does not bind."),
    "feasible": ("met", "Feasible: the limit is met. That nothing better exists is not certified."),
    "infeasible": ("not-met", "Infeasible: no policy can meet this limit."),
    "violated": ("not-met", "Violated: the limit is not met."),
    "unknown": ("open", "Unknown: the interval of the measured cost lies on both sides of the limit."),
}
MEANINGS = {  # entry of the certificate -> symbol, unit, meaning
    "lam": ("λ", "nats per cost unit", "multiplier of the last round"),
    "lam_exact": ("λ*", "nats per cost unit", "multiplier of the exact problem"),
    "reward": ("E[r]", "nats", "expected reward; higher is better"),
    "cost": ("E[c]", "cost units", "expected cost; higher is more harmful"),
    "cost_interval": ("E[c], 95 % interval", "cost units", "from the samples of the last round"),
    "difference_interval": ("E[c] − E_ref[c], 95 % interval", "cost units", "paired, prompt by prompt"),
    "cost_limit": ("C", "cost units", "the limit on E[c]"),
    "min_cost": ("least E[c]", "cost units", "the least expected cost that any policy can reach"),
    "kl": ("KL", "nats", "divergence from the reference"),
    "objective": ("J = E[r] − β KL", "nats", "what is maximised"),
    "dual_bound": ("D(λ*)", "nats", "no policy that meets the limit has a higher J"),
    "dual_estimate": ("D(λ), sampled", "nats", "an estimate with its 95 % band: biased, and no bound"),
    "gap": ("D(λ*) − J", "nats", "the most a policy that meets the limit can lose"),
    "gap_kl_term": ("β KL(π‖π_λ*)", "nats", "first term of the gap: divergence from the tilted policy"),
    "gap_slack_term": (
        "λ* (C − E[c])",
        "nats",
        "second term of the gap: the limit left unused, at its price",
    ),
    "closeness": ("closeness", "no unit", "1 is the exact constrained optimum, 0 the reference"),
}
COMMON_OPTIONS = (
    "seed",
    "beta",
    "cost_limit",
    "cost_limit_relative",
    "rounds",
    "max_steps",
    "samples",
    "labels",
)
TIER_OPTIONS: dict[str, tuple[str, ...]] = {
    "bandit": (),
    "toy": ("gold", "size"),
    "lm": ("pairs", "model", "reward", "cost", "bits", "lora_rank", "reward_scale", "cost_scale",
           "max_prompt_tokens", "max_response_tokens", "max_truncated"),
}  # fmt: skip


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Parameters
    ----------
    run_dir : path
        With config.json, history.jsonl, certificate.json, card.json and splits.json; comparison.json and
        exact.json are used where they are, and the page says where they are not.

    Raises
    ------
    InputError
        Naming the file that is missing or cannot be read.
    """
    run, path = read_run(Path(run_dir)), Path(run_dir) / "report.html"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        tier=str(run.certificate.get("tier", "")),
        verdict=verdict(run.certificate, run.config),
        certificate=certificate_rows(run.certificate),
        uncertified=uncertified(run.certificate),
        pictures=pictures(run),
        absences=absences(run),
        rounds=[round_cells(record) for record in run.history],
        comparison=[comparison_cells(row) for row in run.comparison or []],
        command=repeat_command(run.config),
        details={"Settings": flat(run.config), "Prompt sets": flat(run.splits), "Run card": flat(run.card)},
    )
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(path)


def read_run(folder: Path) -> RunFolder:
    """Return what a run folder holds.

    Raises
    ------
    InputError
        Naming the file that is missing or cannot be read, and what is wrong with it.
    """
    config, certificate, card, splits = (
        _read_json(folder / f"{name}.json", dict) for name in ("config", "certificate", "card", "splits")
    )
    history = read_history(folder / "history.jsonl")
    if not history:
        raise InputError(f"{folder / 'history.jsonl'}: it holds no round; go on with the run (--resume)")
    lacking = [
        key for key in ("status", "exact", "cost_limit", "cost_interval", "cost") if key not in certificate
    ]
    if lacking:
        raise InputError(f"{folder / 'certificate.json'}: it lacks {', '.join(lacking)}")
    comparison, exact = folder / "comparison.json", folder / "exact.json"
    return RunFolder(
        config, certificate, card, splits, history,
        _read_json(comparison, list) if comparison.exists() else None,
        _read_curve(exact, certificate["cost_limit"]) if exact.exists() else None,
    )  # fmt: skip


def verdict(certificate: Row, config: Row) -> Verdict:
    """Return the outcome in words: status, limit, cost with its interval, what is certified and what not.

    >>> row = dict(status="violated", exact=False, cost_limit=0.0, cost=0.3, cost_interval=[0.1, 0.5])
    >>> print(*verdict(row, {}).sentences[:2])
    The limit is E[c] ≤ C = 0. The measured cost is E[c] = 0.3, 95 % interval 0.1 to 0.5.
    """
    status = str(certificate["status"])
    tone, headline = HEADLINES.get(status, ("open", f"Status: {status}."))
    limit, margin = shown(certificate["cost_limit"]), config.get("cost_limit_relative")
    words = f"The limit is E[c] ≤ C = {limit}."
    if margin is not None:
        words = (
            f"The limit is a cost of at least {shown(margin)} below the reference's, so E[c] ≤ C = {limit}."
        )
    rest = _exact_words(certificate) if certificate["exact"] else _sampled_words(certificate)
    learned = (
        "The reward and cost scores are learned models: the certificate is of the problem that they pose, "
        "not of true help and harm."
    )
    return Verdict(
        tone, headline, [words, *rest, *([learned] if certificate.get("scores") == "learned" else [])]
    )


def _exact_words(certificate: Row) -> list[str]:
    """Return what enumeration proves about cost, gap and closeness."""
    cost, over = certificate["cost"], certificate["cost"] - certificate["cost_limit"]
    low, high = (shown(value) for value in certificate["cost_interval"])
    side = f"{shown(abs(over))} {'above' if over > 0 else 'below'} the limit" if over else "at the limit"
    allowed = (certificate.get("tolerance") or {}).get("cost", 0.0)
    within = f", within the stated tolerance of {shown(allowed)}" if 0 < over <= allowed else ""
    words = [
        f"The exact cost is E[c] = {shown(cost)}, every answer enumerated: {side}{within}.",
        f"The last round's own samples put it between {low} and {high} (95 % interval).",
    ]
    if certificate["status"] == "infeasible":
        least = shown(certificate.get("min_cost"))
        return [*words, f"This is proved: the least expected cost that any policy can reach is {least}."]
    gap, closeness = certificate.get("gap"), certificate.get("closeness")
    if gap is not None and over <= 0:
        words.append(
            f"No policy that meets the limit has an objective more than {shown(gap)} nats higher: proved."
        )
    elif gap is not None:
        words.append(f"The cost lies above the limit, so the gap of {shown(gap)} nats bounds nothing.")
    if closeness is not None:
        words.append(f"Closeness is {shown(closeness)}: 1 is the exact constrained optimum, 0 the reference.")
    return words


def _sampled_words(certificate: Row) -> list[str]:
    """Return what samples show, and that they certify no optimality."""
    low, high = (shown(value) for value in certificate["cost_interval"])
    words = [f"The measured cost is E[c] = {shown(certificate['cost'])}, 95 % interval {low} to {high}."]
    paired = certificate.get("difference_interval")
    if paired:
        words.append(
            f"Its paired difference to the reference's, prompt by prompt, is {shown(paired)} (95 %)."
        )
    words.append(
        f"The status is read off the {'paired ' if paired else ''}interval, on the prompts that the "
        "multiplier was chosen on too; the judge prompts were not used."
    )
    words.append("No optimality is certified: a dual estimated from samples is biased and bounds nothing.")
    return words


def certificate_rows(certificate: Row) -> list[tuple[str, str, str, str]]:
    """Return (symbol, value, unit, meaning) for each number the certificate has, in a fixed order."""
    return [
        (symbol, shown(certificate[key]), unit, meaning)
        for key, (symbol, unit, meaning) in MEANINGS.items()
        if certificate.get(key) is not None
    ]


def uncertified(certificate: Row) -> list[str]:
    """Return the symbols of the entries that the certificate leaves open."""
    return [row[0] for key, row in MEANINGS.items() if key in certificate and certificate[key] is None]


def round_cells(record: Record) -> list[str]:
    """Return one row of the round-by-round table."""
    interval = f"{_fixed(record.cost_low)} to {_fixed(record.cost_high)}"
    before, after = (record.lam, record.reward, record.cost), (record.cost_limit, record.kl, record.dpo_loss)
    cells = [str(record.round), *map(_fixed, before), interval, *map(_fixed, after)]
    return [*cells, str(record.grad_steps), str(record.labels_flipped)]


def comparison_cells(row: Row) -> list[str]:
    """Return one row of the four-way table: the policy, then mean and interval of reward, cost and KL."""
    means = [
        f"{_fixed(row[name])} ({_fixed(row[name + '_low'])} to {_fixed(row[name + '_high'])})"
        for name in ("reward", "cost", "kl")
    ]
    return [str(row["policy"]), *means]


def repeat_command(config: Row) -> str | None:
    """Return the command that repeats a run, or None for a tier whose options are not known here.

    >>> repeat_command({"tier": "toy", "seed": 0, "cost_limit": -0.4, "gold": True, "bits": 32})
    'cdpo-edu train --tier toy --seed 0 --cost-limit -0.4 --gold --out again'
    """
    tier = str(config.get("tier"))
    if tier not in TIER_OPTIONS:
        return None
    words = ["cdpo-edu", "train", "--tier", tier]
    for name in (*COMMON_OPTIONS, *TIER_OPTIONS[tier]):
        value, flag = config.get(name), "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return shlex.join([*words, "--out", "again"])


def absences(run: RunFolder) -> list[str]:
    """Return a sentence for each optional part that this run does not have."""
    words = []
    if run.curve is None and run.certificate["exact"]:
        words.append("The folder holds no exact curve (exact.json), so the dual is not drawn.")
    elif run.curve is None:
        words.append("The dual is not drawn: outside an enumerable world it is not known exactly.")
    elif _outside(run):
        words.append("The dual is not drawn: the last multiplier lies outside the recorded curve.")
    if not run.comparison:
        words.append("This run has no four-way comparison with the reference, reward-only and cost-only DPO.")
    return words


def pictures(run: RunFolder) -> list[Picture]:
    """Return the pictures that this run has numbers for."""
    made = [] if run.curve is None or _outside(run) else [_dual_picture(run, run.curve)]
    made += [*_path_pictures(run), _frontier_picture(run)]
    if run.comparison:
        data = plots.comparison_data(run.comparison, cost_limit=run.certificate["cost_limit"])
        ax = plots.plot_comparison(run.comparison, cost_limit=data.cost_limit, ax=plots.blank_axes())
        made.append(Picture("The four policies", data.describe(), _address(ax)))
    return made


def _dual_picture(run: RunFolder, curve: plots.DualCurve) -> Picture:
    lam = float(run.certificate["lam"])
    walk = [record.lam for record in run.history[1:] if record.lam <= curve.lam[-1]]
    words = plots.dual_data(curve, lam=lam, iterates=walk).describe().replace("\n", "; ")
    ax = plots.plot_dual(curve, lam=lam, iterates=walk, ax=plots.blank_axes())
    return Picture("Dual function and the rounds' multipliers", f"Dual function: {words}.", _address(ax))


def _path_pictures(run: RunFolder) -> list[Picture]:
    goal = None
    if run.curve is not None and run.curve.lam_exact is not None:
        best = run.curve.at(run.curve.lam_exact)
        goal = {name: float(getattr(best, name)[0]) for name in ("lam", "cost", "reward", "kl")}
    data = plots.dual_path_data(run.history, exact=goal)
    panels = plots.plot_dual_path(run.history, exact=goal, axes=[plots.blank_axes() for _ in range(4)])
    titles = {"lam": "Multiplier", "cost": "Expected cost", "reward": "Expected reward", "kl": "KL"}
    return [
        Picture(f"{title} per round", data.describe(name), _address(ax))
        for ax, (name, title) in zip(panels, titles.items(), strict=True)
    ]


def _frontier_picture(run: RunFolder) -> Picture:
    source, rounds = (run.history, None) if run.curve is None else (run.curve, run.history)
    words = plots.frontier_data(source, run=rounds).describe().replace("\n", "; ")
    ax = plots.plot_frontier(source, run=rounds, ax=plots.blank_axes())
    return Picture("Reward against cost", f"Reward against cost: {words}.", _address(ax))


def _address(ax: Any) -> str:
    """Return a figure as an SVG data address."""
    return "data:image/svg+xml;base64," + base64.b64encode(plots.svg_bytes(ax)).decode("ascii")


def _outside(run: RunFolder) -> bool:
    return run.curve is not None and not 0 <= run.certificate["lam"] <= run.curve.lam[-1]


def flat(record: Row, prefix: str = "") -> list[tuple[str, str]]:
    """Return (name, value) of every leaf of nested dicts, names joined by dots.

    >>> flat({"seed": 0, "versions": {"torch": "2.13"}, "licence": None})
    [('seed', '0'), ('versions.torch', '2.13'), ('licence', '–')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in record.items():
        rows += (
            flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, shown(value))]
        )
    return rows


def shown(value: Any) -> str:
    """Return a value for reading: four significant digits, below 1e-12 nought, a dash for nothing.

    >>> shown(-0.123456), shown([0.1, 0.25]), shown(None), shown({"value": 1.5, "low": 1, "high": 2})
    ('−0.1235', '0.1 to 0.25', '–', '1.5 (1 to 2)')
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{0.0 if abs(value) < 1e-12 else value:.4g}".replace("-", "−")
    if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}:
        return f"{shown(value['value'])} ({shown([value['low'], value['high']])})"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return (" to " if len(value) == 2 else ", ").join(map(shown, value))
    return str(value)


def _fixed(value: float | None) -> str:
    """Return a number for a column: four decimals, never minus nought, a dash for nothing."""
    return "–" if value is None else f"{round(value, 4) + 0.0:.4f}".replace("-", "−")


def _read_json(path: Path, kind: type) -> Any:
    """Return a file's content, which must be a ``kind`` (dict or list)."""
    if not path.exists():
        raise InputError(f"{path}: missing; a finished run folder holds it, go on with the run (--resume)")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    if not isinstance(content, kind):
        raise InputError(f"{path}: a JSON {'object' if kind is dict else 'list'} is expected")
    return content


def _read_curve(path: Path, cost_limit: float) -> plots.DualCurve:
    """Return the exact curve that a run on an enumerable world leaves."""
    content = _read_json(path, dict)
    names = ("lam", "dual", "reward", "cost", "kl")
    lacking = [name for name in (*names, "lam_exact", "dual_bound") if name not in content]
    if lacking:
        raise InputError(f"{path}: it lacks {', '.join(lacking)}")
    columns = {name: np.asarray(content[name], dtype=np.float64) for name in names}
    if len({len(column) for column in columns.values()}) != 1:
        raise InputError(f"{path}: its columns {', '.join(names)} must be of one length")
    return plots.DualCurve(
        **columns, cost_limit=cost_limit, lam_exact=content["lam_exact"], dual_bound=content["dual_bound"]
    )
