"""The autograder for Gradescope: its zip as documented, and what it writes for a submission."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cdpo_edu.classroom import gradescope_run, seeds
from cdpo_edu.classroom.exercises import assignment_named
from cdpo_edu.classroom.gradescope import write_autograder
from cdpo_edu.classroom.gradescope_run import sentence
from cdpo_edu.classroom.grading import Mark
from cdpo_edu.classroom.own_wheel import wheel_bytes, wheel_name
from cdpo_edu.classroom.versions import version
from cdpo_edu.types import InputError

ASSIGNMENT = assignment_named("01_the_dual_step")
SECRET = "known to the teacher alone"
TOKEN = seeds.course_token(SECRET)


class Autograder:
    """A folder like Gradescope's /autograder with a zip unpacked in it."""

    def __init__(self, folder: Path, secret: str = "") -> None:
        self.root, self.source = folder / "autograder", folder / "autograder" / "source"
        (self.root / "submission").mkdir(parents=True)
        if secret:
            (folder / "secret.txt").write_text(secret)
        self.zip = folder / "autograder.zip"
        self.said = write_autograder(
            ASSIGNMENT.name, self.zip, source=folder / "secret.txt" if secret else None
        )
        with zipfile.ZipFile(self.zip) as file:
            file.extractall(self.source)

    def submit(self, kind: Any, student: str, *, token: str = "public", name: str = "mine.ipynb") -> None:
        notebook = version(ASSIGNMENT, kind, token=token, student=student)
        (self.root / "submission" / name).write_text(nbformat.writes(notebook))

    def run(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setenv("CDPO_EDU_AUTOGRADER", str(self.root))
        gradescope_run.main()
        return self.results()

    def results(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads((self.root / "results" / "results.json").read_text())
        return made


def test_the_zip_has_the_documented_layout(tmp_path: Path) -> None:
    public, private = Autograder(tmp_path / "a"), Autograder(tmp_path / "b", SECRET)
    with zipfile.ZipFile(public.zip) as file:
        assert set(file.namelist()) == {"setup.sh", "run_autograder", "assignment.json", wheel_name()}
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in file.infolist()}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert not any("secret" in line for line in public.said)
    with zipfile.ZipFile(private.zip) as file:
        assert file.read("secret.txt").decode() == SECRET
    assert any("the zip holds the course's secret" in line for line in private.said)
    assert private.zip.stat().st_mode & 0o077 == 0
    for script in ("setup.sh", "run_autograder"):
        path = private.source / script
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        subprocess.run([shutil.which("bash"), "-n", path], check=True)


def test_a_solution_earns_everything_and_the_secret_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Autograder(tmp_path, SECRET)
    grader.submit("solution", "ada", token=TOKEN)
    made = grader.run(monkeypatch)
    assert made["score"] == ASSIGNMENT.max_score
    assert [test["max_score"] for test in made["tests"]] == [each.points for each in ASSIGNMENT.exercises]
    for test in made["tests"]:
        assert set(test) == {"name", "score", "max_score", "output", "visibility"}
        assert (test["output"], test["visibility"]) == ("Right.", "visible")
    assert made["stdout_visibility"] == "hidden" and made["extra_data"] == {"student": "ada"}
    assert not (grader.source / "secret.txt").exists()
    assert SECRET not in json.dumps(made)
    again = grader.run(monkeypatch)  # without the secret nothing is marked, least of all as in public
    assert again["score"] == 0 and "secret is not there" in again["output"]


def test_the_public_solution_does_not_pass_a_private_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Autograder(tmp_path, SECRET)
    grader.submit("solution", "ada")
    assert grader.run(monkeypatch)["score"] < ASSIGNMENT.max_score / 2


def test_what_cannot_be_marked_still_gives_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grader = Autograder(tmp_path)
    made = grader.run(monkeypatch)
    assert (made["score"], made["output"]) == (0, f"no notebook of {ASSIGNMENT.name} was handed in")
    (grader.root / "submission" / "a.ipynb").write_text("{")
    assert "a.ipynb: not a notebook" in grader.run(monkeypatch)["output"]

    def failing(*args: Any, **options: Any) -> None:
        raise RuntimeError("a path of the teacher's")

    monkeypatch.setattr(gradescope_run, "grade", failing)
    grader.submit("solution", "ada", name="b.ipynb")
    assert "teacher's" not in grader.run(monkeypatch)["output"]


def test_the_teacher_reads_who_sent_another_one_s_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grader = Autograder(tmp_path)
    about = {"created_at": "2026-03-01T12:00:00Z", "users": [{"email": "ada@uni.org", "id": 1, "name": "A"}]}
    (grader.root / "submission_metadata.json").write_text(json.dumps(about))
    for typed, said in (("ada", False), ("ada@uni.org", False), ("bob", True)):
        grader.submit("student", typed)
        grader.run(monkeypatch)
        assert ("it was sent by ada@uni.org" in capsys.readouterr().out) == said
    grader.submit("student", "your id")
    assert grader.run(monkeypatch)["extra_data"] == {"student": "ada@uni.org"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("dual_step is 0.9, expected 0.4; asked with lam=0.31", gradescope_run.NOT_RIGHT),
        ("The answer stopped with ZeroDivisionError.", "The answer stopped with ZeroDivisionError."),
        ("Your multiplier can become negative.", "Your multiplier can become negative."),
        ("Right.", "Right."),
    ],
)
def test_trying_again_and_again_reveals_no_marked_instance(said: str, shown: str) -> None:
    assert sentence(Mark("dual_step", "The dual step", 0, 3, said)) == shown


def test_a_wrong_answer_that_no_mistake_explains_shows_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grader = Autograder(tmp_path)
    grader.submit("solution", "ada")
    path = grader.root / "submission" / "mine.ipynb"
    path.write_text(path.read_text().replace("lam + step * (cost - limit)", "7.25 + lam * cost"))
    first = next(test for test in grader.run(monkeypatch)["tests"] if test["name"] == "The dual step")
    assert (first["score"], first["output"]) == (0, gradescope_run.NOT_RIGHT)


def test_the_wheel_agrees_with_its_record_and_marks_elsewhere(tmp_path: Path) -> None:
    """The unpacked wheel, without this clone, does what run_autograder asks of it."""
    content = wheel_bytes()
    assert content == wheel_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        names = set(file.namelist())
        info = next(name for name in names if name.endswith("RECORD"))
        rows = list(csv.reader(file.read(info).decode().splitlines()))
        for path, digest, _ in rows[:-1]:
            found = base64.urlsafe_b64encode(hashlib.sha256(file.read(path)).digest()).rstrip(b"=").decode()
            assert digest == f"sha256={found}"
        assert {row[0] for row in rows} == names
        assert "cdpo_edu/classroom/scripts/assignments/01_the_dual_step.py" in names
        assert not [name for name in names if "__pycache__" in name]
        file.extractall(tmp_path / "site")
    grader = Autograder(tmp_path)
    grader.submit("solution", "ada")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "CDPO_EDU_AUTOGRADER": str(grader.root)}
    command = [sys.executable, "-m", "cdpo_edu.classroom.gradescope_run"]
    subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True)
    assert grader.results()["score"] == ASSIGNMENT.max_score


def test_an_assignment_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no assignment is called 'x'"):
        write_autograder("x", tmp_path / "a.zip")
