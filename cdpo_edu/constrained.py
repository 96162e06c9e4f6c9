"""Constrained DPO: dual descent around DPO, one loop for every tier.

One round is: label the pairs by r - lam * c; fit the policy to them by DPO; draw fresh samples of the
policy on the dual prompts; measure their cost; step lam (Liu, Sun & Zheng 2024, arXiv 2403.02475,
Algorithm 1). Two additions of ours, each with a switch:

* the first lam is the exact multiplier of the *sampled* problem, solved on the reference's own samples
  that round 0 draws anyway (Huang et al. 2024, arXiv 2405.19544, call this the one-shot dual);
* the samples of every measurement are recycled as pairs for the rounds that follow.

Left out: several constraints at once; the verdict on the judge prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import processes
from .certificate import CLOSENESS_TOLERANCE, cost_tolerance, exact_certificate, world_problem
from .evaluate import Samples, mean_over_prompts, measure, misfit, prompt_weights, recycled
from .exact import FiniteProblem
from .history import Record
from .lagrangian import CurvatureRule, Rule, Visit
from .loop_state import LoopState
from .pairs import Labels, ScoredPairs
from .sample_size import Question, cost_bounds, estimate, measure_until_clear, question
from .sampled_certificate import sampled_certificate
from .score_table import OneShot, ScoreTable
from .settings import Start, check_choices, check_problem, check_settings
from .stopping import Stop, averaged_lam, out_of_reach, settled
from .types import FitResult, InputError, Policy

LISTED_EACH_ROUND = 100_000
"""Prompts times answers up to which a run looks at its exact certificate between rounds."""


class ConstrainedDPO:
    """Tune ``policy`` to maximise E[r] - beta KL(pi || pi_ref) subject to E[c] <= C.

    Parameters
    ----------
    policy : Policy
        Tuned in place; its reference must have been frozen from it.
    beta : float
        Strength of the KL tie, above 0; 0.1 to 1 for scores in nats.
    cost_limit : float, optional
        C for an anchored cost. Exactly one of the two limits must be given.
    margin : float
        How far below the limit the dual steps aim, at least 0, in the cost's unit; what training leaves over
        then does not end above it. Outside a world, where a cost is known by its interval alone, they aim at
        least half an interval below. The certificate is held against the limit itself. At 0 they aim at it.
    cost_limit_relative : float, optional
        M in E_pi[c] <= E_ref[c] - M; needs no anchor. C is measured in round 0 and frozen.
    rounds : int
        Dual rounds at most, at least 1.
    steps : int
        Gradient steps of each round's DPO fit.
    samples : int
        Answers per dual prompt of each measurement, at least 2.
    most_samples : int, optional
        Go on from ``samples``, doubling, until the side of the limit is clear or this many are drawn
        (`sample_size`). Round 0, on which the first lam and a relative limit are solved, draws this many.
    labels : {"soft", "bernoulli", "hard"}
    rule : Rule
        How lam moves; `GradientRule(eta)` is the paper's.
    start : float or "one-shot"
        The first multiplier.
    recycle : bool
        Add each measurement's samples to the pairs of later rounds.
    early_stop : bool
        End before the last round when the certificate is `optimal` or `slack` at full closeness (where up to
        `LISTED_EACH_ROUND` answers can be listed), or, outside a world, when two rounds in a row cannot tell
        the cost from the limit or show it out of reach (`stopping`).
    cold : callable, optional
        Returns an untrained copy of the policy. Each round is then fitted from it and not from the round
        before: the policy no longer depends on the path of lam, and every round costs a whole run.
    seed : int
        Root of every random draw; equal seeds give equal bytes on a CPU.

    Attributes
    ----------
    history_ : list of Record
    certificate_ : dict
        As certificate.json; available once the last round is done.
    problem_ : FiniteProblem or None
        The exact problem behind an exact certificate; None where the prompts cannot be enumerated.
    stop_ : Stop or None
        Why the run ended before its last round; None where it did not.
    one_shot_ : OneShot or None
        What round 0's samples said of the first multiplier and of the limit's reach; None with a given
        ``start``, and after `load`.

    Examples
    --------
    >>> from cdpo_edu import SafetyBandit, TabularPolicy
    >>> world = SafetyBandit.demo(seed=0)
    >>> policy = TabularPolicy.like(world)
    >>> scored = world.pairs(2000, seed=1).score(world.reward, world.cost, policy.frozen())
    >>> run = ConstrainedDPO(policy, cost_limit=0.0, beta=0.5, samples=512, seed=0).fit(scored)
    >>> run.certificate_["status"]
    'optimal'
    """

    def __init__(
        self,
        policy: Policy,
        *,
        beta: float,
        cost_limit: float | None = None,
        cost_limit_relative: float | None = None,
        margin: float = 0.0,
        rounds: int = 6,
        steps: int = 100,
        samples: int = 64,
        most_samples: int | None = None,
        labels: Labels = "soft",
        rule: Rule | None = None,
        start: Start = "one-shot",
        recycle: bool = True,
        early_stop: bool = True,
        cold: Callable[[], Policy] | None = None,
        seed: int = 0,
    ) -> None:
        check_settings(beta, cost_limit, cost_limit_relative, rounds, steps, samples, most_samples)
        check_choices(labels, start)
        if not (0 <= margin < float("inf")):
            raise InputError(f"margin must be a number of at least 0, not {margin}")
        self.policy, self.beta, self.seed = policy, beta, seed
        self.cost_limit, self.cost_limit_relative, self.margin = cost_limit, cost_limit_relative, margin
        self.rounds, self.steps, self.labels = rounds, steps, labels
        self.samples, self.most_samples = samples, most_samples
        self.rule: Rule = rule if rule is not None else CurvatureRule()
        self.start, self.recycle = start, recycle
        self.early_stop, self.cold = early_stop, cold
        self.stop_: Stop | None = None
        self.state_: LoopState | None = None
        self._asked: Question | None = None
        self.problem_: FiniteProblem | None = None
        self.one_shot_: OneShot | None = None

    @property
    def history_(self) -> list[Record]:
        """Return the records so far."""
        return self.state_.history if self.state_ is not None else []

    def fit(self, scored: ScoredPairs) -> ConstrainedDPO:
        """Run every round and return ``self``."""
        for _ in self.iterate(scored):
            pass
        return self

    def iterate(self, scored: ScoredPairs) -> Iterator[Record]:
        """Yield one record per round, round 0 (the reference) first; go on where `load` left off.

        Where every response can be listed, a limit that no policy meets is proved before training, and round
        0 stays the only one.

        Raises
        ------
        InputError
            When an absolute limit meets a cost without a zero.
        """
        check_problem(scored, self.cost_limit)
        if self.state_ is None:
            yield self._measure_reference(scored)
        state = self.state_
        assert state is not None
        if scored.world is not None:
            self.problem_ = world_problem(scored, beta=self.beta, cost_limit=state.cost_limit)
        self._asked = self._question(scored, state)
        within_reach = self.problem_ is None or self.problem_.solve().status != "infeasible"
        self._proof: dict[str, Any] | None = None
        while within_reach and len(state.history) <= self.rounds and not self._done(state):
            yield self._one_round(state)
        self.certificate_ = self._certify(state)

    def _done(self, state: LoopState) -> bool:
        """Tell whether nothing is left to learn, and keep the reason in ``stop_``."""
        self.stop_ = self._reason(state) if self.early_stop and state.walk else None
        return self.stop_ is not None

    def _reason(self, state: LoopState) -> Stop | None:
        if self.problem_ is None:
            now = state.history[-1]
            reached = out_of_reach(state.walk, state.cost_limit, state.last_cost)
            if self.margin and now.cost_high > now.cost_limit:
                return reached  # without a tolerance it is not enough to be near
            return reached or settled(state.walk, self._aim(now, state.pairs))
        if self.problem_.reference.size > LISTED_EACH_ROUND:
            return None
        last, away = state.walk[-1], self.problem_.certify(self.problem_.reference).gap_kl_term
        far = state.misfit > 2 * (1 - CLOSENESS_TOLERANCE) * (away or 0.0) / self.beta
        off = abs(last.cost - self._aim(state.history[-1], state.pairs))
        near = max(self.margin, cost_tolerance(state.pairs.cost_scorer)) + 2 * last.stderr
        if far or (off > near and last.lam > 0):
            return None  # listing every answer to learn that it is not there yet would be a waste
        self._proof = exact_certificate(self.problem_, state.pairs, self.policy)
        status, closeness = self._proof["status"], self._proof["closeness"]
        if status not in ("optimal", "slack") or closeness is None or closeness < CLOSENESS_TOLERANCE:
            return None
        return Stop("certified", f"the certificate is {status}, at closeness {closeness:.4f}")

    def _measure_reference(self, scored: ScoredPairs) -> Record:
        samples = self._draw(scored, 0)
        cost = mean_over_prompts(samples.cost, scored)
        limit = self.cost_limit
        if limit is None:
            limit = cost.value - float(self.cost_limit_relative or 0.0)
        nothing = FitResult(float("nan"), 0)
        record = self._record(0, 0.0, scored, samples, limit, nothing, 0)
        lam = self._first_lam(samples, scored, self._aim(record, scored))
        target = scored.label(0.0, labels=self.labels, uniforms=self._uniforms(scored)).target
        self.state_ = LoopState(
            limit, lam, scored, target, samples.reward, samples.cost, samples.cost, [record]
        )
        return record

    def _one_round(self, state: LoopState) -> Record:
        number, lam, scored = len(state.history), state.lam, state.pairs
        preferences = scored.label(lam, labels=self.labels, uniforms=self._uniforms(scored))
        known = len(state.last_target)
        flipped = int(((preferences.target[:known] > 0.5) != (state.last_target > 0.5)).sum())
        progress = (0.0, 1.0) if self.cold else ((number - 1) / self.rounds, number / self.rounds)
        if self.cold is not None:
            self.policy = self.cold()
        self._proof = None
        fit = self.policy.fit(
            preferences, beta=self.beta, steps=self.steps, seed=self._seed(number), progress=progress
        )
        samples = self._draw(scored, number)
        record = self._record(number, lam, scored, samples, state.cost_limit, fit, flipped)
        state.walk.append(_visit(lam, samples, scored))
        aim = self._aim(record, scored)
        state.lam = processes.agreed(self.rule(state.walk, aim, beta=self.beta))
        state.last_target, state.last_cost = preferences.target, samples.cost
        state.misfit = misfit(samples, prompt_weights(scored, samples.prompts), lam=lam, beta=self.beta)
        if self.recycle:
            state.pairs = scored.extended(recycled(samples, scored))
        state.history.append(record)
        return record

    def _draw(self, scored: ScoredPairs, number: int) -> Samples:
        generator, most = torch.Generator().manual_seed(self._seed(number) + 1), self.most_samples
        if most is None or self._asked is None:
            return measure(self.policy, scored, n=most or self.samples, generator=generator)
        settings: dict[str, Any] = {"first": self.samples, "most": most, "generator": generator}
        return measure_until_clear(self.policy, scored, self._asked, **settings)

    def _question(self, scored: ScoredPairs, state: LoopState) -> Question | None:
        """Return what decides how many answers are drawn; None where their number is fixed."""
        if self.most_samples is None:
            return None
        bounds = cost_bounds(scored, self.problem_)
        given: dict[str, Any] = {"margin": self.cost_limit_relative, "reference_cost": state.reference_cost}
        return question(scored, state.cost_limit, bounds, **given)

    def _record(
        self,
        number: int,
        lam: float,
        scored: ScoredPairs,
        samples: Samples,
        limit: float,
        fit: FitResult,
        flips: int,
    ) -> Record:
        cost = mean_over_prompts(samples.cost, scored)
        if self._asked is not None:
            cost = estimate(samples, scored, self._asked)
        means = [
            mean_over_prompts(v, scored).value for v in (samples.reward, samples.logp - samples.ref_logp)
        ]
        loss = None if number == 0 else fit.loss
        return Record(
            number,
            lam,
            means[0],
            cost.value,
            cost.low,
            cost.high,
            limit,
            means[1],
            loss,
            fit.grad_steps,
            flips,
            None if self.most_samples is None else samples.cost.shape[1],
        )

    def _aim(self, record: Record, scored: ScoredPairs) -> float:
        """Return where the next multiplier shall bring the cost, from the round's record."""
        if not self.margin:
            return record.cost_limit
        half = 0.0 if scored.world is not None else record.cost_high - record.cost
        return record.cost_limit - max(self.margin, half)

    def _first_lam(self, samples: Samples, scored: ScoredPairs, limit: float) -> float:
        if self.start != "one-shot":
            return float(self.start)
        weights = prompt_weights(scored, samples.prompts)
        table = ScoreTable(samples.reward, samples.cost, prompt_probs=weights)
        self.one_shot_ = table.one_shot_lam(limit, beta=self.beta)
        if self.one_shot_.lam is not None:
            return self.one_shot_.lam
        return self.rule([_visit(0.0, samples, scored)], limit, beta=self.beta)

    def _uniforms(self, scored: ScoredPairs) -> Tensor:
        """One uniform per pair; pairs added later get the next draws, so the old ones never change."""
        generator = torch.Generator().manual_seed(self._seed(-1))
        return torch.rand(len(scored), generator=generator, dtype=torch.float64)

    def _seed(self, number: int) -> int:
        return (self.seed + 1) * 1_000_003 + 2 * number

    def _certify(self, state: LoopState) -> dict[str, Any]:
        scored, last = state.pairs, state.history[-1]
        common = {
            "lam": last.lam,
            "cost_limit": state.cost_limit,
            "cost_interval": [last.cost_low, last.cost_high],
            "lam_average": averaged_lam(state.walk, self._aim(last, scored)),
            "stopped": None if self.stop_ is None else self.stop_._asdict(),
        }
        if self.most_samples is not None:
            common["samples_drawn"] = [record.samples for record in state.history]
        if self.problem_ is not None:
            return common | (self._proof or exact_certificate(self.problem_, scored, self.policy))
        relative = self.cost_limit_relative is not None
        difference = self._asked.interval(state.last_cost) if self._asked is not None else None
        return common | sampled_certificate(state, beta=self.beta, relative=relative, difference=difference)

    def save(self, directory: Path) -> None:
        """Write policy and loop state below ``directory``; after `load` the run ends as if never stopped."""
        if self.state_ is None:
            raise InputError("nothing to save: no round has been run")
        directory.mkdir(parents=True, exist_ok=True)
        self.policy.save(directory / "policy")
        self.state_.save(directory)

    def load(self, directory: Path, scored: ScoredPairs) -> ConstrainedDPO:
        """Take the loop state back from ``directory``; the caller restores the policy's weights."""
        self.state_ = LoopState.load(directory, scored)
        return self


def _visit(lam: float, samples: Samples, scored: ScoredPairs) -> Visit:
    """Return what the dual step sees of the policy that was fitted at ``lam``."""
    cost, weights = mean_over_prompts(samples.cost, scored), prompt_weights(scored, samples.prompts)
    return Visit(lam, cost.value, cost.stderr, float((weights * samples.cost.var(dim=1)).sum()))
