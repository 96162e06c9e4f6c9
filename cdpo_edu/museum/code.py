"""The code under test: one namespace of small functions, correct here, with one mistake in each exhibit.

A test takes the namespace as its argument, ``def test_something(code): ...``, and calls what it wants to
examine through it. It is run on `CORRECT` first and on every exhibit's namespace after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..lagrangian import penalized
from ..losses import dpo_loss
from ..sequences import Rows, sequence_logp
from ..types import InputError
from .dual import Answers, Multiplier, Settings, configure, dual_value, expected_cost, meets_limit, targets
from .policy import ToyPolicy, frozen, paired_margin
from .text import END, PAD, Tokens, encode, pair_rows, tokenise, truncate


@dataclass(frozen=True)
class Code:
    """What a test may call. The first fourteen can be broken by an exhibit, the rest is always correct.

    Attributes
    ----------
    dual_value : D(lam) from each prompt's log Z
    Multiplier : class with ``value`` and ``step(cost, cost_limit)``
    expected_cost : E[c] of scored answers
    penalized : r - lam c
    targets : probabilities by which pairs are relabelled
    meets_limit : is E[c] <= C?
    tokenise : two strings to two lists of ids
    truncate : cut them to a length
    pair_rows : padded rows of pairs, with the mask of what is scored
    sequence_logp : the summed log-probability of the answers in rows, from logits
    dpo_loss : the loss of pairs
    frozen : the reference of a policy
    paired_margin : the margin of pairs
    configure : options of a run
    Answers, Tokens, Rows, Settings, ToyPolicy : what they take and give
    InputError : what bad input raises
    encode, END, PAD : the tokenizer and its two special ids
    """

    dual_value: Callable[..., float] = dual_value
    Multiplier: Callable[..., Any] = Multiplier
    expected_cost: Callable[..., float] = expected_cost
    penalized: Callable[..., Tensor] = penalized
    targets: Callable[..., Tensor] = targets
    meets_limit: Callable[..., bool] = meets_limit
    tokenise: Callable[..., Tokens] = tokenise
    truncate: Callable[..., Tokens] = truncate
    pair_rows: Callable[..., Rows] = pair_rows
    sequence_logp: Callable[..., Tensor] = sequence_logp
    dpo_loss: Callable[..., Tensor] = dpo_loss
    frozen: Callable[..., ToyPolicy] = frozen
    paired_margin: Callable[..., Tensor] = paired_margin
    configure: Callable[..., Settings] = configure
    Answers: type[Answers] = Answers
    Tokens: type[Tokens] = Tokens
    Rows: type[Rows] = Rows
    Settings: type[Settings] = Settings
    ToyPolicy: type[ToyPolicy] = ToyPolicy
    InputError: type[InputError] = InputError
    encode: Callable[[str], list[int]] = encode
    END: int = END
    PAD: int = PAD


CORRECT = Code()
"""The code without a mistake."""

BREAKABLE = tuple(Code.__dataclass_fields__)[:14]
"""The members that an exhibit may replace."""


def disguised(code: Code) -> Code:
    """Return the same code behind new functions, so that no test can know a member by its name or identity.

    >>> disguised(CORRECT) == CORRECT, disguised(CORRECT).targets is CORRECT.targets
    (False, False)
    """

    def stand_in(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

        return call

    masks: dict[str, Any] = {name: stand_in(getattr(code, name)) for name in BREAKABLE}
    return replace(code, **masks)
