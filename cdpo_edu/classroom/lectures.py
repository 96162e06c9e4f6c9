"""Two lectures of 75 minutes, as a choice of the lessons' sections with the minutes for each."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LECTURES", "Lecture", "Section"]


class Section(NamedTuple):
    """A section of a lesson, by its heading.

    Attributes
    ----------
    lesson : str
        Stem of the lesson's source.
    heading : str
    minutes : int
    """

    lesson: str
    heading: str
    minutes: int


class Lecture(NamedTuple):
    """What is said and shown in one sitting.

    Attributes
    ----------
    name : str
        Stem of its files.
    title, aim : str
        The aim is what the audience can do afterwards.
    sections : tuple of Section
    beside : tuple of (str, int)
        What is no slide, and its minutes.
    """

    name: str
    title: str
    aim: str
    sections: tuple[Section, ...]
    beside: tuple[tuple[str, int], ...]

    @property
    def minutes(self) -> int:
        """Return how long it takes."""
        return sum(section.minutes for section in self.sections) + sum(minutes for _, minutes in self.beside)


_BRADLEY_TERRY, _LIMIT = "01_preferences_and_bradley_terry", "02_the_cost_and_the_limit"
_DUAL, _DPO = "03_the_dual", "04_dpo_from_the_closed_form"

LECTURES = (
    Lecture(
        "lecture_1",
        "Preferences, a cost and a limit",
        "Say what a comparison can teach a reward and what it cannot, why a limit needs a cost with a zero, "
        "and which policy is the best one for a given price of cost.",
        (
            Section(_BRADLEY_TERRY, "A kitchen, two guests, four dishes", 6),
            Section(_BRADLEY_TERRY, "From a gap to a probability", 8),
            Section(_BRADLEY_TERRY, "The loss, on two rows", 8),
            Section(_BRADLEY_TERRY, "What comparisons can never tell", 8),
            Section(_LIMIT, "The kitchen with a limit", 6),
            Section(_LIMIT, "What is a cost?", 5),
            Section(_LIMIT, "The best policy for a given price", 12),
            Section(_LIMIT, "The frontier", 7),
            Section(_LIMIT, "Slack, binding, edge, infeasible", 9),
        ),
        (("questions", 6),),
    ),
    Lecture(
        "lecture_2",
        "The dual, and DPO at the right price",
        "Find the price that meets a limit by walking down the dual, certify any policy, and derive DPO's "
        "loss from the best policy for that price.",
        (
            Section(_DUAL, "A bound over every policy", 8),
            Section(_DUAL, "Three facts", 9),
            Section(_DUAL, "The dual step", 6),
            Section(_DUAL, "The picture", 5),
            Section(_DUAL, "When no policy can meet the limit", 5),
            Section(_DUAL, "The certificate", 8),
            Section(_DPO, "Step 1: read the formula backwards", 7),
            Section(_DPO, "Step 2: in a pair, Z cancels", 6),
            Section(_DPO, "Step 3: a loss for pairs", 6),
            Section(_DPO, "Constrained DPO", 5),
        ),
        (("explorer.html, driven by the audience", 6), ("questions", 4)),
    ),
)
