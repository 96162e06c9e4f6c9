"""Losses against hand tables, torch's own cross-entropy, finite differences and the papers' equations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cdpo_edu.losses import (
    anchored_cost_loss,
    anchored_dpo_loss,
    bradley_terry_loss,
    dpo_loss,
    implicit_reward,
    logistic_loss_if_known,
    soft_logistic_loss,
)
from cdpo_edu.types import InputError

NAN = float("nan")
LN2, LN3 = math.log(2), math.log(3)


def minus_log_sigmoid(x: float) -> float:
    """Return -log s(x) = log(1 + e^-x), in plain Python."""
    return math.log1p(math.exp(-x))


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def random_comparisons(n: int = 64, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return logp (n, 2), ref_logp (n, 2) and target (n,), float64."""
    generator = torch.Generator().manual_seed(seed)
    logp, ref_logp = -20 * torch.rand(2, n, 2, generator=generator, dtype=torch.float64)
    return logp, ref_logp, torch.rand(n, generator=generator, dtype=torch.float64)


# ---- the comparison ----------------------------------------------------------------------------


def test_soft_logistic_loss_by_hand() -> None:
    # Odds of 3 to 1 (margin ln 3): s = 3/4. The loss is -ln(3/4), -ln(1/4) and their mixture.
    loss = soft_logistic_loss(tensor(LN3, LN3, LN3, 0.0), tensor(1.0, 0.0, 0.75, 0.2))
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    torch.testing.assert_close(loss, tensor(-math.log(0.75), -math.log(0.25), entropy, LN2))


def test_soft_logistic_loss_equals_torchs_cross_entropy() -> None:
    margin = torch.linspace(-30, 30, 101, dtype=torch.float64)
    for p in (0.0, 0.1, 0.5, 1.0):
        target = torch.full_like(margin, p)
        expected = F.binary_cross_entropy_with_logits(margin, target, reduction="none")
        torch.testing.assert_close(soft_logistic_loss(margin, target), expected)


def test_gradient_is_sigmoid_minus_target() -> None:
    margin = tensor(-2.0, 0.0, LN3).requires_grad_()
    target = tensor(0.5, 1.0, 0.75)
    soft_logistic_loss(margin, target).sum().backward()
    # s(-2) - 1/2, s(0) - 1 = -1/2, and s(ln 3) - 3/4 = 0: the target is the minimiser.
    torch.testing.assert_close(margin.grad, tensor(1 / (1 + math.e**2) - 0.5, -0.5, 0.0))


@pytest.mark.parametrize("margin", [1e4, -1e4])
def test_extreme_margins_neither_overflow_nor_lose_the_gradient(margin: float) -> None:
    m = torch.tensor([margin, margin], dtype=torch.float32, requires_grad=True)
    loss = soft_logistic_loss(m, torch.tensor([1.0, 0.0]))
    loss.sum().backward()
    right, wrong = (0, 1) if margin > 0 else (1, 0)
    assert loss[right] == 0 and loss[wrong] == 1e4
    assert m.grad is not None and m.grad[right] == 0 and m.grad[wrong].abs() == 1


def test_bradley_terry_by_hand_and_its_sign() -> None:
    # r1 - r0 = ln 3 in favour of y1; preferring y1 is cheap, preferring y0 is dear, nan counts nothing.
    loss = bradley_terry_loss(tensor(1, 1, 1), tensor(1 + LN3, 1 + LN3, 1 + LN3), tensor(1, 0, NAN))
    torch.testing.assert_close(loss, tensor(-math.log(0.75), -math.log(0.25), 0.0))


# ---- DPO ---------------------------------------------------------------------------------------


def test_dpo_loss_by_hand() -> None:
    """Rows picked so that the margins are 0, 1 and -2; the losses are -log s(0), -log s(1), -log s(-2).

    beta = 0.5. Row 1: 0.5 * [(-3 - -4) - (-6 - -5)] = 0.5 * (1 + 1) = 1.
    Row 2: 0.5 * [(-5 - -3) - (-2 - -4)] = 0.5 * (-2 - 2) = -2.
    """
    logp = torch.tensor([[-7.0, -1.0], [-6.0, -3.0], [-2.0, -5.0]], dtype=torch.float64)
    ref_logp = torch.tensor([[-7.0, -1.0], [-5.0, -4.0], [-4.0, -3.0]], dtype=torch.float64)
    loss = dpo_loss(logp, ref_logp, tensor(1, 1, 1), beta=0.5)
    torch.testing.assert_close(loss, tensor(LN2, minus_log_sigmoid(1), minus_log_sigmoid(-2)))


