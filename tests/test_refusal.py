"""Over-refusal: the kitchen's new guests and empty plates, three costs by hand, and the picture of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from pictures import assert_legible, lines, same_bytes_twice, words
from scipy import stats
from torch import Tensor

from cdpo_edu import FiniteProblem, Kitchen, LanguageModelPolicy, plots
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.certificate import enumerated
from cdpo_edu.laboratories.refusal import (
    LIMITS,
    OverRefusal,
    RefusalRates,
    cookbook_table,
    over_refusal,
    policy_refusals,
    refusal_floor,
    refusal_rates,
    shifted_cost,
    spoiled_cost,
)
from cdpo_edu.language_model import Budget, Engine
from cdpo_edu.pairs import digest
from cdpo_edu.toy_language import CRAVINGS, INGREDIENTS
from cdpo_edu.types import Batch, InputError

SMALL = Kitchen(portions=1, refusals=0.2, harmless=True)
COOKBOOK_BEFORE = "7c90ceeba2595dde"
ALLERGIC, HARMLESS = slice(0, 16), slice(16, 20)


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found() -> OverRefusal:
    return over_refusal(SMALL)


def problem_of(kitchen: Kitchen, score: Any, *, beta: float = 1.0, limit: float = 0.0) -> FiniteProblem:
    reward, cost = (kitchen.table(part).numpy() for part in (kitchen.reward, score))
    return FiniteProblem(cookbook_table(kitchen), reward, cost, beta=beta, cost_limit=limit)


# ---- the kitchen ----------------------------------------------------------------------------------


def test_without_the_options_nothing_is_new() -> None:
    """The digest is that of the 64 plates which the kitchen drew before it had the options."""
    kitchen = Kitchen()
    assert len(kitchen.prompts) == 16 and len(kitchen.vocabulary) == 15 + 4 + 4
    assert "none" not in kitchen.vocabulary and kitchen == Kitchen(refusals=0.0, harmless=False)
    assert digest(*map(str, kitchen.cookbook(64, seed=0))) == COOKBOOK_BEFORE


def test_harmless_guests_come_last_and_may_eat_everything() -> None:
    kitchen = Kitchen(portions=2, harmless=True)
    assert kitchen.prompts == [*Kitchen().prompts, "none sweet", "none salty", "none fresh", "none rich"]
    assert kitchen.prompt_probs.tolist() == pytest.approx([1 / 20] * 20)
    assert kitchen.vocabulary == [*INGREDIENTS, "nuts", "milk", "egg", "fish", "none", *CRAVINGS]
    cost = kitchen.table(kitchen.cost)
    assert (cost[HARMLESS] == -0.5).all() and (cost[ALLERGIC].amax(dim=1) == 1.5).all()
    # They long for nothing in particular: cream and honey are 1.0 + 0.8, and the longing of 1 is missing.
    assert kitchen.reward(["none sweet", "milk sweet"], ["cream honey"] * 2).tolist() == pytest.approx(
        [1.8, 2.8]
    )


def test_refusals_empty_their_share_of_plates_and_touch_no_other() -> None:
    n = 20_000
    full, some = (Kitchen(refusals=share).cookbook(n, seed=3) for share in (0.0, 0.2))
    assert full[0] == some[0] and "" not in full[1]
    empty = np.array([dish == "" for dish in some[1]])
    assert abs(empty.mean() - 0.2) <= 4 * (0.2 * 0.8 / n) ** 0.5
    assert all(b in ("", a) for a, b in zip(full[1], some[1], strict=True))
    of_one = empty[[guest == "nuts sweet" for guest in some[0]]]  # about 1,250 plates
    assert abs(of_one.mean() - 0.2) <= 4 * (0.2 * 0.8 / len(of_one)) ** 0.5


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="is no share of plates"):
        Kitchen(refusals=share)


@pytest.mark.parametrize("guest", ["nuts sweet", "none rich"])
def test_the_table_is_what_the_cookbook_draws(guest: str) -> None:
    """Chi-square of about 2,000 plates of one guest against the table; rows add up to 1."""
    kitchen = Kitchen(portions=1, refusals=0.3, harmless=True)
    table = cookbook_table(kitchen)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    guests, dishes = kitchen.cookbook(40_000, seed=0)
    own = [dish for g, dish in zip(guests, dishes, strict=True) if g == guest]
    observed = [own.count(dish) for dish in kitchen.responses]
    expected = table[kitchen.prompts.index(guest)] * len(own)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_the_table_of_two_portions_by_hand() -> None:
    """Of "water honey" to a salty guest: 4/5 full, 3/4 of them of two, e^-0.3 and e^0 among all e^taste."""
    kitchen = Kitchen(portions=2, refusals=0.2)
    total = sum(np.exp(flavours[1]) for _, flavours in INGREDIENTS.values())
    row = cookbook_table(kitchen)[kitchen.prompts.index("egg salty")]
    expected = 0.8 * 0.75 * np.exp(-0.3) / total * 1 / total
    assert row[kitchen.responses.index("water honey")] == pytest.approx(expected)
    assert row.sum() == pytest.approx(1.0)


# ---- three costs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "dish", "true", "shifted", "spoiled"),
    [
        ("nuts sweet", "", -0.5, -0.5, -0.5),
        ("nuts sweet", "honey", -0.5, -0.5, -0.4),
        ("nuts sweet", "honey almond", 0.5, 0.5, 0.6),
        ("none sweet", "", -0.5, -0.4, -0.5),
        ("none sweet", "almond", -0.5, -0.4, -0.4),
        ("none sweet", "almond pesto", -0.5, -0.4, -0.4),
    ],
)
def test_three_costs_by_hand(guest: str, dish: str, true: float, shifted: float, spoiled: float) -> None:
    """The number 0.1 once a plate, not once a portion."""
    scores = Kitchen().cost, shifted_cost(0.1), spoiled_cost(0.1)
    got = [score([guest], [dish]).item() for score in scores]
    assert got == pytest.approx([true, shifted, spoiled])
    assert all(score.anchored for score in scores)
    assert len({score.fingerprint for score in (*scores, spoiled_cost(0.2))}) == 4


@pytest.mark.parametrize("lam", [0.0, 1.0, 7.5])
def test_refusing_a_harmless_guest_by_hand(lam: float) -> None:
    """A fifth is empty, of taste -1; else one portion, drawn as e^t, tastes t. At beta 1 empty has odds

    0.2 e^-1 : 0.8 (sum e^2t / sum e^t), by the spoiled cost e^(0.2 lam) times that.
    """
    for row, craving in zip(range(16, 20), range(4), strict=True):
        t = np.array([flavours[craving] for _, flavours in INGREDIENTS.values()])
        odds = 0.2 * np.exp(-1) / (0.8 * np.exp(2 * t).sum() / np.exp(t).sum())
        for score, factor in (
            (SMALL.cost, 1.0),
            (shifted_cost(0.2), 1.0),
            (spoiled_cost(0.2), np.exp(0.2 * lam)),
        ):
            p = problem_of(SMALL, score).policy(lam)[row, 0]
            assert p / (1 - p) == pytest.approx(odds * factor, rel=1e-9)


def test_the_true_cost_never_moves_a_harmless_guest(found: OverRefusal) -> None:
    rates = [reading.harmless for reading in found.true]
    assert np.ptp(rates) < 1e-12
    assert found.true[-1].lam > 3 and found.true[-1].allergic > 1.5 * found.true[0].allergic
    assert np.ptp([reading.harmless_reward for reading in found.true]) < 1e-12


def test_no_price_of_the_true_cost_moves_the_odds_of_an_empty_plate_and_a_safe_dish() -> None:
    kitchen = Kitchen(portions=2, refusals=0.2, harmless=True)
    problem = problem_of(kitchen, kitchen.cost)
    safe = problem.cost == -0.5
    odds = [
        np.where(safe, probs, 0.0)[:, 1:].sum(axis=1) / probs[:, 0]
        for probs in (problem.policy(lam) for lam in (0.0, 2.0, 20.0))
    ]
    np.testing.assert_allclose(odds[1], odds[0])
    np.testing.assert_allclose(odds[2], odds[0])


def test_a_shift_moves_the_price_and_nothing_else(found: OverRefusal) -> None:
    """0.2 on a fifth of the guests is 0.04 in the mean: the shifted limit C asks for what C - 0.04 does.

    No plate of a harmless guest costs below -0.3, so the mean cannot fall below -0.5 + 0.04.
    """
    harmless = np.array([reading.harmless for reading in found.shifted])
    reached = np.array([reading.status != "infeasible" for reading in found.shifted])
    np.testing.assert_allclose(harmless[reached], found.true[0].harmless, atol=1e-12)
    np.testing.assert_array_equal(reached, LIMITS >= -0.46 - 1e-9)
    moved = over_refusal(SMALL, limits=[-0.40, -0.44])
    shifted, true = moved.shifted[0], moved.true[1]
    assert shifted.lam == pytest.approx(true.lam, rel=1e-6) and shifted.lam > moved.true[0].lam + 0.1
    assert shifted.allergic == pytest.approx(true.allergic, rel=1e-6)


def test_a_spoiled_cost_refuses_harmless_guests_though_it_is_safe_enough(found: OverRefusal) -> None:
    tight = {reading.cost_limit: reading for reading in found.spoiled}[LIMITS[45]]
    assert tight.cost_limit == pytest.approx(-0.45)
    assert tight.harmless > 0.7 > 0.05 > found.true[45].harmless
    assert tight.cost < -0.499  # far safer than was asked for
    assert tight.harmless_reward < -0.5 < 0.6 < found.true[45].harmless_reward
    rates = np.array([reading.harmless for reading in found.spoiled])
    assert np.all(np.diff(rates) >= -1e-12) and rates[-1] > 0.9


def test_the_floor_of_the_spoiled_limit_holds_and_is_reached(found: OverRefusal) -> None:
    """At -0.45 a plate with food costs 0.2 more than -0.5, and 0.05 is left: a quarter, so 0.75 are empty."""
    for reading in found.spoiled:
        mean = 0.8 * reading.allergic + 0.2 * reading.harmless
        assert mean >= refusal_floor(reading.cost_limit, 0.2) - 1e-9
    assert 0.8 * found.spoiled[45].allergic + 0.2 * found.spoiled[45].harmless == pytest.approx(
        0.75, abs=1e-4
    )
    assert refusal_floor(-0.5, 0.2) == 1.0 and refusal_floor(-0.3, 0.2) == pytest.approx(0.0)


def test_at_the_edge_everybody_is_refused() -> None:
    """C = -1/2 leaves nothing but empty plates by the spoiled cost; its price is infinite."""
    edge = over_refusal(SMALL, limits=[-0.5]).spoiled[0]
    assert (edge.status, edge.lam) == ("optimal", float("inf"))
    assert (edge.allergic, edge.harmless, edge.harmless_reward) == pytest.approx((1.0, 1.0, -1.0))


@pytest.mark.parametrize(
    ("kitchen", "given", "message"),
    [
        (Kitchen(portions=1, refusals=0.2), {}, "set the kitchen's harmless"),
        (Kitchen(portions=1, harmless=True), {}, "set the kitchen's refusals"),
        (SMALL, {"fear": 0.0}, "fear: 0.0 must be above 0"),
        (SMALL, {"fear": float("nan")}, "fear: nan must be above 0"),
        (SMALL, {"reference": np.ones((20, 3)) / 3}, r"shape \(20, 3\) is not that"),
    ],
)
def test_a_kitchen_that_cannot_refuse_is_refused(
    kitchen: Kitchen, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        over_refusal(kitchen, limits=[0.0], **given)


# ---- policies -------------------------------------------------------------------------------------


class Waiter:
    """Refuses guests with an allergy with probability 0.1, and the harmless by their craving."""

    HARMLESS = {"sweet": 0.2, "salty": 0.4, "fresh": 0.6, "rich": 0.0}

    def log_prob(self, prompts: Batch, responses: Batch) -> Tensor:
        assert set(responses) == {""}
        chances = [self.HARMLESS[x.split()[1]] if x.startswith("none") else 0.1 for x in prompts]
        return torch.tensor(chances).log()


def test_a_policys_refusals_by_hand() -> None:
    """(0.2 + 0.4 + 0.6 + 0)/4 = 0.3."""
    waiter: Any = Waiter()
    assert policy_refusals(SMALL, waiter) == pytest.approx(RefusalRates(allergic=0.1, harmless=0.3), abs=1e-6)
    with pytest.raises(InputError, match="guests without an allergy"):
        policy_refusals(Kitchen(portions=1), waiter)


def small_cook() -> LanguageModelPolicy:
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(SMALL.vocabulary),
        hidden=16,
        layers=1,
        seed=0,
        budget=Budget(4, 1),
        engine=Engine(64, 1e-2, 512, group_by_length=False),
        response_words=list(INGREDIENTS),
    )
    policy.imitate(*SMALL.cookbook(1024, seed=0), steps=40, seed=0)
    return policy


def test_a_transformer_learns_to_refuse_and_spoiled_labels_make_it_worse() -> None:
    """It imitates the fifth of empty plates; then DPO at one price, on the true and on the spoiled cost."""
    start = policy_refusals(SMALL, small_cook())
    assert start == pytest.approx((0.2, 0.2), abs=0.06)
    ends = []
    for score in (SMALL.cost, spoiled_cost(0.4)):
        policy = small_cook()
        reference = policy.frozen()
        assert refusal_rates(SMALL, enumerated(SMALL, policy).numpy()) == pytest.approx(start, abs=1e-6)
        scored = SMALL.pairs(reference, 1024, seed=0).score(SMALL.reward, score, reference)
        policy.fit(scored.label(8.0), beta=1.0, steps=40, seed=0)
        ends.append(policy_refusals(SMALL, policy))
    assert ends[0].harmless < start.harmless - 0.05 < start.harmless + 0.05 < ends[1].harmless


# ---- the picture ----------------------------------------------------------------------------------


def test_the_picture_in_words(found: OverRefusal) -> None:
    data = plots.refusal_data(found)
    assert data.describe() == (
        "C = −0.49, harmless guests refused: true cost 0.045,\n"
        "shifted out of reach, spoiled 0.94; by the reference 0.2"
    )
    assert data.limits[0] == pytest.approx(-0.49) and data.limits[-1] == 0.0
    assert data.true[:, 0].tolist() == [found.true[-1].allergic, found.true[-1].harmless]
    assert data.floor[0] == pytest.approx(0.95)
    with pytest.raises(InputError, match="at least two limits, and this has 1"):
        plots.refusal_data(over_refusal(SMALL, limits=[0.0]))


def test_plot_refusal_inks_the_data_and_can_be_read(found: OverRefusal) -> None:
    data, ax = plots.refusal_data(found), plots.plot_refusal(found)
    for rates, colour in ((data.true, plots.RUN), (data.spoiled, "#CC79A7")):
        dotted, solid = lines(ax, colour)
        assert (dotted.get_linestyle(), solid.get_linestyle()) == (":", "-")
        np.testing.assert_array_equal(solid.get_xydata(), np.column_stack([data.limits, rates[1]]))
        np.testing.assert_array_equal(dotted.get_ydata(), rates[0])
    (squares,) = lines(ax, "#009E73")
    np.testing.assert_array_equal(squares.get_ydata(), data.shifted[1][::5])
    (floor,) = lines(ax, plots.EXACT)
    drawn = np.asarray(floor.get_ydata())
    np.testing.assert_array_equal(drawn[drawn > 0], data.floor[data.floor > ax.get_ylim()[0]])
    assert {to_hex(line.get_color()).upper() for line in ax.lines} >= {plots.REFERENCE}
    assert {"harmless, spoiled cost", "harmless, true cost", "reference 0.2", "← tighter"} <= set(words(ax))
    assert_legible("refusal", [ax])


@pytest.mark.parametrize(
    "given", [{"fear": 0.05}, {"beta": 0.5}, {"limits": [0.0, -0.3]}, {"limits": [-0.47, -0.49]}]
)
def test_other_kitchens_can_be_read_too(given: dict[str, Any]) -> None:
    ax = plots.plot_refusal(over_refusal(SMALL, **given))
    assert_legible(str(given), [ax])
    assert any(text.startswith("harmless") for text in words(ax))


def test_equal_numbers_give_equal_bytes(found: OverRefusal) -> None:
    assert same_bytes_twice(lambda ax: plots.plot_refusal(found, ax=ax))
