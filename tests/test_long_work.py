"""Long work goes on where it was stopped: chunks, fits, and what a run refuses to go on with."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_tiers import SMALL, config_of, contents, cut_short, differing
from torch import Tensor, nn

from cdpo_edu import cli, presets, processes, report, run_folder, tiers
from cdpo_edu.long_work import in_chunks, kept_in
from cdpo_edu.training import train
from cdpo_edu.types import InputError


class Stopped(Exception):
    """Stands for the power cut."""


@pytest.fixture
def keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDPO_EDU_KEEP_EVERY", "0")


def test_chunks_that_are_done_are_not_computed_again(tmp_path: Path, keep_everything: None) -> None:
    computed: list[int] = []

    def double(place: int, piece: int, *, stop_at: int | None = None) -> list[Any]:
        if place == stop_at:
            raise Stopped
        computed.append(place)
        return [torch.tensor(2.0 * piece), [f"{piece}"]]

    shelf = tmp_path / "unfinished"
    with pytest.raises(Stopped), kept_in(shelf):
        in_chunks([5, 6, 7], double, title="first piece")
        in_chunks([1, 2, 3], lambda place, piece: double(place, piece, stop_at=2), title="second piece")
    assert computed == [0, 1, 2, 0, 1] and shelf.exists()
    computed.clear()
    with kept_in(shelf):
        first = in_chunks([5, 6, 7], double, title="first piece")
        second = in_chunks([1, 2, 3], double, title="second piece")
    assert computed == [2] and not shelf.exists()  # the goal is reached, the shelf is empty
    assert [row[0].item() for row in first] == [10, 12, 14] and [row[1] for row in second] == [
        ["1"],
        ["2"],
        ["3"],
    ]


def test_outside_a_shelf_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    in_chunks([1, 2], lambda place, piece: piece, title="free")
    assert list(tmp_path.iterdir()) == []


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))


def fit(model: nn.Module, *, stop_at: int | None = None, bad_at: int | None = None, **given: Any) -> float:
    data = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    read = 0

    def loss(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        nonlocal read
        read += 1
        if read == stop_at:
            raise Stopped
        out: Tensor = (network(batch["x"]) - batch["x"].sum(dim=1, keepdim=True)).square()[:, 0]
        return out * float("nan") if read == bad_at else out

    def collate(rows: list[Tensor]) -> dict[str, Tensor]:
        return {"x": torch.stack(rows)}

    settings = {"steps": 12, "batch_size": 6, "learning_rate": 1e-2, "seed": 3, "title": "toy"} | given
    return train(model, list(data), loss=loss, collate=collate, **settings)


@pytest.mark.parametrize("matrix_rate", [None, 1e-2], ids=["AdamW", "Muon and AdamW"])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_fit_that_was_stopped_ends_in_the_same_bits(
    matrix_rate: float | None, parts: int, tmp_path: Path, keep_everything: None
) -> None:
    """Weights and loss, across an epoch's end, with dropout: moments, order and random state come back."""
    whole = net()
    loss = fit(whole, matrix_rate=matrix_rate, parts=parts)
    with pytest.raises(Stopped), kept_in(tmp_path / "shelf"):
        fit(net(), matrix_rate=matrix_rate, parts=parts, stop_at=7 * parts + 1)
    again = net()
    with kept_in(tmp_path / "shelf"):
        assert fit(again, matrix_rate=matrix_rate, parts=parts, stop_at=6 * parts) == loss
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_half_written_checkpoint_is_not_taken_up(tmp_path: Path, keep_everything: None) -> None:
    whole = net()
    fit(whole)
    with pytest.raises(Stopped), kept_in(tmp_path / "shelf"):
        fit(net(), stop_at=8)
    newest = max(tmp_path.glob("shelf/*/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "losses.pt").unlink()
    (newest / "optimizer.pt").write_bytes(b"")
    again = net()
    with kept_in(tmp_path / "shelf"):
        fit(again)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_loss_that_is_no_number_stops_the_fit_and_is_not_kept(
    tmp_path: Path, keep_everything: None
) -> None:
    with (
        pytest.raises(FloatingPointError, match="toy: the loss became nan by step 5"),
        kept_in(tmp_path / "s"),
    ):
        fit(net(), bad_at=5)
    kept = [int(path.parent.name.split("-")[1]) for path in tmp_path.glob("s/*/checkpoint-*/losses.pt")]
    assert max(kept) == 4


def test_processes_must_be_able_to_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 4)
    with pytest.raises(InputError, match="4 processes cannot share a batch of 6 read in 4 parts"):
        fit(net())


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small language model run that was stopped after round 0 was saved."""
    root = tmp_path_factory.mktemp("changed")
    with cut_short(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda folder: None)
        rounds = tiers.train(config_of("lm", root), root / "lm")
        next(rounds)
        rounds.close()
    return root


def go_on(root: Path) -> None:
    with cut_short(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda folder: None)
        config = presets.configure("lm", pairs=str(root / "rows.jsonl"), **SMALL["lm"])
        for _ in tiers.train(config, root / "lm"):
            pass


@pytest.mark.parametrize("changed", ["pairs", "model"])
def test_a_run_does_not_go_on_with_other_content_under_the_same_name(
    changed: str, killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path / "lm" / "state")
    if changed == "pairs":
        path = tmp_path / "rows.jsonl"
        path.write_text(path.read_text().replace("Have the almond cake!", "Have the almond tart!"))
    else:
        from safetensors.torch import load_file, save_file

        weights = tmp_path / "lm" / "reference" / "base" / "model.safetensors"
        save_file({k: v + 0.01 for k, v in load_file(weights).items()}, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"not what the run began with: .*{changed}"):
        go_on(tmp_path)
    assert differing(contents(tmp_path / "lm" / "state"), before) == []


def test_a_full_disk_stops_the_run_with_its_reason_and_loses_nothing(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path / "lm" / "state")

    def full(*given: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "state")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiers.running, "save_state", full)
        patch.setattr(cli, "app", lambda: go_on(tmp_path))
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 1 and "No space left on device" in capsys.readouterr().err.replace("\n", " ")
    assert differing(contents(tmp_path / "lm" / "state"), before) == []
    go_on(tmp_path)
    assert json.loads((tmp_path / "lm" / "certificate.json").read_text())["tier"] == "lm"
    assert run_folder.latest_state(tmp_path / "lm") is not None
