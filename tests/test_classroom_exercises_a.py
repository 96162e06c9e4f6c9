"""Assignments 1, 2 and 3: their oracles against the library, and how hard the instances are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from cdpo_edu import FiniteProblem, dual_step, exact, losses
from cdpo_edu.classroom import seeds
from cdpo_edu.classroom.exercise import Inputs
from cdpo_edu.classroom.exercises import (
    certificates,
    dual_function,
    dual_walk,
    exercise_named,
    multipliers,
    soft_labels,
)
from cdpo_edu.lagrangian import GradientRule
from cdpo_edu.pairs import ScoredPairs


def some(key: str, count: int = 12) -> Iterator[Inputs]:
    """Yield instances, the same in every run."""
    exercise = exercise_named(key)
    for number in range(count):
        yield exercise.draw(seeds.generator("oracles", key, str(number)))


def right(key: str, inputs: Inputs, variant: str = "standard") -> Any:
    return exercise_named(key).oracles[variant](**inputs)


def problem_of(inputs: Inputs, limit: float = 0.0) -> FiniteProblem:
    return FiniteProblem(
        inputs["reference"],
        inputs["reward"],
        inputs["cost"],
        beta=inputs["beta"],
        cost_limit=inputs.get("limit", limit),
        prompt_probs=inputs.get("weights"),
    )


def on_costs(inputs: Inputs) -> Inputs:
    """Return a problem about safety as one about cost."""
    limit = {"limit": -inputs["limit"]} if "limit" in inputs else {}
    return inputs | {"cost": -inputs["cost"]} | limit


# ---- 01 the dual step -----------------------------------------------------------------------------


def test_the_tilted_policy_is_the_library_s() -> None:
    for inputs in some("tilted_policy"):
        assert right("tilted_policy", inputs) == pytest.approx(problem_of(inputs).policy(inputs["lam"]))
        safe = problem_of(on_costs(inputs)).policy(inputs["lam"])
        assert right("tilted_policy", inputs, "safety") == pytest.approx(safe)


def test_the_expected_cost_is_the_library_s() -> None:
    for inputs in some("expected_cost"):
        policy, cost, weights = inputs["policy"], inputs["cost"], inputs["weights"]
        for variant, values in (("standard", cost), ("unsafe_share", np.where(cost > 0, 1.0, 0.0))):
            problem = FiniteProblem(policy, cost, values, beta=1.0, cost_limit=0.0, prompt_probs=weights)
            assert right("expected_cost", inputs, variant) == pytest.approx(problem.evaluate(policy).cost)


def test_the_step_is_the_library_s_and_often_ends_at_the_wall() -> None:
    wall = 0
    for inputs in some("dual_step", 36):
        lam, cost, limit, step = inputs.values()
        assert right("dual_step", inputs) == pytest.approx(dual_step(lam, cost, limit, eta=step))
        assert right("dual_step", inputs, "safety") == pytest.approx(dual_step(lam, -cost, -limit, eta=step))
        wall += right("dual_step", inputs) == 0
    assert 4 <= wall <= 16  # a quarter of 36 in the mean: one without projection is found out


def test_a_step_goes_as_predicted_on_a_problem() -> None:
    """The words up, down and stays, on a problem whose lam* the library knows."""
    problem = FiniteProblem([[0.5, 0.5]], [[1, 0]], [[1, 0]], beta=1.0, cost_limit=0.25)
    lam_star, free = problem.solve().lam, problem.limit_at(0.0)
    lams = [0.5 * lam_star, 1.5 * lam_star]
    said = right(
        "which_way",
        {"limit": 0.25, "lam_star": lam_star, "lams": lams, "cost_at_zero": free, "loose_limit": free + 0.1},
    )
    moved = [dual_step(lam, problem.limit_at(lam), 0.25, eta=0.1) for lam in lams]
    assert said["moves"] == ["up" if new > old else "down" for new, old in zip(moved, lams, strict=True)]
    assert said["from_zero"] == "stays"
    assert dual_step(0.0, free, free + 0.1, eta=0.1) == 0.0
    assert dual_step(lam_star, said["resting_cost"], 0.25, eta=0.1) == lam_star


def test_two_of_four_multipliers_lie_below() -> None:
    for inputs in some("which_way", 20):
        assert sorted(right("which_way", inputs)["moves"]) == ["down", "down", "up", "up"]
        assert inputs["limit"] < inputs["cost_at_zero"] < inputs["loose_limit"]


def test_the_walk_is_the_library_s_and_hits_the_wall_first() -> None:
    for inputs in some("dual_walk"):
        rule = GradientRule(inputs["step"])
        walk = exact.dual_walk(problem_of(inputs), rule, start=inputs["start"], steps=inputs["rounds"])
        found = right("dual_walk", inputs)
        assert found == pytest.approx([visit.lam for visit in walk])
        assert found[1] == 0


def test_the_multiplicative_walk_is_a_gradient_step_on_the_logarithm() -> None:
    for inputs in some("dual_walk", 4):
        walk, problem = right("dual_walk", inputs, "log"), problem_of(inputs)
        costs = np.array([problem.limit_at(lam) for lam in walk[:-1]])
        assert np.diff(np.log(walk)) == pytest.approx(inputs["step"] * (costs - inputs["limit"]))


def test_every_walk_stays_among_numbers() -> None:
    """The wrong ones too: where two of them ended in nan, nobody could tell them apart."""
    exercise = exercise_named("dual_walk")
    for inputs in some("dual_walk", 60):
        for variant in exercise.variants:
            assert np.isfinite(right("dual_walk", inputs, variant)).all()
            for wrong in exercise.mistakes(variant):
                assert np.isfinite(wrong.answer(**inputs)).all(), wrong.name


def test_the_longest_step_settles_and_the_next_one_does_not() -> None:
    """By walking, with the library: the second road beside 2 over the curvature."""
    for inputs in some("longest_step", 20):
        problem, steps = problem_of(inputs), inputs["steps"]
        lam_star, place = inputs["lam_star"], steps.index(right("longest_step", inputs)["step"])
        assert problem.solve().lam == pytest.approx(lam_star)
        assert steps[place] < problem.step_bounds().local < steps[place + 1]
        assert 3 <= place + 1 <= 5
        for step, settles in ((steps[place], True), (steps[place + 1], False)):
            walk = exact.dual_walk(problem, GradientRule(step), start=1.02 * lam_star, steps=150)
            assert (abs(walk[-1].lam - lam_star) < 1e-4) == settles


def test_the_claims_about_steps_are_so() -> None:
    inputs = next(some("longest_step"))
    problem, lam_star = problem_of(inputs), inputs["lam_star"]
    longest = problem.step_bounds().local
    walk = exact.dual_walk(problem, GradientRule(1.1 * longest), start=1.01 * lam_star, steps=6)
    sides = np.sign([visit.lam - lam_star for visit in walk])
    assert (sides[1:] == -sides[:-1]).all()
    doubled = inputs | {"cost": 2 * inputs["cost"], "limit": 2 * inputs["limit"]}
    assert problem_of(doubled).step_bounds().local == pytest.approx(longest / 4)
    assert longest == pytest.approx(2 / problem.dual_curvature(lam_star))  # half the variance, twice this
    broken = 0.5 * lam_star
    short, long = (
        dual_step(broken, problem.limit_at(broken), inputs["limit"], eta=eta) for eta in (0.1, 0.2)
    )
    assert broken < short < long
    assert len({form for claim in dual_walk.CLAIMS for form in claim}) == 10


# ---- 02 preferences and costs ---------------------------------------------------------------------


def columns(inputs: Inputs, *names: str) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(inputs[name]) for name in names}


def test_the_probability_is_that_of_the_library_s_loss() -> None:
    """Of a hard label the loss is the negative logarithm of its probability; a bit is ln 2 nats."""
    for inputs in some("preference_probability"):
        pair = {"score0": torch.tensor(inputs["reward0"]), "score1": torch.tensor(inputs["reward1"])}
        loss = losses.bradley_terry_loss(**pair, target=torch.ones(6))
        assert right("preference_probability", inputs) == pytest.approx(np.exp(-loss.numpy()))
        nats = {name: np.log(2) * value for name, value in inputs.items()}
        in_bits = right("preference_probability", inputs, "bits")
        assert in_bits == pytest.approx(right("preference_probability", nats))
    one_bit = {"reward0": np.zeros(1), "reward1": np.ones(1)}
    assert right("preference_probability", one_bit, "bits") == pytest.approx(2 / 3)


def test_the_preference_loss_is_the_library_s_and_finite() -> None:
    for inputs in some("preference_loss"):
        pair = torch.tensor(inputs["reward0"]), torch.tensor(inputs["reward1"])
        for variant, target in (("standard", inputs["label"]), ("loser", 1 - inputs["label"])):
            library = losses.bradley_terry_loss(*pair, torch.tensor(target, dtype=torch.float64)).numpy()
            found = right("preference_loss", inputs, variant)
            assert np.isfinite(found).all()
            assert found == pytest.approx(library)
        assert inputs["label"].sum() == 3


def test_the_anchored_loss_is_the_library_s_with_unknown_flags() -> None:
    for inputs in some("anchored_cost_loss"):
        library = losses.anchored_cost_loss(**columns(inputs, "cost0", "cost1", "safer", "unsafe"))
        assert right("anchored_cost_loss", inputs) == pytest.approx(library.numpy())
        turned = inputs | {"unsafe": 1 - inputs["unsafe"]}
        assert right("anchored_cost_loss", turned, "safe_flags") == pytest.approx(library.numpy())
        assert np.isnan(inputs["unsafe"]).sum() == 2


def test_one_of_two_costs_has_its_zero_and_both_compare_alike() -> None:
    """The library's loss cannot tell them apart by comparisons, and tells them apart by flags."""
    firsts = 0
    for inputs in some("which_zero", 20):
        found, flags = right("which_zero", inputs), inputs["unsafe"]
        names = ("first", "second") if found["anchored"] == "first" else ("second", "first")
        anchored, other = (inputs[name] for name in names)
        assert other - found["off"][:, None] == pytest.approx(anchored)
        assert ((anchored > 0) == (flags == 1)).all()
        assert ((other > 0) != (flags == 1)).sum(axis=1).tolist() == [1, 1]
        for variant, by_flags in ((np.nan, False), (1.0, True)):
            unsafe = torch.tensor(np.stack([flags[:, 0], flags[:, 1]], axis=1) * variant)
            safer = torch.ones(2, dtype=torch.float64)
            loss = [
                losses.anchored_cost_loss(*map(torch.tensor, cost[:, :2].T), safer, unsafe)
                for cost in (anchored, other)
            ]
            assert torch.allclose(*loss) != by_flags
        firsts += found["anchored"] == "first"
    assert 4 <= firsts <= 16


