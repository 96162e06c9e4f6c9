"""The oracle against hand arithmetic, brute force, second solvers and a 50-digit solver of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from cdpo_edu.exact import FiniteProblem, Solution, frontier, solve_many
from cdpo_edu.exact.results import EPS
from cdpo_edu.types import InputError

LOG3 = math.log(3)


def coin(limit: float = 0.25, beta: float = 1.0) -> FiniteProblem:
    """One prompt, two responses at even odds: the helpful one (r = 1) is the harmful one (c = 1)."""
    return FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=beta, cost_limit=limit)


def drawn(
    seed: int, *, prompts: int = 3, responses: int = 5, beta: float = 0.5, tightness: float = 0.5
) -> FiniteProblem:
    """A random problem; ``tightness`` puts C between the least cost (0) and the cost at lam = 0 (1)."""
    rng = np.random.default_rng(seed)
    tables = rng.dirichlet(np.ones(responses), prompts), *rng.normal(size=(2, prompts, responses))
    loose = FiniteProblem(*tables, beta=beta, cost_limit=9.0, prompt_probs=rng.dirichlet(np.ones(prompts)))
    free = loose.solve()
    return loose.with_limit(free.min_cost + tightness * (free.cost - free.min_cost))


def random_policies(problem: FiniteProblem, count: int, seed: int = 0) -> np.ndarray:
    """Policies of all kinds, from nearly uniform to nearly deterministic, where the reference allows them."""
    rng = np.random.default_rng(seed)
    prompts, responses = problem.reference.shape
    heat = 10.0 ** rng.uniform(-2, 1, count)
    probs = np.stack([rng.dirichlet(np.full(responses, h), prompts) for h in heat]) + 1e-9
    probs = probs * (problem.reference > 0)
    return probs / probs.sum(-1, keepdims=True)


# ---- hand arithmetic ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.25, 0.05, 0.5, 0.7])
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_the_coin_by_hand(limit: float, beta: float) -> None:
    """At lam = 0 the helpful response has odds e^(1/beta), at least e, above 0.7/0.3: every limit binds.

    Then p = C, and the log-odds (1 - lam)/beta = log(C/(1-C)) give lam. KL to (1/2, 1/2) is log 2 - H(C).
    """
    best = coin(limit, beta).solve()
    entropy = -limit * math.log(limit) - (1 - limit) * math.log(1 - limit)
    assert best.status == "optimal" and best.active == (0,)
    assert best.probs == pytest.approx(np.array([[limit, 1 - limit]]), abs=1e-14)
    assert best.lam == pytest.approx(1 - beta * math.log(limit / (1 - limit)), rel=1e-14)
    assert best.reward == pytest.approx(limit, abs=1e-14)
    assert best.cost == pytest.approx(limit, abs=1e-14) and best.cost <= limit
    assert best.kl == pytest.approx(math.log(2) - entropy, abs=1e-14)
    assert best.objective == pytest.approx(limit - beta * (math.log(2) - entropy), abs=1e-14)
    assert best.min_cost == 0.0


def test_the_coin_with_room_to_spare() -> None:
    """At lam = 0, p = e/(e + 1) = 0.731, below the limit 0.75: slack, D(0) = log((e + 1)/2) is attained."""
    best = coin(0.75).solve()
    assert (best.status, best.lam, best.active) == ("slack", 0.0, ())
    assert best.probs[0, 0] == pytest.approx(math.e / (math.e + 1), rel=1e-15)
    assert best.objective == pytest.approx(math.log((math.e + 1) / 2), rel=1e-15)
    assert best.gap == pytest.approx(0, abs=1e-15) and best.complementary_slackness == 0.0


def test_two_prompts_share_one_limit() -> None:
    """Same lam for both prompts: odds (1, 3) at lam = log 3 and (1, 9) where the cost counts double.

    Weights 1/4 and 3/4: E[c] = 1/4 * 1/4 + 3/4 * 2/10 = 0.2125, with r = 0 and beta = 1.
    """
    problem = FiniteProblem(
        [[0.5, 0.5]] * 2, [[0, 0]] * 2, [[1, 0], [2, 0]], beta=1, cost_limit=0.2125, prompt_probs=[0.25, 0.75]
    )
    best = problem.solve()
    assert best.lam == pytest.approx(LOG3, rel=1e-13)
    assert best.probs == pytest.approx(np.array([[0.25, 0.75], [0.1, 0.9]]), abs=1e-13)


def test_the_prompt_average_is_taken_outside_the_logarithm() -> None:
    """Z = 2 for one prompt and 1/2 for the other: E log Z = 0, while log E Z = log 1.25."""
    problem = FiniteProblem([[1.0]] * 2, [[math.log(2)], [-math.log(2)]], [[0], [0]], beta=1, cost_limit=0)
    assert problem.dual(0.0) == pytest.approx(0.0, abs=1e-16)


def test_lam_is_in_units_of_reward_per_cost() -> None:
    """Doubling r and beta doubles lam; doubling c and C halves it; the policy stays."""
    base, reward, cost = [[0.2, 0.3, 0.5]], np.array([[1.0, 0.3, -0.4]]), np.array([[0.9, 0.5, -0.2]])
    first = FiniteProblem(base, reward, cost, beta=0.5, cost_limit=0.1).solve()
    louder = FiniteProblem(base, 2 * reward, cost, beta=1.0, cost_limit=0.1).solve()
    dearer = FiniteProblem(base, reward, 2 * cost, beta=0.5, cost_limit=0.2).solve()
    assert first.status == "optimal" and first.lam > 0.1
    assert (louder.lam, dearer.lam) == (pytest.approx(2 * first.lam), pytest.approx(first.lam / 2))
    assert louder.probs == pytest.approx(first.probs) and dearer.probs == pytest.approx(first.probs)


def test_what_is_common_to_a_prompt_cancels() -> None:
    """A constant on one prompt's rewards moves no policy; one on all costs and on C moves nothing."""
    problem = drawn(5)
    shift = np.array([[100.0], [-7.0], [0.0]])
    best = problem.solve()
    moved = FiniteProblem(
        problem.reference,
        problem.reward + shift,
        problem.cost + 64.0,
        beta=problem.beta,
        cost_limit=problem.cost_limit + 64.0,
        prompt_probs=problem.prompt_probs,
    ).solve()
    assert moved.lam == pytest.approx(best.lam, rel=1e-12)
    assert moved.probs == pytest.approx(best.probs, abs=1e-12)
    assert moved.reward - best.reward == pytest.approx(float(problem.prompt_probs @ shift[:, 0]), abs=1e-12)


# ---- statuses -------------------------------------------------------------------------------------


