r"""Prompts with one answer each to imitate: instruction rows, or the chosen answers of preference rows.

Instruction rows are {instruction, input, output}, {prompt, response} or {prompt, completion}, or a
conversation under ``messages`` or ``conversations`` whose last turn is the assistant's. Of preference rows
the answer that people preferred is taken; a tie or a row without that label has none.

Left out: answers that carry a judgement of their own (kto, is_safe): they are no examples to imitate.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .pairs import Pairs
from .pairs.prompt_sets import first_turn
from .preference_data import load_pairs, schema_and_rows
from .preference_schemas.rows import BROKEN, RowError, dialogue, text, turns
from .types import InputError


class Examples(NamedTuple):
    """What is imitated: ``answers`` to ``prompts``; ``chosen`` says that they come from preference rows.

    ``left_out`` rows have no answer to imitate.
    """

    prompts: list[str]
    answers: list[str]
    chosen: bool
    left_out: int


def load_examples(source: str | Path, *, split: str = "train") -> Examples:
    """Return the examples of a file, a folder or a hub data set.

    Raises
    ------
    InputError
        When the source cannot be read, or its rows hold no answers to imitate.
    """
    schema, files = schema_and_rows(source, split=split)
    if schema.read is not None:
        return _preferred(load_pairs(source, split=split), source)
    if schema.name != "single-answers":
        raise InputError(
            f"{source}: rows of kind {schema.name!r} hold no answers to imitate. {schema.advice}"
        )
    found: list[tuple[str, str]] = []
    problems: list[str] = []
    for name, rows in files.items():
        for number, row in rows:
            try:
                found.append(_example(row))
            except RowError as error:
                problems.append(f"{name}, row {number}, {error.field or 'whole row'}: {error.what}")
    if not found:
        raise InputError(f"{source}: no row can be used; the first: {problems[0]}")
    prompts, answers = zip(*found, strict=True)
    return Examples([*prompts], [*answers], False, len(problems))


def _preferred(pairs: Pairs, source: str | Path) -> Examples:
    if pairs.better is None:
        raise InputError(
            f"{source}: the rows say of no answer that it is the better one (better_response_id)"
        )
    prompts, answers = [], []
    columns = (pairs.prompts, pairs.y0, pairs.y1, pairs.better.tolist())
    for prompt, y0, y1, better in zip(*columns, strict=True):
        if better == better and better != 0.5:
            prompts.append(str(prompt))
            answers.append(str(y1 if better > 0.5 else y0))
    if not prompts:
        raise InputError(f"{source}: every row is a tie or has no label, so none has an answer to imitate")
    return Examples(prompts, answers, True, len(pairs) - len(prompts))


def _example(row: Any) -> tuple[str, str]:
    """Return prompt and answer of a row.

    >>> _example({"instruction": "Name a herb.", "input": "", "output": "Basil."})
    ('Name a herb.', 'Basil.')
    """
    if not isinstance(row, Mapping):
        raise RowError("", getattr(row, "why", "not an object with named fields"))
    prompt, answer = _parts(row)
    for part, value in (("prompt", prompt), ("answer", answer)):
        if not value.strip():
            raise RowError("", f"empty {part}")
        if BROKEN.search(value):
            raise RowError("", "is not valid UTF-8: broken bytes or half of a surrogate pair")
    return prompt, answer


def _parts(row: Mapping[str, Any]) -> tuple[str, str]:
    for field in ("messages", "conversations"):
        if field in row:
            said = turns(row[field], field)
            if said[-1][0] != "assistant":
                raise RowError(field, "the conversation does not end with an assistant turn")
            return dialogue(said[:-1], field), said[-1][1]
    if "instruction" in row:
        more = row.get("input") or ""
        if not isinstance(more, str):
            raise RowError("input", "must be a string")
        return "\n\n".join(part for part in (text(row, "instruction"), more) if part), text(row, "output")
    return text(row, "prompt"), text(row, "response" if "response" in row else "completion")


class Parts(NamedTuple):
    """Examples to learn from, and some to measure on whose prompts are not near any of those."""

    prompts: list[str]
    answers: list[str]
    held_prompts: list[str]
    held_answers: list[str]


def set_apart(examples: Examples, *, seed: int) -> Parts:
    """Return the training examples and held-out ones, near-copies of a prompt together on one side.

    The parts are those of `Pairs.split` with this seed: held out are the dual prompts. Of preference rows the
    judge prompts stay untouched, so that a run on the same rows with the same seed may judge there; other
    rows have no such use and train.

    Raises
    ------
    InputError
        When there are too few different prompts.
    """
    sets = Pairs(examples.prompts, examples.answers, examples.answers).split(seed=seed).prompt_sets
    assert sets is not None
    held = {first_turn(str(prompt)) for prompt in sets.dual}
    spared = {first_turn(str(prompt)) for prompt in sets.judge} if examples.chosen else set()
    rows = list(zip(examples.prompts, examples.answers, strict=True))
    keys = [first_turn(prompt) for prompt, _ in rows]
    train = [row for row, key in zip(rows, keys, strict=True) if key not in held | spared]
    out = [row for row, key in zip(rows, keys, strict=True) if key in held]
    return Parts([x for x, _ in train], [y for _, y in train], [x for x, _ in out], [y for _, y in out])
