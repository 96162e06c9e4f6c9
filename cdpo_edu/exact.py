r"""The oracle: constrained DPO's problem on finite tables, solved to the last digits of float64.

    maximise  E_x,y~pi[r] - beta E_x KL(pi(.|x) || ref(.|x))    subject to    E_x,y~pi[c] <= C

by its dual D(lam) = beta E_x log Z_lam(x) + lam C, which is convex in lam >= 0, with slope C - E_lam[c] and
curvature E_x Var_lam(c|x)/beta; pi_lam is proportional to ref exp((r - lam c)/beta). With one limit, D is
minimised by a bracketed Newton iteration on many problems at once; with several, by Newton steps within
lam >= 0, after a linear program has decided whether any policy meets them all.

How the digits are kept: per prompt, rewards are measured from the best response and costs from the cheapest,
so D depends on C through the margin B = C - E_x min_y c alone, which may be tiny and whose sign decides
feasibility. The search works on lam/beta and ends with a step in tables centred at the root's neighbourhood,
because where beta is small one unit in the last place of lam moves E[c] visibly. The gap is the sum of the
certificate's two terms, D(lam) - J(pi) = beta E_x KL(pi || pi_lam) + lam (C - E_pi[c]), never a difference.

Left out: anything sampled (every expectation here is a sum) and anything learned.

References: Liu, Sun & Zheng 2024, arXiv 2403.02475 (the problem, D and its slope); Wachi et al. 2024, arXiv
2404.11049, Lemma 1 (strong duality) and Lemma 2 (the bound on lam that opens the bracket).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import linprog, nnls
from scipy.sparse import coo_array

from .types import InputError

Array = NDArray[np.float64]
Truth = NDArray[np.bool_]
PerLimit = float | tuple[float, ...]
"""One number when the cost is one table (X, Y); a tuple of K numbers when it is K tables (K, X, Y)."""

LARGEST = 1e50
"""Tables hold finite numbers of at most this size; beta lies between its inverse and itself."""

EPS = float(np.finfo(np.float64).eps)
TOUCH = 1e-9  # with several limits: a shortfall that counts as none, in units of the cost's largest spread
CELLS = 131072  # table cells worked on at once: a MiB per array, so that a pass stays in cache
PASSES = 500  # bisection alone needs about 240: 80 halvings, each at most 3 passes apart


# ---- what comes back ------------------------------------------------------------------------------


class Evaluation(NamedTuple):
    """Exact expectations of one policy: E[r], E[c], E_x KL(pi || ref) in nats, and J = E[r] - beta KL."""

    reward: float
    cost: PerLimit
    kl: float
    objective: float


class Certificate(NamedTuple):
    """How far a policy is from the best feasible one, as a bound that anyone can recompute.

    Attributes
    ----------
    lam : float, tuple or None
        The multiplier of the bound; None at the edge (see `Solution`) and for an infeasible problem.
    objective : float
        J(pi) = E[r] - beta KL.
    dual_bound : float or None
        D(lam), which no feasible policy's objective exceeds; at the edge its limit for lam to infinity.
    gap : float or None
        D(lam) - J(pi). For a feasible policy, a bound on what it loses; for a violating one it may be
        negative and bounds nothing.
    gap_kl_term, gap_slack_term : float or None
        Its parts beta E KL(pi || pi_lam) and lam (C - E_pi[c]). None where the first is infinite: the policy
        gives mass to an impossible response, or at the edge to more than the cheapest.
    violation : float
        max(0, E_pi[c] - C), the largest over the limits.
    closeness : float or None
        1 - E KL(pi || pi*) / E KL(ref || pi*): 1 is the exact optimum, 0 the reference. None where the
        reference is the optimum, or infinitely far from it, and this policy is another.
    """

    lam: PerLimit | None
    objective: float
    dual_bound: float | None
    gap: float | None
    gap_kl_term: float | None
    gap_slack_term: float | None
    violation: float
    closeness: float | None


class Residuals(NamedTuple):
    """How far the four Karush-Kuhn-Tucker conditions are from holding: at least 0, and 0 when they do.

    Attributes
    ----------
    primal : float
        The violation max(0, E[c] - C), in units of cost.
    dual : float
        max(0, -lam).
    stationarity : float
        The slope left in the Lagrangian: root mean square, under the policy, of r - lam c - beta log(pi/ref)
        around its mean over the responses of a prompt; in units of reward.
    complementary : float
        abs(lam (C - E[c])), in units of reward.
    """

    primal: float
    dual: float
    stationarity: float
    complementary: float


@dataclass(frozen=True, eq=False)
class Solution:
    """The exact optimum of a `FiniteProblem`, or the finding that there is none.

    Attributes
    ----------
    status : str
        ``optimal`` (the limit binds), ``slack`` (it does not: lam = 0) or ``infeasible``.
    lam : float, tuple of K floats, or None
        The least multiplier that meets the limit. None when infeasible, and None at the edge
        E_x min_y c = C, where the optimum is the tilted reference restricted to the cheapest responses of
        each prompt, the status is ``optimal`` and no finite multiplier exists.
    probs : array of shape (X, Y), or None
        The optimal policy, on the limit or below it, as finely as float64 can tell. None, like all that
        describes it, when infeasible.
    reward, cost, kl, objective
        Of that policy, as in `Evaluation`.
    dual_bound, gap, gap_kl_term, gap_slack_term, violation
        As in `Certificate`.
    complementary_slackness : float or None
        lam (C - E[c]), summed over the limits.
    kkt : Residuals or None
    min_cost : float or tuple of K floats
        E_x min_y c, the least cost anyone can reach; with several limits, each of them alone.
    active : tuple of int
        The limits that bind: lam > 0, or the edge.
    worst_prompts : tuple of int
        When infeasible, the prompts whose cheapest response exceeds the limit, the largest excess first.
        Several costs are first weighed by the prices that prove infeasibility.
    iterations : int
        Passes over the tables.
    """

    status: str
    lam: PerLimit | None
    probs: Array | None
    reward: float | None
    cost: PerLimit | None
    kl: float | None
    objective: float | None
    dual_bound: float | None
    gap: float | None
    gap_kl_term: float | None
    gap_slack_term: float | None
    violation: float | None
    complementary_slackness: float | None
    kkt: Residuals | None
    min_cost: PerLimit
    active: tuple[int, ...]
    worst_prompts: tuple[int, ...]
    iterations: int


class Frontier(NamedTuple):
    """Columns along ``lam``: what each multiplier buys, with the problem's own limit C beside it."""

    lam: Array
    reward: Array
    cost: Array
    kl: Array
    limit: Array


