"""The catalogue: what each exhibit replaces, how it shows, and where the mistake was reported or read.

The code of the exhibits is ours (`bugs_dual`, `bugs_text`); none was copied. A thread is the place where
somebody found, discussed or mended the mistake; where there is no thread, the file in which it was read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..types import InputError
from . import bugs_dual, bugs_text
from .code import CORRECT, Code


@dataclass(frozen=True)
class Exhibit:
    """One published mistake.

    Attributes
    ----------
    key : str
        Its short name.
    replaces : str
        The one member of `Code` that it replaces.
    broken : callable
        The replacement.
    mistake : str
        What is wrong.
    symptom : str
        What one sees.
    threads : tuple of str
        Addresses, the first the main one.
    """

    key: str
    replaces: str
    broken: Callable[..., Any]
    mistake: str
    symptom: str
    threads: tuple[str, ...]

    def code(self) -> Code:
        """Return the namespace with this one mistake in it."""
        change: dict[str, Any] = {self.replaces: self.broken}
        return replace(CORRECT, **change)

    def line(self) -> str:
        """Return the line that holds the mistake, without its comment.

        >>> exhibit("sum-of-costs").line()
        'return float(answers.cost.double().sum())'
        """
        marked = [line for line in inspect.getsource(self.broken).splitlines() if "  # " in line]
        return marked[0].split("  # ")[0].strip()


GITHUB = "https://github.com"
CAN = (
    f"{GITHUB}/shuoli90/CAN/blob/235a1b0842c6a2a32c52bd2a507a40f968db2bc2"
    "/safe_rlhf/trainers/model_based_dual_trainer.ipynb"
)
FORK = (
    f"{GITHUB}/shuoli90/safe-rlhf/blob/1b4873eafe8ec9befb3850351783935defe4d43a"
    "/safe_rlhf/algorithms/cpg/trainer.py"
)

EXHIBITS = (
    Exhibit(
        "log-of-grand-mean",
        "dual_value",
        bugs_dual.log_of_grand_mean,
        "all prompts are averaged inside one logarithm",
        "the dual lies too high, and its lowest point is not the right multiplier",
        (CAN,),
    ),
    Exhibit(
        "frozen-multiplier",
        "Multiplier",
        bugs_dual.FrozenMultiplier,
        "the projection makes a new tensor, and the optimizer keeps the old one",
        "the multiplier moves once and never again",
        (
            FORK,
            f"{GITHUB}/ray-project/ray/pull/62755",
        ),
    ),
    Exhibit(
        "negative-multiplier",
        "Multiplier",
        bugs_dual.UnprojectedMultiplier,
        "the step is not projected",
        "a policy well below its limit is paid for doing harm",
        (f"{GITHUB}/HaozheTian/Torch-PPO-Lagrangian/issues/1", CAN),
    ),
    Exhibit(
        "adam-multiplier",
        "Multiplier",
        bugs_dual.AdamMultiplier,
        "Adam steps a single number",
        "the multiplier moves by the same length for a large violation and for a small one",
        (
            f"{GITHUB}/HaozheTian/Torch-PPO-Lagrangian/issues/1",
            f"{GITHUB}/PKU-Alignment/Safe-Policy-Optimization/issues/69",
        ),
    ),
    Exhibit(
        "reward-as-cost",
        "expected_cost",
        bugs_dual.reward_as_cost,
        "the reward is read in place of the cost",
        "helpful answers raise the multiplier",
        (f"{GITHUB}/PKU-Alignment/omnisafe/issues/87",),
    ),
    Exhibit(
        "sum-of-costs",
        "expected_cost",
        bugs_dual.sum_of_costs,
        "a sum over the batch stands for the mean",
        "the multiplier depends on the size of the batch",
        (f"{GITHUB}/PKU-Alignment/omnisafe/issues/87",),
    ),
    Exhibit(
        "cost-as-score",
        "penalized",
        bugs_dual.cost_as_score,
        "a cost, higher for more harm, is added like a score",
        "a higher multiplier makes the policy more harmful",
        (f"{GITHUB}/allenai/reward-bench/issues/75",),
    ),
    Exhibit(
        "hard-labels",
        "targets",
        bugs_dual.hard_targets,
        "the better answer gets the label 1, however small the gap",
        "margins grow without end",
        (f"{GITHUB}/huggingface/trl/pull/1035", "https://arxiv.org/abs/2310.12036"),
    ),
    Exhibit(
        "limit-without-zero",
        "meets_limit",
        bugs_dual.limit_without_zero,
        "an absolute limit is laid on a cost that was learned from comparisons alone",
        "every new cost model wants another limit",
        (
            f"{GITHUB}/PKU-Alignment/safe-rlhf/issues/59",
            f"{GITHUB}/PKU-Alignment/safe-rlhf/issues/43",
            "https://arxiv.org/abs/2310.12773",
        ),
    ),
    Exhibit(
        "cut-after-joining",
        "tokenise",
        bugs_text.cut_after_joining,
        "prompt and answer are encoded as one text and cut by the prompt's length",
        "the answer's first character moves into the prompt",
        (f"{GITHUB}/huggingface/trl/issues/2054", f"{GITHUB}/huggingface/trl/pull/2209"),
    ),
    Exhibit(
        "keep-the-start",
        "truncate",
        bugs_text.keep_the_start,
        "a long row is cut at its end",
        "long prompts train on nothing",
        (f"{GITHUB}/huggingface/trl/pull/6321", f"{GITHUB}/huggingface/trl/issues/6548"),
    ),
    Exhibit(
        "rejected-prompt-scored",
        "pair_rows",
        bugs_text.rejected_prompt_scored,
        "the prompts of the chosen rows are masked, those of the rejected rows are not",
        "the rejected answer looks less likely the longer its prompt is",
        (f"{GITHUB}/OpenRLHF/OpenRLHF/issues/294",),
    ),
    Exhibit(
        "padding-scored",
        "pair_rows",
        bugs_text.padding_scored,
        "padding counts as answer",
        "an answer's log-probability depends on its neighbours in the batch",
        (f"{GITHUB}/0xallam/Direct-Preference-Optimization/issues/4",),
    ),
    Exhibit(
        "first-token-dropped",
        "sequence_logp",
        bugs_text.first_token_dropped,
        "the first answer token is not counted",
        "answers that differ in their first token alone have the margin 0",
        (f"{GITHUB}/fw-ai/cookbook/pull/388", f"{GITHUB}/jingyaogong/minimind/pull/621"),
    ),
    Exhibit(
        "mean-over-tokens",
        "sequence_logp",
        bugs_text.mean_over_tokens,
        "log-probabilities are averaged over the tokens",
        "beta means something else for every length",
        (f"{GITHUB}/linkedin/Liger-Kernel/pull/693", f"{GITHUB}/huggingface/trl/issues/789"),
    ),
    Exhibit(
        "loss-turned-round",
        "dpo_loss",
        bugs_text.loss_turned_round,
        "the loss has the wrong sign",
        "the loss is negative, and training prefers the rejected answer",
        (f"{GITHUB}/linkedin/Liger-Kernel/pull/481",),
    ),
    Exhibit(
        "adapter-left-out",
        "frozen",
        bugs_text.adapter_left_out,
        "the reference is the base model, not the fine-tuned one that training starts from",
        "the margin is not 0 before the first step",
        (f"{GITHUB}/huggingface/trl/pull/6591", f"{GITHUB}/huggingface/trl/issues/1340"),
    ),
    Exhibit(
        "dropout-left-on",
        "paired_margin",
        bugs_text.dropout_left_on,
        "the policy is read with dropout on",
        "the same pair has another margin each time",
        (f"{GITHUB}/hiyouga/LlamaFactory/pull/10779", f"{GITHUB}/huggingface/trl/issues/2042"),
    ),
    Exhibit(
        "beta-twice",
        "paired_margin",
        bugs_text.beta_twice,
        "rewards that hold beta already are multiplied by it again",
        "the reported margin is too small by the factor beta",
        (f"{GITHUB}/thinking-machines-lab/tinker-cookbook/issues/21",),
    ),
    Exhibit(
        "option-ignored",
        "configure",
        bugs_dual.configure_and_ignore,
        "unknown options are dropped",
        "a misspelt option runs with the default",
        (
            f"{GITHUB}/unslothai/unsloth/pull/8374",
            CAN,
        ),
    ),
)
"""All exhibits, in the order in which a run meets the functions' rooms: dual, text, policy, options."""


def exhibit(key: str) -> Exhibit:
    """Return the exhibit of that name.

    Raises
    ------
    InputError
        When there is none.
    """
    for item in EXHIBITS:
        if item.key == key:
            return item
    raise InputError(f"{key}: no such exhibit; there are {', '.join(item.key for item in EXHIBITS)}")
