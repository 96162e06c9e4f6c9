"""Assignments 4, 5 and 6: their oracles against the library, by a second road, and what is special to them.

What every exercise must be (stub fails, solution passes, mistakes are told) is tested over all assignments
elsewhere.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from cdpo_edu import losses, sequences
from cdpo_edu.classroom import seeds
from cdpo_edu.classroom.agreement import disagreement
from cdpo_edu.classroom.exercises import (
    broken_runs,
    capstone,
    capstone_parts,
    capstone_runs,
    dpo,
    dpo_labels,
    dual_walks,
    exercise_named,
    run_histories,
    tiny_policy,
)
from cdpo_edu.classroom.sources import read_source
from cdpo_edu.exact import FiniteProblem
from cdpo_edu.lagrangian import dual_step, penalized
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.score_table import ScoreTable

SINGLE = (
    "response_mask response_logp dpo_loss relabel first_loss score_scale "
    "expected_row bug_in_the_price bug_in_the_policy long_step repaired_round "
    "masked_logp pair_loss price_step end_of_the_run"
).split()
"""Exercises of which one instance tells all mistakes apart."""


def some(key, count=5):
    """Return instances of an exercise, the same in every run."""
    exercise = exercise_named(key)
    return [exercise.draw(seeds.generator("tests", key, str(i))) for i in range(count)]


def test_mistakes_are_told_on_a_single_instance():
    """So that marking never depends on luck: no two named answers agree where one of them is right."""
    for key in SINGLE:
        exercise = exercise_named(key)
        for inputs in some(key, 3):
            for variant in exercise.variants:
                for wrong in exercise.mistakes(variant):
                    words = exercise.verdict([inputs], [wrong.answer(**inputs)], variant)
                    assert words == wrong.message, (key, variant, wrong.name)


def test_a_value_that_is_wrong_is_not_told_the_right_one():
    assert disagreement({"lam": 1.0}, {"lam": 2.5}, reveal=False) == "['lam'] is 1, which is not right"
    exercise, inputs = exercise_named("first_loss"), some("first_loss", 1)[0]
    right = exercise.oracles["standard"](**inputs)
    words = exercise.verdict([inputs], [right | {"soft_floor": 0.123}], "standard")
    assert words == "first_loss ['soft_floor'] is 0.123, which is not right"


# 04 DPO by hand


def test_the_mask_is_that_of_the_librarys_rows():
    """The library builds rows from lists; their mask is the oracle's on the rows it makes, padded by end."""
    prompts, responses = [[5], [0, 6], [3, 4]], [[1, 2, 0], [2, 0], [1, 1, 1]]
    rows = sequences.pad_rows(prompts, responses, pad=0)
    got = dpo.response_mask(rows.ids.numpy(), np.array([1, 2, 2]), end=0)
    assert (got == rows.response.numpy()).all()
    assert got[1].tolist() == [False, False, True, True, False]  # the prompt's own end token is not the end


def test_the_summed_log_probability_is_the_librarys():
    for inputs in some("response_logp"):
        ids, mask = torch.tensor(inputs["tokens"]), torch.tensor(inputs["mask"])
        rows = sequences.Rows(ids, torch.ones_like(ids), mask)
        library = sequences.sequence_logp(torch.tensor(inputs["logits"]), rows)
        assert np.allclose(dpo.response_logp(**inputs), library.numpy(), atol=1e-5)


def test_the_aligned_wording_is_the_same_rows_one_place_later():
    inputs = some("response_logp", 1)[0]
    moved = {"logits": np.roll(inputs["logits"], 1, axis=1)}  # place t now speaks of token t
    aligned = exercise_named("response_logp").oracles["aligned"]
    assert np.allclose(aligned(**(inputs | moved)), dpo.response_logp(**inputs))


def test_the_loss_is_the_librarys():
    for inputs in some("dpo_loss"):
        columns = {name: torch.tensor(inputs[name]) for name in ("logp", "ref_logp", "target")}
        library = losses.dpo_loss(**columns, beta=inputs["beta"]).numpy()
        assert np.allclose(dpo.dpo_loss(**inputs), library)
        assert np.isfinite(library).all() and not np.isfinite(dpo._overflowing(**inputs)).all()


