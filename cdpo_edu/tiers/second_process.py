"""Fit the toy tier's cost model in a process of its own, beside the reward model, where there are two cores.

    python -m cdpo_edu.tiers.second_process OUT PARENT

Everything it needs lies in the run's folder, and what it makes is a folder renamed into place: whoever comes
second finds it there, and if this process fails, the run fits the cost model itself. It ends with the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .. import processes
from ..presets import read_config


@contextmanager
def cost_model_beside(out: Path) -> Iterator[None]:
    """Fit the cost model of ``out`` meanwhile, and wait for it at the end; with one core do nothing."""
    if (out / "scorers" / "cost").exists() or _cores() < 2 or processes.count() > 1:
        yield
        return
    threads = str(torch.get_num_threads())  # the order of a sum depends on it
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(out), str(os.getpid())],
        env=os.environ | {"OMP_NUM_THREADS": threads, "CDPO_EDU_BARS": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        child.wait()
    finally:
        child.kill()
        child.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def main() -> None:
    """Fit and save the cost model of a run's folder, unless the run (process PARENT) ends before."""
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    out = Path(sys.argv[1])
    from ..scorers import CostModel
    from .worlds import kitchen_of, people_scorer, reference_cook

    config = read_config(out, {})
    kitchen = kitchen_of(config)
    people_scorer(CostModel, kitchen, reference_cook(kitchen, config, out), config, out)


if __name__ == "__main__":
    main()