def test_a_cost_that_equals_the_limit_everywhere_is_slack() -> None:
    """0.1 + 0.2 is not 0.3 in float64, so the constants are such that sums round."""
    cost = np.full((3, 4), 0.1 + 0.2)
    problem = FiniteProblem(
        np.full((3, 4), 0.25), np.arange(12).reshape(3, 4), cost, beta=0.1, cost_limit=0.1 + 0.2
    )
    best = problem.solve()
    assert (best.status, best.lam, best.violation) == ("slack", 0.0, 0.0)


def test_a_constant_cost_above_the_limit_is_infeasible() -> None:
    best = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[2, 2]], beta=1, cost_limit=1.5).solve()
    assert (best.status, best.min_cost, best.worst_prompts) == ("infeasible", 2.0, (0,))


def test_infeasible_is_a_result_with_the_least_cost_and_the_worst_prompts() -> None:
    """Least costs 1, 3, 0, 2 at weights 0.1, 0.2, 0.3, 0.4: 1.5 in all. Above 1.4 are prompts 1, then 3."""
    cost = [[1, 5], [4, 3], [0, 9], [2, 2]]
    problem = FiniteProblem(
        [[0.5, 0.5]] * 4, [[0, 1]] * 4, cost, beta=1, cost_limit=1.4, prompt_probs=[0.1, 0.2, 0.3, 0.4]
    )
    best = problem.solve()
    assert best.status == "infeasible"
    assert best.min_cost == pytest.approx(1.5, abs=1e-15)
    assert best.worst_prompts == (1, 3)
    assert best.active == ()
    nothing = ("lam", "probs", "reward", "cost", "kl", "objective", "dual_bound", "gap", "gap_kl_term")
    nothing += ("gap_slack_term", "violation", "complementary_slackness", "kkt")
    assert [getattr(best, name) for name in nothing] == [None] * len(nothing)


def test_an_infeasible_dual_falls_without_bound() -> None:
    """E c >= 1/2 against a limit of 1/4: D falls by 1/4 at least per unit of lam, to -250 at lam = 1000."""
    problem = FiniteProblem([[0.5, 0.5]] * 2, [[0, 0]] * 2, [[1, 2], [0, 1]], beta=1, cost_limit=0.25)
    assert problem.solve().status == "infeasible"
    assert problem.dual(1000.0) < -200 and problem.dual_slope(1000.0) <= -0.25


def test_at_the_edge_the_optimum_is_the_tilted_reference_on_the_cheapest_responses() -> None:
    """Cheapest: responses 1 and 2 of prompt 0 (odds 1 to 3 times e^(1-0)), response 0 of prompt 1.

    E min c = (0.25 + 0.75)/2 = 0.5 exactly. J = E log Z over those: Z = e/8 + 3/8 and e^2/2.
    """
    reference = [[0.5, 0.125, 0.375], [0.5, 0.25, 0.25]]
    reward, cost = [[9, 1, 0], [2, 7, 0]], [[1, 0.25, 0.25], [0.75, 2, 3]]
    problem = FiniteProblem(reference, reward, cost, beta=1, cost_limit=0.5)
    best = problem.solve()
    assert (best.status, best.lam, best.active) == ("optimal", None, (0,))
    share = math.e / (math.e + 3)
    assert best.probs == pytest.approx(np.array([[0, share, 1 - share], [1, 0, 0]]), abs=1e-15)
    assert (best.cost, best.violation, best.min_cost) == (0.5, 0.0, 0.5)
    value = 0.5 * math.log(0.125 * math.e + 0.375) + 0.5 * math.log(0.5 * math.e**2)
    assert best.objective == pytest.approx(value, abs=1e-15)
    assert best.dual_bound == pytest.approx(value, abs=1e-15)
    assert best.gap == pytest.approx(0.0, abs=1e-15)
    assert max(best.kkt) < 1e-15
    # The dual approaches its infimum from above without reaching it.
    assert problem.dual(10.0) > problem.dual(20.0) > best.dual_bound


@pytest.mark.parametrize("ulps", [-1, 1])
def test_a_limit_that_misses_the_edge_by_rounding_is_at_the_edge(ulps: int) -> None:
    limit = float(np.nextafter(0.3, ulps * np.inf))
    problem = FiniteProblem([[0.5, 0.5]] * 3, [[1, 0]] * 3, [[1, 0.3]] * 3, beta=1, cost_limit=limit)
    assert (problem.solve().status, problem.solve().lam) == ("optimal", None)


def test_the_statuses_change_where_they_should() -> None:
    """Sweeping C over a problem with E min c = -1 and E_0 c = 0: infeasible, edge, binding, slack."""
    problem = FiniteProblem([[0.5, 0.5]], [[0, 0]], [[1, -1]], beta=1, cost_limit=0)
    limits = [-1.5, -1 - 1e-12, -1.0, -1 + 1e-12, -0.5, -1e-12, 0.0, 1e-12, 2.0]
    found = [problem.with_limit(limit).solve() for limit in limits]
    assert [s.status for s in found] == ["infeasible"] * 2 + ["optimal"] * 4 + ["slack"] * 3
    assert [s.lam is None for s in found] == [True] * 3 + [False] * 6
    # log-odds -2 lam = log((1 + C)/(1 - C)); at C = -1e-12 that is lam = 1e-12.
    assert found[5].lam == pytest.approx(1e-12, rel=1e-3)
    assert found[3].lam == pytest.approx(0.5 * math.log(2e12), rel=1e-4)


def test_a_response_the_reference_excludes_stays_excluded() -> None:
    """The cheap response has reference 0: with it E min c would be 0; without it 1, above the limit 0.5."""
    reference, cost = [[0.0, 0.5, 0.5]], [[0, 1, 2]]
    assert FiniteProblem(reference, [[0, 0, 0]], cost, beta=1, cost_limit=0.5).solve().status == "infeasible"
    best = FiniteProblem(reference, [[99, 0, 0]], cost, beta=1, cost_limit=1.25).solve()
    assert best.probs == pytest.approx(np.array([[0, 0.75, 0.25]]), abs=1e-14) and best.probs[0, 0] == 0.0
    assert best.lam == pytest.approx(LOG3, rel=1e-13)


def test_the_cost_of_an_excluded_response_is_of_no_account() -> None:
    """Neither the search nor its accuracy may depend on costs that no policy can incur."""
    tables = [[0.25, 0.25, 0.5, 0.0]], [[1, 0, 0.5, 0]]
    plain = FiniteProblem(*tables, [[1, 0, 0.25, 0]], beta=0.1, cost_limit=0.125).solve()
    for odd in (-1e40, -3.0, 1e40):
        best = FiniteProblem(*tables, [[1, 0, 0.25, odd]], beta=0.1, cost_limit=0.125).solve()
        assert (best.lam, best.iterations) == (plain.lam, plain.iterations)
        assert np.array_equal(best.probs, plain.probs)
    stacked = FiniteProblem(
        *tables, [[[1, 0, 0.25, 1e40]], [[0, 0, 0, -1e40]]], beta=0.1, cost_limit=[0.125, 1]
    ).solve()
    assert stacked.probs == pytest.approx(plain.probs, abs=1e-11)


