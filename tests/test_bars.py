"""Bars can be turned off for notebooks that are kept with their outputs."""

from __future__ import annotations

import pytest

from cdpo_edu.bars import bar


def test_the_switch_turns_a_bar_off_and_the_items_come_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDPO_EDU_BARS", "0")
    quiet = bar([1, 2, 3], title="work")
    assert quiet.disable and list(quiet) == [1, 2, 3]


def test_without_the_switch_a_terminal_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CDPO_EDU_BARS", raising=False)
    assert list(bar([1, 2], title="work")) == [1, 2]
    assert "work" not in capsys.readouterr().err  # what pytest captures is no terminal
