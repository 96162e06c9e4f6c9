"""Assignments 4, 5 and 6: their oracles against the library, by a second road, and what is special to them.

What every exercise must be (stub fails, solution passes, mistakes are told) is tested over all assignments
elsewhere.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from cdpo_edu import losses, sequences
from cdpo_edu.classroom import seeds
from cdpo_edu.classroom.agreement import disagreement
from cdpo_edu.classroom.exercises import dpo, dpo_labels, exercise_named
from cdpo_edu.pairs import ScoredPairs
from cdpo_edu.score_table import ScoreTable


def some(key, count=5):
    """Return instances of an exercise, the same in every run."""
    exercise = exercise_named(key)
    return [exercise.draw(seeds.generator("tests", key, str(i))) for i in range(count)]


def test_mistakes_are_told_on_a_single_instance():
    """So that marking never depends on luck: no two named answers agree where one of them is right."""
    for key in ("response_mask", "response_logp", "dpo_loss", "relabel", "first_loss", "score_scale"):
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


def test_the_classroom_stays_light():
    """The list of all exercises needs numpy; torch, which the capstone uses, waits until it is asked for."""
    code = "import sys, cdpo_edu.classroom.exercises; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
