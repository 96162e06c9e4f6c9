"""Published mistakes between text and log-probability, and around the reference, in our own few lines.

Every function here has the signature of the correct one that it stands in for, and one mistake. The
comment marks the line.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..losses import dpo_loss
from ..sequences import Rows, pad_rows, sequence_logp
from .policy import ToyPolicy, paired_margin
from .text import END, PAD, Tokens, encode


def cut_after_joining(prompt: str, answer: str) -> Tokens:
    """Encode the joined text and cut it where the prompt alone would end.

    >>> cut_after_joining("a:", " b")
    Tokens(prompt=[98, 2], answer=[99, 1])
    """
    ids = [*encode(prompt + answer), END]
    cut = len(encode(prompt))  # but the last prompt token may have swallowed the answer's first character
    return Tokens(ids[:cut], ids[cut:])


def keep_the_start(tokens: Tokens, max_length: int) -> Tokens:
    """Keep the first ``max_length`` tokens of the row; a long prompt leaves nothing of the answer.

    >>> keep_the_start(Tokens([7, 8, 9], [5, 1]), 3)
    Tokens(prompt=[7, 8, 9], answer=[])
    """
    prompt = tokens.prompt[:max_length]
    return Tokens(prompt, tokens.answer[: max_length - len(prompt)])  # what is cut is the answer


def rejected_prompt_scored(
    prompts: list[list[int]], chosen: list[list[int]], rejected: list[list[int]]
) -> Rows:
    """Mask the prompts of the first n rows alone: 2n rows are zipped with n prompt lengths.

    >>> rejected_prompt_scored([[5, 6]], [[7, 1]], [[1]]).response.int().tolist()
    [[0, 0, 1, 1], [1, 1, 1, 0]]
    """
    rows = pad_rows(prompts * 2, chosen + rejected, pad=PAD)
    scored = rows.attention.bool()
    for row, prompt in zip(scored, prompts, strict=False):  # ends after the chosen half
        row[: len(prompt)] = False
    return rows._replace(response=scored)


def padding_scored(prompts: list[list[int]], chosen: list[list[int]], rejected: list[list[int]]) -> Rows:
    """Score everything after the prompt, padding included.

    >>> padding_scored([[5, 6]], [[7, 1]], [[1]]).response.int().tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    rows = pad_rows(prompts * 2, chosen + rejected, pad=PAD)
    starts = torch.tensor([len(prompt) for prompt in prompts * 2])[:, None]
    return rows._replace(response=torch.arange(rows.ids.shape[1]) >= starts)  # no end


def first_token_dropped(logits: Tensor, rows: Rows, *, allowed: Tensor | None = None) -> Tensor:
    """Return the log-probability of the answer without its first token.

    >>> first_token_dropped(torch.zeros(1, 3, 2), pad_rows([[0]], [[1, 1]], pad=0))
    tensor([-0.6931])
    """
    later = rows.response.clone()
    later[:, 1:] &= rows.response[:, :-1]  # off by one: an answer token counts if an answer token precedes it
    return sequence_logp(logits, rows._replace(response=later), allowed=allowed)


def mean_over_tokens(logits: Tensor, rows: Rows, *, allowed: Tensor | None = None) -> Tensor:
    """Return the mean log-probability per answer token.

    >>> mean_over_tokens(torch.zeros(1, 3, 2), pad_rows([[0]], [[1, 1]], pad=0))
    tensor([-0.6931])
    """
    total = sequence_logp(logits, rows, allowed=allowed)
    return total / rows.response.sum(dim=1)  # not the sum


def loss_turned_round(logp: Tensor, ref_logp: Tensor, target: Tensor, beta: float) -> Tensor:
    """Return minus the loss, as code does that subtracts where it should add.

    >>> loss_turned_round(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), 0.5)
    tensor([-0.6931])
    """
    return -dpo_loss(logp, ref_logp, target, beta)  # the sign


def adapter_left_out(policy: ToyPolicy) -> ToyPolicy:
    """Return the base model as the reference of a policy that was fine-tuned before.

    >>> adapter_left_out(ToyPolicy(torch.zeros(1, 2), torch.ones(1, 2))).adapter
    tensor([[0., 0.]])
    """
    reference = ToyPolicy(policy.base.clone())  # the adapter is not in it
    reference.training = False
    return reference


def dropout_left_on(
    policy: ToyPolicy, reference: ToyPolicy, prompts: Tensor, chosen: Tensor, rejected: Tensor, *, beta: float
) -> Tensor:
    """Return the margin with each answer read under dropout of its own.

    >>> policy = ToyPolicy(torch.tensor([[2.0, 0.0]]), dropout=0.5)
    >>> first = torch.zeros(64, dtype=torch.long)
    >>> len(set(dropout_left_on(policy, policy, first, first, first, beta=1.0).tolist()))
    1
    """
    logp = [policy.log_prob(prompts, y) for y in (chosen, rejected)]  # the policy is still in training mode
    ref = [reference.log_prob(prompts, y) for y in (chosen, rejected)]
    return beta * ((logp[0] - ref[0]) - (logp[1] - ref[1]))


def beta_twice(
    policy: ToyPolicy, reference: ToyPolicy, prompts: Tensor, chosen: Tensor, rejected: Tensor, *, beta: float
) -> Tensor:
    """Return the margin of rewards that hold beta already, times beta.

    >>> policy, first = ToyPolicy(torch.tensor([[2.0, 0.0]])), torch.tensor([0])
    >>> beta_twice(policy, ToyPolicy(torch.zeros(1, 2)), first, first, first + 1, beta=0.5)
    tensor([0.5000])
    """
    return beta * paired_margin(policy, reference, prompts, chosen, rejected, beta=beta)  # once too often
