"""The texts that a course is made of, filled with its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

__all__ = ["fill_template"]

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def fill_template(name: str, **words: Any) -> str:
    """Return one of the package's templates with its words put in; a word that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html.j2"),
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(**words)