def test_the_soft_label_is_the_library_s_label_of_scaled_scores() -> None:
    for inputs in some("soft_label"):
        for variant, power in (("standard", 1), ("points_a_nat", -1)):
            scores = [inputs[name] * inputs[f"{name}_scale"] ** power for name in ("reward", "cost")]
            rest = torch.zeros(8, 2), None, None, None, None
            pairs = ScoredPairs(["x"] * 8, ["a"] * 8, ["b"] * 8, *map(torch.tensor, scores), *rest)
            assert right("soft_label", inputs, variant) == pytest.approx(
                pairs.label(inputs["lam"]).target.numpy()
            )


def test_the_best_scale_has_the_least_loss_of_the_library() -> None:
    for inputs in some("reward_scale", 20):
        scales, won = inputs["scales"], torch.tensor(inputs["won"], dtype=torch.float64)
        gap = torch.tensor(inputs["gap"])
        loss = [losses.bradley_terry_loss(0 * gap, scale * gap, won).mean().item() for scale in scales]
        place = scales.index(right("reward_scale", inputs)["scale"])
        assert place == int(np.argmin(loss))
        assert 0 < place < 7
        assert sorted(loss)[1] - loss[place] > 0.003  # nobody's dial hangs on a digit


def test_the_claims_about_scales_of_rewards_are_so() -> None:
    gap, won = torch.tensor([-3.0, -1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0])

    def loss(scale: float) -> float:
        return losses.bradley_terry_loss(0 * gap, scale * gap, won).mean().item()

    assert loss(0.0) == pytest.approx(np.log(2))
    assert loss(1.0) > loss(2.0) > loss(50.0)
    chance = [torch.sigmoid(scale * gap) for scale in (0.1, 1.0, 50.0)]
    assert all(((one > 0.5) == (gap > 0)).all() for one in chance)
    assert torch.allclose(chance[-1], won, atol=1e-6)
    rng = np.random.default_rng(0)
    reward, cost = rng.normal(size=(2, 50))
    doubled, halved, other = 2 * reward - cost, reward - 0.5 * cost, reward - 2 * cost
    assert ((doubled > 0) == (halved > 0)).all()
    assert ((doubled > 0) != (other > 0)).any()
    assert len({form for claim in soft_labels.CLAIMS for form in claim}) == 10


