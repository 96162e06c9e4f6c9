"""Write a run folder's report: one HTML page with the verdict in words, the pictures and every number.

The page carries its style and its pictures (SVG, as data) in itself, runs no script and asks no network
for anything. Equal folders give equal bytes: no clock is read. Left out: the texts of prompts and answers.

The problem is that of Liu, Sun and Zheng 2024, arXiv 2403.02475; the words are those of `report_words`.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from . import plots
from .history import Record, read_history
from .report_words import (
    certificate_rows,
    comparison_cells,
    flat,
    repeat_command,
    round_cells,
    split_cells,
    split_words,
    uncertified,
    verdict,
)
from .types import InputError
from .verdict.sentences import headline, sentences


class RunFolder(NamedTuple):
    """What a finished run left behind; None stands for what the run has not."""

    config: dict[str, Any]
    certificate: dict[str, Any]
    card: dict[str, Any]
    splits: dict[str, Any]
    history: list[Record]
    comparison: list[dict[str, Any]] | None
    curve: plots.DualCurve | None
    split: list[dict[str, Any]] | None
    judged: dict[str, Any] | None


class Picture(NamedTuple):
    """One figure of the page: its heading, its text alternative, and its SVG as a data address."""

    title: str
    alt: str
    source: str


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Parameters
    ----------
    run_dir : path
        With config.json, history.jsonl, certificate.json, card.json and splits.json; comparison.json,
        exact.json, split.json and verdict.json are used where they are; the page says where the first two
        are not.

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
        split=[split_cells(row) for row in run.split or []],
        split_words=split_words(run.split) if run.split else [],
        judged=[(headline(record), sentences(record)) for _, record in sorted((run.judged or {}).items())],
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
    comparison, exact, split, judged = (
        folder / f"{name}.json" for name in ("comparison", "exact", "split", "verdict")
    )
    return RunFolder(
        config, certificate, card, splits, history,
        _read_json(comparison, list) if comparison.exists() else None,
        _read_curve(exact, certificate["cost_limit"]) if exact.exists() else None,
        _read_json(split, list) if split.exists() else None,
        _read_json(judged, dict) if judged.exists() else None,
    )  # fmt: skip


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
    made += _path_pictures(run)
    if run.config.get("reward") == "none":
        return made  # without a reward there is none to draw against the cost
    made.append(_frontier_picture(run))
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
    return Picture(
        "Dual function, and the tilted policy at each round's λ",
        f"Dual function, tilted policy at {words}.",
        _address(ax),
    )


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
        if not (name == "reward" and run.config.get("reward") == "none")
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