def test_a_prompt_that_never_comes_counts_for_nothing() -> None:
    """Prompt 1 has weight 0: neither its costs nor its rewards matter, and it is no worst prompt."""
    tables = {
        "reference": [[0.5, 0.5]] * 2,
        "reward": [[0, 0], [99, 0]],
        "cost": [[1, 0], [50, 60]],
        "beta": 1.0,
    }
    best = FiniteProblem(**tables, cost_limit=0.25, prompt_probs=[1, 0]).solve()
    assert best.status == "optimal" and best.lam == pytest.approx(LOG3, rel=1e-13)
    assert FiniteProblem(**tables, cost_limit=-1, prompt_probs=[1, 0]).solve().worst_prompts == (0,)


def test_one_response_leaves_no_choice() -> None:
    single = {"reference": [[1.0]], "reward": [[3.0]], "cost": [[1.0]], "beta": 0.1}
    assert FiniteProblem(**single, cost_limit=1.0).solve().status == "slack"
    assert FiniteProblem(**single, cost_limit=0.9).solve().status == "infeasible"


# ---- brute force and second solvers ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_no_policy_on_a_grid_is_feasible_and_better(seed: int) -> None:
    """All policies over 3 responses in steps of 1/200: the best feasible one falls a little short."""
    problem = drawn(seed, prompts=1, responses=3)
    best = problem.solve()
    i, j = np.mgrid[0:201, 0:201]
    probs = np.stack([i, j, 200 - i - j], -1)[i + j <= 200] / 200  # (G, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(probs > 0, probs * np.log(probs / problem.reference), 0).sum(-1)
    value = probs @ problem.reward[0] - problem.beta * kl
    feasible = probs @ problem.cost[0] <= problem.cost_limit
    shortfall = best.objective - value[feasible].max()
    assert 0 <= shortfall < 0.02
    assert value.max() > best.objective  # the limit costs something, or the comparison would be empty


