"""Supervised fine-tuning: the model that a run takes as its policy and its reference.

The loss is -log pi(y|x), summed over an answer's tokens, end token included, and averaged over answers, by
the Trainer of `training`, on packed rows where the model allows it. All weights are trained, or LoRA
adapters, which a run then keeps frozen below its own.

Left out: choosing the number of steps by the held-out loss, which is only reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import adapters
from ..backbone import bpe_tokenizer, full_distribution, no_bars
from ..engine import Budget, Engine
from ..instruction_data import Parts, load_examples, set_apart
from ..language_model import LanguageModelPolicy
from ..pairs import digest, digest_of_batch
from ..run_folder import once, write_json
from ..types import InputError
from .folder import OPTIONS, begun, is_small

MEASURED = 256
"""Held-out answers whose log-probability is read before and after."""


@dataclass(frozen=True)
class SftOptions:
    """What a fine-tuning is made with; None takes what suits the model."""

    data: str
    model: str = "tiny"
    steps: int | None = None
    batch_size: int = 16
    micro_batch: int | None = None
    learning_rate: float | None = None
    lora_rank: int | None = None
    lora_targets: str | None = None
    bits: int = 32
    checkpointing: bool = False
    max_prompt_tokens: int = 192
    max_response_tokens: int = 96
    plain_prompts: bool = False
    trust_remote_code: str | None = None
    seed: int = 0


class Tuned:
    """A policy after its fine-tuning, to be written as a folder that plain transformers or peft loads."""

    def __init__(self, policy: LanguageModelPolicy, options: dict[str, Any], record: dict[str, Any]) -> None:
        self.policy, self.options, self.record = policy, options, record

    def save(self, directory: Path) -> None:
        """Write weights or adapters, tokenizer, options.json and sft.json."""
        model: Any = self.policy.model
        directory.mkdir(parents=True, exist_ok=True)
        model.generation_config = full_distribution(
            self.policy.tokenizer, new_tokens=self.policy.budget.response, suppress=None
        )
        with no_bars():
            model.save_pretrained(directory)
        self.policy.tokenizer.save_pretrained(directory)
        write_json(directory / OPTIONS, self.options)
        write_json(directory / "sft.json", self.record)


def sft(options: SftOptions, out: Path, *, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Fine-tune as ``options`` say, write the folder ``out`` and return its record.

    A killed one goes on from ``out``.unfinished and ends as if it had not been killed.

    Raises
    ------
    InputError
        When the rows or the model cannot be used, or the rows are no longer those that it began with.
    """
    _check(options)
    if (out / "sft.json").exists():
        return _read(out)
    say(f"reading {options.data}")
    examples = load_examples(options.data)
    parts = set_apart(examples, seed=options.seed)
    rows = digest(digest_of_batch(parts.prompts), digest_of_batch(parts.answers))
    say(f"{len(parts.prompts)} answers to imitate, {len(parts.held_prompts)} held out")
    counts = {"train": len(parts.prompts), "held_out": len(parts.held_prompts), "left_out": examples.left_out}
    with begun(out.with_name(out.name + ".unfinished"), asdict(options), rows):
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        once(out, lambda: _tuned(options, parts, counts, rows, say), lambda: None)
    return _read(out)


def _read(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "sft.json").read_text(encoding="utf-8"))
    return record


def _check(options: SftOptions) -> None:
    folder = Path(options.model)
    if options.model == "tiny" and (options.lora_rank is not None or options.bits != 32):
        raise InputError(
            "--model tiny: its weights are random, so all of them are trained, in 32 bits; leave "
            "--lora-rank and --bits out"
        )
    if options.bits != 32 and options.lora_rank is None:
        raise InputError(f"--bits {options.bits}: such weights stay frozen; add --lora-rank")
    if (folder / "policy.json").exists() or adapters.is_adapter(folder):
        raise InputError(
            f"--model {options.model}: holds adapters or a run's policy; sft starts from a whole model, and "
            "train takes adapters as they are"
        )


def _tuned(
    options: SftOptions,
    parts: Parts,
    counts: dict[str, int],
    rows: str,
    say: Callable[[str], None],
) -> Tuned:
    say(f"loading the model: {options.model}")
    with no_bars():
        policy = _untuned(options, parts)
    steps = options.steps or max(1, -(-len(parts.prompts) // options.batch_size))
    before = nats_per_token(policy, parts)
    say(f"{steps} steps" + (", packed rows" if policy.shares_prompts else ", one row per answer"))
    policy.imitate(parts.prompts, parts.answers, steps=steps, seed=options.seed, packed=True)
    record = {
        "rows": counts,
        "steps": steps,
        "packed": policy.shares_prompts,
        "learning_rate": policy.engine.learning_rate,
        "held_out_nats_per_token": {"before": before, "after": nats_per_token(policy, parts)},
        "cut": policy.truncated(parts.prompts, parts.answers),
    }
    return Tuned(policy, asdict(options) | {"rows": rows}, record)


def _untuned(options: SftOptions, parts: Parts) -> LanguageModelPolicy:
    budget = Budget(options.max_prompt_tokens, options.max_response_tokens)
    engine = Engine(
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        learning_rate=options.learning_rate or 3e-3,
        checkpointing=options.checkpointing,
        group_by_length=False,  # rows of one batch are packed: the more unlike in length, the better
    )
    if options.model == "tiny":
        words = bpe_tokenizer([*parts.prompts, *parts.answers], vocabulary=1024)
        sizes = {"hidden": 64, "layers": 2, "seed": options.seed}
        return LanguageModelPolicy.tiny(words, **sizes, budget=budget, engine=engine)
    policy = LanguageModelPolicy.load(
        options.model,
        bits=options.bits,
        lora_rank=options.lora_rank,
        lora_targets=None if options.lora_targets is None else options.lora_targets.split(","),
        trust_remote_code=options.trust_remote_code,
        seed=options.seed,
        budget=budget,
        engine=engine,
        chat=False if options.plain_prompts else None,
    )
    if options.learning_rate is None and not is_small(policy.model):
        policy.engine = engine._replace(learning_rate=1e-5 if options.lora_rank is None else 2e-4)
    return policy


def nats_per_token(policy: LanguageModelPolicy, parts: Parts) -> float:
    """Return the mean of -log pi per answer token on at most MEASURED held-out answers, nats."""
    x, y = parts.held_prompts[:MEASURED], parts.held_answers[:MEASURED]
    tokens = sum(len(ids) for ids in policy._response_ids(y))
    return float(-policy.log_prob(x, y).double().sum() / tokens)
