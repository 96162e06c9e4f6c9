"""Who judges: the run's own cost, the known truth of a world, or a cost that is named (`scorer_names`).

Also the range that a judged cost is stated to have, without which no finite sample says anything about rare
severe harm. Left out: the draws and the test.
"""

from __future__ import annotations

from typing import NamedTuple

from ..pairs.scored import Scaled
from ..scorer_names import named_scorer
from ..types import InputError, Scorer
from ..unsafe_rate import UnsafeProbability
from ..verdict import Bounds
from ..verdict.ranges import assumed_bounds, stated_bounds
from .draws import Opened


class Judge(NamedTuple):
    """A cost to judge by: its name, whether the labels came from it, whether it is the known truth."""

    scorer: Scorer
    name: str
    same: bool
    gold: bool

    @property
    def boundary(self) -> float:
        """Return where unsafe begins: 0, or 1/2 for a probability, which says so by its ``bounds``."""
        return 0.5 if stated_bounds(self.scorer) == (0.0, 1.0) else 0.0


def judge_of(opened: Opened, choice: str | None) -> Judge:
    """Return the judge that ``choice`` names; by default the truth where known, else the run's own cost.

    Parameters
    ----------
    choice : str, optional
        ``run``, ``gold``, or a name as `scorer_names` knows them. A named scorer gives raw costs, which the
        run's cost scale multiplies like its own; of a run with a rate, it must be anchored.

    Raises
    ------
    InputError
        When the name leads nowhere.
    """
    own, gold = opened.scored.cost_scorer, opened.job.gold
    if choice is None:
        choice = "gold" if gold is not None else "run"
    if choice == "gold":
        if gold is None:
            raise InputError("--judge-cost gold: outside a world no true cost is known; leave it out")
        return Judge(gold[1], "the true cost", False, True)
    if choice == "run":
        return Judge(own, "the run's own cost", opened.job.scores != "gold", opened.job.scores == "gold")
    raw = named_scorer(choice, role="cost", option="--judge-cost")
    scale = own.scale if isinstance(own, Scaled) else 1.0
    inner = own.scorer if isinstance(own, Scaled) else own
    if opened.config.max_unsafe_rate is not None:
        raw = UnsafeProbability(raw, opened.config.cost_scale)
    mine = getattr(inner, "fingerprint", "")
    same = bool(mine) and getattr(raw, "fingerprint", "") == mine
    return Judge(raw if scale == 1.0 else Scaled(raw, scale), choice, same, False)


def range_of(opened: Opened, judge: Judge, given: tuple[float, float] | None) -> Bounds:
    """Return the range of the cost of one answer, and who states it.

    In order: the option, the scorer's own ``bounds``, the enumeration of a world, and for the run's own cost
    an assumption: the range of its training answers, widened on each side by its own width.

    Raises
    ------
    InputError
        When nobody states one.
    """
    if given is not None:
        if not given[0] < given[1]:
            raise InputError(f"--cost-range {given[0]:g},{given[1]:g}: the first must be below the second")
        return Bounds(*given, "stated")
    if (own := stated_bounds(judge.scorer)) is not None:
        return Bounds(*own, "the scorer's own")
    if opened.scored.world is not None:
        table = opened.scored.world.table(judge.scorer)
        return Bounds(float(table.min()), float(table.max()), "enumerated")
    if judge.scorer is opened.scored.cost_scorer:
        return assumed_bounds(opened.scored.cost)
    raise InputError(
        f"--judge-cost {judge.name}: its range is not known, and without one no sample rules out rare severe "
        "harm; state it with --cost-range LOW,HIGH, or judge a rate with --max-unsafe-rate"
    )
