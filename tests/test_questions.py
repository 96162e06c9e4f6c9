"""The course's pages name cells that exist: questions to each lesson, the teacher's guide, the map."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
QUESTIONS = ROOT / "notebooks" / "questions.md"
GUIDE = ROOT / "docs" / "teachers_guide.md"
MAP = ROOT / "notebooks" / "README.md"
CELL = re.compile(r"\[((?:[^\[\]]|\\\[)+)\]\((?:\.\./notebooks/)?(\w+)\.ipynb#([\w-]+)\)")


def headings(lesson: str) -> list[str]:
    """Return the headings of a lesson, from its prose cells."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{lesson}.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor under which a page offers a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("lesson", [path.stem for path in LESSONS])
def test_each_lesson_has_five_questions_which_its_own_cells_answer(lesson: str) -> None:
    parts = re.split(r"^## ", QUESTIONS.read_text(), flags=re.MULTILINE)
    (part,) = (part for part in parts if part.startswith(lesson[:2]))
    lines = re.findall(r"^\d\. .+$", part, flags=re.MULTILINE)
    assert len(lines) == 5
    assert part.splitlines()[0] == headings(lesson)[0]
    assert [CELL.findall(line)[0][1] for line in lines] == [lesson] * 5
    assert all("?" in line.split("[")[0] for line in lines)


@pytest.mark.parametrize("page", [QUESTIONS, GUIDE], ids=lambda page: page.stem)
def test_every_named_cell_exists(page: Path) -> None:
    named = CELL.findall(page.read_text())
    assert len(named) >= 3 * len(LESSONS)
    for heading, lesson, anchor in named:
        assert heading in headings(lesson), (lesson, heading)
        assert anchor == slug(heading)


@pytest.mark.parametrize("lesson", [path.stem for path in LESSONS])
def test_the_guide_says_for_each_lesson_what_it_is_for(lesson: str) -> None:
    (row,) = re.findall(
        rf"^\| \[.*\]\(\.\./notebooks/{lesson}\.ipynb\) \|.*$", GUIDE.read_text(), re.MULTILINE
    )
    goal, answered = row.split("|")[2:4]
    assert len(goal.split()) > 5
    assert CELL.search(answered)


def test_the_two_evenings_name_headings_that_exist() -> None:
    text = MAP.read_text().split("## Two evenings")[1].split("\n## ")[0]
    known = {heading for path in LESSONS for heading in headings(path.stem)}
    named = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text.replace("\n", " "))
    assert len(named) > 8
    assert [name for name in named if name not in known] == []
