"""Talk to the policy of a run folder: a prompt in, answers out.

Left out: scoring them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..bandit import TabularPolicy
from ..presets import read_config
from ..types import InputError


def talk(run: Path, prompts: list[str], *, n: int = 1, seed: int = 0) -> list[list[str]]:
    """Return ``n`` answers to each prompt, drawn from the run's trained policy.

    Raises
    ------
    InputError
        When there is no trained policy, or a prompt is none that this tier knows.
    """
    for name in ("config.json", "policy"):
        if not (run / name).exists():
            raise InputError(
                f"{run}: no trained policy there ({name} is missing); see cdpo-edu train --resume"
            )
    config = read_config(run, {})
    policy: Any
    asked: Any = prompts
    if config.tier == "bandit":
        policy = TabularPolicy.load(run / "policy")
        asked = torch.tensor([_arm(prompt, len(policy.logits)) for prompt in prompts])
    else:
        from ..language_model import LanguageModelPolicy

        if config.tier == "toy":
            _check_guests(prompts, config)
        policy = LanguageModelPolicy.load(run / "policy")
    drawn = policy.sample(asked, n, generator=torch.Generator().manual_seed(seed))
    answers = [str(answer) for answer in (drawn.tolist() if torch.is_tensor(drawn) else drawn)]
    return [answers[i * n : (i + 1) * n] for i in range(len(prompts))]


def _arm(prompt: str, count: int) -> int:
    if not prompt.isdigit() or int(prompt) >= count:
        raise InputError(f"--prompt {prompt}: the bandit's prompts are 0 to {count - 1}")
    return int(prompt)


def _check_guests(prompts: list[str], config: Any) -> None:
    from ..tiers.worlds import kitchen_of

    guests = kitchen_of(config).prompts
    for prompt in prompts:
        if prompt not in guests:
            raise InputError(f"--prompt {prompt!r}: the guests are {', '.join(guests)}")
