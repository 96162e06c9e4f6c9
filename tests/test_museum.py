"""The museum marks tests by the bugs they catch, and no tests file can break it."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cdpo_edu import FiniteProblem, InputError, cli
from cdpo_edu.museum import CORRECT, EXHIBITS, Report, exhibit, reference_tests, run_museum
from cdpo_edu.museum.code import Code
from cdpo_edu.museum.warden import visit

KEYS = [item.key for item in EXHIBITS]
TESTS = [function for name, function in vars(reference_tests).items() if name.startswith("test_")]

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a tests file."""

    def written(text: str) -> Path:
        path = tmp_path / "my tests.py"
        path.write_text(text)
        return path

    return written


def holds(test: Callable[[Code], None], code: Code) -> bool:
    """Run a reference test in this process."""
    try:
        test(code)
    except (AssertionError, pytest.fail.Exception):
        return False
    return True


# ---- the collection


def test_there_are_at_least_twelve_exhibits_and_each_has_its_own_name_and_a_place_where_it_was_seen() -> None:
    assert len(set(KEYS)) == len(EXHIBITS) >= 12
    for item in EXHIBITS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", item.key)
        assert item.threads
        assert all(address.startswith("https://") for address in item.threads)


@pytest.mark.parametrize("key", KEYS)
def test_an_exhibit_replaces_one_member_by_one_of_the_same_signature(key: str) -> None:
    item = exhibit(key)
    changed = [name for name in vars(CORRECT) if getattr(item.code(), name) is not getattr(CORRECT, name)]
    assert changed == [item.replaces]
    right, wrong = getattr(CORRECT, item.replaces), item.broken
    assert [*inspect.signature(wrong).parameters] == [*inspect.signature(right).parameters]
    assert inspect.getsource(wrong).count("  # ") == 1  # the one line that is marked
    assert item.line() in inspect.getsource(wrong)


def test_an_unknown_exhibit_is_refused() -> None:
    with pytest.raises(InputError, match="mona-lisa: no such exhibit; there are log-of-grand-mean"):
        exhibit("mona-lisa")


