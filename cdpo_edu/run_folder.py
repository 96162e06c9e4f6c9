"""The folder that a run leaves, and how it survives being killed: every file is whole or absent.

Stages that are done once (the reference, the scorers) are folders renamed into place; the loop's state is
one folder per round, of which the newest is kept. Left out: the report, which only reads this folder.
"""

from __future__ import annotations

import json
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from . import __version__, processes
from .constrained import ConstrainedDPO
from .exact import FiniteProblem, frontier
from .long_work import kept_in
from .pairs import ScoredPairs, digest_of_batch, distinct
from .types import Batch


def once(directory: Path, make: Callable[[], Any], load: Callable[[], Any]) -> Any:
    """Return what the folder holds; make and save it first, whole or not at all, when it is not there."""
    if processes.agreed(not directory.exists()):
        with kept_in(directory.with_name(directory.name + ".unfinished")):
            _save_whole(make(), directory)
    return load()


def _save_whole(made: Any, directory: Path) -> None:
    if not processes.first():
        return
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    made.save(partial)
    partial.replace(directory)


def latest_state(out: Path) -> Path | None:
    """Return the folder of the last round that was written whole."""
    done = sorted(path for path in (out / "state").glob("round-*") if path.suffix != ".partial")
    return done[-1] if done else None


def save_state(run: ConstrainedDPO, out: Path) -> None:
    """Write policy and loop state of the newest round, then drop the round before."""
    if not processes.first():
        return
    target = out / "state" / f"round-{len(run.history_) - 1:04d}"
    _save_whole(run, target)
    for old in (out / "state").glob("round-*"):
        if old != target:
            shutil.rmtree(old)


def exact_curves(run: ConstrainedDPO, problem: FiniteProblem) -> dict[str, Any]:
    """Return dual and frontier of the run's exact problem on a grid that reaches past its multiplier."""
    best = problem.solve()
    exact = best.lam if isinstance(best.lam, float) else 0.0
    top = 2.0 * max(1.0, exact, *(record.lam for record in run.history_))
    lams = [top * i / 100 for i in range(101)]
    curve = frontier(problem, lams)
    return {
        "lam": lams,
        "dual": [float(problem.dual(lam)) for lam in lams],
        "reward": [float(v) for v in curve.reward],
        "cost": [float(v) for v in curve.cost],
        "kl": [float(v) for v in curve.kl],
        "lam_exact": best.lam,
        "dual_bound": best.dual_bound,
    }


def splits_record(scored: ScoredPairs) -> dict[str, Any]:
    """Return splits.json: size and digest of each prompt set, no text."""
    parts: dict[str, Batch] = scored.prompt_sets._asdict()
    return {
        "fingerprint": scored.prompt_sets.fingerprint,
        "exact": scored.world is not None,
        **{
            name: {"prompts": len(distinct(part)), "digest": digest_of_batch(part)}
            for name, part in parts.items()
        },
    }


def card_record(scored: ScoredPairs, notes: dict[str, Any], *, seed: int, seconds: float) -> dict[str, Any]:
    """Return card.json: what made the run, what it cost, and the fingerprints of all that went in."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    packages = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "numpy")
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "peak_memory_mib": round(peak),
        "versions": {"cdpo_edu": __version__, "python": platform.python_version()}
        | {p: version(p) for p in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "fingerprints": {
            "reference": scored.reference.fingerprint,
            "reward": getattr(scored.reward_scorer, "fingerprint", ""),
            "cost": getattr(scored.cost_scorer, "fingerprint", ""),
            "splits": scored.prompt_sets.fingerprint,
        },
        "licences": {"data": None, "model": None},
        **notes,
    }


FIRST = tuple(
    "status tier exact scores lam lam_exact reward cost cost_limit cost_interval kl objective "
    "dual_bound gap gap_kl_term gap_slack_term closeness".split()
)
"""The certificate's columns in the order in which they are read."""


def in_reading_order(certificate: dict[str, Any]) -> dict[str, Any]:
    """Return the certificate with its columns in the order in which they are read."""
    names = [*FIRST, *(name for name in certificate if name not in FIRST)]
    return {name: certificate[name] for name in names}


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON, whole or not at all, once for all processes."""
    if not processes.first():
        return
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
