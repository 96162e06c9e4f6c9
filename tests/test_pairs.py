"""Scored once, relabelled at will, split without leaks: the comparisons that training sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cdpo_edu.pairs import (
    Pairs,
    Preferences,
    PromptSets,
    Scaled,
    ScoredPairs,
    digest,
    digests,
    distinct,
    first_turn,
)
from cdpo_edu.types import InputError

NAN = float("nan")
LN3 = math.log(3)


def columns(*rows: tuple[float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def scored_by_hand(reward: Tensor, cost: Tensor) -> ScoredPairs:
    """Return pairs with these columns and nothing behind them."""
    n = len(reward)
    x, a, b = ([f"{kind}{i}" for i in range(n)] for kind in "xab")
    nobody: Any = None
    return ScoredPairs(x, a, b, reward, cost, torch.zeros(n, 2), nobody, nobody, nobody, nobody)


def random_scores(n: int, *, seed: int = 0) -> ScoredPairs:
    draw = torch.randn(2, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scored_by_hand(draw[0], draw[1])


# ---- labels ------------------------------------------------------------------------------------


def test_gap_by_hand() -> None:
    # (r1 - lam c1) - (r0 - lam c0) at lam = 2: (3 - 2*2) - (1 - 2*0) = -2; at lam = 0: 3 - 1 = 2.
    scored = scored_by_hand(columns((1, 3)), columns((0, 2)))
    assert scored.gap(2.0).tolist() == [-2.0]
    assert scored.gap(0.0).tolist() == [2.0]


def test_soft_labels_by_hand() -> None:
    # Gaps ln 3, 0 and -ln 3 are odds 3 to 1, even, 1 to 3; a cost gap of 1 at lam = ln 3 takes ln 3 away.
    reward = columns((0, LN3), (7, 7), (LN3, 0), (0, LN3))
    cost = columns((0, 0), (5, 5), (0, 0), (0, 1))
    target = scored_by_hand(reward, cost).label(LN3).target
    torch.testing.assert_close(target, torch.tensor([0.75, 0.5, 0.25, 0.5], dtype=torch.float64))


def test_adding_a_number_per_prompt_to_a_score_changes_no_label() -> None:
    # Both answers of a pair share x, so a shift by prompt (and the limit C with it) cancels.
    scored = random_scores(50)
    shift = torch.linspace(-9, 9, 50, dtype=torch.float64)[:, None]
    moved = replace(scored, reward=scored.reward + shift, cost=scored.cost - shift)
    torch.testing.assert_close(moved.label(1.7).target, scored.label(1.7).target)


def test_bernoulli_labels_are_drawn_with_the_soft_probability() -> None:
    # 1000 evenly spaced uniforms count out the probability 0.75 to one part in a thousand.
    n = 1000
    scored = scored_by_hand(columns(*[(0.0, LN3)] * n), columns(*[(0.0, 0.0)] * n))
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    target = scored.label(0.0, labels="bernoulli", uniforms=uniforms).target
    assert set(target.tolist()) == {0.0, 1.0}
    assert target.mean().item() == pytest.approx(0.75, abs=1e-3)


def test_with_the_same_uniforms_a_label_changes_only_when_lam_makes_it() -> None:
    """P(y1 chosen) is monotone in lam, downwards where y1 costs more; so the label flips at most once."""
    scored = random_scores(400)
    uniforms = torch.rand(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lams = torch.linspace(0, 6, 61).tolist()
    labels = torch.stack([scored.label(k, labels="bernoulli", uniforms=uniforms).target for k in lams])
    again = scored.label(lams[7], labels="bernoulli", uniforms=uniforms).target
    assert torch.equal(labels[7], again)
    moves = labels.diff(dim=0)  # (60, 400)
    dearer = scored.cost[:, 1] > scored.cost[:, 0]
    assert (moves[:, dearer] <= 0).all() and (moves[:, ~dearer] >= 0).all()
    assert (moves[:, dearer] < 0).any() and (moves[:, ~dearer] > 0).any()


def test_hard_labels_are_the_arg_max_with_ties_at_a_half() -> None:
    # At lam = 1 the scores are (1, 2), (2, 1), (1, 1).
    reward, cost = columns((1, 3), (2, 3), (1, 4)), columns((0, 1), (0, 2), (0, 3))
    assert scored_by_hand(reward, cost).label(1.0, labels="hard").target.tolist() == [1.0, 0.0, 0.5]


def test_label_keeps_everything_but_the_target() -> None:
    scored = random_scores(5)
    first, second = scored.label(0.0), scored.label(3.0)
    for preferences in (first, second):
        assert preferences[:3] == (scored.prompts, scored.y0, scored.y1)
        assert torch.equal(preferences.ref_logp, scored.ref_logp)
    assert not torch.equal(first.target, second.target)


def test_unknown_labels_are_refused() -> None:
    unknown: Any = "sofft"
    with pytest.raises(InputError, match="soft, bernoulli or hard, not 'sofft'"):
        random_scores(3).label(0.0, labels=unknown)


def test_bernoulli_labels_without_uniforms_are_refused() -> None:
    with pytest.raises(InputError, match="one fixed uniform per pair"):
        random_scores(3).label(0.0, labels="bernoulli")


def test_extended_appends_every_column() -> None:
    one, two = random_scores(2), random_scores(3, seed=1)
    both = one.extended(two)
    assert len(both) == 5
    assert both.prompts == ["x0", "x1", "x0", "x1", "x2"]
    assert both.y0 == ["a0", "a1", "a0", "a1", "a2"] and both.y1 == ["b0", "b1", "b0", "b1", "b2"]
    for name in ("reward", "cost", "ref_logp"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(two, name)]))
    assert torch.equal(both.gap(0.7), torch.cat([one.gap(0.7), two.gap(0.7)]))


# ---- columns -----------------------------------------------------------------------------------


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(InputError, match="2 prompts but 1 entries in 'y1'"):
        Pairs(["p", "q"], ["a", "b"], ["c"])
    with pytest.raises(InputError, match="2 prompts but 3 entries in 'unsafe'"):
        Pairs(["p", "q"], ["a", "b"], ["c", "d"], unsafe=torch.zeros(3, 2))


def test_take_moves_every_column_together() -> None:
    index = torch.arange(3, dtype=torch.float64)
    pairs = Pairs(
        ["p", "q", "r"],
        ["a", "b", "c"],
        ["d", "e", "f"],
        better=index,
        unsafe=torch.stack([index, index], dim=1),
    )
    taken = pairs.take([2, 0])
    assert (taken.prompts, taken.y0, taken.y1) == (["r", "p"], ["c", "a"], ["f", "d"])
    assert taken.better is not None and taken.better.tolist() == [2.0, 0.0]
    assert taken.unsafe is not None and taken.unsafe.tolist() == [[2.0, 2.0], [0.0, 0.0]]
    assert taken.safer is None


def test_the_fingerprint_stands_for_prompts_and_answers_alone() -> None:
    pairs = Pairs(["p"], ["a"], ["b"])
    assert pairs.fingerprint == Pairs(["p"], ["a"], ["b"], better=torch.ones(1)).fingerprint
    others = [Pairs(["p"], ["b"], ["a"]), Pairs(["p"], ["a"], ["c"]), Pairs(["q"], ["a"], ["b"])]
    assert len({pairs.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_a_digest_knows_where_one_part_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab", "c") == digest("ab", "c") and len(digest()) == 16


def test_distinct_keeps_each_item_once() -> None:
    assert distinct(["b", "a", "b"]) == ["b", "a"]
    assert distinct(torch.tensor([2, 1, 2])).tolist() == [1, 2]  # type: ignore[union-attr]


# ---- the split ---------------------------------------------------------------------------------


def questions(n: int) -> Pairs:
    """Return n pairs with n different prompts; ``better`` numbers the rows, so that mixing them shows."""
    prompts = [f"What is {i} times {i}?" for i in range(n)]
    y0, y1 = ([f"{kind}{i}" for i in range(n)] for kind in "ab")
    return Pairs(prompts, y0, y1, better=torch.arange(n, dtype=torch.float64))


def sets_of(pairs: Pairs) -> tuple[set[str], set[str], set[str]]:
    assert pairs.prompt_sets is not None
    train, dual, judge = (set(part) for part in pairs.prompt_sets)
    return train, dual, judge


def test_split_makes_three_disjoint_sets_of_the_asked_sizes() -> None:
    pairs = questions(100)
    train, dual, judge = sets_of(pairs.split(dual=0.2, judge=0.1))
    assert (len(train), len(dual), len(judge)) == (70, 20, 10)  # one pair per prompt: shares are exact
    assert train | dual | judge == set(pairs.prompts)
    assert train.isdisjoint(dual) and train.isdisjoint(judge) and dual.isdisjoint(judge)


def test_split_leaves_only_training_pairs_each_with_its_own_row() -> None:
    pairs = questions(40).split()
    train, _, _ = sets_of(pairs)
    assert set(pairs.prompts) == train and len(pairs) == len(train)
    assert pairs.better is not None
    for prompt, y0, y1, row in zip(pairs.prompts, pairs.y0, pairs.y1, pairs.better.tolist(), strict=True):
        i = int(row)
        assert (prompt, y0, y1) == (f"What is {i} times {i}?", f"a{i}", f"b{i}")


def test_near_copies_stay_together() -> None:
    """Other cases, blanks or later turns make no other first turn; 30 groups of 3 fall as whole groups."""
    forms: list[Callable[[int], str]] = [
        lambda i: f"\n\nHuman: Story {i}, please\n\nAssistant:",
        lambda i: f"\n\nHuman:  story {i},  PLEASE \n\nAssistant: Once.\n\nHuman: More\n\nAssistant:",
        lambda i: f"Story {i}, please",
    ]
    prompts = [form(i) for form in forms for i in range(30)]
    made = Pairs(prompts, prompts, prompts).split()
    parts = [{first_turn(prompt) for prompt in part} for part in sets_of(made)]
    assert [len(part) for part in sets_of(made)] == [3 * len(part) for part in parts]
    assert sum(len(part) for part in parts) == len(set().union(*parts)) == 30


def test_the_order_of_the_rows_does_not_matter() -> None:
    pairs = questions(60)
    shuffled = pairs.take(torch.randperm(60, generator=torch.Generator().manual_seed(0)))
    assert list(shuffled.prompts) != list(pairs.prompts)
    one, two = pairs.split(seed=4), shuffled.split(seed=4)
    assert sets_of(one) == sets_of(two)
    assert one.prompt_sets is not None and two.prompt_sets is not None
    assert one.prompt_sets.fingerprint == two.prompt_sets.fingerprint


def test_split_repeats_itself_and_another_seed_is_another_split() -> None:
    pairs = questions(60)
    prints = [pairs.split(seed=seed).prompt_sets for seed in (0, 0, 1)]
    assert all(isinstance(part, PromptSets) for part in prints)
    first, again, other = (part.fingerprint for part in prints if part is not None)
    assert first == again != other


def test_a_prompt_with_many_rows_is_one_prompt_in_its_set() -> None:
    prompts = ["long"] * 50 + [f"p{i}" for i in range(50)]
    made = Pairs(prompts, prompts, prompts).split()
    assert made.prompt_sets is not None
    listed = [prompt for part in made.prompt_sets for prompt in part]
    assert sorted(listed) == sorted(set(prompts))


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_prompts_for_three_sets_are_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"{n} different first turns are too few"):
        questions(n).split()


@pytest.mark.parametrize(("dual", "judge"), [(0.0, 0.1), (0.1, 0.0), (0.5, 0.5), (0.9, 0.2), (-0.1, 0.2)])
def test_shares_that_leave_a_set_empty_are_refused(dual: float, judge: float) -> None:
    with pytest.raises(InputError, match="above 0 and sum below 1"):
        questions(10).split(dual=dual, judge=judge)


def test_first_turn_by_hand() -> None:
    assert first_turn("  Two\n words ") == "two words"
    assert first_turn("\n\nHuman: One\n\nAssistant: Two\n\nHuman: Three\n\nAssistant:") == "one"


# ---- scoring and its cache ---------------------------------------------------------------------


class Lengths:
    """A scorer that counts letters of the answer, and how often it is asked."""

    def __init__(self, sign: float = 1.0, *, fingerprint: str = "", anchored: bool = False) -> None:
        self.sign, self.fingerprint, self.anchored = sign, fingerprint, anchored
        self.calls = 0

    def __call__(self, prompts: Any, responses: Any) -> Tensor:
        self.calls += 1
        return self.sign * torch.tensor([float(len(response)) for response in responses])


class Shouter:
    """A reference whose log-probability is minus the letters of prompt and answer."""

    def __init__(self, fingerprint: str = "shouter") -> None:
        self.fingerprint = fingerprint
        self.calls = 0

    def log_prob(self, prompts: Any, responses: Any) -> Tensor:
        self.calls += 1
        return -torch.tensor([float(len(x) + len(y)) for x, y in zip(prompts, responses, strict=True)])


def few() -> Pairs:
    return Pairs(["p", "pq"], ["a", "aa"], ["bbb", "b"], better=torch.tensor([1.0, 0.0]))


def score(reference: Any, reward: Any, cost: Any, **settings: Any) -> ScoredPairs:
    return few().score(reward, cost, reference, **settings)


def test_score_by_hand() -> None:
    scored = score(Shouter(), Lengths(), Lengths(-1.0))
    # Lengths of ("a", "bbb") and ("aa", "b"); the reference adds the prompt's 1 and 2 letters.
    assert scored.reward.tolist() == [[1.0, 3.0], [2.0, 1.0]]
    assert scored.cost.tolist() == [[-1.0, -3.0], [-2.0, -1.0]]
    assert scored.ref_logp.tolist() == [[-2.0, -4.0], [-4.0, -3.0]]
    assert {column.dtype for column in (scored.reward, scored.cost, scored.ref_logp)} == {torch.float64}


def test_scales_multiply_their_own_column_and_stay_on_the_scorers() -> None:
    scored = score(Shouter(), Lengths(), Lengths(-1.0), reward_scale=0.5, cost_scale=0.25)
    assert scored.reward.tolist() == [[0.5, 1.5], [1.0, 0.5]]
    assert scored.cost.tolist() == [[-0.25, -0.75], [-0.5, -0.25]]
    assert scored.ref_logp.tolist() == [[-2.0, -4.0], [-4.0, -3.0]]
    # The dual step scores fresh samples in the very unit of the columns.
    assert scored.reward_scorer(["p"], ["four"]).tolist() == [2.0]
    assert scored.cost_scorer(["p"], ["four"]).tolist() == [-1.0]


def test_scaling_keeps_the_anchor_and_a_zero_score() -> None:
    assert Scaled(Lengths(anchored=True), 0.5).anchored is True
    assert Scaled(Lengths(), 0.5).anchored is False
    assert Scaled(lambda prompts, responses: torch.zeros(1), 0.5).anchored is False
    assert Scaled(Lengths(), 3.0)(["p"], [""]).tolist() == [0.0]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), NAN])
def test_a_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="a score scale must be a positive number"):
        score(Shouter(), Lengths(), Lengths(), cost_scale=scale)


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_score_that_is_no_finite_number_is_named_by_its_pair(bad: float) -> None:
    def broken(prompts: Any, responses: Any) -> Tensor:
        return torch.tensor([bad if response == "aa" else 0.0 for response in responses])

    with pytest.raises(InputError, match="pair 2: .* not a finite number"):
        score(Shouter(), Lengths(), broken)


def test_without_a_split_every_prompt_does_every_job() -> None:
    train, dual, judge = score(Shouter(), Lengths(), Lengths()).prompt_sets
    assert train == dual == judge == ["p", "pq"]


def test_a_split_travels_to_the_scored_pairs() -> None:
    split = questions(20).split()
    scored = split.score(Lengths(), Lengths(), Shouter())  # type: ignore[arg-type]
    assert scored.prompt_sets == split.prompt_sets


def test_the_second_call_reads_the_cache_and_asks_nobody(tmp_path: Path) -> None:
    reference, reward, cost = Shouter(), Lengths(fingerprint="r"), Lengths(-1.0, fingerprint="c")
    first = score(reference, reward, cost, cache=tmp_path)
    asked = (reference.calls, reward.calls, cost.calls)
    assert asked == (2, 2, 2)  # once for y0, once for y1
    second = score(reference, reward, cost, cache=tmp_path)
    assert (reference.calls, reward.calls, cost.calls) == asked
    without = score(reference, reward, cost)
    for name in ("reward", "cost", "ref_logp"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert torch.equal(getattr(first, name), getattr(without, name))
    assert len(list(tmp_path.iterdir())) == 1


def test_whatever_changes_a_number_changes_the_key(tmp_path: Path) -> None:
    """Each variant below differs from the first call in one thing and gets a file of its own."""
    variants: list[tuple[str, str, str, float, float]] = [
        ("ref", "r", "c", 1.0, 1.0),
        ("another ref", "r", "c", 1.0, 1.0),
        ("ref", "another r", "c", 1.0, 1.0),
        ("ref", "r", "another c", 1.0, 1.0),
        ("ref", "c", "r", 1.0, 1.0),
        ("ref", "r", "c", 0.5, 1.0),
        ("ref", "r", "c", 1.0, 0.5),
    ]
    for count, (ref, r, c, reward_scale, cost_scale) in enumerate(variants, start=1):
        scales = {"reward_scale": reward_scale, "cost_scale": cost_scale}
        reward, cost = Lengths(fingerprint=r), Lengths(fingerprint=c)
        score(Shouter(ref), reward, cost, cache=tmp_path, **scales)
        assert reward.calls == cost.calls == 2
        assert len(list(tmp_path.iterdir())) == count
    reward = Lengths(fingerprint="r")
    more = Pairs(["p"], ["a"], ["bbb"])
    more.score(reward, Lengths(fingerprint="c"), Shouter("ref"), cache=tmp_path)  # type: ignore[arg-type]
    assert reward.calls == 2 and len(list(tmp_path.iterdir())) == len(variants) + 1


@pytest.mark.parametrize("nameless", ["reference", "reward", "cost"])
def test_what_has_no_fingerprint_is_never_cached(tmp_path: Path, nameless: str) -> None:
    name = {part: "" if part == nameless else part for part in ("reference", "reward", "cost")}
    reward, cost = Lengths(fingerprint=name["reward"]), Lengths(fingerprint=name["cost"])
    for calls in (2, 4):
        score(Shouter(name["reference"]), reward, cost, cache=tmp_path)
        assert reward.calls == cost.calls == calls
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(columns: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(digests, "save_file", full_disk)
    with pytest.raises(OSError, match="no space left"):
        score(Shouter(), Lengths(fingerprint="r"), Lengths(fingerprint="c"), cache=tmp_path)
    assert list(tmp_path.glob("*.safetensors")) == []
    monkeypatch.undo()
    reward = Lengths(fingerprint="r")
    assert score(Shouter(), reward, Lengths(fingerprint="c"), cache=tmp_path).reward[0, 1] == 3.0
    assert reward.calls == 2


# ---- sets of answers ---------------------------------------------------------------------------


def four_answers() -> ScoredPairs:
    """Prompt x has answers a, b, a, c in two rows, prompt z has d and e; reward 1 to 6 in that order."""
    reward = torch.tensor([[1.0, 2.0], [1.0, 3.0], [5.0, 6.0]])
    columns: Any = (["x", "x", "z"], ["a", "a", "d"], ["b", "c", "e"], reward, -reward, 10 * reward)
    return ScoredPairs(*columns, Shouter(), Shouter(), None, None)  # type: ignore[arg-type]


def test_all_answers_to_a_prompt_are_compared_and_equal_ones_are_not() -> None:
    """x: a-b, a-c, b-c with a twice, so a-b, a-c, b-a, c-a, b-c in some order; z: d-e."""
    sets = four_answers().compared(4, seed=1)
    found = sorted((x, *sorted(pair)) for x, *pair in zip(sets.prompts, sets.y0, sets.y1, strict=True))
    assert found == sorted([("x", "a", "b")] * 2 + [("x", "a", "c")] * 2 + [("x", "b", "c"), ("z", "d", "e")])
    score = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 5.0, "e": 6.0}
    both = [[score[str(y)] for y in part] for part in (sets.y0, sets.y1)]
    assert torch.equal(sets.reward, torch.tensor(both).T)
    assert torch.equal(sets.cost, -sets.reward) and torch.equal(sets.ref_logp, 10 * sets.reward)


def test_sets_hold_no_more_answers_than_asked_for() -> None:
    for size, most in ((2, 1), (3, 3)):
        sets = four_answers().compared(size, seed=0).sets
        assert sets is not None and torch.bincount(sets).max() <= most


def test_another_seed_draws_other_sets() -> None:
    assert len({tuple(map(str, four_answers().compared(2, seed=seed).y0)) for seed in range(8)}) > 1


def test_added_pairs_keep_sets_of_their_own() -> None:
    scored = four_answers()
    first = scored.compared(4, seed=0)
    both = first.extended(first)
    assert first.sets is not None and both.sets is not None
    assert torch.equal(both.sets[: len(first)], first.sets)
    assert not set(both.sets[len(first) :].tolist()) & set(first.sets.tolist())
    plain = scored.extended(first).sets  # three rows were a set each
    assert plain is not None and plain[:3].tolist() == [0, 1, 2] and plain[3:].min() >= 3


def test_each_answer_of_a_set_weighs_as_much_as_one_of_a_pair() -> None:
    """Sets of 2, 3 and 4 answers have 1, 3 and 6 pairs of weight 1, 1/2, 1/3: in sum half their answers."""
    sets = torch.tensor([0] + [1] * 3 + [2] * 6)
    columns: Any = (["x"] * 10, ["a"] * 10, ["b"] * 10, torch.zeros(10, 2), torch.zeros(10))
    weight = Preferences(*columns, sets).weight
    assert [round(float(weight[sets == k].sum()), 6) for k in range(3)] == [1.0, 1.5, 2.0]
    assert torch.equal(Preferences(*columns).weight, torch.ones(10))
