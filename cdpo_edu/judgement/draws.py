"""The answers that a verdict is passed on: drawn once, kept in the run's folder, added to by each call.

One file per call, ``verdict/draws/0000.json`` and on, holds n answers of the policy and n of the reference to
every judge prompt, prompt-major (in a world: to every prompt). The random numbers of a file depend on the
run's seed and the file's number alone, so calls in any pace draw the same answers. Scores lie beside it.

Left out: what the scores say (`run`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..pairs import ScoredPairs, digest, digest_of_batch
from ..pairs.prompt_sets import first_turn
from ..presets import Config, read_config
from ..run_folder import write_json
from ..tiers import BUILDERS
from ..tiers.job import Job, Say
from ..types import Batch, InputError, Scorer, join, repeat_each, take

SEED = 1_000_003
"""Apart from every seed that training uses."""


class Opened(NamedTuple):
    """A finished run with its trained policy, its judge prompts, and which of them are near-copies."""

    run: Path
    config: Config
    job: Job
    prompts: Batch
    weights: Tensor | None
    clusters: list[int]

    @property
    def scored(self) -> ScoredPairs:
        """Return the run's pairs, with their scorers and reference."""
        return self.job.scored


class Draws(NamedTuple):
    """All answers so far, shape (X, m) prompt-major; ``places`` names files and answers per prompt."""

    policy: Batch
    reference: Batch
    places: list[tuple[Path, int]]


def open_run(run: Path, say: Say) -> Opened:
    """Return the finished run of a folder.

    Raises
    ------
    InputError
        When no finished run is there.
    """
    for name in ("config.json", "certificate.json", "card.json", "policy"):
        if not (run / name).exists():
            raise InputError(f"{run}: no finished run there ({name} is missing); see cdpo-edu train --resume")
    config = read_config(run, {})
    job = BUILDERS[config.tier](config, run, say)
    job.policy.restore(run / "policy")
    world = job.scored.world
    prompts = job.scored.prompt_sets.judge if world is None else world.prompts
    keys = [first_turn(str(prompt)) for prompt in prompts]
    first = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    weights = None if world is None else world.prompt_probs.double()
    return Opened(run, config, job, prompts, weights, [first[key] for key in keys])


def draw(opened: Opened, samples: int, say: Say) -> Draws:
    """Add ``samples`` answers per prompt to the folder and return all that are there.

    Raises
    ------
    InputError
        When there are none and none are to be drawn, or the kept ones are another policy's.
    """
    folder = opened.run / "verdict" / "draws"
    kept = sorted(folder.glob("[0-9][0-9][0-9][0-9].json"))
    made_by = digest(
        opened.job.policy.fingerprint, opened.scored.reference.fingerprint, digest_of_batch(opened.prompts)
    )
    if samples:
        folder.mkdir(parents=True, exist_ok=True)
        kept.append(folder / f"{len(kept):04d}.json")
        _draw(opened, samples, kept[-1], made_by, say)
    if not kept:
        raise InputError(f"{folder}: no answers there yet; give --samples a number above 0")
    read = [json.loads(path.read_text(encoding="utf-8")) for path in kept]
    for path, record in zip(kept, read, strict=True):
        if record["made_by"] != made_by:
            raise InputError(
                f"{path}: drawn from another policy or for other prompts (the run was trained on since); "
                f"move {folder.parent} away to begin a new verdict"
            )
    places = [(path, int(record["samples"])) for path, record in zip(kept, read, strict=True)]
    both = [
        _interleaved([_batch(record[author]) for record in read], places, len(opened.prompts))
        for author in ("policy", "reference")
    ]
    return Draws(both[0], both[1], places)


def _draw(opened: Opened, samples: int, path: Path, made_by: str, say: Say) -> None:
    say(f"drawing {samples} answers of policy and reference to each of {len(opened.prompts)} prompts")
    number = int(path.stem)
    answers = {}
    for k, (author, policy) in enumerate(
        (("policy", opened.job.policy), ("reference", opened.scored.reference))
    ):
        seed = SEED * (opened.config.seed + 1) + 2 * number + k
        drawn = policy.sample(opened.prompts, samples, generator=torch.Generator().manual_seed(seed))
        answers[author] = drawn.tolist() if isinstance(drawn, Tensor) else drawn
    write_json(path, {"made_by": made_by, "samples": samples} | answers)


def _batch(answers: list[Any]) -> Batch:
    return answers if answers and isinstance(answers[0], str) else torch.tensor(answers, dtype=torch.long)


def _interleaved(parts: list[Batch], places: list[tuple[Path, int]], prompts: int) -> Batch:
    """Return the files' answers as one prompt-major batch: each prompt's answers in order of drawing."""
    order, start = [], 0
    for _, samples in places:
        order.append(torch.arange(prompts * samples).view(prompts, samples) + start)
        start += prompts * samples
    return take(join(parts), torch.cat(order, dim=1).flatten())


def scores(opened: Opened, draws: Draws, scorer: Scorer, name: str, say: Say) -> tuple[Tensor, Tensor]:
    """Return a scorer's values of policy and reference, (X, m) each; read from the folder where they are.

    Raises
    ------
    InputError
        When a score is no finite number.
    """
    x, parts = len(opened.prompts), []
    print_ = getattr(scorer, "fingerprint", "")
    start = 0
    for path, samples in draws.places:
        file = path.with_name(f"{path.stem}-{name}-{digest(print_)[:12]}.safetensors")
        if print_ and file.exists():
            columns = load_file(file)
        else:
            say(f"scoring {2 * x * samples} answers: {name}")
            index = torch.arange(start, start + samples)
            columns = {
                author: _scored(scorer, opened.prompts, answers, index, name)
                for author, answers in (("policy", draws.policy), ("reference", draws.reference))
            }
            if print_:
                save_file(columns, file.with_suffix(".partial"))
                file.with_suffix(".partial").replace(file)
        parts.append(columns)
        start += samples
    both = [torch.cat([part[author] for part in parts], dim=1) for author in ("policy", "reference")]
    return both[0], both[1]


def _scored(scorer: Scorer, prompts: Batch, answers: Batch, index: Tensor, name: str) -> Tensor:
    """Return the scores of the answers at ``index`` to every prompt, shape (X, len(index))."""
    x, n = len(prompts), len(index)
    every = torch.arange(len(answers)).view(x, -1)[:, index]
    values = scorer(repeat_each(prompts, n), take(answers, every.flatten())).detach().cpu().double()
    if values.shape != (x * n,):
        raise InputError(
            f"{name}: {x * n} answers were to be scored, and scores of shape {tuple(values.shape)} came"
        )
    if bad := int((~values.isfinite()).sum()):
        raise InputError(f"{name}: {bad} of {x * n} judge answers have no finite score")
    return values.view(x, n).contiguous()
