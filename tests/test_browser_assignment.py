"""One assignment as a student meets it: a wrong answer, the check's message, the right one, validated.

Once in JupyterLab in a real browser, and once through a live kernel alone, which runs everywhere.
"""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from test_browser import CHROMIUM, kept
from test_browser_lab import PATIENCE, Lab, lab, opened, screen  # noqa: F401

from cdpo_edu.classroom.exercises import exercise_named
from cdpo_edu.classroom.grading import grade

ROOT = Path(__file__).resolve().parents[1]
STUDENT = ROOT / "notebooks" / "assignments" / "01_the_dual_step.ipynb"
SOLVED = ROOT / "notebooks" / "solutions" / STUDENT.name
KEY = "dual_step"
STUB = "...  # your code here"
WRONG = "return max(0.0, lam - step * (cost - limit))"
RIGHT = "return max(0.0, lam + step * (cost - limit))"
MESSAGE = "Your multiplier falls when the limit is broken."
PASSED = f"{KEY}: right on {exercise_named(KEY).trials} fresh instances"


def place(notebook: Any, role: str, key: str = KEY) -> int:
    """Return where the cell of a role is."""
    about = {"role": role, "key": key}
    return next(
        i for i, cell in enumerate(notebook.cells)
        if {name: cell.metadata.get("cdpo_edu", {}).get(name) for name in about} == about
    )  # fmt: skip


def said(outputs: list[Any]) -> str:
    """Return what a cell shows: what it printed, and the message of its error."""
    return "".join(output.get("text", "") + output.get("evalue", "") for output in outputs)


def answered(stub: str, body: str) -> str:
    """Return the answer's cell with a body in the place of the stub."""
    assert STUB in stub
    return stub.replace(STUB, body)


def test_a_student_s_way_through_an_assignment(tmp_path: Path) -> None:
    notebook = nbformat.read(STUDENT, as_version=4)
    answer, check = place(notebook, "answer"), place(notebook, "check")
    stub = notebook.cells[answer].source
    notebook.cells[place(notebook, "student", "id")].source = 'STUDENT = "ada"'
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    with client.setup_kernel(env=_environment()):
        for i in range(answer):
            client.execute_cell(notebook.cells[i], i)
        failed = {cell.metadata.get("cdpo_edu", {}).get("role") for cell in notebook.cells[:answer]
                  if any(output.output_type == "error" for output in cell.get("outputs", []))}  # fmt: skip
        assert failed <= {"check"}  # those of the exercises before, which are left out here

        def try_out(body: str) -> str:
            notebook.cells[answer].source = answered(stub, body)
            for i in (answer, check):
                client.execute_cell(notebook.cells[i], i)
            return said(notebook.cells[check].outputs)

        assert "is not answered yet" in try_out(STUB)
        assert MESSAGE in try_out(WRONG)
        assert PASSED in try_out(RIGHT) and MESSAGE not in try_out(RIGHT)
    nbformat.write(notebook, tmp_path / STUDENT.name)
    marked = grade(tmp_path / STUDENT.name, student="ada", trust=True)
    assert {mark.key: mark.sentence for mark in marked.exercises}[KEY] == "Right."


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_the_right_answer_of_this_walk_is_the_solution_s() -> None:
    notebook = nbformat.read(SOLVED, as_version=4)
    last = ast.parse(notebook.cells[place(notebook, "answer")].source).body[-1]
    assert isinstance(last, ast.FunctionDef) and ast.unparse(last.body[-1]) == RIGHT


# ---- in a real browser ------------------------------------------------------------------------------------

TYPE = """([index, text]) => {
  const panel = jupyterapp.shell.currentWidget.content;
  panel.activeCellIndex = index;
  const { editor } = panel.activeCell;
  editor.focus();
  const source = editor.model.sharedModel.getSource();
  const start = source.indexOf(text);
  editor.setSelection({ start: editor.getPositionAt(start), end: editor.getPositionAt(start + text.length) });
}"""
SELECT = "(index) => { jupyterapp.shell.currentWidget.content.activeCellIndex = index; }"
SHOWN = """(index) => [...jupyterapp.shell.currentWidget.content.widgets[index].node
  .querySelectorAll('.jp-OutputArea-output')].map((node) => node.textContent).join('\\n')"""
SOURCES = """() => jupyterapp.shell.currentWidget.content.widgets
  .map((cell) => cell.model.sharedModel.getSource())"""
SAVE = "jupyterapp.commands.execute('docmanager:save')"


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: `apt install chromium`, or name one in CDPO_EDU_CHROMIUM"
)
def test_an_assignment_in_the_browser(lab: Lab, screen: Any, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "notebooks" / STUDENT.name
    path.write_bytes(STUDENT.read_bytes())
    notebook = nbformat.read(STUDENT, as_version=4)
    answer, check = place(notebook, "answer"), place(notebook, "check")
    opened(lab, screen, STUDENT.name)
    run_again(screen, range(check), check)
    waits_for(screen, check, "is not answered yet")
    retype(screen, place(notebook, "student", "id"), "your id", "ada")
    retype(screen, answer, STUB, WRONG)
    run_again(screen, range(answer + 1), check)
    waits_for(screen, check, MESSAGE)
    kept(screen, "assignment_wrong")
    retype(screen, answer, WRONG, RIGHT)
    run_again(screen, [answer], check)
    waits_for(screen, check, PASSED)
    kept(screen, "assignment_right")
    screen.evaluate(SAVE)
    marked = grade(path, student="ada", trust=True)
    assert {mark.key: mark.sentence for mark in marked.exercises}[KEY] == "Right."
    assert json.loads(path.read_text())["metadata"]["cdpo_edu"]["assignment"] == STUDENT.stem


def retype(page: Any, cell: int, old: str, new: str) -> None:
    """Select a text in a cell and type another one over it, key by key."""
    page.evaluate(TYPE, [cell, old])
    page.keyboard.type(new)
    page.keyboard.press("Escape")
    sources = page.evaluate(SOURCES)
    assert new in sources[cell] and old not in sources[cell]


def run_again(page: Any, before: Any, check: int) -> None:
    for cell in (*before, check):
        page.evaluate(SELECT, cell)
        page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")


def waits_for(page: Any, cell: int, words: str) -> None:
    page.wait_for_function(
        f"([index, words]) => ({SHOWN})(index).includes(words)", arg=[cell, words], timeout=PATIENCE
    )
