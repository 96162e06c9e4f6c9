"""Two processes under torchrun (gloo) do what one process does that reads each batch in two parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_tiers import benign_rows, contents, differing

RUN = r"""
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from cdpo_edu import presets, processes, report, tiers, training

report.write_report = lambda folder: None
processes.join(cpu=True)
world, out, rows = processes.count(), Path(sys.argv[1]), sys.argv[2]
if world == 1:
    training._parts = lambda parts, batch_size: 2
sizes = {"rounds": 2, "max_steps": 6, "samples": 40, "cost_limit": 0.0, "max_response_tokens": 16}
config = presets.configure("lm", pairs=rows, lora_rank=2, **sizes)
for record in tiers.train(config, out):
    pass
sys.stdout.write(f"processes {world}\n")
"""


def run(out: Path, rows: Path, *, processes: int) -> str:
    script = out.with_suffix(".py")
    script.write_text(RUN, encoding="utf-8")
    launch = [] if processes == 1 else ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launch, str(script), str(out), str(rows)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on Linux")
def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    """Same data order, same multipliers, same samples; the weights agree bit for bit."""
    rows = benign_rows(tmp_path / "rows.jsonl")
    run(tmp_path / "one", rows, processes=1)
    said = run(tmp_path / "two", rows, processes=2)
    assert said.count("processes 2") == 2  # `accelerate launch --cpu` would have started one
    lines = [json.loads(line) for line in (tmp_path / "two" / "history.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and lines[2]["lam"] >= 0
    assert differing(contents(tmp_path / "two"), contents(tmp_path / "one")) == []
