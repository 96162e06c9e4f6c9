"""A score model or function by its name: what `--reward`, `--cost` and `--judge-cost` take besides `fit`.

* a folder that a RewardModel or CostModel was saved in: anchored as it says itself;
* a folder or hub name of a beaver score model: a cost is anchored at 0, a reward has no need to be;
* a folder or hub name of a sequence classifier, with ``,label=NAME`` where it has several labels: not
  anchored, unless ``,anchored`` says that its 0 is the boundary between safe and unsafe;
* MODULE:FUNCTION or FILE.py:FUNCTION, a function (prompts, responses) -> scores of the reader's own:
  ``anchored``, ``bounds`` and ``fingerprint`` are its attributes of these names. Without a fingerprint its
  scores are never cached.

Left out: the models themselves (`scorers`, `published_scorers`).
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .types import Batch, InputError, Scorer

BEAVER = ("LlamaForScore", "LlamaModelForScore")


class Choice(NamedTuple):
    """A name that was looked at: its kind, the folder, hub name or function, and what is said of it."""

    kind: Literal["own", "beaver", "classifier", "function"]
    name: str
    label: str | None = None
    anchored: bool = False
    function: Any = None


def chosen(text: str, *, option: str) -> Choice:
    """Return what a name stands for; of a model its configuration alone is read, a function is imported.

    Parameters
    ----------
    text : str
    option : str
        Where it was given, for messages: ``--cost``.

    Raises
    ------
    InputError
        When the name leads nowhere, or to a model of another kind.
    """
    name, *words = text.split(",") if not Path(text).exists() else [text]
    label, anchored = _said(words, text, option)
    if (Path(name) / "scorer.json").exists():
        found = Choice("own", name)
    elif not Path(name).is_dir() and ":" in name:
        found = Choice("function", name, function=_function(name, option))
    else:
        found = Choice(_kind(name, option), name, label, anchored)
    if words and found.kind != "classifier":
        raise InputError(f"{option} {text}: label and anchored are said of a sequence classifier alone")
    return found


def named_scorer(text: str, *, role: str, option: str) -> Scorer:
    """Return the scorer that a name stands for, loaded, as ``role``: reward or cost.

    Raises
    ------
    InputError
        As `chosen`, and when the model is of the other role or cannot be read.
    """
    choice = chosen(text, option=option)
    if choice.kind == "function":
        return OwnFunction(choice.function, text)
    if choice.kind == "own":
        from .scorers import CostModel, RewardModel

        return (RewardModel if role == "reward" else CostModel).load(choice.name)
    from .published_scorers import BeaverScore, Classifier

    if choice.kind == "beaver":
        return BeaverScore(choice.name, role)
    return Classifier(choice.name, label=choice.label, anchored=choice.anchored)


class OwnFunction:
    """A reader's function as a scorer: what it says of itself is kept, what it returns is checked."""

    def __init__(self, function: Any, name: str) -> None:
        self.function, self.name = function, name
        self.anchored = bool(getattr(function, "anchored", False))
        self.bounds = getattr(function, "bounds", None)
        self.fingerprint = str(getattr(function, "fingerprint", ""))

    def __call__(self, prompts: Batch, responses: Batch) -> Tensor:
        """Return one score per answer, float64 on the CPU, shape (batch,).

        Raises
        ------
        InputError
            When the function returns something else.
        """
        found = self.function(prompts, responses)
        try:
            scores = torch.as_tensor(found).detach().to("cpu", torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.name}: its scores are no tensor of numbers ({error})") from error
        if scores.shape != (len(responses),):
            shape = tuple(scores.shape)
            raise InputError(
                f"{self.name}: {len(responses)} answers were to be scored, and scores of shape {shape} came"
            )
        return scores


class Named(NamedTuple):
    """A way to load a named scorer again and again, as `Swapped` does."""

    role: str

    def load(self, name: str | Path) -> Scorer:
        """Return the scorer."""
        return named_scorer(str(name), role=self.role, option=f"--{self.role}")


def model_behind(text: str) -> str | None:
    """Return the model whose memory a name needs; None for a function, and for no reward.

    >>> model_behind("rules.py:harm"), model_behind("owner/model,label=1"), model_behind("fit")
    (None, 'owner/model', 'fit')
    """
    if text == "none":
        return None
    if Path(text).exists():
        return text
    name = text.split(",")[0]
    return None if ":" in name else name


def _said(words: list[str], text: str, option: str) -> tuple[str | None, bool]:
    label, anchored = None, False
    for word in words:
        if word == "anchored":
            anchored = True
        elif word.startswith("label=") and len(word) > len("label="):
            label = word.removeprefix("label=")
        else:
            raise InputError(
                f"{option} {text}: after a comma stands label=NAME or anchored, and not {word!r}"
            )
    return label, anchored


def _kind(name: str, option: str) -> Literal["beaver", "classifier"]:
    """Return what a model's configuration says that it is."""
    from transformers import PreTrainedConfig

    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, json.JSONDecodeError, ValueError) as error:
        raise InputError(
            f"{option} {name}: no folder here that holds a score model, and no model of this name could be "
            "read from the hub; name a folder, a hub model, MODULE:FUNCTION or FILE.py:FUNCTION"
        ) from error
    built = [str(kind) for kind in config.get("architectures") or ()]
    if any(kind in BEAVER for kind in built):
        return "beaver"
    if any(kind.endswith("ForSequenceClassification") for kind in built):
        return "classifier"
    raise InputError(
        f"{option} {name}: its configuration names {', '.join(built) or 'no architecture'}, which is no "
        "score model known here: a ...ForSequenceClassification, LlamaForScore, or what fit-scorers wrote"
    )


def _function(name: str, option: str) -> Any:
    module, _, wanted = name.rpartition(":")
    if not module or not wanted.isidentifier():
        raise InputError(f"{option} {name}: name it as MODULE:FUNCTION or FILE.py:FUNCTION")
    try:
        found = getattr(_module(module, option), wanted, None)
    except InputError:
        raise
    except Exception as error:  # whatever the reader's own code raises
        raise InputError(f"{option} {name}: reading it ends in {type(error).__name__}: {error}") from error
    if not callable(found) or isinstance(found, type):
        raise InputError(f"{option} {name}: {module} defines no function {wanted}")
    return found


def _module(name: str, option: str) -> Any:
    if not name.endswith(".py"):
        return import_module(name)
    if not Path(name).is_file():
        raise InputError(f"{option}: {name} is no file here")
    title = f"scorers_of_{Path(name).stem}"
    spec = spec_from_file_location(title, name)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = module_from_spec(spec)
    sys.modules[title] = module
    spec.loader.exec_module(module)
    return module