# ---- the problem ----------------------------------------------------------------------------------


@dataclass(frozen=True, init=False, eq=False, repr=False)
class FiniteProblem:
    r"""A constrained preference problem small enough to enumerate: X prompts, Y responses.

    .. math:: \max_\pi E[r] - \beta E_x KL(\pi \| \pi_{ref}) \quad\text{s.t.}\quad E[c] \le C

    Parameters
    ----------
    reference : array_like of shape (X, Y)
        pi_ref(y|x); rows sum to 1, or to within 1e-6 of it and are then divided by their sum. A response of
        probability 0 stays impossible for every policy.
    reward : array_like of shape (X, Y)
        r(x, y) in nats, higher is better.
    cost : array_like of shape (X, Y), or (K, X, Y) for K limits
        c(x, y), higher is more harmful.
    beta : float, above 0
        Strength of the tie to the reference; typical 0.05 to 1.
    cost_limit : float, or K floats
        C, in the unit of ``cost``.
    prompt_probs : array_like of shape (X,), optional
        Weight of each prompt, with a sum of 1 as above; default uniform.

    Raises
    ------
    InputError
        When a field has the wrong shape, is no distribution, or holds something that is no finite number.

    Reference
    ---------
    Liu, Sun & Zheng 2024, arXiv 2403.02475, Section 3.

    Examples
    --------
    Two responses at even odds, the helpful one (r = 1) harmful (c = 1) and allowed a quarter of the time. The
    best policy takes the whole quarter; log(p/(1-p)) = (r - lam)/beta says lam = 1 + log 3 = 2.0986:

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=0.25)
    >>> best = problem.solve()
    >>> best.status, best.probs.round(12).tolist(), round(best.lam, 4)
    ('optimal', [[0.25, 0.75]], 2.0986)
    """

    reference: Array
    reward: Array
    cost: Array
    beta: float
    cost_limit: PerLimit
    prompt_probs: Array

    def __init__(
        self,
        reference: ArrayLike,
        reward: ArrayLike,
        cost: ArrayLike,
        *,
        beta: float,
        cost_limit: float | Sequence[float],
        prompt_probs: ArrayLike | None = None,
    ) -> None:
        shape = np.shape(table := _distribution("reference", reference, ndim=2))
        costs = _numbers("cost", cost, ndim=2 + _is_stack(cost))
        many = costs.shape[:-2]
        limits = _numbers("cost_limit", cost_limit, ndim=len(many))
        if prompt_probs is None:
            prompt_probs = np.full(shape[0], 1 / shape[0])
        checked = {
            "reference": table,
            "reward": _agree("reward", _numbers("reward", reward, ndim=2), shape),
            "cost": _agree("cost", costs, (*many, *shape)),
            "beta": _positive("beta", beta),
            "cost_limit": _listed(_agree("cost_limit", limits, many)),
            "prompt_probs": _agree(
                "prompt_probs", _distribution("prompt_probs", prompt_probs, ndim=1), shape[:1]
            ),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        x, y = self.reference.shape
        return f"FiniteProblem({x} prompts, {y} responses, beta={self.beta}, cost_limit={self.cost_limit})"

    def policy(self, lam: float | Sequence[float]) -> Array:
        """Return pi_lam(y|x) = ref exp((r - lam c)/beta) / Z_lam(x), shape (X, Y), for lam >= 0 (or K of them).

        >>> problem = FiniteProblem([[0.5, 0.5]], [[0, 0]], [[1, 0]], beta=1, cost_limit=0)
        >>> problem.policy(np.log(3)).round(12).tolist()
        [[0.25, 0.75]]
        """
        return _tilt(self._tables, self._multiplier(lam))[0].probs[0]

    def dual(self, lam: float | Sequence[float]) -> float:
        """Return D(lam) = beta E_x log Z_lam(x) + lam C; for lam >= 0 no feasible objective exceeds it.

        Here Z = (1 + 1/3)/2 at lam = log 3, and log Z = -0.4055:

        >>> problem = FiniteProblem([[0.5, 0.5]], [[0, 0]], [[1, 0]], beta=1, cost_limit=0)
        >>> round(problem.dual(np.log(3)), 4)
        -0.4055
        """
        row = self._multiplier(lam)
        return float(_dual(self._tables, row, _tilt(self._tables, row)[1])[0])

    def dual_slope(self, lam: float | Sequence[float]) -> PerLimit:
        """Return D'(lam) = C - E_lam[c], negative while pi_lam is too costly; K of them for K limits.

        >>> FiniteProblem([[0.5, 0.5]], [[0, 0]], [[1, 0]], beta=1, cost_limit=0.25).dual_slope(0.0)
        -0.25
        """
        return self._own_form(_measure(self._tables, _Policies.of(self.policy(lam)[None])).slack[0])

    def dual_curvature(self, lam: float | Sequence[float]) -> float | Array:
        """Return D''(lam) = E_x Var_lam(c | x)/beta, at least 0; for K limits the Hessian, shape (K, K).

        >>> FiniteProblem([[0.5, 0.5]], [[0, 0]], [[1, 0]], beta=0.5, cost_limit=0).dual_curvature(0.0)
        0.5
        """
        t = self._tables
        hessian: Array = _covariance(self.policy(lam), t.excess[0], t.weights[0])[1] / self.beta
        return hessian if self.cost.ndim == 3 else float(hessian[0, 0])

    def evaluate(self, probs: ArrayLike) -> Evaluation:
        """Return the exact expectations of the policy ``probs``, shape (X, Y), rows summing to 1 within 1e-6.

        A policy that gives mass to a response which the reference makes impossible has infinite KL.

        >>> FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25).evaluate([[1, 0]])
        Evaluation(reward=1.0, cost=1.0, kl=0.693147180559..., objective=0.306852819440...)
        """
        m = _measure(self._tables, self._policies(probs))
        return Evaluation(
            float(m.reward[0]), self._own_form(m.cost[0]), float(m.kl[0]), float(m.objective[0])
        )

    def certify(self, probs: ArrayLike, lam: float | Sequence[float] | None = None) -> Certificate:
        """Return the certificate of the policy ``probs`` by the bound D(lam), by default at the exact lam.

        D(lam) - J(pi) = beta E_x KL(pi || pi_lam) + lam (C - E_pi[c]) for every policy and every lam >= 0.

        The policy (1/2, 1/2) where (e, 1)/(e + 1) is allowed loses log((e + 1)/2) - 1/2 = 0.1201:

        >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=1)
        >>> found = problem.certify([[0.5, 0.5]])
        >>> found.lam, round(found.gap, 4), found.violation
        (0.0, 0.1201, 0.0)
        """
        policies, best = self._policies(probs), self._answer
        own = _measure(self._tables, policies)
        objective, violation = float(own.objective[0]), max(0.0, -float(own.slack.min()))
        if lam is None and not best.feasible[0]:
            return Certificate(None, objective, None, None, None, None, violation, None)
        face, row = (best.face, best.lam) if lam is None else (self._tables, self._multiplier(lam))
        bound = _bound(face, policies, row, own.slack)
        dual, kl_term, slack_term = (float(term[0]) for term in (bound.dual, bound.kl_term, bound.slack_term))
        terms: tuple[float | None, ...] = (kl_term + slack_term, kl_term, slack_term)
        if np.isinf(kl_term):
            terms = (dual - objective, None, None)
        multiplier = None if lam is None and best.edge[0] else self._own_form(row[0])
        return Certificate(multiplier, objective, dual, *terms, violation, self._closeness(policies))

    def solve(self) -> Solution:
        """Return the exact optimum, or the finding that no policy meets the limit; computed once and kept.

        A limit is slack when the policy of lam = 0 meets it, infeasible when E_x min_y c exceeds it, at the
        edge when they are equal: each to within 4 units in the last place of abs(C) + E_x abs(min_y c), to
        which the slack test adds E_0[c - min_y c]. Several limits are infeasible when every policy exceeds one
        of them by more than 1e-9 of that cost's largest spread; closer to the edge they end at a finite lam.

        Prompt 0 costs at least 1 and prompt 1 nothing, so E[c] >= 1/2 and a limit of 1/4 is out of reach:

        >>> cost = [[1, 2], [0, 1]]
        >>> found = FiniteProblem([[0.5, 0.5]] * 2, [[0, 0]] * 2, cost, beta=1, cost_limit=0.25).solve()
        >>> found.status, found.lam, found.min_cost, found.worst_prompts
        ('infeasible', None, 0.5, (0,))
        """
        return self._solution

    def least_kl(self) -> Solution:
        """Return the policy closest to the reference that meets the limit: the same problem with r = 0.

        It is what one gets without a reward model; its ``objective`` is -beta KL.

        >>> problem = FiniteProblem([[0.5, 0.5]], [[9, 0]], [[1, 0]], beta=1, cost_limit=0.25)
        >>> problem.least_kl().probs.round(12).tolist()
        [[0.25, 0.75]]
        """
        return replace(self, reward=np.zeros_like(self.reference)).solve()

    def with_limit(self, cost_limit: float | Sequence[float]) -> FiniteProblem:
        """Return the same problem under another limit C (K of them for K limits)."""
        return replace(self, cost_limit=cost_limit)

    def with_beta(self, beta: float) -> FiniteProblem:
        """Return the same problem with another strength ``beta`` of the tie to the reference."""
        return replace(self, beta=beta)

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables.of([self])

    @cached_property
    def _answer(self) -> _Answer:
        return _answers(self._tables)

    @cached_property
    def _solution(self) -> Solution:
        return _solutions([self], self._tables, self._answer)[0]

    def _own_form(self, values: Array) -> PerLimit:
        """Return K numbers in the form of this problem's ``cost_limit``."""
        return _listed(values if self.cost.ndim == 3 else values[0])

    def _multiplier(self, lam: float | Sequence[float]) -> Array:
        """Return ``lam`` as an array of shape (1, K)."""
        row = _agree("lam", _numbers("lam", lam, ndim=self.cost.ndim - 2), np.shape(self.cost_limit))
        if np.any(row < 0):
            raise InputError(f"field 'lam': {row.min():g} is negative; a multiplier is at least 0")
        return row.reshape(1, -1)

    def _policies(self, probs: ArrayLike) -> _Policies:
        table = _agree("probs", _distribution("probs", probs, ndim=2), self.reference.shape)
        return _Policies.of(table[None])

    def _closeness(self, policies: _Policies) -> float | None:
        if not self._answer.feasible[0]:
            return None
        best, _ = _tilt(self._answer.face, self._answer.lam)
        rows = (p.divergence(best, p.log_ratio(best)) for p in (policies, self._tables.ref))
        own, far = (float(self._tables.mean(row)[0]) for row in rows)
        if own <= EPS:
            return 1.0
        return None if far <= EPS or np.isinf(far) else 1 - own / far


def solve_many(problems: Iterable[FiniteProblem]) -> list[Solution]:
    """Return the solution of each problem, in order; problems of one shape are solved together.

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> [round(s.lam, 4) for s in solve_many([problem, problem.with_limit(0.75), problem.with_limit(0.5)])]
    [2.0986, 0.0, 1.0]
    """
    todo = list(problems)
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, problem in enumerate(todo):
        groups.setdefault(problem.cost.shape, []).append(place)
    found: dict[int, Solution] = {}
    for shape, places in groups.items():
        size = 1 if len(shape) == 3 else max(1, CELLS // (shape[0] * shape[1]))
        for part in (places[start : start + size] for start in range(0, len(places), size)):
            batch = [todo[place] for place in part]
            tables = _Tables.of(batch)
            found.update(zip(part, _solutions(batch, tables, _answers(tables)), strict=True))
    return [found[place] for place in range(len(todo))]


def frontier(problem: FiniteProblem, lams: ArrayLike) -> Frontier:
    """Return E[r], E[c] and KL of pi_lam along ``lams``, shape (L,): each the optimum for C = its own cost.

    For K limits ``lams`` has shape (L, K), and so have the columns ``lam``, ``cost`` and ``limit``.

    >>> problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1, cost_limit=0.25)
    >>> frontier(problem, [1.0, 1 + np.log(3)]).cost.round(12).tolist()
    [0.5, 0.25]
    """
    along = _numbers("lams", lams, ndim=problem.cost.ndim - 1)
    rows = [problem.evaluate(problem.policy(lam)) for lam in along.tolist()]
    reward, cost, kl = (np.array([row[i] for row in rows]) for i in range(3))
    return Frontier(along, reward, cost, kl, np.full(along.shape, problem.cost_limit))


# ---- reading the fields ---------------------------------------------------------------------------

_KINDS = ("one number", "a list of numbers", "a table (a list of rows)", "a list of K tables")


def _raw(field: str, value: ArrayLike) -> NDArray[Any]:
    try:
        raw = np.asarray(value)
    except ValueError:
        raise InputError(f"field '{field}': its rows differ in length; make them equally long") from None
    if raw.dtype.kind not in "fiu":
        raise InputError(f"field '{field}': it holds something that is no number; give finite numbers only")
    return raw


def _is_stack(cost: ArrayLike) -> bool:
    return _raw("cost", cost).ndim == 3


def _numbers(field: str, value: ArrayLike, *, ndim: int) -> Array:
    """Return a read-only float64 copy of ``value``, or say what in it is no finite number."""
    raw = _raw(field, value)
    if raw.ndim != ndim or raw.size == 0:
        raise InputError(f"field '{field}': it has shape {raw.shape}; give {_KINDS[ndim]}, not empty")
    bad = np.argwhere(~(np.abs(raw) <= LARGEST))  # nan fails every comparison
    if len(bad):
        what = f"{raw[tuple(bad[0])]}{_place(bad[0])}"
        raise InputError(f"field '{field}': {what}; give finite numbers, of size {LARGEST:g} at most")
    array = np.array(raw, dtype=np.float64)
    array.setflags(write=False)
    return array


def _place(index: NDArray[np.intp]) -> str:
    return " at " + "".join(f"[{i}]" for i in index) if len(index) else ""


def _agree(field: str, array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape != shape:
        raise InputError(
            f"field '{field}': shape {array.shape} where the other fields have {shape}; make them agree"
        )
    return array


def _distribution(field: str, value: ArrayLike, *, ndim: int) -> Array:
    """Return probabilities that sum to 1 over the last axis; a sum off by up to 1e-6 is divided out."""
    array = _numbers(field, value, ndim=ndim)
    if np.any(array < 0):
        worst = np.argwhere(array < 0)[0]
        raise InputError(
            f"field '{field}': {array[tuple(worst)]:g}{_place(worst)}; a probability is at least 0"
        )
    total = array.sum(-1, keepdims=True)
    off = np.abs(total - 1)
    if np.any(off > 1e-6):
        where = f"row {int(off.argmax())} sums" if ndim > 1 else "it sums"
        raise InputError(
            f"field '{field}': {where} to {total.flat[off.argmax()]:.9g}; make it 1 (within 1e-6)"
        )
    array = np.where(off > 8 * EPS, array / total, array)  # a sum that is 1 to rounding stays as given
    array.setflags(write=False)
    return array


def _positive(field: str, value: float) -> float:
    number = float(_numbers(field, value, ndim=0))
    if number < 1 / LARGEST:
        raise InputError(f"field '{field}': {number:g}; give a number above 0 (at least {1 / LARGEST:g})")
    return number


def _listed(values: Array) -> PerLimit:
    return float(values) if values.ndim == 0 else tuple(values.tolist())


# ---- N problems of one shape ----------------------------------------------------------------------


class _Tables(NamedTuple):
    """N problems of one shape; rewards measured per prompt from the best response, costs from the cheapest."""

    ref: _Policies  # (N, X, Y), probability 0 where impossible
    reward: Array  # (N, X, Y), r - best, at most 0 where possible
    excess: Array  # (N, K, X, Y), c - cheapest, at least 0 where possible
    best: Array  # (N, X)
    cheapest: Array  # (N, K, X)
    weights: Array  # (N, X)
    beta: Array  # (N,)
    limit: Array  # (N, K)
    margin: Array  # (N, K), C - E_x min_y c

    @classmethod
    def of(cls, problems: Sequence[FiniteProblem]) -> _Tables:
        shape = (len(problems), -1, *problems[0].reference.shape)
        reference = np.stack([p.reference for p in problems])
        reward = np.stack([p.reward for p in problems])
        cost = np.stack([p.cost for p in problems]).reshape(shape)
        weights = np.stack([p.prompt_probs for p in problems])
        limit = np.array([p.cost_limit for p in problems], dtype=np.float64).reshape(shape[:2])
        possible = reference > 0
        best = np.where(possible, reward, -np.inf).max(-1)
        cheapest = np.where(possible[:, None], cost, np.inf).min(-1)
        return cls(
            ref=_Policies.of(reference),
            reward=reward - best[..., None],
            excess=cost - cheapest[..., None],
            best=best,
            cheapest=cheapest,
            weights=weights,
            beta=np.array([p.beta for p in problems]),
            limit=limit,
            margin=_margin(limit, cheapest, weights),
        )

    def logits(self) -> Array:
        """Return log ref + (r - best)/beta, the log-weights of lam = 0, shape (N, X, Y)."""
        return self.ref.log_probs + self.reward / self.beta[:, None, None]

    def mean(self, rows: Array) -> Array:
        """Return E_x of one value per prompt, shape (N, X) -> (N,)."""
        average: Array = (self.weights * rows).sum(-1)
        return average


def _margin(limit: Array, cheapest: Array, weights: Array) -> Array:
    """Return E_x[C - min_y c], shape (N, K), in exact arithmetic where the sum cancels."""
    terms = weights[:, None] * (limit[..., None] - cheapest)  # (N, K, X)
    margin: Array = terms.sum(-1)
    for n, k in np.argwhere(np.abs(margin) < 1e-3 * np.abs(terms).sum(-1)):
        pairs = zip(weights[n].tolist(), cheapest[n, k].tolist(), strict=True)
        top = Fraction(limit[n, k].item())
        margin[n, k] = float(sum((Fraction(w) * (top - Fraction(c)) for w, c in pairs), Fraction(0)))
    return margin


class _Policies(NamedTuple):
    """N policies, shape (N, X, Y), with their logarithms, which reach further down than float64 itself."""

    probs: Array
    log_probs: Array

    @classmethod
    def of(cls, probs: Array) -> _Policies:
        with np.errstate(divide="ignore"):
            return cls(probs, np.log(probs))

    @classmethod
    def of_logits(cls, logits: Array) -> tuple[_Policies, Array]:
        """Return the policies exp(logits)/Z and log Z, shape (N, X)."""
        top = logits.max(-1)
        log_probs = logits - top[..., None]
        log_sum = np.log(np.exp(log_probs).sum(-1))
        log_probs -= log_sum[..., None]
        return cls(np.exp(log_probs), log_probs), top + log_sum

    def log_ratio(self, other: _Policies) -> Array:
        """Return log pi - log other where pi > 0, and 0 elsewhere."""
        with np.errstate(invalid="ignore"):
            return np.where(self.probs > 0, self.log_probs - other.log_probs, 0.0)

    def divergence(self, other: _Policies, log_ratio: Array) -> Array:
        """Return KL(pi || other) per prompt, shape (N, X): a sum of p log(p/q) - p + q, all at least 0."""
        terms = self.probs * (log_ratio - 1) + other.probs
        return np.maximum(terms, 0, out=terms).sum(-1)


def _tilt(tables: _Tables, lam: Array) -> tuple[_Policies, Array]:
    """Return pi_lam and its centred log Z_lam, shape (N, X), for lam of shape (N, K)."""
    theta = (lam / tables.beta[:, None])[..., None, None]
    return _Policies.of_logits(tables.logits() - (theta * tables.excess).sum(1))


def _dual(tables: _Tables, lam: Array, log_z: Array) -> Array:
    """Return D(lam) = lam B + E_x max_y r + beta E_x log Z, shape (N,), from the centred log Z."""
    dual: Array = (lam * tables.margin).sum(-1) + tables.mean(tables.best + tables.beta[:, None] * log_z)
    return dual


class _Measure(NamedTuple):
    """Expectations of N policies: `Evaluation` in arrays, and the slack C - E[c], shape (N, K)."""

    reward: Array
    cost: Array
    kl: Array
    objective: Array
    slack: Array


def _measure(tables: _Tables, policies: _Policies) -> _Measure:
    reward = tables.mean(tables.best + (policies.probs * tables.reward).sum(-1))
    excess = (policies.probs[:, None] * tables.excess).sum(-1)  # (N, K, X)
    slack = tables.margin - (tables.weights[:, None] * excess).sum(-1)
    cost = (tables.weights[:, None] * (tables.cheapest + excess)).sum(-1)
    # The slack is finer than the rounded cost and knows better on which side of the limit the policy lies.
    cost = np.where(slack >= 0, np.minimum(cost, tables.limit), np.maximum(cost, tables.limit))
    kl = tables.mean(policies.divergence(tables.ref, policies.log_ratio(tables.ref)))
    return _Measure(reward, cost, kl, reward - tables.beta * kl, slack)


class _Bound(NamedTuple):
    """D(lam), the two terms of D(lam) - J(pi), and the stationarity residual, each of shape (N,)."""

    dual: Array
    kl_term: Array
    slack_term: Array
    stationarity: Array


def _bound(tables: _Tables, policies: _Policies, lam: Array, slack: Array) -> _Bound:
    tilted, log_z = _tilt(tables, lam)
    ratio = policies.log_ratio(tilted)
    kl_term = tables.beta * tables.mean(policies.divergence(tilted, ratio))
    with np.errstate(invalid="ignore"):  # an infinite ratio has no mean
        ratio -= (policies.probs * ratio).sum(-1, keepdims=True)
        stationarity = tables.beta * np.sqrt(tables.mean((policies.probs * ratio**2).sum(-1)))
    return _Bound(_dual(tables, lam, log_z), kl_term, (lam * slack).sum(-1), stationarity)


class _Answer(NamedTuple):
    """Where the optima of N problems lie."""

    face: _Tables  # the problems; at the edge, with every response but the cheapest made impossible
    feasible: Truth  # (N,)
    edge: Truth  # (N,)
    binding: Truth  # (N, K)
    lam: Array  # (N, K), 0 where there is none
    policies: _Policies  # meaningless where infeasible
    prices: Array  # (N, K), at least 0: E_pi[prices @ (c - C)] > 0 for every policy, where infeasible
    passes: Array  # (N,)


def _answers(tables: _Tables) -> _Answer:
    return _one_limit(tables) if tables.limit.shape[1] == 1 else _several_limits(tables)


def _solutions(problems: Sequence[FiniteProblem], tables: _Tables, answer: _Answer) -> list[Solution]:
    """Return the answers as `Solution`s, one per problem."""
    own = _measure(tables, answer.policies)
    bound = _bound(answer.face, answer.policies, answer.lam, own.slack)
    answer.policies.probs.setflags(write=False)
    listed = _tuples if problems[0].cost.ndim == 3 else _firsts
    violation, terms = np.maximum(-own.slack.min(-1), 0).tolist(), bound.slack_term.tolist()
    residuals = zip(violation, bound.stationarity.tolist(), np.abs(bound.slack_term).tolist(), strict=True)
    of_a_policy: dict[str, Sequence[Any]] = {
        "lam": [
            None if edge else lam for lam, edge in zip(listed(answer.lam), answer.edge.tolist(), strict=True)
        ],
        "probs": list(answer.policies.probs),
        "reward": own.reward.tolist(),
        "cost": listed(own.cost),
        "kl": own.kl.tolist(),
        "objective": own.objective.tolist(),
        "dual_bound": bound.dual.tolist(),
        "gap": (bound.kl_term + bound.slack_term).tolist(),
        "gap_kl_term": bound.kl_term.tolist(),
        "gap_slack_term": terms,
        "violation": violation,
        "complementary_slackness": terms,
        "kkt": [Residuals(primal, 0.0, slope, product) for primal, slope, product in residuals],
    }
    feasible = answer.feasible.tolist()
    if not all(feasible):
        of_a_policy = {
            k: [v if ok else None for v, ok in zip(c, feasible, strict=True)] for k, c in of_a_policy.items()
        }
    columns = of_a_policy | {
        "status": [
            _STATUS[ok][binds] for ok, binds in zip(feasible, answer.binding.any(1).tolist(), strict=True)
        ],
        "min_cost": listed((tables.weights[:, None] * tables.cheapest).sum(-1)),
        "active": [tuple(k for k, binds in enumerate(row) if binds) for row in answer.binding.tolist()],
        "worst_prompts": [
            () if ok else _worst_prompts(problems[n], n, answer) for n, ok in enumerate(feasible)
        ],
        "iterations": answer.passes.astype(int).tolist(),
    }
    return [Solution(*row) for row in zip(*(columns[field.name] for field in fields(Solution)), strict=True)]


_STATUS = (("infeasible", "infeasible"), ("slack", "optimal"))  # by feasible, binding


def _tuples(rows: Array) -> list[Any]:
    return [tuple(row) for row in rows.tolist()]


def _firsts(rows: Array) -> list[Any]:
    firsts: list[Any] = rows[:, 0].tolist()
    return firsts


def _worst_prompts(problem: FiniteProblem, n: int, answer: _Answer) -> tuple[int, ...]:
    tables = answer.face
    over = tables.excess[n] + (tables.cheapest[n] - tables.limit[n][:, None])[..., None]  # c - C: (K, X, Y)
    priced = np.where(problem.reference > 0, np.tensordot(answer.prices[n], over, 1), np.inf).min(-1)  # (X,)
    worst = np.argsort(-priced, kind="stable")
    return tuple(worst[(priced[worst] > 0) & (problem.prompt_probs[worst] > 0)].tolist())


# ---- one limit: a bracketed Newton iteration on N duals at once -----------------------------------


class _Seen(NamedTuple):
    """One pass over N problems at theta = lam/beta, each of shape (N,)."""

    theta: Array
    value: Array  # D/beta, up to a constant
    slope: Array  # B - spent
    spent: Array  # E_theta[excess]
    variance: Array  # E_x Var_theta(excess | x)


class _Line(NamedTuple):
    """The duals of N problems along theta: weights exp(logits - theta excess), at most 1 at theta >= 0."""

    logits: Array  # (N, X, Y)
    excess: Array  # (N, X, Y)
    floor: Array  # (N, X), the logit of the cheapest response before any centring: log Z is never below
    weights: Array  # (N, X)
    margin: Array  # (N,), above 0
    span: Array  # (N,), the largest excess: no exponent moves faster with theta

    def take(self, keep: Truth) -> _Line:
        return self if keep.all() else _Line(*(field[keep] for field in self))

    def at(self, theta: Array) -> _Seen:
        """Return D, its slope and its curvature from one pass over the tables."""
        weight = self.logits - theta[:, None, None] * self.excess
        top = np.zeros(())
        if self.floor.min() < -600:  # only then can a sum of exponentials leave the range of float64
            top = weight.max(-1)
            weight -= top[..., None]
        np.maximum(weight, -700, out=weight)  # exp is several times slower where it underflows
        np.exp(weight, out=weight)
        ones = np.ones(weight.shape[-1])
        total = weight @ ones  # (N, X)
        weight *= self.excess
        mean, square = weight @ ones / total, np.vecdot(weight, self.excess) / total
        spent, variance = np.vecdot(self.weights, mean), np.vecdot(self.weights, square - mean**2)
        value = theta * self.margin + np.vecdot(self.weights, top + np.log(total))
        return _Seen(theta, value, self.margin - spent, spent, variance)

    def centred(self, theta: Array) -> _Line:
        """Return the same duals with ``theta`` as their new zero and 1 as the largest weight there."""
        logits = self.logits - theta[:, None, None] * self.excess
        return self._replace(logits=logits - logits.max(-1, keepdims=True))


class _Search(NamedTuple):
    """Where the search for the N roots of the slope stands."""

    theta: Array  # (N,)
    step: Array  # (N,), the Newton step that leads on from there, inf where it was refused
    low: Array  # (3, N): theta, value and slope at the infeasible end of the bracket
    high: Array  # (3, N): the same at its feasible end
    passes: Array  # (N,)

    def take(self, keep: Truth) -> _Search:
        return _Search(*(field[..., keep] for field in self))


Rule = Callable[[_Line, _Search, Array], Truth]


def _one_limit(tables: _Tables) -> _Answer:
    """Return the optima of N problems with one limit each."""
    excess, margin, logits = tables.excess[:, 0], tables.margin[:, 0], tables.logits()
    floor = np.where(excess == 0, logits, -np.inf).max(-1)
    line = _Line(logits, excess, floor, tables.weights, margin, excess.max((1, 2)))
    seen = line.at(np.zeros_like(margin))
    scale = np.abs(tables.limit[:, 0]) + tables.mean(np.abs(tables.cheapest[:, 0]))
    slack = seen.slope >= -4 * EPS * (scale + seen.spent)
    edge = ~slack & (np.abs(margin) <= 4 * EPS * scale)
    inside = ~slack & ~edge & (margin > 0)
    face = tables
    if edge.any():
        off_face = edge[:, None, None] & (excess > 0)
        face = tables._replace(ref=_Policies.of(np.where(off_face, 0.0, tables.ref.probs)))
        logits = face.logits()
    theta, passes = np.zeros_like(margin), np.ones_like(margin)
    if inside.any():
        found = _meet(line.take(inside), _Seen(*(field[inside] for field in seen)))
        theta[inside], logits[inside], passes[inside] = found
    return _Answer(
        face=face,
        feasible=slack | edge | inside,
        edge=edge,
        binding=(inside | edge)[:, None],
        lam=(tables.beta * theta)[:, None],
        policies=_Policies.of_logits(logits)[0],
        prices=np.ones_like(tables.limit),
        passes=passes,
    )


def _meet(line: _Line, seen: _Seen) -> tuple[Array, Array, Array]:
    """Return the least theta that meets the limit, its policy's logits, and the passes it took.

    Two searches: one for the neighbourhood of theta, and one for the small step from there, in tables centred
    at that neighbourhood, so that the step is as finely resolved as a float64 near 0 is. The second bracket is
    a little wider than the first, whose ends are known up to rounding only.
    """
    coarse = _descend(line, np.stack(seen[:3]), _far_end(line, seen), seen, _is_near)
    near, theta = line.centred(coarse.theta), coarse.theta
    unknown = np.full_like(theta, np.nan)  # values of D do not survive the centring, nor are they needed
    low = np.stack([np.maximum(coarse.low[0] - theta - 1 / line.span, -theta), unknown, unknown])
    high = np.stack([coarse.high[0] - theta + 1 / line.span, unknown, unknown])
    fine = _descend(near, low, high, near.at(coarse.step), _is_met)
    logits = near.logits - fine.theta[:, None, None] * line.excess
    return theta + fine.theta, logits, coarse.passes + fine.passes


def _far_end(line: _Line, seen: _Seen) -> Array:
    """Return a theta that surely meets the limit, with a line below D that D has at infinity, shape (3, N).

    D >= theta B + A with A the mean log-weight of the cheapest responses, and at the root D is at most D(0), so
    the root is at most (D(0) - A)/B: Lemma 2 of arXiv 2404.11049, its Slater point the cheapest policy. The
    other terms cover the rounding of that difference.
    """
    least = (line.weights * line.floor).sum(-1)
    doubt = 16 * EPS * (1 + np.abs(seen.value) + np.abs(least))
    theta = (seen.value - least + doubt) / line.margin + 1 / line.span
    return np.stack([theta, theta * line.margin + least, line.margin])


def _is_near(line: _Line, search: _Search, slope: Array) -> Truth:
    """Tell where the Newton step to go moves no exponent by more than 0.3."""
    return np.abs(search.step) * line.span <= 0.3


def _is_met(line: _Line, search: _Search, slope: Array) -> Truth:
    """Tell where the limit is met with at most 16 units in the last place of B to spare."""
    return (slope >= 0) & (slope <= 16 * EPS * line.margin)


def _descend(line: _Line, low: Array, high: Array, seen: _Seen, settled: Rule) -> _Search:
    """Narrow N brackets until ``settled``, or down to float resolution, which ends at the feasible end."""
    now = _Search(seen.theta, np.zeros_like(seen.theta), low, high, np.zeros_like(seen.theta))
    final = _Search(*(np.array(field) for field in now))
    index, reach = np.arange(len(seen.theta)), np.tile(high[0] - low[0], (2, 1))
    for count in range(1, PASSES + 1):
        now, onward = _advance(line, now, seen, reach[0], count)
        met = settled(line, now, seen.slope)
        width, end = now.high[0] - now.low[0], now.high[0]
        over = met | (width * line.span <= EPS / 8) | (width <= EPS * np.abs(end)) | (count == PASSES)
        gone = over & ~met
        now = now._replace(theta=np.where(gone, end, now.theta), step=np.where(gone, 0.0, now.step))
        for whole, part in zip(final, now.take(over), strict=True):
            whole[..., index[over]] = part
        if over.all():
            break
        reach = np.stack([reach[1], np.abs(onward - now.theta)])[:, ~over]
        index, line, now, onward = index[~over], line.take(~over), now.take(~over), onward[~over]
        seen = line.at(onward)
    return final


def _advance(line: _Line, now: _Search, seen: _Seen, reach: Array, count: int) -> tuple[_Search, Array]:
    """Return the search with its bracket tightened by what was seen, and the theta to look at next.

    That is Newton's on log E[excess] (a straight line once one response per prompt is left to be driven out)
    if it stays in the bracket and moves at most half as far as the step before the last; else the crossing of
    the tangents of D at both ends (D is nearly piecewise linear where beta is small); else, and every third
    time, the middle of the bracket.
    """
    point, met = np.stack(seen[:3]), seen.slope >= 0
    low, high = np.where(met, now.low, point), np.where(met, point, now.high)
    with np.errstate(all="ignore"):  # where nothing is spent or varies, the step is refused below
        step = seen.spent / seen.variance * np.log(seen.spent / (line.margin * (1 - 8 * EPS)))
        crossing = (low[1] - high[1] - low[2] * low[0] + high[2] * high[0]) / (high[2] - low[2])
        newton = seen.theta + step
        trusted = (newton >= low[0]) & (newton <= high[0]) & (np.abs(step) <= reach / 2)
    inside = (crossing > low[0]) & (crossing < high[0]) & (count % 3 > 0)
    guarded = np.where(inside, crossing, (low[0] + high[0]) / 2)
    search = _Search(seen.theta, np.where(trusted, step, np.inf), low, high, np.full_like(step, count))
    return search, np.where(trusted, newton, guarded)


# ---- several limits: Newton on lam >= 0 -----------------------------------------------------------


class _Bowl(NamedTuple):
    """The dual of one problem with K limits: weights exp(logits - theta @ excess)."""

    logits: Array  # (X, Y)
    excess: Array  # (K, X, Y)
    weights: Array  # (X,)
    margin: Array  # (K,)

    def at(self, theta: Array) -> tuple[float, Array, Array]:
        """Return D, its gradient (K,) and its Hessian (K, K) at ``theta``."""
        policy, log_z = _Policies.of_logits(self.logits - np.tensordot(theta, self.excess, 1))
        spent, hessian = _covariance(policy.probs, self.excess, self.weights)
        return float(theta @ self.margin + self.weights @ log_z), self.margin - spent, hessian

    def centred(self, theta: Array) -> _Bowl:
        """Return the same dual with ``theta`` as its new zero."""
        logits = self.logits - np.tensordot(theta, self.excess, 1)
        return self._replace(logits=logits - logits.max(-1, keepdims=True))


def _covariance(probs: Array, excess: Array, weights: Array) -> tuple[Array, Array]:
    """Return E[excess], shape (K,), and E_x Cov(excess | x), shape (K, K), of one policy."""
    mean = (probs * excess).sum(-1)  # (K, X)
    centred = excess - mean[..., None]
    return mean @ weights, np.einsum("xy,kxy,lxy->kl", weights[:, None] * probs, centred, centred)


def _several_limits(tables: _Tables) -> _Answer:
    """Return the optimum of one problem with K limits, each cost counted in its own largest spread."""
    span = tables.excess[0].max((1, 2))
    span = np.where(span > 0, span, 1.0)
    logits, weights = tables.logits()[0], tables.weights[0]
    bowl = _Bowl(logits, tables.excess[0] / span[:, None, None], weights, tables.margin[0] / span)
    scale = (np.abs(tables.limit[0]) + np.abs(tables.cheapest[0]) @ weights) / span
    theta, prices, passes, shortfall = np.zeros_like(span), np.ones_like(span), 1, 0.0
    slope = bowl.at(theta)[1]
    if np.any(slope < -4 * EPS * (scale + bowl.margin - slope)):
        prices, shortfall = _least_violation(bowl)
        if shortfall <= TOUCH:
            theta, logits, passes = _meet_all(bowl, tables.ref.log_probs[0])
    return _Answer(
        face=tables,
        feasible=np.array([shortfall <= TOUCH]),
        edge=np.array([False]),
        binding=(theta > 0)[None],
        lam=tables.beta[:, None] * theta / span,
        policies=_Policies.of_logits(logits[None])[0],
        prices=(prices / span)[None],
        passes=np.array([float(passes)]),
    )


def _least_violation(bowl: _Bowl) -> tuple[Array, float]:
    """Return prices (K,) that sum to 1 and the t they prove: every policy exceeds some limit by at least t.

    They are the multipliers of the linear program  min t  s.t.  E[excess_k] <= B_k + t; and for any prices,
    E_x min_y prices @ excess - prices @ B bounds t from below.
    """
    possible = np.isfinite(bowl.logits)
    prompt = np.nonzero(possible)[0]  # (S,), the prompt of each possible cell
    spent = (bowl.weights[:, None] * bowl.excess)[:, possible]  # (K, S)
    one_each = (np.ones(len(prompt)), (prompt, np.arange(len(prompt))))
    program = linprog(
        np.append(np.zeros(len(prompt)), 1.0),
        A_ub=np.hstack([spent, -np.ones((len(spent), 1))]),
        b_ub=bowl.margin,
        A_eq=coo_array(one_each, shape=(len(possible), len(prompt) + 1)),
        b_eq=np.ones(len(possible)),
        bounds=[(0, None)] * len(prompt) + [(None, None)],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    prices: Array = np.maximum(-program.ineqlin.marginals, 0)
    prices = prices / prices.sum()
    cheapest = np.where(possible, np.tensordot(prices, bowl.excess, 1), np.inf).min(-1)
    return prices, float(bowl.weights @ cheapest - prices @ bowl.margin)


def _meet_all(bowl: _Bowl, log_ref: Array) -> tuple[Array, Array, int]:
    """Return the theta that minimises D over theta >= 0, its policy's logits, and the passes it took.

    The path runs in factors of 4 from a temperature at which rewards are at most 1 apart, where D is smooth,
    down to 1; then, as with one limit, to the small step from there, in centred tables.
    """
    with np.errstate(invalid="ignore"):
        reward = np.where(np.isfinite(log_ref), bowl.logits - log_ref, 0.0)
    zero, passes = np.zeros_like(bowl.margin), 1
    theta, heat = zero, max(1.0, -float(reward.min()))
    while heat > 1:
        warm = _Bowl(log_ref + reward / heat, bowl.excess / heat, bowl.weights, bowl.margin / heat)
        theta, count = _newton(warm, theta, lower=zero, tolerance=1e-3)
        heat, passes = max(1.0, heat / 4), passes + count
    theta, count = _newton(bowl, theta, lower=zero, tolerance=1e-6)
    near = bowl.centred(theta)
    step, again = _newton(near, zero, lower=-theta, tolerance=1e-12)
    return theta + step, near.centred(step).logits, passes + count + again


def _newton(bowl: _Bowl, theta: Array, *, lower: Array, tolerance: float) -> tuple[Array, int]:
    """Return the minimiser of D over theta >= lower, with ``tolerance`` of B to spare, and the passes.

    Each step minimises D's quadratic model over theta >= lower, a non-negative least-squares problem of size
    K, and is halved until D falls by Armijo's rule.
    """
    allowed = tolerance * np.maximum(np.abs(bowl.margin), 1e-3)
    passes = 0
    while passes < PASSES:
        value, slope, hessian = bowl.at(theta)
        passes += 1
        if np.all(np.where(theta > lower, np.abs(slope), -slope) <= allowed):
            break
        ridge = 1e-13 * np.trace(hessian) + 1e-9 * np.abs(slope).max()
        root = np.linalg.cholesky(hessian + ridge * np.eye(len(theta)))
        model = root.T @ (theta - lower) - solve_triangular(root, slope, lower=True)
        step = nnls(root.T, model)[0] + lower - theta
        size, fall = 1.0, 1e-4 * float(slope @ step)
        noise = 16 * EPS * (1 + abs(value) + abs(float(theta @ bowl.margin)))
        while size > EPS and bowl.at(theta + size * step)[0] > value + size * fall + noise:
            size, passes = size / 2, passes + 1
        theta = np.maximum(theta + size * step, lower)
    return theta, passes
