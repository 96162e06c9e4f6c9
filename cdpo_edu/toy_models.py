"""The transformers of the toy tier: the cook who becomes the reference, and the two score models.

What they learn from (`Kitchen`) and what they are made of (`LanguageModelPolicy`, `ScoreModel`) know
nothing of each other; here they meet, with the sizes and rates at which the tier was measured.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from .backbone import word_tokenizer
from .language_model import Budget, Engine, LanguageModelPolicy
from .pairs import Pairs
from .scorers import ScoreModel, ScoreSettings
from .toy_language import INGREDIENTS, Kitchen

Kind = TypeVar("Kind", bound=ScoreModel)
SCORER_STEPS = 400
RANKINGS = 8192
"""Rankings of eight dishes that the tier's two score models learn from."""


def cook(kitchen: Kitchen, seed: int) -> LanguageModelPolicy:
    """Return the toy tier's reference: a small transformer that imitates a cookbook of 4,096 dishes.

    Two layers of width 64. Its engine is then set to what the DPO rounds use.
    """
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(kitchen.vocabulary),
        hidden=64,
        layers=2,
        seed=seed,
        budget=Budget(4, kitchen.portions),
        engine=Engine(128, 3e-3, 2048, group_by_length=False),
        response_words=list(INGREDIENTS),
    )
    policy.imitate(*kitchen.cookbook(4096, seed=seed), steps=150, seed=seed)
    policy.engine = Engine(128, 2e-3, 2048, group_by_length=False, matrix_rate=1e-2)
    return policy


def fitted_scorer(
    kind: type[Kind],
    kitchen: Kitchen,
    policy: LanguageModelPolicy,
    pairs: Pairs,
    *,
    seed: int,
    steps: int = SCORER_STEPS,
    readout: Literal["last", "sum"] = "sum",
) -> Kind:
    """Return a `RewardModel` or `CostModel` fitted to people's labels, begun from the cook's own trunk.

    Its scores are nats, ``kitchen.sharpness`` times the gold ones. A step reads 512 dishes. With ``readout``
    "last" the score is read where published score models read it, and cannot count portions.
    """
    settings = ScoreSettings(
        prompt=4,
        response=kitchen.portions + 1,
        batch_size=256,
        learning_rate=5e-3,
        eval_rows=2048,
        group_by_length=False,
        matrix_rate=1e-2,
        readout=readout,
    )
    scorer = kind(policy.model, policy.tokenizer, settings=settings)
    scorer.fit(pairs, steps=steps, seed=seed)
    return scorer
