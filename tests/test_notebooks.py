"""The lessons are built from their sources, show their outputs, keep their frame, quote printed numbers."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
BUILT = sorted(FOLDER.glob("*.ipynb"))
MUSEUM = FOLDER / "museum"
EVERY = [*BUILT, *sorted(MUSEUM.glob("*.ipynb"))]
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"

FRAME = (
    "**What you will have shown by the end.**",
    "| reading | computing | hardware |",
    "## What would falsify this?",
    "## Limits of this lesson",
    "## References",
)


def load_builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_notebooks", ROOT / "scripts" / "build_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load_builder()


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def printed(path: Path) -> str:
    """Return all text that the cells of a lesson show."""
    outputs = [output for cell in cells(path, "code") for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


notebooks = pytest.mark.parametrize("lesson", [pytest.param(path, id=path.stem) for path in EVERY])


# ---- built from their sources ---------------------------------------------------------------------


def test_there_are_lessons() -> None:
    assert [path.stem[:2] for path in BUILT][:5] == ["00", "01", "02", "03", "04"]


def test_every_lesson_is_built_from_its_source() -> None:
    assert builder.check(FOLDER) == []
    assert builder.check(MUSEUM) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the first lesson and its source, to plant a drift in."""
    (tmp_path / "src").mkdir()
    shutil.copy(BUILT[0], tmp_path)
    shutil.copy(FOLDER / "src" / f"{BUILT[0].stem}.py", tmp_path / "src")
    return tmp_path


def test_a_copy_has_no_drift(copy: Path) -> None:
    assert builder.check(copy) == []


def test_a_changed_source_is_drift(copy: Path) -> None:
    source = next(copy.glob("src/*.py"))
    source.write_text(source.read_text().replace("# # 00 Start here", "# # 00 Start there"))
    assert builder.check(copy) == [f"{BUILT[0].name}: cell 0 differs from {source.name}"]


def test_a_changed_lesson_is_drift(copy: Path) -> None:
    path = next(copy.glob("*.ipynb"))
    path.write_text(path.read_text().replace("SafetyBandit.demo(seed=0)", "SafetyBandit.demo(seed=1)"))
    assert len(builder.check(copy)) == 1


def test_a_lost_tag_is_drift(copy: Path) -> None:
    path = next(copy.glob("*.ipynb"))
    path.write_text(path.read_text().replace('"nbval-ignore-output"', '"other"'))
    assert len(builder.check(copy)) == 1


def test_a_missing_lesson_and_a_missing_source_are_drift(copy: Path) -> None:
    source, path = next(copy.glob("src/*.py")), next(copy.glob("*.ipynb"))
    shutil.move(path, path.with_name("99_orphan.ipynb"))
    missing = ["99_orphan.ipynb: its source 99_orphan.py is missing"]
    assert builder.check(copy) == [f"{source.name}: not built yet", *missing]


# ---- what is committed ----------------------------------------------------------------------------


