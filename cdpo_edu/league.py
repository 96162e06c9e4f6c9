r"""The league: every method on the same problems, pairs and budgets, judged by the exact optimum.

For each seed one world, one reference and one set of scored pairs are made by the tier's own builder, and
every method starts from that reference. It is given the tier's budget of gradient steps and of answers per
dual prompt for its **whole** fit, tuning included: a sweep of four multipliers trains each for a quarter of
the steps and measures each on a quarter of the answers. What was used up is shown beside the result; an
engine that converges before its steps are used up (the bandit's does) uses fewer.

Judged are closeness, 1 - KL(pi, optimum)/KL(reference, optimum), the violation max(0, E[c] - C) and E[c], all
by enumeration and none on a method's own samples; means over seeds with Student's t intervals.

Left out: tiers whose answers cannot be listed; learned scores (gold ones tell methods apart, not scorers).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from .certificate import enumerated, world_problem
from .constrained import ConstrainedDPO
from .evaluate import Estimate, clustered_mean
from .exact import FiniteProblem
from .history import Record
from .methods import SACPO, FixedLam, KnownLam, Method, MoCAN, Spent
from .methods.contract import share
from .pairs import ScoredPairs
from .presets import Config, configure
from .tiers import BUILDERS, Job, Say
from .types import InputError, Policy

Entry = Callable[..., Method]
"""A method's class, or anything called as ``(policy, *, beta, cost_limit, steps, samples, seed)``."""


class DualDescent:
    """`ConstrainedDPO` as a method of the league: the same loop, its budgets stated for the whole run.

    Parameters are those of every method; ``rounds`` shares out the steps, and with round 0, which draws from
    the reference, the samples.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        beta: float,
        cost_limit: float,
        steps: int = 600,
        samples: int = 448,
        rounds: int = 6,
        seed: int = 0,
    ) -> None:
        self.policy = policy
        self.loop = ConstrainedDPO(
            policy,
            beta=beta,
            cost_limit=cost_limit,
            rounds=rounds,
            steps=share(steps, rounds, "steps"),
            samples=share(samples, rounds + 1, "samples", least=2),
            early_stop=False,  # no method of a league may ask the exact optimum whether it is done
            seed=seed,
        )

    def fit(self, scored: ScoredPairs) -> DualDescent:
        """Run every round and return ``self``."""
        self.loop.fit(scored)
        self.history_: list[Record] = self.loop.history_
        self.lam_: float = self.history_[-1].lam
        prompts = scored.world.prompts if scored.world is not None else scored.prompt_sets.dual
        drawn = len(self.history_) * self.loop.samples * len(prompts)
        self.spent_: Spent = Spent(sum(record.grad_steps for record in self.history_), drawn, drawn, 1)
        return self


METHODS: dict[str, Entry] = {
    "reward alone": partial(FixedLam, lam=0.0),
    "fixed lam, 4 tried": FixedLam,
    "fixed lam, 8 tried": partial(FixedLam, lams=[0.5 * 2 ** (k / 2) for k in range(8)]),
    "SACPO, reward first": partial(SACPO, order="reward first"),
    "SACPO, safety first": partial(SACPO, order="safety first"),
    "MoCAN": MoCAN,
    "C-DPO": DualDescent,
    "exact lam": KnownLam,
}
"""The house's entries, from the baseline without a limit to the yardstick that is told the multiplier."""


class Terms(NamedTuple):
    """What all methods play under; ``steps``, ``samples`` (per dual prompt) are the budgets of one fit."""

    tier: str
    seeds: tuple[int, ...]
    beta: float
    cost_limit: float
    steps: int
    samples: int


class Play(NamedTuple):
    """One method on one seed's problem: exact expectations, its multiplier and the exact one, its bill."""

    method: str
    seed: int
    closeness: float
    violation: float
    cost: float
    lam: float | None
    lam_exact: float | None
    spent: Spent


class Standing(NamedTuple):
    """One method over all seeds: means with 95 % intervals by Student's t, and the mean bill of a seed."""

    method: str
    closeness: Estimate
    violation: Estimate
    cost: Estimate
    steps: float
    sampled: float
    scored: float
    trials: float


