"""A class in a zip: a row for everybody whatever they sent, and marks that survive a killed run."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from handed_in import ASSIGNMENT, NAME, SOLVED, TIGHT, Kitchen, kitchen  # noqa: F401

from cdpo_edu.classroom import exercises, submission
from cdpo_edu.classroom.exercises import assignment_named
from cdpo_edu.classroom.gradebook import archive, mark_class, marking
from cdpo_edu.classroom.gradebook.archive import Entry, entries
from cdpo_edu.classroom.gradebook.layouts import people
from cdpo_edu.classroom.gradebook.table import plain
from cdpo_edu.classroom.gradebook.who import identities
from cdpo_edu.classroom.versions import version
from cdpo_edu.types import InputError

ROOT = Path(__file__).resolve().parents[1]
STEP = SOLVED["dual_step"]
WRONG = STEP.replace("lam + step", "lam - step")
CRASH = STEP.replace("return", "import os; os._exit(3)\n    return")
HANG = STEP.replace("return", "while True: pass\n    return")
Row = dict[str, str]


class Class:
    """A zip of submissions, marked into a folder."""

    def __init__(self, kitchen: Kitchen, folder: Path) -> None:  # noqa: F811
        self.kitchen, self.folder, self.path = kitchen, folder, folder / "class.zip"
        self.file = zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED)
        self.said: list[str] = []

    def add(self, path: str, content: str | None = None, when: Any = None, **parts: str) -> None:
        """Add a notebook, or the text given."""
        entry = zipfile.ZipInfo(path, when or (2026, 3, 1, 12, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        self.file.writestr(entry, self.kitchen.notebook(**parts).read_text() if content is None else content)

    def marked(self, **options: Any) -> list[Row]:
        """Return the rows of the table."""
        self.file.close()
        options = {"limits": TIGHT, "trust": True} | options
        made = mark_class(self.path, table=self.table, feedback=self.pages, say=self.said.append, **options)
        self.said += made.report()
        return list(csv.DictReader(self.table.read_text(encoding="utf-8-sig").splitlines()))

    @property
    def table(self) -> Path:
        return self.folder / "marks.csv"

    @property
    def pages(self) -> Path:
        return self.folder / "pages"

    def page(self, start: str) -> str:
        """Return the page whose file's name begins so."""
        (path,) = self.pages.glob(f"{start}*.html")
        return path.read_text(encoding="utf-8")


@pytest.fixture
def group(kitchen: Kitchen, tmp_path: Path) -> Class:  # noqa: F811
    return Class(kitchen, tmp_path)


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row["name"]: row for row in rows}


# ---- a whole class ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [10, pytest.param(120, marks=pytest.mark.slow)])
def test_a_mixed_class_gets_a_row_each(group: Class, count: int) -> None:
    folder = "{}_{}_assignsubmission_file_/{}"
    odd: list[tuple[str, dict[str, Any]]] = [
        ("Crash Test", {"dual_step": CRASH}),
        ("Hang Long", {"dual_step": HANG}),
        ("Empty File", {"content": ""}),
        ("Broken Json", {"content": '{"cells": ['}),
        ("Wrong Sign", {"dual_step": WRONG}),
    ]
    for number, (name, parts) in enumerate(odd):
        group.add(folder.format(name, number, f"{NAME}.ipynb"), **{"student": f"s{number}"} | parts)
    group.add(folder.format("Re Named", 5, "meine Lösung (2).ipynb"), student="s5")
    group.add(folder.format("No File", 6, ""), content="")
    for number in range(7, count):
        group.add(folder.format(f"Student Ünal {number}", number, f"{NAME}.ipynb"), student=f"s{number}")
    rows = group.marked()
    found = by_name(rows)
    assert len(rows) == len(found) == count
    assert Counter(row["status"] for row in rows) == {"marked": count - 3, "unreadable": 2, "no notebook": 1}
    scores = {"Crash Test": "3", "Hang Long": "3", "Wrong Sign": "3", "Re Named": "6", "Empty File": "0"}
    assert {name: found[name]["score"] for name in scores} == scores  # a lost exercise costs its own 3 of 6
    assert all(row["score"] == "6" for row in rows if row["name"].startswith("Student"))
    assert all(row["max_score"] == "6" for row in rows)
    assert found["Empty File"]["note"] == f"{NAME}.ipynb: the file is empty."
    assert "marked.ipynb" not in found["Broken Json"]["note"]
    assert re.fullmatch(r"\d+\.\d minutes in all \(\d+ s\)", group.said[-1])
    assert len(list(group.pages.glob("*.html"))) == count
    assert [row["name"] for row in rows] == sorted(found, key=str.casefold)


