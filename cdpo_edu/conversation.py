r"""A prompt as a conversation, and as the tokens that a chat model was trained on.

Preference rows hold prompts as plain text or in the HH form ("\n\nHuman: ... \n\nAssistant:"); a chat model
expects its own template around each turn. Text without marks is one user turn.

Left out: which rows have which form (`preference_schemas`); tools, images, several system turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .types import InputError

Message = dict[str, str]
MARKS = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def messages(prompt: str) -> list[Message]:
    r"""Return the turns of a prompt; text before the first mark is the system's, the open turn is left out.

    >>> messages("Tofu?")
    [{'role': 'user', 'content': 'Tofu?'}]
    >>> messages("Be kind.\n\nHuman: Tofu?\n\nAssistant:")
    [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Tofu?'}]
    """
    opening, *parts = MARKS.split(prompt)
    if not parts or not prompt.endswith("\n\nAssistant:"):
        return [{"role": "user", "content": prompt}]
    turns = [
        {"role": ROLES[role], "content": text.strip()}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    system = [{"role": "system", "content": opening}] if opening.strip() else []
    return [*system, *turns[:-1]]


def chat_ids(tokenizer: Any, prompts: Iterable[str], *, room: int | None = None) -> list[list[int]]:
    """Return each prompt's token ids in the tokenizer's template, up to where the answer begins.

    With ``room`` a prompt that is too long loses its oldest turns and then the beginning of its last one; the
    template's own tokens stay whole.

    Raises
    ------
    InputError
        When the template takes more than ``room`` by itself, or refuses the turns.
    """
    prompts = list(prompts)
    ids = {prompt: _fitted(tokenizer, messages(prompt), room) for prompt in dict.fromkeys(prompts)}
    return [ids[prompt] for prompt in prompts]


def _fitted(tokenizer: Any, turns: list[Message], room: int | None) -> list[int]:
    ids = _rendered(tokenizer, turns)
    while room is not None and len(ids) > room:
        if len(turns) > 1:
            turns = _shorter(turns)
        else:
            text = tokenizer(turns[0]["content"], add_special_tokens=False)["input_ids"]
            if not text:
                raise InputError(
                    f"the chat template takes {len(ids)} tokens by itself, more than the prompt budget {room}"
                )
            left = tokenizer.decode(text[len(ids) - room :], skip_special_tokens=True)
            turns = [turns[0] | {"content": left if len(left) < len(turns[0]["content"]) else ""}]
        ids = _rendered(tokenizer, turns)
    return ids


def _shorter(turns: list[Message]) -> list[Message]:
    """Return the turns without the oldest exchange, a system message last of all."""
    first = 1 if turns[0]["role"] == "system" and len(turns) > 2 else 0
    rest = turns[first + 1 :]
    while rest[0]["role"] == "assistant":
        rest = rest[1:]
    return [*turns[:first], *rest]


def _rendered(tokenizer: Any, turns: list[Message]) -> list[int]:
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's authors: it may raise anything
        raise InputError(
            f"the model's chat template refuses a prompt ({error}); --plain-prompts leaves it out"
        ) from error
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
