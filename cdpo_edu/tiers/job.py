"""What a tier hands to the loop, and the stages that a run does once.

Left out: the tiers (`worlds`, `language`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..pairs import ScoredPairs
from ..run_folder import once
from ..types import Policy, Scorer

Say = Callable[[str], None]


class Job(NamedTuple):
    """A tier's problem; ``fresh`` returns one more untrained copy of the policy.

    In a world ``gold`` holds the true reward and cost, and ``redrawn(k, seed)`` draws k times as many pairs
    anew, scored alike.
    """

    policy: Policy
    scored: ScoredPairs
    scores: str
    fresh: Callable[[], Policy]
    notes: dict[str, Any]
    gold: tuple[Scorer, Scorer] | None = None
    redrawn: Callable[[int, int], ScoredPairs] | None = None


def load_policy(directory: Path) -> Any:
    """Return the language model of ``directory``."""
    from ..language_model import LanguageModelPolicy

    return LanguageModelPolicy.load(directory)


def kept(kind: Any, directory: Path, make: Callable[[], Any]) -> Scorer:
    """Return the scorer of ``directory``; fit and save it first when it is not there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scorer: Scorer = once(directory, make, lambda: kind.load(directory))
    return scorer
