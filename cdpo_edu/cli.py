"""The command `cdpo-edu`: train, judge, teach; one function an option list, the work is in the rooms below.

Exit codes: 0 done; 2 something given cannot be used (one line says what); 3 a problem is infeasible.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import __version__, judgement_commands, lessons_command, stage_commands, teaching_commands
from .export_command import export
from .memory_command import Swap, memory
from .screen import (
    console,
    round_header,
    round_line,
    show_certificate,
    show_comparison,
    show_league,
    show_split,
    swept,
)
from .threads import one_thread_for_small_models as _one_thread_for_small_models
from .types import InputError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(memory)
errors = Console(stderr=True, emoji=False)


class Tier(StrEnum):
    """Where a run takes place."""

    bandit = "bandit"
    toy = "toy"
    lm = "lm"


class ListedTier(StrEnum):
    """Where every answer can be listed."""

    bandit = "bandit"
    toy = "toy"


class Labels(StrEnum):
    """How pairs are relabelled."""

    soft = "soft"
    bernoulli = "bernoulli"
    hard = "hard"


FLAGS = ("gold", "all_rounds", "cold", "checkpointing", "plain_prompts")
"""Options of `train` that are there or not."""


class Size(StrEnum):
    """How many dishes the toy language has."""

    small = "small"
    medium = "medium"
    large = "large"


def main() -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    _quieten()
    try:
        app()
    except InputError as error:
        errors.print(f"cdpo-edu: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        raise SystemExit(2) from None
    except (FloatingPointError, OSError) as error:
        words = f"cdpo-edu: stopped: {error}; what was whole is kept, and --resume goes on from there"
        errors.print(words, style="bold red", highlight=False, soft_wrap=True, markup=False)
        raise SystemExit(1) from None


def _quieten() -> None:
    """Keep other libraries' chatter off the screen; their errors still show."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("bitsandbytes", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Constrained DPO from a bandit to a 4-bit language model."""
    if show_version:
        console.print(__version__)
        raise typer.Exit


@app.command()
def train(
    tier: Annotated[Tier | None, typer.Option(help="Where to train.")] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/run"),
    seed: Annotated[int | None, typer.Option(min=0, help="Root of every random draw. [0]")] = None,
    beta: Annotated[float | None, typer.Option(help="Strength of the KL tie. [0.5; lm 0.1]")] = None,
    cost_limit: Annotated[float | None, typer.Option(help="C in E[c] <= C. [bandit 0; toy -0.4]")] = None,
    cost_limit_relative: Annotated[float | None, typer.Option(help="M in E[c] <= E_ref[c] - M.")] = None,
    max_unsafe_rate: Annotated[
        float | None, typer.Option(help="R in P(unsafe) <= R, by a calibrated cost.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Dual rounds at most. [6; lm 3]")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Gradient steps per round. [200; toy 80; lm 60]")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Answers per prompt and round. [512; toy 128; lm 4]")
    ] = None,
    most_samples: Annotated[
        int | None, typer.Option(min=2, help="Draw on until the limit's side is clear, up to so many. [off]")
    ] = None,
    labels: Annotated[Labels | None, typer.Option(help="How pairs are relabelled. [soft]")] = None,
    all_rounds: Annotated[bool, typer.Option("--all-rounds", help="Do not stop early.")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Start each round's fit from the reference.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    gold: Annotated[bool, typer.Option("--gold", help="toy: use the gold scores, fit none.")] = False,
    size: Annotated[
        Size | None, typer.Option(help="toy: dishes per guest 241, 3,616, 54,241. [medium]")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="lm: hub name, file or folder of preference rows.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="lm: tiny, a hub name or a folder. [tiny]")] = None,
    reward: Annotated[
        str | None, typer.Option(help="toy, lm: fit or none; lm: a score model or a function. [fit]")
    ] = None,
    cost: Annotated[str | None, typer.Option(help="lm: fit, a score model or a function. [fit]")] = None,
    bits: Annotated[int | None, typer.Option(help="lm: 32, 16, 8 or 4. [32]")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="lm: rank of the adapters. [8]")] = None,
    reward_scale: Annotated[float | None, typer.Option(help="lm: factor on the reward. [1]")] = None,
    cost_scale: Annotated[float | None, typer.Option(help="lm: factor on the cost. [1]")] = None,
    max_prompt_tokens: Annotated[int | None, typer.Option(min=2, help="lm: prompt budget. [192]")] = None,
    max_response_tokens: Annotated[int | None, typer.Option(min=2, help="lm: answer budget. [96]")] = None,
    max_truncated: Annotated[
        float | None, typer.Option(help="lm: share of answers that may be cut. [0.5]")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="lm: cpu-smoke, 8GB, 16GB, 24GB or 80GB; other options win.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="lm: pairs per step. [8]")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="lm: pairs read at once. [all]")] = None,
    eval_rows: Annotated[int | None, typer.Option(min=1, help="lm: answers read at once. [32]")] = None,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="lm: recompute activations.")
    ] = False,
    scorers: Annotated[
        Swap | None, typer.Option(help="lm: score models stay, or are there to score. [resident]")
    ] = None,
    plain_prompts: Annotated[bool, typer.Option("--plain-prompts", help="lm: no chat template.")] = False,
    lora_targets: Annotated[
        str | None, typer.Option(help="lm: layers to adapt, such as q_proj,v_proj. [all linear]")
    ] = None,
    trust_remote_code: Annotated[
        str | None, typer.Option(help="lm: the model whose own code may run.")
    ] = None,
) -> None:
    """Align a policy under a cost limit; write a run folder with certificate and report."""
    given: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("out", "resume", "tier")}
    given = {k: str(v) if isinstance(v, StrEnum) else v for k, v in given.items()}
    given |= {name: given[name] or None for name in FLAGS}
    from . import presets, tiers

    if resume:
        config = presets.read_config(out, given | {"tier": str(tier) if tier else None})
    else:
        if tier is None:
            raise InputError("--tier is missing: bandit, toy or lm")
        if out.exists() and any(out.iterdir()):
            raise InputError(
                f"--out {out}: the folder is not empty; name another one, or go on with --resume"
            )
        config = presets.configure(str(tier), **given)
    _show_run(tiers, config, out)


