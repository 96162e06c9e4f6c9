"""The two tiers whose answers can all be listed: the bandit and the toy language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bandit import SafetyBandit, TabularPolicy
from ..presets import Config
from ..run_folder import once
from ..types import InputError, Scorer
from .job import Job, Say, kept, load_policy


def bandit(config: Config, out: Path, say: Say) -> Job:
    """Draw the world of ``config.seed`` and 4,000 pairs of its careless policy, gold scores."""
    world = SafetyBandit.demo(config.seed)
    policy = TabularPolicy.like(world)
    scored = world.pairs(4000, seed=config.seed + 1).score(world.reward, world.cost, policy.frozen())
    return Job(policy, scored, "gold", lambda: TabularPolicy.like(world), {})


def toy(config: Config, out: Path, say: Say) -> Job:
    """Teach the cook, fit two scorers where they are not gold, draw and score 8,192 pairs of its dishes."""
    from ..scorers import CostModel, RewardModel
    from ..toy_language import SIZES, Kitchen
    from ..toy_models import RANKINGS, cook, fitted_scorer

    if config.size not in SIZES:
        raise InputError(f"--size {config.size}: the sizes are {', '.join(SIZES)}")
    kitchen = Kitchen(portions=SIZES[config.size])
    say("teaching the cook: a small transformer imitates a cookbook and becomes the reference")
    directory = out / "reference"
    policy = once(directory, lambda: cook(kitchen, config.seed), lambda: load_policy(directory))
    reward: Scorer = kitchen.reward
    cost: Scorer = kitchen.cost
    scales = {}
    if not config.gold:
        say(f"fitting reward and cost models to {RANKINGS:,} rankings of eight dishes each")
        ranked = kitchen.rankings(policy, RANKINGS, seed=config.seed)

        def scorer(kind: Any, name: str) -> Scorer:
            def make() -> Any:
                return fitted_scorer(kind, kitchen, policy, ranked, seed=config.seed)

            return kept(kind, out / "scorers" / name, make)

        reward, cost = scorer(RewardModel, "reward"), scorer(CostModel, "cost")
        scales = {"reward_scale": 1 / kitchen.sharpness, "cost_scale": 1 / kitchen.sharpness}
    say("scoring the pairs")
    reference = policy.frozen()
    pairs = kitchen.pairs(policy, 8192, seed=config.seed)
    scored = pairs.score(reward, cost, reference, cache=out / "scores", **scales)
    sets = scored.compared(8, seed=config.seed)
    return Job(policy, sets, "gold" if config.gold else "learned", lambda: load_policy(directory), {})
