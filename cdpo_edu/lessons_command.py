"""The command `cdpo-edu lessons`: the course, copied out of the installed package.

Left out: which files these are, and how they are copied (`lessons`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lessons(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Copy lessons with their outputs, the museum and the assignments into a folder, to run there."""
    from .lessons import copy_lessons

    written = copy_lessons(folder)
    notebooks = sum(path.suffix == ".ipynb" for path in written)
    typer.echo(f"lessons: {notebooks} notebooks in {folder}; the map is {folder / 'README.md'}")
    typer.echo(f"open them with: python -m jupyterlab {folder}")
