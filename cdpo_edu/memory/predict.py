"""The peak of every phase of a run, part by part, from the model's configuration alone.

A phase holds what is always there (weights, adapters, their moments, resident score models) and what its pass
takes on top (`phases`). The largest phase is the peak.

Left out: looking for settings that fit (`fitting`); time (`hours`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .phases import Held, fitting, probing, reading, sampling, scoring, training
from .plan import GIB, MIB, Plan
from .shadow import Sizes, fake, shadow_model, shadow_trunk

SCORE_ROWS, FITTED_ROWS = 64, 32
"""Answers that a score model reads at once, and in a step when it is fitted (16 pairs)."""

CPU_OVERHEAD = 48 * MIB
"""What a process keeps besides tensors: autograd's nodes, kernels' scratch, the tokenizer, heap left over."""

CUDA_OVERHEAD, CUDA_SLACK = 0.75 * GIB, 1.08
"""The driver's context with its libraries, and the allocator's rounding. Assumed, not measured."""


class Phase(NamedTuple):
    """A phase's peak in bytes, by part."""

    name: str
    weights: int
    adapters: int
    optimiser: int
    scorers: int
    activations: int
    rest: int
    overhead: int

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self[1:])


class Prediction(NamedTuple):
    """What a plan needs, phase by phase."""

    plan: Plan
    sizes: Sizes
    phases: list[Phase]

    @property
    def peak(self) -> Phase:
        """Return the phase that needs most."""
        return max(self.phases, key=lambda phase: phase.total)

    def phase(self, name: str) -> Phase:
        """Return a phase by its name: train, read, sample, score reward, ..."""
        return next(phase for phase in self.phases if phase.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Return the prediction as JSON can hold it, in bytes."""
        phases = [phase._asdict() | {"total": phase.total} for phase in self.phases]
        return {
            "plan": self.plan._asdict(),
            "parameters": self.sizes.parameters,
            "trained_parameters": self.sizes.trained_parameters,
            "peak": self.peak.total,
            "peak_phase": self.peak.name,
            "phases": phases,
        }


def predict(plan: Plan) -> Prediction:
    """Return what ``plan`` will need; no weight is read.

    Parameters
    ----------
    plan : Plan

    Raises
    ------
    InputError
        When the plan cannot be, or the model has no configuration.
    """
    model, sizes = shadow_model(plan.checked())
    with fake(model):
        passes = {"probe": probing(model, plan)} if plan.share_prompts else {}
        passes["train"] = training(model, plan)
        passes["read"], passes["sample"] = reading(model, plan), sampling(model, plan)
    base = _Resident(plan, sizes)
    phases = [base.phase(name, held) for name, held in passes.items()]
    return Prediction(plan, sizes, [*phases, *_scorer_phases(plan, base)])


class _Resident:
    """What is there in every phase."""

    def __init__(self, plan: Plan, sizes: Sizes) -> None:
        self.plan, self.weights = plan, sizes.weights
        tuned = 4 * sizes.trained_parameters
        self.adapters = tuned if plan.lora_rank is not None else sizes.weights  # else the reference's copy
        self.moments = 2 * tuned
        self.trunks = [_trunk_bytes(name, plan) for name in (plan.reward, plan.cost) if name is not None]

    def phase(self, name: str, held: Held, *, scorers: int | None = None) -> Phase:
        if scorers is None:
            scorers = sum(self.trunks) if self.plan.scorers == "resident" else 0
        moments = self.moments if name == "train" else 0
        rest = held.peak - held.activations
        parts = (self.weights, self.adapters, moments, scorers, held.activations, rest)
        if self.plan.device == "cpu":
            return Phase(name, *parts, CPU_OVERHEAD)
        return Phase(name, *parts, int(CUDA_OVERHEAD + (CUDA_SLACK - 1) * sum(parts)))


def _trunk_bytes(name: str, plan: Plan) -> int:
    return 4 * shadow_trunk(plan.model if name == "fit" else name)[1]


def _scorer_phases(plan: Plan, base: _Resident) -> list[Phase]:
    """Return the phases of scoring answers with each score model, and of fitting it where it is fitted."""
    phases = []
    length = plan.prompt + plan.response
    for role, name in (("reward", plan.reward), ("cost", plan.cost)):
        if name is None:
            continue
        trunk, count = shadow_trunk(plan.model if name == "fit" else name)
        with fake(trunk):
            score = scoring(trunk, rows=SCORE_ROWS, length=length)
            fit = fitting(trunk, rows=FITTED_ROWS, length=length) if name == "fit" else None
        there = sum(base.trunks) if plan.scorers == "resident" else 4 * count
        phases.append(base.phase(f"score {role}", score, scorers=there))
        if fit is not None:
            phases.append(base.phase(f"fit {role}", fit, scorers=there)._replace(optimiser=8 * count))
    return phases