def _take_place() -> None:
    """Join the other processes, where torchrun has started some; only the first one speaks."""
    import torch

    from . import processes

    processes.join(cpu=not torch.cuda.is_available())
    if not processes.first():
        console.quiet = True
        os.environ["CDPO_EDU_BARS"] = "0"


def _show_run(tiers: Any, config: Any, out: Path) -> None:
    _one_thread_for_small_models(config)
    _take_place()

    def say(line: str) -> None:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    for record in tiers.train(config, out, say=say):
        if record.round == 0:
            console.print(round_header(), style="bold", highlight=False, markup=False, soft_wrap=True)
        console.print(round_line(record), highlight=False, markup=False, soft_wrap=True)
    if console.quiet:
        return
    show_certificate(json.loads((out / "certificate.json").read_text()))
    if (out / "comparison.json").exists():
        show_comparison(json.loads((out / "comparison.json").read_text()))
    if (out / "split.json").exists():
        show_split(json.loads((out / "split.json").read_text()))
    console.print(f"\nreport: {out / 'report.html'}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def league(
    tier: Annotated[ListedTier, typer.Option(help="Where to play.")] = ListedTier.bandit,
    method: Annotated[
        list[str] | None, typer.Option(help="A method of your own, FILE.py:Class; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Play on seeds 0 to K - 1.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare methods on equal problems, pairs and budgets, judged by the exact optimum."""
    from . import league as room
    from .methods.outside import outside_method

    _one_thread_for_small_models(room.task(str(tier)))
    own = {name: outside_method(name) for name in method or ()}  # they play first: their errors come early

    def say(line: str) -> None:
        if not as_json:
            console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)

    found = room.league(str(tier), own | room.METHODS, seeds=range(seeds), say=say)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), allow_nan=False))
    else:
        show_league(found)


@app.command()
def solve(
    file: Annotated[Path, typer.Argument(help="One problem as JSON, or many as JSON Lines.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per problem and line.")] = False,
) -> None:
    """Solve finite problems exactly; exit code 3 when one of them is infeasible."""
    from .exact import solve_many
    from .problem_file import read_problems, solution_record

    infeasible = False
    lines, problems = zip(*read_problems(file), strict=True)
    for line, solution in zip(lines, solve_many(problems), strict=True):
        record = solution_record(solution)
        infeasible |= record["status"] == "infeasible"
        if as_json:
            typer.echo(json.dumps(record, allow_nan=False))
        else:
            shown = ", ".join(
                f"{name} {_number(value)}" for name, value in record.items() if value is not None
            )
            typer.echo(f"problem {line}: {shown}")
    if infeasible:
        raise typer.Exit(3)


