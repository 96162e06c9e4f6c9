"""Fit a reward and a cost model to preference rows, and report how far each can be trusted.

Both begin with the same trunk, all of whose weights are trained in 32 bits, and a linear head each. The
prompts are split as a run with the same seed splits them: fitted on `train`, measured on `dual`, and `judge`
is not looked at, so that a verdict of that run stays one on prompts that no stage has seen.

Left out: adapters for score models; choosing steps or rates by the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .. import adapters, backbone
from ..pairs import Flagged, Pairs, digest, digest_of_batch
from ..pairs.prompt_sets import first_turn
from ..preference_data import load_rows
from ..run_folder import once, write_json
from ..scorers import CostModel, RewardModel, ScoreModel, ScoreSettings
from ..types import InputError
from .calibration import cost_report, reward_report
from .calibration_page import write_page
from .folder import begun, is_small

Rows = Pairs | Flagged
KINDS: dict[str, type[ScoreModel]] = {"reward": RewardModel, "cost": CostModel}


@dataclass(frozen=True)
class FitOptions:
    """What score models are fitted with; None takes what suits the model."""

    pairs: str
    model: str = "tiny"
    only: str | None = None
    steps: int = 200
    batch_size: int = 16
    learning_rate: float | None = None
    max_prompt_tokens: int = 192
    max_response_tokens: int = 96
    bins: int = 10
    seed: int = 0


def fit_scorers(
    options: FitOptions, out: Path, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Write ``out``/reward and ``out``/cost with calibration.json and calibration.html; return the report.

    A killed one goes on from its folder and ends as if it had not been killed.

    Raises
    ------
    InputError
        When the rows lack what a model learns from, the model cannot be read, or the rows have changed.
    """
    say(f"reading {options.pairs}")
    found = load_rows(options.pairs)
    train, held = halves(found, seed=options.seed)
    say(f"{len(train)} {_kind(train)} to fit, {len(held)} held out")
    roles = [options.only] if options.only else list(KINDS)
    _require_labels(train, roles)
    rows = digest(found.fingerprint, digest_of_batch(train.prompts))
    with begun(out, asdict(options), rows):
        models = {role: _fitted(role, options, train, out, say) for role in roles}
        report = _report(models, options, train, held)
    write_json(out / "calibration.json", report)
    write_page(report, out / "calibration.html")
    return report


def halves(pairs: Rows, *, seed: int) -> tuple[Rows, Rows]:
    """Return the rows of the training prompts and those of the dual prompts, as a run splits them."""
    train = pairs.split(seed=seed)
    assert train.prompt_sets is not None
    dual = {first_turn(str(prompt)) for prompt in train.prompt_sets.dual}
    held = [i for i, prompt in enumerate(pairs.prompts) if first_turn(str(prompt)) in dual]
    return train, pairs.take(held)


def _kind(rows: Rows) -> str:
    return "answers" if isinstance(rows, Flagged) else "pairs"


def _require_labels(pairs: Rows, roles: list[str]) -> None:
    """Refuse what cannot be fitted before a model is read, and say what can."""
    lacking = (
        {"reward": True, "cost": False}
        if isinstance(pairs, Flagged)
        else {
            "reward": pairs.better is None,
            "cost": pairs.safer is None and pairs.unsafe is None,
        }
    )
    columns = {
        "reward": "a helpfulness label (better_response_id, or chosen and rejected)",
        "cost": "a safety label (safer_response_id, is_response_k_safe or is_safe)",
    }
    for role in roles:
        if lacking[role]:
            other = "cost" if role == "reward" else "reward"
            remedy = "" if lacking[other] else f"; --only {other} fits what they have"
            raise InputError(f"--pairs: the rows lack {columns[role]}, so no {role} can be fitted{remedy}")


def _fitted(role: str, options: FitOptions, train: Rows, out: Path, say: Callable[[str], None]) -> ScoreModel:
    kind, directory = KINDS[role], out / role

    def made() -> ScoreModel:
        say(f"fitting the {role} model on {options.model}")
        with backbone.no_bars():
            model, tokenizer = trunk(options, train)
        usual = 1e-3 if is_small(model) else 1e-5
        settings = ScoreSettings(
            options.max_prompt_tokens,
            options.max_response_tokens,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate or usual,
        )
        scorer = kind(model, tokenizer, settings=settings)
        return scorer.fit(train, steps=options.steps, seed=options.seed)

    scorer: ScoreModel = once(directory, made, lambda: kind.load(directory))
    return scorer


def trunk(options: FitOptions, train: Rows) -> tuple[nn.Module, Any]:
    """Return the causal model whose trunk is copied, and its tokenizer: tiny, a hub name or a folder."""
    if options.model == "tiny":
        answers = [train.answers] if isinstance(train, Flagged) else [train.y0, train.y1]
        texts = [str(text) for part in (train.prompts, *answers) for text in part]
        words = backbone.bpe_tokenizer(texts, vocabulary=1024)
        return backbone.tiny_llama(words, hidden=64, layers=2, seed=options.seed), words
    folder = Path(options.model)
    tuned = adapters.is_adapter(folder)
    base = adapters.base_of(folder) if tuned else options.model
    model = backbone.load_model(base)
    if tuned:
        model = adapters.with_reference(model, folder)  # merged below: a score model has no adapters
    there = (folder / "tokenizer_config.json").exists()
    return model, backbone.load_tokenizer(options.model if there else base)


def _report(models: dict[str, ScoreModel], options: FitOptions, train: Rows, held: Rows) -> dict[str, Any]:
    prompts = {first_turn(str(prompt)) for prompt in held.prompts}
    report: dict[str, Any] = {
        "measured": (
            f"Measured on {len(held):,} {_kind(held)} of {len(prompts):,} prompts that no model "
            "was fitted on (near-copies count as one). They are the dual prompts of a run with "
            f"--seed {options.seed} on the same rows; its judge prompts were not looked at."
        ),
        "pairs": {"train": len(train), "held_out": len(held), "held_out_prompts": len(prompts)},
        "reward": None,
        "cost": None,
        "fingerprints": {role: model.fingerprint for role, model in models.items()},
        "options": asdict(options),
    }
    if "reward" in models:
        assert isinstance(held, Pairs)
        report["reward"] = reward_report(models["reward"], held, bins=options.bins)
    if "cost" in models:
        report["cost"] = cost_report(models["cost"], held, bins=options.bins)
    report["not_known"] = not_known(report)
    return json.loads(json.dumps(report))  # type: ignore[no-any-return]


def not_known(report: dict[str, Any]) -> list[str]:
    """Return what the figures do not say."""
    words = [
        "How the models judge answers of a policy that is trained on them: such answers are picked for their "
        "scores and lie where these rows may hold none.",
        "How the models judge prompts unlike these.",
        "Whether the labels are right: agreement with them is what is measured.",
    ]
    cost = report["cost"]
    if cost is not None and not cost["anchored"]:
        words.append(
            "Where the cost has its zero: the rows carry no safe/unsafe flags. Limits must be relative to "
            "the reference (--cost-limit-relative), and no sign and no probability of unsafe can be stated."
        )
    elif cost is not None and cost["sign"] is None:
        words.append("Whether the cost's zero is right: no held-out answer has a safe/unsafe flag.")
    return words