def test_marking_that_fails_gives_a_row_without_a_score(
    group: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, **options: Any) -> None:
        raise RuntimeError("no room left")

    monkeypatch.setattr(marking, "grade", failing)
    group.add("ada/a.ipynb")
    (row,) = group.marked()
    assert (row["status"], row["score"], row["max_score"]) == ("not marked", "", "6")
    assert "no room left" in row["note"] and "no room left" not in group.page("ada")
    assert not list(group.folder.glob("marks.csv.kept/*.json"))  # the next run tries again


# ---- layouts ----------------------------------------------------------------------------------------------

LAYOUTS = {
    "Ada Lovelace_12_assignsubmission_file_/a.ipynb": ("moodle", "12", "Ada Lovelace"),
    "Ada Lovelace_12_assignsubmission_file/sub/a.ipynb": ("moodle", "12", "Ada Lovelace"),
    "Ada Lovelace_12_assignsubmission_file_a_b.ipynb": ("moodle", "12", "Ada Lovelace"),
    "Ada_Ö'Neill_12_assignsubmission_file_/": ("moodle", "12", "Ada_Ö'Neill"),
    "Ada_12_assignsubmission_onlinetext_/onlinetext.html": ("moodle", "12", "Ada"),
    "all/Ada_12_assignsubmission_file_/3_4_a.ipynb": ("moodle", "12", "Ada"),
    "lovelaceada_12_345_a b-1.ipynb": ("canvas", "12", "lovelaceada"),
    "lovelaceada_LATE_12_345_a.ipynb": ("canvas", "12", "lovelaceada"),
    "lovelaceada_12_text.html": ("canvas", "12", "lovelaceada"),
    "anon_x7Q_345_a.ipynb": ("canvas", "anon_x7Q", "anon_x7Q"),
    "LATE_anon_x7Q_345_a.ipynb": ("canvas", "anon_x7Q", "anon_x7Q"),
    "ada/a.ipynb": ("plain", "ada", "ada"),
    "ada lovelace.ipynb": ("plain", "ada lovelace", "ada lovelace"),
    "all/ada/a.ipynb": ("plain", "ada", "ada"),
}


def entry(path: str, index: int = 0, when: datetime | None = None) -> Entry:
    return Entry(path, when, "", index)


@pytest.mark.parametrize("path", LAYOUTS)
def test_a_platform_s_layout_says_whose_a_file_is(path: str) -> None:
    (person,), nobody = people([entry(path)])
    assert (person.layout, person.number, person.name) == LAYOUTS[path]
    assert person.late == ("LATE" in path) and nobody == []


def test_a_class_packed_as_a_folder_is_told_from_a_student_s_folder() -> None:
    def names(*paths: str) -> list[str]:
        return [person.name for person in people([entry(path) for path in paths])[0]]

    assert names("all/ada.ipynb", "all/bob.ipynb") == ["ada", "bob"]
    assert names("ada/01_the_dual_step.ipynb", "ada/02_preferences_and_costs.ipynb") == ["ada"]
    assert names("ada/a.ipynb", "bob/a.ipynb", "notes.txt") == ["ada", "bob"]


def test_names_are_read_in_utf_8_even_where_the_zip_does_not_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("Zoë_1_assignsubmission_file_/a.ipynb", "")
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place + 1] &= ~0x08  # bit 11: "this name is UTF-8"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        assert "Zoë" not in file.namelist()[0]
        assert [found.path for found in entries(file)] == ["Zoë_1_assignsubmission_file_/a.ipynb"]