def test_dpo_loss_equals_torchs_on_rafailovs_equation_7() -> None:
    logp, ref_logp, _ = random_comparisons()
    (loser, chosen), (ref_loser, ref_chosen) = logp.T, ref_logp.T
    expected = -F.logsigmoid(0.3 * (chosen - ref_chosen) - 0.3 * (loser - ref_loser))
    torch.testing.assert_close(dpo_loss(logp, ref_logp, torch.ones(64), beta=0.3), expected)


def test_soft_target_is_the_expectation_of_the_hard_ones() -> None:
    logp, ref_logp, p = random_comparisons()
    zeros, ones = (dpo_loss(logp, ref_logp, torch.full((64,), bit), beta=0.1) for bit in (0.0, 1.0))
    torch.testing.assert_close(dpo_loss(logp, ref_logp, p, beta=0.1), p * ones + (1 - p) * zeros)


def test_swapping_the_answers_and_the_label_changes_nothing() -> None:
    logp, ref_logp, p = random_comparisons()
    swapped = dpo_loss(logp.flip(1), ref_logp.flip(1), 1 - p, beta=0.7)
    torch.testing.assert_close(dpo_loss(logp, ref_logp, p, beta=0.7), swapped)


def test_dpo_gradient_by_finite_difference() -> None:
    logp, ref_logp, p = random_comparisons(8)
    assert torch.autograd.gradcheck(lambda x: dpo_loss(x, ref_logp, p, beta=0.4), logp.requires_grad_())


def test_dpo_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    logp = torch.tensor([[-3.0, -3.0]], requires_grad=True)
    dpo_loss(logp, logp.detach(), torch.ones(1), beta=0.5).backward()
    # beta * (s(0) - 1) = -1/4 on y1, the opposite on y0: descending raises log pi(y1|x).
    torch.testing.assert_close(logp.grad, torch.tensor([[0.25, -0.25]]))


def test_reference_equal_to_policy_gives_exactly_ln_2() -> None:
    logp, _, p = random_comparisons()
    assert torch.equal(dpo_loss(logp, logp, p, beta=0.1), torch.full((64,), LN2, dtype=torch.float64))


def test_implicit_reward_carries_beta() -> None:
    # 0.1 * (-2 - -5) = 0.3; without beta it would be 3.
    torch.testing.assert_close(implicit_reward(tensor(-2.0), tensor(-5.0), 0.1), tensor(0.3))


# ---- DPO with an anchor -------------------------------------------------------------------------


def test_anchored_dpo_by_hand() -> None:
    """Margin 0 and p = 3/4: ln 2 + w (3/4 * 3 + 1/4 * 5), which is 3.5 w."""
    logp = tensor(-5.0, -3.0)[None]
    loss = anchored_dpo_loss(logp, logp, tensor(0.75), beta=0.5, sft_weight=0.2)
    torch.testing.assert_close(loss, tensor(LN2 + 0.2 * 3.5))


def test_an_anchor_of_no_weight_is_dpo_bit_for_bit() -> None:
    logp, ref_logp, p = random_comparisons()
    loss = anchored_dpo_loss(logp, ref_logp, p, beta=0.3, sft_weight=0.0)
    assert torch.equal(loss, dpo_loss(logp, ref_logp, p, beta=0.3))


def test_the_anchors_gradient_by_hand() -> None:
    """beta = 0.5, margin 0, p = 3/4, w = 0.1.

    DPO: 0.5 (s(0) - 3/4) = -1/8 on y1 and +1/8 on y0. The term: -0.1 * 3/4 on y1 and -0.1 * 1/4 on y0.
    """
    logp = tensor(-3.0, -3.0)[None].requires_grad_()
    anchored_dpo_loss(logp, logp.detach(), tensor(0.75), beta=0.5, sft_weight=0.1).sum().backward()
    torch.testing.assert_close(logp.grad, tensor(0.125 - 0.025, -0.125 - 0.075)[None])


def test_only_the_anchor_sees_the_level() -> None:
    """Both answers 2 nats less likely: DPO stays, the anchored loss rises by 2 w, whatever the label."""
    logp, ref_logp, p = random_comparisons()
    plain, lower = (dpo_loss(level, ref_logp, p, beta=0.3) for level in (logp, logp - 2))
    torch.testing.assert_close(plain, lower)
    plain, lower = (anchored_dpo_loss(level, ref_logp, p, 0.3, 0.25) for level in (logp, logp - 2))
    torch.testing.assert_close(lower - plain, torch.full((64,), 0.5, dtype=torch.float64))


def test_a_negative_anchor_is_refused() -> None:
    logp, ref_logp, p = random_comparisons()
    with pytest.raises(InputError, match="sft_weight: -0.1 is negative"):
        anchored_dpo_loss(logp, ref_logp, p, 0.3, -0.1)


# ---- the anchored cost -------------------------------------------------------------------------


