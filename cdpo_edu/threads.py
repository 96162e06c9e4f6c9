"""How many threads a small model computes on: one.

Left out: large models, which take what torch takes.
"""

from __future__ import annotations

import os
from typing import Any


def one_thread_for_small_models(config: Any) -> None:
    """Compute small models on one thread, unless OMP_NUM_THREADS says otherwise.

    Their matrices are too small to share (two threads were slower), and the order of a sum, hence every
    last digit, then does not depend on how many cores there are.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ and (config.tier != "lm" or config.model == "tiny"):
        torch.set_num_threads(1)