def test_what_systems_leave_in_a_folder_is_nobody_s(group: Class) -> None:
    for path in ("__MACOSX/ada/._a.ipynb", "ada/.ipynb_checkpoints/a.ipynb", ".DS_Store"):
        group.add(path, content="junk")
    group.add("ada/a.ipynb")
    (row,) = group.marked()
    assert (row["student"], row["score"], row["note"]) == ("ada", "6", "")


# ---- copies and assignments -------------------------------------------------------------------------------


def test_the_latest_copy_counts(group: Class) -> None:
    """Moodle's by its time, Canvas's by its number; one that cannot be read does not hide one that can."""
    group.add("Ada_1_assignsubmission_file_/new.ipynb", when=(2026, 3, 2, 9, 0, 0), dual_step=WRONG)
    group.add("Ada_1_assignsubmission_file_/old.ipynb", when=(2026, 3, 1, 9, 0, 0))
    group.add("bobby_2_77_a-1.ipynb", student="bob")
    group.add("bobby_2_9_a.ipynb", student="bob", dual_step=WRONG)
    group.add("Cyd_3_assignsubmission_file_/new.ipynb", content="{", when=(2026, 3, 2, 9, 0, 0))
    group.add("Cyd_3_assignsubmission_file_/old.ipynb", when=(2026, 3, 1, 9, 0, 0), student="cyd")
    found = by_name(group.marked())
    assert {name: row["score"] for name, row in found.items()} == {"Ada": "3", "bobby": "6", "Cyd": "6"}
    assert "The latest copy counts (new.ipynb), not old.ipynb." in found["Ada"]["note"]
    assert "(bobby_2_77_a-1.ipynb), not bobby_2_9_a.ipynb." in found["bobby"]["note"]
    assert "new.ipynb: not a notebook" in found["Cyd"]["note"]


def test_two_assignments_in_one_zip_are_two_rows(group: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    second = replace(ASSIGNMENT, name="91_another")
    for room in (exercises, submission):
        monkeypatch.setattr(room, "ASSIGNMENTS", (ASSIGNMENT, second))
    group.add("ada/a.ipynb")
    group.add("ada/b.ipynb", content=group.kitchen.notebook().read_text().replace(NAME, second.name))
    group.add("bob/b.ipynb", content="{")
    rows = group.marked()
    got = [(row["student"], row["assignment"], row["score"], row["max_score"]) for row in rows]
    assert got == [("ada", NAME, "6", "6"), ("ada", second.name, "6", "6"), ("bob", "", "0", "")]
    assert len(list(group.pages.glob("*.html"))) == 2
    assert group.page("ada").count("<section>") == 2


def test_minutes_late_are_counted_up_and_left_out_where_nobody_knows_them(group: Class) -> None:
    group.add("ada/a.ipynb", when=(2026, 3, 1, 12, 0, 2))
    group.add("bob/a.ipynb", when=(2026, 3, 1, 9, 0, 0), student="bob")
    group.add("cyd_LATE_3_4_a.ipynb", student="cyd")
    due = datetime(2026, 3, 1, 12)
    assert {row["name"]: row["minutes_late"] for row in group.marked(due=due)} == {
        "ada": "1", "bob": "0", "cyd": "",
    }  # fmt: skip
    assert "It came 1 minutes late." in group.page("ada")


def test_times_of_packing_say_nothing_about_who_was_late(group: Class) -> None:
    for name in ("ada", "bob"):
        group.add(f"{name}/a.ipynb", student=name)
    assert {row["minutes_late"] for row in group.marked(due=datetime(2026, 3, 1, 11))} == {""}
    assert group.said[0].startswith("the zip's times are those of its packing")


# ---- refusals ---------------------------------------------------------------------------------------------


def info(path: str, mode: int = stat.S_IFREG, size: int = 100, packed: int = 50, flags: int = 0) -> Any:
    made = zipfile.ZipInfo(path)
    made.external_attr, made.flag_bits = mode << 16, flags
    made.file_size, made.compress_size = size, packed
    return made


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (info("a/../../x.ipynb"), "its path leads out of the zip"),
        (info("a\\..\\..\\x.ipynb"), "its path leads out of the zip"),
        (info("/etc/x.ipynb"), "its path is absolute"),
        (info("C:\\x.ipynb"), "its path is absolute"),
        (info("a/x\x01.ipynb"), "its path is no name of a file"),
        (info("a/x.ipynb", stat.S_IFLNK), "it is a link"),
        (info("a/x.ipynb", stat.S_IFIFO), "it is not a plain file"),
        (info("a/x.ipynb", flags=1), "it is encrypted"),
        (info("a/x.ipynb", size=10**9, packed=10**9), "it unpacks to 953 MB"),
        (info("a/x.ipynb", size=2 * 10**7, packed=2 * 10**4), "it unpacks to 1000 times its size"),
        (info("a/x.ipynb"), ""),
        (info("a/x..y.ipynb"), ""),
    ],
)
def test_an_entry_is_refused_for_one_reason(made: Any, why: str) -> None:
    assert archive._refused(made) == why


