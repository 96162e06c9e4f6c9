"""The reader of percent scripts agrees with jupytext on all our scripts and refuses what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import jupytext
import pytest

from cdpo_edu.classroom import sources
from cdpo_edu.classroom.exercises import ASSIGNMENTS
from cdpo_edu.classroom.sources import SourceCell, parse, read_source, source_path

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "notebooks" / "src").rglob("*.py"))
assert len(SCRIPTS) > 8


def by_jupytext(path: Path) -> list[SourceCell]:
    """Return what jupytext reads, without its counts of blank lines and those at a cell's edge."""
    cells = []
    for cell in jupytext.read(path, fmt="py:percent").cells:
        for blank in ("lines_to_next_cell", "lines_to_end_of_cell_marker"):
            cell.metadata.pop(blank, None)
        meta = {
            name: item if isinstance(item, str) else json.dumps(item) for name, item in cell.metadata.items()
        }
        cells.append(SourceCell(cell.cell_type, cell.source.strip("\n"), meta))
    return cells


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_source_reads_as_jupytext_reads_it(path: Path) -> None:
    assert read_source(path.stem) == by_jupytext(path)


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_every_assignment_has_its_source(assignment: object) -> None:
    assert read_source(assignment.name)[0].text.startswith("# ")  # type: ignore[attr-defined]


def test_metadata_keeps_quotes_and_lists() -> None:
    (cell,) = parse('# %% [markdown] alt="a \\"b\\" = c" tags=["x", "y"]\n# text\n#\n# more\n')
    assert cell == SourceCell("markdown", "text\n\nmore", {"alt": 'a "b" = c', "tags": '["x", "y"]'})


def test_a_magic_is_uncommented_and_a_comment_is_not() -> None:
    (cell,) = parse("# %%\n# %matplotlib inline\n# % of guests\nx = 1  # %age\n\n\n")
    assert cell == SourceCell("code", "%matplotlib inline\n# % of guests\nx = 1  # %age", {})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("x = 1\n# %%\n", "stands above the first cell: 'x = 1'"),
        ("# %% a title\n", "first line is not"),
        ("# %% [raw]\n", "first line is not"),
        ("# %% answer=dual_step\n", "first line is not"),
        ("# %% [markdown]\nplain\n", "prose must be commented out: 'plain'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(script: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(script)


def test_an_unknown_name_says_where_it_looked() -> None:
    with pytest.raises(ValueError, match="no source is called 'nothing'; looked in .*scripts and .*src"):
        source_path("nothing")


def test_the_wheel_s_copy_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "assignments" / "01_the_dual_step.py"
    packed.parent.mkdir()
    packed.write_text("# %%\n1\n")
    monkeypatch.setattr(sources, "PACKED", tmp_path)
    assert read_source("01_the_dual_step") == [SourceCell("code", "1", {})]
