"""Build notebooks/*.ipynb from notebooks/src/*.py, and notebooks/museum alike: execute, clean, write.

    python scripts/build_notebooks.py              every lesson and assignment
    python scripts/build_notebooks.py 02 01        lessons whose name starts so
    python scripts/build_notebooks.py --assignments [01]   assignments alone
    python scripts/build_notebooks.py --check      execute nothing; exit 1 when sources and notebooks differ

An assignment (notebooks/src/assignments) becomes three notebooks: the student's in notebooks/assignments,
which is not executed, the solved one in notebooks/solutions and the lecture's in notebooks/lectures.

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

from cdpo_edu.classroom.exercises import ASSIGNMENTS
from cdpo_edu.classroom.versions import Version, version

ROOT = Path(__file__).resolve().parents[1]
LESSONS = ROOT / "notebooks"
FOLDERS = (LESSONS, LESSONS / "museum")
VERSIONS: dict[str, Version] = {"assignments": "student", "solutions": "solution", "lectures": "lecture"}
CELL_SECONDS = 120
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LOOSE = "nbval-ignore-output"
KEPT = ("alt", "tags")  # of a cell's metadata: the words for its picture, and its tags
SETTINGS = (line.partition("=") for line in (ROOT / "scripts" / "lessons.env").read_text().splitlines())
KERNEL = {name: value for name, sign, value in SETTINGS if sign and not name.startswith("#")}

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
    """Return the text of the executed and cleaned notebook of a lesson."""
    return text_of(run(read_source(source), source.parents[1], source.stem))


def build_assignment(assignment: Any, kind: Version, folder: Path) -> str:
    """Return the text of a version of an assignment; the student's is handed out without outputs."""
    notebook = version(assignment, kind)
    return text_of(notebook if kind == "student" else run(notebook, folder, f"{kind} of {assignment.name}"))


def run(notebook: Any, folder: Path, name: str) -> Any:
    """Execute and clean a notebook."""
    try:
        return clean(execute(notebook, folder), name)
    except CellExecutionError as error:
        raise SystemExit(f"{name}: a cell failed\n{error}") from None


def text_of(notebook: Any) -> str:
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def cells_of(notebook: Any) -> list[tuple[str, str, dict[str, Any], str]]:
    """Return what a source fixes of each cell: its kind, text, metadata and id."""
    return [(cell.cell_type, cell.source, dict(cell.metadata), cell.id) for cell in notebook.cells]


def drift(source: Path, built: Path) -> str | None:
    """Say where a built notebook differs from its source; None where it does not."""
    if not source.exists():
        return f"{built.name}: its source {source.name} is missing"
    return difference(read_source(source), built, source.name)


def difference(wanted: Any, built: Path, source: str) -> str | None:
    """Say where a built notebook differs from the one it should be, made from the script ``source``."""
    if not built.exists():
        return f"{source}: not built yet"
    want, have = cells_of(wanted), cells_of(nbformat.read(built, as_version=4))
    if want == have:
        return None
    same = [a == b for a, b in zip(want, have, strict=False)]
    return f"{built.name}: cell {(*same, False).index(False)} differs from {source}"


def check(folder: Path) -> list[str]:
    """Return every drift between ``folder``/src/*.py and ``folder``/*.ipynb, in order of the lessons."""
    names = {path.stem for path in [*folder.glob("src/*.py"), *folder.glob("*.ipynb")]}
    found = (drift(folder / "src" / f"{name}.py", folder / f"{name}.ipynb") for name in sorted(names))
    return [line for line in found if line is not None]


def check_assignments(lessons: Path = LESSONS) -> list[str]:
    """Return every drift between the assignments' sources and their versions in ``lessons``."""
    found = []
    for folder, kind in VERSIONS.items():
        for assignment in ASSIGNMENTS:
            path = lessons / folder / f"{assignment.name}.ipynb"
            found.append(difference(version(assignment, kind), path, f"{assignment.name}.py ({kind})"))
        known = {assignment.name for assignment in ASSIGNMENTS}
        built = sorted((lessons / folder).glob("*.ipynb"))
        found += [f"{folder}/{path.name}: no assignment" for path in built if path.stem not in known]
    return [line for line in found if line is not None]


def write_lessons(beginnings: tuple[str, ...]) -> int:
    """Build the lessons whose names begin so; return how many there are."""
    every = [path for folder in FOLDERS for path in sorted(folder.glob("src/*.py"))]
    sources = [path for path in every if path.name.startswith(beginnings)]
    for source in sources:
        save(source.parents[1] / f"{source.stem}.ipynb", build(source))
    return len(sources)


def write_assignments(beginnings: tuple[str, ...]) -> int:
    """Build every version of the assignments whose names begin so; return how many assignments there are."""
    chosen = [assignment for assignment in ASSIGNMENTS if assignment.name.startswith(beginnings)]
    for assignment in chosen:
        for folder, kind in VERSIONS.items():
            (LESSONS / folder).mkdir(exist_ok=True)
            path = LESSONS / folder / f"{assignment.name}.ipynb"
            save(path, build_assignment(assignment, kind, path.parent))
    return len(chosen)


def save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"built {path.relative_to(LESSONS)}, {len(text) // 1024} KiB")


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the lessons and the assignments from their sources.")
    parser.add_argument("names", nargs="*", help="beginnings of names; default all")
    parser.add_argument("--assignments", action="store_true", help="build assignments, no lessons")
    parser.add_argument(
        "--check", action="store_true", help="execute nothing, report drift, exit 1 if there is any"
    )
    chosen = parser.parse_args()
    if chosen.check:
        found = [line for folder in FOLDERS for line in check(folder)] + check_assignments()
        print("\n".join(found) or "every notebook is built from its source")
        return 1 if found else 0
    beginnings = tuple(chosen.names) or ("",)
    built = 0 if chosen.assignments else write_lessons(beginnings)
    if chosen.assignments or not chosen.names:
        built += write_assignments(beginnings)
    if not built:
        parser.error(f"nothing in {LESSONS / 'src'} starts with {' or '.join(beginnings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