def primal_optimum(problem: FiniteProblem) -> tuple[float, np.ndarray]:
    """The best feasible policy found by SLSQP on the probabilities themselves: no dual, no exponentials."""
    shape, weights = problem.reference.shape, problem.prompt_probs[:, None]
    costs = np.atleast_3d(problem.cost.T).T  # (K, X, Y)
    limits = np.atleast_1d(problem.cost_limit)

    def loss(flat: np.ndarray) -> float:
        probs = np.maximum(flat.reshape(shape), 1e-300)
        score = problem.reward - problem.beta * np.log(probs / problem.reference)
        return -float((weights * probs * score).sum())

    constraints = [
        {"type": "eq", "fun": lambda flat: flat.reshape(shape).sum(1) - 1},
        {"type": "ineq", "fun": lambda flat: limits - (costs * weights * flat.reshape(shape)).sum((1, 2))},
    ]
    found = minimize(
        loss,
        problem.reference.ravel(),
        bounds=[(0, 1)] * problem.reference.size,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return -float(found.fun), found.x.reshape(shape)


@pytest.mark.parametrize("seed", range(3))
def test_one_limit_against_a_primal_solver(seed: int) -> None:
    problem = drawn(seed, prompts=2, responses=4)
    value, probs = primal_optimum(problem)
    best = problem.solve()
    assert best.objective == pytest.approx(value, abs=1e-7)
    assert best.probs == pytest.approx(probs, abs=1e-3)


def several(seed: int, *, limits: int = 2, beta: float = 0.5, room: float = 0.05) -> FiniteProblem:
    """Random tables with ``limits`` costs, which a drawn policy meets with ``room`` to spare."""
    rng = np.random.default_rng(seed)
    reference, probs = rng.dirichlet(np.ones(4), 2), rng.dirichlet(np.ones(4), 2)
    reward, costs = rng.normal(size=(2, 4)), rng.normal(size=(limits, 2, 4))
    reach = (costs * probs / 2).sum((1, 2)) + room
    return FiniteProblem(reference, reward, costs, beta=beta, cost_limit=reach.tolist())


@pytest.mark.parametrize("seed", range(8))
def test_two_limits_against_a_primal_solver(seed: int) -> None:
    problem = several(seed)
    value, probs = primal_optimum(problem)
    best = problem.solve()
    assert best.objective == pytest.approx(value, abs=1e-7)
    assert best.probs == pytest.approx(probs, abs=2e-3)
    assert best.active == tuple(np.flatnonzero(np.array(best.lam) > 0))
    assert best.status == ("optimal" if best.active else "slack")


def test_the_primal_comparison_sees_every_active_set() -> None:
    """The eight seeds above cover no active limit, each alone, and both."""
    assert {several(seed).solve().active for seed in range(8)} == {(), (0,), (1,), (0, 1)}


# ---- a 50-digit solver ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Precise:
    """The optimum in 50 digits, and what one rounding of every input to float64 may move it by."""

    lam: Any
    objective: Any
    dual_bound: Any
    reward: Any
    cost: Any
    kl: Any
    lam_doubt: float
    kl_doubt: float
    exponent: float  # the largest exponent, in nats, that float64 has to resolve


class Digits:
    """pi_lam of one problem in 50 digits, straight from the formulas: nothing centred, nothing shifted."""

    def __init__(self, problem: FiniteProblem) -> None:
        exact = [[mp.mpf(v) for v in row] for row in problem.reference.tolist()]
        self.ref = [[v / mp.fsum(row) for v in row] for row in exact]
        self.reward = [[mp.mpf(v) for v in row] for row in problem.reward.tolist()]
        self.cost = [[mp.mpf(v) for v in row] for row in problem.cost.tolist()]
        weights = [mp.mpf(v) for v in problem.prompt_probs.tolist()]
        self.weights = [v / mp.fsum(weights) for v in weights]
        self.beta, self.limit = mp.mpf(problem.beta), mp.mpf(problem.cost_limit)
        self.cells = [[y for y, v in enumerate(row) if v > 0] for row in self.ref]

    def average(self, per_prompt: Callable[[int], Any]) -> Any:
        return mp.fsum(w * per_prompt(x) for x, w in enumerate(self.weights))

    def min_cost(self) -> Any:
        return self.average(lambda x: min(self.cost[x][y] for y in self.cells[x]))

    def at(self, lam: Any) -> tuple[list[dict[int, Any]], Any]:
        """Return pi_lam and D(lam)."""
        rows = [
            {
                y: self.ref[x][y] * mp.exp((self.reward[x][y] - lam * self.cost[x][y]) / self.beta)
                for y in cells
            }
            for x, cells in enumerate(self.cells)
        ]
        sums = [mp.fsum(row.values()) for row in rows]
        probs = [{y: v / z for y, v in row.items()} for row, z in zip(rows, sums, strict=True)]
        return probs, self.beta * self.average(lambda x: mp.log(sums[x])) + lam * self.limit

    def expect(self, probs: list[dict[int, Any]], value: Callable[[int, int], Any]) -> Any:
        return self.average(lambda x: mp.fsum(p * value(x, y) for y, p in probs[x].items() if p))

    def slope_and_curvature(self, lam: Any) -> tuple[Any, Any]:
        probs, _ = self.at(lam)
        mean = [mp.fsum(p * self.cost[x][y] for y, p in row.items()) for x, row in enumerate(probs)]
        variance = self.expect(probs, lambda x, y: (self.cost[x][y] - mean[x]) ** 2)
        return self.limit - self.average(lambda x: mean[x]), variance / self.beta

    def root(self) -> Any:
        """Return the root of the slope: a bracket grown in factors of 4, then Newton guarded by bisection."""
        low, high = mp.mpf(0), mp.mpf(1)
        while self.slope_and_curvature(high)[0] < 0:
            low, high = high, 4 * high
        lam = (low + high) / 2
        for _ in range(400):
            slope, curvature = self.slope_and_curvature(lam)
            low, high = (lam, high) if slope < 0 else (low, lam)
            newton = lam - slope / curvature if curvature > 0 else high + 1
            step = newton - lam if low < newton < high else (low + high) / 2 - lam
            if abs(step) <= mp.mpf(10) ** -36 * abs(lam):
                return lam
            lam += step
        raise AssertionError("the 50-digit solver did not converge")


def in_digits(problem: FiniteProblem) -> Precise | str:
    """Return the optimum in 50 digits, or ``infeasible``."""
    with mp.workdps(50):
        digits = Digits(problem)
        if digits.min_cost() > digits.limit:
            return "infeasible"
        slope, _ = digits.slope_and_curvature(mp.mpf(0))
        lam = mp.mpf(0) if slope >= 0 else digits.root()
        probs, dual = digits.at(lam)
        reward, cost = (digits.expect(probs, lambda x, y, t=t: t[x][y]) for t in (digits.reward, digits.cost))
        log_ratio = [
            {y: mp.log(p / digits.ref[x][y]) for y, p in row.items() if p} for x, row in enumerate(probs)
        ]
        kl = digits.expect(probs, lambda x, y: log_ratio[x][y])
        curvature = digits.slope_and_curvature(lam)[1]
        objective = reward - digits.beta * kl
        size_r, size_c = np.abs(problem.reward).max(), np.abs(problem.cost).max() + abs(problem.cost_limit)
        exponent = float((size_r + lam * size_c) / digits.beta) - math.log(
            min(v for r in digits.ref for v in r if v)
        )
        spread = digits.expect(probs, lambda x, y: abs(log_ratio[x][y]))
        cost_doubt = EPS * size_c * (1 + 2 * exponent)
        lam_doubt = float(cost_doubt / curvature) if curvature > 1e-290 else math.inf
        kl_doubt = 2 * EPS * exponent * (1 + float(spread)) + float(lam / digits.beta) * cost_doubt
        return Precise(lam, objective, dual, reward, cost, kl, lam_doubt, kl_doubt, exponent)


def check(problem: FiniteProblem, found: Solution) -> None:
    """Assert that ``found`` is the optimum of ``problem``, to the accuracy that the oracle promises."""
    precise = in_digits(problem)
    if found.status == "infeasible" or precise == "infeasible":
        assert found.status == precise
        return
    assert isinstance(precise, Precise)
    assert found.lam is not None, "an edge that is none"
    scale = max(1.0, float(np.ptp(problem.reward)))
    assert found.status == ("optimal" if found.lam > 0 else "slack")
    assert abs(found.objective - precise.objective) <= 1e-11 * scale
    assert abs(found.dual_bound - precise.dual_bound) <= 1e-11 * scale
    cost_scale = max(1.0, float(np.abs(problem.cost).max()), abs(problem.cost_limit))
    assert abs(found.cost - precise.cost) <= max(1e-13 * cost_scale, EPS * precise.exponent * cost_scale)
    assert abs(found.lam - precise.lam) <= 1e-13 * max(1, precise.lam) + precise.lam_doubt
    assert abs(found.kl - precise.kl) <= 1e-13 * max(1, precise.kl) + precise.kl_doubt
    assert found.violation <= 1e-15 * cost_scale
    assert abs(found.gap) <= 1e-11 * scale
    assert found.kkt.stationarity <= 1e-12 * scale


FINE = st.integers(-1000, 1000).map(lambda n: n / 1000)  # ties and zeros come often
ROUGH = st.floats(-1, 1, allow_nan=False, allow_subnormal=False, width=32)
WEIGHT = st.sampled_from([0.0, 0.0, 1e-6, 0.01, 0.2, 0.5, 1.0, 3.0])


@st.composite
def problems(draw: st.DrawFn) -> FiniteProblem:
    """Tables up to 4 x 8 of every sort: sparse references, ties, scores up to 1e4, beta down to 1e-3."""
    prompts, responses = draw(st.integers(1, 4)), draw(st.integers(1, 8))

    def table(values: st.SearchStrategy[float]) -> np.ndarray:
        return np.array([[draw(values) for _ in range(responses)] for _ in range(prompts)])

    reference = table(WEIGHT)
    reference[np.arange(prompts), [draw(st.integers(0, responses - 1)) for _ in range(prompts)]] += 0.3
    weights = np.array([draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])) for _ in range(prompts)])
    weights[draw(st.integers(0, prompts - 1))] += 0.2
    problem = FiniteProblem(
        reference / reference.sum(-1, keepdims=True),
        table(draw(st.sampled_from([FINE, ROUGH]))) * draw(st.sampled_from([0.0, 1.0, 30.0, 1e4])),
        table(draw(st.sampled_from([FINE, ROUGH]))) * draw(st.sampled_from([1.0, 1e-3, 1e4])),
        beta=draw(st.sampled_from([1e-3, 0.02, 0.1, 1.0, 10.0])),
        cost_limit=1e5,
        prompt_probs=weights / weights.sum(),
    )
    free = problem.solve()
    tightness = draw(st.sampled_from([-0.5, -1e-7, 1e-11, 1e-6, 0.01, 0.3, 0.7, 0.999, 1.5]))
    return problem.with_limit(free.min_cost + tightness * (free.cost - free.min_cost))


def near_a_boundary(problem: FiniteProblem) -> bool:
    """Tell whether rounding the limit may change the status; there either neighbour is right."""
    free, size = problem.with_limit(1e6).solve(), abs(problem.cost_limit) + np.abs(problem.cost).max()
    return min(abs(problem.cost_limit - edge) for edge in (free.min_cost, free.cost)) <= 1e-13 * size


