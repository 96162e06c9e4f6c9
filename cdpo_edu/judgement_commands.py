"""The commands that judge a finished run: verdict, compare, sample.

Left out: what they compute (`judgement`); the other commands and the exit codes (`cli`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .types import InputError

Run = Annotated[Path, typer.Argument(help="A finished run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def verdict(
    run: Run,
    alpha: Annotated[float, typer.Option(help="Chance of a false pass, over all calls together.")] = 0.05,
    samples: Annotated[
        int | None, typer.Option(min=0, help="Answers per prompt that this call adds. [those of a round]")
    ] = None,
    judge_cost: Annotated[
        str | None,
        typer.Option(help="run, gold, a score model or MODULE:FUNCTION. [gold; lm run]"),
    ] = None,
    cost_range: Annotated[
        str | None, typer.Option(help="LOW,HIGH: what the cost of no answer can leave.")
    ] = None,
    max_unsafe_rate: Annotated[
        float | None, typer.Option(help="Judge the share of unsafe answers instead of the run's limit.")
    ] = None,
    xstest: Annotated[
        Path | None, typer.Option(help="lm: safe prompts that look unsafe, as XSTest's CSV.")
    ] = None,
    export_for_labelling: Annotated[
        int | None, typer.Option(help="Write a blinded sheet for N prompts, and judge nothing.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where the sheet goes. [RUN/verdict/labels.csv]")] = None,
    labels: Annotated[Path | None, typer.Option(help="The labelled sheet: let people judge.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether a run meets its limit on the judge prompts: pass, fail, or how much more is needed."""
    from . import judgement
    from .verdict.sentences import headline, sentences

    if export_for_labelling is not None:
        file = sheet or run / "verdict" / "labels.csv"
        rows = judgement.sheet_run(run, file, export_for_labelling, say=_progress)
        if as_json:
            typer.echo(json.dumps({"sheet": str(file), "rows": rows}))
        else:
            typer.echo(f"sheet: {file} ({rows} rows; enter yes, no or unsure under `unsafe`)")
        return
    _one_thread(run)
    if labels is not None:
        if max_unsafe_rate is None:
            raise InputError("--max-unsafe-rate is missing: people judge P(unsafe) <= R, so give R")
        record = judgement.label_run(run, labels, alpha=alpha, max_unsafe_rate=max_unsafe_rate, say=_progress)
    else:
        record = judgement.verdict_run(
            run,
            alpha=alpha,
            samples=samples,
            judge_cost=judge_cost,
            cost_range=_range(cost_range),
            max_unsafe_rate=max_unsafe_rate,
            xstest=xstest,
            say=_progress,
        )
    if as_json:
        typer.echo(json.dumps(record, allow_nan=False))
        return
    typer.echo("\n  ".join([headline(record), *sentences(record)]))


def compare(
    a: Annotated[Path, typer.Argument(help="A finished run.")],
    b: Annotated[Path, typer.Argument(help="Another one, on the same judge prompts.")],
    prompts: Annotated[int, typer.Option(min=0, help="How many prompts to show.")] = 5,
    samples: Annotated[int, typer.Option(min=1, help="Answers per prompt to draw where none are.")] = 4,
    judge_cost: Annotated[str | None, typer.Option(help="As for verdict; judges both.")] = None,
    show_flagged: Annotated[
        bool, typer.Option("--show-flagged", help="Show texts that the cost model flags.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show two runs' answers to the same judge prompts side by side; flagged texts are left out."""
    from .judgement import compare_runs

    _one_thread(a)
    found = compare_runs(
        a,
        b,
        count=prompts,
        samples=samples,
        judge_cost=judge_cost,
        show_flagged=show_flagged,
        say=_progress,
    )
    if as_json:
        rows = [{"prompt": prompt, "a": one._asdict(), "b": two._asdict()} for prompt, one, two in found.rows]
        typer.echo(json.dumps({"rows": rows} | found.figures, allow_nan=False))
        return
    for prompt, one, two in found.rows:
        typer.echo(
            f"prompt  {prompt}\n  A ({one.cost:.3g})  {one.answer}\n  B ({two.cost:.3g})  {two.answer}"
        )
    typer.echo("\n".join(_summary(found.figures)))


def _summary(figures: dict[str, Any]) -> list[str]:
    value, low, high = figures["b_minus_a"]
    interval = "" if low is None else f" (95 %: {low:.4g} to {high:.4g})"
    cells = "; ".join(f"{name} {share:.1%}" for name, share in figures["b_against_a"].items())
    return [
        f"{figures['prompts']:,} judge prompts, {figures['samples_per_prompt']} answers each, judged by "
        f"{figures['judge']}",
        f"E[c]: A {figures['cost']['A']:.4g}, B {figures['cost']['B']:.4g}; B - A {value:.4g}{interval}",
        f"B against A: {cells}",
    ]


def sample(
    run: Run,
    prompt: Annotated[list[str], typer.Option(help="What to ask; may be repeated.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Ask a run's trained policy something; its answers are shown as they come, unjudged."""
    from .judgement import talk

    _one_thread(run)
    answers = talk(run, prompt, n=n, seed=seed)
    if as_json:
        typer.echo(json.dumps({"answers": [dict(zip(("prompt", "answers"), pair, strict=True))
                                           for pair in zip(prompt, answers, strict=True)]}))  # fmt: skip
        return
    for asked, given in zip(prompt, answers, strict=True):
        typer.echo("\n".join([f"> {asked}", *given]))


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--cost-range {text}: give two numbers, LOW,HIGH") from None
    return low, high


def _one_thread(run: Path) -> None:
    """Compute small models on one thread, as the run itself did."""
    if (run / "config.json").exists():
        from .presets import read_config
        from .threads import one_thread_for_small_models

        one_thread_for_small_models(read_config(run, {}))
