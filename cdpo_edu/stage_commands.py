"""The commands before a run: sft and fit-scorers.

Left out: what they do (`stages`); the other commands and the exit codes (`cli`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .types import InputError

Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was begun in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the split and every draw. [0]")]
Prompt = Annotated[int | None, typer.Option(min=2, help="Prompt budget. [192]")]
Response = Annotated[int | None, typer.Option(min=2, help="Answer budget. [96]")]
Rate = Annotated[float | None, typer.Option(help="Learning rate at its peak. [by the model]")]


class Only(StrEnum):
    """One of the two score models."""

    reward = "reward"
    cost = "cost"


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def sft(
    out: Annotated[Path, typer.Option(help="The folder that train --model takes.")],
    data: Annotated[
        str | None, typer.Option(help="Hub name, file or folder: instruction or preference rows.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="tiny, a hub name or a folder. [tiny]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Gradient steps. [each answer once]")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Answers per step. [16]")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Answers read at once. [all]")] = None,
    learning_rate: Rate = None,
    lora_rank: Annotated[
        int | None, typer.Option(min=1, help="Train adapters of this rank. [all weights]")
    ] = None,
    lora_targets: Annotated[str | None, typer.Option(help="Layers to adapt, q_proj,v_proj. [all]")] = None,
    bits: Annotated[int | None, typer.Option(help="32, 16, 8 or 4. [32]")] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Recompute activations.")] = False,
    max_prompt_tokens: Prompt = None,
    max_response_tokens: Response = None,
    plain_prompts: Annotated[bool, typer.Option("--plain-prompts", help="No chat template.")] = False,
    trust_remote_code: Annotated[str | None, typer.Option(help="The model whose own code may run.")] = None,
    seed: Seed = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on answers: the policy and reference that train --model takes."""
    given = {k: v for k, v in locals().items() if k not in ("out", "resume", "as_json")}
    given |= {name: given[name] or None for name in ("checkpointing", "plain_prompts")}
    from .stages import SftOptions
    from .stages import sft as run
    from .stages.folder import options_of

    options = options_of(out, out.with_name(out.name + ".unfinished"), given, resume=resume)
    made = SftOptions(**_with(options, "data"))
    _one_thread(made.model)
    record = run(made, out, say=_progress)
    if as_json:
        typer.echo(json.dumps(record))
        return
    nats, rows = record["held_out_nats_per_token"], record["rows"]
    typer.echo(
        f"held out, {rows['held_out']} answers: {nats['before']:.3f} nats per token before, "
        f"{nats['after']:.3f} after {record['steps']} steps on {rows['train']} answers\nmodel: {out}"
    )


def fit_scorers(
    out: Annotated[Path, typer.Option(help="Gets reward, cost and the report.")],
    pairs: Annotated[str | None, typer.Option(help="Hub name, file or folder of preference rows.")] = None,
    model: Annotated[
        str | None, typer.Option(help="tiny, a hub name, or a folder such as sft writes. [tiny]")
    ] = None,
    only: Annotated[Only | None, typer.Option(help="Fit one of the two. [both]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Gradient steps of each. [200]")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pairs per step. [16]")] = None,
    learning_rate: Rate = None,
    max_prompt_tokens: Prompt = None,
    max_response_tokens: Response = None,
    bins: Annotated[int | None, typer.Option(min=1, help="Of the calibration picture. [10]")] = None,
    seed: Seed = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Fit a reward and a cost model, and report on held-out prompts how far each can be trusted."""
    given = {k: v for k, v in locals().items() if k not in ("out", "resume", "as_json")}
    given["only"] = None if only is None else str(only)
    from .stages import FitOptions
    from .stages import fit_scorers as run
    from .stages.folder import options_of

    made = FitOptions(**_with(options_of(out, out, given, resume=resume), "pairs"))
    _one_thread(made.model)
    report = run(made, out, say=_progress)
    if as_json:
        typer.echo(json.dumps(report))
        return
    from .stages.calibration_page import rows

    typer.echo(report["measured"])
    for what, value, interval, count in rows(report):
        typer.echo(f"  {what:58} {value:>8}  {interval:>16}  {count}".rstrip())
    typer.echo(f"report: {out / 'calibration.html'}")


def _with(options: dict[str, Any], needed: str) -> dict[str, Any]:
    if options.get(needed) is None:
        raise InputError(f"--{needed} is missing: a hub name, a file or a folder of rows")
    return options


def _one_thread(model: str) -> None:
    """Compute small models on one thread, as a run does."""
    from types import SimpleNamespace

    from .threads import one_thread_for_small_models

    one_thread_for_small_models(SimpleNamespace(tier="lm", model=model))