def check_drawn(problem: FiniteProblem) -> None:
    found = problem.solve()
    if not near_a_boundary(problem):
        check(problem, found)
    elif found.probs is not None:
        assert found.violation <= 1e-13 * (abs(problem.cost_limit) + np.abs(problem.cost).max())
        assert found.gap <= 1e-11 * max(1.0, float(np.ptp(problem.reward)))


HARD = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(HARD, max_examples=60)
@given(problem=problems())
def test_any_problem_against_50_digits(problem: FiniteProblem) -> None:
    check_drawn(problem)


@pytest.mark.slow
@settings(HARD, max_examples=600, derandomize=False)
@given(problem=problems())
def test_many_problems_against_50_digits(problem: FiniteProblem) -> None:
    check_drawn(problem)


@pytest.mark.parametrize("beta", [1e-3, 0.1])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("tightness", [1e-10, 1e-5, 0.5])
def test_bad_scales_against_50_digits(beta: float, scale: float, tightness: float) -> None:
    """Scores of 1e4 at beta = 1e-3: exponents of 1e7 nats, where one last place of lam moves E[c] by 1e-9."""
    rng = np.random.default_rng(int(1e4 * beta))
    reference = rng.dirichlet(np.ones(6), 3) * (rng.random((3, 6)) < 0.8) + 1e-4
    tables = (
        reference / reference.sum(1, keepdims=True),
        scale * rng.normal(size=(3, 6)),
        scale * rng.normal(size=(3, 6)),
    )
    problem = FiniteProblem(*tables, beta=beta, cost_limit=1e6)
    free = problem.solve()
    problem = problem.with_limit(free.min_cost + tightness * (free.cost - free.min_cost))
    check(problem, problem.solve())
    assert problem.cost_limit - problem.solve().cost <= 2e-14 * scale  # the limit is used up


def test_a_well_scaled_optimum_is_right_to_twelve_digits() -> None:
    problem = drawn(11)
    found, precise = problem.solve(), in_digits(problem)
    assert isinstance(precise, Precise)
    for name in ("lam", "objective", "dual_bound", "reward", "cost", "kl"):
        assert getattr(found, name) == pytest.approx(float(getattr(precise, name)), rel=1e-12, abs=1e-13), (
            name
        )


def test_a_margin_that_cancels_is_summed_exactly() -> None:
    """Least costs 1e4 and -1e4 leave E min c = 0 and B = C = 1e-9, a thousandth of what rounding 1e4 loses.

    Then p = 1e-9 in both prompts (r = 0, cost 1 above the least), so lam = log((1 - p)/p).
    """
    cost = [[1e4 + 1, 1e4], [-1e4 + 1, -1e4]]
    best = FiniteProblem([[0.5, 0.5]] * 2, [[0, 0]] * 2, cost, beta=1, cost_limit=1e-9).solve()
    assert best.lam == pytest.approx(math.log(1e9 - 1), rel=1e-14)


@pytest.mark.parametrize("beta", [1.0, 0.01, 1e-4, 1e-7])
def test_no_optimum_lies_above_its_limit(beta: float) -> None:
    """Not by one unit in the last place, and not far below it either, in at most a few dozen passes."""
    batch = [drawn(seed, beta=beta) for seed in range(60)]
    batch += [rebuilt(p, cost=p.cost + 9.1, cost_limit=p.cost_limit + 9.1) for p in batch]
    found = [(problem, problem.solve()) for problem in batch]
    assert all(best.status == "optimal" and best.cost <= problem.cost_limit for problem, best in found)
    assert max(best.violation for _, best in found) < 1e-16
    assert max(problem.cost_limit - best.cost for problem, best in found) < 2e-14
    assert max(best.iterations for _, best in found) <= (12 if beta == 1 else 25)


# ---- mistakes that the checks must see ------------------------------------------------------------

MISTAKES: dict[str, Callable[[FiniteProblem], dict[str, Any]]] = {
    "reward and cost swapped": lambda p: {"reward": p.cost, "cost": p.reward},
    "sign of the cost flipped": lambda p: {"cost": -p.cost},
    "sign of cost and limit flipped": lambda p: {"cost": -p.cost, "cost_limit": -p.cost_limit},
    "sign of the reward flipped": lambda p: {"reward": -p.reward},
    "beta forgotten": lambda p: {"beta": 1.0},
    "beta applied twice": lambda p: {"beta": p.beta**2},
    "prompt weights ignored": lambda p: {"prompt_probs": None},
    "reference ignored": lambda p: {"reference": np.full_like(p.reference, 1 / p.reference.shape[1])},
    "limit off by 1e-9": lambda p: {"cost_limit": p.cost_limit + 1e-9},
    "one reward off by 1e-9": lambda p: {"reward": p.reward + 1e-9 * np.eye(*p.reward.shape)},
}


def rebuilt(problem: FiniteProblem, **changes: Any) -> FiniteProblem:
    names = ("reference", "reward", "cost", "beta", "cost_limit", "prompt_probs")
    return FiniteProblem(**{name: getattr(problem, name) for name in names} | changes)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_50_digit_check_catches(mistake: str) -> None:
    problem = drawn(7)
    check(problem, problem.solve())
    with pytest.raises(AssertionError):
        check(problem, rebuilt(problem, **MISTAKES[mistake](problem)).solve())


def slopes_agree(value: Callable[[float], float], slope: Callable[[float], float]) -> bool:
    """Compare a derivative with central differences, whose error is about 1e-10 here."""
    step = 1e-4
    return all(
        abs((value(lam + step) - value(lam - step)) / (2 * step) - slope(lam)) < 1e-7
        for lam in (0.01, 0.4, 2.0, 7.0)
    )


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_curvature_are_the_derivatives_of_the_dual(seed: int) -> None:
    problem = drawn(seed)
    assert slopes_agree(problem.dual, problem.dual_slope)
    assert slopes_agree(problem.dual_slope, problem.dual_curvature)
    assert all(problem.dual_curvature(lam) > 0 for lam in (0.0, 1.0, 10.0))


def test_the_derivative_check_catches_the_logarithm_of_the_grand_mean() -> None:
    """Averaging over prompts inside the logarithm is the slip that this check is there for."""
    problem = drawn(0)

    def grand_mean(lam: float) -> float:
        z = (problem.reference * np.exp((problem.reward - lam * problem.cost) / problem.beta)).sum(1)
        return problem.beta * math.log(problem.prompt_probs @ z) + lam * problem.cost_limit

    assert not slopes_agree(grand_mean, problem.dual_slope)
    assert not slopes_agree(lambda lam: -problem.dual(lam), problem.dual_slope)


