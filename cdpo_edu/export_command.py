"""The command `cdpo-edu export`: hand a finished run's policy to those who have other tools.

Left out: the writing (`export`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A finished run of the tier lm.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    merged: Annotated[bool, typer.Option("--merged", help="One whole model, not an adapter.")] = False,
    base_name: Annotated[
        str | None, typer.Option(help="Where others find the base; it is then not copied. [as read]")
    ] = None,
    data_licence: Annotated[str | None, typer.Option(help="Of the rows, as cc-by-nc-4.0.")] = None,
    model_licence: Annotated[str | None, typer.Option(help="Of the base model. [as its page says]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a run's policy as an adapter or a model that plain peft and transformers load, with its card."""
    from .export import export_run
    from .export.card import Licences

    made = export_run(
        run,
        out,
        merged=merged,
        base_name=base_name,
        licences=Licences(data_licence, model_licence),
        say=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        typer.echo(json.dumps(made))
    else:
        typer.echo(f"{made['kind']}: {out} (README.md there says how to load it)")
