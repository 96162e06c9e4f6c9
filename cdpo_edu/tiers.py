"""Assembling a run of each tier: the world, the policy and the two scorers; nothing else differs.

A run lives in a folder (config.json, reference/, scorers/, scores/, state/, history.jsonl, policy/,
certificate.json, splits.json, card.json, report.html). Every stage is written whole before the next
begins, so a killed run goes on from its folder and ends as if it had not been killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .bandit import SafetyBandit, TabularPolicy
from .constrained import ConstrainedDPO
from .evaluate import mean_over_prompts, measure
from .history import Record, write_history
from .lagrangian import CurvatureRule, GradientRule
from .pairs import Pairs, ScoredPairs
from .presets import Config
from .run_folder import (
    card_record,
    exact_curves,
    in_reading_order,
    latest_state,
    once,
    save_state,
    splits_record,
    write_json,
)
from .types import InputError, Policy, Scorer

Say = Callable[[str], None]


class Job(NamedTuple):
    """What a tier hands to the loop; ``fresh`` returns one more untrained copy of the policy."""

    policy: Policy
    scored: ScoredPairs
    scores: str
    fresh: Callable[[], Policy]
    notes: dict[str, Any]


def train(config: Config, out: Path, *, say: Say = lambda line: None) -> Iterator[Record]:
    """Run ``config`` in the folder ``out``, yielding one record per round; files are complete at the end.

    Called again on the same folder it goes on where it stopped, repeating the rounds already done.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", asdict(config))
    try:
        job = BUILDERS[config.tier](config, out, say)
    except InputError:
        if [path.name for path in out.iterdir()] == ["config.json"]:
            (out / "config.json").unlink()  # nothing was begun: the folder is free for the next try
        raise
    write_json(out / "splits.json", splits_record(job.scored))
    run = _loop(config, job.policy)
    if (latest := latest_state(out)) is not None:
        run.load(latest, job.scored)
        job.policy.restore(latest / "policy")
        yield from list(run.history_)
    for record in run.iterate(job.scored):
        if record.round == 0 and run.one_shot_ is not None and run.problem_ is None:
            say(f"from the reference's samples alone: {run.one_shot_.describe()}")
        save_state(run, out)
        write_history(run.history_, out / "history.jsonl")
        yield record
    write_history(run.history_, out / "history.jsonl")  # a run killed between state and line lacks the line
    run.policy.save(out / "policy")
    certificate = {"tier": config.tier, "scores": job.scores} | run.certificate_
    write_json(out / "certificate.json", in_reading_order(certificate))
    if config.tier == "lm":
        say("training the two baselines for the four-way table")
        write_json(out / "comparison.json", _comparison(config, job, run, out))
    if run.problem_ is not None:
        write_json(out / "exact.json", exact_curves(run, run.problem_))
    seconds = time.perf_counter() - started
    write_json(out / "card.json", card_record(job.scored, job.notes, seed=config.seed, seconds=seconds))
    from .report import write_report

    write_report(out)


# ---------------------------------------------------------------- the three tiers


def _bandit(config: Config, out: Path, say: Say) -> Job:
    world = SafetyBandit.demo(config.seed)
    policy = TabularPolicy.like(world)
    scored = world.pairs(4000, seed=config.seed + 1).score(world.reward, world.cost, policy.frozen())
    return Job(policy, scored, "gold", lambda: TabularPolicy.like(world), {})


def _toy(config: Config, out: Path, say: Say) -> Job:
    from .scorers import CostModel, RewardModel
    from .toy_language import SIZES, Kitchen
    from .toy_models import RANKINGS, cook, fitted_scorer

    if config.size not in SIZES:
        raise InputError(f"--size {config.size}: the sizes are {', '.join(SIZES)}")
    kitchen = Kitchen(portions=SIZES[config.size])
    say("teaching the cook: a small transformer imitates a cookbook and becomes the reference")
    directory = out / "reference"
    policy = once(directory, lambda: cook(kitchen, config.seed), lambda: _load_policy(directory))
    reward: Scorer = kitchen.reward
    cost: Scorer = kitchen.cost
    scales = {}
    if not config.gold:
        say(f"fitting reward and cost models to {RANKINGS:,} rankings of eight dishes each")
        ranked = kitchen.rankings(policy, RANKINGS, seed=config.seed)

        def scorer(kind: Any, name: str) -> Scorer:
            def make() -> Any:
                return fitted_scorer(kind, kitchen, policy, ranked, seed=config.seed)

            return _kept(kind, out / "scorers" / name, make)

        reward, cost = scorer(RewardModel, "reward"), scorer(CostModel, "cost")
        scales = {"reward_scale": 1 / kitchen.sharpness, "cost_scale": 1 / kitchen.sharpness}
    say("scoring the pairs")
    reference = policy.frozen()
    pairs = kitchen.pairs(policy, 8192, seed=config.seed)
    scored = pairs.score(reward, cost, reference, cache=out / "scores", **scales)
    sets = scored.compared(8, seed=config.seed)
    return Job(policy, sets, "gold" if config.gold else "learned", lambda: _load_policy(directory), {})