def test_gradient_and_hessian_of_two_limits() -> None:
    problem, step = several(3), 1e-5
    at = np.array([0.7, 0.3])
    for k, shift in enumerate(np.eye(2) * step):
        up, down = (at + shift).tolist(), (at - shift).tolist()
        slope = (problem.dual(up) - problem.dual(down)) / (2 * step)
        assert problem.dual_slope(at.tolist())[k] == pytest.approx(slope, abs=1e-8)
        row = (np.array(problem.dual_slope(up)) - np.array(problem.dual_slope(down))) / (2 * step)
        assert problem.dual_curvature(at.tolist())[k] == pytest.approx(row, abs=1e-8)


# ---- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.3, 5.0, None])
def test_the_two_terms_of_the_gap_add_up_for_every_policy(lam: float | None) -> None:
    """beta KL(pi || pi_lam) + lam (C - E c), each computed here from its definition, is D(lam) - J(pi)."""
    problem = drawn(2)
    at = problem.solve().lam if lam is None else lam
    tilted = problem.policy(at)
    for probs in random_policies(problem, 40):
        found = problem.certify(probs, lam)
        kl = problem.prompt_probs @ (probs * np.log(probs / tilted)).sum(1)
        cost = problem.prompt_probs @ (probs * problem.cost).sum(1)
        assert found.lam == pytest.approx(at, rel=1e-15)
        assert found.gap_kl_term == pytest.approx(problem.beta * kl, rel=1e-9, abs=1e-14)
        assert found.gap_slack_term == pytest.approx(at * (problem.cost_limit - cost), abs=1e-13)
        assert found.gap == pytest.approx(problem.dual(at) - problem.evaluate(probs).objective, abs=1e-12)
        assert found.dual_bound == pytest.approx(problem.dual(at), rel=1e-14)
        assert found.violation == pytest.approx(max(0.0, cost - problem.cost_limit), abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_no_feasible_policy_beats_any_dual_value(seed: int) -> None:
    """Random policies, mixed with the cheapest one until they cost what the limit allows, at most."""
    problem = drawn(seed)
    best, cheapest = problem.solve(), np.eye(5)[problem.cost.argmin(1)]
    for probs in random_policies(problem, 200, seed):
        over = problem.evaluate(probs).cost - problem.cost_limit
        share = max(0.0, over / (over + problem.cost_limit - best.min_cost)) * (1 + 1e-12)
        mixed = problem.evaluate((1 - share) * probs + share * cheapest)
        assert mixed.cost <= problem.cost_limit and mixed.objective < best.objective
    assert all(problem.dual(lam) >= best.objective - 1e-14 for lam in np.linspace(0, 5, 60))


def test_evaluate_by_hand() -> None:
    """Policy (3/4, 1/4): r = c = 3/4, KL = 3/4 log 1.5 + 1/4 log 0.5; J = 3/4 - 2 KL."""
    found = coin(beta=2.0).evaluate([[0.75, 0.25]])
    kl = 0.75 * math.log(1.5) - 0.25 * math.log(2)
    assert found == pytest.approx((0.75, 0.75, kl, 0.75 - 2 * kl), rel=1e-15)


def test_a_policy_on_an_impossible_response_is_infinitely_far_away() -> None:
    problem = FiniteProblem([[0.5, 0.5, 0.0]], [[0, 0, 5]], [[0, 1, 2]], beta=1, cost_limit=0.25)
    found = problem.evaluate([[0.5, 0.25, 0.25]])
    assert found == (1.25, 0.75, math.inf, -math.inf)
    proof = problem.certify([[0.5, 0.25, 0.25]])
    assert (proof.gap, proof.gap_kl_term, proof.gap_slack_term, proof.closeness) == (
        math.inf,
        None,
        None,
        -math.inf,
    )


def test_closeness_is_one_at_the_optimum_and_zero_at_the_reference() -> None:
    problem = drawn(4)
    best = problem.solve()
    assert problem.certify(best.probs).closeness == 1.0
    assert problem.certify(problem.reference).closeness == pytest.approx(0.0, abs=1e-12)
    between = problem.certify(0.5 * best.probs + 0.5 * problem.reference).closeness
    assert 0 < between < 1
    away = problem.certify(np.eye(5)[problem.cost.argmax(1)])
    assert away.closeness < 0 and away.violation > 0


def test_closeness_by_hand() -> None:
    """pi* = (1/4, 3/4): KL((1/2, 1/2) || pi*) = 1/2 log 2 + 1/2 log(2/3) = 1/2 log(4/3); of (1, 0), log 4."""
    found = coin(0.25).certify([[1, 0]]).closeness
    assert found == pytest.approx(1 - math.log(4) / (0.5 * math.log(4 / 3)), rel=1e-12)


def test_closeness_has_no_yardstick_where_the_reference_is_the_optimum() -> None:
    problem = FiniteProblem([[0.5, 0.5]], [[1, 1]], [[0, 1]], beta=1, cost_limit=1)
    assert problem.certify([[0.9, 0.1]]).closeness is None
    assert problem.certify([[0.5, 0.5]]).closeness == 1.0


def test_certificates_at_the_edge_and_out_of_reach() -> None:
    """At the edge only a policy on the cheapest responses has two finite terms; D at infinity bounds all."""
    edge = FiniteProblem([[0.5, 0.25, 0.25]], [[2, 1, 0]], [[1, 0, 0]], beta=1, cost_limit=0)
    best = edge.solve()
    own = edge.certify(best.probs)
    assert (own.lam, own.closeness) == (None, 1.0) and own.gap == pytest.approx(0, abs=1e-15)
    other = edge.certify([[0, 0.5, 0.5]])
    kl = 0.5 * math.log(0.25 / (best.probs[0, 1] * best.probs[0, 2]))
    assert other.gap == other.gap_kl_term == pytest.approx(kl, rel=1e-12) and other.gap_slack_term == 0.0
    outside = edge.certify([[1, 0, 0]])
    assert (outside.lam, outside.gap_kl_term, outside.gap_slack_term, outside.violation) == (
        None,
        None,
        None,
        1.0,
    )
    assert outside.gap == pytest.approx(best.dual_bound - (2 - math.log(2)), rel=1e-12)
    nowhere = edge.with_limit(-1)
    lost = nowhere.certify([[0, 0.5, 0.5]])
    assert lost[:1] + lost[2:6] == (None,) * 5 and (lost.violation, lost.closeness) == (1.0, None)
    assert nowhere.certify([[0, 0.5, 0.5]], lam=2.0).dual_bound == pytest.approx(nowhere.dual(2.0), rel=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimality_conditions_hold(seed: int) -> None:
    """The residuals, and stationarity itself: r - lam c - beta log(pi/ref) is one number per prompt."""
    problem = drawn(seed)
    best = problem.solve()
    assert max(best.kkt) < 1e-13 and min(best.kkt) >= 0
    assert best.gap == best.gap_kl_term + best.gap_slack_term
    slope = problem.reward - best.lam * problem.cost - problem.beta * np.log(best.probs / problem.reference)
    assert np.ptp(slope, axis=1) == pytest.approx(0, abs=1e-12)


# ---- several limits -------------------------------------------------------------------------------


def test_a_stack_of_one_limit_is_that_limit() -> None:
    problem = drawn(9)
    stacked = rebuilt(problem, cost=problem.cost[None], cost_limit=[problem.cost_limit])
    one, same = problem.solve(), stacked.solve()
    assert (same.lam, same.cost, same.min_cost) == ((one.lam,), (one.cost,), (one.min_cost,))
    assert (same.status, same.objective, same.gap) == (one.status, one.objective, one.gap)
    assert stacked.dual([0.7]) == problem.dual(0.7) and stacked.dual_slope([0.7]) == (
        problem.dual_slope(0.7),
    )


@pytest.mark.parametrize("beta", [0.5, 0.01, 1e-3])
@pytest.mark.parametrize("count", [2, 3])
def test_several_limits_close_the_gap(count: int, beta: float) -> None:
    """A gap of 0 with no violation proves the optimum by itself: the identity above holds for any policy."""
    for seed in range(6):
        best = several(seed, limits=count, beta=beta).solve()
        assert best.status in ("optimal", "slack")
        assert abs(best.gap) < 1e-11 and best.violation < 1e-11
        assert best.dual_bound - best.objective == pytest.approx(best.gap, abs=1e-12)
        assert min(best.lam) >= 0 and best.kkt.stationarity < 1e-12


@pytest.mark.parametrize(("seed", "limits"), [(25, 2), (3, 3), (15, 3), (19, 3)])
def test_several_limits_with_rewards_a_million_times_beta_apart(seed: int, limits: int) -> None:
    """D is nearly piecewise linear here, and Newton from lam = 0 goes astray on each of these."""
    problem = several(seed, limits=limits)
    wide = rebuilt(problem, reward=1e3 * problem.reward, beta=1e-3)
    best = wide.solve()
    assert abs(best.gap) < 1e-9 and best.violation < 1e-12


def test_the_violation_of_several_limits_is_the_largest() -> None:
    """Policy (1, 0): cost 1 against 2 is met, cost 3 against 2.5 is missed by 0.5."""
    problem = FiniteProblem([[0.5, 0.5]], [[0, 0]], [[[1, 0]], [[3, 0]]], beta=1, cost_limit=[2, 2.5])
    assert problem.certify([[1, 0]]).violation == 0.5


def test_a_limit_given_twice_shares_its_multiplier() -> None:
    problem = drawn(3)
    twice = rebuilt(problem, cost=np.stack([problem.cost] * 2), cost_limit=[problem.cost_limit] * 2).solve()
    assert sum(twice.lam) == pytest.approx(problem.solve().lam, rel=1e-9)
    assert twice.objective == pytest.approx(problem.solve().objective, abs=1e-12)


def test_limits_that_exclude_each_other_are_infeasible_with_the_prompts_to_blame() -> None:
    """Each limit alone is within reach, but c1 + c2 is 1 in prompt 0 and 2 in prompt 1, and 0.6 + 0.6 < 1.5.

    At prices (1/2, 1/2) the mean excess is (1.5 - 1.2)/2 = 0.15; prompt 1 exceeds by 0.4, prompt 0 by -0.1.
    """
    first = np.array([[0.0, 1.0], [0.5, 1.5]])
    costs = np.stack([first, np.array([[1.0], [2.0]]) - first])
    problem = FiniteProblem([[0.5, 0.5]] * 2, [[0, 1]] * 2, costs, beta=1, cost_limit=[0.6, 0.6])
    best = problem.solve()
    assert best.status == "infeasible" and best.probs is None
    assert best.min_cost == (0.25, 0.25)
    assert best.worst_prompts == (1,)
    louder = rebuilt(problem, cost=costs * [[[1]], [[100]]], cost_limit=[0.6, 60]).solve()
    assert (louder.status, louder.worst_prompts) == ("infeasible", (1,))
    assert problem.with_limit([0.75, 0.75 + 1e-12]).solve().status == "optimal"
    assert problem.with_limit([0.75, 0.75 - 1e-12]).solve().status == "infeasible"


def test_several_limits_at_their_edge_end_at_a_finite_lam() -> None:
    """p <= 1/4 and p >= 1/4 leave the policy (1/4, 3/4); lam is not unique, and its difference is 2.0986."""
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[[1, 0]], [[0, 1]]], beta=1, cost_limit=[0.25, 0.75])
    best = problem.solve()
    assert best.probs == pytest.approx(np.array([[0.25, 0.75]]), abs=1e-12)
    assert best.lam[0] - best.lam[1] == pytest.approx(1 + LOG3, abs=1e-10)


