"""A lecture's slides from the lessons' cells: as a notebook with slide marks, and as one HTML page.

The notebook is for Jupyter and RISE (``jupyter nbconvert --to slides`` knows the same marks). The page needs
nothing but a browser: pictures and formulas are inside it, and its script is a few lines of its own.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .formulas import FORMULA, formula_svg
from .lectures import Lecture
from .sources import SourceCell, read_source, source_path
from .template import fill_template
from .versions import HEADER

__all__ = ["executed_lesson", "slides_notebook", "slides_page"]

SECONDS = 120
"""Of one cell of a lesson."""


def executed_lesson(name: str) -> Any:
    """Return a lesson with outputs: the one that the clone holds, else its source executed here."""
    import nbformat

    built = source_path(name).parents[1] / f"{name}.ipynb"
    if built.exists():
        return nbformat.read(built, as_version=4)
    return execute_lesson(read_source(name))


def execute_lesson(cells: Sequence[SourceCell]) -> Any:
    """Return a lesson's cells as a notebook that was run in a fresh kernel."""
    import nbformat
    from nbclient import NotebookClient

    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made = [new[cell.kind](cell.text) for cell in cells]
    for cell, source in zip(made, cells, strict=True):
        if "alt" in source.meta:
            cell.metadata["alt"] = source.meta["alt"]
    notebook = nbformat.v4.new_notebook(cells=made, metadata=json.loads(json.dumps(HEADER)))
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", coalesce_streams=True)
    return client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "CDPO_EDU_BARS": "0"})


def section(notebook: Any, heading: str) -> list[Any]:
    """Return the cells of a lesson's section.

    Raises
    ------
    ValueError
        If the lesson has none of that name.
    """
    found, inside = [], False
    for cell in _split(notebook.cells):
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            inside = cell.source.splitlines()[0] == f"## {heading}"
        if inside:
            found.append(cell)
    if not found:
        raise ValueError(f"no section is called {heading!r}")
    return found


def _split(cells: Sequence[Any]) -> Iterator[Any]:
    """Yield the cells, with prose cut where a heading stands inside it."""
    import nbformat

    for cell in cells:
        pieces = re.split(r"(?m)^(?=## )", cell.source) if cell.cell_type == "markdown" else []
        if len(pieces) < 2:
            yield cell
        for number, piece in enumerate(pieces if len(pieces) > 1 else []):
            if piece.strip():
                yield nbformat.v4.new_markdown_cell(piece.strip(), id=f"{cell.id}-{number}")


def slides_notebook(lecture: Lecture) -> Any:
    """Return a lecture as a notebook: a heading begins a slide, further prose one below it."""
    import nbformat

    lessons = {part.lesson: executed_lesson(part.lesson) for part in lecture.sections}
    cells = [nbformat.v4.new_markdown_cell(_opening(lecture), id="opening")]
    for part in lecture.sections:
        cells += [nbformat.from_dict(dict(cell)) for cell in section(lessons[part.lesson], part.heading)]
    for cell in cells:
        cell.metadata = {"alt": cell.metadata["alt"]} if "alt" in cell.metadata else {}
        cell.metadata["slideshow"] = {"slide_type": _mark(cell)}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=json.loads(json.dumps(HEADER)))
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def _opening(lecture: Lecture) -> str:
    parts = "\n".join(f"* {part.heading} ({part.minutes} minutes)" for part in lecture.sections)
    beside = "\n".join(f"* {what} ({minutes} minutes)" for what, minutes in lecture.beside)
    return f"# {lecture.title}\n\n**Afterwards you can:** {lecture.aim}\n\n{parts}\n{beside}"


def _mark(cell: Any) -> str:
    if cell.cell_type == "code":
        return "-"  # stays on the slide of the prose above it
    return "slide" if cell.source.startswith("#") else "subslide"


def slides_page(notebook: Any, *, title: str) -> str:
    """Return the slides as one HTML page that works offline."""
    slides: list[list[str]] = []
    heading = ""
    for cell in notebook.cells:
        mark = cell.metadata.slideshow.slide_type
        if mark == "slide":
            heading = cell.source.splitlines()[0].lstrip("# ")
        if mark != "-" or not slides:
            slides.append([f'<p class="again">{html.escape(heading)}</p>'] if mark == "subslide" else [])
        slides[-1] += [_prose(cell.source)] if cell.cell_type == "markdown" else list(_code(cell))
    return fill_template("slides.html.j2", title=title, slides=["\n".join(slide) for slide in slides])


def _prose(text: str) -> str:
    """Return Markdown as HTML; formulas are set aside before and drawn after."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    drawn: list[str] = []

    def set_aside(found: re.Match[str]) -> str:
        drawn.append(formula_svg(found[1] or found[2], display=bool(found[1])))
        return f"FORMULA{len(drawn) - 1}END"

    page = str(markdown2html_mistune(FORMULA.sub(set_aside, text)))
    page = re.sub(r'<a class="anchor-link".*?</a>', "", page)
    return re.sub(r"FORMULA(\d+)END", lambda found: drawn[int(found[1])], page)


def _code(cell: Any) -> Iterator[str]:
    """Yield a code cell's text without magics, and what it printed and drew."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    text = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%")).strip()
    yield highlight(text, PythonLexer(), HtmlFormatter(noclasses=True, style="xcode", nobackground=True))
    for output in cell.outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        if "image/png" in data:
            picture = str(data["image/png"]).replace("\n", "")
            alt = html.escape(cell.metadata.get("alt", "a picture"))
            yield f'<img src="data:image/png;base64,{picture}" alt="{alt}">'
        elif data.get("text/plain"):
            yield f'<pre class="output">{html.escape(data["text/plain"].rstrip())}</pre>'
