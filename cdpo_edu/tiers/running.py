"""Run a tier in its folder: the world, the policy and the two scorers differ, nothing else.

A run lives in a folder (config.json, reference/, scorers/, scores/, state/, history.jsonl, policy/,
certificate.json, splits.json, card.json, report.html). Every stage is written whole before the next
begins, so a killed run goes on from its folder and ends as if it had not been killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import processes, sharding
from ..certificate import enumerated
from ..constrained import ConstrainedDPO
from ..exact import FiniteProblem
from ..gap_split import Rung, exact_rungs, gold_problem, ladder
from ..history import Record, write_history
from ..lagrangian import CurvatureRule, GradientRule
from ..long_work import kept_in
from ..pairs import digest, digest_of_batch
from ..presets import Config
from ..run_folder import (
    card_record,
    exact_curves,
    in_reading_order,
    latest_state,
    save_state,
    splits_record,
    write_json,
)
from ..types import InputError
from ..unsafe_rate import MARGIN
from .job import Job, Say
from .language import comparison, language
from .worlds import bandit, toy

BUILDERS: dict[str, Callable[[Config, Path, Say], Job]] = {"bandit": bandit, "toy": toy, "lm": language}


def train(config: Config, out: Path, *, say: Say = lambda line: None) -> Iterator[Record]:
    """Run ``config`` in the folder ``out``, yielding one record per round; files are complete at the end.

    Called again on the same folder it goes on where it stopped, repeating the rounds already done.
    """
    sharding.require_whole()
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", asdict(config))
    try:
        job = BUILDERS[config.tier](config, out, say)
    except InputError:
        if [path.name for path in out.iterdir()] == ["config.json"]:
            (out / "config.json").unlink()  # nothing was begun: the folder is free for the next try
        raise
    _nothing_changed(job, out / "inputs.json")
    write_json(out / "splits.json", splits_record(job.scored))
    run = _loop(config, job)
    if run.margin:
        say("a rate has no tolerance: the multiplier aims 5 % below the limit, or half an interval")
    if (latest := latest_state(out)) is not None:
        run.load(latest, job.scored)
        job.policy.restore(latest / "policy")
        yield from list(run.history_)
    rounds = run.iterate(job.scored)
    while True:
        with kept_in(out / "unfinished" / f"round-{len(run.history_):04d}"):
            if (record := next(rounds, None)) is None:
                break
            save_state(run, out)
        if record.round == 0 and run.one_shot_ is not None and run.problem_ is None:
            say(f"from the reference's samples alone: {run.one_shot_.describe()}")
        write_history(run.history_, out / "history.jsonl")
        yield record
    write_history(run.history_, out / "history.jsonl")  # a run killed between state and line lacks the line
    if processes.first():
        run.policy.save(out / "policy")
    certificate = (
        {"tier": config.tier, "scores": job.scores} | run.certificate_ | _unsafe_shares(config, job, run)
    )
    write_json(out / "certificate.json", in_reading_order(certificate))
    if config.tier == "lm":
        say("training the two baselines for the four-way table")
        write_json(out / "comparison.json", comparison(config, job, run, out))
    if run.problem_ is not None:
        write_json(out / "exact.json", exact_curves(run, run.problem_))
        if (parts := _split(job, run, run.problem_)) is not None:
            write_json(out / "split.json", parts)
    seconds = time.perf_counter() - started
    write_json(out / "card.json", card_record(job.scored, job.notes, seed=config.seed, seconds=seconds))
    if processes.first():
        from ..report import write_report

        write_report(out)


def _nothing_changed(job: Job, path: Path) -> None:
    """Note what the run is made of, or hold it against the note of the run that is gone on with."""
    scored = job.scored
    names = {
        "pairs": digest(*(digest_of_batch(part) for part in (scored.prompts, scored.y0, scored.y1))),
        "model": scored.reference.fingerprint,
        "reward": getattr(scored.reward_scorer, "fingerprint", ""),
        "cost": getattr(scored.cost_scorer, "fingerprint", ""),
        "prompt sets": scored.prompt_sets.fingerprint,
    }
    if not path.exists():
        write_json(path, names)
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, value in names.items() if begun[name] != value]
    if changed:
        raise InputError(
            f"{path.parent}: not what the run began with: {', '.join(changed)} (same names, other content); "
            "bring back what it began with, or start a new run in another folder"
        )


def _loop(config: Config, job: Job) -> ConstrainedDPO:
    rate = config.max_unsafe_rate is not None  # steps of eta 1 are for costs in nats
    return ConstrainedDPO(
        job.policy,
        beta=config.beta,
        cost_limit=config.limit,
        margin=MARGIN * (config.max_unsafe_rate or 0.0),
        cost_limit_relative=config.cost_limit_relative,
        rounds=config.rounds,
        steps=config.max_steps,
        samples=config.samples,
        most_samples=config.most_samples,
        labels=config.labels,
        early_stop=not config.all_rounds,
        cold=job.fresh if config.cold else None,
        seed=config.seed,
        rule=GradientRule(eta=1.0) if config.tier == "lm" and not rate else CurvatureRule(),
    )


def _unsafe_shares(config: Config, job: Job, run: ConstrainedDPO) -> dict[str, float]:
    """Return, for a rate, the share of answers more likely unsafe than not, and in a world the truth.

    The rate itself, the mean probability, is the certificate's cost.
    """
    if config.max_unsafe_rate is None:
        return {}
    world, cost = job.scored.world, job.scored.cost_scorer
    if world is None:
        assert run.state_ is not None
        return {"unsafe_share": float((run.state_.last_cost > 0.5).double().mean())}
    assert job.gold is not None
    probs, weights = enumerated(world, run.policy), world.prompt_probs

    def expected(values: Tensor) -> float:
        return float(weights @ (probs * values).sum(dim=1))

    own, true = world.table(cost), world.table(job.gold[1])
    return {
        "unsafe_share": expected((own > 0.5).double()),
        "true_unsafe_rate": expected(true),
        "true_unsafe_share": expected((true > 0.5).double()),
    }


def _split(job: Job, run: ConstrainedDPO, posed: FiniteProblem) -> list[dict[str, Any]] | None:
    """Return where the distance to the gold optimum comes from; None where no policy meets the limit."""
    world = job.scored.world
    assert world is not None and job.gold is not None
    gold = posed if job.scores == "gold" else gold_problem(posed, world, job.gold)
    if "infeasible" in (posed.solve().status, gold.solve().status):
        return None
    trained = Rung("training", "the policy that was trained", enumerated(world, run.policy).numpy())
    return ladder(gold, [*exact_rungs(posed, lam=run.history_[-1].lam), trained])