def test_labels_and_flips_are_the_librarys():
    for inputs in some("relabel"):
        columns = torch.tensor(inputs["reward"]), torch.tensor(inputs["cost"])
        rest = torch.zeros(12, 2), None, None, None, None
        pairs = ScoredPairs(["x"] * 12, ["a"] * 12, ["b"] * 12, *columns, *rest)
        found = dpo_labels.relabel(**inputs)
        assert np.allclose(found["target"], pairs.label(inputs["lam_new"]).target.numpy())
        sides = [pairs.label(inputs[lam], labels="hard").target for lam in ("lam_old", "lam_new")]
        assert found["flipped"] == int((sides[0] != sides[1]).sum())
        assert 2 <= found["flipped"] <= 5


def test_the_first_loss_and_its_floor_are_the_librarys():
    """At the reference the margin is 0; at the margin log(p/(1-p)) the loss is least."""
    for inputs in some("first_loss"):
        target, ref = torch.tensor(inputs["target"]), torch.tensor(inputs["ref_logp"])
        found = dpo_labels.first_loss(**inputs)
        for name, labels in (("soft_start", target), ("hard_start", target.round())):
            assert found[name] == pytest.approx(
                losses.dpo_loss(ref, ref, labels, inputs["beta"]).mean().item()
            )
        least = losses.soft_logistic_loss(target.logit(), target).mean().item()
        nearby = losses.soft_logistic_loss(target.logit() + 0.1, target).mean().item()
        assert found["soft_floor"] == pytest.approx(least) and nearby > least


def test_the_effective_sample_size_is_the_librarys_and_falls_with_the_scale():
    for inputs in some("score_scale"):
        score = (inputs["reward"] - inputs["lam"] * inputs["cost"]) / inputs["beta"]
        sizes = []
        for scale in inputs["scales"]:
            table = ScoreTable(scale * inputs["reward"][None], scale * inputs["cost"][None])
            sizes.append(table.effective_samples(inputs["lam"], beta=inputs["beta"]).item())
            assert dpo_labels.effective_samples(scale * score) == pytest.approx(sizes[-1])
        assert (np.diff(sizes) >= 0).all()  # scales fall
        assert dpo_labels.score_scale(**inputs)["scale"] in inputs["scales"][1:-1]


def test_the_claims_about_scales_are_so():
    rng = np.random.default_rng(0)
    reward, size = rng.normal(0, 3, 50), dpo_labels.effective_samples
    assert size(0.5 * reward / 0.1) == pytest.approx(size(reward / 0.2))
    assert size(reward + 7) == pytest.approx(size(reward))
    assert size(0 * reward) == 50
    assert size(1000 * reward) == pytest.approx(1)
    assert size(0.01 * reward) > size(0.1 * reward)  # large means near the reference


def test_statements_are_two_true_and_two_false_about_four_things():
    for inputs in some("score_scale", 20):
        truth = dpo_labels.score_scale(**inputs)["statements"]
        assert sorted(truth) == [False, False, True, True]
        about = {
            i for i, forms in enumerate(dpo_labels.CLAIMS) for text in forms if text in inputs["statements"]
        }
        assert len(about) == 4


# 05 Broken runs


def problem_of(inputs, limit=0.0):
    """Return the library's problem on an instance's tables."""
    tables = (inputs[name] for name in ("reference", "reward", "cost"))
    return FiniteProblem(*tables, beta=inputs["beta"], cost_limit=limit, prompt_probs=inputs["weights"])


def test_a_right_row_is_the_librarys():
    for inputs in some("expected_row"):
        problem = problem_of(inputs)
        library = problem.evaluate(problem.policy(inputs["lam"]))
        row = broken_runs.expected_row(**inputs)
        assert [row[name] for name in ("reward", "cost", "kl")] == pytest.approx(library[:3])


def test_a_correct_run_has_no_wrong_row_and_comes_near_the_exact_price():
    for seed in range(5):
        kitchen = run_histories.draw_kitchen(np.random.default_rng(seed))
        run = run_histories.history(kitchen)
        right = problem_of(kitchen._asdict(), kitchen.limit).solve().lam
        assert run_histories.bad_rounds(kitchen, run) == []
        assert abs(run["lam"][-1] - right) < 0.25 * right


