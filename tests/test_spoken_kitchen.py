"""The kitchen in sentences: its rows are read as published ones are, and its truth is the toy language's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cdpo_edu.preference_data import load_pairs, validate
from cdpo_edu.spoken_kitchen import (
    heard,
    kitchen_rows,
    spoken_cost,
    spoken_dish,
    spoken_guest,
    spoken_reward,
    write_kitchen_rows,
)
from cdpo_edu.toy_language import Kitchen
from cdpo_edu.types import InputError


def test_what_is_said_is_heard_for_every_guest_and_dish() -> None:
    kitchen = Kitchen(portions=2)
    for guest in kitchen.prompts:
        for dish in kitchen.responses:
            assert heard(spoken_guest(guest, 3), spoken_dish(dish)) == (guest, dish)


def test_the_truth_is_the_toy_language_s() -> None:
    kitchen = Kitchen(portions=2)
    guests = [guest for guest in kitchen.prompts for _ in kitchen.responses]
    dishes = kitchen.responses * len(kitchen.prompts)
    asked, said = [spoken_guest(guest, 1) for guest in guests], [spoken_dish(dish) for dish in dishes]
    assert torch.equal(spoken_reward()(asked, said), kitchen.reward(guests, dishes))
    assert torch.equal(spoken_cost()(asked, said), kitchen.cost(guests, dishes))
    assert spoken_cost().anchored and not spoken_reward().anchored
    assert spoken_cost().fingerprint != kitchen.cost.fingerprint


def test_other_words_count_nothing() -> None:
    asked = [spoken_guest("fish fresh", 9)] * 2
    costs = spoken_cost()(asked, ["Well: SHRIMP, and shrimp-like shrimps!", "I do not know."])
    assert costs.tolist() == [1.5, -0.5]  # shrimp twice, the plural is another word


def test_a_prompt_of_elsewhere_is_refused() -> None:
    with pytest.raises(InputError, match="not a prompt of the kitchen"):
        spoken_cost()(["How do I cook rice?"], ["Rice."])


def test_rows_are_read_as_published_ones_are(tmp_path: Path) -> None:
    path = write_kitchen_rows(tmp_path / "rows.jsonl", 300, seed=0)
    found = validate(path)
    assert (found.rows, found.usable) == (300, 300) and found.schema == "pku-saferlhf-older"
    pairs = load_pairs(path).split(seed=0)
    sets = pairs.prompt_sets
    assert sets is not None and len(sets.judge) > 20 and not set(sets.judge) & set(sets.train)


def test_people_label_by_the_truth_with_their_sharpness() -> None:
    """4,000 rows: each label's share is the mean of its logistic probability, to four standard errors."""
    rows = kitchen_rows(4000, seed=0)
    prompts = [row["prompt"] for row in rows]
    answers = [[row[f"response_{k}"] for row in rows] for k in (0, 1)]
    taste = [4 * spoken_reward()(prompts, part) for part in answers]
    harm = [4 * spoken_cost()(prompts, part) for part in answers]
    said = {
        "better_response_id": (taste[1] - taste[0]).sigmoid(),
        "safer_response_id": (harm[0] - harm[1]).sigmoid(),
        "is_response_0_safe": (-harm[0]).sigmoid(),
        "is_response_1_safe": (-harm[1]).sigmoid(),
    }
    for column, chance in said.items():
        drawn = torch.tensor([float(row[column]) for row in rows], dtype=torch.float64)
        stderr = (chance * (1 - chance)).sum().sqrt() / len(rows)
        assert abs(drawn.mean() - chance.mean()) < 4 * stderr
        assert ((drawn - chance) * (chance - chance.mean())).mean().abs() < 4 * stderr  # calibrated along it


def test_equal_seeds_give_equal_rows() -> None:
    assert kitchen_rows(50, seed=3) == kitchen_rows(50, seed=3) != kitchen_rows(50, seed=4)
    with pytest.raises(InputError, match="at least 1"):
        kitchen_rows(0)
