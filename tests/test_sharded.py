"""Our loss under torch's fully_shard (FSDP2) on two gloo processes is the loss, and the step, of one process.

Trainer and FSDP need an accelerator; the loss itself does not, so a plain loop holds it here on a CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import json, sys
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from cdpo_edu.adapters import with_lora
from cdpo_edu.backbone import tiny_llama, word_tokenizer
from cdpo_edu.losses import dpo_loss
from cdpo_edu.reading import plain_logp
from cdpo_edu.sequences import pad_rows
from cdpo_edu.sharding import whole_adapters

torch.set_num_threads(1)
rank, world = 0, 1
if len(sys.argv) > 2:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
model = with_lora(tiny_llama(word_tokenizer(list("abcdefgh")), hidden=32, layers=2, seed=0), rank=2, seed=0)
if world > 1:
    mesh = init_device_mesh("cpu", (world,))
    for layer in model.base_model.model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
draw = torch.Generator().manual_seed(1)
prompts = [torch.randint(4, 10, (3,), generator=draw).tolist() for _ in range(8)]
answers = [[torch.randint(4, 10, (2 + k,), generator=draw).tolist() for _ in range(8)] for k in (0, 1)]
optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-2)
mine, losses = range(rank, 8, world), []
for step in range(4):
    rows = [pad_rows([prompts[i] for i in mine], [part[i] for i in mine], pad=0) for part in answers]
    logp = torch.stack([plain_logp(model, part) for part in rows], dim=1)
    loss = dpo_loss(logp, torch.full_like(logp, -6.0), torch.full((len(mine),), 0.9), 0.5).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    share = loss.detach() / world
    if world > 1:
        dist.all_reduce(share)
    losses.append(share.item())
if world > 1:
    trained = [w for w in model.parameters() if w.requires_grad]
    assert all(type(w).__name__ == "DTensor" for w in trained), "nothing is sharded"
norms = [w.double().norm().item() for w in whole_adapters(model).values()]
if rank == 0:
    open(sys.argv[1], "w").write(json.dumps([losses, norms]))
"""


def run(folder: Path, *, processes: int) -> tuple[list[float], list[float]]:
    script, out = folder / "loop.py", folder / f"{processes}.json"
    script.write_text(RUN, encoding="utf-8")
    launch = [] if processes == 1 else ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command = [sys.executable, *launch, str(script), str(out), *(["shared"] if processes > 1 else [])]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    losses, norms = json.loads(out.read_text())
    return losses, norms


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on Linux")
def test_a_sharded_model_takes_the_steps_of_a_whole_one(tmp_path: Path) -> None:
    whole, sharded = run(tmp_path, processes=1), run(tmp_path, processes=2)
    assert sharded[0] == pytest.approx(whole[0], abs=1e-5) and whole[0][-1] < whole[0][0] - 0.05
    assert sharded[1] == pytest.approx(whole[1], rel=1e-4)