def test_anchored_cost_loss_is_equation_6_of_safe_rlhf() -> None:
    """c_w the costlier answer, signs +1 unsafe, -1 safe: -log s(c_w - c_l) - log s(s_w c_w) - log s(s_l c_l).

    Row 0: y0 costs 2 and is unsafe, y1 costs -1 and is safe; y1 is the safer.
    Row 1: both unsafe, y0 (cost -0.5) the safer, though its cost has the wrong sign.
    """
    cost0, cost1 = tensor(2.0, -0.5), tensor(-1.0, 1.5)
    loss = anchored_cost_loss(cost0, cost1, tensor(1, 0), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    row0 = minus_log_sigmoid(2 - -1) + minus_log_sigmoid(2) + minus_log_sigmoid(1)
    row1 = minus_log_sigmoid(1.5 - -0.5) + minus_log_sigmoid(1.5) + minus_log_sigmoid(-0.5)
    torch.testing.assert_close(loss, tensor(row0, row1))


def test_unknown_flags_have_finite_gradients_and_count_nothing() -> None:
    costs = torch.tensor([[3.0, -3.0]] * 4, dtype=torch.float64, requires_grad=True)
    safer = tensor(1, NAN, NAN, NAN)
    unsafe = torch.tensor([[NAN, NAN], [1.0, NAN], [NAN, 0.0], [NAN, NAN]])
    loss = anchored_cost_loss(costs[:, 0], costs[:, 1], safer, unsafe)
    # Row 0 only the comparison at gap 6; rows 1 and 2 one sign each at 3; row 3 says nothing.
    one, six = minus_log_sigmoid(3), minus_log_sigmoid(6)
    torch.testing.assert_close(loss, tensor(six, one, one, 0.0))
    loss.sum().backward()
    grad = costs.grad
    assert grad is not None and grad.isfinite().all()
    down = 1 / (1 + math.exp(3))  # 1 - s(3)
    torch.testing.assert_close(grad[1:], torch.tensor([[-down, 0.0], [0.0, down], [0.0, 0.0]]).double())


def test_nan_in_one_row_leaves_the_gradient_of_the_others_alone() -> None:
    margin = tensor(1.0, 1.0).requires_grad_()
    logistic_loss_if_known(margin, tensor(NAN, 1.0)).sum().backward()
    torch.testing.assert_close(margin.grad, tensor(0.0, -1 / (1 + math.e)))


def test_only_flags_anchor_the_cost() -> None:
    """Adding 5 to both costs is invisible to comparisons and visible to flags: that is what the zero is."""
    cost0, cost1, safer = tensor(1.0), tensor(-1.0), tensor(1.0)
    unknown, known = torch.full((1, 2), NAN), torch.tensor([[1.0, 0.0]])
    losses = {
        name: [anchored_cost_loss(cost0 + s, cost1 + s, safer, flags).item() for s in (0.0, 5.0)]
        for name, flags in (("unknown", unknown), ("known", known))
    }
    assert losses["unknown"][0] == pytest.approx(losses["unknown"][1], abs=1e-12)
    # y1 at cost -1 + 5 = 4 and flagged safe: -log s(-4) = 4.018 instead of -log s(1) = 0.313; y0 gains.
    change = minus_log_sigmoid(6) + minus_log_sigmoid(-4) - 2 * minus_log_sigmoid(1)
    assert losses["known"][1] - losses["known"][0] == pytest.approx(change)


def test_the_best_anchored_cost_is_the_log_odds_of_being_unsafe() -> None:
    # One answer judged unsafe three times in four, no comparison: the minimiser is c = logit(3/4) = ln 3.
    cost = tensor(LN3).requires_grad_()
    zero = torch.zeros(1, dtype=torch.float64)
    anchored_cost_loss(cost, zero, tensor(NAN), torch.tensor([[0.75, NAN]])).sum().backward()
    torch.testing.assert_close(cost.grad, tensor(0.0), atol=1e-12, rtol=0)


def test_anchored_cost_gradient_by_finite_difference() -> None:
    generator = torch.Generator().manual_seed(3)
    costs = torch.randn(6, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    safer = tensor(0, 1, 0.5, NAN, 1, NAN)
    unsafe = torch.tensor([[0, 1], [1, 1], [NAN, 0], [0.5, NAN], [NAN, NAN], [NAN, NAN]]).double()
    assert torch.autograd.gradcheck(lambda c: anchored_cost_loss(c[:, 0], c[:, 1], safer, unsafe), costs)


def test_every_loss_is_left_unreduced() -> None:
    logp, ref_logp, p = random_comparisons(5)
    assert dpo_loss(logp, ref_logp, p, beta=1.0).shape == (5,)
    assert bradley_terry_loss(p, p, p).shape == (5,)
    assert anchored_cost_loss(p, p, p, logp).shape == (5,)