def _lm(config: Config, out: Path, say: Say) -> Job:
    from .preference_data import load_pairs

    say(f"reading {config.pairs}")
    pairs = load_pairs(str(config.pairs)).split(seed=config.seed)
    say(f"{len(pairs)} training pairs after setting dual and judge prompts aside")
    say(f"loading the policy: {config.model}")
    directory = out / "reference"
    policy = once(directory, lambda: _language_model(config, pairs), lambda: _load_policy(directory))
    cut = policy.truncated(pairs.prompts, [*pairs.y0, *pairs.y1])
    say(f"longer than its budget: {cut['prompts']} prompts, {cut['responses']} of {2 * len(pairs)} answers")
    _refuse_truncation(config, cut["responses"] / (2 * len(pairs)))
    reward, cost = _lm_scorers(config, policy, pairs, out, say)
    say("scoring the pairs and caching the reference's log-probabilities")
    scored = pairs.score(
        reward,
        cost,
        policy.frozen(),
        reward_scale=config.reward_scale,
        cost_scale=config.cost_scale,
        cache=out / "scores",
    )
    return Job(policy, scored, "learned", lambda: _load_policy(directory), {"truncated": cut})


def _language_model(config: Config, pairs: Pairs) -> Any:
    from .backbone import bpe_tokenizer
    from .language_model import Budget, Engine, LanguageModelPolicy

    budget = Budget(config.max_prompt_tokens, config.max_response_tokens)
    if config.model != "tiny":
        return LanguageModelPolicy.load(
            config.model,
            bits=config.bits,
            lora_rank=config.lora_rank,
            seed=config.seed,
            budget=budget,
            engine=Engine(8, 1e-4, 32),
        )
    texts = [str(text) for part in (pairs.prompts, pairs.y0, pairs.y1) for text in part]
    policy = LanguageModelPolicy.tiny(
        bpe_tokenizer(texts, vocabulary=1024),
        hidden=64,
        layers=2,
        seed=config.seed,
        budget=budget,
        engine=Engine(16, 3e-3, 128),
    )
    policy.imitate(pairs.prompts, pairs.y0, steps=200, seed=config.seed)  # both answers came from one model
    policy.engine = Engine(8, 1e-3, 128)
    return policy.with_lora(config.lora_rank, seed=config.seed)


def _refuse_truncation(config: Config, share: float) -> None:
    if share > config.max_truncated:
        raise InputError(
            f"{share:.0%} of the answers do not fit {config.max_response_tokens} tokens and would lose their "
            f"end; raise --max-response-tokens, or accept it with --max-truncated {share + 0.01:.2f}"
        )


def _lm_scorers(config: Config, policy: Any, pairs: Pairs, out: Path, say: Say) -> tuple[Scorer, Scorer]:
    from .scorers import CostModel, RewardModel, ScoreSettings

    settings = ScoreSettings(config.max_prompt_tokens, config.max_response_tokens)
    scorers: list[Scorer] = []
    for kind, choice, name in ((RewardModel, config.reward, "reward"), (CostModel, config.cost, "cost")):
        if choice == "fit":
            say(f"fitting the {name} model to {len(pairs)} comparisons")

            def fitted(kind: Any = kind) -> Any:
                scorer = kind(policy.model, policy.tokenizer, settings=settings)
                return scorer.fit(pairs, steps=150, seed=config.seed)

            scorers.append(_kept(kind, out / "scorers" / name, fitted))
        else:
            scorers.append(kind.load(choice))
    return scorers[0], scorers[1]


BUILDERS: dict[str, Callable[[Config, Path, Say], Job]] = {"bandit": _bandit, "toy": _toy, "lm": _lm}


# ---------------------------------------------------------------- stages that are done once


def _load_policy(directory: Path) -> Any:
    from .language_model import LanguageModelPolicy

    return LanguageModelPolicy.load(directory)


def _kept(kind: Any, directory: Path, make: Callable[[], Any]) -> Scorer:
    """Return the scorer of ``directory``; fit and save it first when it is not there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    scorer: Scorer = once(directory, make, lambda: kind.load(directory))
    return scorer


def _loop(config: Config, policy: Policy) -> ConstrainedDPO:
    return ConstrainedDPO(
        policy,
        beta=config.beta,
        cost_limit=config.cost_limit,
        cost_limit_relative=config.cost_limit_relative,
        rounds=config.rounds,
        steps=config.max_steps,
        samples=config.samples,
        labels=config.labels,
        seed=config.seed,
        rule=GradientRule(eta=1.0) if config.tier == "lm" else CurvatureRule(),
    )


# ---------------------------------------------------------------- the four-way table


def _comparison(config: Config, job: Job, run: ConstrainedDPO, out: Path) -> list[dict[str, Any]]:
    """Return the four-way table on fresh samples of the dual prompts, at equal gradient steps."""
    scored = job.scored
    steps = config.rounds * config.max_steps
    zero = replace(scored, reward=torch.zeros_like(scored.reward))
    jobs = {
        "reference": (scored.reference, None),
        "reward-only DPO": (None, scored.label(0.0, labels="soft")),
        "cost-only DPO": (None, zero.label(1.0, labels="soft")),
        "constrained DPO": (run.policy, None),
    }
    rows = []
    for name, (policy, preferences) in jobs.items():
        path = out / "comparison" / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            if preferences is not None:
                policy = job.fresh()
                policy.fit(preferences, beta=config.beta, steps=steps, seed=config.seed)
            assert policy is not None
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"policy": name} | _estimates(policy, scored, config))
        rows.append(json.loads(path.read_text(encoding="utf-8")))
    return rows


def _estimates(policy: Policy, scored: ScoredPairs, config: Config) -> dict[str, float]:
    samples = measure(
        policy, scored, n=config.samples, generator=torch.Generator().manual_seed(config.seed + 77)
    )
    row: dict[str, float] = {}
    for name, values in (
        ("reward", samples.reward),
        ("cost", samples.cost),
        ("kl", samples.logp - samples.ref_logp),
    ):
        estimate = mean_over_prompts(values, scored)
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
