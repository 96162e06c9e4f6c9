"""The page of an exported policy, README.md: front matter for the hub, what is known, and how to load.

Its lines of Python are the whole of what a reader needs to get the policy's own log-probabilities and
answers; a test runs them. Left out: the weights (`weights`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ..preference_data import HUB_NAME
from ..preference_schemas import FORMATS, ending
from ..presets import Config
from ..report_words import certificate_rows, repeat_command, uncertified
from ..report_words import verdict as in_words
from ..verdict.sentences import headline, sentences


class Licences(NamedTuple):
    """Licences of the preference rows and of the base model, as the hub writes them; None where not known."""

    data: str | None = None
    model: str | None = None


class Made(NamedTuple):
    """What an export wrote.

    Attributes
    ----------
    kind : {"adapter", "merged model", "whole model"}
        The last is that of a policy without adapters.
    base : str
        Name of the base model, never a path.
    on_the_hub : bool
        Whether that name is one that others can load.
    beside : bool
        Whether the base lies in the export.
    bits : int
        In which the base was read while training.
    code : bool
        Whether the base is made of code of its own.
    dtype : str
        In which a merged model was merged.
    sft : bool
        Whether an SFT adapter was taken into the trained one.
    chat : bool
        Whether prompts are put in the tokenizer's chat template.
    begin : bool
        Whether the tokenizer has a begin token.
    budget : pair of int
        Longest prompt and answer, tokens.
    base_licence : str or None
        As the base's own page states it.
    """

    kind: str
    base: str
    on_the_hub: bool
    beside: bool
    bits: int
    code: bool
    dtype: str
    sft: bool
    chat: bool
    begin: bool
    budget: tuple[int, int]
    base_licence: str | None


def model_card(
    config: Config,
    certificate: dict[str, Any],
    card: dict[str, Any],
    verdicts: dict[str, Any],
    made: Made,
    licences: Licences,
) -> str:
    """Return the page: equal runs give equal bytes, and no path of this machine is in it."""
    noted = card.get("licences") or {}
    data = config.pairs or ""
    public = _is_on_the_hub(data)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parents[1] / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    told = in_words(certificate, config.__dict__)
    shown = config.__dict__ | {name: _name(value) for name, value in _paths(config).items()}
    return environment.get_template("model_card.md.j2").render(
        made=made,
        config=config,
        card=card,
        data=data if public else Path(data).name,
        data_is_public=public,
        data_licence=licences.data or noted.get("data"),
        model_licence=licences.model or noted.get("model") or made.base_licence,
        reward=_scorer(config.reward),
        cost=_scorer(config.cost),
        told=told,
        certificate=certificate,
        rows=certificate_rows(certificate),
        uncertified=uncertified(certificate),
        judged=[(headline(record), sentences(record)) for _, record in sorted(verdicts.items())],
        command=repeat_command(shown),
    )


def _is_on_the_hub(name: str) -> bool:
    """Tell whether a name of rows is OWNER/NAME and no path."""
    here = Path(name).exists() or ending(Path(name)) in FORMATS
    return name.count("/") == 1 and bool(HUB_NAME.fullmatch(name)) and not here


def _paths(config: Config) -> dict[str, str]:
    named = {name: str(getattr(config, name)) for name in ("pairs", "model", "reward", "cost")}
    return {name: value for name, value in named.items() if Path(value).exists() or Path(value).is_absolute()}


def _name(path: str) -> str:
    return Path(path).name


def _scorer(choice: str) -> str:
    """Return what a score model was, in words."""
    if choice == "fit":
        return "fitted to these rows in the run"
    path = Path(choice)
    return f"given: {path.name if path.exists() or path.is_absolute() else choice}"