def test_the_correct_dual_is_the_oracles() -> None:
    reward, cost = torch.tensor([[1.0, 0.0], [3.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    problem = FiniteProblem([[0.5, 0.5], [0.2, 0.8]], reward, cost, beta=0.5, cost_limit=0.3)
    score = (reward - 2.0 * cost) / 0.5
    log_z = (torch.tensor([[0.5, 0.5], [0.2, 0.8]]).log() + score).logsumexp(dim=1)
    assert CORRECT.dual_value(log_z, lam=2.0, cost_limit=0.3, beta=0.5) == pytest.approx(problem.dual(2.0))
    wrong = exhibit("log-of-grand-mean").code().dual_value(log_z, lam=2.0, cost_limit=0.3, beta=0.5)
    assert wrong > problem.dual(2.0)  # Jensen


# ---- the reference tests


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_a_reference_test_holds_on_the_correct_code(test: Callable[[Code], None]) -> None:
    test(CORRECT)


@pytest.mark.parametrize("key", KEYS)
def test_every_exhibit_is_caught_by_a_reference_test(key: str) -> None:
    assert not all(holds(test, exhibit(key).code()) for test in TESTS)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_every_reference_test_catches_something(test: Callable[[Code], None]) -> None:
    assert not all(holds(test, item.code()) for item in EXHIBITS)


def test_the_reference_tests_score_all_of_them_through_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reference_tests.__file__
    monkeypatch.setattr(sys, "argv", ["cdpo-edu", "museum", "run", str(path), "--json", "--seconds", "30"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    report = json.loads(capsys.readouterr().out)
    assert (report["score"], report["max_score"]) == (len(EXHIBITS), len(EXHIBITS))
    assert [item["key"] for item in report["exhibits"]] == KEYS
    assert all(item["caught"] and item["by"] and item["how"] == "test" for item in report["exhibits"])
    assert report["correct_code"] == {"passed": True, "tests": len(TESTS), "failed": {}}


# ---- other people's tests


def test_a_trivial_file_catches_nothing(write: Write) -> None:
    path = write("def test_nothing(code):\n    assert code is not None\n")
    report = run_museum(path, seconds=30)
    assert (report.score, report.tests, report.failed) == (0, 1, {})
    assert [found.key for found in report.found] == KEYS


GOOD = """
def test_twice(code):
    multiplier = code.Multiplier(0.0, eta=1.0)
    multiplier.step(1.0, 0.0)
    assert multiplier.step(1.0, 0.0) == 2.0
"""


@pytest.mark.parametrize(("key", "caught"), [("frozen-multiplier", True), ("reward-as-cost", False)])
def test_a_good_test_catches_what_it_is_about_and_nothing_else(write: Write, key: str, caught: bool) -> None:
    found = visit(str(write(GOOD)), key, 60)
    assert (list(found["failed"]) == ["test_twice"]) == caught
    assert (found["passed"] == ["test_twice"]) != caught


def test_tests_that_fail_on_the_correct_code_score_nothing_and_are_named(write: Write) -> None:
    lines: list[str] = []
    path = write("def test_ok(code): pass\n\ndef test_wrong(code):\n    assert code.END == 7, 'not seven'\n")
    report = run_museum(path, seconds=30, say=lines.append)
    assert report.score == 0
    assert (report.tests, list(report.failed)) == (1, ["test_wrong"])
    assert lines == [f"fails on the correct code  test_wrong: {report.failed['test_wrong']}"]
    assert report.failed["test_wrong"].startswith("line 4: AssertionError: not seven")
    assert [found.caught for found in report.found] == [False] * len(EXHIBITS)


@pytest.mark.parametrize(
    ("body", "name", "why"),
    [
        pytest.param("while True: pass", "test_it", "did not end within 2 s", id="hangs"),
        pytest.param("while True: print('y' * 1000)", "test_it", "did not end within 2 s", id="prints"),
        pytest.param("__import__('os')._exit(0)", "test_it", "ended the process", id="leaves"),
        pytest.param("__import__('ctypes').string_at(0)", "test_it", "ended the process", id="segfault"),
    ],
)
def test_a_test_that_hangs_shouts_or_crashes_is_bounded(write: Write, body: str, name: str, why: str) -> None:
    started = time.monotonic()
    report = run_museum(write(f"def test_it(code):\n    {body}\n"), seconds=2)
    assert time.monotonic() - started < 60
    assert (report.score, report.failed) == (0, {name: why})


def test_a_file_that_hangs_while_it_is_imported_is_bounded(write: Write) -> None:
    report = run_museum(write("while True: pass\n"), seconds=2)
    assert report == Report(0, {"importing the file": "did not end within 2 s"}, report.found)
    assert report.score == 0


@pytest.mark.parametrize("cheat", ["code == CORRECT", "code.targets.__name__ == 'targets'"])
def test_a_test_that_looks_instead_of_calling_fails_on_the_correct_code(write: Write, cheat: str) -> None:
    path = write(f"from cdpo_edu.museum import CORRECT\ndef test_it(code):\n    assert {cheat}\n")
    assert list(run_museum(path, seconds=30).failed) == ["test_it"]


def test_an_exhibit_on_which_a_test_does_not_end_is_caught_by_time(write: Write) -> None:
    path = write(
        "def test_up(code):\n    m = code.Multiplier(eta=1.0)\n    while m.step(1.0, 0.0) < 3: pass\n"
    )
    found = visit(str(path), "frozen-multiplier", 3)
    assert (found["stuck"], found["late"], found["failed"]) == ("test_up", True, {})
    assert visit(str(path), "beta-twice", 60)["passed"] == ["test_up"]


def test_a_reason_is_one_short_line_with_its_number_where_it_lies_in_the_file(write: Write) -> None:
    long, there = "assert False, 'x' * 10**6", "code.configure(rouns=3)"
    body = f"def test_long(code):\n    {long}\ndef test_there(code):\n    {there}\n"
    failed = run_museum(write(body), seconds=30).failed
    assert failed["test_long"] == f"line 2: {('AssertionError: ' + 'x' * 200)[:200]}"
    assert failed["test_there"].startswith("cdpo_edu.types.InputError: unknown option rouns")


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is the system's")
def test_memory_is_bounded(write: Write) -> None:
    report = run_museum(write("def test_it(code):\n    assert bytearray(1 << 36)\n"), seconds=30)
    assert "MemoryError" in report.failed["test_it"]


def test_nothing_is_left_beside_the_tests_file(write: Write) -> None:
    path = write("def test_it(code):\n    assert code.END == 7\n")
    run_museum(path, seconds=30)
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "has no tests; write functions", id="empty"),
        pytest.param("x = 1\n", "has no tests; write functions", id="no tests"),
        pytest.param("def test_a(code:\n    pass\n", "line 1: ", id="syntax"),
        pytest.param("import no_such_thing\n", "cannot be imported .*No module named", id="import"),
        pytest.param("\0", "null byte", id="no text"),
    ],
)
def test_a_file_that_is_no_tests_is_one_error(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        run_museum(write(text), seconds=30)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_another_kind_of_file_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path, message in ((tmp_path / "no.py", "no such file"), (tmp_path, "folder")):
        with pytest.raises(InputError, match=message):
            run_museum(path)
    with pytest.raises(InputError, match="must be a Python file"):
        run_museum(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="seconds: 0 must be a finite number above 0"):
        run_museum(reference_tests.__file__, seconds=0)


# ---- the command, and plain pytest


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json")])
def test_the_list_names_every_exhibit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cdpo-edu", "museum", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    shown = capsys.readouterr().out
    assert all(item.key in shown and item.threads[0] in shown for item in EXHIBITS)
    assert "--json" not in arguments or len(json.loads(shown)["exhibits"]) == len(EXHIBITS)


def test_bad_input_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cdpo-edu", "museum", "run", "nowhere.py"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == "cdpo-edu: nowhere.py: there is no such file\n"


def test_plain_pytest_runs_the_tests_on_the_correct_code(write: Write) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "cdpo_edu.museum.fixture", str(write(GOOD))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
