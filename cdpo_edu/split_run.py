"""Split what training lost into optimisation, finite pairs and label noise, by training again.

Each part is what closeness gains when one thing is exact. The path of the multiplier is that of the run, so
nothing else differs: the same rounds and gradient steps, the same start.

* optimisation: what is missing even with soft labels and `FRESH` times as many pairs, nearly each seen once;
* finite pairs: what the run's own pairs lose against those;
* label noise: what its Bernoulli or hard labels lose against soft ones; with soft labels nothing.

Left out: the rungs that need no training (`gap_split`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .certificate import enumerated, world_problem
from .constrained import ConstrainedDPO
from .gap_split import Rung, exact_rungs, gold_problem, ladder
from .history import Record, read_history
from .lagrangian import Visit
from .pairs import Labels, ScoredPairs
from .presets import Config, read_config
from .report import write_report
from .run_folder import write_json
from .tiers import BUILDERS, Job
from .types import InputError, Policy

FRESH = 8
"""Times as many pairs as the run had: in a toy run, about one visit to each."""

Say = Callable[[str], None]


def split_run(run: Path, *, say: Say = lambda line: None) -> list[dict[str, Any]]:
    """Return the full ladder of the run folder ``run``, keep it in split.json and write its report anew.

    Raises
    ------
    InputError
        When the run is not finished, is of a tier whose answers cannot be listed, or has no exact optimum.
    """
    config, history = _finished(run)
    if config.tier == "lm":
        raise InputError(f"{run}: only answers that can all be listed have an exact optimum to split against")
    if not (run / "split.json").exists():
        raise InputError(f"{run}: no policy meets this run's limit, so there is no optimum to split against")
    job = BUILDERS[config.tier](config, run, say)
    world = job.scored.world
    assert world is not None and job.gold is not None
    posed = world_problem(job.scored, beta=config.beta, cost_limit=history[0].cost_limit)
    gold = posed if job.scores == "gold" else gold_problem(posed, world, job.gold)
    rungs = exact_rungs(posed, lam=history[-1].lam)
    for part, words, policy in _trained(config, job, history, run, say):
        rungs.append(Rung(part, words, enumerated(world, policy).numpy()))
    rows = ladder(gold, rungs)
    write_json(run / "split.json", rows)
    write_report(run)
    return rows


def _finished(run: Path) -> tuple[Config, list[Record]]:
    for name in ("config.json", "card.json"):
        if not (run / name).exists():
            raise InputError(f"{run}: no finished run there ({name} is missing); see cdpo-edu train --resume")
    return read_config(run, {}), read_history(run / "history.jsonl")


def _trained(
    config: Config, job: Job, history: Sequence[Record], run: Path, say: Say
) -> list[tuple[str, str, Policy]]:
    """Return (part, words, policy) of the three rungs of training."""
    assert job.redrawn is not None
    say(f"training again on {FRESH} times as many pairs")
    fresh = repeated(config, job, history, job.redrawn(FRESH, config.seed + 1_000), labels="soft")
    own = job.fresh()
    own.restore(run / "policy")
    soft = own
    if config.labels != "soft":
        say("training again with soft labels")
        soft = repeated(config, job, history, job.scored, labels="soft")
    return [
        ("optimisation", f"soft labels, {FRESH} times as many pairs", fresh),
        ("finite pairs", "soft labels, the run's own pairs", soft),
        ("label noise", f"the run itself, {config.labels} labels", own),
    ]


def repeated(
    config: Config, job: Job, history: Sequence[Record], scored: ScoredPairs, *, labels: Labels
) -> Policy:
    """Return a policy trained from the reference along the run's multipliers, on other pairs or labels."""
    lams = [record.lam for record in history[1:]]

    def replay(walk: Sequence[Visit], cost_limit: float, *, beta: float) -> float:
        return lams[min(len(walk), len(lams) - 1)]

    again = ConstrainedDPO(
        job.fresh(),
        beta=config.beta,
        cost_limit=history[0].cost_limit,
        rounds=config.rounds,
        steps=config.max_steps,
        samples=config.samples,
        labels=labels,
        rule=replay,
        start=lams[0],
        early_stop=False,
        cold=job.fresh if config.cold else None,
        seed=config.seed,
    )
    list(islice(again.iterate(scored), len(history)))
    return again.policy
