"""The package as it is handed out: its requirements agree, its wheel runs anywhere, its scripts parse."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from cdpo_edu.lessons import lesson_files

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
]
CONSTRAINTS = (ROOT / "scripts" / "constraints.txt").read_text()
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, re.MULTILINE)
}
SCRIPTS = sorted([*ROOT.glob("scripts/*.sh"), ROOT / ".ci" / "run"])


def conda_environment() -> tuple[list[str], list[str]]:
    """Return what environment.yml asks of conda and what it asks of pip."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    return [entry for entry in entries if isinstance(entry, str)], pip


def test_environment_yml_asks_for_the_same_packages() -> None:
    pip = conda_environment()[1]
    asked = [Requirement(line) for line in pip if not line.startswith("-")]
    assert sorted(map(str, asked)) == sorted(map(str, REQUIREMENTS))
    assert [line for line in pip if line.startswith("-")] == ["-c scripts/constraints.txt", "-e ."]


def test_environment_yml_asks_for_the_same_python() -> None:
    (python,) = (Requirement(line) for line in conda_environment()[0] if line.startswith("python"))
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_has_a_lower_bound_that_the_tested_version_meets(requirement: Requirement) -> None:
    assert [clause.operator for clause in requirement.specifier] == [">="]
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_tested_set_is_portable() -> None:
    pins = [line for line in CONSTRAINTS.splitlines() if line and not line.startswith("#")]
    assert len(pins) == len(PINS)  # each line is a plain NAME==VERSION, each name there once
    assert not [line for line in pins if "+" in line or "@" in line or "/" in line]


def test_the_tested_set_is_complete() -> None:
    seen: set[str] = set()
    waiting = [(requirement, "") for requirement in REQUIREMENTS]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        if name.startswith(("nvidia-", "cuda-")) or name == "triton":
            continue  # torch's CUDA build brings these; torch's own exact pins choose their versions
        assert name in PINS, f"{requirement} is installed by our requirements and not pinned"
        for wanted in {"", *requirement.extras}:
            if f"{name}[{wanted}]" not in seen:
                seen.add(f"{name}[{wanted}]")
                waiting += [(Requirement(line), wanted) for line in requires(name)]


def requires(name: str) -> list[str]:
    """Return what an installed package asks for."""
    try:
        return metadata(name).get_all("Requires-Dist") or []
    except PackageNotFoundError:
        return []


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_every_pin_installs_on_every_python_we_support(python: str) -> None:
    refusing = []
    for name, pin in PINS.items():
        try:
            about = metadata(name)
        except PackageNotFoundError:
            continue  # pinned for another system
        if Version(about["Version"]).public == pin.public:
            if not SpecifierSet(about.get("Requires-Python", "")).contains(python):
                refusing.append(f"{name}=={pin} ({about['Requires-Python']})")
    assert refusing == []


def test_the_version_is_stated_once() -> None:
    import cdpo_edu

    assert cdpo_edu.__version__ == PROJECT["version"]


