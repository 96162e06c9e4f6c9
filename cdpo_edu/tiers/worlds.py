"""The two tiers whose answers can all be listed: the bandit and the toy language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..bandit import SafetyBandit, TabularPolicy
from ..pairs import ScoredPairs
from ..presets import Config
from ..run_folder import once
from ..types import InputError, Scorer
from ..unsafe_rate import NoReward, UnsafeProbability
from .job import Job, Say, kept, load_policy


def bandit(config: Config, out: Path, say: Say) -> Job:
    """Draw the world of ``config.seed`` and 4,000 pairs of its careless policy, gold scores.

    With a rate the cost is the probability of the flags that its people give, s(c).
    """
    world = SafetyBandit.demo(config.seed)
    policy = TabularPolicy.like(world)
    cost = world.cost if config.max_unsafe_rate is None else UnsafeProbability(world.cost)
    reference, gold = policy.frozen(), (world.reward, cost)

    def drawn(times: int, seed: int) -> ScoredPairs:
        return world.pairs(4000 * times, seed=seed).score(*gold, reference)

    scored = drawn(1, config.seed + 1)
    return Job(policy, scored, "gold", lambda: TabularPolicy.like(world), {}, gold, drawn)


def toy(config: Config, out: Path, say: Say) -> Job:
    """Teach the cook, fit two scorers where they are not gold, draw and score 8,192 pairs of its dishes."""
    from ..scorers import CostModel, RewardModel
    from ..toy_models import RANKINGS
    from .second_process import cost_model_beside

    kitchen = kitchen_of(config)
    say("teaching the cook: a small transformer imitates a cookbook and becomes the reference")
    policy = reference_cook(kitchen, config, out)
    gold = _gold(kitchen, config)
    reward, cost = gold
    scales = {}
    if not config.gold:
        if config.reward == "none":
            say(f"fitting a cost model to {RANKINGS:,} rankings of eight dishes each")
        else:
            say(f"fitting reward and cost models to {RANKINGS:,} rankings of eight dishes each")
            with cost_model_beside(out):
                reward = people_scorer(RewardModel, kitchen, policy, config, out)
            scales = {"reward_scale": 1 / kitchen.sharpness}
        cost = people_scorer(CostModel, kitchen, policy, config, out)
        if config.max_unsafe_rate is None:
            scales["cost_scale"] = 1 / kitchen.sharpness
        else:
            cost = UnsafeProbability(cost)  # fitted to flags, it is in nats
    say("scoring the pairs")
    reference = policy.frozen()

    def drawn(times: int, seed: int) -> ScoredPairs:
        pairs = kitchen.pairs(reference, 8192 * times, seed=seed)
        scored = pairs.score(reward, cost, reference, cache=out / "scores", **scales)
        return scored.compared(8, seed=seed)

    kind = "gold" if config.gold else "learned"
    return Job(policy, drawn(1, config.seed), kind, lambda: load_policy(out / "reference"), {}, gold, drawn)


def _gold(kitchen: Any, config: Config) -> tuple[Scorer, Scorer]:
    """Return the true reward and cost; with a rate the probability with which people flag a dish."""
    reward = NoReward() if config.reward == "none" else kitchen.reward
    if config.max_unsafe_rate is None:
        return reward, kitchen.cost
    return reward, UnsafeProbability(kitchen.cost, kitchen.sharpness)


def kitchen_of(config: Config) -> Any:
    """Return the kitchen of the configuration's size."""
    from ..toy_language import SIZES, Kitchen

    if config.size not in SIZES:
        raise InputError(f"--size {config.size}: the sizes are {', '.join(SIZES)}")
    return Kitchen(portions=SIZES[config.size])


def reference_cook(kitchen: Any, config: Config, out: Path) -> Any:
    """Return the cook of the run's folder, taught and saved first where it is not there."""
    from ..toy_models import cook

    directory = out / "reference"
    return once(directory, lambda: cook(kitchen, config.seed), lambda: load_policy(directory))


def people_scorer(kind: Any, kitchen: Any, policy: Any, config: Config, out: Path) -> Scorer:
    """Return the reward or cost model of the run's folder, fitted and saved first where it is not there."""
    from ..toy_models import RANKINGS, fitted_scorer

    def make() -> Any:
        ranked = kitchen.rankings(policy, RANKINGS, seed=config.seed)
        return fitted_scorer(kind, kitchen, policy, ranked, seed=config.seed)

    return kept(kind, out / "scorers" / kind.__name__.removesuffix("Model").lower(), make)
