"""One `transformers.Trainer` for everything that is trained here: DPO, scorers and imitation.

The Trainer brings accelerate, clipping, schedules, mixed precision and several processes; what differs
between the three is a function ``loss(model, batch) -> (batch,)`` and a collator that returns a dict of
tensors. Rounds are short and
each starts from a saved state, so the Trainer itself writes no checkpoints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

Loss = Callable[[Any, Any], Tensor]


class Rows(Dataset[Any]):
    """A list as the data set that the Trainer wants."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        """Return one row."""
        return self.rows[index]


class LossTrainer(Trainer):
    """A Trainer whose loss is the mean of a given per-row function."""

    model_accepts_loss_kwargs = False  # the loss divides by accumulation steps as usual

    def __init__(self, *, loss_function: Loss, **settings: Any) -> None:
        self.loss_function = loss_function
        self.losses: list[Tensor] = []
        super().__init__(**settings)

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean loss of the batch and remember it."""
        loss = self.loss_function(model, inputs).mean()
        self.losses.append(loss.detach())
        return loss


class Bar(TrainerCallback):
    """One tqdm bar per fit, gone when it is done."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar = tqdm(total=state.max_steps, desc=self.title, leave=False, disable=None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move it by one."""
        if self.bar is not None:
            self.bar.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close it."""
        if self.bar is not None:
            self.bar.close()


def train(
    model: nn.Module,
    rows: Sequence[Any],
    *,
    loss: Loss,
    collate: Callable[[list[Any]], Any],
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    title: str,
    weight_decay: float = 0.0,
) -> float:
    """Run ``steps`` AdamW steps on ``rows`` and return the mean loss over the last tenth of them.

    Warm-up over the first twentieth, then a cosine to zero; gradients clipped at norm 1. The global random
    state is left as it was found.

    Raises
    ------
    FloatingPointError
        When that mean is not a finite number.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            weight_decay=weight_decay,
            max_grad_norm=1.0,
            seed=seed,
            data_seed=seed,
            use_cpu=device.type == "cpu",
            bf16=False,
            dataloader_pin_memory=device.type != "cpu",
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = LossTrainer(
            model=model,
            args=arguments,
            train_dataset=Rows(rows),
            data_collator=collate,
            loss_function=loss,
            callbacks=[Bar(title)],
        )
        trainer.train()
    tail = torch.stack(trainer.losses[-max(1, steps // 10) :])
    if not tail.isfinite().all():
        raise FloatingPointError(f"{title}: the loss became {tail.mean().item()}; lower the learning rate")
    return tail.mean().item()
