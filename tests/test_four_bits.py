"""A Llama in 4 bits with adapters through the whole loop, by the command's own way, on a CPU.

The checkpoint is a folder with configuration, tokenizer and safetensors, as a hub name leads to; nf4 packs it
when it is loaded. Rewards and costs are two functions of the reader's own, named on the command line: score
models cannot be fitted on packed weights.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_export import llama
from test_kills import Server
from test_tiers import benign_rows, contents, differing
from torch import Tensor

from cdpo_edu import presets, report, tiers

SCORES = """
import torch

def length(prompts, responses):
    return torch.tensor([len(str(y)) / 20 for y in responses])

def letters(prompts, responses):
    return torch.tensor([str(y).count("e") / 4 for y in responses])

length.fingerprint, letters.fingerprint = "length", "letters"
letters.bounds = (0.0, 100.0)
"""
RUN: dict[str, Any] = {
    "bits": 4,
    "lora_rank": 2,
    "beta": 0.02,
    "batch_size": 4,
    "micro_batch": 2,
    "eval_rows": 16,
    "rounds": 2,
    "max_steps": 3,
    "samples": 2,
    "cost_limit_relative": 0.05,
    "max_prompt_tokens": 48,
    "max_response_tokens": 16,
}
KILLS = 4


def options(folder: Path) -> dict[str, Any]:
    """Write a checkpoint, rows and score functions; return what `cdpo-edu train --tier lm` is told."""
    rows = benign_rows(folder / "rows.jsonl")
    (folder / "scores.py").write_text(SCORES, encoding="utf-8")
    scorers = {
        name: f"{folder / 'scores.py'}:{of}" for name, of in (("reward", "length"), ("cost", "letters"))
    }
    model = llama(folder / "llama", rows, template=None)
    return {"pairs": str(rows), "model": str(model), **scorers, **RUN}


def command(out: Path, given: dict[str, Any], *, processes: int) -> None:
    """Run `cdpo-edu train --tier lm --bits 4 --model FOLDER`, under torchrun for several processes."""
    told = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    launch = [] if processes == 1 else ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"]
    line = [sys.executable, "-m", *launch, "cdpo_edu", "train", "--tier", "lm", *told, "--out", str(out)]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def state(model: Any) -> dict[str, Tensor]:
    """Return every tensor: packed weights, their scales and code books, what is not packed, adapters."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.slow
def test_the_base_is_bit_for_bit_what_it_was_and_only_adapter_tensors_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rounds, the certificate and the two baselines of the four-way table lie in between."""
    jobs: list[tuple[tiers.Job, dict[str, Tensor]]] = []

    def built(*given: Any) -> tiers.Job:
        job = tiers.language.language(*given)
        jobs.append((job, state(job.policy.model)))
        return job

    monkeypatch.setitem(tiers.BUILDERS, "lm", built)
    monkeypatch.setattr(report, "write_report", lambda folder: None)
    for _ in tiers.train(presets.configure("lm", **options(tmp_path)), tmp_path / "run"):
        pass
    ((job, before),) = jobs
    after = state(job.policy.model)
    packed = [name for name, tensor in before.items() if tensor.dtype == torch.uint8 and tensor.ndim == 2]
    assert len([name for name in packed if name.endswith("base_layer.weight")]) == 14
    assert {name for name in before if "absmax" in name}
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "lora_" in name}
    assert all(after[name].dtype == torch.float32 for name in moved)
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert (
        certificate["status"] in ("feasible", "violated", "unknown")
        and history(tmp_path / "run")[1]["lam"] > 0
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_four_bit_run_that_was_killed_ends_in_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    """SIGKILL after a random share of the whole run, again and again: adapters, multipliers, certificate."""
    config, draws, server = presets.configure("lm", **options(tmp_path)), random.Random(0), Server()
    with server.process:
        killed, whole = server.run(tmp_path / "whole", config, every=1e9)
        assert not killed
        out, kills, resumed = tmp_path / "killed", 0, 0
        while server.run(out, config, every=0.0, seconds=draws.uniform(0.15, 0.7) * whole)[0]:
            kills += 1
            resumed += any(out.glob("unfinished/**/losses.pt")) or (out / "state").exists()
            assert kills < 20 * KILLS, "the run makes no headway"
        assert server.process.stdin is not None
        server.process.stdin.close()
    assert kills >= KILLS and resumed > KILLS // 2
    assert differing(contents(out), contents(tmp_path / "whole")) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on Linux")
def test_two_processes_in_four_bits_end_where_one_does(tmp_path: Path) -> None:
    """The same command with the same options: each batch is read in two parts, by one process or by two."""
    given = options(tmp_path)
    for processes in (1, 2):
        command(tmp_path / str(processes), given, processes=processes)
    assert len(history(tmp_path / "2")) == 3
    assert differing(contents(tmp_path / "2"), contents(tmp_path / "1")) == []
