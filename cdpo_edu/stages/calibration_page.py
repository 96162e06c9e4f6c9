"""The calibration report as one HTML page: figures, their intervals, pictures, and what is not known.

The page carries its style and its pictures in itself, runs no script and asks no network for anything. Left
out: the numbers (`calibration`), and every prompt and answer.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from .. import plots
from ..plot_data.words import num


class Figure(NamedTuple):
    """A picture of the page: its heading, its text alternative and its SVG as a data address."""

    title: str
    alt: str
    source: str


def write_page(report: dict[str, Any], path: Path) -> None:
    """Write the page of a report that `fit_scorers` made."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("calibration.html.j2").render(
        measured=report["measured"],
        rows=rows(report),
        figures=figures(report),
        unknown=report["not_known"],
        options=report["options"],
    )
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the table: what, value, 95 % interval, on how many answers to how many prompts."""
    made = []
    for role in ("reward", "cost"):
        part = report.get(role)
        if part is not None and part["comparisons"] is not None:
            made.append(_share(f"{role}: comparisons right", part["comparisons"]["accuracy"]))
            made += _scores(f"{role}, probability of a comparison", part["comparisons"]["calibration"])
    if report.get("cost") is not None and report["cost"]["sign"] is not None:
        sign = report["cost"]["sign"]
        names = {"all": "of all answers", "unsafe": "of the unsafe ones", "safe": "of the safe ones"}
        made += [_share(f"cost: sign right, {word}", sign["accuracy"][name]) for name, word in names.items()]
        base = sign["calibration"]["base_rate"]
        made.append(("cost: sign right by always saying the commoner", f"{max(base, 1 - base):.1%}", "", ""))
        made += _scores("cost, σ(c) as probability of unsafe", sign["calibration"])
    return made


def _share(what: str, share: dict[str, Any]) -> tuple[str, str, str, str]:
    if share["value"] is None:
        return what, "none there", "", ""
    interval = f"{share['low']:.1%} to {share['high']:.1%}"
    return what, f"{share['value']:.1%}", interval, f"{share['n']:,}, on {share['clusters']:,} prompts"


def _scores(what: str, found: dict[str, Any] | None) -> list[tuple[str, str, str, str]]:
    if found is None:
        return []
    count = sum(row["count"] for row in found["bins"])
    base = found["base_rate"]
    bins = f"{len(found['bins'])} bins of equal count, {count:,.0f} predictions"
    constant = f"{num(base * (1 - base))} by always saying the base rate {base:.1%}"
    return [
        (f"{what}: expected calibration error", num(found["expected_calibration_error"]), "", bins),
        (f"{what}: Brier score", num(found["brier"]), "", constant),
    ]


def figures(report: dict[str, Any]) -> list[Figure]:
    """Return the reliability diagrams of what has one."""
    made = []
    for role in ("reward", "cost"):
        part = report.get(role)
        if part is not None and part["comparisons"] is not None:
            made += _figure(f"{role}: probability of a comparison", part["comparisons"]["calibration"])
    if report.get("cost") is not None and report["cost"]["sign"] is not None:
        made += _figure("cost: σ(c), the probability of unsafe", report["cost"]["sign"]["calibration"])
    return made


def _figure(title: str, found: dict[str, Any] | None) -> list[Figure]:
    if found is None:
        return []
    columns = found["predictions"]["probability"], found["predictions"]["outcome"]
    words = plots.calibration_data(*columns, bins=found["asked_bins"]).describe().replace("\n", "; ")
    ax = plots.plot_calibration(*columns, bins=found["asked_bins"], ax=plots.blank_axes())
    source = "data:image/svg+xml;base64," + base64.b64encode(plots.svg_bytes(ax)).decode("ascii")
    return [Figure(title, f"Predicted against observed: {words}.", source)]
