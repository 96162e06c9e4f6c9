"""How long a run takes and what it leaves on disk.

The hours come from a probe: a training step, a reading of log-probabilities and a drawing of answers are
timed with full batches and multiplied by how often the run does them. A score model's reading is counted like
the policy's own.

Left out: fitting score models, loading, and reports, which are short beside the rest.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from .plan import Plan
from .shadow import Sizes, shadow_trunk


class Work(NamedTuple):
    """What a run goes through: pairs, dual prompts, rounds, steps of each, answers per dual prompt."""

    pairs: int
    prompts: int
    rounds: int
    steps: int
    samples: int


def disk(plan: Plan, sizes: Sizes, work: Work) -> int:
    """Return the bytes of a run folder.

    Adapters are kept three times (reference, newest state, policy), plus a copy while one replaces another;
    the columns of the pairs and of every round's answers are float64.
    """
    tuned = 4 * sizes.trained_parameters
    scorers = sum(4 * shadow_trunk(plan.model)[1] for name in (plan.reward, plan.cost) if name == "fit")
    drawn = work.prompts * work.samples * (work.rounds + 1)
    return 4 * tuned + scorers + 8 * 8 * (work.pairs + drawn) + 8 * drawn * (plan.prompt + plan.response)


class Probe(NamedTuple):
    """Seconds of one optimiser step, of one batch read, of one batch drawn."""

    step: float
    read: float
    sample: float


def probe(plan: Plan) -> Probe:
    """Time each pass with full batches, after one that is not counted: it pays for the setup."""
    import torch

    from .measure import policy_of, preferences_of, texts

    policy = policy_of(plan)
    given = preferences_of(plan)
    prompts = texts(plan.prompt + plan.response, plan.eval_rows, 0)
    answers = texts(plan.prompt + plan.response, plan.eval_rows, 5)
    generator = torch.Generator().manual_seed(0)

    def timed(action: Any) -> float:
        action()
        start = time.perf_counter()
        action()
        if plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return Probe(
        timed(lambda: policy.fit(given, beta=0.1, steps=2, seed=0)) / 2,
        timed(lambda: policy.log_prob(prompts, answers)),
        timed(lambda: policy.sample(prompts, 1, generator=generator)),
    )


def predicted_seconds(plan: Plan, work: Work, probe: Probe) -> dict[str, float]:
    """Return the seconds of each kind of pass over a whole run.

    Every round draws answers, reads them under policy and reference, scores them and trains; round 0 only
    measures. The pairs are read once by the reference and scored once.

    >>> work = Work(pairs=64, prompts=8, rounds=2, steps=10, samples=4)
    >>> predicted_seconds(Plan("m", eval_rows=32), work, Probe(2.0, 3.0, 5.0))
    {'train': 40.0, 'read': 30.0, 'sample': 15.0}
    """
    drawn = work.prompts * work.samples * (work.rounds + 1)
    scorers = sum(name is not None for name in (plan.reward, plan.cost))
    read = 2 * work.pairs + 2 * drawn + scorers * (2 * work.pairs + drawn)
    return {
        "train": work.rounds * work.steps * probe.step,
        "read": read / plan.eval_rows * probe.read,
        "sample": drawn / plan.eval_rows * probe.sample,
    }


def arithmetic_probe(plan: Plan, sizes: Sizes, *, tflops: float) -> Probe:
    """Return the seconds of each pass by counting operations: two per parameter and token, on every way.

    A frozen base has one way back (to what lies below), checkpointing one way forth more. Drawing is bound by
    reading every weight once per token: it is counted as ten times its operations.

    Parameters
    ----------
    tflops : float
        Operations per second that the device sustains, in 10^12.
    """
    rate = tflops * 1e12
    each = 2 * sizes.parameters / rate
    tokens = plan.batch_size * (plan.prompt + 2 * plan.response)
    ways = 3 if plan.checkpointing else 2
    rows = plan.eval_rows
    return Probe(
        ways * tokens * each,
        rows * (plan.prompt + plan.response) * each,
        rows * (plan.prompt + 10 * plan.response) * each,
    )
