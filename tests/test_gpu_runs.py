"""The script that a person with a GPU runs works: here with tiny shapes, on whatever there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_tiers import benign_rows

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="timeout(1), and memory is read from /proc")
def test_the_gpu_runs_end_with_every_figure_they_promise(tmp_path: Path) -> None:
    """A random checkpoint, memory predicted and measured, a run killed early and resumed to its end."""
    settings = {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "ROWS": str(benign_rows(tmp_path / "rows.jsonl")),
        "OUT": str(tmp_path / "out"),
        "SHAPE": "tiny",
        "KILL_AFTER": "15",
        "SIZES": "--batch-size 2 --eval-rows 8 --max-prompt-tokens 48 --max-response-tokens 16",
        "RUN": "--rounds 1 --max-steps 2 --samples 2",
    }
    line = ["bash", str(ROOT / "scripts" / "gpu_runs.sh")]
    done = subprocess.run(line, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / "out"
    memory = json.loads((out / "memory.json").read_text())
    assert memory["peak"] > 0 and memory["measured"] and set(memory["seconds"]) == {"train", "read", "sample"}
    assert json.loads((out / "run" / "card.json").read_text())["seconds"] > 0
    assert json.loads((out / "run" / "config.json").read_text())["bits"] == 4
    assert "status" in json.loads((out / "run" / "certificate.json").read_text())
    assert (out / "gpu.csv").read_text()
