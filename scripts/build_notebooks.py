"""Build notebooks/*.ipynb from notebooks/src/*.py, and notebooks/museum alike: execute, clean, write.

    python scripts/build_notebooks.py              every lesson
    python scripts/build_notebooks.py 02 01        lessons whose name starts so
    python scripts/build_notebooks.py --check      execute nothing; exit 1 when sources and lessons differ

Two builds on one machine leave the same bytes: cell ids come from the cells' text, and widget ids, execution
times and versions of the interpreter are left out. A clock time or a machine path in an output ends the
build, unless the cell is tagged nbval-ignore-output; there it is replaced by a word.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
LESSONS = ROOT / "notebooks"
FOLDERS = (LESSONS, LESSONS / "museum")
CELL_SECONDS = 120
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LOOSE = "nbval-ignore-output"
KEPT = ("alt", "tags")  # of a cell's metadata: the words for its picture, and its tags
KERNEL = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "CDPO_EDU_BARS": "0",
}

PERSONAL = {  # what an output must not tell: pattern -> the word that may stand for it
    r"\b\d{1,2}:\d{2}:\d{2}\b": "TIME",
    r"\bin \d+(\.\d+)? (s|seconds|minutes)\b|\b(Wall time|CPU times):.*": "TIME",
    r"(?<![\w.])(/(home|root|Users|tmp|work|usr|opt|var|mnt)/[^\s'\",;)]*|[A-Z]:\\[^\s'\",;)]*)": "PATH",
}


def read_source(path: Path) -> Any:
    """Return the unexecuted notebook of a percent script, with ids that depend on the cells' text alone."""
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        text = hashlib.sha256(f"{cell.cell_type}:{cell.source}".encode()).hexdigest()[:12]
        cell.id = f"{text}-{seen[text]}" if seen[text] else text
        seen[text] += 1
        cell.metadata = {name: cell.metadata[name] for name in KEPT if name in cell.metadata}
    return notebook


def execute(notebook: Any, folder: Path) -> Any:
    """Run every cell in a fresh kernel, in ``folder``; an error ends the build."""
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=place, coalesce_streams=True
    )
    client.record_timing = False
    return client.execute(env=os.environ | KERNEL)


def clean(notebook: Any, name: str) -> Any:
    """Take out what differs between two runs or two machines and is no result."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("execution", None)
        loose, where = LOOSE in cell.metadata.get("tags", []), f"{name}, cell {number}"
        outputs = cell.get("outputs", [])
        if loose:  # what libraries log there is about the machine
            outputs[:] = [output for output in outputs if output.get("name") != "stderr"]
        for output in outputs:
            if output.get("name") == "stderr":
                raise SystemExit(f"{where}: warns {output.text.strip()!r}; mend it, or tag it {LOOSE}")
            output.get("data", {}).pop(WIDGET_VIEW, None)
            _impersonal(output, where, loose=loose)
    return notebook


def _impersonal(output: Any, where: str, *, loose: bool) -> None:
    places = [(output, "text")] if "text" in output else [(output.get("data", {}), "text/plain")]
    for holder, key in places:
        for pattern, word in PERSONAL.items():
            found = re.search(pattern, holder.get(key, ""), flags=re.MULTILINE)
            if found and not loose:
                raise SystemExit(f"{where}: prints {found.group()!r}, no result; mend it, or tag it {LOOSE}")
            if found:
                holder[key] = re.sub(pattern, word, holder[key], flags=re.MULTILINE)


def build(source: Path) -> str:
    """Return the text of the executed and cleaned notebook."""
    try:
        notebook = clean(execute(read_source(source), source.parents[1]), source.stem)
    except CellExecutionError as error:
        raise SystemExit(f"{source.stem}: a cell failed\n{error}") from None
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def cells_of(notebook: Any) -> list[tuple[str, str, dict[str, Any], str]]:
    """Return what a source fixes of each cell: its kind, text, metadata and id."""
    return [(cell.cell_type, cell.source, dict(cell.metadata), cell.id) for cell in notebook.cells]


def drift(source: Path, built: Path) -> str | None:
    """Say where a built notebook differs from its source; None where it does not."""
    if not source.exists():
        return f"{built.name}: its source {source.name} is missing"
    if not built.exists():
        return f"{source.name}: not built yet"
    want = cells_of(read_source(source))
    have = cells_of(nbformat.read(built, as_version=4))
    if want == have:
        return None
    same = [a == b for a, b in zip(want, have, strict=False)]
    return f"{built.name}: cell {(*same, False).index(False)} differs from {source.name}"


def check(folder: Path) -> list[str]:
    """Return every drift between ``folder``/src/*.py and ``folder``/*.ipynb, in order of the lessons."""
    names = {path.stem for path in [*folder.glob("src/*.py"), *folder.glob("*.ipynb")]}
    found = (drift(folder / "src" / f"{name}.py", folder / f"{name}.ipynb") for name in sorted(names))
    return [line for line in found if line is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the lessons from their sources.")
    parser.add_argument("lessons", nargs="*", help="beginnings of names; default all")
    parser.add_argument(
        "--check", action="store_true", help="execute nothing, report drift, exit 1 if there is any"
    )
    chosen = parser.parse_args()
    if chosen.check:
        found = [line for folder in FOLDERS for line in check(folder)]
        print("\n".join(found) or "every lesson is built from its source")
        return 1 if found else 0
    wanted = tuple(chosen.lessons) or ("",)
    every = [path for folder in FOLDERS for path in sorted(folder.glob("src/*.py"))]
    sources = [path for path in every if path.name.startswith(wanted)]
    if not sources:
        parser.error(f"no lesson in {LESSONS / 'src'} starts with {' or '.join(wanted)}")
    for source in sources:
        text = build(source)
        (source.parents[1] / f"{source.stem}.ipynb").write_text(text, encoding="utf-8")
        print(f"built {source.stem}.ipynb, {len(text) // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