def test_a_refused_entry_costs_its_sender_alone_and_writes_nothing(group: Class) -> None:
    link = zipfile.ZipInfo("eve/link.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    group.file.writestr(link, "/etc/passwd")
    group.add("bom_3_4_b.ipynb", content="0" * 20_000_000)
    group.add("Mal_9_assignsubmission_file_/../../../mal.ipynb")
    group.add("../nobody.ipynb", content="{}")
    group.add("ada/a.ipynb")
    before = set(group.folder.parent.rglob("*"))
    found = by_name(group.marked())
    assert {name: row["status"] for name, row in found.items()} == {
        "ada": "marked", "bom": "refused", "eve": "refused", "Mal": "refused",
    }  # fmt: skip
    assert found["ada"]["score"] == "6" and found["eve"]["note"] == "link.ipynb was refused: it is a link."
    assert "refused '../nobody.ipynb': its path leads out of the zip" in group.said
    written = {path.name for path in set(group.folder.parent.rglob("*")) - before}
    assert not written & {"mal.ipynb", "nobody.ipynb", "link.ipynb"}


def test_an_entry_that_lies_about_its_size_is_read_to_the_limit_alone(
    group: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST", 2000)
    group.add("ada/a.ipynb", content="[" * 2001)
    group.file.close()
    with zipfile.ZipFile(group.path) as file:
        (found,) = entries(file)
        assert found.refused == "it unpacks to 0 MB"
        assert archive.read_entry(file, found) == "it is larger than a notebook may be"


def test_a_damaged_entry_is_refused(group: Class) -> None:
    group.add("ada/a.ipynb", content="x" * 500)
    group.add("bob/a.ipynb", student="bob")
    group.file.close()
    content = bytearray(group.path.read_bytes())
    content[content.index(b"ada/a.ipynb") + len("ada/a.ipynb") + 2] ^= 0xFF
    group.path.write_bytes(content)
    found = by_name(group.marked())
    assert "damaged" in found["ada"]["note"] and found["bob"]["score"] == "6"


# ---- the roster, the table --------------------------------------------------------------------------------

ROSTER = """id,first_name,last_name,email
zoe,Zoë,Ångström,
ada,Ada,Lovelace,
tom1,Tom,Smith,
tom2,Tom,Smith,
off,Never,There,
"""


def test_a_roster_gives_ids_and_a_row_to_those_who_sent_nothing(group: Class) -> None:
    roster = group.folder / "roster.csv"
    roster.write_text(ROSTER, encoding="utf-8")
    group.add("ANGSTROM Zoe_1_assignsubmission_file_/a.ipynb", student="not zoe")
    group.add("lovelaceada_2_3_a.ipynb", student="ada")
    group.add("Tom Smith_4_assignsubmission_file_/a.ipynb", student="tom2")
    group.add("Guest_5_assignsubmission_file_/a.ipynb", student="ada")
    rows = group.marked(roster=roster)
    assert [row["student"] for row in rows] == ["zoe", "ada", "tom1", "tom2", "off", "5"]
    assert [row["status"] for row in rows] == [
        "marked", "marked", "not handed in", "marked", "not handed in", "marked",
    ]  # fmt: skip
    zoe, ada, tom, _, never, guest = rows
    assert zoe["score"] == "6"  # her desk hands out the roster's instances, whatever she typed
    assert "'not zoe'; it is marked for 'zoe'" in zoe["note"]
    assert ada["bill"] == "2" and (never["score"], never["max_score"]) == ("0", "6") and tom["score"] == "0"
    assert "Not found in the roster." in guest["note"]
    assert "The id 'ada' is typed in 2 students' notebooks." in guest["note"]
    assert "2 students" not in group.page("Guest")


def test_an_id_that_two_strangers_type_is_given_to_neither() -> None:
    found, _ = people(
        [entry("a_1_assignsubmission_file_/a.ipynb"), entry("b_2_assignsubmission_file_/a.ipynb")]
    )
    roster = [{"id": "ada", "first_name": "Ada", "last_name": "L", "email": ""}]
    assert [one.student for one in identities(found, roster, {0: "ada", 1: "ada"})] == ["1", "2"]
    assert [one.student for one in identities(found, roster, {0: "ada", 1: "bob"})] == ["ada", "2"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\uff1d"])
def test_a_cell_is_never_a_formula(start: str, group: Class) -> None:
    assert plain(f"{start}1+1") == "'" + f"{start}1+1".strip()
    if start == "=":
        group.add("=HYPERLINK(0)_1_assignsubmission_file_/+a.ipynb", content="{")
        group.marked()
        rows = list(csv.reader(group.table.read_text(encoding="utf-8-sig").splitlines()))
        assert rows[1][1] == "'=HYPERLINK(0)" and rows[1][-1].startswith("'+a.ipynb")


# ---- pages ------------------------------------------------------------------------------------------------


def test_a_page_is_complete_in_itself_and_text_stays_text(group: Class) -> None:
    group.add("<script>alert(1)_1_assignsubmission_file_/a.ipynb", dual_step=WRONG)
    group.marked()
    page = group.page("script")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "Your multiplier falls when the limit is broken." in page and "3 <small>of 6 points" in page
    assert not re.search(r"(\ssrc=|href=|url\()", page)
    assert page.count("<article") == 3 and page.count('class="full"') == 2


def test_feedback_goes_back_in_the_platform_s_own_names(group: Class) -> None:
    group.add("Ada L_1_assignsubmission_file_/sub/a.ipynb")
    group.add("Bob_2_assignsubmission_file_a.ipynb", student="bob")
    group.add("cyd_LATE_3_44_my a.ipynb", student="cyd")
    group.add("dan/a.ipynb", student="dan")
    group.marked()
    with zipfile.ZipFile(group.pages / "feedback.zip") as file:
        assert set(file.namelist()) == {
            "Ada L_1_assignsubmission_file_/feedback.html",
            "Bob_2_assignsubmission_file_feedback.html",
            "cyd_LATE_3_44_my a.ipynb",
            "dan/feedback.html",
        }
        book = nbformat.reads(file.read("cyd_LATE_3_44_my a.ipynb").decode(), as_version=4)
        nbformat.validate(book)
        assert book.cells[0].source.startswith("# 6 of 6 points")


def test_nothing_that_is_handed_back_holds_the_secret(group: Class) -> None:
    secret = group.folder / "secret.txt"
    secret.write_text("a secret that is long enough\n")
    group.add("ada/a.ipynb", dual_step=WRONG)
    group.add(
        "eve/a.ipynb",
        dual_step=f"def dual_step(lam, cost, limit, step):\n    return open({str(secret)!r}).read()",
    )
    rows = by_name(group.marked(secret_file=secret))
    assert rows["eve"]["dual_step"] == "0"
    written = [group.table, *group.pages.iterdir(), *group.folder.glob("marks.csv.kept/*")]
    assert len(written) >= 5
    assert not [path for path in written if b"that is long enough" in path.read_bytes()]


# ---- going on ---------------------------------------------------------------------------------------------


def test_a_second_run_marks_what_is_new(group: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[str] = []
    grade: Callable[..., Any] = marking.grade
    monkeypatch.setattr(
        marking, "grade", lambda path, **asked: (marked.append(asked["student"]), grade(path, **asked))[1]
    )
    group.add("ada/a.ipynb")
    group.add("bob/a.ipynb", student="bob")
    first = group.marked()
    assert sorted(marked) == ["ada", "bob"]
    group.file = zipfile.ZipFile(group.path, "a")
    group.add("bob/a2.ipynb", student="bob", dual_step=WRONG, when=(2026, 3, 5, 0, 0, 0))
    second = group.marked()
    assert marked[2:] == ["bob"] and second[0] == first[0] and second[1]["score"] == "3"
    secret = group.folder / "secret.txt"
    secret.write_text("another secret, long enough\n")
    group.marked(secret_file=secret)  # the same bytes in another course are another mark
    assert sorted(marked[3:]) == ["ada", "bob"]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    assignment = assignment_named("01_the_dual_step")
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as file:
        for name in (f"s{number}" for number in range(6)):
            notebook = version(assignment, "solution", student=name)
            if name in ("s4", "s5"):  # these two take the time that the kill needs
                notebook.cells.insert(0, nbformat.v4.new_code_cell("import time\ntime.sleep(2.5)"))
            file.writestr(f"{name}/{assignment.name}.ipynb", nbformat.writes(notebook))
    kept = tmp_path / "marks.csv.kept"
    command = [sys.executable, "-m", "cdpo_edu", "grade", "--zip", "class.zip", "--csv", "marks.csv"]
    command += ["--feedback", "pages", "--trust"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    first = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    for _ in range(600):
        if len(list(kept.glob("*.json"))) == 4:
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "marks.csv").exists() and len(list(kept.glob("*.json"))) == 4
    said = subprocess.check_output(command, cwd=tmp_path, env=env, text=True)
    assert "4 marks were kept from an earlier run" in said
    assert re.search(r"6 rows: 6 marked\n\d+\.\d minutes in all", said)
    rows = list(csv.DictReader((tmp_path / "marks.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["student"], row["score"]) for row in rows] == [
        (f"s{number}", str(assignment.max_score)) for number in range(6)
    ]
    assert [path.suffix for path in kept.iterdir()] == [".json"] * 6  # nothing of the killed run is left


# ---- what cannot be used ----------------------------------------------------------------------------------


def test_a_file_that_is_no_zip_is_one_clear_line(group: Class) -> None:
    group.file.close()
    group.path.write_text("no zip")
    with pytest.raises(InputError, match="not a zip that can be read"):
        group.marked()


def test_a_course_that_was_forgotten_stops_the_run(group: Class) -> None:
    book = json.loads(group.kitchen.notebook().read_text())
    book["metadata"]["cdpo_edu"]["course"] = "0123456789abcdef"
    group.add("ada/a.ipynb", content=json.dumps(book))
    with pytest.raises(InputError, match="--course"):
        group.marked()


def test_options_that_do_not_go_together_are_named() -> None:
    from typer.testing import CliRunner

    from cdpo_edu.cli import app

    for options, words in (
        (["--zip", "a.zip"], "--zip needs --csv FILE"),
        ([], "NOTEBOOK is missing"),
        (["a.ipynb", "--csv", "m.csv"], "go with --zip"),
        (["a.ipynb", "--zip", "a.zip"], "--zip marks a class"),
    ):
        result = CliRunner().invoke(app, ["grade", *options])
        assert isinstance(result.exception, InputError) and words in str(result.exception)