# ---- many problems, and paths along one -----------------------------------------------------------


def test_many_problems_are_solved_as_one_by_one() -> None:
    """Mixed shapes, statuses and stacks, in their order; the last digits may differ by the batch's shape."""
    batch = [drawn(s, prompts=1 + s % 3, responses=2 + s % 4, tightness=0.1 * s) for s in range(14)]
    batch += [coin(-1.0), coin(0.0), several(1), batch[0]]
    found = solve_many(batch)
    assert {s.status for s in found} == {"optimal", "slack", "infeasible"}
    for problem, solution in zip(batch, found, strict=True):
        alone = problem.solve()
        assert (solution.status, solution.active) == (alone.status, alone.active)
        assert solution.worst_prompts == alone.worst_prompts
        if alone.probs is not None:
            assert solution.probs == pytest.approx(alone.probs, abs=1e-13)
            assert solution.objective == pytest.approx(alone.objective, abs=1e-13)
        if alone.lam is not None:
            assert solution.lam == pytest.approx(alone.lam, rel=1e-12)
    assert solve_many([]) == []


def test_more_problems_than_one_batch_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdpo_edu.exact.problem.CELLS", 30)  # two of these problems
    batch = [drawn(s) for s in range(5)]
    assert [s.lam for s in solve_many(batch)] == pytest.approx([p.solve().lam for p in batch], rel=1e-12)


def test_the_frontier_trades_reward_for_cost() -> None:
    """Along lam cost and objective fall, and each point is the optimum of the limit at its own cost."""
    problem = drawn(6)
    lams = np.linspace(0, 4, 9)
    path = frontier(problem, lams)
    assert np.all(np.diff(path.cost) < 0) and np.all(np.diff(path.reward - problem.beta * path.kl) < 0)
    assert path.limit.tolist() == [problem.cost_limit] * 9 and path.lam.tolist() == lams.tolist()
    for lam, reward, cost, kl, _ in zip(*path, strict=True):
        best = problem.with_limit(cost).solve()
        assert (best.lam, best.reward, best.kl) == pytest.approx((lam, reward, kl), abs=1e-10)


