"""The command `cdpo-edu doctor`: what is installed, what works here, and one remedy per line that fails."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from .machine import hopeless

CORE = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "bitsandbytes",
    "accelerate",
    "ipywidgets",
    "matplotlib",
    "jupyterlab",
    "nbval",
    "pytest",
)


class Finding(NamedTuple):
    """One line of the report: whether it is well, what was looked at, what was found, what to do."""

    ok: bool
    what: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Return every finding, packages first, then hardware, then widgets; or the one that rules all out."""
    reason = hopeless()
    if reason is not None:
        return [Finding(False, "machine", reason.partition(": ")[0], reason.partition(": ")[2])]
    return [_python(), *map(_package, CORE), _gpu(), _four_bits(), _memory(), _widgets()]


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(ok, "python", platform.python_version(), "" if ok else "install Python 3.11, 3.12 or 3.13")


def _package(name: str) -> Finding:
    try:
        return Finding(True, name, version(name))
    except PackageNotFoundError:
        return Finding(False, name, "not installed", f"pip install -c scripts/constraints.txt {name}")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(True, "gpu", "none: the exact and toy tiers and tiny models run on the CPU")
    major, minor = torch.cuda.get_device_capability()
    kind = "bfloat16" if major >= 8 else "float16"
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Finding(True, "gpu", f"{torch.cuda.get_device_name()} ({memory:.0f} GiB), {major}.{minor}, {kind}")


def _four_bits() -> Finding:
    """Quantise a ramp from -1 to 1 to nf4 and back; its widest step is 0.3, so no error exceeds 0.2."""
    try:
        import torch
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weights = torch.linspace(-1, 1, 4096).view(64, 64)
        if torch.cuda.is_available():
            weights = weights.cuda()
        packed, state = quantize_4bit(weights, quant_type="nf4")
        error = (dequantize_4bit(packed, state) - weights).abs().max().item()
    except (ImportError, RuntimeError, OSError) as problem:
        return Finding(
            False, "4 bits", str(problem).splitlines()[0], "pip install bitsandbytes; or use --bits 32"
        )
    ok = error < 0.2
    return Finding(
        ok, "4 bits", f"nf4 works here (largest error {error:.3f} of 1)", "" if ok else "use --bits 32"
    )


def _memory() -> Finding:
    pages = os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}) else 0
    if not pages:
        return Finding(True, "memory", "unknown on this system")
    gib = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    ok = gib >= 4
    return Finding(ok, "memory", f"{gib:.0f} GiB, {os.cpu_count()} cores", "" if ok else "4 GiB are needed")


def _widgets() -> Finding:
    names = ("ipywidgets", "anywidget", "ipykernel")
    missing = [name for name in names if _package(name).ok is False]
    if missing:
        return Finding(False, "widgets", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    lab = "jupyter lab is on the path" if shutil.which("jupyter-lab") else "start with: python -m jupyterlab"
    return Finding(True, "widgets", lab)
