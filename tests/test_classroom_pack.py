"""The pack of two lectures: 75 minutes each, no network needed, and the rubric of its own course."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from cdpo_edu.classroom import nbgrader_course, slides
from cdpo_edu.classroom.course import Course, new_course
from cdpo_edu.classroom.exercises import ASSIGNMENTS
from cdpo_edu.classroom.formulas import FORMULA, formula_svg
from cdpo_edu.classroom.lectures import LECTURES
from cdpo_edu.classroom.pack import homework_of, write_pack
from cdpo_edu.classroom.sources import parse, read_source
from cdpo_edu.classroom.versions import version

LESSONS = sorted((Path(__file__).resolve().parents[1] / "notebooks" / "src").glob("*.py"))


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """A course with the pack, made without nbgrader to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbgrader_course, "installed", lambda: False)
        made = new_course(tmp_path_factory.mktemp("pack") / "course")
        write_pack(made)
        yield made


def page(course: Course, name: str) -> str:
    return (course.folder / "two-lectures" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("lecture", LECTURES, ids=lambda lecture: lecture.name)
def test_a_lecture_lasts_75_minutes(lecture: object) -> None:
    assert lecture.minutes == 75  # type: ignore[attr-defined]


class References(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        fetched = {"src", "poster", "data"} | ({"href"} if tag != "a" else set())
        self.found += [value or "" for name, value in attrs if name in fetched]


@pytest.mark.parametrize("lecture", LECTURES, ids=lambda lecture: lecture.name)
def test_the_slides_need_no_network_and_hold_every_section(course: Course, lecture: object) -> None:
    text = page(course, f"{lecture.name}.html")  # type: ignore[attr-defined]
    seen = References()
    seen.feed(text)
    assert [reference for reference in seen.found if not reference.startswith("data:image/png;base64,")] == []
    assert seen.tags["section"] > len(lecture.sections)  # type: ignore[attr-defined]
    assert seen.tags["img"] >= 1
    assert "default-src 'none'" in text
    for part in lecture.sections:  # type: ignore[attr-defined]
        assert re.search(rf"<h2[^>]*>{re.escape(part.heading)}", text), part.heading


@pytest.mark.parametrize("lecture", LECTURES, ids=lambda lecture: lecture.name)
def test_every_formula_of_the_slides_is_drawn(course: Course, lecture: object) -> None:
    name = lecture.name  # type: ignore[attr-defined]
    notebook = nbformat.read(course.folder / "two-lectures" / f"{name}.ipynb", as_version=4)
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = page(course, f"{name}.html")
    assert len(FORMULA.findall(prose)) == text.count("<svg") > 20
    assert "FORMULA" not in text
    assert [cell.metadata.slideshow.slide_type for cell in notebook.cells][:2] == ["slide", "slide"]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.stem)
def test_every_formula_of_the_lessons_can_be_drawn(lesson: Path) -> None:
    for cell in read_source(lesson.stem):
        if cell.kind == "markdown":
            for displayed, inline in FORMULA.findall(cell.text):
                assert '<path d="M' in formula_svg(displayed or inline)


def test_a_formula_stands_on_the_line() -> None:
    def below(tex: str) -> float:
        return float(re.findall(r"vertical-align:(-?[\d.]+)em", formula_svg(tex))[0])

    assert below("x") == pytest.approx(0, abs=0.02)
    assert below(r"\frac{a}{b}") < -0.2
    assert 'aria-label="a &lt; b"' in formula_svg("a < b")


def test_the_rubric_is_that_of_this_course(course: Course) -> None:
    homework = homework_of()
    text = page(course, "homework/RUBRIC.md")
    assert f"{homework.max_score} points" in text
    for exercise in homework.exercises:
        assert f"(`{exercise.key}`): {exercise.points} points" in text
        for wrong in exercise.mistakes(exercise.variant(course.token)):
            assert f"| 0 | {wrong.message} | {wrong.name} |" in text


def test_the_homework_is_the_course_s_own(course: Course) -> None:
    homework = homework_of()
    path = course.folder / "two-lectures" / "homework" / "student" / f"{homework.name}.ipynb"
    assert nbformat.read(path, as_version=4) == version(homework, "student", token=course.token)
    assert homework.name[:2] == ("03" if any(one.name.startswith("03") for one in ASSIGNMENTS) else "01")


def test_a_heading_inside_a_cell_begins_a_section_and_a_missing_one_is_named() -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("end\n\n## One\n\na\n\n## Two\n\nb"),
            nbformat.v4.new_code_cell("c"),
        ]
    )
    assert [cell.source for cell in slides.section(notebook, "One")] == ["## One\n\na"]
    assert [cell.source for cell in slides.section(notebook, "Two")] == ["## Two\n\nb", "c"]
    with pytest.raises(ValueError, match="no section is called 'Three'"):
        slides.section(notebook, "Three")


def test_a_lesson_without_a_built_notebook_is_executed() -> None:
    notebook = slides.execute_lesson(parse('# %% [markdown]\n# Two.\n\n# %% alt="none"\nprint(1 + 1)\n'))
    assert notebook.cells[1].outputs[0].text == "2\n"
    assert notebook.cells[1].metadata["alt"] == "none"
