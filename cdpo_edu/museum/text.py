"""The correct code of the text: from two strings to token rows whose answers, and nothing else, are scored.

`pair_rows` and `sequence_logp` are the library's own. The tokenizer is a toy with one trap that real ones
have: it merges characters, so that the tokens of a joined text are not those of its parts joined.

Left out: a model. Tests hand in logits.
"""

from __future__ import annotations

from typing import NamedTuple

from ..sequences import Rows, pad_rows
from ..types import InputError

PAD, END = 0, 1
"""The ids of padding and of the end token."""

MERGED = ": "
"""The one pair of characters that is a token of its own."""


class Tokens(NamedTuple):
    """Token ids of a prompt and of an answer; the answer closes with `END`."""

    prompt: list[int]
    answer: list[int]


def encode(text: str) -> list[int]:
    """Return one id per character, its code point plus 1; a colon with its space is one token, id 2.

    >>> encode("a:"), encode(" b"), encode("a: b")
    ([98, 59], [33, 99], [98, 2, 99])
    """
    parts = text.split(MERGED)
    ids = [ord(character) + 1 for character in parts[0]]
    for part in parts[1:]:
        ids += [2, *(ord(character) + 1 for character in part)]
    return ids


def tokenise(prompt: str, answer: str) -> Tokens:
    """Return prompt and answer, each encoded by itself, the answer with its end token.

    So the prompt has the same ids whatever answer follows, and no answer token is lost to it.

    >>> tokenise("a:", " b")
    Tokens(prompt=[98, 59], answer=[33, 99, 1])
    """
    return Tokens(encode(prompt), [*encode(answer), END])


def truncate(tokens: Tokens, max_length: int) -> Tokens:
    """Return the tokens cut to ``max_length`` in all: off the prompt's beginning, never off the answer.

    Raises
    ------
    InputError
        When the answer leaves no room for one token of the prompt: such a row is to be dropped and counted.

    >>> truncate(Tokens([7, 8, 9], [5, 1]), 4)
    Tokens(prompt=[8, 9], answer=[5, 1])
    """
    room = max_length - len(tokens.answer)
    if room < 1:
        raise InputError(
            f"an answer of {len(tokens.answer)} tokens leaves no room for a prompt in {max_length}"
        )
    return Tokens(tokens.prompt[-room:], tokens.answer)


def pair_rows(prompts: list[list[int]], chosen: list[list[int]], rejected: list[list[int]]) -> Rows:
    """Return 2n padded rows: every prompt with its chosen answer, then every prompt with its rejected one.

    Parameters
    ----------
    prompts, chosen, rejected : n lists of token ids

    Returns
    -------
    Rows
        ``ids``, ``attention`` and ``response``, each of shape (2n, T); ``response`` is True on answer tokens.

    >>> pair_rows([[5, 6]], [[7, 1]], [[1]]).response.int().tolist()
    [[0, 0, 1, 1], [0, 0, 1, 0]]
    """
    return pad_rows(prompts * 2, chosen + rejected, pad=PAD)
