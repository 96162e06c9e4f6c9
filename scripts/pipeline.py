"""Run every stage on real preference rows, from fine-tuning to an exported policy, and write what came of it.

    python scripts/pipeline.py [--data ROWS] [--out runs/pipeline] [--page docs/pipeline.md] [--from-train]

validate, sft, fit-scorers, train, verdict, export, and the export loaded where this package is out of reach.
The model is tiny and built on the spot, so that it takes minutes on two cores; what it shows is that the
stages fit, not that such a model can be aligned. The page holds figures only, no text of a row or an answer.

ROWS is by default dual-pairs/train.jsonl below CDPO_EDU_DATA (../shared/data). --from-train leaves sft and
fit-scorers to `train`, which builds and fits its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUDGET = ["--max-prompt-tokens", "96", "--max-response-tokens", "64"]
SIZES = ["--rounds", "2", "--max-steps", "40", "--samples", "2", "--most-samples", "8", "--lora-rank", "8"]
LIMIT = ["--cost-limit-relative", "0.1"]
NO_FIGURES = ("tokenizer", "special", "added", "config", "options", "scorer.json", "generation")
ASKED = [("What can I cook with rice and basil?", "A bowl of rice, with basil on top."), ("Tea?", "Yes.")]

ELSEWHERE = """
import json, sys
sys.modules["cdpo_edu"] = None
exec(open("code.py").read())
print(json.dumps([log_prob(x, y) for x, y in json.loads(sys.argv[1])]))
"""


def main() -> None:
    options = read_options()
    out = options.out
    if out.exists():
        raise SystemExit(f"{out} is there already; name another folder with --out")
    if not options.data.exists():
        raise SystemExit(f"{options.data}: no rows there; set CDPO_EDU_DATA, or give --data")
    stages = commands(options.data, out, from_train=options.from_train)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # nothing here needs a network
    seconds, said = {}, {}
    for name, command in stages.items():
        said[name], seconds[name] = run(name, command)
    started = time.perf_counter()
    apart = loaded_elsewhere(out)
    seconds["load elsewhere"] = time.perf_counter() - started
    options.page.write_text(page(stages, seconds, said, apart, out, options), encoding="utf-8")
    print(f"{options.page}: {sum(seconds.values()) / 60:.1f} minutes in all")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    folder = Path(os.environ.get("CDPO_EDU_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=folder / "dual-pairs" / "train.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "pipeline")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "pipeline.md")
    parser.add_argument("--from-train", action="store_true")
    return parser.parse_args()


def commands(data: Path, out: Path, *, from_train: bool) -> dict[str, list[str]]:
    """Return each stage's command; one stage's output is the next one's input."""
    rows = ["--pairs", str(data)]
    before = {
        "sft": ["sft", "--data", str(data), "--model", "tiny", "--out", f"{out}/sft"],
        "fit-scorers": ["fit-scorers", *rows, "--model", f"{out}/sft", "--out", f"{out}/scorers"],
    }
    given = ["--model", f"{out}/sft", "--reward", f"{out}/scorers/reward", "--cost", f"{out}/scorers/cost"]
    if from_train:
        before, given = {}, ["--model", "tiny", "--reward", "fit", "--cost", "fit"]
    training = ["train", "--tier", "lm", *rows, *given, *BUDGET, *SIZES, *LIMIT, "--out", f"{out}/run"]
    return {
        "validate": ["validate", str(data), "--json"],
        **before,
        "train": training,
        "verdict": ["verdict", f"{out}/run", "--samples", "4", "--json"],
        "export": ["export", f"{out}/run", "--out", f"{out}/export", "--json"],
    }


def run(name: str, command: list[str]) -> tuple[str, float]:
    """Run one stage; return what it printed and its seconds. A stage that fails ends the script."""
    print(f"== cdpo-edu {' '.join(command)}", flush=True)
    started = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", "cdpo_edu", *command], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise SystemExit(f"{name} ended with exit code {result.returncode}")
    return result.stdout, time.perf_counter() - started


def loaded_elsewhere(out: Path) -> float:
    """Return how far the export's log-probabilities lie from the run's policy, nats, at most.

    The export is read by the code of its own page, in a process that cannot import this package.
    """
    from cdpo_edu.language_model import LanguageModelPolicy

    folder = out / "export"
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    (folder / "code.py").write_text(code, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, json.dumps(ASKED)]
    there = json.loads(subprocess.check_output(command, cwd=folder, env=env, text=True))
    (folder / "code.py").unlink()
    prompts, answers = zip(*ASKED, strict=True)
    here = LanguageModelPolicy.load(out / "run" / "policy").log_prob([*prompts], [*answers]).tolist()
    return max(abs(a - b) for a, b in zip(there, here, strict=True))