def test_a_test_cannot_reach_the_network() -> None:
    with pytest.raises(OSError, match="tests touch no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # an address set aside for documents


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the installed backend: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


def pip(command: str, *arguments: str) -> None:
    """Run pip without an index."""
    subprocess.run([sys.executable, "-m", "pip", command, "-q", "--no-index", *arguments], check=True)


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert folders == {"cdpo_edu", f"cdpo_edu-{PROJECT['version']}.dist-info"}
    package, course = ROOT / "cdpo_edu", ROOT / "notebooks"
    scripts = course / "src"
    data = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    sources = {
        f"cdpo_edu/classroom/scripts/{p.relative_to(scripts).as_posix()}" for p in scripts.rglob("*.py")
    }
    lessons = {f"cdpo_edu/notebooks/{name}" for name in lesson_files()}
    held = {p.relative_to(ROOT).as_posix() for p in data} | sources | lessons
    assert held == {n for n in names if n.startswith("cdpo_edu/")}
    assert "cdpo_edu/py.typed" in names
    assert f"cdpo_edu-{PROJECT['version']}.dist-info/licenses/LICENSE" in names


@pytest.mark.slow
def test_the_wheel_runs_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", "--no-deps", "--target", str(site), str(wheel))
    code = "import cdpo_edu; print(cdpo_edu.__file__); print(cdpo_edu.FiniteProblem.__name__)"
    env = {"PYTHONPATH": str(site)}
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=elsewhere, env=env, text=True)
    assert printed.splitlines() == [str(site / "cdpo_edu" / "__init__.py"), "FiniteProblem"]
    subprocess.run([site / "bin" / "cdpo-edu", "--help"], cwd=elsewhere, env=env, check=True)
    code = "from cdpo_edu.classroom.sources import source_path; print(source_path('01_the_dual_step'))"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=elsewhere, env=env, text=True)
    assert printed.startswith(str(site / "cdpo_edu" / "classroom"))
    subprocess.run([site / "bin" / "cdpo-edu", "lessons", "course"], cwd=elsewhere, env=env, check=True)
    copied = {path.relative_to(elsewhere / "course").as_posix() for path in elsewhere.glob("course/**/*.*")}
    assert copied == set(lesson_files())
    lesson = nbformat.read(elsewhere / "course" / "01_preferences_and_bradley_terry.ipynb", as_version=4)
    lesson.cells.append(nbformat.v4.new_code_cell("import cdpo_edu; print(cdpo_edu.__file__)"))
    quiet = os.environ | env | {"CDPO_EDU_BARS": "0", "MPLBACKEND": "Agg"}
    client = NotebookClient(lesson, timeout=120, resources={"metadata": {"path": str(elsewhere / "course")}})
    client.execute(env=quiet)
    assert lesson.cells[-1].outputs[0].text.startswith(str(site))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that the scripts read, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def program(path: Path, text: str) -> None:
    """Write a small shell program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run_sh(clone: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Call scripts/run.sh from the folder above the clone."""
    command = [shutil.which("bash"), clone / "scripts" / "run.sh", *arguments]
    return subprocess.run(command, cwd=clone.parent, capture_output=True, text=True, **options)


@pytest.fixture
def ready(clone: Path) -> Path:
    """The clone with a current environment, whose command prints where and how it was called."""
    program(clone / ".venv" / "bin" / "python", "echo same")
    program(clone / ".venv" / "bin" / "cdpo-edu", 'echo "${PWD##*/}: $*"')
    (clone / ".venv" / ".cdpo-edu-stamp").write_text("same\n")
    return clone


def test_run_sh_without_arguments_never_writes_into_an_earlier_run(ready: Path) -> None:
    for folder in ("runs/toy", "runs/toy-2", "runs/toy-3"):
        assert run_sh(ready).stdout == f"a clone: train --tier toy --out {folder}\n"
        (ready / folder).mkdir(parents=True)


def test_run_sh_passes_arguments_on_from_the_folder_it_is_called_in(ready: Path) -> None:
    result = run_sh(ready, "solve", "a problem.json", "--json")
    assert result.stdout == f"{ready.parent.name}: solve a problem.json --json\n"
    assert result.stderr == ""  # no set-up


def test_a_set_up_without_a_fitting_python_says_what_it_found(clone: Path) -> None:
    tools = clone.parent / "tools"
    program(tools / "python3", 'case "$2" in *platform*) echo "3.9.18 (too old)" ;; *) exit 1 ;; esac')
    for name in ("cat", "dirname", "grep", "ln", "readlink", "rm", "uname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    result = run_sh(clone, env={"PATH": str(tools)})
    assert result.returncode == 2
    assert "3.11, 3.12 or 3.13" in result.stderr
    assert "python3: 3.9.18 (too old)" in result.stderr
    assert not (clone / ".setup-lock").is_symlink()
    assert not (clone / ".venv").exists()


def test_a_set_up_on_an_intel_mac_says_so_before_anything_is_made(clone: Path) -> None:
    tools = clone.parent / "tools"
    answers = 'case "$2" in *darwin*) exit 1 ;; *_base_executable*) echo python3 ;; *) exit 0 ;; esac'
    program(tools / "python3", answers)
    for name in ("cat", "dirname", "grep", "ln", "readlink", "rm", "uname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    result = run_sh(clone, "doctor", env={"PATH": str(tools)})
    assert result.returncode == 2
    assert "Intel Macs" in result.stderr and "arm64" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([shellcheck, "--external-sources", script], cwd=ROOT, check=True)
