"""The tier of language models: rows from a file or the hub, a policy of any size, scorers fitted or given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .. import processes
from ..constrained import ConstrainedDPO
from ..evaluate import mean_over_prompts, measure
from ..long_work import kept_in
from ..pairs import Flagged, Pairs, ScoredPairs
from ..presets import Config
from ..run_folder import once, write_json
from ..types import InputError, Policy, Scorer, take
from ..unsafe_rate import NoReward, UnsafeProbability
from .job import Job, Say, kept, load_policy


def language(config: Config, out: Path, say: Say) -> Job:
    """Read the rows, load or build the policy, fit or load the scorers, score the pairs."""
    from ..preference_data import load_rows
    from ..scorer_names import chosen

    for option in ("reward", "cost"):
        choice = getattr(config, option)
        if choice != "fit" and (option, choice) != ("reward", "none"):
            chosen(choice, option=f"--{option}")  # a wrong name is told before anything takes long
    say(f"reading {config.pairs}")
    rows = load_rows(str(config.pairs)).split(seed=config.seed)
    kind = "answers" if isinstance(rows, Flagged) else "pairs"
    say(f"{len(rows)} training {kind} after setting dual and judge prompts aside")
    _require_labels(config, rows)
    _require_room(config, say)
    say(f"loading the policy: {config.model}")
    directory = out / "reference"
    policy = once(directory, lambda: _language_model(config, rows), lambda: load_policy(directory))
    reward, cost = _lm_scorers(config, policy, rows, out, say)
    pairs = _paired(rows, policy, config, out, say)
    cut = policy.truncated(pairs.prompts, [*pairs.y0, *pairs.y1])
    say(f"longer than its budget: {cut['prompts']} prompts, {cut['responses']} of {2 * len(pairs)} answers")
    _refuse_truncation(config, cut["responses"] / (2 * len(pairs)))
    say("scoring the pairs and caching the reference's log-probabilities")
    scored = pairs.score(
        reward,
        cost,
        policy.frozen(),
        reward_scale=config.reward_scale,
        cost_scale=config.cost_scale if config.max_unsafe_rate is None else 1.0,
        cache=out / "scores",
    )

    def untrained() -> Policy:
        policy.restore(directory)  # in place: a second model beside the first would need its memory again
        return policy  # type: ignore[no-any-return]

    return Job(policy, scored, "learned", untrained, {"truncated": cut})


def _require_labels(config: Config, rows: Pairs | Flagged) -> None:
    """Refuse to fit what the rows do not teach, before anything takes long."""
    better, safer, unsafe = (
        (None, None, rows.unsafe) if isinstance(rows, Flagged) else (rows.better, rows.safer, rows.unsafe)
    )
    if config.reward == "fit" and better is None:
        raise InputError(
            f"--reward fit: the rows of {config.pairs} lack a helpfulness label (better_response_id, or "
            "chosen and rejected); give --reward none for the policy nearest to the reference, or a "
            "score model"
        )
    if config.cost == "fit" and safer is None and unsafe is None:
        raise InputError(
            f"--cost fit: the rows of {config.pairs} lack a safety label (safer_response_id, "
            "is_response_k_safe or is_safe); give a score model"
        )
    if config.cost == "fit" and config.max_unsafe_rate is not None and unsafe is None:
        raise InputError(
            f"--max-unsafe-rate: the rows of {config.pairs} have no safe/unsafe flags (is_response_k_safe or "
            "is_safe), so a cost fitted to them says nothing of the probability of unsafe"
        )


def _paired(rows: Pairs | Flagged, policy: Any, config: Config, out: Path, say: Say) -> Pairs:
    """Return pairs; an answer that stands alone gets one that the reference gives, drawn once and kept."""
    if isinstance(rows, Pairs):
        return rows
    path, alone = out / "drawn.json", rows.alone
    if processes.agreed(not path.exists()):
        say(f"drawing an answer of the reference beside each of {len(alone)} that stand alone")
        prompts = take(rows.prompts, alone)
        with kept_in(path.with_suffix(".unfinished")):
            generator = torch.Generator().manual_seed(config.seed)
            drawn = policy.sample(prompts, 1, generator=generator) if alone else []
            write_json(path, list(drawn))
    pairs = rows.paired(json.loads(path.read_text(encoding="utf-8")))
    say(f"{len(pairs)} pairs of answers to one prompt")
    return pairs


def _language_model(config: Config, rows: Pairs | Flagged) -> Any:
    from ..backbone import bpe_tokenizer
    from ..language_model import Budget, Engine, LanguageModelPolicy

    budget = Budget(config.max_prompt_tokens, config.max_response_tokens)
    engine = Engine(
        batch_size=config.batch_size, micro_batch=config.micro_batch, checkpointing=config.checkpointing
    )
    if config.model != "tiny":
        return LanguageModelPolicy.load(
            config.model,
            bits=config.bits,
            lora_rank=config.lora_rank,
            lora_targets=None if config.lora_targets is None else config.lora_targets.split(","),
            trust_remote_code=config.trust_remote_code,
            seed=config.seed,
            budget=budget,
            engine=engine._replace(learning_rate=1e-4, eval_rows=config.eval_rows or 32),
            chat=False if config.plain_prompts else None,
        )
    answers = rows.answers if isinstance(rows, Flagged) else rows.y0  # of a pair, as both are of one model
    others = rows.answers[:0] if isinstance(rows, Flagged) else rows.y1
    texts = [str(text) for part in (rows.prompts, answers, others) for text in part]
    policy = LanguageModelPolicy.tiny(
        bpe_tokenizer(texts, vocabulary=1024),
        hidden=64,
        layers=2,
        seed=config.seed,
        budget=budget,
        engine=Engine(16, 3e-3, 128),
    )
    policy.imitate(rows.prompts, answers, steps=200, seed=config.seed)
    policy.engine = engine._replace(learning_rate=1e-3, eval_rows=config.eval_rows or 128)
    return policy.with_lora(config.lora_rank, seed=config.seed)


def _require_room(config: Config, say: Say) -> None:
    """Predict the run's memory and refuse one that does not fit; a tiny model always does."""
    if config.model == "tiny":
        return
    from ..backbone import best_device
    from ..memory.fits import require_room
    from ..memory.plan import GIB, Plan
    from ..scorer_names import model_behind

    plan = Plan(
        config.model,
        bits=config.bits,
        lora_rank=config.lora_rank,
        lora_targets=None if config.lora_targets is None else tuple(config.lora_targets.split(",")),
        batch_size=config.batch_size,
        micro_batch=config.micro_batch,
        eval_rows=config.eval_rows or 32,
        checkpointing=config.checkpointing,
        prompt=config.max_prompt_tokens,
        response=config.max_response_tokens,
        reward=model_behind(config.reward),
        cost=model_behind(config.cost),
        scorers=config.scorers,  # type: ignore[arg-type]
        device=best_device().type,  # type: ignore[arg-type]
        trust_remote_code=config.trust_remote_code,
    )
    found = require_room(plan)
    say(f"memory: {found.peak.total / GIB:.2f} GiB predicted, most of it to {found.peak.name}")


