"""Sharding that a launcher asks for is there, or one sentence says why not; what a CPU can show of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from cdpo_edu import presets, processes, sharding, tiers
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import LanguageModelPolicy
from cdpo_edu.types import InputError

NAMES = ("fsdp2", "zero2")
RUN = """
import torch
from cdpo_edu import processes
from cdpo_edu.backbone import word_tokenizer
from cdpo_edu.language_model import LanguageModelPolicy

torch.set_num_threads(1)
processes.join(cpu=True)
policy = LanguageModelPolicy.tiny(word_tokenizer(["rice", "nuts"]), hidden=16, layers=1, lora_rank=2)
policy.imitate(["rice"] * 16, ["nuts"] * 16, steps=1, seed=0)
"""
PLACE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}


class Engine:
    """Stands for DeepSpeed's engine, which is not installed."""

    def __init__(self, stage: int) -> None:
        self.stage = stage

    def zero_optimization_stage(self) -> int:
        return self.stage


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "FSDP_", "MASTER_", "WORLD_")):
            monkeypatch.delenv(name)
    return monkeypatch


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize("name", NAMES)
def test_accelerate_reads_the_files(name: str) -> None:
    config = load_config_from_file(str(sharding.example(name)))
    assert config.distributed_type == {"fsdp2": "FSDP", "zero2": "DEEPSPEED"}[name]
    assert config.num_processes == 2 and config.mixed_precision == "no"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_accelerates_launcher_passes_on_what_the_files_say(name: str, asked: pytest.MonkeyPatch) -> None:
    """The environment in which the processes would start, from the launcher's own functions."""
    line = ["--config_file", str(sharding.example(name)), "--module", "cdpo_edu"]
    told = _validate_launch_command(launch_command_parser().parse_args(line))[0]
    told.deepspeed_fields_from_accelerate_config = "zero_stage"  # the launcher adds them once it sees a GPU
    env = prepare_multi_gpu_env(told) if name == "fsdp2" else prepare_deepspeed_cmd_env(told)[1]
    for key, value in env.items():
        asked.setenv(key, value)
    assert sharding.asked_for() == {"fsdp2": "FSDP", "zero2": "DeepSpeed"}[name]
    if name == "fsdp2":
        plugin = FullyShardedDataParallelPlugin()
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
        assert "FULL_STATE_DICT" in str(plugin.state_dict_type) and not plugin.cpu_ram_efficient_loading
    else:
        assert env["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "2"
        sharding.require_whole()


# ---------------------------------------------------------------- the checks


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_one_process_cannot_shard(name: str, asked: pytest.MonkeyPatch) -> None:
    asked.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(InputError, match="nothing is sharded: there is one process"):
        sharding.require_sharded([torch.ones(1)])


def test_without_a_launcher_nothing_is_asked(asked: pytest.MonkeyPatch) -> None:
    assert sharding.asked_for() is None
    sharding.require_sharded([torch.ones(1)])
    sharding.require_whole()


@pytest.mark.parametrize(("engine", "whole"), [(None, True), (Engine(0), True), (Engine(2), False)])
def test_deepspeed_shards_where_its_engine_does(
    engine: Engine | None, whole: bool, asked: pytest.MonkeyPatch
) -> None:
    asked.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    asked.setattr(torch.distributed, "is_initialized", lambda: True)
    asked.setattr(torch.distributed, "get_world_size", lambda: 2)
    if not whole:
        sharding.require_sharded([torch.ones(1)], engine)
        return
    with pytest.raises(InputError, match="DeepSpeed, but nothing is sharded: .* whole in every process"):
        sharding.require_sharded([torch.ones(1)], engine)


@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_was_to_be_sharded_and_is_not_stops_before_its_first_step(
    asked: pytest.MonkeyPatch,
) -> None:
    policy = LanguageModelPolicy.tiny(word_tokenizer(["rice", "nuts"]), hidden=16, layers=1, lora_rank=2)
    before = policy.fingerprint
    asked.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="asked for FSDP, but nothing is sharded"):
        policy.imitate(["rice"] * 16, ["nuts"] * 16, steps=1, seed=0)
    assert policy.fingerprint == before


@pytest.mark.parametrize(
    "env", [{"USE_FSDP": "true"}, {"USE_DEEPSPEED": "true", "DEEPSPEED_ZERO_STAGE": "3"}]
)
def test_the_loop_wants_whole_models(env: dict[str, str], asked: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in env.items():
        asked.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(InputError, match="every process needs the whole model.*zero2.yaml"):
        next(tiers.train(presets.configure("bandit"), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo on Linux")
def test_two_processes_that_accelerate_leaves_unsharded_are_told(tmp_path: Path) -> None:
    """On CPUs accelerate makes plain data parallelism of FSDP, without a word."""
    (tmp_path / "fit.py").write_text(RUN, encoding="utf-8")
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(tmp_path / "fit.py")]
    env = os.environ | PLACE | {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "whole in every process" in done.stderr, done.stderr[-2000:]


@pytest.mark.slow
def test_accelerate_launch_on_a_cpu_is_told_to_have_started_one_process(tmp_path: Path) -> None:
    for number, code in (("2", 2), ("1", 0)):
        line = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", number]
        line += ["--module", "cdpo_edu", "train", "--tier", "bandit", "--rounds", "1", "--max-steps", "2"]
        done = subprocess.run(
            [*line, "--samples", "2", "--out", str(tmp_path / number)],
            env=os.environ | PLACE, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = "asked for several processes and started one" in done.stderr
        assert said == (code == 2) and (tmp_path / number).exists() == (code == 0), done.stderr[-2000:]


def test_a_meeting_point_of_another_kind_is_no_lonely_start(asked: pytest.MonkeyPatch) -> None:
    asked.setenv("MASTER_PORT", "29500")
    processes.join(cpu=True)
