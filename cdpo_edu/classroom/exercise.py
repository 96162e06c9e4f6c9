"""An exercise: what is asked, the oracle that knows the answer, and the wrong answers that students give.

An answer is a function (it is called on freshly drawn inputs) or a value (it is about the one instance that
the student was shown). In both cases ``oracle(**inputs)`` is what it must agree with, so a check holds no
stored answer and nothing leaks from it. A wrong answer that students really give has a name, a way to
compute it, and the sentence that helps; it is recognised by giving what that wrong way gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import seeds
from .agreement import disagreement

__all__ = ["Assignment", "CheckFailed", "Exercise", "Inputs", "Wrong"]

Inputs = dict[str, Any]
"""Arguments by name: numbers, strings, booleans, None, lists and dicts of these, numpy arrays."""

Kind = Literal["implement", "predict", "dial", "diagnose"]
TRIALS = 12
"""Fresh instances on which a function is checked."""


class CheckFailed(AssertionError):
    """The answer is not right; the message says what is wrong with it, for its author."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message alone; the way through this package helps nobody."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that students give.

    Attributes
    ----------
    name : str
        In the field's words, as "flipped sign".
    answer : callable
        ``answer(**inputs)`` is what this mistake gives.
    message : str
        What the check says to it: one or two sentences that help without giving the answer.
    variants : tuple of str, optional
        The wordings for which it is wrong; absent, all.
    """

    name: str
    answer: Callable[..., Any]
    message: str
    variants: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Exercise:
    """One exercise of an assignment.

    Attributes
    ----------
    key : str
        Its name everywhere, and the name of the function or variable that answers it.
    title : str
    kind : {"implement", "predict", "dial", "diagnose"}
        "implement" asks for a function, the others for a value about the student's own instance.
    points : int
    minutes : int
        What a student needs for it.
    difficulty : {"easy", "medium", "hard"}
    draw : callable
        ``draw(rng) -> Inputs``: one instance, of equal difficulty whatever the random numbers.
    oracles : mapping of str to callable
        The right answer ``oracle(**inputs)`` for each wording; the first, "standard", is the public one. A
        course with a secret uses another one, for which the public answer is wrong.
    wrong : tuple of Wrong
        Three at least.
    tolerance : float
        See `agreement.disagreement`.
    judge : callable, optional
        ``judge(inputs, got, variant) -> str | None`` in place of comparing with the oracle, where more than
        one answer is right: None for right, else the sentence.
    trials : int
        Fresh instances on which a function is checked.
    """

    key: str
    title: str
    kind: Kind
    points: int
    minutes: int
    difficulty: Literal["easy", "medium", "hard"]
    draw: Callable[[np.random.Generator], Inputs]
    oracles: Mapping[str, Callable[..., Any]]
    wrong: tuple[Wrong, ...]
    tolerance: float = 1e-6
    judge: Callable[[Inputs, Any, str], str | None] | None = None
    trials: int = TRIALS

    @property
    def is_function(self) -> bool:
        """Return whether the answer is a function."""
        return self.kind == "implement"

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the names of the wordings, the public one first."""
        return tuple(self.oracles)

    def variant(self, token: str) -> str:
        """Return the wording of a course."""
        return seeds.chosen_variant(token, self.key, self.variants)

    def shown(self, token: str, student: str) -> Inputs:
        """Return the instance that a student sees in the notebook."""
        return self.draw(seeds.generator(token, self.key, student))

    def marked(self, secret: str, student: str) -> list[Inputs]:
        """Return the inputs that are marked: for a function its own, for a value the instance shown."""
        if not self.is_function:
            return [self.shown(seeds.course_token(secret), student)]
        rng = seeds.generator(secret, self.key, student)
        return [self.draw(rng) for _ in range(self.trials)]

    def drawn_afresh(self) -> list[Inputs]:
        """Return inputs that nobody can have seen before, for a check while one works."""
        rng = np.random.default_rng()
        return [self.draw(rng) for _ in range(self.trials)]

    def mistakes(self, variant: str) -> list[Wrong]:
        """Return the named wrong answers to a wording: its own, then the right answers to the other ones."""
        own = [wrong for wrong in self.wrong if wrong.variants is None or variant in wrong.variants]
        others = [
            Wrong(f"answer to the wording {name!r}", oracle, OTHER_WORDING)
            for name, oracle in self.oracles.items()
            if name != variant
        ]
        return own + others

    def verdict(self, inputs: Sequence[Inputs], got: Sequence[Any], variant: str) -> str | None:
        """Return None when every answer is right, else the sentence for the first that is not.

        Parameters
        ----------
        inputs, got : sequences of equal length
            What was asked and what was answered.
        variant : str
            The wording.
        """
        faults = [self._fault(asked, answer, variant) for asked, answer in zip(inputs, got, strict=True)]
        worst = next((i for i, fault in enumerate(faults) if fault), None)
        if worst is None:
            return None
        if all(answer is None or answer is ... for answer in got):
            return f"{self.key} {faults[worst]}"
        return self._recognised(inputs, got, variant) or self._plain(inputs[worst], str(faults[worst]))

    def _fault(self, inputs: Inputs, got: Any, variant: str) -> str | None:
        if self.judge is not None:
            return self.judge(inputs, got, variant)
        right = self.oracles[variant](**inputs)
        return disagreement(got, right, tolerance=self.tolerance, reveal=self.is_function)

    def _recognised(self, inputs: Sequence[Inputs], got: Sequence[Any], variant: str) -> str | None:
        """Return the message of the mistake that gives just these answers, if one does."""
        for wrong in self.mistakes(variant):
            if all(self._same(answer, wrong, asked) for asked, answer in zip(inputs, got, strict=True)):
                return wrong.message
        return None

    def _same(self, got: Any, wrong: Wrong, inputs: Inputs) -> bool:
        return disagreement(got, wrong.answer(**inputs), tolerance=self.tolerance) is None

    def _plain(self, inputs: Inputs, fault: str) -> str:
        if not self.is_function:
            return f"{self.key} {fault}"
        asked = ", ".join(f"{name}={_brief(value)}" for name, value in inputs.items())
        return f"{self.key} {fault}; asked with {asked}"


OTHER_WORDING = (
    "This answers another wording of the exercise. Read the text of yours again, above all its signs."
)


@dataclass(frozen=True)
class Assignment:
    """Exercises that are handed out and handed in together.

    Attributes
    ----------
    name : str
        Stem of the notebook, as "01_the_dual_step".
    title : str
    exercises : tuple of Exercise
        In the order of the notebook.
    """

    name: str
    title: str
    exercises: tuple[Exercise, ...]

    @property
    def max_score(self) -> int:
        """Return the sum of the points."""
        return sum(exercise.points for exercise in self.exercises)


def _brief(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=3, threshold=8, separator=", ").replace("\n", "")
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
