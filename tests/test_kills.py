"""A run killed with SIGKILL at moments drawn at random ends in the bytes of the run that was not killed.

The run is the language model tier in small: a tiny model with adapters and two fitted score models, from rows
about guests with allergies. Everything is kept after every step and chunk (CDPO_EDU_KEEP_EVERY=0), so that
kills fall into training, sampling, scoring and writing alike.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from test_tiers import benign_rows, contents, differing

from cdpo_edu import presets

SERVER = """
import json, multiprocessing, os, sys, threading, time
from pathlib import Path
import torch
import cdpo_edu.language_model, cdpo_edu.preference_data, cdpo_edu.scorers
from cdpo_edu import presets, report, tiers

torch.set_num_threads(1)
report.write_report = lambda folder: None

def kill(after):
    while time.process_time() < after:
        time.sleep(0.002)
    os.kill(os.getpid(), 9)

def run(out, config, seconds):
    if seconds:
        threading.Thread(target=kill, args=(time.process_time() + seconds,), daemon=True).start()
    for record in tiers.train(config, out):
        pass

for line in sys.stdin:
    out, given, every, seconds = json.loads(line)
    begun = Path(out, "config.json").exists()
    config = presets.read_config(Path(out), {}) if begun else presets.Config(**given)
    os.environ["CDPO_EDU_KEEP_EVERY"] = str(every)
    child = multiprocessing.get_context("fork").Process(target=run, args=(Path(out), config, seconds))
    began = os.times().children_user
    child.start()
    child.join()
    print(json.dumps([child.exitcode, os.times().children_user - began]), flush=True)
"""
KILLS = 20


class Server:
    """A process that has the libraries loaded and forks one run after another."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", SERVER]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(
        self, out: Path, config: presets.Config, *, every: float, seconds: float = 0.0
    ) -> tuple[bool, float]:
        """Start or go on with the run; return whether it was killed, and its CPU seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([str(out), asdict(config), every, seconds]), file=self.process.stdin, flush=True)
        code, used = json.loads(self.process.stdout.readline())
        assert code in (0, -9)
        return code == -9, used


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with made.process:
        yield made
        assert made.process.stdin is not None
        made.process.stdin.close()


def small(folder: Path) -> presets.Config:
    rows = benign_rows(folder / "rows.jsonl")
    sizes = {"rounds": 2, "max_steps": 6, "samples": 4, "cost_limit": 0.0, "max_response_tokens": 16}
    return presets.configure("lm", pairs=str(rows), lora_rank=2, **sizes)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(tmp_path: Path, server: Server) -> None:
    """Each kill comes after a random share of what the whole run takes; the next run goes on from there."""
    config, draws = small(tmp_path), random.Random(0)
    killed, whole = server.run(tmp_path / "whole", config, every=1e9)
    assert not killed
    out, kills, resumed = tmp_path / "killed", 0, 0
    while server.run(out, config, every=0.0, seconds=draws.uniform(0.02, 3.0) * whole / KILLS)[0]:
        kills += 1
        resumed += (out / "state").exists() or any(out.rglob("*.unfinished"))
        assert kills < 10 * KILLS, "the run makes no headway"
    assert kills >= KILLS and resumed > KILLS // 2
    assert differing(contents(out), contents(tmp_path / "whole")) == []
