"""Where nothing can be installed one line says so, before any other import; and the fast setting."""

from __future__ import annotations

import ast
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cdpo_edu import doctor, machine
from cdpo_edu.pace import paced
from cdpo_edu.types import InputError

ROOT = Path(__file__).resolve().parents[1]


def pretend(monkeypatch: pytest.MonkeyPatch, version: str, system: str, processor: str, torch: bool) -> None:
    numbers = (*map(int, version.split(".")), "final", 0)
    monkeypatch.setattr(machine.sys, "version_info", numbers)
    monkeypatch.setattr(machine.sys, "platform", system)
    monkeypatch.setattr(platform, "python_version", lambda: version)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(machine, "find_spec", lambda name: object() if torch else None)


@pytest.mark.parametrize(
    ("version", "system", "processor", "torch", "words"),
    [
        ("3.10.4", "linux", "x86_64", False, "3.10.4 is too old: install Python 3.11"),
        ("3.14.0", "linux", "x86_64", True, "3.14.0 is too new: install Python 3.11"),
        ("3.12.1", "darwin", "x86_64", False, "Intel Macs"),
        ("3.12.1", "darwin", "x86_64", True, None),  # somebody built torch
        ("3.12.1", "darwin", "arm64", False, None),
        ("3.12.1", "linux", "x86_64", False, None),
        ("3.11.0", "win32", "AMD64", False, None),
    ],
)
def test_one_line_where_nothing_can_be_installed(
    version: str,
    system: str,
    processor: str,
    torch: bool,
    words: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, version, system, processor, torch)
    reason = machine.hopeless()
    if words is None:
        assert reason is None
        return
    assert reason is not None
    assert words in reason and "\n" not in reason
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise ImportError
    (finding,) = doctor.examine()
    assert not finding.ok and finding.remedy
    assert f"{finding.found}: {finding.remedy}" == reason


def test_the_command_ends_with_that_line_before_it_imports_anything(tmp_path: Path) -> None:
    code = (
        "import platform, runpy, sys\n"
        "sys.version_info = (3, 9, 18, 'final', 0); platform.python_version = lambda: '3.9.18'\n"
        "sys.modules['typer'] = sys.modules['torch'] = None\n"
        "sys.argv = ['cdpo-edu', 'doctor']\n"
        "runpy.run_module('cdpo_edu', run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr == "cdpo-edu: Python 3.9.18 is too old: install Python 3.11, 3.12 or 3.13\n"


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "machine.py"])
def test_what_runs_first_can_be_read_by_an_old_python(name: str) -> None:
    ast.parse((ROOT / "cdpo_edu" / name).read_text(), feature_version=(3, 7))


def test_the_fast_setting_is_zero_one_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDPO_EDU_FAST", "1")
    assert paced(300, fast=100) == 100
    for normal in ("", "0"):
        monkeypatch.setenv("CDPO_EDU_FAST", normal)
        assert paced(300, fast=100) == 300
    monkeypatch.setenv("CDPO_EDU_FAST", "yes")
    with pytest.raises(InputError, match="set it to 1"):
        paced(300, fast=100)