class League(NamedTuple):
    """Every play, and the terms on which they were played."""

    terms: Terms
    plays: tuple[Play, ...]

    def standings(self) -> list[Standing]:
        """Return one row per method, in the order in which they entered."""
        names = dict.fromkeys(play.method for play in self.plays)
        return [_standing(name, [play for play in self.plays if play.method == name]) for name in names]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values, None for a bound that is not finite (one seed)."""
        plays = [play._asdict() | {"spent": play.spent._asdict()} for play in self.plays]
        rows = [_flat(row) for row in self.standings()]
        return self.terms._asdict() | {"seeds": [*self.terms.seeds], "standings": rows, "plays": plays}


def _standing(name: str, plays: list[Play]) -> Standing:
    def over_seeds(column: str) -> Estimate:
        values = [[getattr(play, column)] for play in plays]
        return clustered_mean(torch.tensor(values, dtype=torch.float64))

    bill = torch.tensor([play.spent for play in plays], dtype=torch.float64).mean(dim=0).tolist()  # (4,)
    steps, sampled, scored, trials = bill
    return Standing(
        name,
        closeness=over_seeds("closeness"),
        violation=over_seeds("violation"),
        cost=over_seeds("cost"),
        steps=steps,
        sampled=sampled,
        scored=scored,
        trials=trials,
    )


def _flat(row: Standing) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row._asdict().items():
        if isinstance(value, Estimate):
            bounds = {f"{name}_low": value.low, f"{name}_high": value.high}
            flat |= {name: value.value} | {k: v if math.isfinite(v) else None for k, v in bounds.items()}
        else:
            flat[name] = value
    return flat


def league(
    tier: str = "bandit",
    methods: Mapping[str, Entry] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    say: Say = lambda line: None,
) -> League:
    """Let every method play on every seed's problem and judge them exactly.

    Parameters
    ----------
    tier : {"bandit", "toy"}
    methods : mapping from names to entries
        `METHODS` where none are given.
    seeds : sequence of int
        Each makes its own world (bandit) or cook (toy), pairs and draws; all methods meet the same ones.
    say : callable
        Told each result as it comes.

    Raises
    ------
    InputError
        When an entry cannot be called as a method, lacks a result, overdraws a budget or refuses the task.
    """
    entries = dict(METHODS if methods is None else methods)
    if not seeds or not entries:
        raise InputError("a league needs at least one seed and one method")
    config = task(tier)
    terms = terms_of(config, seeds)
    for name, entry in entries.items():
        _check_call(name, entry)
    plays: list[Play] = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            job = BUILDERS[tier](replace(config, seed=seed), Path(folder), say)
            plays += _one_seed(job, entries, terms, seed, say)
    return League(terms, tuple(plays))


def task(tier: str) -> Config:
    """Return the tier's preset, on gold scores."""
    if tier not in ("bandit", "toy"):
        raise InputError(f"tier {tier}: a league needs answers that can all be listed: bandit or toy")
    return configure(tier, gold=True if tier == "toy" else None)


def terms_of(config: Config, seeds: Sequence[int]) -> Terms:
    """Return the terms of a preset: its rounds' steps together, and its rounds' samples with round 0's."""
    assert config.cost_limit is not None  # both presets have one
    steps, samples = config.rounds * config.max_steps, (config.rounds + 1) * config.samples
    return Terms(config.tier, tuple(seeds), config.beta, config.cost_limit, steps, samples)


def _one_seed(job: Job, entries: Mapping[str, Entry], terms: Terms, seed: int, say: Say) -> list[Play]:
    problem = world_problem(job.scored, beta=terms.beta, cost_limit=terms.cost_limit)
    if problem.solve().status == "infeasible":
        raise InputError(f"seed {seed}: no policy of this world meets the limit; leave the seed out")
    plays = []
    for name, entry in entries.items():
        try:
            play = _play(name, entry, job, problem, terms, seed)
        except InputError as error:
            raise InputError(f"{name}, seed {seed}: {error}") from error
        say(f"seed {seed}, {name}: closeness {play.closeness:.4f}, cost {play.cost:.4f}")
        plays.append(play)
    return plays


def _play(name: str, entry: Entry, job: Job, problem: FiniteProblem, terms: Terms, seed: int) -> Play:
    policy = job.fresh()
    keywords = {key: getattr(terms, key) for key in ("beta", "cost_limit", "steps", "samples")}
    method = entry(policy, **keywords, seed=seed)
    method.fit(job.scored)
    _check_results(method, terms, prompts=len(problem.prompt_probs))
    assert job.scored.world is not None  # both tiers are worlds
    probs = enumerated(job.scored.world, policy).numpy()
    gap, cost, exact = problem.certify(probs), problem.evaluate(probs).cost, problem.solve().lam
    assert not isinstance(cost, tuple) and not isinstance(exact, tuple)  # one limit
    closeness = math.nan if gap.closeness is None else gap.closeness
    return Play(name, seed, closeness, gap.violation, cost, method.lam_, exact, method.spent_)


def _check_call(name: str, entry: Entry) -> None:
    try:
        inspect.signature(entry).bind(None, beta=0.5, cost_limit=0.0, steps=1, samples=2, seed=0)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: the league calls it with (policy, beta=, cost_limit=, steps=, samples=, seed=), "
            f"which it does not take: {error}"
        ) from error


def _check_results(method: Method, terms: Terms, *, prompts: int) -> None:
    missing = [name for name in ("policy", "history_", "lam_", "spent_") if not hasattr(method, name)]
    if missing:
        raise InputError(f"after fit it has no {', '.join(missing)}; a method leaves them all")
    spent = method.spent_
    if not isinstance(spent, Spent):
        raise InputError(f"spent_ must be a cdpo_edu.methods.Spent, not {type(spent).__name__}")
    for what, used, budget in (
        ("gradient steps", spent.steps, terms.steps),
        ("sampled answers", spent.sampled, terms.samples * prompts),
    ):
        if used > budget:
            raise InputError(f"{used} {what} were used where every method has {budget}")