@pytest.mark.parametrize("bug", run_histories.BUGS)
def test_the_planted_mistake_is_the_one_that_is_found(bug):
    """The instance does not hold the name: the oracle finds it in the rows, and planted again it agrees."""
    for seed in range(4):
        inputs = run_histories.draw_broken(np.random.default_rng(seed), (bug,))
        found = broken_runs.which_bug(**inputs)
        kitchen, run = broken_runs._opened(inputs)
        acted = found["round"] - (bug in ("flipped sign", "frozen multiplier"))
        shift = run["cost"][acted - 1] - run_histories.history(kitchen)["cost"][acted - 1]
        assert found["bug"] == bug
        again = run_histories.history(kitchen, bug, acted, shift=shift)
        assert disagreement(again, run, tolerance=1e-9) is None


def test_the_two_diagnoses_draw_every_mistake_of_their_kind():
    for key, bugs in (
        ("bug_in_the_price", run_histories.PRICE_BUGS),
        ("bug_in_the_policy", run_histories.POLICY_BUGS),
    ):
        drawn = [broken_runs.which_bug(**inputs) for inputs in some(key, 30)]
        assert {found["bug"] for found in drawn} == set(bugs)
        assert all(3 <= found["round"] <= 7 for found in drawn)


def test_the_longest_step_is_twice_the_inverse_curvature_and_walks_obey_it():
    for inputs in some("long_step", 8):
        lam = inputs["lam_star"]
        limit = problem_of(inputs).limit_at(lam)
        problem = problem_of(inputs, limit)
        found = dual_walks.long_step(**inputs)
        assert found["largest_step"] == pytest.approx(2 / problem.dual_curvature(lam), rel=1e-9)
        at = lam + 1e-4
        for _ in range(6):
            at = dual_step(at, problem.limit_at(at), limit, eta=inputs["step"])
        assert (abs(at - lam) < 1e-4) == found["settles"]
        assert not 0.85 < inputs["step"] / found["largest_step"] < 1.25


def test_the_repaired_round_is_the_librarys_step_and_labels():
    for inputs in some("repaired_round"):
        cost = torch.tensor(inputs["pair_cost"])
        lam = dual_step(inputs["lam"], inputs["sample_cost"].mean(), inputs["limit"], eta=inputs["step"])
        score = penalized(torch.tensor(inputs["pair_reward"]), cost, lam)
        found = dual_walks.repaired_round(**inputs)
        assert found["lam"] == pytest.approx(lam)
        assert np.allclose(found["target"], (score[:, 1] - score[:, 0]).sigmoid().numpy())


def test_the_broken_round_in_the_notebook_is_the_mistake_that_has_its_name():
    source = next(
        cell.text for cell in read_source("05_broken_runs") if cell.text.startswith("def broken_round")
    )
    names: dict = {"np": np}
    exec(source, names)
    exercise = exercise_named("repaired_round")
    given = next(wrong for wrong in exercise.wrong if wrong.name == "as it was given")
    inputs = some("repaired_round", 1)[0]
    assert disagreement(names["broken_round"](**inputs), given.answer(**inputs)) is None


# 06 Capstone


def given_code():
    """Return the names that the notebook's locked cells define."""
    names: dict = {"__name__": "notebook"}
    text = "import itertools\nimport numpy as np\nimport torch\n"
    cells = [
        cell.text for cell in read_source("06_capstone") if cell.meta.get("given") in ("language", "policy")
    ]
    exec(text + "\n".join(cells), names)
    return names, "\n".join(cells)


def test_the_notebooks_policy_is_the_packages():
    """Marking trains one and judges by the other: so their code is the same, but for comments."""
    cells, module = given_code()[1], inspect.getsource(tiny_policy)
    own = [node for node in ast.parse(module).body if isinstance(node, ast.Assign | ast.ClassDef)]
    assert [ast.dump(node) for node in ast.parse(cells).body] == [ast.dump(node) for node in own]


def test_the_languages_dishes_are_all_there_is():
    """The probabilities of a guest's 31 dishes sum to 1, so expectations over them are exact."""
    assert len(tiny_policy.DISHES) == 1 + 5 + 25
    table = capstone_runs.reference_table(3)
    assert table.shape == (2, 31) and table.sum(axis=1) == pytest.approx([1, 1], abs=1e-12)
    policy = tiny_policy.TinyPolicy(3)
    logp = capstone_parts.masked_logp(
        policy.logits().detach().numpy(), tiny_policy.TOKENS.numpy(), tiny_policy.MASK.numpy()
    )
    assert np.allclose(np.exp(logp), table)


