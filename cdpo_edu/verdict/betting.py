r"""Bets against "the limit is exceeded": evidence that holds whenever one looks at it.

The values x_1, x_2, ... are those of independent units (a prompt, or one round over all prompts of a world)
with mean mu and none above ``high``. Whoever believes mu >= C is offered, unit by unit, a bet that pays when
costs are low. The wealth of a gambler who starts with 1 and always stakes the fraction g of what can be lost,

.. math:: K_n(g) = \prod_{i \le n} \Big( 1 + g \, \frac{C - x_i}{high - C} \Big), \qquad 0 < g < 1,

never becomes negative, and if mu >= C every factor has expectation at most 1: K is a nonnegative
supermartingale. So is the average of K over the fixed stakes `STAKES`, whose log `log_wealth` returns.
Ville's inequality then bounds the chance that it *ever* reaches 1/alpha by alpha. Looking after every unit
spends nothing.

**More answers to the same prompts.** Let x_i be the mean of m exchangeable answers to prompt i. Then x_i is a
reversed martingale in m (the mean of m answers is the conditional expectation of the mean of the first k < m
given all that comes later), the factors are affine in x_i and the prompts independent, so with fixed stakes K
is a reversed martingale in m as well, and the same maximal inequality holds read backwards: the chance that
it reaches 1/alpha at any m >= m_0 is at most E K at m_0, which is at most 1, times alpha. Stakes chosen from
the data as it comes in would break this; that is why they are fixed. What is *not* covered is looking while
prompts are added and, in the same run of looks, answers too.

Only the upper end of the range enters: values may lie arbitrarily far below. Raising a value lowers K, so
clipping from below only makes the verdict stricter. Clipping from above would not, and is never done.

Left out: which values (`measures`), whose answers (the room that reads a run).

References: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B 86,
arXiv 2010.09686, section 4.1 (capital process), Theorem 3 (inverting it) and appendix B (averages over a grid
of stakes); Ville 1939; Manole & Ramdas 2023, "Martingale methods for sequential estimation of convex
functionals and divergences", arXiv 2103.09267, section 2 (the maximal inequality for reversed martingales).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..types import InputError

Array = NDArray[np.float64]
Answer = Literal["pass", "fail", "more"]

STAKES: Array = np.geomspace(0.01, 0.98, 16)
"""Fractions g, fixed before any value is seen: the small ones for many or wide values, the large ones for
few or rare ones. The best one is about (C - mu) (high - C) / Var(x)."""

FARTHEST = 1e4
"""Times as many units as there are, beyond which no forecast is given."""


class Bounds(NamedTuple):
    """The range that values are stated to have, and who says so."""

    low: float
    high: float
    origin: str


class Decision(NamedTuple):
    """What the values say of the limit at level alpha.

    ``lower`` and ``upper`` are confidence sequences for the mean, each by itself valid at level alpha at all
    times; ``for_pass`` and ``for_fail`` the log wealth of the two bets (log 1/alpha decides; 0 without bets);
    ``times`` how many times as many units would decide, were they like these, or None where none would.
    """

    answer: Answer
    estimate: float
    lower: float
    upper: float
    for_pass: float
    for_fail: float
    times: float | None


def log_factors(values: ArrayLike, limit: float, high: float, *, stakes: ArrayLike = STAKES) -> Array:
    """Return the log of each bet's factor, shape (..., n, K) for values of shape (..., n).

    Raises
    ------
    InputError
        When a value exceeds ``high``: the bet has no meaning then, and harm is never clipped.

    A value of 0 at limit 1/2 wins the whole stake, 1 loses it:

    >>> np.exp(log_factors([0.0, 1.0], 0.5, 1.0, stakes=[0.5])).tolist()
    [[1.5], [0.5]]
    """
    values, stakes = np.asarray(values, dtype=np.float64), np.asarray(stakes, dtype=np.float64)
    if values.size and (worst := float(values.max())) > high + 1e-9 * max(1.0, abs(high)):
        raise InputError(
            f"a value of {worst:.6g} lies above the stated bound {high:.6g}; the verdict holds only if no "
            "answer can, so state a bound that it cannot exceed"
        )
    odds = (limit - np.minimum(values, high)) / (high - limit)  # (..., n); the minimum undoes rounding alone
    logs: Array = np.log1p(odds[..., None] * stakes)
    return logs


def log_wealth(values: ArrayLike, limit: float, high: float, *, stakes: ArrayLike = STAKES) -> Array:
    """Return the log of the averaged wealth after all values, shape (...) for values of shape (..., n).

    >>> round(float(np.exp(log_wealth([0.0, 0.0], 0.5, 1.0, stakes=[0.5, 1.0]))), 6)  # (1.5^2 + 2^2)/2
    3.125
    """
    return averaged(log_factors(values, limit, high, stakes=stakes).sum(axis=-2))


def wealth_path(values: ArrayLike, limit: float, high: float) -> Array:
    """Return the log wealth after 1, 2, ... n values, shape (..., n)."""
    return averaged(log_factors(values, limit, high).cumsum(axis=-2))


def averaged(logs: Array) -> Array:
    """Return the log of the mean over the last axis, of numbers given by their logs."""
    top = logs.max(axis=-1)
    mean: Array = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return mean


def upper_bound(values: ArrayLike, high: float, *, alpha: float) -> float:
    """Return the least limit that the values pass: an upper confidence bound for the mean, at all times.

    The wealth increases with the limit, factor by factor (Theorem 3 of the reference, one side of it), so the
    limits that pass are a half-line and bisection finds its end. ``high`` itself where nothing less passes.

    >>> upper_bound([0.0] * 2, 1.0, alpha=0.05) > upper_bound([0.0] * 200, 1.0, alpha=0.05) > 0
    True
    """
    data = np.asarray(values, dtype=np.float64)
    low, top, goal = min(float(data.min()), high), high, -np.log(alpha)
    for _ in range(60):
        middle = (low + top) / 2
        if middle >= high:
            break
        if log_wealth(data, middle, high) >= goal:
            top = middle
        else:
            low = middle
    return top


def decide(
    values: ArrayLike,
    limit: float,
    bounds: Bounds,
    *,
    alpha: float,
    lowest: ArrayLike | None = None,
    clipped: bool = False,
) -> Decision:
    """Test both hypotheses, "the mean is at least the limit" and "at most the limit", each at level alpha.

    Parameters
    ----------
    values : array, shape (n,)
        One per unit, within ``bounds``; doubts read as harm.
    limit : float
        Outside the bounds it is decided without any bet.
    bounds : Bounds
    alpha : float
        In (0, 1): the chance of a false ``pass``, over all looks, and likewise of a false ``fail``.
    lowest : array, shape (n,), optional
        The values with doubts read as no harm, for ``fail``; by default the same.
    clipped : bool
        Whether a value was raised to ``bounds.low``. Then the mean may lie lower than the values', and `fail`
        is not claimed.

    Raises
    ------
    InputError
        For an alpha that is no level, or a value outside the bounds.

    Examples
    --------
    >>> decide([0.0] * 60, 0.2, Bounds(0, 1, "stated"), alpha=0.05).answer
    'pass'
    >>> decide([0.0, 1.0] * 40, 0.2, Bounds(0, 1, "stated"), alpha=0.05).answer
    'fail'
    >>> decide([0.0] * 5, 0.2, Bounds(0, 1, "stated"), alpha=0.05).answer
    'more'
    """
    high = np.asarray(values, dtype=np.float64)
    low = high if lowest is None else np.asarray(lowest, dtype=np.float64)
    _check_level(alpha)
    lower = bounds.low if clipped else -upper_bound(-low, -bounds.low, alpha=alpha)
    upper = upper_bound(high, bounds.high, alpha=alpha)
    told = Decision("more", float(high.mean()), lower, upper, 0.0, 0.0, None)
    if (certain := _without_bets(low, limit, bounds, clipped)) is not None:
        return told._replace(answer=certain)
    sides = _sides(high, low, limit, bounds, clipped)
    goal = -float(np.log(alpha))
    wealth = [float(averaged(logs)) for logs in sides]
    forecasts = [times for logs in sides if (times := _times(logs, goal)) is not None]
    return told._replace(
        answer=_answer(wealth, goal),
        for_pass=wealth[0],
        for_fail=0.0 if clipped else wealth[-1],
        times=min(forecasts, default=None),
    )


def side(values: ArrayLike, limit: float, bounds: Bounds, *, alpha: float, clipped: bool = False) -> Answer:
    """Return the answer of `decide` alone: much cheaper, for whoever looks often.

    >>> side([0.0] * 60, 0.2, Bounds(0, 1, "stated"), alpha=0.05)
    'pass'
    """
    data = np.asarray(values, dtype=np.float64)
    _check_level(alpha)
    if (certain := _without_bets(data, limit, bounds, clipped)) is not None:
        return certain
    wealth = [float(averaged(logs)) for logs in _sides(data, data, limit, bounds, clipped)]
    return _answer(wealth, -float(np.log(alpha)))


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, not be {alpha}")


def _without_bets(low: Array, limit: float, bounds: Bounds, clipped: bool) -> Answer | None:
    """Return what a limit at or beyond an end of the range decides by itself; None for one within."""
    if limit >= bounds.high:
        return "pass"
    if limit < bounds.low or (limit == bounds.low and float(low.max()) > limit and not clipped):
        return "fail"
    return "more" if limit == bounds.low else None


def _sides(high: Array, low: Array, limit: float, bounds: Bounds, clipped: bool) -> list[Array]:
    """Return the log wealth of each stake on "below the limit", and unless ``clipped`` on "above it"."""
    passing = log_factors(high, limit, bounds.high).sum(axis=0)  # (K,)
    failing = log_factors(-low, -limit, -bounds.low).sum(axis=0)
    return [passing] if clipped else [passing, failing]


def _answer(wealth: list[float], goal: float) -> Answer:
    return "pass" if wealth[0] >= goal else "fail" if wealth[-1] >= goal else "more"


def _times(logs: Array, goal: float) -> float | None:
    """Return how many times as many units like these take the wealth to ``goal``, or None."""
    reached: Callable[[float], bool] = lambda times: bool(averaged(times * logs) >= goal)  # noqa: E731
    low, top = 1.0, FARTHEST
    if not reached(top):
        return None
    for _ in range(50):
        middle = (low * top) ** 0.5
        low, top = (low, middle) if reached(middle) else (middle, top)
    return top