def _number(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


@app.command()
def explore(
    file: Annotated[
        Path | None, typer.Argument(help="As for solve, its first problem; default the lessons' kitchen.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The page to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it is there.")] = False,
) -> None:
    """Write the live explorer of a problem's dual as one HTML page that needs no network."""
    if html is None:
        raise InputError("--html is missing: give the path of the page to write, such as --html dual.html")
    if html.exists() and not force:
        raise InputError(f"--html {html}: it is there already; name another one, or replace it with --force")
    from .widgets.kitchen import DISHES, GUESTS, kitchen_problem
    from .widgets.page import explorer_page

    if file is None:
        page = explorer_page(kitchen_problem(), labels=DISHES, prompts=GUESTS)
    else:
        from .problem_file import read_problems

        page = explorer_page(next(read_problems(file))[1], title=f"The dual of {file.name}")
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {html}: {error.strerror}; give a path that can be written") from None
    typer.echo(f"explorer: {html} ({len(page.encode()) // 1024} KiB)")


@app.command()
def score(
    run: Annotated[Path, typer.Argument(help="A folder that train began.")],
    samples: Annotated[int, typer.Option(min=2, help="Answers per prompt.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Draw and score the reference's answers once; the table is kept in the run's folder."""
    from .score_run import score_run

    if (run / "config.json").exists():
        from .presets import read_config

        _one_thread_for_small_models(read_config(run, {}))
    table, path = score_run(run, samples=samples, seed=seed, say=lambda line: typer.echo(line, err=True))
    typer.echo(f"{table!r}: {path}")


@app.command()
def split(
    run: Annotated[Path, typer.Argument(help="A finished run on the bandit or the toy language.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what keeps a run from the true optimum: scorers, multiplier, optimisation, pairs, labels."""
    from .presets import read_config
    from .split_run import split_run

    if (run / "config.json").exists():
        _one_thread_for_small_models(read_config(run, {}))
    rows = split_run(run, say=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps({"closeness": rows[-1]["closeness"], "over": rows[-1]["over"], "parts": rows}))
        return
    show_split(rows)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say in plain words which regime a run is in, on what evidence, and what to change."""
    from .explain_run import explain_run
    from .presets import read_config

    if (run / "config.json").exists():
        _one_thread_for_small_models(read_config(run, {}))
    found = explain_run(run)
    if as_json:
        typer.echo(json.dumps({"findings": [finding._asdict() for finding in found]}))
        return
    for finding in found:
        typer.echo(f"{finding.regime}\n  because  {finding.evidence}\n  do       {finding.advice}")


@app.command()
def sweep(
    table: Annotated[Path, typer.Argument(help="A score table, as score writes it.")],
    beta: Annotated[float, typer.Option(help="Strength of the KL tie, above 0.")],
    cost_limit: Annotated[float, typer.Option(help="C in E[c] <= C, in the table's unit.")],
    lams: Annotated[int, typer.Option(min=2, help="How many multipliers.")] = 200,
    top: Annotated[float | None, typer.Option(help="The largest multiplier. [past the one-shot lam]")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap draws of prompts.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what every multiplier would buy, from the reference's scored answers alone."""
    import numpy as np

    from .score_table import ScoreTable

    read = ScoreTable.load(table)
    first = read.one_shot_lam(cost_limit, beta=beta)
    along = np.linspace(0.0, top if top is not None else 2.5 * (first.lam or 4 * beta), lams)
    found = read.sweep(along, beta=beta, cost_limit=cost_limit, resamples=resamples)
    if as_json:
        typer.echo(json.dumps(swept(found, first), allow_nan=False))
        return
    typer.echo(first.describe())
    typer.echo("   lam     E[r]     E[c]   95 % interval        KL   effective samples, worst prompt")
    for i in np.unique(np.linspace(0, lams - 1, min(lams, 13)).astype(int)):
        typer.echo(
            f"{found.lam[i]:6.3f} {found.reward.value[i]:8.3f} {found.cost.value[i]:8.3f} "
            f"({found.cost.low[i]:8.3f}, {found.cost.high[i]:8.3f}) {found.kl_estimate.value[i]:7.3f} "
            f"{found.ess_worst[i]:8.1f} of {read.reward.shape[1]}"
        )
    typer.echo(read.trustworthy(first.lam or 0.0, beta=beta).describe())


@app.command()
def validate(
    data: Annotated[str, typer.Argument(help="A hub name, a file or a folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    split: Annotated[str, typer.Option(help="Which split of a hub data set or folder.")] = "train",
) -> None:
    """Say which schema preference rows have, how many are usable, and what is wrong with the others."""
    from .preference_data import validate as examine

    result = examine(data, split=split)
    if as_json:
        typer.echo(json.dumps(result.as_dict(), ensure_ascii=False))
    else:
        typer.echo(f"{data}: {result.schema}, {result.rows} rows, {result.usable} usable")
        for problem in result.problems[:20]:
            typer.echo(f"  {problem.file}, row {problem.row}, {problem.field}: {problem.what}")
        if len(result.problems) > 20:
            typer.echo(f"  and {len(result.problems) - 20} more (all with --json)")
    if not result.usable:
        raise InputError(f"{data}: no usable pairs ({result.schema}). {result.advice or ''}".rstrip())


app.command()(stage_commands.sft)
app.command()(stage_commands.fit_scorers)
app.command()(judgement_commands.verdict)
app.command()(judgement_commands.compare)
app.command()(judgement_commands.sample)
app.command()(export)
app.command()(lessons_command.lessons)
app.command()(teaching_commands.grade)
app.add_typer(teaching_commands.museum, name="museum")
app.add_typer(teaching_commands.course, name="course")


@app.command()
def doctor() -> None:
    """Look at versions, GPU, 4-bit support and widgets; one remedy per line that fails."""
    from .doctor import examine as look

    findings = look()
    for finding in findings:
        remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{'ok ' if finding.ok else 'NO '} {finding.what:<13} {finding.found}{remedy}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
