"""Our own answer: tests that pass on the correct code and catch every exhibit, with their arithmetic.

    cdpo-edu museum run cdpo_edu/museum/reference_tests.py

Do not read this before you have written yours.
"""

from __future__ import annotations

import pytest
import torch

from cdpo_edu.museum import Code

LN2, LN3 = 0.693147, 1.098612


# ---- the dual and its multiplier


def test_the_dual_averages_logarithms(code: Code) -> None:
    """Log Z of 0 and 2 have the mean 1, so D = 0.5 * 1 + 3 * 1."""
    assert code.dual_value(torch.tensor([0.0, 2.0]), lam=3.0, cost_limit=1.0, beta=0.5) == pytest.approx(3.5)


def test_the_multiplier_follows_a_script(code: Code) -> None:
    """From 1, eta 2: violations 0.5, 0.5 and 0.25 move it to 2, 3 and 3.5."""
    multiplier = code.Multiplier(1.0, eta=2.0)
    assert [multiplier.step(cost, 0.0) for cost in (0.5, 0.5, 0.25)] == pytest.approx([2.0, 3.0, 3.5])


def test_the_multiplier_stops_at_zero(code: Code) -> None:
    """From 1, eta 2: a cost 9 below its limit would lead to -17."""
    assert code.Multiplier(1.0, eta=2.0).step(-9.0, 0.0) == 0.0


def test_a_larger_violation_makes_a_longer_step(code: Code) -> None:
    """Twice the violation, twice the step."""
    steps = [code.Multiplier(0.0, eta=0.1).step(violation, 0.0) for violation in (2.0, 4.0)]
    assert steps[1] == pytest.approx(2 * steps[0])


# ---- scores, labels, limit


def test_the_expected_cost_is_the_mean_of_the_costs(code: Code) -> None:
    """Costs 0, 1, 2 and 5 have the mean 2; the rewards have no say."""
    costs = torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    assert code.expected_cost(code.Answers(torch.full((2, 2), 7.0), costs)) == pytest.approx(2.0)


def test_cost_is_taken_off(code: Code) -> None:
    """3 - 0.5 * 2 = 2."""
    assert code.penalized(torch.tensor([3.0]), torch.tensor([2.0]), lam=0.5).item() == pytest.approx(2.0)


def test_a_target_is_a_probability(code: Code) -> None:
    """A gap of 2 ln 3 - 1 * ln 3 = ln 3 is odds of 3 to 1, and no gap is even odds."""
    reward, cost = torch.tensor([[0.0, 2 * LN3], [1.0, 1.0]]), torch.tensor([[0.0, LN3], [0.0, 0.0]])
    assert code.targets(reward, cost, 1.0).tolist() == pytest.approx([0.75, 0.5], abs=1e-5)


def test_an_absolute_limit_needs_a_zero(code: Code) -> None:
    """With a zero a mean of 0.4 meets 0.5 and not 0.3; without one it is refused."""
    answers = code.Answers(torch.zeros(1, 2), torch.tensor([[0.3, 0.5]]))
    assert code.meets_limit(answers, 0.5, anchored=True)
    assert not code.meets_limit(answers, 0.3, anchored=True)
    with pytest.raises(code.InputError):
        code.meets_limit(answers, 0.5, anchored=False)


# ---- text


def test_no_answer_token_is_lost_to_the_prompt(code: Code) -> None:
    """Joined, the colon of "a:" and the space of " b" would merge."""
    tokens = code.tokenise("a:", " b")
    assert tokens.prompt == code.encode("a:")
    assert tokens.answer == [*code.encode(" b"), code.END]


def test_truncation_spares_the_answer(code: Code) -> None:
    """4 places for 3 + 2 tokens: the prompt loses its first. 2 places hold the answer and no prompt."""
    tokens = code.Tokens([7, 8, 9], [5, code.END])
    assert code.truncate(tokens, 4) == ([8, 9], [5, code.END])
    with pytest.raises(code.InputError):
        code.truncate(tokens, 2)


def test_answers_alone_are_scored(code: Code) -> None:
    """Prompt 5 6; chosen 7 1, rejected 1 and one place of padding."""
    rows = code.pair_rows([[5, 6]], [[7, 1]], [[1]])
    assert rows.ids.tolist() == [[5, 6, 7, 1], [5, 6, 1, code.PAD]]
    assert rows.response.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]


def test_the_log_probability_sums_all_answer_tokens(code: Code) -> None:
    """The first answer token has 1/4, the second 1/2: ln 1/8."""
    rows = code.Rows(torch.tensor([[2, 1, 0]]), torch.ones(1, 3).long(), torch.tensor([[False, True, True]]))
    logits = torch.tensor([[[0.75, 0.25], [0.5, 0.5], [0.9, 0.1]]]).log()
    assert code.sequence_logp(logits, rows).tolist() == pytest.approx([-3 * LN2], abs=1e-5)


# ---- policy, reference, loss


def test_the_first_step_begins_at_even_odds(code: Code) -> None:
    """A fine-tuned policy is its own reference: margin 0, loss ln 2, dropout or not."""
    policy = code.ToyPolicy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), dropout=0.5)
    y = torch.zeros(50, dtype=torch.long)
    margin = code.paired_margin(policy, code.frozen(policy), y, y, y + 1, beta=0.3)
    assert margin.tolist() == pytest.approx([0.0] * 50, abs=1e-6)
    same = torch.tensor([[-3.0, -4.0]])
    assert code.dpo_loss(same, same, torch.ones(1), 0.3).item() == pytest.approx(LN2, abs=1e-5)


def test_the_reference_is_the_policy_of_that_moment(code: Code) -> None:
    """An adapter of ln 3 on the second answer: probability 3/4, also after the policy has moved on."""
    policy = code.ToyPolicy(torch.zeros(1, 2), torch.tensor([[0.0, LN3]]))
    reference = code.frozen(policy)
    policy.adapter += torch.tensor([[5.0, 0.0]])
    assert reference.log_prob(torch.tensor([0]), torch.tensor([1])).exp().item() == pytest.approx(
        0.75, abs=1e-5
    )


def test_a_margin_is_the_same_twice_and_holds_beta_once(code: Code) -> None:
    """Odds raised by e^2 at beta 0.5: a margin of 1, each time."""
    policy = code.ToyPolicy(torch.tensor([[2.0, 0.0]]), dropout=0.5)
    y = torch.zeros(50, dtype=torch.long)
    margin = code.paired_margin(policy, code.ToyPolicy(torch.zeros(1, 2)), y, y, y + 1, beta=0.5)
    assert margin.tolist() == pytest.approx([1.0] * 50, abs=1e-5)


# ---- options


def test_a_misspelt_option_is_refused(code: Code) -> None:
    """``rouns`` is no option; ``rounds`` is."""
    assert code.configure(rounds=3).rounds == 3
    with pytest.raises(code.InputError):
        code.configure(rouns=3)
