"""Measure the package against the usual way of doing the same: python scripts/benchmark.py NAME [--json]

Each benchmark is one room of `benchmarks` and one subcommand; what it returns is printed as a table or, with
--json, as one JSON object. `ratio` is the other way's figure over ours: above 1, ours is better.

  oracle   solving random problems exactly, against scipy.optimize.minimize_scalar on the same dual
  redraw   moving the slider of the explorer page, against a new matplotlib figure for every move
  economy  finding multiplier and policy in the toy language, against one plain DPO run and the paper's loop
  quality  a toy run on learned scores against the true optimum, and its scorers against simpler ones
  step     a DPO step with LoRA through our trainer, against TRL's DPOTrainer
  sweep    four multipliers with all that does not depend on them kept, against doing everything anew
  verdict  false passes at the limit, and power, of the verdict's bets against a t-test, by simulation
"""

from __future__ import annotations

import os

# Read once, when numpy and matplotlib are imported below.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from importlib.metadata import version  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.measured import CannotMeasure, Figures, Measured  # noqa: E402


def oracle(options: argparse.Namespace) -> Measured:
    """Solve random problems to a gap of 1e-9 by `solve_many` and, one after another, by scipy."""
    from benchmarks.oracle import measure

    return measure(options)


def redraw(options: argparse.Namespace) -> Measured:
    """Move the slider of the explorer page, and draw four new matplotlib panels to PNG for every move."""
    from benchmarks.redraw import measure

    return measure(options)


def economy(options: argparse.Namespace) -> Measured:
    """Find multiplier and policy in the toy language, against one plain DPO run and the paper's loop."""
    from benchmarks.economy import measure_economy

    return measure_economy(options)


def quality(options: argparse.Namespace) -> Measured:
    """Run the toy tier on learned scores against the true optimum, its scorers against simpler ones."""
    from benchmarks.quality import measure_quality

    return measure_quality(options)


def step(options: argparse.Namespace) -> Measured:
    """Train with LoRA on the same pairs by our trainer and by TRL's DPOTrainer, in turn."""
    from benchmarks.step import measure_step

    return measure_step(options)


def sweep(options: argparse.Namespace) -> Measured:
    """Align at four multipliers, everything computed anew, kept, and kept with a warm start."""
    from benchmarks.sweep import measure_sweep

    return measure_sweep(options)


def verdict(options: argparse.Namespace) -> Measured:
    """Judge simulated policies at their limit, and below it, by the verdict's bets and by a t-test."""
    from benchmarks.verdict import measure_verdict

    return measure_verdict(options)


def machine() -> Figures:
    """Return what the figures depend on: processor, cores that this process may use, memory in GiB."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores,
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def report(name: str, found: Measured, *, as_json: bool) -> str:
    """Return the finding as one JSON object, or as a table for people."""
    versions = {package: version(package) for package in found.packages}
    facts = found._asdict() | {"machine": machine(), "versions": versions}
    if as_json:
        return json.dumps({"benchmark": name} | {k: v for k, v in facts.items() if k != "packages"})
    rows = [("", "ours", "other way")]
    rows += [(key.replace("_", " "), shown(found.ours[key]), shown(found.peer[key])) for key in found.ours]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    table += rows_for_people(name, found)
    about = [f"{key}: {value}" for key, value in (found.settings | facts["machine"] | versions).items()]
    return "\n".join([f"{name}: ratio {found.ratio:.2f} ({found.meaning})", "", *table, "", "; ".join(about)])


def rows_for_people(name: str, found: Measured) -> list[str]:
    """Return what a table prints below both ways' figures: the simulation's rows; nothing elsewhere."""
    if name != "verdict":
        return []
    from benchmarks.verdict import lines

    return ["", *lines(found.rounds)]


def shown(value: Any) -> str:
    """Return a figure with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parser() -> argparse.ArgumentParser:
    """Return the command line: one subcommand per benchmark."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument("--rounds", type=positive, default=5, help="interleaved runs of both ways")
    common.add_argument("--seed", type=int, default=0)
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(dest="name", required=True)
    one = commands.add_parser("oracle", parents=[common], help=oracle.__doc__)
    one.add_argument("--problems", type=positive, default=1000)
    one.add_argument("--prompts", type=positive, default=16)
    one.add_argument("--responses", type=positive, default=64)
    one.set_defaults(run=oracle)
    two = commands.add_parser("redraw", parents=[common], help=redraw.__doc__)
    two.add_argument("--moves", type=positive, default=10, help="moves of each round")
    two.set_defaults(run=redraw)
    three = commands.add_parser("economy", parents=[common], help=economy.__doc__)
    three.add_argument("--size", choices=("small", "medium"), default="medium", help="of the language")
    three.add_argument("--dual-rounds", type=positive, default=6)
    three.add_argument("--dual-steps", type=positive, default=80, help="gradient steps of each dual round")
    three.add_argument("--plain-steps", type=positive, default=1500, help="gradient steps of one DPO run")
    three.add_argument("--paper-rounds", type=int, default=5, help="DPO runs of the paper's loop; 0: none")
    three.set_defaults(run=economy)
    four = commands.add_parser("quality", parents=[common], help=quality.__doc__)
    four.add_argument("--size", choices=("small", "medium"), default="medium", help="of the language")
    four.set_defaults(run=quality)
    five = commands.add_parser("step", parents=[common], help=step.__doc__)
    five.add_argument("--pairs", type=positive, default=16, help="pairs of a pass")
    five.add_argument("--batch", type=positive, default=8, help="pairs of a step")
    five.add_argument("--shape", choices=("tiny", "0.5b", "7b"), default="tiny", help="of the model")
    five.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    five.set_defaults(run=step)
    six = commands.add_parser("sweep", parents=[common], help=sweep.__doc__)
    six.add_argument("--pairs", type=positive, default=32)
    six.add_argument("--batch", type=positive, default=8, help="pairs of a step")
    six.add_argument("--steps", type=positive, default=8, help="steps of a cold start; a warm one takes half")
    six.add_argument(
        "--lam-max", type=float, default=0.2, help="the last of four multipliers, the first is 0"
    )
    six.set_defaults(run=sweep)
    seven = commands.add_parser("verdict", parents=[common], help=verdict.__doc__)
    seven.add_argument("--runs", type=positive, default=1000, help="simulated runs of each kind")
    seven.add_argument("--alpha", type=float, default=0.05, help="the level that is promised")
    seven.set_defaults(run=verdict)
    return whole


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print what it found; 2 when this machine lacks what it needs."""
    options = parser().parse_args(arguments)
    try:
        found = options.run(options)
    except CannotMeasure as reason:
        print(f"{options.name}: {reason}", file=sys.stderr)
        return 2
    print(report(options.name, found, as_json=options.json))
    return 0


if __name__ == "__main__":
    sys.exit(main())
