"""The bytes that a computation holds at once, added up without doing it.

Under torch's fake tensors every operation has a shape and a type and no numbers. `Ledger` watches the
operations, counts each storage when it first appears and takes it off when the last tensor on it is gone, as
an allocator would; the highest sum is the peak.

Left out: what an allocator adds (`plan`), memory that an operation takes inside itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Ledger(TorchDispatchMode):
    """Counts the bytes of all tensors that come to be while it is on; ``known`` ones count nothing.

    Attributes
    ----------
    now, peak : int
        Bytes held at the moment, and at most so far.

    Examples
    --------
    Two tensors of 4 kB, of which one is gone before the third is made:

    >>> import torch
    >>> with Ledger() as ledger:
    ...     a, b = torch.zeros(1000), torch.zeros(1000)
    ...     view = a.view(10, 100)
    ...     del b
    ...     c = torch.zeros(500)
    >>> ledger.peak, ledger.now
    (8000, 6000)
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.held: dict[int, int] = {}
        for tensor in known:
            self._enter(tensor, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation and count what it returns."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._enter(leaf, None)
        return out

    def _enter(self, tensor: Tensor, counted: int | None) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.held:
            return
        self.held[key] = storage.nbytes() if counted is None else counted
        self.now += self.held[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._leave, key)

    def _leave(self, key: int) -> None:
        self.now -= self.held.pop(key, 0)
