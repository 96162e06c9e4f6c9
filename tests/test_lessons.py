"""The lessons as they are handed out: copied whole, with links that lead somewhere, never over anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cdpo_edu import lessons
from cdpo_edu.cli import app
from cdpo_edu.lessons import copy_lessons, lesson_files
from cdpo_edu.types import InputError

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def test_the_course_is_every_lesson_its_map_the_museum_and_the_assignments() -> None:
    built = {path.name for path in FOLDER.glob("[0-9]*.ipynb")}
    assignments = {f"assignments/{path.name}" for path in FOLDER.glob("assignments/*.ipynb")}
    museum = {f"museum/{path.name}" for path in FOLDER.glob("museum/*.ipynb")}
    files = lesson_files()
    assert built and assignments and museum
    assert built | assignments | museum | {"README.md"} <= set(files)
    assert not [name for name in files if name.startswith(("solutions", "lectures", "src", "museum/src"))]


def test_a_copied_notebook_keeps_its_outputs(tmp_path: Path) -> None:
    copy_lessons(tmp_path / "course")
    for path in FOLDER.glob("[0-9]*.ipynb"):
        assert (tmp_path / "course" / path.name).read_text() == path.read_text()


def test_every_link_of_the_copy_leads_to_a_file_of_the_copy(tmp_path: Path) -> None:
    for path in copy_lessons(tmp_path / "course"):
        for target in re.findall(r"\]\(([^()\s:#]+\.(?:md|ipynb))", path.read_text()):
            assert (path.parent / target).is_file(), (path.name, target)


def test_a_link_that_leads_out_becomes_its_words() -> None:
    text = "[here](01_a.ipynb), [there](../docs/a.md#b), `call[0](x.y)`, ![](a.png), [web](https://a.b/c.md)"
    kept = lessons._own_links(text, "README.md", {"01_a.ipynb"})
    assert kept == "[here](01_a.ipynb), there, `call[0](x.y)`, ![](a.png), [web](https://a.b/c.md)"
    assert (
        lessons._own_links("[up](../01_a.ipynb)", "museum/00.ipynb", {"01_a.ipynb"}) == "[up](../01_a.ipynb)"
    )


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("notes")
    with pytest.raises(InputError, match="name a new folder"):
        copy_lessons(tmp_path)
    with pytest.raises(InputError, match="name a new folder"):
        copy_lessons(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_package_without_lessons_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lessons, "PACKED", tmp_path / "a")
    monkeypatch.setattr(lessons, "CLONED", tmp_path / "b")
    with pytest.raises(InputError, match="from its wheel"):
        lesson_files()


def test_the_command_says_where_to_go_on(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["lessons", str(tmp_path / "course")])
    assert result.exit_code == 0
    assert "python -m jupyterlab" in result.output
    assert (tmp_path / "course" / "00_start_here.ipynb").is_file()
