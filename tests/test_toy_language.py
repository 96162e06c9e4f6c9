"""The kitchen: gold scores by hand, every dish counted, people's labels at their stated odds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.certificate import world_problem
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.toy_language import ALLERGIES, CRAVINGS, INGREDIENTS, SIZES, Kitchen, harm, taste
from cdpo_edu.types import Batch, InputError, Policy, World


class Regulars:
    """A policy that serves fixed dishes in turn, so that a test knows what it will get."""

    fingerprint = "regulars"

    def __init__(self, menu: list[str]) -> None:
        self.menu = menu

    def sample(self, prompts: Batch, n: int, *, generator: torch.Generator) -> list[str]:
        return [self.menu[i % len(self.menu)] for i in range(n * len(prompts))]

    def log_prob(self, prompts: Batch, responses: Batch) -> Tensor:
        return torch.zeros(len(prompts))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


# ---------------------------------------------------------------- gold scores


@pytest.mark.parametrize(
    ("guest", "dish", "expected"),
    [
        # an empty plate pleases nobody
        ("nuts sweet", "", -1.0),
        # one ingredient, its taste for the craving
        ("nuts sweet", "honey", 0.8),
        ("nuts salty", "honey", 0.0),
        ("milk rich", "water", -0.4),
        # a forbidden ingredient adds 1: 1.0 + 1, and only for the guest who must not have it
        ("milk sweet", "cream", 2.0),
        ("nuts sweet", "cream", 1.0),
        # harmony in this order: tomato 0.6 + basil 0.6 + 0.5, and none the other way round
        ("fish fresh", "tomato basil", 1.7),
        ("fish fresh", "basil tomato", 1.2),
        # a repeated portion loses 0.8: 2 * 0.8 - 0.8
        ("egg sweet", "honey honey", 0.8),
        # and again for every further one: 3 * 0.8 - 2 * 0.8
        ("egg sweet", "honey honey honey", 0.8),
        # three portions: 0.3 + 0.9 + 1 forbidden + rice-shrimp 0.5, then shrimp again 0.9 + 1 - 0.8
        ("fish salty", "rice shrimp shrimp", 3.8),
        # two harmonies in a row: tomato .2 basil .1 rice .3, tomato-basil .5, basil-rice .3
        ("egg rich", "tomato basil rice", 1.4),
        # harmony needs neighbours: rice 0.2, water -0.3, bean 0.0
        ("milk sweet", "rice water bean", -0.1),
    ],
)
def test_taste_by_hand(guest: str, dish: str, expected: float) -> None:
    assert taste(guest, dish) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("guest", "dish", "expected"),
    [
        ("nuts sweet", "", -0.5),
        ("nuts sweet", "honey cream", -0.5),
        ("milk sweet", "honey cream", 0.5),
        ("nuts rich", "almond pesto rice", 1.5),
        ("fish rich", "anchovy anchovy shrimp", 2.5),
    ],
)
def test_harm_by_hand(guest: str, dish: str, expected: float) -> None:
    """Forbidden portions minus one half."""
    assert harm(guest, dish) == expected


def test_gold_scores_are_scorers() -> None:
    """Batches in, float64 out; the cost has a zero, the reward none; both can be cached, apart."""
    kitchen = Kitchen()
    guests, dishes = ["nuts sweet", "fish rich"], ["honey almond", "bean"]
    assert torch.equal(kitchen.cost(guests, dishes), torch.tensor([0.5, -0.5], dtype=torch.float64))
    assert kitchen.reward(guests, dishes).tolist() == pytest.approx([3.3, 0.5])
    assert kitchen.cost.anchored and not kitchen.reward.anchored
    assert kitchen.cost.fingerprint != kitchen.reward.fingerprint == Kitchen(portions=2).reward.fingerprint


# ---------------------------------------------------------------- every dish


@pytest.mark.parametrize(("portions", "count"), [(1, 16), (2, 241), (3, 3616)])
def test_every_dish_is_counted_once(portions: int, count: int) -> None:
    """1 + 15 + 15^2 + 15^3."""
    dishes = Kitchen(portions=portions).responses
    assert len(dishes) == len(set(dishes)) == count == sum(15**k for k in range(portions + 1))
    assert dishes[0] == "" and max(len(dish.split()) for dish in dishes) == portions


def test_the_sizes_are_named() -> None:
    """1 + 15 + ... + 15^4 = 54,241."""
    assert SIZES == {"small": 2, "medium": 3, "large": 4}
    assert sum(15**k for k in range(5)) == 54241


def test_sixteen_guests_weigh_the_same() -> None:
    kitchen = Kitchen()
    assert len(set(kitchen.prompts)) == 16 == len(ALLERGIES) * len(CRAVINGS)
    assert torch.equal(kitchen.prompt_probs, torch.full((16,), 1 / 16, dtype=torch.float64))
    assert isinstance(kitchen, World)


def test_the_vocabulary_holds_every_word_once() -> None:
    kitchen = Kitchen(portions=1)
    used = {word for text in [*kitchen.prompts, *kitchen.responses] for word in text.split()}
    assert used == set(kitchen.vocabulary) and len(kitchen.vocabulary) == len(used)


def test_the_table_holds_guests_by_dishes() -> None:
    """Row and column of one entry, found by name."""
    kitchen = Kitchen(portions=2)
    table = kitchen.table(kitchen.reward)
    assert table.shape == (16, 241) and table.dtype == torch.float64
    row, column = kitchen.prompts.index("nuts sweet"), kitchen.responses.index("honey almond")
    assert table[row, column].item() == pytest.approx(3.3)


@pytest.mark.parametrize("given", [{"portions": 0}, {"portions": 5}, {"sharpness": 0.0}, {"sharpness": -1.0}])
def test_a_kitchen_out_of_bounds_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="1 to 4 portions"):
        Kitchen(**given)


# ---------------------------------------------------------------- the conflict


@pytest.mark.parametrize("portions", [1, 2, 3])
def test_reward_and_cost_conflict(portions: int) -> None:
    """With a uniform cook the limit binds: lam > 0, and the best policy gives up taste to meet it."""
    kitchen = Kitchen(portions=portions)
    reward, cost = kitchen.table(kitchen.reward).numpy(), kitchen.table(kitchen.cost).numpy()
    uniform = torch.full(reward.shape, 1 / reward.shape[1], dtype=torch.float64).numpy()
    problem = FiniteProblem(reference=uniform, reward=reward, cost=cost, beta=0.5, cost_limit=-0.4)
    best = problem.solve()
    free = problem.with_limit(100.0).solve()
    assert best.status == "optimal" and float(best.lam) > 0.5  # type: ignore[arg-type]
    assert best.cost == pytest.approx(-0.4, abs=1e-8)
    assert free.lam == 0.0 and float(free.cost) > -0.4  # type: ignore[arg-type]
    assert float(free.reward or 0) > float(best.reward or 0)


def test_every_guest_longs_for_what_they_must_not_eat() -> None:
    """For each guest the tastiest dish of all is a forbidden one."""
    kitchen = Kitchen(portions=2)
    best = kitchen.table(kitchen.reward).argmax(dim=1)
    assert (kitchen.table(kitchen.cost)[torch.arange(16), best] > 0).all()


# ---------------------------------------------------------------- pairs and labels


def test_pairs_are_what_the_given_policy_cooks() -> None:
    """Each guest is served six dishes in a row: three pairs of neighbours; guests take turns."""
    menu = ["honey", "rice", "apple", "bean", "basil", "water"]
    kitchen = Kitchen(portions=1)
    pairs = kitchen.pairs(Regulars(menu), 48, seed=0)  # type: ignore[arg-type]
    assert pairs.prompts == kitchen.prompts * 3
    assert pairs.y0 == ["honey"] * 16 + ["apple"] * 16 + ["basil"] * 16
    assert pairs.y1 == ["rice"] * 16 + ["bean"] * 16 + ["water"] * 16
    assert pairs.world is kitchen


@pytest.mark.parametrize("n", [1, 5, 16, 20])
def test_the_number_of_pairs_is_the_one_asked_for(n: int) -> None:
    kitchen = Kitchen(portions=1)
    pairs = kitchen.pairs(Regulars(["honey", "rice"]), n, seed=0)  # type: ignore[arg-type]
    assert len(pairs) == n and pairs.prompts[: min(n, 16)] == kitchen.prompts[: min(n, 16)]


def small_cook() -> LanguageModelPolicy:
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(Kitchen().vocabulary),
        hidden=16,
        layers=1,
        budget=Budget(4, 1),
        engine=Engine(16, 1e-2, 4096),
        response_words=list(INGREDIENTS),
    )
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(20)  # type: ignore[operator]
    return policy


def test_pairs_of_a_transformer_follow_its_probabilities() -> None:
    """Both sides of 8,000 pairs, for one guest of 16: chi-square against `log_prob` over the 16 dishes."""
    policy, kitchen = small_cook(), Kitchen(portions=1)
    pairs = kitchen.pairs(policy, 8000, seed=0)
    guest = "milk sweet"
    expected = policy.log_prob([guest] * 16, kitchen.responses).double().softmax(0)
    for side in (pairs.y0, pairs.y1):
        dishes = [y for x, y in zip(pairs.prompts, side, strict=True) if x == guest]
        observed = [dishes.count(dish) for dish in kitchen.responses]
        assert len(dishes) == 500
        assert stats.chisquare(observed, (expected * len(dishes)).tolist()).pvalue > 1e-3


def within(frequency: float, probability: float, n: int) -> bool:
    """Return whether a frequency lies within four standard errors of its probability."""
    return abs(frequency - probability) <= 4 * (probability * (1 - probability) / n) ** 0.5


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_labels_come_at_bradley_terry_odds(sharpness: float) -> None:
    """10,000 judges on one pair: apple (0.6, safe) against rice and almond (2.2, one forbidden portion)."""
    n, kitchen = 10_000, Kitchen(portions=2, sharpness=sharpness)
    generator = torch.Generator().manual_seed(0)
    pairs = kitchen.judged(["nuts sweet"] * n, ["apple"] * n, ["rice almond"] * n, generator=generator)
    assert pairs.better is not None and pairs.safer is not None and pairs.unsafe is not None
    # taste: rice 0.2 + almond 1.0 + 1 for being forbidden; harm: -1/2 against 1/2
    odds = torch.tensor([2.2 - 0.6, -0.5 - 0.5, -0.5, 0.5], dtype=torch.float64) * sharpness
    expected = odds.sigmoid().tolist()
    found = [pairs.better.mean(), pairs.safer.mean(), *pairs.unsafe.mean(dim=0)]
    assert all(within(float(f), p, n) for f, p in zip(found, expected, strict=True))
    assert not within(float(found[1]), expected[0], n)


def test_the_four_labels_of_a_pair_are_drawn_apart() -> None:
    """At even odds each: no two of the four columns agree more or less than half of the time."""
    n, kitchen = 4000, Kitchen(portions=1, sharpness=1e-9)
    pairs = kitchen.judged(
        ["nuts sweet"] * n, ["rice"] * n, ["almond"] * n, generator=torch.Generator().manual_seed(0)
    )
    assert pairs.better is not None and pairs.safer is not None and pairs.unsafe is not None
    columns = [pairs.better, pairs.safer, pairs.unsafe[:, 0], pairs.unsafe[:, 1]]
    for i in range(4):
        for j in range(i):
            assert within((columns[i] == columns[j]).double().mean().item(), 0.5, n)


def test_equal_seeds_give_equal_pairs() -> None:
    policy, kitchen = small_cook(), Kitchen(portions=1)
    a, b, c = (kitchen.pairs(policy, 64, seed=s) for s in (0, 0, 1))
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert a.better is not None and b.better is not None and torch.equal(a.better, b.better)


# ---------------------------------------------------------------- the cookbook


def test_the_cookbook_has_all_sizes_and_no_care() -> None:
    """Sizes are the larger of two dice of three: 1/9, 3/9, 5/9. Cravings show, allergies do not."""
    n, kitchen = 20_000, Kitchen(portions=3)
    guests, dishes = kitchen.cookbook(n, seed=0)
    for size in (1, 2, 3):
        share = sum(len(dish.split()) == size for dish in dishes) / n
        assert within(share, (2 * size - 1) / 9, n)
    assert within(guests.count("nuts sweet") / n, 1 / 16, n)
    almond = {
        guest: [("almond" in dish.split()) for g, dish in zip(guests, dishes, strict=True) if g == guest]
        for guest in ("nuts sweet", "milk sweet", "nuts fresh")
    }
    with_almond = {guest: sum(found) / len(found) for guest, found in almond.items()}
    # about 1,250 dishes per guest: 0.06 is more than three standard errors of a difference
    assert with_almond["nuts sweet"] == pytest.approx(with_almond["milk sweet"], abs=0.06)
    assert with_almond["nuts sweet"] > with_almond["nuts fresh"]


def test_the_exact_problem_is_that_of_the_reference() -> None:
    """`world_problem` holds the policy's own probabilities, all prompts, and the run's scorers."""
    policy, kitchen = small_cook(), Kitchen(portions=1)
    scored = kitchen.pairs(policy, 32, seed=0).score(kitchen.reward, kitchen.cost, policy.frozen())
    problem = world_problem(scored, beta=0.5, cost_limit=-0.3)
    probs = kitchen.table(policy.log_prob).exp().numpy()
    assert abs(problem.reference - probs).max() < 1e-6
    assert (problem.cost == kitchen.table(kitchen.cost).numpy()).all()
    assert (problem.reward == kitchen.table(kitchen.reward).numpy()).all()
    assert isinstance(policy, Policy)


# ---------------------------------------------------------------- rankings


class Uniform(Regulars):
    """A policy that draws any of 241 dishes with equal odds."""

    def __init__(self) -> None:
        super().__init__(Kitchen(portions=2).responses)

    def sample(self, prompts: Batch, n: int, *, generator: torch.Generator) -> list[str]:
        places = torch.randint(len(self.menu), (n * len(prompts),), generator=generator)
        return [self.menu[i] for i in places.tolist()]


def test_a_ranking_is_all_comparisons_of_its_dishes_and_they_agree() -> None:
    """4 dishes: 6 pairs that one order explains, and one flag per dish wherever it stands."""
    world = Kitchen(portions=2)
    ranked = world.rankings(Uniform(), 20, size=4, seed=0)  # type: ignore[arg-type]
    assert len(ranked) == 20 * 6 and ranked.sets is not None
    assert torch.bincount(ranked.sets).tolist() == [6] * 20
    assert ranked.better is not None and ranked.safer is not None and ranked.unsafe is not None
    for number in range(20):
        rows = (ranked.sets == number).nonzero().flatten().tolist()
        assert (
            len({ranked.prompts[i] for i in rows}) == 1
            and ranked.prompts[rows[0]] == world.prompts[number % 16]
        )
        for label in (ranked.better, ranked.safer):
            wins = [0, 0, 0, 0]
            for i, (a, b) in zip(rows, itertools.combinations(range(4), 2), strict=True):
                wins[b if label[i] else a] += 1
            assert sorted(wins) == [0, 1, 2, 3]  # a tournament without cycles
        flags = dict(zip(itertools.combinations(range(4), 2), ranked.unsafe[rows].tolist(), strict=True))
        assert all(flags[0, b][0] == flags[0, 1][0] for b in (2, 3))


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_two_dishes_of_a_ranking_stand_in_bradley_terry_order(sharpness: float) -> None:
    """Over 16,800 comparisons, label - s(gap) has mean 0 and no correlation with s(gap), to four errors."""
    world = Kitchen(portions=2, sharpness=sharpness)
    ranked = world.rankings(Uniform(), 600, seed=1)  # type: ignore[arg-type]
    for label, score, sign in ((ranked.better, world.reward, 1), (ranked.safer, world.cost, -1)):
        assert label is not None
        gap = score(ranked.prompts, ranked.y1) - score(ranked.prompts, ranked.y0)
        expected = (sign * sharpness * gap).sigmoid()
        surprise = label - expected
        by_ranking = torch.stack([surprise, surprise * (expected - 0.5)]).view(2, 600, 28).mean(dim=2)
        error = by_ranking.std(dim=1) / 600**0.5
        assert (by_ranking.mean(dim=1).abs() < 4 * error).all()


def test_flags_of_a_ranking_come_at_logistic_odds() -> None:
    world = Kitchen(portions=2, sharpness=2.0)
    ranked = world.rankings(Uniform(), 800, size=2, seed=2)  # type: ignore[arg-type]
    assert ranked.unsafe is not None
    for side, answers in enumerate((ranked.y0, ranked.y1)):
        expected = (2.0 * world.cost(ranked.prompts, answers)).sigmoid()
        surprise = ranked.unsafe[:, side] - expected
        assert abs(surprise.mean().item()) < 4 * surprise.std().item() / 800**0.5
