r"""Formulas as pictures inside a page, drawn by matplotlib: no script, no font and no network is needed.

matplotlib's mathtext knows most of TeX's mathematics. What the lessons use beyond it is rewritten first:
``\le`` and ``\ge``, sized brackets, ``\tfrac`` and fractions without braces, and
``\underbrace{a}_{b}``, which becomes b written under a.
"""

from __future__ import annotations

import html
import re
from functools import cache

__all__ = ["FORMULA", "formula_svg"]

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n](?:[^$]*[^$\s])?)\$", re.DOTALL)
"""A displayed formula, or one in a line."""

TOKEN = r"(\\[a-zA-Z]+|[^\s{}\\])"
"""What TeX takes for an argument when no brace opens: a command, or one character."""

SIZE = 10.0
"""Units of the drawing for the height of one line of text (1 em)."""


def _plain(tex: str) -> str:
    r"""Return TeX that mathtext knows.

    >>> _plain(r"\underbrace{x_{1}}_{\text{dish}} \le \big(2\big)")
    '\\underset{\\text{dish}}{x_{1}} \\leq (2)'
    >>> _plain(r"\tfrac12 + \frac1X")
    '\\frac{1}{2} + \\frac{1}{X}'
    """
    tex = re.sub(r"\\(le|ge)(?![a-z])", r"\\\1q", tex.replace("\n", " "))
    tex = re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", tex)
    tex = re.sub(r"\^\s*(?:\*|\{\*\})", r"^{{\\ast}}", tex)  # bare, mathtext spaces it as a product
    tex = re.sub(r"\\t?frac(?![a-zA-Z])\s*", r"\\frac", tex)
    tex = re.sub(rf"\\frac{TOKEN}", r"\\frac{\1}", tex)
    tex = re.sub(rf"(\\frac\{{[^{{}}]*\}})\s*{TOKEN}", r"\1{\2}", tex)
    while (start := tex.find(r"\underbrace")) >= 0:
        body = _group(tex, start + len(r"\underbrace"))
        under = _group(tex, body[1] + 1)  # past the underscore
        pair = rf"\underset{{{tex[slice(*under)]}}}{{{tex[slice(*body)]}}}"
        tex = tex[:start] + pair.replace("{{", "{").replace("}}", "}") + tex[under[1] :]
    return tex


def _displayed(tex: str) -> str:
    r"""Return plain TeX whose fractions stand as large as a displayed line has them, those in braces apart.

    >>> _displayed(r"\frac{a}{b} e^{\frac{c}{d}}")
    '\\dfrac{a}{b} e^{\\frac{c}{d}}'
    """

    def outermost(found: re.Match[str]) -> str:
        before = tex[: found.start()]
        return r"\dfrac" if before.count("{") == before.count("}") else found[0]

    return re.sub(r"\\frac(?![a-zA-Z])", outermost, tex)


def _group(tex: str, start: int) -> tuple[int, int]:
    """Return where the group in braces that begins at ``start`` begins and ends."""
    depth = 0
    for place in range(start, len(tex)):
        depth += {"{": 1, "}": -1}.get(tex[place], 0)
        if depth == 0:
            return start, place + 1
    raise ValueError(f"a brace is not closed in {tex!r}")


@cache
def formula_svg(tex: str, *, display: bool = False) -> str:
    """Return an SVG element that shows a formula in the colour of the text around it.

    Parameters
    ----------
    tex : str
        Without dollar signs.
    display : bool
        On a line of its own, and a little larger.

    Raises
    ------
    ValueError
        If mathtext cannot draw it.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    plain = _displayed(_plain(tex)) if display else _plain(tex)
    shape = TextPath((0, 0), f"${plain}$", size=SIZE, prop=FontProperties(math_fontfamily="cm"))
    box = shape.get_extents()
    scale = (1.2 if display else 1.05) / SIZE
    view = f"{box.x0:.2f} {-box.y1:.2f} {box.width:.2f} {box.height:.2f}"
    place = f"height:{box.height * scale:.3f}em;vertical-align:{min(box.y0, 0) * scale:.3f}em"
    return (
        f'<svg class="{"display" if display else "inline"}" role="img" aria-label="{html.escape(tex)}" '
        f'viewBox="{view}" style="{place}"><path d="{_outline(shape)}"/></svg>'
    )


def _outline(shape: object) -> str:
    """Return a path in SVG's letters; SVG counts downwards."""
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in shape.iter_segments(simplify=False, curves=True):  # type: ignore[attr-defined]
        pairs = [] if code == 79 else [f"{x:.2f} {-y:.2f}" for x, y in points.reshape(-1, 2)]
        parts.append(letters[int(code)] + " ".join(pairs))
    return "".join(parts)
