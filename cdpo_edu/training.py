"""One `transformers.Trainer` for everything that is trained here: DPO, scorers and imitation.

The Trainer brings accelerate, clipping, schedules, mixed precision and several processes; what differs
between the three is a function ``loss(model, batch) -> (batch,)`` and a collator that returns a dict of
tensors. A fit that takes long keeps checkpoints (`long_work`) and goes on from them after a kill.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from . import processes, sharding
from .bars import bar
from .long_work import place_for_a_fit
from .optimizers import MuonAdamW
from .types import InputError, Span

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


def planned_batches(
    rows: int,
    *,
    count: int,
    batch_size: int,
    seed: int,
    lengths: list[int] | None = None,
    sizes: list[int] | None = None,
    parts: int = 1,
) -> list[list[int]]:
    """Return the rows of each of ``count`` batches, as many epochs as that takes, each row once an epoch.

    The order is fixed before training begins, so that a run that was stopped, or that is shared among
    processes, reads the same batches. See `train` for ``lengths`` and ``sizes``; ``parts`` batches make a
    step, and the order does not depend on how many.

    >>> planned_batches(3, count=4, batch_size=2, seed=0)
    [[2, 0], [1], [1, 2], [0]]
    """
    batches: list[list[int]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        epoch = 0
        while len(batches) < count:
            if lengths is None:
                generator = torch.Generator().manual_seed(seed + epoch)
                order = torch.randperm(rows, generator=generator).tolist()
            else:
                torch.empty((), dtype=torch.int64).random_()
                order = list(LengthGroupedSampler(batch_size * parts, lengths=lengths))
            batches += filled_batches(order, sizes or [1] * rows, batch_size)
            epoch += 1
    return batches[:count]


def filled_batches(order: Sequence[int], sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the rows in ``order``, cut into batches before their sizes add up to more than ``capacity``.

    A row larger than the capacity is a batch by itself.

    >>> filled_batches([0, 1, 2, 3], [2, 2, 3, 9], 4)
    [[0, 1], [2], [3]]
    """
    batches: list[list[int]] = []
    filled = capacity
    for row in order:
        if not batches or filled + sizes[row] > capacity:
            batches.append([])
            filled = 0
        batches[-1].append(row)
        filled += sizes[row]
    return batches


class LossTrainer(Trainer):
    """A Trainer whose loss is the mean of a given per-row function, over batches planned beforehand."""

    model_accepts_loss_kwargs = False  # the loss divides by accumulation steps as usual

    def __init__(
        self,
        *,
        loss_function: Loss,
        schedule: Callable[[int], float],
        batches: list[list[int]],
        **settings: Any,
    ) -> None:
        self.loss_function, self.schedule, self.batches = loss_function, schedule, batches
        self.losses: list[Tensor] = []
        super().__init__(**settings)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Return the schedule that `train` asks for."""
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.schedule)
        return self.lr_scheduler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the planned batches, dealt out in turn where there are several processes."""
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)  # type: ignore[arg-type]
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


class Sharded(TrainerCallback):
    """Stops a fit that was to be sharded and is not, see `sharding.require_sharded`."""

    def __init__(self) -> None:
        self.trainer: LossTrainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the parameters as accelerate has prepared them."""
        trained = [weight for weight in self.trainer.model.parameters() if weight.requires_grad]
        sharding.require_sharded(trained, self.trainer.deepspeed)


class Checkpoints(TrainerCallback):
    """Keeps a fit's state below ``folder`` every so many seconds, and stops a fit that has diverged.

    A checkpoint counts once the losses so far lie in it: they are written last.
    """

    def __init__(self, title: str, place: tuple[Path, float] | None) -> None:
        self.title = title
        self.folder: Path | None = None
        self.every = math.inf
        if place is not None:
            self.folder, self.every = place
        self.begun = self.kept = time.monotonic()
        self.trainer: LossTrainer

    def latest(self) -> str | None:
        """Return the newest checkpoint that is whole."""
        whole = [] if self.folder is None else list(self.folder.glob("checkpoint-*/losses.pt"))
        found = max(
            (path.parent for path in whole), key=lambda path: int(path.name.split("-")[1]), default=None
        )
        return None if found is None else str(found)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint when it is time."""
        now = time.monotonic()
        last = state.global_step == state.max_steps
        due = now - (self.begun if last else self.kept) >= self.every
        control.should_save = self.folder is not None and bool(processes.agreed(due))
        if control.should_save or last or state.global_step % CHECKED_EVERY == 0:
            self._check(state.global_step)
        if control.should_save:
            self.kept = now

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint with the losses."""
        losses = processes.gathered([loss.item() for loss in self.trainer.losses])
        if processes.place() == 0 and self.folder is not None:
            path = self.folder / f"checkpoint-{state.global_step}" / "losses.pt"
            torch.save(losses, path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)

    def take_up(self, checkpoint: str) -> None:
        """Read the losses of a checkpoint back."""
        losses = torch.load(Path(checkpoint, "losses.pt"), weights_only=True)
        self.trainer.losses = [torch.tensor(loss) for loss in losses[processes.place()]]

    def _check(self, step: int) -> None:
        loss = self.trainer.losses[-1].item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self.title}: the loss became {loss} by step {step}; lower the learning rate"
            )


CHECKED_EVERY = 10
"""Steps after which the loss is looked at: on a GPU a look waits for the step to end."""


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
    at most ``batch_size``. A batch is read in ``parts`` whose gradients are averaged; where there are several
    processes each reads its share of them. With
    ``checkpointing`` a layer's inside is computed again on the way back.

    Raises
    ------
    FloatingPointError
        When the loss is no longer a finite number.
    InputError
        When the processes cannot share a batch evenly, or a launcher asked for sharding and there is none.
    """
    device = next(model.parameters()).device
    parts = _parts(parts, batch_size)
    batches = planned_batches(
        len(rows),
        count=steps * parts,
        batch_size=batch_size // parts,
        seed=seed,
        lengths=lengths,
        sizes=sizes,
        parts=parts,
    )
    checkpoints, sharded = Checkpoints(title, place_for_a_fit()), Sharded()
    with _random_states_kept(), _checkpointed(model, checkpointing), tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=str(checkpoints.folder or scratch),
            max_steps=steps,
            per_device_train_batch_size=batch_size // parts,
            gradient_accumulation_steps=parts // processes.count(),
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
            accelerator_config={"even_batches": False},
            save_strategy="no",
            save_total_limit=2,
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
            batches=batches,
            schedule=lambda step: schedule(step, steps, progress),
            callbacks=[Bar(title), sharded, checkpoints],
        )
        checkpoints.trainer = sharded.trainer = trainer
        trainer.remove_callback(PrinterCallback)  # it prints a dictionary of timings per fit
        if (begun := checkpoints.latest()) is not None:
            checkpoints.take_up(begun)
        trainer.train(resume_from_checkpoint=begun)
    return _mean_over_the_end(trainer.losses, max(1, steps // 10) * parts)


def _parts(parts: int, batch_size: int) -> int:
    """Return in how many parts a batch is read: at least one a process."""
    world = processes.count()
    parts = max(parts, world)
    if parts % world or batch_size % parts:
        raise InputError(f"{world} processes cannot share a batch of {batch_size} read in {parts} parts")
    return parts


def _mean_over_the_end(losses: list[Tensor], count: int) -> float:
    """Return the mean of the last ``count`` losses of all processes, in the order of their batches."""
    shares = processes.gathered(torch.stack(losses).cpu() if losses else torch.empty(0))
    return torch.stack(shares, dim=1).flatten()[-count:].mean().item()


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
