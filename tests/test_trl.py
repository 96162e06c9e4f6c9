"""A second opinion: TRL's DPOTrainer and ours go the same way from the same adapters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cdpo_edu.answer_sets import answer_sets
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.pairs import Preferences
from cdpo_edu.shared_prompt import collate_cheaper

WORDS = "rice bean apple honey basil cream milk egg guest asks for no nuts please".split()
PROMPTS = ["guest asks for rice no nuts please", "guest asks for milk", "egg please", "no honey for guest"]
CHOSEN = ["rice bean basil", "cream", "egg egg honey apple", "apple"]
REJECTED = ["honey", "milk honey basil", "rice", "honey honey honey"]
BETA, RATE, STEPS = 0.5, 1e-2, 10


def learner() -> LanguageModelPolicy:
    """A model that prefers some words to others, with fresh adapters; every batch is all four pairs."""
    policy = LanguageModelPolicy.tiny(
        word_tokenizer(WORDS), hidden=32, layers=2, budget=Budget(16, 8), engine=Engine(4, RATE, 64)
    )
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(10)  # type: ignore[operator]
    return policy.with_lora(4)


def adapters(model: Any) -> Tensor:
    """All adapter weights of the one that is trained, as one vector."""
    named = sorted((n, w) for n, w in model.named_parameters() if "lora_" in n and ".default." in n)
    return torch.cat([weight.detach().flatten().clone() for _, weight in named])


def theirs(policy: LanguageModelPolicy, folder: Path) -> tuple[list[float], Tensor]:
    """Train a copy by TRL with every setting that ours has; return the loss before each step, and the end."""
    trl = pytest.importorskip("trl", reason="trl, the second opinion, is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets, which trl reads, is not installed")
    rows = [
        {"prompt": f"<bos> {x}", "chosen": f" {w}", "rejected": f" {v}"}
        for x, w, v in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    trainer = trl.DPOTrainer(
        model=copy.deepcopy(policy.model),
        args=trl.DPOConfig(
            output_dir=str(folder),
            beta=BETA,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            max_steps=STEPS,
            per_device_train_batch_size=4,
            max_grad_norm=1.0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=policy.tokenizer,
    )
    assert torch.equal(adapters(trainer.model), adapters(policy.model))
    trainer.train()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return losses, adapters(trainer.model)


def labelled(policy: LanguageModelPolicy) -> Preferences:
    reference = policy.frozen()
    ref_logp = torch.stack([reference.log_prob(PROMPTS, y) for y in (REJECTED, CHOSEN)], dim=1)
    return Preferences(PROMPTS, REJECTED, CHOSEN, ref_logp, torch.ones(4))


@pytest.mark.filterwarnings("ignore")
def test_ten_equal_steps_end_in_the_same_adapters(tmp_path: Path) -> None:
    """Prompts shared here, one row per answer there; the loss falls alike, and the adapters agree to 1e-3 of
    their way. With another beta they would not."""
    policy = learner()
    start = adapters(policy.model)
    losses, expected = theirs(policy, tmp_path)
    given = labelled(policy)
    rows = answer_sets(given, policy._prompt_ids, policy._response_ids)
    assert policy.shares_prompts and "part" in collate_cheaper(rows, pad=0, hidden=32)

    def way(beta: float) -> tuple[list[float], float]:
        own, seen = learner(), []
        for steps in (1, STEPS):
            own = learner()
            seen.append(own.fit(given, beta=beta, steps=steps, seed=0, progress=(0.0, 0.5)).loss)
        apart = (adapters(own.model) - expected).norm() / (expected - start).norm()
        return seen, float(apart)

    seen, apart = way(BETA)
    assert seen == pytest.approx([losses[0], losses[-1]], abs=1e-5) and losses[-1] < 0.5 * losses[0]
    assert apart < 1e-3
    assert way(0.4)[1] > 1e-2
