"""One step of DPO with LoRA: ours, and TRL's `DPOTrainer` as it comes and with precomputed reference.

The three take turns in one process on the same pairs, tokens, model and adapters, each through its own
trainer from end to end; a fourth, ours with one row per answer, shows what the shared prompt gives. All of it
runs in two new processes, with and without the two variables that stop glibc from giving every large tensor
back to the kernel, because Python must not have started when they are set. Peak memory is that of one more
process for each way, over what it held with model and data alone.

Ours tokenises its pairs in every pass; TRL has done so in its constructor, which is not timed. The
reference's log-probabilities of ours are computed beforehand, as are those of TRL where it precomputes them,
and so is the probe that lets ours share prompts. The first pass of every way is thrown away. TRL's own
default is bfloat16, which its constructor refuses on a CPU: there it gets float32.

On a GPU the clock is the wall's, the device waited for, and `mfu` is 4 N FLOPs per token that was read
(forward, and backward through frozen weights) over the ceiling measured by one large bfloat16 product.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .measured import CannotMeasure, Figures, Measured

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
SETTINGS = ("plain", "allocator")
WAYS = ("trl", "trl_precomputed", "ours", "ours_plain_rows")
AIMS = {"plain": (3.0, 4.5), "allocator": (2.3, 3.4)}
"""Pairs per CPU second of ours over TRL's with precomputed reference, and over its default."""


def measure_step(options: argparse.Namespace) -> Measured:
    """Run both settings in processes of their own and put the ratios together."""
    for name in ("trl", "datasets"):
        if find_spec(name) is None:
            raise CannotMeasure(f"{name} is not installed: pip install 'cdpo_edu[dev]'")
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise CannotMeasure("--device cuda: torch sees no GPU here")
    given = {name: getattr(options, name) for name in ("pairs", "batch", "rounds", "seed", "shape", "device")}
    found = {setting: _elsewhere(setting, given | {"ways": WAYS}) for setting in SETTINGS}
    for setting in SETTINGS:
        for way in WAYS:
            alone = _elsewhere(setting, given | {"ways": [way], "rounds": 1})
            found[setting]["ways"][way]["peak_mib"] = alone["peak_mib"]
    ratios = {setting: _ratios(found[setting]["ways"]) for setting in SETTINGS}
    figures = {
        way: {
            f"{setting}_{name}": value
            for setting in SETTINGS
            for name, value in found[setting]["ways"][way].items()
        }
        for way in WAYS
    }
    return Measured(
        ratio=ratios["plain"]["trl_precomputed"],
        meaning=_meaning(ratios, found["plain"]["clock"]),
        ours=figures["ours"],
        peer=figures["trl_precomputed"],
        settings=given | {k: found["plain"][k] for k in FACTS} | {"ratios": ratios},
        rounds=[{"setting": s} | {k: found[s][k] for k in ("ways", "seconds_per_pair")} for s in SETTINGS],
        packages=("cdpo_edu", "torch", "transformers", "peft", "trl"),
    )


FACTS = ("source", "parameters", "tokens_per_pair", "clock", "device_name", "first_pass_losses")


def _ratios(ways: Figures) -> Figures:
    mine = ways["ours"]["pairs_per_second"]
    return {way: mine / ways[way]["pairs_per_second"] for way in WAYS if way != "ours"}


def _meaning(ratios: Figures, clock: str) -> str:
    said = []
    for setting, aims in AIMS.items():
        own = [ratios[setting][way] for way in ("trl_precomputed", "trl")]
        met = ["met" if mine >= aim else "not met" for mine, aim in zip(own, aims, strict=True)]
        said.append(
            f"{setting}: {own[0]:.2f} times TRL with precomputed reference (aim {aims[0]}: {met[0]}), "
            f"{own[1]:.2f} times its default (aim {aims[1]}: {met[1]})"
        )
    return f"pairs per second of {clock} time, medians; " + "; ".join(said)


