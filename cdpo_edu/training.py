"""One `transformers.Trainer` for everything that is trained here: DPO, scorers and imitation.

The Trainer brings accelerate, clipping, schedules, mixed precision and several processes; what differs
between the three is a function ``loss(model, batch) -> (batch,)`` and a collator that returns a dict of
tensors. Rounds are short and
each starts from a saved state, so the Trainer itself writes no checkpoints.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from .bars import bar
from .optimizers import MuonAdamW
from .types import Span

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


class FilledBatches(Sampler[list[int]]):
    """Batches of rows in the order of ``sampler``, each closed before its rows exceed ``capacity``.

    >>> list(FilledBatches([0, 1, 2, 3], [2, 2, 3, 9], 4))
    [[0, 1], [2], [3]]
    """

    def __init__(self, sampler: Any, sizes: Sequence[int], capacity: int) -> None:
        self.sampler, self.sizes, self.capacity = sampler, sizes, capacity

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the places of each batch's rows; a row larger than the capacity is a batch by itself."""
        batch: list[int] = []
        filled = 0
        for row in self.sampler:
            if batch and filled + self.sizes[row] > self.capacity:
                yield batch
                batch, filled = [], 0
            batch.append(row)
            filled += self.sizes[row]
        if batch:
            yield batch

    def __len__(self) -> int:
        """Return about how many batches an epoch has: exact where all rows fill them evenly."""
        return max(1, -(-sum(self.sizes) // self.capacity))


class LossTrainer(Trainer):
    """A Trainer whose loss is the mean of a given per-row function."""

    model_accepts_loss_kwargs = False  # the loss divides by accumulation steps as usual

    def __init__(
        self,
        *,
        loss_function: Loss,
        schedule: Callable[[int], float],
        lengths: list[int] | None,
        sizes: list[int] | None,
        **settings: Any,
    ) -> None:
        self.loss_function, self.schedule = loss_function, schedule
        self.lengths, self.sizes = lengths, sizes
        self.losses: list[Tensor] = []
        super().__init__(**settings)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Return the schedule that `train` asks for."""
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.schedule)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Batch rows of like length together where lengths are given: less padding, same rows."""
        if self.lengths is None:
            return super()._get_train_sampler(train_dataset)
        together = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(together, lengths=self.lengths)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Fill each batch with rows up to the batch size where rows have sizes; else the Trainer's own."""
        if self.sizes is None:
            return super().get_train_dataloader()
        batches = FilledBatches(self._get_train_sampler(), self.sizes, self.args.train_batch_size)
        loader = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)  # type: ignore[arg-type]
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean loss of the batch and remember it."""
        loss = self.loss_function(model, inputs).mean()
        self.losses.append(loss.detach())
        return loss


class Bar(TrainerCallback):
    """One tqdm bar per fit, gone when it is done."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar = bar(title=self.title, total=state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move it by one."""
        if self.bar is not None:
            self.bar.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close it."""
        if self.bar is not None:
            self.bar.close()


@contextmanager
def _random_states_kept() -> Iterator[None]:
    """Put torch's, numpy's and Python's global random states back: the Trainer seeds all three."""
    python, vector = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(vector)


@contextmanager
def _checkpointed(model: Any, wanted: bool) -> Iterator[None]:
    """Recompute activations meanwhile, non-reentrant: frozen inputs do not cut the gradient then."""
    if not wanted:
        yield
        return
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    new = hasattr(inner, "activation_checkpointing_enable")  # transformers is renaming the two
    prefix = "activation_checkpointing" if new else "gradient_checkpointing"
    getattr(inner, f"{prefix}_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(inner, f"{prefix}_disable")()


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
    progress: Span = (0.0, 1.0),
    lengths: list[int] | None = None,
    sizes: list[int] | None = None,
    matrix_rate: float | None = None,
    parts: int = 1,
    checkpointing: bool = False,
) -> float:
    """Run ``steps`` optimizer steps on ``rows`` and return the mean loss over the last tenth of them.

    AdamW, with ``matrix_rate`` Muon on the hidden matrices. The learning rates are `schedule` of the run's
    progress; gradients are clipped at norm 1. The global random state is left as it was found. With
    ``lengths``, rows of like length share a batch; with ``sizes``, a batch holds rows whose sizes add up to
    at most ``batch_size``. A batch is read in ``parts`` whose gradients are averaged. With
    ``checkpointing`` a layer's inside is computed again on the way back.

    Raises
    ------
    FloatingPointError
        When that mean is not a finite number.
    """
    device = next(model.parameters()).device
    with _random_states_kept(), _checkpointed(model, checkpointing), tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=batch_size // parts,
            gradient_accumulation_steps=parts,
            learning_rate=learning_rate,
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
        optimizer = None
        if matrix_rate is not None:
            optimizer = MuonAdamW(model, learning_rate=learning_rate, matrix_rate=matrix_rate)
        trainer = LossTrainer(
            model=model,
            optimizers=(optimizer, None),
            args=arguments,
            train_dataset=Rows(rows),
            data_collator=collate,
            loss_function=loss,
            lengths=lengths,
            sizes=sizes,
            schedule=lambda step: schedule(step, steps, progress),
            callbacks=[Bar(title)],
        )
        trainer.remove_callback(PrinterCallback)  # it prints a dictionary of timings per fit
        trainer.train()
    tail = torch.stack(trainer.losses[-max(1, steps // 10) * parts :])
    if not tail.isfinite().all():
        raise FloatingPointError(f"{title}: the loss became {tail.mean().item()}; lower the learning rate")
    return tail.mean().item()


def schedule(step: int, steps: int, progress: Span) -> float:
    """Return the factor on the learning rate at ``step`` of ``steps`` of a fit that spans ``progress``.

    Every fit warms its fresh moments up over its first twentieth. Over the whole run the rate holds for
    the first 60 % and then falls to zero along a cosine.

    >>> schedule(50, 100, (0.0, 0.5)), round(schedule(60, 100, (0.5, 1.0)), 4), schedule(100, 100, (0.5, 1.0))
    (1.0, 0.5, 0.0)
    """
    start, end = progress
    done = start + (end - start) * step / steps
    falling = 1.0 if done < HOLD else 0.5 + 0.5 * math.cos(math.pi * (done - HOLD) / (1 - HOLD))
    return falling * min(1.0, (step + 1) / max(1, steps // 20))


HOLD = 0.6
"""The part of a run that is trained at the full learning rate."""
