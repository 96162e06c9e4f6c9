"""The presets of the language-model tier, with what each needs: one row per card.

Left out: the settings themselves (`cdpo_edu/presets.toml`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..presets import card_presets
from .hours import Work, arithmetic_probe, predicted_seconds
from .plan import GIB, Plan
from .predict import predict

PAIRS, PROMPTS = 1000, 150
"""The data set that the minutes are for."""


class Row(NamedTuple):
    """A preset's name, its predicted peak in GiB with the phase that needs it, and its predicted minutes."""

    name: str
    gib: float
    phase: str
    minutes: float


def rows(scratch: Path, names: list[str] | None = None) -> list[Row]:
    """Return the table or some rows of it, the shapes' configurations being written below ``scratch``."""
    table = card_presets()
    folders = {}
    for name, shape in table["shapes"].items():
        folders[name] = scratch / name
        folders[name].mkdir(parents=True, exist_ok=True)
        (folders[name] / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    wanted = names or list(table["presets"])
    return [_row(name, table["presets"][name], folders) for name in wanted]


def _row(name: str, preset: dict[str, Any], folders: dict[str, Path]) -> Row:
    given = preset["settings"]
    scorer = "fit" if preset["score_shape"] == "fit" else str(folders[preset["score_shape"]])
    names = ("bits", "lora_rank", "batch_size", "micro_batch", "eval_rows", "checkpointing", "scorers")
    plan = Plan(
        model=str(folders[preset["shape"]]),
        device=preset["device"],
        prompt=given["max_prompt_tokens"],
        response=given["max_response_tokens"],
        reward=scorer,
        cost=scorer,
        **{key: given[key] for key in names if key in given},
    )
    found = predict(plan)
    work = Work(PAIRS, PROMPTS, given["rounds"], given["max_steps"], given["samples"])
    probe = arithmetic_probe(plan, found.sizes, tflops=preset["sustained_tflops"])
    seconds = sum(predicted_seconds(plan, work, probe).values())
    return Row(name, found.peak.total / GIB, found.peak.name, seconds / 60)