def _elsewhere(setting: str, given: Figures) -> Figures:
    """Return what a new process prints whose allocator is set, or is left as it comes."""
    environment = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
    environment |= ALLOCATOR if setting == "allocator" else {}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"CDPO_EDU_BARS": "0"} | ({"CUDA_VISIBLE_DEVICES": ""} if given["device"] == "cpu" else {})
    root = Path(__file__).resolve().parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "scripts")])
    command = [sys.executable, "-m", "benchmarks.step", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise CannotMeasure(f"the measuring process ended with {done.returncode}:\n{done.stderr[-2000:]}")
    result: Figures = json.loads(done.stdout.splitlines()[-1])
    return result


# ---------------------------------------------------------------- in the new process


def take_turns(given: Figures) -> Figures:
    """Let the ways train in turn and return seconds per pair of every pass, tokens and peak memory."""
    import torch

    from .step_pairs import causal_model, material

    warnings.simplefilter("ignore")
    data = material(given["pairs"], seed=given["seed"])
    model = causal_model(given["shape"], data.tokenizer, seed=given["seed"])
    before = _memory_mib()
    passes = {way: MAKERS[way](model, data, given) for way in given["ways"]}
    seconds: dict[str, list[float]] = {way: [] for way in passes}
    losses = {}
    for turn in range(given["rounds"] + 1):
        for way, train in passes.items():
            spent, loss = _timed(train)
            if turn:
                seconds[way].append(spent / given["pairs"])
            else:
                losses[way] = loss
    tokens = {kind: count / given["pairs"] for kind, count in _tokens(data).items()}
    middle = {way: statistics.median(spent) for way, spent in seconds.items()}
    return {
        "ways": {
            way: {"pairs_per_second": 1 / middle[way], "tokens_per_second": tokens["plain"] / middle[way]}
            | _utilisation(model, tokens["shared" if way == "ours" else "plain"] / middle[way])
            for way in passes
        },
        "seconds_per_pair": seconds,
        "peak_mib": _peak_mib() - before,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "tokens_per_pair": tokens,
        "source": data.source,
        "clock": "CPU" if next(model.parameters()).device.type == "cpu" else "wall",
        "device_name": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "first_pass_losses": losses,
    }


def _ours(model: Any, data: Any, given: Figures, *, share: bool) -> Callable[[], float]:
    """Return a pass of our trainer over all pairs, the reference's log-probabilities and the probe done."""
    import torch

    from cdpo_edu.pairs import Preferences

    from .step_pairs import BETA, adapted

    policy = adapted(
        copy.deepcopy(model), data.tokenizer, batch=given["batch"], seed=given["seed"], share_prompts=share
    )
    x, y0, y1 = data.pairs.prompts, data.pairs.y0, data.pairs.y1
    reference = policy.frozen()
    ref_logp = torch.stack([reference.log_prob(x, y) for y in (y0, y1)], dim=1)
    labelled = Preferences(x, y0, y1, ref_logp, torch.ones(len(x)))
    if policy.shares_prompts != share:
        raise CannotMeasure("this model does not take shared rows")
    steps = given["pairs"] // given["batch"]
    return lambda: policy.fit(labelled, beta=BETA, steps=steps, seed=given["seed"]).loss


def _trl(model: Any, data: Any, given: Figures, *, precompute: bool) -> Callable[[], float]:
    """Return a pass of TRL's trainer, all settings its own but those that the comparison fixes."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from .step_pairs import BETA, RANK

    disable_progress_bars()
    rows = [
        {"prompt": data.tokenizer.bos_token + x, "chosen": y1, "rejected": y0}
        for x, y0, y1 in zip(data.pairs.prompts, data.pairs.y0, data.pairs.y1, strict=True)
    ]
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=given["batch"],
        max_steps=given["pairs"] // given["batch"],
        learning_rate=1e-4,
        beta=BETA,
        precompute_ref_log_probs=precompute,
        seed=given["seed"],
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        **({} if torch.cuda.is_available() else {"bf16": False, "use_cpu": True}),
    )
    adapters = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = DPOTrainer(
            model=copy.deepcopy(model),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=data.tokenizer,
            peft_config=adapters,
        )
    _same_tokens(trainer.train_dataset, data)

    def train() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            return float(trainer.train().training_loss)

    return train


MAKERS: dict[str, Callable[..., Callable[[], float]]] = {
    "trl": partial(_trl, precompute=False),
    "trl_precomputed": partial(_trl, precompute=True),
    "ours": partial(_ours, share=True),
    "ours_plain_rows": partial(_ours, share=False),
}


def _token_rows(data: Any) -> list[Any]:
    """Return prompt, y0 and y1 of every pair as our policy encodes them."""
    from .step_pairs import encoder

    policy = encoder(data.tokenizer)
    columns = (
        policy._prompt_ids(data.pairs.prompts),
        *map(policy._response_ids, (data.pairs.y0, data.pairs.y1)),
    )
    return list(zip(*columns, strict=True))


def _tokens(data: Any) -> dict[str, int]:
    """Return the tokens of all pairs with the prompt counted twice and once."""
    prompts, answers = (
        sum(len(ids) for row in _token_rows(data) for ids in row[part]) for part in (slice(0, 1), slice(1, 3))
    )
    return {"plain": 2 * prompts + answers, "shared": prompts + answers}


def _same_tokens(theirs: Any, data: Any) -> None:
    """Refuse to compare different work."""
    for row, own in zip(theirs, _token_rows(data), strict=True):
        if (row["prompt_ids"], row["rejected_ids"], row["chosen_ids"]) != own:
            raise CannotMeasure("TRL's tokens are not ours")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds (of the CPU; with a GPU, of the wall, the device waited for) and the result."""
    import torch

    gpu = torch.cuda.is_available()
    clock = time.perf_counter if gpu else time.process_time
    started = clock()
    done = work()
    if gpu:
        torch.cuda.synchronize()
    return clock() - started, done


def _memory_mib() -> float:
    """Return what is in use now: resident memory, or a GPU's allocated memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**20
    return psutil.Process().memory_info().rss / 2**20


def _peak_mib() -> float:
    """Return the most that was ever in use."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _utilisation(model: Any, tokens_per_second: float) -> Figures:
    """Return the matrices' work as a share of the card's measured bfloat16 ceiling; nothing on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seconds = min(_timed(lambda: a @ a)[0] for _ in range(10))
    ceiling = 2 * 8192**3 / seconds
    needed = 4 * sum(weight.numel() for weight in model.parameters()) * tokens_per_second
    return {"mfu": needed / ceiling, "bf16_ceiling_tflops": ceiling / 1e12}


if __name__ == "__main__":
    print(json.dumps(take_turns(json.loads(sys.argv[1]))))