# ---------------------------------------------------------------- the page


def page(
    stages: dict[str, list[str]],
    seconds: dict[str, float],
    said: dict[str, str],
    apart: float,
    out: Path,
    options: argparse.Namespace,
) -> str:
    rows = json.loads(said["validate"])
    verdict = json.loads(said["verdict"])
    paths = {str(options.data): "ROWS", str(out): "DIR"}
    return "\n".join(
        [
            "# The whole pipeline on real rows",
            "",
            f"    python scripts/pipeline.py{' --from-train' if options.from_train else ''}",
            "",
            f"wrote this page from {options.data.parent.name}/{options.data.name}: schema {rows['schema']}, "
            f"{rows['rows']:,} rows, {rows['usable']:,} usable. The model is tiny: what is shown is that the",
            "stages fit together and what each reports, not that such a model is aligned. No row and no",
            "answer is in it.",
            "",
            *table(["stage", "command", "seconds"], stage_rows(stages, seconds, paths)),
            "",
            f"{sum(seconds.values()) / 60:.1f} minutes on the clock of {os.cpu_count()} cores.",
            "",
            *before_training(out),
            "## Training",
            "",
            *training(out / "run"),
            "",
            "## Verdict",
            "",
            *judged(verdict),
            "",
            "## Export",
            "",
            "Loaded by the code of its own page in a process in which `cdpo_edu` cannot be imported, sums of",
            f"log-probabilities differ from the run's policy by at most {apart:.2g} nats.",
            "",
        ]
    )


def stage_rows(
    stages: dict[str, list[str]], seconds: dict[str, float], paths: dict[str, str]
) -> Iterator[list[str]]:
    for name, spent in seconds.items():
        words = " ".join(["cdpo-edu", *stages.get(name, ["..."])])
        for path, short in paths.items():
            words = words.replace(path, short)
        yield [name, f"`{words}`" if name in stages else "the code of the export's page", f"{spent:.0f}"]


def before_training(out: Path) -> list[str]:
    """Return the figures that sft and fit-scorers left as JSON, every number with its name."""
    lines: list[str] = []
    for title, folder in (("Fine-tuning", out / "sft"), ("Score models", out / "scorers")):
        found = [
            [f"{path.name}: {name}", value]
            for path in sorted(folder.glob("*.json"))
            if not path.name.startswith(NO_FIGURES)
            for name, value in figures(json.loads(path.read_text(encoding="utf-8")))
        ]
        if found:
            lines += [f"## {title}", "", *table(["figure", "value"], found), ""]
    return lines


def figures(record: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the numbers of nested records, never a text; lists are left out."""
    if isinstance(record, dict):
        for name, value in record.items():
            yield from figures(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(record, (int, float)) and not isinstance(record, bool):
        yield prefix, f"{record:.4g}" if isinstance(record, float) else f"{record:,}"


def training(run_folder: Path) -> list[str]:
    history = [json.loads(line) for line in (run_folder / "history.jsonl").read_text().splitlines()]
    certificate = json.loads((run_folder / "certificate.json").read_text())
    low, high = certificate["difference_interval"]
    names = ["round", "lam", "reward", "cost", "cost_low", "cost_high", "cost_limit", "kl", "samples"]
    four = json.loads((run_folder / "comparison.json").read_text())
    columns = ["reward", "reward_low", "reward_high", "cost", "cost_low", "cost_high", "kl"]
    return [
        *table(names, ([shown(row[name]) for name in names] for row in history)),
        "",
        "`samples` is how many answers to each dual prompt were drawn before the side of the limit was",
        "clear, or the most there may be. From round 1 the intervals hold however often one looks.",
        "",
        f"Certificate: **{certificate['status']}**. E[c] - E_ref[c] lies between {low:.4g} and {high:.4g},",
        f"the limit on E[c] is {certificate['cost_limit']:.4g}. The scores are {certificate['scores']}, so",
        "this is no word on true harm.",
        "",
        *table(
            ["policy", *columns], ([row["policy"], *(shown(row[name]) for name in columns)] for row in four)
        ),
    ]


def judged(verdict: dict[str, Any]) -> list[str]:
    from cdpo_edu.verdict.sentences import headline, sentences

    return [f"**{headline(verdict)}**", "", *(f"- {sentence}" for sentence in sentences(verdict))]


def shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def table(head: list[str], rows: Any) -> list[str]:
    line = ["---"] * len(head)
    return ["| " + " | ".join(map(str, row)) + " |" for row in [head, line, *rows]]


if __name__ == "__main__":
    main()