def test_the_tables_functions_are_the_librarys():
    for inputs in some("pair_loss", 3):
        x, y = inputs["pairs"][:, 0], inputs["pairs"][:, 1:]
        columns = [torch.tensor(inputs[name][x[:, None], y]) for name in ("logp", "ref_logp")]
        library = losses.dpo_loss(*columns, torch.tensor(inputs["target"]), inputs["beta"]).mean().item()
        assert capstone_parts.pair_loss(**inputs) == pytest.approx(library)
    for inputs in some("price_step", 3):
        table = FiniteProblem(
            inputs["policy"], inputs["cost"], inputs["cost"], beta=1, cost_limit=inputs["limit"]
        )
        cost = table.evaluate(inputs["policy"]).cost
        library = dual_step(inputs["lam"], cost, inputs["limit"], eta=inputs["step"])
        assert capstone_parts.price_step(**inputs) == pytest.approx(library)


def test_the_exact_end_and_the_closeness_are_the_librarys():
    for inputs in some("end_of_the_run", 2):
        tables = {name: inputs[name] for name in ("reference", "reward", "cost")}
        best = FiniteProblem(**tables, beta=inputs["beta"], cost_limit=inputs["limit"]).solve()
        found = capstone.end_of_the_run(**inputs)
        assert found == pytest.approx({"lam": best.lam, "reward": best.reward}, abs=1e-6)
    inputs = some("constrained_dpo", 1)[0]
    for relative in (False, True):
        kitchen = capstone._kitchen(inputs, relative)
        problem = problem_of(kitchen._asdict(), kitchen.limit)
        policy = problem.policy(1.0)
        assert capstone_runs.closeness(kitchen, policy) == pytest.approx(problem.certify(policy).closeness)
        exact = capstone.best_policy(relative, **inputs)
        assert np.allclose(exact, problem.solve().probs, atol=1e-9)


def test_the_judge_asks_for_a_policy_near_the_optimum_and_under_the_limit():
    inputs = some("constrained_dpo", 1)[0]
    judge, best = capstone.judged, capstone.best_policy(**inputs)
    assert judge(inputs, best, "standard") is None
    assert judge(inputs, torch.tensor(best), "standard") is None
    assert "shape" in judge(inputs, best[:1], "standard") and "shape" in judge(inputs, None, "standard")
    assert "sums to 1" in judge(inputs, 2 * best, "standard")
    assert "sums to 1" in judge(inputs, np.where(best > 0, np.nan, 0), "standard")
    assert "closeness" in judge(inputs, best, "relative")
    reference = capstone_runs.reference_table(inputs["seed"])
    assert "closeness 0.00" in judge(inputs, reference, "standard")


def check_runs(inputs, variant):
    """Assert that a right run passes and that each mistake gets the words that are meant for it."""
    exercise = exercise_named("constrained_dpo")
    right = capstone_runs.learned(**inputs, relative=variant == "relative")
    assert exercise.verdict([inputs], [right], variant) is None
    kitchen = capstone._kitchen(inputs, variant == "relative")
    assert capstone_runs.closeness(kitchen, right) > 0.99
    for wrong in exercise.mistakes(variant):
        words = exercise.verdict([inputs], [wrong.answer(**inputs)], variant)
        assert words == wrong.message, (variant, wrong.name, words)


def test_a_right_run_passes_and_mistakes_are_told_by_their_policies():
    check_runs(some("constrained_dpo", 1)[0], "standard")


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_runs_of_more_students_in_both_wordings(number):
    inputs = some("constrained_dpo", number + 1)[-1]
    for variant in ("standard", "relative"):
        check_runs(inputs, variant)


def test_one_marking_call_is_short_by_its_number_of_steps():
    """Not by a clock: 400 steps of Adam on 930 pairs."""
    exercise, inputs = exercise_named("constrained_dpo"), some("constrained_dpo", 1)[0]
    assert exercise.trials == 1 and inputs["rounds"] * inputs["grad_steps"] == 400


def test_the_classroom_stays_light():
    """The list of all exercises needs numpy; torch, which the capstone uses, waits until it is asked for."""
    code = "import sys, cdpo_edu.classroom.exercises; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
