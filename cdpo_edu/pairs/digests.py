"""Short digests that stand for data in cache keys, and files that are never half written.

Left out: digests of models (each policy and scorer has its own ``fingerprint``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from .. import processes
from ..types import Batch


def digest(*parts: str) -> str:
    """Return the first 16 hex digits of sha256 over the parts, each with its length in front."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_batch(batch: Batch) -> str:
    """Return the digest of prompts or responses, whatever they are made of."""
    items: Iterable[str] = map(str, batch.tolist() if isinstance(batch, Tensor) else batch)
    return digest(json.dumps(list(items)))


def write_atomically(columns: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file that is either whole or absent, never half, once for all processes."""
    if not processes.first():
        return
    partial = path.with_suffix(".partial")
    save_file({name: column.contiguous().clone() for name, column in columns.items()}, partial)
    partial.replace(path)
