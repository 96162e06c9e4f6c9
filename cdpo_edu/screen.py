"""What the command line prints: the round table, the certificate, the tables of a run and of a league.

Left out: reading the command (`cli`).
"""

from __future__ import annotations

import math
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

console = Console(emoji=False)  # or ":A:" in a message becomes a picture


COLUMNS = (
    ("round", 5),
    ("lam", 8),
    ("E[r]", 8),
    ("E[c]", 8),
    ("95 % interval", 19),
    ("limit", 8),
    ("KL", 7),
    ("DPO loss", 9),
    ("steps", 6),
    ("flipped", 8),
)


def round_header() -> str:
    """Return the heads of the round table's columns."""
    return " ".join(f"{name:>{width}}" for name, width in COLUMNS)


def round_line(record: Any) -> str:
    """Return one round as a line of the table."""
    loss = "" if record.dpo_loss is None else f"{record.dpo_loss:.4f}"
    interval = f"({record.cost_low:.3f}, {record.cost_high:.3f})"
    cells = (
        str(record.round),
        f"{record.lam:.4f}",
        f"{record.reward:.3f}",
        f"{record.cost:.3f}",
        interval,
        f"{record.cost_limit:.3f}",
        f"{record.kl:.3f}",
        loss,
        str(record.grad_steps),
        str(record.labels_flipped),
    )
    return " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))


def show_certificate(certificate: dict[str, Any]) -> None:
    """Print every entry of a certificate that is known."""
    table = Table(title="certificate", show_header=False, title_justify="left")
    for name, value in certificate.items():
        if value is not None:
            table.add_row(name, _shown(value))
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    return str(value)


def show_comparison(rows: list[dict[str, Any]]) -> None:
    """Print the four-way table."""
    table = Table(
        "policy", r"E\[r]", r"E\[c]", "KL", title="dual prompts, 95 % intervals", title_justify="left"
    )
    for row in rows:
        cells = [
            f"{row[k]:.3f} ({row[k + '_low']:.3f}, {row[k + '_high']:.3f})" for k in ("reward", "cost", "kl")
        ]
        table.add_row(row["policy"], *cells)
    console.print(table)


LEAGUE_COLUMNS = (
    ("closeness", 13),
    ("violation", 13),
    ("E[c]", 13),
    ("steps", 6),
    ("sampled", 8),
    ("scored", 8),
    ("trials", 6),
)


def show_league(found: Any) -> None:
    """Print a league: one line per method, means with intervals over seeds."""
    terms, rows = found.terms, found.standings()
    width = max(len(row.method) for row in rows)
    lines = [
        f"{terms.tier}, seeds: {len(terms.seeds)}, beta {terms.beta:g}, E[c] <= {terms.cost_limit:g}; "
        f"each fit may use {terms.steps:,} steps and {terms.samples:,} answers per prompt",
        " ".join([f"{'method':<{width}}", *(f"{name:>{size}}" for name, size in LEAGUE_COLUMNS)]),
    ]
    for row in rows:
        judged = [_spread(part) for part in (row.closeness, row.violation, row.cost)]
        bill = [f"{part:,.0f}" for part in (row.steps, row.sampled, row.scored, row.trials)]
        cells = zip([*judged, *bill], LEAGUE_COLUMNS, strict=True)
        lines.append(" ".join([f"{row.method:<{width}}", *(f"{cell:>{size}}" for cell, (_, size) in cells)]))
    for number, line in enumerate(lines):
        style = "bold" if number < 2 else None
        console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _spread(estimate: Any) -> str:
    """Return the mean and the half-width of its interval; one seed has none."""
    half = estimate.high - estimate.value
    shown = f"{round(estimate.value, 3) + 0.0:.3f}"  # + 0.0: a rounded -0.0 loses its sign
    return f"{shown} ±{half:.3f}" if math.isfinite(half) else shown


def show_split(rows: list[dict[str, Any]]) -> None:
    """Print what closeness was lost to, part by part."""
    typer.echo(
        f"{'part':<17}{'lost':>8}{'closeness':>11}{'over the limit':>16}   policy, held against the truth"
    )
    for row in rows:
        numbers = f"{row['lost']:8.4f}{row['closeness']:11.4f}{row['over']:16.4f}"
        typer.echo(f"{row['part']:<17}{numbers}   {row['words']}")


def swept(found: Any, first: Any) -> dict[str, Any]:
    """Return a sweep and the one-shot multiplier as JSON knows them; what is not finite becomes null."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {name: plain(part) for name, part in value._asdict().items()}
        if hasattr(value, "tolist"):
            return [plain(part) for part in value.tolist()]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {"one_shot": plain(first), "sweep": plain(found)}
