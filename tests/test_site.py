"""The site of the lessons: pages, links, what is two clicks away; and the files that launch and publish."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site = load("build_site")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site; Sphinx's first warning or a broken link fails the build."""
    pytest.importorskip("myst_nb")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "scripts" / "build_site.py"), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.mark.slow
def test_every_lesson_has_its_page_with_pictures_in_words(built: Path) -> None:
    for lesson in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        page = site.Page((built / "notebooks" / f"{lesson.stem}.html").read_text())
        assert page.wordless == []
        pictures = sum("alt" in cell.metadata for cell in nbformat.read(lesson, as_version=4).cells)
        shown = [link for link in page.links if "_images/" in link and link.endswith(".png")]
        assert len(shown) >= pictures >= 1


@pytest.mark.slow
def test_the_explorer_is_at_most_two_clicks_from_the_front(built: Path) -> None:
    front = site.Page((built / "index.html").read_text())
    assert "explorer.html" in front.links
    assert "<script" in (built / "explorer.html").read_text()


@pytest.mark.slow
def test_every_formula_is_drawn_and_no_page_needs_a_network(built: Path) -> None:
    for path in built.rglob("*.html"):
        text = path.read_text()
        places = re.findall(r'<(?:span|div) class="math"[^>]*>(.{4})', text)
        assert set(places) <= {"<svg"}, path
        assert text.count('<svg class="inline"') == text.count('<span class="math">'), path
        assert not re.search(r"<script[^>]*src=.?(?:https?:)?//", text), path
        assert not re.search(r"<link[^>]*stylesheet[^>]*href=.?(?:https?:)?//", text), path
        assert "MathJax" not in text and "$$" not in text, path
    page = (built / "notebooks" / "03_the_dual.html").read_text()
    assert page.count('class="math"') > 20


@pytest.mark.slow
def test_a_formula_that_cannot_be_drawn_stops_the_build_and_names_its_page(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb")
    shutil.copytree(ROOT / "scripts" / "site", tmp_path / "source")
    (tmp_path / "source" / "_extra").mkdir()
    (tmp_path / "source" / "index.md").write_text("# Page\n\n$\\nosuchsign$\n")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    result = subprocess.run([*command, "source", "out"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    assert re.search(r"index.*formula cannot be drawn: \\nosuchsign", result.stderr), result.stderr


@pytest.mark.slow
def test_a_second_build_replaces_the_first_and_nothing_else(built: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("notes")
    with pytest.raises(SystemExit, match="no site of ours"):
        site.make_room(tmp_path)
    assert (tmp_path / "mine.txt").exists()
    assert (built / ".buildinfo").is_file()


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("b.html", []),
        ("b.html#there", []),
        ("#here", []),
        ("https://example.org/gone", []),
        ("c.html", ["a.html: c.html leads to no file"]),
        ("b.html#gone", ["a.html: b.html#gone leads to no place of that page"]),
        ("../../etc/hosts", ["a.html: ../../etc/hosts leads to no file"]),
    ],
)
def test_a_broken_link_is_found(link: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(f'<h1 id="here">A</h1><a href="{link}">link</a>')
    (tmp_path / "b.html").write_text('<p id="there">B</p><img src="a.html" alt="words">')
    assert list(site.broken_links(tmp_path)) == found


def test_a_picture_without_words_is_found() -> None:
    assert site.Page('<img src="a.png"><img src="b.png" alt="words">').wordless == ["a.png"]


def test_the_workflow_builds_and_publishes_what_the_script_makes() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())["jobs"]
    steps = jobs["build"]["steps"]
    assert any("python scripts/build_site.py" in step.get("run", "") for step in steps)
    assert steps[-1]["with"]["path"] == site.DEFAULT.relative_to(ROOT).as_posix()
    assert jobs["publish"]["needs"] == "build"
    assert "dist/" in (ROOT / ".gitignore").read_text().split()


def test_the_citation_names_version_licence_and_paper() -> None:
    import cdpo_edu

    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (said["cff-version"], said["version"], said["license"]) == (
        "1.2.0",
        cdpo_edu.__version__,
        "Apache-2.0",
    )
    assert {"message", "title", "authors"} <= set(said)
    assert said["references"][0]["url"].endswith("2403.02475")


def test_the_colab_page_keeps_the_torch_that_is_there() -> None:
    notebook = nbformat.read(ROOT / "launch" / "colab.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in code:
        ast.parse("\n".join(line for line in source.splitlines() if not line.startswith(("%", "!"))))
    installs = [line for source in code for line in source.splitlines() if "pip install" in line]
    assert len(installs) == 1
    assert "-c keep.txt" in installs[0] and " torch" not in installs[0]
    assert "torch=={torch.__version__}" in code[0]


def test_binder_installs_the_package_with_a_torch_for_processors() -> None:
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    assert {"torch", "-e .", "-c ../scripts/constraints.txt"} <= set(lines)
    assert (ROOT / "binder" / "start").stat().st_mode & 0o111


def test_the_animation_is_small_and_moves() -> None:
    path = ROOT / "docs" / "explorer.gif"
    assert path.stat().st_size < 2**20
    with Image.open(path) as picture:
        assert picture.n_frames > 4
