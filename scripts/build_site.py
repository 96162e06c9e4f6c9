"""Build the site of the lessons: python scripts/build_site.py [--out FOLDER]

Lessons with their committed outputs, the museum, the assignments, the pages of docs/ and the live explorer
become static HTML in FOLDER (default: dist/site). Nothing is executed and nothing is fetched, here or by a
reader's browser: formulas are drawn as SVG. The build ends with exit code 1 when Sphinx warns of anything,
when a formula cannot be drawn, and when a link or an anchor inside the site leads nowhere; links to elsewhere
are not followed.

Needs the packages of the extra `site`: pip install -c scripts/constraints.txt -e ".[site]"
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat

from cdpo_edu.widgets.kitchen import DISHES, GUESTS, kitchen_problem
from cdpo_edu.widgets.page import explorer_page

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "dist" / "site"
SETTINGS = ROOT / "scripts" / "site"
PATTERNS = (
    "README.md",
    "CITATION.cff",
    "docs/*.*",
    "notebooks/*.md",
    "notebooks/[0-9]*.ipynb",
    "notebooks/museum/*.ipynb",
    "notebooks/assignments/*.ipynb",
)


def stage(folder: Path) -> None:
    """Lay the pages out as they lie in the clone, so that their links hold; add front page and explorer."""
    for pattern in PATTERNS:
        for path in ROOT.glob(pattern):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
            if path.suffix == ".ipynb":
                describe_pictures(target)
    for path in SETTINGS.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "_extra").mkdir()
    page = explorer_page(kitchen_problem(), labels=DISHES, prompts=GUESTS)
    (folder / "_extra" / "explorer.html").write_text(page, encoding="utf-8")


def describe_pictures(path: Path) -> None:
    """Move the words for a cell's picture to where the site's builder looks for them."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "alt" in cell.metadata:
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(cell.metadata.pop("alt").split())}}
    nbformat.write(notebook, path)


def build(out: Path) -> bool:
    """Build the site into ``out``; return False when Sphinx, whose lines say what, warned of anything."""
    with tempfile.TemporaryDirectory() as kept:
        source = Path(kept) / "source"
        source.mkdir()
        stage(source)
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
        places = ["-d", str(Path(kept) / "read"), str(source), str(out)]
        return subprocess.run([*command, *places]).returncode == 0


def make_room(out: Path) -> None:
    """Remove the site that an earlier build left in ``out``; anything else there is left alone."""
    if (out / ".buildinfo").is_file():
        shutil.rmtree(out)
    if out.exists() and any(out.iterdir()):
        raise SystemExit(f"{out}: holds something that is no site of ours; name another folder")


class Page(HTMLParser):
    """What a page links to, the names of its places, and its pictures without words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.wordless: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {str(given[name]) for name in ("id", "name") if given.get(name)}
        self.links += [str(given[name]) for name in ("href", "src") if given.get(name) is not None]
        if tag == "img" and not given.get("alt"):
            self.wordless.append(str(given.get("src"))[:60])


def broken_links(folder: Path) -> Iterator[str]:
    """Yield every link from a page of ``folder`` to a file or a place that is not there."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or folder.resolve() not in target.resolve().parents:
                yield f"{path.relative_to(folder)}: {link} leads to no file"
            elif target in pages and unquote(parts.fragment) not in pages[target].places:
                yield f"{path.relative_to(folder)}: {link} leads to no place of that page"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the site of the lessons.")
    parser.add_argument("--out", type=Path, default=DEFAULT, help="default: dist/site")
    out = parser.parse_args().out.resolve()
    make_room(out)
    if not build(out):
        return 1
    found = list(broken_links(out))
    print("\n".join(found) or f"site: {out / 'index.html'}, {sum(1 for _ in out.rglob('*.html'))} pages")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
