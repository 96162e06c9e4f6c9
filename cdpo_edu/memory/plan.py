"""What is asked of a prediction: the model and every setting that moves its memory.

Left out: the options of a command (`memory_command`), the settings of a whole run (`presets`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from ..engine import Engine
from ..types import InputError

MIB, GIB = 2**20, 2**30


class Plan(NamedTuple):
    """A model and how it is to be trained, on which device.

    Attributes
    ----------
    model : str
        A hub name or a folder; only its configuration is read.
    bits : {32, 16, 8, 4}
    lora_rank : int, optional
        Absent, every weight is trained.
    batch_size, micro_batch, eval_rows, checkpointing, share_prompts
        As in `Engine`: a batch is ``batch_size`` pairs.
    prompt, response : int
        Tokens at most, as in `Budget`.
    reward, cost : str, optional
        Folders of score models, "fit" for ones fitted from the policy's own model, None for functions.
    scorers : {"resident", "swapped"}
        Score models stay in memory, or are there only while they score.
    device : {"cpu", "cuda"}
    """

    model: str
    bits: int = 32
    lora_rank: int | None = 8
    lora_targets: tuple[str, ...] | None = None
    batch_size: int = 8
    micro_batch: int | None = None
    eval_rows: int = 32
    checkpointing: bool = False
    share_prompts: bool = True
    prompt: int = 192
    response: int = 96
    reward: str | None = None
    cost: str | None = None
    scorers: Literal["resident", "swapped"] = "resident"
    device: Literal["cpu", "cuda"] = "cpu"
    trust_remote_code: str | None = None

    @property
    def pairs_at_once(self) -> int:
        """Return the pairs that go through the model in one pass.

        >>> Plan("m", batch_size=8, micro_batch=2).pairs_at_once
        2
        """
        return self.batch_size // Engine(batch_size=self.batch_size, micro_batch=self.micro_batch).parts

    @property
    def dtype(self) -> torch.dtype:
        """Return the type that is computed in: float32 on a CPU, bfloat16 on a card (one that has it)."""
        return torch.float32 if self.device == "cpu" or self.bits == 32 else torch.bfloat16

    def checked(self) -> Plan:
        """Return the plan, or refuse one that no run can have.

        Raises
        ------
        InputError
        """
        if self.bits not in (32, 16, 8, 4):
            raise InputError(f"bits must be one of 32, 16, 8 or 4, not {self.bits}")
        if self.bits < 16 and self.lora_rank is None:
            raise InputError(f"bits {self.bits}: quantised weights are not trained; give a LoRA rank")
        counts = {name: getattr(self, name) for name in ("batch_size", "eval_rows", "prompt", "response")}
        counts |= {"lora_rank": self.lora_rank or 1}
        for name, value in counts.items():
            if value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        _ = self.pairs_at_once
        return self