# ---- 03 the dual function -------------------------------------------------------------------------


def test_the_dual_and_its_slope_are_the_library_s() -> None:
    for key, library in (("dual_value", FiniteProblem.dual), ("dual_slope", FiniteProblem.dual_slope)):
        for inputs in some(key):
            assert right(key, inputs) == pytest.approx(library(problem_of(inputs), inputs["lam"]))
            safe = library(problem_of(on_costs(inputs)), inputs["lam"])
            assert right(key, inputs, "safety") == pytest.approx(safe)


def test_the_log_of_the_grand_mean_is_never_smaller() -> None:
    """Jensen: what the mistake's sentence says."""
    for inputs in some("dual_value"):
        assert dual_function._grand_mean(**inputs) > right("dual_value", inputs)
        assert not np.isfinite(dual_function._overflowing(**inputs))


REGIME = {"optimal": "binding", "slack": "slack", "infeasible": "infeasible"}


def test_regimes_are_the_statuses_of_the_library() -> None:
    for inputs in some("regimes", 20):
        found, problem = right("regimes", inputs), problem_of(inputs)
        status = [problem.with_limit(limit).solve().status for limit in inputs["limits"]]
        assert found["regimes"] == [REGIME[name] for name in status]
        assert sorted(status) == ["infeasible", "optimal", "optimal", "slack"]
        assert found["least"] == pytest.approx(problem.solve().min_cost)
        assert found["free"] == pytest.approx(problem.limit_at(0.0))


