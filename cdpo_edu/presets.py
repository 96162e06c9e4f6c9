"""What a run of each tier is made with: every option, its preset, and which tier it belongs to.

Left out: making the run (`tiers`).

Reference: the options of the loop are those of `ConstrainedDPO`.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .pairs import Labels
from .settings import check_settings
from .types import InputError
from .unsafe_rate import check_rate


@dataclass(frozen=True)
class Config:
    """Everything that is needed to repeat a run; config.json holds just this."""

    tier: str
    seed: int = 0
    beta: float = 0.5
    cost_limit: float | None = None
    cost_limit_relative: float | None = None
    max_unsafe_rate: float | None = None
    rounds: int = 6
    max_steps: int = 100
    samples: int = 64
    most_samples: int | None = None
    labels: Labels = "soft"
    all_rounds: bool = False
    cold: bool = False
    reward_scale: float = 1.0
    cost_scale: float = 1.0
    gold: bool = False
    size: str = "medium"
    pairs: str | None = None
    model: str = "tiny"
    reward: str = "fit"
    cost: str = "fit"
    bits: int = 32
    lora_rank: int = 8
    max_prompt_tokens: int = 192
    max_response_tokens: int = 96
    max_truncated: float = 0.5
    preset: str | None = None
    batch_size: int = 8
    micro_batch: int | None = None
    eval_rows: int | None = None
    checkpointing: bool = False
    scorers: str = "resident"
    plain_prompts: bool = False
    lora_targets: str | None = None
    trust_remote_code: str | None = None

    @property
    def limit(self) -> float | None:
        """Return the absolute limit, on a cost or a rate; None where it is relative to the reference."""
        return self.cost_limit if self.max_unsafe_rate is None else self.max_unsafe_rate


PRESETS: dict[str, dict[str, Any]] = {
    "bandit": {"cost_limit": 0.0, "rounds": 6, "max_steps": 200, "samples": 512},
    "toy": {"cost_limit": -0.4, "rounds": 6, "max_steps": 80, "samples": 128},
    "lm": {"beta": 0.1, "rounds": 3, "max_steps": 60, "samples": 4},
}
COMMON = (
    "tier",
    "seed",
    "beta",
    "cost_limit",
    "cost_limit_relative",
    "max_unsafe_rate",
    "rounds",
    "max_steps",
    "samples",
    "most_samples",
    "labels",
    "all_rounds",
    "cold",
)
"""Options of every tier, in the order in which a command states them."""

LIMITS = ("cost_limit", "cost_limit_relative", "max_unsafe_rate")
"""Of these a run has one."""

OWN: dict[str, tuple[str, ...]] = {
    "bandit": (),
    "toy": ("reward", "gold", "size"),
    "lm": (
        "pairs",
        "model",
        "reward",
        "cost",
        "bits",
        "lora_rank",
        "reward_scale",
        "cost_scale",
        "max_prompt_tokens",
        "max_response_tokens",
        "max_truncated",
        "preset",
        "batch_size",
        "micro_batch",
        "eval_rows",
        "checkpointing",
        "scorers",
        "plain_prompts",
        "lora_targets",
        "trust_remote_code",
    ),
}
"""Options of some tiers alone; on another they have no effect and are refused."""


SINCE = {"max_unsafe_rate"}
"""Options that older folders do not name: they had none."""


def card_presets() -> dict[str, Any]:
    """Return the table of presets.toml: model shapes, and settings by the memory of the card."""
    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text(encoding="utf-8"))


def _card_settings(name: str | None) -> dict[str, Any]:
    """Return the settings of a named preset of the language-model tier; none without a name."""
    if name is None:
        return {}
    table = card_presets()["presets"]
    if name not in table:
        raise InputError(f"--preset {name}: the presets are {', '.join(table)}")
    settings: dict[str, Any] = table[name]["settings"]
    return settings


def configure(tier: str, **given: Any) -> Config:
    """Return the tier's preset with the given options on top (None means not given).

    Raises
    ------
    InputError
        For an unknown tier, or an option that has no effect on this tier.
    """
    if tier not in PRESETS:
        raise InputError(f"--tier {tier}: the tiers are {', '.join(PRESETS)}")
    chosen = {name: value for name, value in given.items() if value is not None}
    idle = sorted(set(chosen) - {*COMMON, *OWN[tier]})
    if idle:
        names = ", ".join("--" + name.replace("_", "-") for name in idle)
        raise InputError(f"{names}: no effect on --tier {tier}; leave it out")
    limits = [name for name in LIMITS if name in chosen]
    if len(limits) > 1:
        names = " and ".join("--" + name.replace("_", "-") for name in limits)
        raise InputError(f"{names}: give one of them, not both")
    preset = PRESETS[tier] | _card_settings(chosen.get("preset"))
    if limits:
        preset.pop("cost_limit", None)
    config = Config(tier=tier, **(preset | chosen))
    if tier == "lm" and config.pairs is None:
        raise InputError("--pairs is missing: a hub name, a file or a folder of preference rows")
    if tier == "lm" and not limits:
        raise InputError(
            "a limit is missing: --cost-limit C (anchored cost), --cost-limit-relative M "
            "or --max-unsafe-rate R"
        )
    if config.max_unsafe_rate is not None:
        check_rate(config.max_unsafe_rate)
    if tier == "toy" and config.reward not in ("fit", "none"):
        raise InputError(f"--reward {config.reward}: on --tier toy it is fit or none")
    if tier == "lm" and config.model == "tiny" and config.bits != 32:
        raise InputError(f"--bits {config.bits}: no effect on --model tiny, which is built in 32 bits")
    check_settings(
        config.beta,
        config.limit,
        config.cost_limit_relative,
        config.rounds,
        config.max_steps,
        config.samples,
        config.most_samples,
    )
    return config


def read_config(out: Path, given: dict[str, Any]) -> Config:
    """Return the folder's own configuration; options given beside --resume must agree with it.

    Raises
    ------
    InputError
        When there is no run to go on with, or an option differs from the folder's.
    """
    path = out / "config.json"
    if not path.exists():
        raise InputError(f"--resume: {path} is not there; nothing was started in this folder")
    try:
        saved: Any = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error.msg}); start again in another folder") from error
    known = {field.name for field in fields(Config)}
    if not isinstance(saved, dict) or not known - SINCE <= set(saved) <= known:
        raise InputError(f"{path}: not a configuration of this version; start again in another folder")
    saved = dict.fromkeys(SINCE) | saved
    for name, value in given.items():
        if value is not None and saved[name] != value:
            raise InputError(
                f"--resume: --{name.replace('_', '-')} {value} differs from {saved[name]} in {path}; "
                "leave it out, or start a new run in another folder"
            )
    return Config(**saved)
