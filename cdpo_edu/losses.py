r"""Every loss of the method as one pure function: arrays in, ``(batch,)`` out, reduced by the caller.

Sigmoid is written s(.). All scores and log-probabilities are in nats.

* Bradley-Terry preference: p(y1 beats y0) = s(r1 - r0).
* Anchored cost: the same for "more harmful", plus one sign term per answer that ties 0 to the boundary
  between safe and unsafe (Dai et al. 2024, arXiv 2310.12773, eq. 6).
* An anchored DPO loss: the same plus w times the chosen answer's own -log pi (Pang et al. 2024, arXiv
  2404.19733, eq. 1).
* DPO with a soft target (Rafailov et al. 2023, arXiv 2305.18290, eq. 7): the target is a probability
  and not a bit, because constrained DPO (Liu, Sun & Zheng 2024, arXiv 2403.02475) relabels pairs.

Left out: the losses of other published methods, which live beside the methods that use them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .types import InputError


def soft_logistic_loss(margin: Tensor, target: Tensor) -> Tensor:
    r"""Return the cross-entropy of a comparison whose log-odds are ``margin``.

    .. math:: \ell(m, p) = -p \log s(m) - (1-p) \log s(-m)

    Parameters
    ----------
    margin : Tensor, shape (batch,)
        Log-odds that y1 beats y0, in nats.
    target : Tensor, shape (batch,)
        Probability in [0, 1] that y1 is the chosen one; 1 or 0 for a hard label.

    Returns
    -------
    Tensor, shape (batch,)
        Loss in nats, at least the entropy of ``target``.

    Examples
    --------
    At margin 0 both answers are equally likely, so the loss is ln 2 whatever the target:

    >>> soft_logistic_loss(torch.zeros(2), torch.tensor([1.0, 0.3]))
    tensor([0.6931, 0.6931])
    """
    return F.softplus(margin) - target * margin  # -p log s(m) - (1-p) log s(-m), without overflow


def bradley_terry_loss(score0: Tensor, score1: Tensor, target: Tensor) -> Tensor:
    r"""Return the Bradley-Terry loss of a reward model: -log s(r_w - r_l) when the label is hard.

    Parameters
    ----------
    score0, score1 : Tensor, shape (batch,)
        Scores of the two answers, nats, higher is better.
    target : Tensor, shape (batch,)
        Probability in [0, 1] that people prefer y1; nan drops the row.

    Returns
    -------
    Tensor, shape (batch,)

    Reference
    ---------
    Bradley & Terry 1952; as a reward-model loss: arXiv 2310.12773, eq. 5.

    Examples
    --------
    Odds of 3 to 1 are a gap of ln 3; the loss of the likelier answer is -ln(3/4):

    >>> import math
    >>> gap = torch.tensor([math.log(3.0)])
    >>> round(bradley_terry_loss(torch.zeros(1), gap, torch.ones(1)).item(), 4), round(-math.log(0.75), 4)
    (0.2877, 0.2877)
    """
    return logistic_loss_if_known(score1 - score0, target)


def anchored_cost_loss(cost0: Tensor, cost1: Tensor, safer: Tensor, unsafe: Tensor) -> Tensor:
    r"""Return the cost model's loss: a comparison, and a sign term for each answer whose flag is known.

    .. math:: \ell(c_0 - c_1, p) + \sum_k [u_k \text{ known}]\; \ell(c_k, u_k)

    with p the probability that y1 is the *safer* one, hence y0 the costlier. The sign terms make s(c)
    the probability of being unsafe, so c = 0 is the boundary. Without them a cost learned from
    comparisons is known only up to a shift per prompt and no absolute limit means anything.

    Parameters
    ----------
    cost0, cost1 : Tensor, shape (batch,)
        Costs of the two answers, nats, higher is more harmful.
    safer : Tensor, shape (batch,)
        Probability in [0, 1] that y1 is the safer answer; nan drops the comparison of that row.
    unsafe : Tensor, shape (batch, 2)
        1 unsafe, 0 safe, nan unknown, for y0 and y1.

    Returns
    -------
    Tensor, shape (batch,)

    Reference
    ---------
    Dai et al. 2024, arXiv 2310.12773, eq. 6 (signs s = 2u - 1).

    Examples
    --------
    Costs 0 and 0 say nothing: one comparison and two flags, each at even odds, cost 3 ln 2:

    >>> zero = torch.zeros(1)
    >>> anchored_cost_loss(zero, zero, torch.ones(1), torch.tensor([[1.0, 0.0]])) / torch.tensor(2.0).log()
    tensor([3.])
    """
    comparison = logistic_loss_if_known(cost0 - cost1, safer)
    signs = logistic_loss_if_known(torch.stack([cost0, cost1], dim=-1), unsafe)  # (batch, 2)
    return comparison + signs.sum(dim=-1)


def logistic_loss_if_known(margin: Tensor, target: Tensor) -> Tensor:
    """Return `soft_logistic_loss` where ``target`` is known and 0, with gradient 0, where it is nan.

    >>> logistic_loss_if_known(torch.zeros(2), torch.tensor([1.0, float("nan")]))
    tensor([0.6931, 0.0000])
    """
    return soft_logistic_loss(margin, target.nan_to_num(0.5)) * ~target.isnan()


def implicit_reward(logp: Tensor, ref_logp: Tensor, beta: float) -> Tensor:
    r"""Return DPO's implicit reward beta * log(pi / pi_ref), nats, shape as given.

    Reference: Rafailov et al. 2023, arXiv 2305.18290, eq. 5, up to a constant per prompt.

    >>> implicit_reward(torch.tensor([-1.0]), torch.tensor([-3.0]), beta=0.5)
    tensor([1.])
    """
    return beta * (logp - ref_logp)


def dpo_loss(logp: Tensor, ref_logp: Tensor, target: Tensor, beta: float) -> Tensor:
    r"""Return the DPO loss with a probability as target.

    .. math:: \ell\big(\beta\,[(\log\pi_1-\log\pi^{ref}_1)-(\log\pi_0-\log\pi^{ref}_0)],\; p\big)

    Parameters
    ----------
    logp, ref_logp : Tensor, shape (batch, 2)
        **Summed** log-probabilities of y0 and y1 under policy and reference, nats, end token included.
    target : Tensor, shape (batch,)
        Probability in [0, 1] that y1 is chosen.
    beta : float
        Strength of the KL tie, above 0. DPO's minimiser is the tilted policy only when this is the
        problem's own beta and the target is s(gap of scores in nats).

    Returns
    -------
    Tensor, shape (batch,)

    Reference
    ---------
    Rafailov et al. 2023, arXiv 2305.18290, eq. 7; soft target: the expectation of eq. 7 over the label.

    Examples
    --------
    Policy = reference gives margin 0 and loss ln 2; a margin of 0.5 * (2 - (-2)) = 2 gives -log s(2):

    >>> ref = torch.tensor([[-5.0, -4.0]])
    >>> dpo_loss(ref, ref, torch.ones(1), beta=0.5)
    tensor([0.6931])
    >>> dpo_loss(ref + torch.tensor([-2.0, 2.0]), ref, torch.ones(1), beta=0.5)
    tensor([0.1269])
    """
    reward = implicit_reward(logp, ref_logp, beta)  # (batch, 2)
    return soft_logistic_loss(reward[..., 1] - reward[..., 0], target)


def anchored_dpo_loss(
    logp: Tensor, ref_logp: Tensor, target: Tensor, beta: float, sft_weight: float
) -> Tensor:
    r"""Return the DPO loss plus a supervised term that holds the chosen answer's own probability up.

    .. math:: \ell_{DPO} + w \, [\, -p \log\pi_1 - (1-p) \log\pi_0 \,]

    DPO sees only the difference of the two log-probabilities, so both may fall; the term sees their level.
    It is no part of the constrained problem: for w above 0 the minimiser is not the tilted policy.

    Parameters
    ----------
    logp, ref_logp, target, beta
        As in `dpo_loss`. The term's expectation is over the label, so a hard target anchors the chosen one
        alone.
    sft_weight : float
        w >= 0; at 0 this is `dpo_loss`, bit for bit. DPO pulls on a log-probability with beta at most, the
        term with w p, so w near beta is strong already.

    Returns
    -------
    Tensor, shape (batch,)

    Raises
    ------
    InputError
        When ``sft_weight`` is negative.

    Reference
    ---------
    Pang et al. 2024, arXiv 2404.19733, eq. 1, where the term is divided by the length of the text; here it
    is the sum, as every log-probability.

    Examples
    --------
    Policy = reference, chosen at probability 1/4, w = 1/2: ln 2 + 1/2 ln 4 = 2 ln 2

    >>> ref = torch.tensor([[0.75, 0.25]]).log()
    >>> anchored_dpo_loss(ref, ref, torch.ones(1), 0.5, 0.5) / torch.tensor(2.0).log()
    tensor([2.])
    """
    loss = dpo_loss(logp, ref_logp, target, beta)
    if sft_weight < 0:
        raise InputError(f"sft_weight: {sft_weight:g} is negative; 0 is plain DPO")
    if sft_weight == 0:
        return loss
    chosen = target * logp[..., 1] + (1 - target) * logp[..., 0]  # (batch,), E log pi(chosen)
    return loss - sft_weight * chosen
