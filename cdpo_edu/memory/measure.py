"""Do the phases of a plan for real, in a process of its own, and see what they held.

    python -m cdpo_edu.memory.measure < PLAN.json

On a CPU the measure is resident memory above the process with all libraries loaded, at its highest in each
phase. The process gives memory back as soon as it is free (`GIVING_BACK`): left to itself, glibc keeps freed
tensors on its heap, and what a process then shows is its history and not its need.

Left out: score models, which a run has besides; systems other than Linux.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..pairs import Preferences
from ..types import InputError
from .plan import Plan

GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""The environment under which glibc returns every freed tensor to the system."""

STEPS = 2
"""Optimiser steps: from the second on the moments are there while activations are."""


def measure(plan: Plan) -> dict[str, int]:
    """Return the bytes that each phase held at most: probe, train, read, sample.

    Raises
    ------
    InputError
        When the process failed, with its last line.
    """
    if plan.device == "cpu" and not Path("/proc/self/clear_refs").exists():
        raise InputError("--measure: peaks of resident memory can be read on Linux alone")
    if plan.device == "cuda" and not _cuda():
        raise InputError("--measure: there is no GPU here; --device cpu measures on the processor")
    hidden = {} if plan.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(plan._asdict()),
        env=os.environ | GIVING_BACK | hidden | {"CDPO_EDU_BARS": "0"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"--measure: the measuring process ended with {done.returncode}: {last}")
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


class _Meter:
    """Peaks since the last call, above the state at the start."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.base = _status("VmRSS") if device == "cpu" else 0
        self.peak()

    def peak(self) -> int:
        if self.device == "cpu":
            found = _status("VmHWM") - self.base
            Path("/proc/self/clear_refs").write_text("5")
            return found
        import torch

        found = torch.cuda.max_memory_reserved()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return found


def texts(words: int, count: int, seed: int) -> list[str]:
    """Return ``count`` long texts, all different, that fill any budget of ``words`` tokens.

    >>> [len(text.split()) for text in texts(3, 2, 0)], texts(3, 2, 0)[0] != texts(3, 2, 1)[0]
    ([6, 6], True)
    """
    menu = "rice honey almond egg cream basil shrimp apple bean nuts tofu milk".split()
    return [
        " ".join(menu[(seed + k * 7 + i * (k % 5 + 1)) % len(menu)] for i in range(2 * words))
        for k in range(seed, seed + count)
    ]


def policy_of(plan: Plan) -> Any:
    """Return the policy of a plan, loaded; its prompts in no template, so that they are as long as asked."""
    from ..language_model import Budget, Engine, LanguageModelPolicy

    engine = Engine(
        batch_size=plan.batch_size,
        learning_rate=1e-4,
        eval_rows=plan.eval_rows,
        micro_batch=plan.micro_batch,
        checkpointing=plan.checkpointing,
        share_prompts=plan.share_prompts,
    )
    return LanguageModelPolicy.load(
        plan.model,
        bits=plan.bits,
        lora_rank=plan.lora_rank,
        lora_targets=None if plan.lora_targets is None else list(plan.lora_targets),
        trust_remote_code=plan.trust_remote_code,
        budget=Budget(plan.prompt, plan.response),
        engine=engine,
        chat=False,
    )


def preferences_of(plan: Plan) -> Preferences:
    """Return one batch of pairs that fill their budgets."""
    import torch

    prompts, y0, y1 = (texts(plan.prompt + plan.response, plan.batch_size, seed) for seed in (0, 5, 11))
    columns = torch.zeros(plan.batch_size, 2), torch.ones(plan.batch_size)
    return Preferences(prompts, y0, y1, *columns)


def run(plan: Plan) -> dict[str, int]:
    """Do every phase in this process and return their peaks."""
    import bitsandbytes  # noqa: F401 - loaded with the other libraries, before the base is taken
    import peft  # noqa: F401
    import torch

    from .. import language_model  # noqa: F401

    meter = _Meter(plan.device)
    policy = policy_of(plan)
    meter.peak()
    found = {}
    if plan.share_prompts:
        _ = policy.shares_prompts
        found["probe"] = meter.peak()
    policy.fit(preferences_of(plan), beta=0.1, steps=STEPS, seed=0)
    found["train"] = meter.peak()
    prompts, answers = (texts(plan.prompt + plan.response, plan.eval_rows, seed) for seed in (0, 5))
    policy.log_prob(prompts, answers)
    found["read"] = meter.peak()
    policy.sample(prompts, 1, generator=torch.Generator().manual_seed(0))
    return found | {"sample": meter.peak()}


if __name__ == "__main__":
    print(json.dumps(run(Plan(**json.load(sys.stdin)))))
