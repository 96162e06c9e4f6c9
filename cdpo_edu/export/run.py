"""A finished run's policy, written so that peft and transformers load it without this package.

The folder of the run is only read: nothing is trained, scored or drawn. Left out: what the files hold
(`weights`, `card`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .. import adapters, backbone
from ..presets import Config, read_config
from ..types import InputError
from .card import Licences, Made, model_card
from .weights import BESIDE, Base, base_of, copy_model, write_adapter, write_merged

Say = Callable[[str], None]


class Run(NamedTuple):
    """What an export reads of a run: its configuration, its records, and the settings of its policy."""

    folder: Path
    config: Config
    certificate: dict[str, Any]
    card: dict[str, Any]
    verdicts: dict[str, Any]
    settings: dict[str, Any]


def export_run(
    run: Path,
    out: Path,
    *,
    merged: bool = False,
    base_name: str | None = None,
    licences: Licences | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Write the policy of ``run`` into ``out``, whole or not at all, and return what was made.

    Parameters
    ----------
    run : path
        Of a finished run of the lm tier.
    out : path
        A new or empty folder.
    merged : bool
        One model of plain weights in place of an adapter. A policy without adapters is always that.
    base_name : str, optional
        Where others find the base model, when this run read it from a folder; it is then not copied.
    licences : Licences, optional
        Of data and base model, where they are known.

    Raises
    ------
    InputError
        When the run is not finished or has no weights that others can load, or ``out`` is not empty.
    """
    read = read_finished(run)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out}: it is there and not empty; name a new or empty folder")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    made = _write(read, partial, merged, base_name, say)
    card = model_card(read.config, read.certificate, read.card, read.verdicts, made, licences or Licences())
    (partial / "README.md").write_text(card, encoding="utf-8")
    if out.exists():
        out.rmdir()
    partial.replace(out)
    return {"out": str(out), "kind": made.kind, "base": made.base, "base_beside": made.beside}


def read_finished(run: Path) -> Run:
    """Return what the folder of a finished language model run holds.

    Raises
    ------
    InputError
        When there is none, or its tier has no model that others can load.
    """
    if not (run / "config.json").exists():
        raise InputError(
            f"{run}: no finished run there (config.json is missing); see cdpo-edu train --resume"
        )
    config = read_config(run, {})
    if config.tier != "lm":
        raise InputError(
            f"{run}: a run on the tier {config.tier}, whose policy is part of its small world and nothing "
            "that other programs load; export a run of train --tier lm"
        )
    for name in ("certificate.json", "card.json", "policy/policy.json"):
        if not (run / name).exists():
            raise InputError(
                f"{run}: the run is not finished ({name} is missing); see cdpo-edu train --resume"
            )
    return Run(
        run,
        config,
        certificate=_json(run / "certificate.json"),
        card=_json(run / "card.json"),
        verdicts=_json(run / "verdict.json") if (run / "verdict.json").exists() else {},
        settings=_json(run / "policy" / "policy.json"),
    )


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write(run: Run, out: Path, merged: bool, base_name: str | None, say: Say) -> Made:
    """Write weights, tokenizer and generation settings, and return what they are."""
    policy = run.folder / "policy"
    prompt, response = run.settings["budget"][:2]
    tokenizer = backbone.load_tokenizer(str(policy))
    whole = not adapters.is_adapter(policy)
    base = Base("", False, 32, False) if whole else base_of(policy, run.settings)
    beside, name, dtype = False, _public_name(run, base, base_name), "float32"
    if whole:
        say("the policy is one whole model: copying its weights")
        copy_model(policy, out)
    elif merged:
        say("merging base and adapters")
        dtype = write_merged(policy, base, out)
    else:
        beside = base.folder and base_name is None
        if beside:
            say(f"copying the base model to {BESIDE}/: the export stands alone")
            copy_model(Path(base.name), out / BESIDE)
        write_adapter(policy, out, BESIDE if beside else base_name or base.name)
    tokenizer.save_pretrained(out)
    settings = backbone.full_distribution(tokenizer, new_tokens=response, suppress=None)
    for folder in [out / BESIDE] if beside else [out] if whole or merged else []:
        settings.save_pretrained(folder)
    return Made(
        kind="whole model" if whole else "merged model" if merged else "adapter",
        base=name,
        on_the_hub=not whole and (base_name is not None or not base.folder),
        beside=beside,
        bits=base.bits,
        code=base.code,
        dtype=dtype,
        sft=not whole and (policy / adapters.REFERENCE).is_dir(),
        chat=bool(run.settings["chat"]),
        begin=tokenizer.bos_token_id is not None,
        budget=(prompt, response),
        base_licence=_licence_beside(Path(base.name)) if base.folder else None,
    )


def _public_name(run: Run, base: Base, base_name: str | None) -> str:
    """Return the base's name without the path of a folder on this machine."""
    if base_name is not None:
        return base_name
    if run.config.model == "tiny":
        return "tiny (two layers, built on the spot from random weights)"
    return Path(base.name or run.config.model).name if base.folder or not base.name else base.name


def _licence_beside(folder: Path) -> str | None:
    """Return the licence that a model's own page states in its front matter."""
    page = folder / "README.md"
    if not page.is_file():
        return None
    lines = page.read_text(encoding="utf-8", errors="replace").splitlines()
    front = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    stated = [line.partition(":")[2].strip(" '\"") for line in front if line.startswith("license:")]
    return stated[0] if stated and stated[0] else None
