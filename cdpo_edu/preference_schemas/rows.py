r"""Read the values of one row, turn conversations into prompts, and check a comparison.

Every reader of a published shape ends in `compared` or `chose`, so that empty prompts, empty answers,
identical answers and broken text are refused in one place. A `RowError` never quotes the row: such rows can
be offensive by design.

Left out: which columns a shape has (`readers`, `table`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

Row = Mapping[str, Any]
Objective = Literal["better", "safer"]
Turn = tuple[str, str]  # role (system, user or assistant) and text

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
UNKNOWN = float("nan")
MISSING = "missing or null"
BROKEN = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, or a byte that is no UTF-8


class RowError(ValueError):
    """One row cannot be used: ``field`` names its column, ``what`` says why."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: {what}")
        self.field, self.what = field, what


class Place(NamedTuple):
    """Where a row stands (counted from 1) and which objective a lone "chosen" label judges."""

    number: int
    objective: Objective = "better"


class Comparison(NamedTuple):
    """One row of `Pairs`: the probability that y1 is better, safer; 1 unsafe, 0 safe; nan unknown."""

    prompt: str
    y0: str
    y1: str
    better: float = UNKNOWN
    safer: float = UNKNOWN
    unsafe0: float = UNKNOWN
    unsafe1: float = UNKNOWN


class FlaggedRow(NamedTuple):
    """One row of `Flagged`: an answer that people called unsafe (1) or safe (0)."""

    prompt: str
    answer: str
    unsafe: float


def text(row: Row, field: str) -> str:
    """Return a string field, kept as it stands."""
    value = row.get(field)
    if value is None:
        raise RowError(field, MISSING)
    if not isinstance(value, str):
        raise RowError(field, f"must be a string, not {kind(value)}")
    return value


def whole(row: Row, field: str, allowed: Iterable[int]) -> int:
    """Return an integer field that must be one of ``allowed``; true and false are no integers here.

    >>> whole({"safer_response_id": 1}, "safer_response_id", (0, 1))
    1
    """
    value, allowed = row.get(field), list(allowed)
    if value is None:
        raise RowError(field, MISSING)
    if type(value) is not int or value not in allowed:
        found = str(value) if type(value) is int else kind(value)
        raise RowError(field, f"must be one of the integers {', '.join(map(str, allowed))}, not {found}")
    return value


def flag(row: Row, field: str) -> float:
    """Return 1.0 for true and 0.0 for false."""
    value = row.get(field)
    if value is None:
        raise RowError(field, MISSING)
    if not isinstance(value, bool):
        raise RowError(field, f"must be true or false, not {kind(value)}")
    return float(value)


def share(row: Row, field: str) -> float:
    """Return a number in [0, 1]; absent, null or nan is nan: this row has no such label."""
    value = row.get(field)
    if value is None or value != value:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(field, f"must be a number from 0 to 1 or null, not {kind(value)}")
    if not 0 <= value <= 1:
        raise RowError(field, f"must lie between 0 and 1, not {value}")
    return float(value)


def kind(value: object) -> str:
    """Return what a value is, in words that quote none of it."""
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def turns(value: object, field: str) -> list[Turn]:
    """Return (role, text) turns from ``{role, content}`` or ``{from, value}`` messages, one or a list.

    >>> turns([{"from": "human", "value": "Hi"}], "conversations")
    [('user', 'Hi')]
    """
    if value is None:
        raise RowError(field, MISSING)
    messages = [value] if isinstance(value, Mapping) else value
    if not isinstance(messages, list) or not messages:
        raise RowError(field, "must be a list of at least one message")
    return [_turn(message, field) for message in messages]


def _turn(message: object, field: str) -> Turn:
    if not isinstance(message, Mapping):
        raise RowError(field, f"a message must be an object with role and content, not {kind(message)}")
    role, content = ("from", "value") if "from" in message else ("role", "content")
    if not isinstance(message.get(role), str) or not isinstance(message.get(content), str):
        raise RowError(field, f"every message needs the strings {role} and {content}")
    if message[role].lower() not in ROLES:
        raise RowError(field, f"a message's {role} must be one of {', '.join(ROLES)}")
    return ROLES[message[role].lower()], message[content]


def dialogue(conversation: list[Turn], field: str) -> str:
    r"""Return a conversation that ends with the user as one prompt string in the HH form.

    >>> dialogue([("system", "Be kind."), ("user", "Hi")], "prompt")
    'Be kind.\n\nHuman: Hi\n\nAssistant:'
    """
    opening = [content for role, content in conversation[:1] if role == "system"]
    body = conversation[len(opening) :]
    if any(role == "system" for role, _ in body):
        raise RowError(field, "a system message must come first, and only once")
    if not body or not body[-1][1].strip():
        raise RowError(field, "empty prompt")
    if body[-1][0] != "user":
        raise RowError(field, "the conversation before the answer must end with a user turn")
    marks = {"user": HUMAN, "assistant": ASSISTANT}
    return "".join([*opening, *(f"{marks[role]} {content}" for role, content in body), ASSISTANT])


def compared(
    prompt: str, answers: dict[str, str], labels: dict[str, float], *, prompt_field: str = "prompt"
) -> Comparison:
    """Return the comparison of two answers, given as {column of y0: y0, column of y1: y1}.

    Raises
    ------
    RowError
        For an empty prompt (marks alone are empty), an empty or white answer, identical answers, and for
        text that UTF-8 cannot hold.

    Examples
    --------
    >>> compared("Cook?", {"a": "Yes.", "b": "No."}, {"better": 1.0}).better
    1.0
    """
    _written(prompt, answers, prompt_field)
    y0, y1 = answers.values()
    if y0 == y1:
        raise RowError(max(answers), "the two answers are identical")
    return Comparison(prompt, y0, y1, **labels)


def flagged(prompt: str, field: str, answer: str, unsafe: float) -> FlaggedRow:
    """Return a flagged answer out of the column ``field``.

    Raises
    ------
    RowError
        For an empty prompt or answer, and for text that UTF-8 cannot hold.

    >>> flagged("Cook?", "response", "Yes.", 0.0)
    FlaggedRow(prompt='Cook?', answer='Yes.', unsafe=0.0)
    """
    _written(prompt, {field: answer}, "prompt")
    return FlaggedRow(prompt, answer, unsafe)


def _written(prompt: str, answers: dict[str, str], prompt_field: str) -> None:
    """Refuse an empty prompt or answer, and text that UTF-8 cannot hold."""
    words = prompt.replace(HUMAN, "").replace(ASSISTANT, "")
    answered = [(field, "answer", answer) for field, answer in answers.items()]
    for field, part, value in [(prompt_field, "prompt", words), *answered]:
        if not value.strip():
            raise RowError(field, f"empty {part}")
        if BROKEN.search(value):
            raise RowError(field, "is not valid UTF-8: broken bytes or half of a surrogate pair")


def chose(prompt: str, answers: dict[str, str], at: Place, *, prompt_field: str = "prompt") -> Comparison:
    """Return the comparison of {column: chosen, column: rejected}, chosen at y1 in odd rows, y0 in even ones.

    >>> chose("Cook?", {"chosen": "Yes.", "rejected": "No."}, Place(1))[:4]
    ('Cook?', 'No.', 'Yes.', 1.0)
    >>> chose("Cook?", {"chosen": "Yes.", "rejected": "No."}, Place(2))[:4]
    ('Cook?', 'Yes.', 'No.', 0.0)
    """
    odd = at.number % 2 == 1
    placed = dict(reversed(answers.items())) if odd else answers
    return compared(prompt, placed, {at.objective: float(odd)}, prompt_field=prompt_field)
