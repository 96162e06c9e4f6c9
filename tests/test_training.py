"""The one trainer: it minimises what it is given, repeats itself, and leaves the world as it found it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cdpo_edu.training import schedule, train


def line() -> nn.Linear:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def collate(part: list[tuple[float, float]]) -> dict[str, Tensor]:
    x, y = torch.tensor(part).T
    return {"x": x, "y": y}


def squared_error(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    residual: Tensor = model(batch["x"][:, None])[:, 0] - batch["y"]
    return residual**2


POINTS = [(x / 4, 2 * x / 4 - 1) for x in range(-8, 9)]  # y = 2 x - 1


def fitted(model: nn.Module, **changes: Any) -> float:
    settings: dict[str, Any] = dict(
        loss=squared_error,
        collate=collate,
        steps=200,
        batch_size=8,
        learning_rate=0.1,
        seed=0,
        title="line",
    )
    return train(model, POINTS, **(settings | changes))


def test_a_straight_line_is_found() -> None:
    """y = 2 x - 1 is the exact minimiser, with loss 0."""
    model = line()
    loss = fitted(model)
    assert model.weight.item() == pytest.approx(2.0, abs=1e-2)
    assert model.bias.item() == pytest.approx(-1.0, abs=1e-2)
    assert 0 <= loss < 1e-3


def test_loss_is_the_mean_over_the_last_tenth_of_the_steps() -> None:
    """Step k reports a loss of k; of 20 steps the last tenth is 19 and 20, mean 19.5."""
    calls: list[int] = []

    def counter(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        calls.append(len(batch["x"]))
        return 0 * squared_error(model, batch) + len(calls)

    assert fitted(line(), loss=counter, steps=20) == 19.5
    assert len(calls) == 20


def test_a_batch_counts_by_its_mean() -> None:
    """Eight rows of loss 3 are a loss of 3, not of 24."""

    def three(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return 0 * squared_error(model, batch) + 3

    assert fitted(line(), loss=three, steps=3) == 3.0


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    """The seed orders the rows; the global random state has no say."""
    models = [line() for _ in range(3)]
    for model, seed, noise in zip(models, (5, 5, 6), (1, 2, 3), strict=True):
        torch.manual_seed(noise)
        fitted(model, steps=7, seed=seed)
    assert torch.equal(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, models[2].weight)


def test_the_global_random_state_is_left_as_it_was_found() -> None:
    model = line()
    python, tensor = random.getstate(), torch.get_rng_state()
    vector = np.random.get_state(legacy=False)["state"]["key"].copy()
    fitted(model, steps=2)
    assert torch.equal(torch.get_rng_state(), tensor)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], vector)


def test_a_loss_that_is_no_number_stops_with_its_name() -> None:
    def broken(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return squared_error(model, batch) * float("nan")

    with pytest.raises(FloatingPointError, match="line: the loss became nan"):
        fitted(line(), loss=broken, steps=3)


def test_weights_that_blow_up_stop_too() -> None:
    """A loss that turns infinite on the way is not averaged away."""
    count = iter(range(100))

    def exploding(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return squared_error(model, batch) * (float("inf") if next(count) == 5 else 1.0)

    with pytest.raises(FloatingPointError):
        fitted(line(), loss=exploding, steps=40)


def test_frozen_weights_stay() -> None:
    model = line()
    model.bias.requires_grad_(False)
    fitted(model, steps=20)
    assert model.bias.item() == 0.0 and model.weight.item() != 0.0


def test_nothing_is_written_to_the_screen_or_the_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command prints a table of rounds; a fit must not write between its lines."""
    monkeypatch.chdir(tmp_path)
    fitted(line(), steps=2)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the learning rate


def test_a_run_warms_up_holds_and_falls_to_zero() -> None:
    """Of 100 steps: five of warm-up at 1/5, 2/5, ...; then 1; at the end 0, and never up again on the way."""
    rates = [schedule(step, 100, (0.0, 1.0)) for step in range(101)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0 and rates[-1] == pytest.approx(0.0)
    assert all(later <= earlier for earlier, later in zip(rates[4:], rates[5:], strict=False))


def test_rounds_share_one_schedule() -> None:
    """Past its warm-up, step k of round 2 of 2 has the rate of step 100 + k of one fit twice as long."""
    for step in (10, 50, 90):
        assert schedule(step, 100, (0.5, 1.0)) == pytest.approx(schedule(100 + step, 200, (0.0, 1.0)))


def test_the_schedule_reaches_the_optimiser() -> None:
    """AdamW's first step is its learning rate, 0.1, whatever the size of the gradient."""
    model = line()
    fitted(model, steps=1)
    assert abs(model.weight.item()) == pytest.approx(0.1, rel=1e-3)
    late = line()
    fitted(late, steps=1, progress=(0.8, 1.0))  # half-way down the cosine from 0.6 to 1
    assert abs(late.weight.item()) == pytest.approx(0.05, rel=1e-3)


def test_rows_of_like_length_share_a_batch() -> None:
    """32 short and 32 long rows in 16 batches of 4, sorted within groups of 16: at most one mixed batch each.

    Left to chance, 7 of 8 batches would mix them.
    """
    seen: list[list[float]] = []

    def watched(part: list[tuple[float, float]]) -> dict[str, Tensor]:
        seen.append([x for x, _ in part])
        return collate(part)

    rows = [(0.0, 1.0), (1.0, 1.0)] * 32
    named: dict[str, Any] = dict(
        collate=watched, steps=16, batch_size=4, learning_rate=0.1, seed=0, title="line"
    )
    train(line(), rows, loss=squared_error, lengths=[10 if x else 1 for x, _ in rows], **named)
    assert sum(sum(batch) for batch in seen) == 32 and len(seen) == 16
    assert sum(0 < sum(batch) < 4 for batch in seen) <= 4
