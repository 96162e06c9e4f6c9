"""What every test gets: no network, one thread, no display, and a path to the real rows where they are."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch, transformers or matplotlib are imported: they read these once.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}

import socket  # noqa: E402

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
_connect = socket.socket.connect


def _connect_at_home(self: socket.socket, address: object) -> None:
    """Connect within this machine; anything else is a test that reaches for the network."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
        host = str(address[0])
        if host not in ("localhost", "::1") and not host.startswith("127."):
            raise OSError(f"a test tried to reach {host}: tests touch no network")
    _connect(self, address)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    monkeypatch.setattr(socket.socket, "connect", _connect_at_home)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real preference rows: CDPO_EDU_DATA, else ../shared/data beside the clone."""
    folder = Path(os.environ.get("CDPO_EDU_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real preference rows: {folder} is absent; set CDPO_EDU_DATA to their folder")
    return folder