@notebooks
def test_every_cell_was_run_once_in_order_and_none_failed(lesson: Path) -> None:
    code = cells(lesson, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert "error" not in kinds
    assert kinds.count("stream") > len(code) / 2


@notebooks
def test_a_lesson_shows_a_picture_and_no_warning(lesson: Path) -> None:
    outputs = [output for cell in cells(lesson, "code") for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@notebooks
def test_every_picture_is_described_in_words(lesson: Path) -> None:
    for cell in cells(lesson, "code"):
        shows = any("image/png" in output.get("data", {}) for output in cell.outputs)
        assert shows == ("alt" in cell.metadata), cell.source


@notebooks
def test_nothing_of_the_machine_is_in_a_lesson(lesson: Path) -> None:
    notebook = read(lesson)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= set(builder.KEPT)
    text = lesson.read_text(encoding="utf-8")
    assert builder.WIDGET_VIEW not in text
    assert str(Path.home()) + "/" not in text
    everything = "\n".join([printed(lesson), *(cell.source for cell in notebook.cells)])
    for pattern in builder.PERSONAL:
        assert re.findall(pattern, everything, flags=re.MULTILINE) == []


def output_cell(text: str, *tags: str, **rest: Any) -> Any:
    """A notebook of one executed cell that printed ``text``."""
    output = {"output_type": "stream", "name": "stdout", "text": text} | rest
    cell = nbformat.v4.new_code_cell("pass", outputs=[nbformat.from_dict(output)])
    cell.metadata = {"tags": list(tags), "execution": {"iopub.status.busy": "2024"}}
    return nbformat.v4.new_notebook(cells=[cell])


@pytest.mark.parametrize("text", ["saved in /home/ann/run", "at 12:30:59", "C:\\Users\\ann", "done in 3.1 s"])
def test_a_personal_output_ends_the_build_or_is_replaced_where_it_may_differ(text: str) -> None:
    with pytest.raises(SystemExit, match=r"lesson, cell 0: prints .* mend it, or tag it nbval-ignore-output"):
        builder.clean(output_cell(text), "lesson")
    notebook = builder.clean(output_cell(text, builder.LOOSE), "lesson")
    assert re.search("PATH|TIME", notebook.cells[0].outputs[0].text)
    assert "execution" not in notebook.cells[0].metadata


@pytest.mark.parametrize("text", ["E[r] = 0.603", "lam 1:2", "gap/3 = 1.5", "in 3 steps", "KL(pi/ref)"])
def test_a_result_is_left_alone(text: str) -> None:
    assert builder.clean(output_cell(text), "lesson").cells[0].outputs[0].text == text


def test_a_warning_ends_the_build() -> None:
    with pytest.raises(SystemExit, match="cell 0: warns 'careful'"):
        builder.clean(output_cell("careful\n", name="stderr"), "lesson")


def test_a_widget_view_is_left_out_and_its_text_stays() -> None:
    data = {"text/plain": "a slider", builder.WIDGET_VIEW: {"model_id": "4f"}}
    notebook = output_cell("")
    notebook.cells[0].outputs = [
        nbformat.from_dict({"output_type": "execute_result", "data": data, "metadata": {}})
    ]
    notebook.metadata["widgets"] = {"state": {}}
    cleaned = builder.clean(notebook, "lesson")
    assert cleaned.cells[0].outputs[0].data == {"text/plain": "a slider"}
    assert "widgets" not in cleaned.metadata


# ---- the frame and the craft ----------------------------------------------------------------------


@notebooks
def test_a_lesson_keeps_the_frame(lesson: Path) -> None:
    prose = "\n".join(cell.source for cell in cells(lesson, "markdown"))
    assert [part for part in FRAME if part not in prose] == []
    assert prose.startswith(f"# {lesson.stem[:2]} ")
    if lesson in BUILT[1:]:
        assert "**What differs from lesson" in prose


@notebooks
def test_cells_are_short_and_prose_leads(lesson: Path) -> None:
    lines = [len([line for line in c.source.splitlines() if line.strip()]) for c in cells(lesson, "code")]
    words = sum(len(cell.source.split()) for cell in cells(lesson, "markdown"))
    assert max(lines) <= 15
    assert words > 4 * sum(lines)
    assert len(cells(lesson, "markdown")) >= 1.3 * len(lines)
    kinds = "".join(cell.cell_type[0] for cell in read(lesson).cells)
    assert "ccc" not in kinds  # three code cells in a row


@notebooks
def test_every_number_of_the_prose_is_printed_or_typed_in_a_cell(lesson: Path) -> None:
    shown = printed(lesson) + "\n".join(cell.source for cell in cells(lesson, "code"))
    quoted = set()
    pictures = [cell.metadata["alt"] for cell in cells(lesson, "code") if "alt" in cell.metadata]
    for text in [*pictures, *(cell.source for cell in cells(lesson, "markdown"))]:
        prose = re.sub(r"\d{4}\.\d{5}", "", text)  # arXiv numbers
        quoted |= set(re.findall(r"(?<![\w.])\d+\.\d+", prose))
    assert sorted(number for number in quoted if number not in shown) == []
    assert quoted  # a lesson that quotes no number would pass by saying nothing


WHOLE = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?!\w|[.,]\d)(?P<percent> %)?")
NO_RESULT = (  # where a whole number says nothing that a cell could print
    r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`",  # formulas and code
    r"^\s*\d+\. |^#.*$|^\|.*\|$",  # marks of lists, headings, tables
    r"\b(?:[Ll]essons?,?|assignments?) \d\d(?:(?:,| and| or| to) \d\d)*",
    r"\b(?:and|with) others,? \(?\d{4}|\(\d{4}\)|\d{4}\.\d{5}",  # papers
)
NOT_PRINTED = {  # lesson -> whole number of its prose that no cell shows -> why it may stand there
    "00": {"64": "256 samples, the default of `ConstrainedDPO`, over four prompts"},
    "02": {"41": "rows of the map, its assertion looks one up", "81": "columns of the map, likewise"},
    "05": {
        "88": "cases of 100: the printed sigma(2) = 0.881",
        "200": "steps more: from the 100 to the 300 of the next cell",
    },
    "07": {"241": "dishes of the small kitchen, which lesson 06 prints"},
    "08": {"95": "the level, in %, of the intervals that `League.standings` gives"},
    "10": {"192": "the default of --max-prompt-tokens", "96": "that of --max-response-tokens"},
    "museum": {"25": "an example of a limit, not a result"},
}


def whole_numbers(lesson: Path) -> list[tuple[str, bool]]:
    """Return the whole numbers that a lesson states in prose: the digits, and whether it is a share in %."""
    prose = "\n\n".join(cell.source for cell in cells(lesson, "markdown")).split("## References")[0]
    for pattern in NO_RESULT:
        prose = re.sub(
            pattern, " ", prose, flags=re.MULTILINE | re.DOTALL if "$$" in pattern else re.MULTILINE
        )
    return [
        (found[0].removesuffix(" %").replace(",", ""), bool(found["percent"]))
        for found in WHOLE.finditer(prose)
    ]


@notebooks
def test_every_whole_number_of_the_prose_is_shown_by_a_cell_or_excused(lesson: Path) -> None:
    text = printed(lesson) + "\n" + "\n".join(cell.source for cell in cells(lesson, "code"))
    found = re.findall(r"(?<![\w.])\d[\d,_]*(?:\.\d+)?", text)
    shown = {float(number.replace(",", "").replace("_", "")) for number in found}
    quoted = whole_numbers(lesson)
    missing = {n for n, share in quoted if not ({float(n), int(n) / 100 if share else float(n)} & shown)}
    excused = NOT_PRINTED.get("museum" if lesson.parent == MUSEUM else lesson.stem[:2], {})
    assert sorted(missing) == sorted(excused)  # print it, or excuse it; and an excuse that is not needed goes
    assert quoted


def test_a_number_that_no_cell_shows_is_seen(tmp_path: Path) -> None:
    prose = "The share is 15 %, of 4,000 pairs; lesson 03 and Huang and others 2024 say 17, and $x = 9$."
    lesson = tmp_path / "99_a.ipynb"
    cell = nbformat.v4.new_markdown_cell(prose)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), lesson)
    assert whole_numbers(lesson) == [("15", True), ("4000", False), ("17", False)]


@notebooks
def test_the_map_lists_the_lesson_with_its_minutes(lesson: Path) -> None:
    head = cells(lesson, "markdown")[0].source
    reading, computing = re.findall(r"\| (\d+ minutes) \| ([^|]+) \|", head)[0]
    address = f"({lesson.relative_to(FOLDER).as_posix()})"
    rows = [row for row in (FOLDER / "README.md").read_text().splitlines() if address in row]
    assert len(rows) == 1
    assert f"{reading}, {computing}" in rows[0]


def test_the_map_lists_nothing_else() -> None:
    links = re.findall(r"\(((?!https:)[^)]+\.ipynb)\)", (FOLDER / "README.md").read_text())
    assert links == [path.relative_to(FOLDER).as_posix() for path in EVERY]


# ---- nbval ----------------------------------------------------------------------------------------


def rules() -> list[tuple[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read(SANITIZE, encoding="utf-8")
    return [(parser.get(name, "regex"), parser.get(name, "replace")) for name in parser.sections()]


@pytest.mark.parametrize(
    "result",
    [
        "0.5488",
        "-0.011",
        "4000",
        "1e-09",
        "λ = 1.12",
        "in 3 steps",
        "in 4000 comparisons",
        "12 of 12",
        "3.384 s",
    ],
)
def test_no_sanitise_rule_touches_a_result(result: str) -> None:
    assert all(re.sub(regex, replace, result) == result for regex, replace in rules())


@pytest.mark.parametrize("noise", ["<object at 0x7f12ab34cd56>", "done in 3.2 seconds"])
def test_a_sanitise_rule_takes_what_it_is_there_for(noise: str) -> None:
    assert any(re.sub(regex, replace, noise) != noise for regex, replace in rules())


def test_only_the_doctor_may_print_what_it_likes() -> None:
    loose = [c.source for path in BUILT for c in cells(path, "code") if c.metadata.get("tags")]
    assert len(loose) == 1
    assert "doctor" in loose[0]


@pytest.mark.slow
def test_two_builds_leave_the_same_bytes() -> None:
    source = FOLDER / "src" / "02_the_cost_and_the_limit.py"
    first, second = builder.build(source), builder.build(source)
    assert first == second
    assert sys.prefix not in first


# ---- the fast setting -----------------------------------------------------------------------------


def calls_paced(lesson: Path) -> bool:
    return any("paced(" in cell.source for cell in cells(lesson, "code"))


PACED = [path for path in BUILT if calls_paced(path)]


def test_the_long_lessons_have_a_fast_setting() -> None:
    assert {"05", "09", "10"} <= {path.stem[:2] for path in PACED}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", [pytest.param(path, id=path.stem) for path in PACED])
def test_every_cell_runs_in_the_fast_setting_and_what_it_asserts_holds(
    lesson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(builder.KERNEL, "CDPO_EDU_FAST", "1")
    ran = builder.execute(read(lesson), FOLDER)
    code = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    shown = [output.get("text", "") for cell in code for output in cell.outputs]
    committed = [output.get("text", "") for cell in cells(lesson, "code") for output in cell.outputs]
    assert shown != committed  # the smaller numbers were taken