def test_the_frontier_of_two_limits() -> None:
    path = frontier(several(0), [[0.0, 0.0], [1.0, 2.0]])
    assert (path.lam.shape, path.cost.shape, path.limit.shape, path.reward.shape) == (
        (2, 2),
        (2, 2),
        (2, 2),
        (2,),
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_least_kl_policy_ignores_the_reward(seed: int) -> None:
    problem = drawn(seed, tightness=0.4).with_limit(drawn(seed, tightness=0.2).cost_limit)
    least = problem.least_kl()
    assert least.kl <= problem.solve().kl
    assert least.objective == pytest.approx(-problem.beta * least.kl, abs=1e-15)
    assert least.probs == pytest.approx(
        rebuilt(problem, reward=7 - 0 * problem.reward).solve().probs, abs=1e-12
    )
    for probs in random_policies(problem, 200, seed):
        if problem.evaluate(probs).cost <= problem.cost_limit:
            assert problem.evaluate(probs).kl >= least.kl


def test_with_limit_and_with_beta_change_nothing_else() -> None:
    problem = drawn(0)
    changed = problem.with_limit(0.125).with_beta(0.75)
    assert (changed.cost_limit, changed.beta) == (0.125, 0.75)
    for name in ("reference", "reward", "cost", "prompt_probs"):
        assert np.array_equal(getattr(changed, name), getattr(problem, name))


# ---- what goes in ---------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "reference": [[0.5, 0.5], [0.2, 0.8]],
    "reward": [[1, 0], [0, 1]],
    "cost": [[1, 0], [0, 1]],
    "beta": 0.5,
    "cost_limit": 0.5,
    "prompt_probs": [0.5, 0.5],
}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("reference", [[0.5, 0.4], [0.2, 0.8]], "row 0 sums to 0.9"),
        ("reference", [[1.5, -0.5], [0.2, 0.8]], "-0.5 at [0][1] is negative"),
        ("reference", [0.5, 0.5], "give a table"),
        ("reference", [], "not empty"),
        ("reference", [[0.5, 0.5], [1.0]], "its rows differ in length"),
        ("reward", [[1, 0]], "shape (1, 2), not (2, 2)"),
        ("reward", [[1, 0], [math.nan, 1]], "nan at [1][0]"),
        ("reward", [[1, 0], [0, math.inf]], "inf at [1][1]"),
        ("reward", [[1, 0], [0, 1e51]], "of size 1e+50 at most"),
        ("reward", [["1", 0], [0, 1]], "no number"),
        ("reward", [[True, False], [False, True]], "no number"),
        ("reward", [[None, 0], [0, 1]], "no number"),
        ("cost", [[1, 0, 0], [0, 1, 0]], "shape (2, 3), not (2, 2)"),
        ("cost", [[[1, 0], [0, 1]]], "field 'cost_limit'"),
        ("cost", 3.0, "give a table"),
        ("beta", 0, "above 0"),
        ("beta", -0.1, "above 0"),
        ("beta", math.nan, "nan"),
        ("beta", [0.1], "give one number"),
        ("beta", 1e-15, "raise beta"),
        ("cost_limit", math.inf, "inf"),
        ("cost_limit", [0.5], "give one number"),
        ("cost_limit", "0.5", "no number"),
        ("prompt_probs", [0.5, 0.6], "it sums to 1.1"),
        ("prompt_probs", [1.0], "shape (1,), not (2,)"),
        ("prompt_probs", [2.0, -1.0], "-1 at [1] is negative"),
    ],
)
def test_bad_fields_are_named(field: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        FiniteProblem(**GOOD | {field: value})
    assert str(error.value).startswith("field '") and says in str(error.value)
    assert field in str(error.value) or says.startswith("field")


def test_bad_policies_and_multipliers_are_named() -> None:
    problem = FiniteProblem(**GOOD)
    bad: list[tuple[Callable[[], Any], str]] = [
        (lambda: problem.policy(-0.1), "'lam': -0.1 is negative"),
        (lambda: problem.dual(math.inf), "'lam'"),
        (lambda: problem.dual_slope([1.0]), "'lam'"),
        (lambda: problem.certify(problem.reference, lam=math.nan), "'lam'"),
        (lambda: problem.evaluate([[0.5, 0.5]]), "'probs': shape (1, 2), not (2, 2)"),
        (lambda: problem.evaluate([[0.5, 0.6], [0.2, 0.8]]), "'probs': row 0 sums to 1.1"),
        (lambda: frontier(problem, [0.0, -1.0]), "'lam': -1 is negative"),
        (lambda: problem.with_beta(0.0), "'beta'"),
    ]
    for call, says in bad:
        with pytest.raises(InputError, match="field") as error:
            call()
        assert says in str(error.value)
    with pytest.raises(TypeError, match="temperature"):
        FiniteProblem(**GOOD, temperature=1.0)


def test_sums_that_are_off_by_rounding_are_mended() -> None:
    """0.3333333 * 3 misses 1 by 1e-7: within 1e-6, divided out."""
    problem = FiniteProblem(
        [[0.3333333] * 3], [[0] * 3], [[0] * 3], beta=1, cost_limit=1, prompt_probs=[1 + 5e-7]
    )
    assert problem.reference.sum() == pytest.approx(1, abs=2e-16) and problem.prompt_probs.tolist() == [1.0]
    given_exactly = FiniteProblem([[0.1, 0.2, 0.7]], [[0] * 3], [[0] * 3], beta=1, cost_limit=1)
    assert given_exactly.reference.tolist() == [[0.1, 0.2, 0.7]]


def test_a_problem_keeps_its_own_tables() -> None:
    reward = np.array([[1.0, 0.0]])
    problem = FiniteProblem([[0.5, 0.5]], reward, [[1, 0]], beta=1, cost_limit=0.25)
    reward[:] = 99
    assert problem.reward.tolist() == [[1.0, 0.0]]
    with pytest.raises(ValueError, match="read-only"):
        problem.reward[0, 0] = 5
    with pytest.raises(ValueError, match="read-only"):
        problem.solve().probs[0, 0] = 5


def test_integers_and_float32_are_numbers() -> None:
    table = np.array([[1, 0]], dtype=np.float32)
    assert FiniteProblem([[0.5, 0.5]], table, [[1, 0]], beta=1, cost_limit=0).solve().lam is None


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-150, 1e-30, 1e30])
def test_no_scale_of_the_cost_overflows(size: float) -> None:
    """Costs (size, 0) and limit size/4: lam = (1 + log 3)/size, until costs 1e-200 apart count as equal."""
    best = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[size, 0]], beta=1, cost_limit=size / 4).solve()
    if size > 1e-200:
        assert best.lam * size == pytest.approx(1 + LOG3, rel=1e-12)
    else:
        assert best.status == "slack" and best.lam == 0.0


def test_the_repr_is_one_line() -> None:
    assert repr(FiniteProblem(**GOOD)) == "FiniteProblem(2 prompts, 2 responses, beta=0.5, cost_limit=0.5)"