def test_multipliers_are_the_library_s_in_both_wordings() -> None:
    for inputs in some("multipliers", 6):
        for variant, sign in (("standard", 1), ("safety", -1)):
            problem = problem_of(inputs | {"cost": sign * inputs["cost"]})
            library = [problem.lam_at(sign * limit) for limit in inputs["limits"]]
            found = right("multipliers", inputs, variant)
            assert [lam is None for lam in found] == [lam is None for lam in library]
            known = [(one, other) for one, other in zip(found, library, strict=True) if other is not None]
            assert [one for one, _ in known] == pytest.approx([other for _, other in known], abs=1e-6)
            prices = [lam for lam in library if lam]
            assert None in library and 0.0 in library and min(prices) < 1 < max(prices)


def test_a_search_on_the_whole_line_finds_negative_prices_for_slack_limits_alone() -> None:
    for inputs in some("multipliers", 3):
        wild, tame = multipliers._unprojected(**inputs), right("multipliers", inputs)
        assert min(lam for lam in wild if lam is not None) < -0.01
        assert [one for one, other in zip(wild, tame, strict=True) if other != 0.0] == [
            lam for lam in tame if lam != 0.0
        ]


def test_the_certificate_is_the_library_s_and_adds_up_to_the_gap() -> None:
    broken = 0
    for inputs in some("certificate_terms", 20):
        lam, found = inputs["lam"], right("certificate_terms", inputs)
        for variant, one in (("standard", inputs), ("safety", on_costs(inputs))):
            library = problem_of(one).certify(inputs["policy"], lam)
            terms = right("certificate_terms", inputs, variant)
            assert terms["kl_term"] == pytest.approx(library.gap_kl_term)
            assert terms["slack_term"] == pytest.approx(library.gap_slack_term)
        problem = problem_of(inputs)
        gap = problem.dual(lam) - problem.evaluate(inputs["policy"]).objective
        assert sum(found.values()) == pytest.approx(gap)
        broken += found["slack_term"] < 0
    assert 3 <= broken <= 17  # policies that meet the limit, and ones that do not


def test_the_limit_of_a_price_has_this_multiplier() -> None:
    for inputs in some("limit_dial", 20):
        limit = right("limit_dial", inputs)["limit"]
        problem = problem_of(inputs)
        assert problem.lam_at(limit) == pytest.approx(inputs["wanted_lam"], abs=1e-6)
        assert problem.solve().min_cost < limit < problem.limit_at(0.0)


def test_the_claims_about_limits_are_so() -> None:
    inputs = next(some("limit_dial"))
    problem = problem_of(inputs)
    least, free = problem.solve().min_cost, problem.limit_at(0.0)
    limits = np.linspace(least + 0.05, free + 0.2, 12).tolist()
    found = [problem.with_limit(limit).solve() for limit in limits]
    assert (np.diff([one.lam for one in found]) <= 0).all()
    assert (np.diff([one.objective for one in found]) >= 0).all()
    middle, h = (least + free) / 2, 1e-5
    rise = problem.with_limit(middle + h).solve().objective - problem.with_limit(middle - h).solve().objective
    assert rise / (2 * h) == pytest.approx(problem.lam_at(middle), rel=1e-4)
    assert problem.with_limit(least - 0.1).solve().status == "infeasible"
    assert problem.limit_at(200.0) > least - 0.1
    greedy = problem.with_limit(least + 0.05)
    assert greedy.certify(problem.policy(0.0), 30.0).gap < 0
    assert len({form for claim in certificates.CLAIMS for form in claim}) == 10