def _refuse_truncation(config: Config, share: float) -> None:
    if share > config.max_truncated:
        raise InputError(
            f"{share:.0%} of the answers do not fit {config.max_response_tokens} tokens and would lose their "
            f"end; raise --max-response-tokens, or accept it with --max-truncated {share + 0.01:.2f}"
        )


def _lm_scorers(
    config: Config, policy: Any, rows: Pairs | Flagged, out: Path, say: Say
) -> tuple[Scorer, Scorer]:
    from ..scorer_names import Named, model_behind, named_scorer
    from ..scorers import CostModel, RewardModel, ScoreSettings, Swapped

    settings = ScoreSettings(config.max_prompt_tokens, config.max_response_tokens)
    scorers: list[Scorer] = []
    for kind, choice, name in ((RewardModel, config.reward, "reward"), (CostModel, config.cost, "cost")):
        if choice == "fit":
            what = "flagged answers" if isinstance(rows, Flagged) else "comparisons"
            say(f"fitting the {name} model to {len(rows)} {what}")

            def fitted(kind: Any = kind) -> Any:
                scorer = kind(policy.model, policy.tokenizer, settings=settings)
                return scorer.fit(rows, steps=150, seed=config.seed)

            scorers.append(kept(kind, out / "scorers" / name, fitted))
        elif (name, choice) == ("reward", "none"):
            scorers.append(NoReward())
        else:
            scorers.append(named_scorer(choice, role=name, option=f"--{name}"))
        if config.scorers == "swapped" and model_behind(choice) is not None:
            again = (kind, out / "scorers" / name) if choice == "fit" else (Named(name), choice)
            scorers[-1] = Swapped(*again)
    reward, cost = scorers
    return reward, cost if config.max_unsafe_rate is None else UnsafeProbability(cost, config.cost_scale)


def comparison(config: Config, job: Job, run: ConstrainedDPO, out: Path) -> list[dict[str, Any]]:
    """Return the four-way table on fresh samples of the dual prompts, at equal gradient steps.

    The trained policy is measured first: the baselines are trained in its place. Then it is put back. Without
    a reward there is no reward-only row.
    """
    scored = job.scored
    steps = config.rounds * config.max_steps
    zero = replace(scored, reward=torch.zeros_like(scored.reward))
    jobs = {
        "constrained DPO": (run.policy, None),
        "reference": (scored.reference, None),
        "reward-only DPO": (None, scored.label(0.0, labels="soft")),
        "cost-only DPO": (None, zero.label(1.0, labels="soft")),
    }
    if config.reward == "none":
        del jobs["reward-only DPO"]  # it would be the reference
    rows = []
    for name, (policy, preferences) in jobs.items():
        path = out / "comparison" / f"{name.replace(' ', '-')}.json"
        if processes.agreed(not path.exists()):
            path.parent.mkdir(exist_ok=True)
            with kept_in(path.with_suffix(".unfinished")):
                if preferences is not None:
                    policy = job.fresh()
                    policy.fit(preferences, beta=config.beta, steps=steps, seed=config.seed)
                assert policy is not None
                write_json(path, {"policy": name} | _estimates(policy, scored, config))
        processes.wait()
        rows.append(json.loads(path.read_text(encoding="utf-8")))
    run.policy.restore(out / "policy")
    return [*rows[1:], rows[0]]


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
