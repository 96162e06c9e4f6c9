"""The cost model's own process: started only where it helps, the same bytes, ended with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from cdpo_edu import presets
from cdpo_edu.run_folder import write_json
from cdpo_edu.scorers import CostModel
from cdpo_edu.tiers import second_process, worlds


def no_process(*args: object, **settings: object) -> None:
    raise AssertionError("a process was started")


def test_with_one_core_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_process, "_cores", lambda: 1)
    monkeypatch.setattr(subprocess, "Popen", no_process)
    with second_process.cost_model_beside(tmp_path):
        pass


def test_a_cost_model_that_is_there_is_not_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_process, "_cores", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", no_process)
    (tmp_path / "scorers" / "cost").mkdir(parents=True)
    with second_process.cost_model_beside(tmp_path):
        pass


def test_a_process_that_fails_leaves_the_work_to_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder holds no configuration, so the process stops; the run then goes on without it."""
    monkeypatch.setattr(second_process, "_cores", lambda: 2)
    with second_process.cost_model_beside(tmp_path):
        pass
    assert not (tmp_path / "scorers").exists()


PARENT = """
import os, subprocess, sys
from cdpo_edu.tiers import second_process
start = subprocess.Popen
def child(command, **settings):
    waiting = "from cdpo_edu.tiers import second_process as s; import threading, time;" \\
        f"threading.Thread(target=s._end_with, args=({os.getpid()},), daemon=True).start(); time.sleep(600)"
    process = start([sys.executable, "-c", waiting], **settings)
    print(process.pid, flush=True)
    return process
second_process._cores = lambda: 2
subprocess.Popen = child
with second_process.cost_model_beside(second_process.Path(sys.argv[1])):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        assert os.path.exists(f"/proc/{child}/exe")
        os.kill(run.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{child}/exe"):
        assert time.monotonic() < deadline, "it outlived the run"
        time.sleep(0.1)


@pytest.mark.slow
def test_it_gives_the_bytes_that_the_run_itself_would(tmp_path: Path) -> None:
    config = presets.configure("toy", size="small", seed=3)
    weights = []
    for name in ("alone", "beside"):
        out = tmp_path / name
        out.mkdir()
        write_json(out / "config.json", asdict(config))
        if name == "beside":
            subprocess.run(
                [sys.executable, "-m", second_process.__name__, str(out), str(os.getpid())], check=True
            )
        else:
            kitchen = worlds.kitchen_of(config)
            cook = worlds.reference_cook(kitchen, config, out)
            worlds.people_scorer(CostModel, kitchen, cook, config, out)
        files = sorted(path for path in (out / "scorers" / "cost").rglob("*") if path.is_file())
        weights.append({path.name: path.read_bytes() for path in files})
    assert weights[0] == weights[1] and len(weights[0]) > 1
