"""Sphinx's settings for the site of the lessons; scripts/build_site.py stages the pages and calls it.

Formulas are drawn here, by cdpo_edu.classroom.formulas, so that a page needs no script from elsewhere.
"""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

from docutils import nodes
from sphinx.util import logging

from cdpo_edu.classroom.formulas import formula_svg

project = "cdpo_edu"
author = "The cdpo_edu authors"
html_title = "cdpo_edu: preferences under a limit"
extensions = ["myst_nb"]
nb_execution_mode = "off"  # the committed outputs are shown; nothing is computed
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_extra"]
suppress_warnings = ["myst.header"]  # a page may open with an aside a level down
html_theme = "furo"
html_math_renderer = "drawn"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]  # the explorer's page
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_use_index = False  # nothing here fills an index of names
html_show_copyright = False  # the licence is on the front page's README


def drawn(writer: Any, node: Any, *, display: bool) -> str:
    """Return a formula's picture; one that cannot be drawn is a warning, which ends the build."""
    try:
        return formula_svg(node.astext().strip(), display=display)
    except ValueError as error:
        page, reason = writer.builder.current_docname, str(error).strip().splitlines()[-1]
        logging.getLogger(__name__).warning(
            "formula cannot be drawn: %s (%s)", node.astext(), reason, location=page, type="formula"
        )
        return ""


def in_line(writer: Any, node: Any) -> NoReturn:
    """Write a formula that stands in a sentence."""
    writer.body.append(f'<span class="math">{drawn(writer, node, display=False)}</span>')
    raise nodes.SkipNode


def on_its_own(writer: Any, node: Any) -> NoReturn:
    """Write a formula that stands on a line of its own; a narrow page breaks it where it has wide gaps."""
    parts = [drawn(writer, nodes.math("", part), display=True) for part in wide_parts(node.astext())]
    writer.body.append(f'<div class="math" tabindex="0">{" ".join(parts)}</div>\n')
    raise nodes.SkipNode


def wide_parts(tex: str) -> Iterator[str]:
    r"""Yield the formulas that ``\qquad`` sets side by side; one inside braces divides nothing."""
    kept = ""
    for part in tex.split(r"\qquad"):
        kept += part
        if kept.count("{") == kept.count("}"):
            yield kept
            kept = ""
        else:
            kept += r"\qquad"
    if kept:
        yield kept


def keep_stops(app: Any, name: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Keep a full stop or comma on the line of the formula before it."""
    found = re.compile(r"(</svg>)(</span>)([.,;:!?)]+)")
    context["body"] = found.sub(r"\1\3\2", context.get("body", ""))


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx the way in which this site writes formulas."""
    app.add_html_math_renderer("drawn", (in_line, None), (on_its_own, None))
    app.connect("html-page-context", keep_stops)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
