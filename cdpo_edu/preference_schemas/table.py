"""The published shapes by their columns, pairs first, then flagged answers, and which a set of rows has.

A file's shape is the one that most of its rows have; a row of another shape is a problem of that row.
Order matters where columns overlap: the first shape that accepts a row is its shape.

Left out: reading a row (`readers`), reading a file (`preference_data`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..types import InputError
from . import readers
from .rows import ASSISTANT, HUMAN, Comparison, FlaggedRow, Place, Row

Reader = Callable[[Row, Place], Comparison]
FlagReader = Callable[[Row, Place], FlaggedRow]


class Schema(NamedTuple):
    """One published shape.

    Attributes
    ----------
    name, required
        A row has the shape when all ``required`` columns are there, no ``absent`` one, and ``fits`` agrees.
    read
        The row's reader; None for a shape that holds no comparison.
    advice
        What the rows lack, or what can be done with rows that are no pairs.
    read_flag
        The reader of a shape that holds one answer and its flag, safe or unsafe; None for the others.
    own_labels
        The columns themselves say which label is helpfulness and which is safety.
    """

    name: str
    required: frozenset[str]
    read: Reader | None = None
    advice: str = ""
    absent: frozenset[str] = frozenset()
    fits: Callable[[Row], bool] | None = None
    own_labels: bool = False
    read_flag: FlagReader | None = None

    def accepts(self, row: Row) -> bool:
        """Return whether ``row`` has this shape."""
        columns = row.keys()
        if not self.required <= columns or self.absent & columns:
            return False
        return self.fits is None or self.fits(row)


def _holds_messages(row: Row) -> bool:
    return isinstance(row["chosen"], list) or isinstance(row["rejected"], list)


def _holds_transcripts(row: Row) -> bool:
    found = [row[field] for field in ("chosen", "rejected") if isinstance(row[field], str)]
    return any(mark in transcript for transcript in found for mark in (HUMAN, ASSISTANT))


def _holds_ranking(row: Row) -> bool:
    return isinstance(row["output"], list)


def _columns(names: str) -> frozenset[str]:
    return frozenset(names.split())


_IDS = "prompt response_0 response_1 better_response_id safer_response_id"
_FLAGS = f"{_IDS} is_response_0_safe is_response_1_safe"
_LEVELS = f"{_FLAGS} response_0_severity_level response_1_severity_level"
_NO_ZERO = (
    "The rows carry no safe/unsafe flags, so a cost fitted on them has no anchored zero: "
    "state the limit relative to the reference."
)
_ONE_LABEL = (
    "Each row carries one label, read as helpfulness "
    "unless objective='safer' is given or the path says harmless."
)
_AS_PAIRS = "To train on them, write rows of prompt, chosen and rejected"

PAIR_SCHEMAS = (
    Schema(
        "hh-relabeled-dual", _columns("prompt responses objective data_subset original_label label"),
        readers.read_relabeled, f"`chosen` follows the machine's label and is not read. {_NO_ZERO}",
        own_labels=True,
    ),
    Schema("pku-saferlhf", _columns(_LEVELS), readers.read_safe_rlhf, own_labels=True),
    Schema("pku-saferlhf-older", _columns(_FLAGS), readers.read_safe_rlhf, own_labels=True),
    Schema("dual-pairs", _columns(_IDS), readers.read_ids, _NO_ZERO, own_labels=True),
    Schema(
        "pairs", _columns("prompt response_0 response_1"), readers.read_own,
        "Labels are optional: better, safer (0 to 1), unsafe_0, unsafe_1 (0 or 1).", own_labels=True,
    ),
    Schema(
        "llama-factory", _columns("conversations chosen rejected"), readers.read_llama_factory, _ONE_LABEL,
    ),
    Schema(
        "instruction-pairs", _columns("instruction chosen rejected"), readers.read_instruction, _ONE_LABEL,
    ),
    Schema(
        "trl-conversational", _columns("chosen rejected"), readers.read_conversations, _ONE_LABEL,
        fits=_holds_messages,
    ),
    Schema("trl-explicit", _columns("prompt chosen rejected"), readers.read_explicit, _ONE_LABEL),
    Schema(
        "hh-transcripts", _columns("chosen rejected"), readers.read_transcripts, f"{_ONE_LABEL} {_NO_ZERO}",
        fits=_holds_transcripts,
    ),
    Schema("trl-implicit", _columns("chosen rejected"), readers.read_implicit, _ONE_LABEL),
    Schema(
        "pandalm", _columns("instruction response1 response2 annotator1 annotator2 annotator3"),
        readers.read_judges, _ONE_LABEL,
    ),
    Schema("stack-exchange", _columns("question response_j response_k"), readers.read_votes, _ONE_LABEL),
    Schema(
        "helpsteer2-preference", _columns("prompt response_1 response_2 preference_strength"),
        readers.read_strength, _ONE_LABEL,
    ),
)  # fmt: skip

_ANSWERS = _columns(
    "chosen rejected response responses response_0 response_1 response_2 response1 response2 "
    "response_j response_k completion output outputs answer messages"
)
_YES_NO = (
    "Each row holds one answer and a yes/no label, not two answers. "
    f"{_AS_PAIRS}: an answer labelled true and one labelled false to the same prompt."
)
_RANKED = (
    "Each row ranks several answers, best first. "
    f"{_AS_PAIRS}, one for every two answers of a list, the earlier one chosen."
)
_SAFE = (
    "Each row holds one answer and says whether it is safe: fit a cost to such rows with fit-scorers "
    "--only cost, train on them with train --reward none, read them with load_flagged. They say nothing of "
    "helpfulness."
)
_GRADED = (
    "Each row holds one answer and how severe its harm is. To fit a cost, write a column is_safe (true or "
    "false)."
)
_ONE_ANSWER = "Each row holds one answer and nothing to compare it with: use it for supervised fine-tuning."
_RATED = f"Each row rates one answer. {_AS_PAIRS}: the higher and the lower rated answer to the same prompt."
_ASKED = "The rows hold prompts without answers: sample from a policy on them, or judge one there."
_REFUSALS = "The rows say which answers refuse: use them to test a refusal detector."
_PLAIN = "The rows hold plain text: use it to train a tokenizer or a small language model."
_CHOICE = _columns("chosen rejected")

OTHER_SCHEMAS = (
    Schema("kto", _columns("messages label"), None, _YES_NO, _CHOICE),
    Schema("kto", _columns("conversations kto_tag"), None, _YES_NO, _CHOICE),
    Schema("refusal-labels", _columns("prompt completion final_label"), None, _REFUSALS, _CHOICE),
    Schema("kto", _columns("prompt completion label"), None, _YES_NO, _CHOICE),
    Schema("rankings", _columns("instruction output"), None, _RANKED, _CHOICE, _holds_ranking),
    Schema("single-answers", _columns("instruction output"), None, _ONE_ANSWER, _CHOICE),
    Schema("pku-saferlhf-qa", _columns("prompt response severity_category"), None, _GRADED, _CHOICE),
    Schema("rated-answers", _columns("prompt response helpfulness"), None, _RATED, _CHOICE),
    Schema("red-team-attempts", _columns("transcript rating"), None, _RATED, _CHOICE),
    Schema("single-answers", _columns("prompt response"), None, _ONE_ANSWER, _CHOICE),
    Schema("single-answers", _columns("prompt completion"), None, _ONE_ANSWER, _CHOICE),
    Schema("single-answers", _columns("messages"), None, _ONE_ANSWER, _CHOICE),
    Schema("single-answers", _columns("conversations"), None, _ONE_ANSWER, _CHOICE),
    Schema("prompts", _columns("prompt"), None, _ASKED, _ANSWERS),
    Schema("text", _columns("text"), None, _PLAIN, _ANSWERS),
)
FLAG_SCHEMAS = (
    Schema(
        "beavertails", _columns("prompt response is_safe"), advice=_SAFE, absent=_CHOICE,
        read_flag=readers.read_safe,
    ),
    Schema(
        "flagged-answers", _columns("prompt response unsafe"), advice=_SAFE, absent=_CHOICE,
        read_flag=readers.read_unsafe,
    ),
)  # fmt: skip
SCHEMAS = PAIR_SCHEMAS + FLAG_SCHEMAS + OTHER_SCHEMAS


def schema_of(row: Row) -> Schema | None:
    """Return the first shape that accepts ``row``.

    >>> schema_of({"question": "Salt?", "response_j": "A pinch.", "response_k": "A cup."}).name
    'stack-exchange'
    """
    return next((schema for schema in SCHEMAS if schema.accepts(row)), None)


def recognise(rows: Iterable[Row]) -> Schema:
    """Return the shape that most rows have, the earlier one on a tie.

    Raises
    ------
    InputError
        When no row has a known shape: it lists the columns found and what the nearest shape still lacks.
    """
    rows = list(rows)
    counts = Counter(schema for row in rows if (schema := schema_of(row)) is not None)
    if counts:
        return counts.most_common(1)[0][0]
    columns = rows[0].keys() if rows else frozenset[str]()
    incomplete = [schema for schema in PAIR_SCHEMAS if not schema.required <= columns]
    nearest = max(incomplete, key=lambda s: (len(s.required & columns) / len(s.required), -len(s.required)))
    raise InputError(
        f"no known kind of data: the columns are {', '.join(map(str, columns)) or 'none'}; "
        f"nearest is {nearest.name!r}, which also needs {', '.join(sorted(nearest.required - columns))}"
    )
