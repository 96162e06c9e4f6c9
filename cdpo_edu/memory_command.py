"""The command `cdpo-edu memory`: what a model and its settings will need, before anything is loaded.

Left out: the prediction itself (`memory`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer


class Swap(StrEnum):
    """Where score models are while they do not score."""

    resident = "resident"
    swapped = "swapped"


class Device(StrEnum):
    """What the run computes on."""

    cpu = "cpu"
    cuda = "cuda"


def memory(
    model: Annotated[str, typer.Option(help="A hub name or a folder; its configuration alone is read.")],
    bits: Annotated[int, typer.Option(help="32, 16, 8 or 4.")] = 32,
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 8,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per optimiser step.")] = 8,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Pairs read at once. [all]")] = None,
    eval_rows: Annotated[int, typer.Option(min=1, help="Answers read or drawn at once.")] = 32,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Recompute activations.")] = False,
    max_prompt_tokens: Annotated[int, typer.Option(min=2, help="Prompt budget.")] = 192,
    max_response_tokens: Annotated[int, typer.Option(min=2, help="Answer budget.")] = 96,
    reward: Annotated[str | None, typer.Option(help="fit, or the folder of a RewardModel. [none]")] = None,
    cost: Annotated[str | None, typer.Option(help="fit, or the folder of a CostModel. [none]")] = None,
    scorers: Annotated[Swap, typer.Option(help="Score models stay, or are there to score.")] = Swap.resident,
    device: Annotated[Device | None, typer.Option(help="Where it will run. [the best one here]")] = None,
    trust_remote_code: Annotated[str | None, typer.Option(help="The model whose own code may run.")] = None,
    measured: Annotated[bool, typer.Option("--measure", help="Do a step for real and compare.")] = False,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of the data set, for hours and disk.")] = 1000,
    prompts: Annotated[int, typer.Option(min=1, help="Dual prompts, for hours and disk.")] = 150,
    rounds: Annotated[int, typer.Option(min=1, help="Dual rounds.")] = 3,
    max_steps: Annotated[int, typer.Option(min=1, help="Gradient steps per round.")] = 60,
    samples: Annotated[int, typer.Option(min=2, help="Answers per dual prompt and round.")] = 4,
    probed: Annotated[bool, typer.Option("--probe", help="Time the passes, and say how many hours.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict the memory, disk and hours of a run from the model's configuration alone."""
    from .backbone import best_device
    from .memory import Plan, predict
    from .memory.hours import Work, disk

    plan = Plan(
        model,
        bits=bits,
        lora_rank=lora_rank,
        batch_size=batch_size,
        micro_batch=micro_batch,
        eval_rows=eval_rows,
        checkpointing=checkpointing,
        prompt=max_prompt_tokens,
        response=max_response_tokens,
        reward=reward,
        cost=cost,
        scorers=str(scorers),  # type: ignore[arg-type]
        device=str(device) if device is not None else best_device().type,  # type: ignore[arg-type]
        trust_remote_code=trust_remote_code,
    )
    found = predict(plan)
    work = Work(pairs, prompts, rounds, max_steps, samples)
    record: dict[str, Any] = found.as_dict() | {"disk": disk(plan, found.sizes, work)}
    if measured:
        from .memory.measure import measure

        record["measured"] = measure(plan)
    if probed:
        from .memory.hours import predicted_seconds, probe

        record["seconds"] = predicted_seconds(plan, work, probe(plan))
    typer.echo(json.dumps(record) if as_json else "\n".join(lines(record)))


def lines(record: dict[str, Any]) -> list[str]:
    """Return a prediction as a table for people, GiB with three digits."""
    parts = ("weights", "adapters", "optimiser", "scorers", "activations", "rest", "overhead", "total")
    table = [f"{'GiB':12} " + " ".join(f"{part:>11}" for part in parts)]
    for phase in record["phases"]:
        table.append(f"{phase['name']:12} " + " ".join(f"{phase[part] / 2**30:11.3f}" for part in parts))
    table.append(f"peak: {record['peak'] / 2**30:.3f} GiB, in {record['peak_phase']} (predicted)")
    table.append(f"disk: {record['disk'] / 2**30:.3f} GiB in the run folder (predicted)")
    for name, value in record.get("measured", {}).items():
        predicted = next(phase["total"] for phase in record["phases"] if phase["name"] == name)
        table.append(
            f"measured: {name} {value / 2**30:.3f} GiB; the prediction is {predicted / value:.2f} of it"
        )
    if "seconds" in record:
        steps = ", ".join(f"{name} {value:.0f} s" for name, value in record["seconds"].items())
        table.append(f"time: {sum(record['seconds'].values()) / 3600:.2f} hours ({steps}), from a probe")
    return table
