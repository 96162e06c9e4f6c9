"""The explorer in JupyterLab, in a real browser: a hand in the page moves the kernel's traits, and back."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from test_browser import CHROMIUM, FLAGS, kept, playwright

from cdpo_edu.widgets import dual_view, kitchen_problem

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium: `apt install chromium`, or name one in CDPO_EDU_CHROMIUM"
    ),
]
ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "notebooks" / "03_the_dual.ipynb"
PATIENCE = 120_000  # milliseconds: a kernel that imports this package on a busy machine

NEWEST = """
import gc
from cdpo_edu.widgets import DualExplorer
explorer = [w for w in gc.get_objects() if type(w).__mro__.count(DualExplorer)][-1]
"""

ASK_THE_KERNEL = """async (code) => {
  const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
  let said = "";
  const asked = kernel.requestExecute({ code, store_history: false });
  asked.onIOPub = ({ header, content }) => {
    if (header.msg_type === "stream") said += content.text;
    if (header.msg_type === "error") said += content.evalue;
  };
  await asked.done;
  return said.trim();
}"""


GROUNDS = "(elements) => elements.map((element) => getComputedStyle(element).backgroundColor)"

CELLS = """(() => {
  const { content } = jupyterapp.shell.currentWidget;
  return [content.activeCellIndex, content.widgets.length];
})()"""


class Lab:
    """A JupyterLab of its own: its address, and the token that opens it."""

    def __init__(self, folder: Path, notebooks: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.token, self.url, self.log = secrets.token_hex(16), f"http://127.0.0.1:{port}", folder / "log"
        own = {"JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"}
        settings = {name: str(folder / name.lower()) for name in own | {"JUPYTER_RUNTIME_DIR"}}
        flags = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
        flags += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={notebooks}"]
        self.said = self.log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *flags, "--allow-root", "--expose-app-in-browser"],
            env=os.environ | settings | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=self.said,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> None:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.5)
        raise AssertionError(f"JupyterLab did not start: {self.log.read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.said.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "notebooks").mkdir()
    lab = Lab(tmp_path, tmp_path / "notebooks")
    yield lab
    lab.stop()


@pytest.fixture
def screen() -> Iterator[Any]:
    """Return a page that reaches nothing but this machine."""
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def run_all(lab: Lab, page: Any, name: str) -> None:
    """Open a notebook and run all its cells."""
    opened(lab, page, name)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def opened(lab: Lab, page: Any, name: str) -> None:
    """Open a notebook and wait until its kernel is idle."""
    lab.wait()
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(
        """() => {
          const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
          return kernel?.connectionStatus === "connected" && kernel?.status === "idle";
        }"""
    )


def ask(page: Any, code: str) -> str:
    return str(page.evaluate(ASK_THE_KERNEL, NEWEST + code))


def drive(page: Any, name: str) -> None:
    """Drag the point: picture, headline and the kernel's lam must follow it, and then the page the kernel."""
    page.wait_for_selector(".cdpo-explorer .dual .handle", state="attached")
    page.locator(".cdpo-explorer").last.scroll_into_view_if_needed()
    page.wait_for_selector(".dual .front .tangent", state="attached")
    before, start = page.locator(".dual .front").inner_html(), float(ask(page, "print(explorer.lam)"))
    drag_in_lab(page)
    assert page.locator(".dual .front").inner_html() != before
    told = told_lam(page)
    for _ in range(40):
        lam = float(ask(page, "print(explorer.lam)"))
        if lam == pytest.approx(told) and lam != start:
            break
        time.sleep(0.25)
    assert lam == pytest.approx(told) and lam != start
    assert headline(page) == ask(page, "print(explorer.view.describe())")
    kept(page, f"lab_{name}")
    ask(page, "explorer.lam = 1.25")
    page.get_by_text("λ = 1.25", exact=True).first.wait_for()
    assert headline(page) == ask(page, "print(explorer.view.describe())")


def drag_in_lab(page: Any) -> None:
    box = page.locator(".dual .handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for part in range(1, 6):
        page.mouse.move(x + 20 * part, y)
    page.mouse.up()
    page.wait_for_timeout(300)


def told_lam(page: Any) -> float:
    return float(page.locator(".dual .handle").get_attribute("aria-valuenow"))


def headline(page: Any) -> str:
    return " ".join(f"{part}." for part in page.locator(".headline .part").all_inner_texts())


def test_a_notebook_with_the_explorer(lab: Lab, screen: Any, tmp_path: Path) -> None:
    code = (
        "from cdpo_edu.widgets import DISHES, GUESTS, dual_explorer, kitchen_problem",
        "explorer = dual_explorer(kitchen_problem(), labels=DISHES, prompts=GUESTS)\nexplorer",
    )
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}  # else Lab asks
    cells = [nbformat.v4.new_code_cell(cell) for cell in code]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook, tmp_path / "notebooks" / "explorer.ipynb")
    run_all(lab, screen, "explorer.ipynb")
    drive(screen, "explorer")
    assert headline(screen) == dual_view(kitchen_problem(), 1.25).describe()
    cells = screen.evaluate(CELLS)
    for key in ("ArrowUp", "a", "ArrowDown", "b"):  # in JupyterLab's command mode they move and make cells
        screen.locator(".dual .handle").press(key)
    assert screen.evaluate(CELLS) == cells
    # From 1.25, between two notches of 0.02, up to 1.28 and down again.
    assert headline(screen) == dual_view(kitchen_problem(), 1.26).describe()
    ask(screen, "explorer.lam = 1.25")
    screen.get_by_text("λ = 1.25", exact=True).first.wait_for()
    screen.click("button.step")
    screen.wait_for_timeout(800)
    walk = ask(screen, "print(explorer.walk == [1.25, explorer.lam], explorer.rule)")
    assert walk == "True GradientRule"
    assert ask(screen, "explorer.limit = 0.02").strip() == ""
    screen.get_by_text("No policy meets this limit").first.wait_for()
    screen.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    screen.wait_for_timeout(1500)
    grounds = screen.locator(".cdpo-explorer, .cdpo-explorer .panel").evaluate_all(GROUNDS)
    assert set(grounds) <= {"rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"}
    kept(screen, "lab_dark")


@pytest.mark.skipif(not LESSON.exists(), reason=f"{LESSON.name} is not built in this clone")
def test_the_lesson_on_the_dual(lab: Lab, screen: Any, tmp_path: Path) -> None:
    (tmp_path / "notebooks" / LESSON.name).write_bytes(LESSON.read_bytes())
    run_all(lab, screen, LESSON.name)
    drive(screen, LESSON.stem)
