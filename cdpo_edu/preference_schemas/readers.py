"""Read one row of each published shape as one comparison, or as one flagged answer.

Every reader takes the row and its place and returns a `Comparison`, or raises `RowError` with the column and
what is wrong. Labels are probabilities that y1 wins: an id of 1 is 1.0, a tie 0.5, three judges a mean.

Left out: the strength of a preference beyond its sign, severity levels and harm categories, vote counts.
"""

from __future__ import annotations

from .rows import (
    ASSISTANT,
    HUMAN,
    MISSING,
    Comparison,
    FlaggedRow,
    Objective,
    Place,
    Row,
    RowError,
    Turn,
    chose,
    compared,
    dialogue,
    flag,
    flagged,
    share,
    text,
    turns,
    whole,
)

OBJECTIVE_OF: dict[str, Objective] = {"helpful": "better", "harmless": "safer"}


def read_safe_rlhf(row: Row, at: Place) -> Comparison:
    """Read PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): better and safer ids, safe flags."""
    unsafe0, unsafe1 = (1.0 - flag(row, f"is_response_{k}_safe") for k in (0, 1))
    return read_ids(row, at)._replace(unsafe0=unsafe0, unsafe1=unsafe1)


def read_ids(row: Row, at: Place) -> Comparison:
    """Read PKU-SafeRLHF's columns without the safe flags."""
    labels = {name: float(whole(row, f"{name}_response_id", (0, 1))) for name in ("better", "safer")}
    return _numbered(row, labels)


def read_safe(row: Row, at: Place) -> FlaggedRow:
    """Read BeaverTails' columns (Ji et al. 2023, arXiv 2307.04657): a flag ``is_safe`` on one answer."""
    return flagged(text(row, "prompt"), "response", text(row, "response"), 1.0 - flag(row, "is_safe"))


def read_unsafe(row: Row, at: Place) -> FlaggedRow:
    """Read `Flagged`'s own columns: prompt, response, unsafe (true, false, 0 or 1)."""
    value = _unsafe(row, "unsafe")
    if value != value:
        raise RowError("unsafe", MISSING)
    return flagged(text(row, "prompt"), "response", text(row, "response"), value)


def read_own(row: Row, at: Place) -> Comparison:
    """Read `Pairs`' own columns; any label may be absent or null, and PKU-SafeRLHF's names count too."""
    labels = {}
    for name in ("better", "safer"):
        by_id = row.get(f"{name}_response_id") is not None
        labels[name] = float(whole(row, f"{name}_response_id", (0, 1))) if by_id else share(row, name)
    for k in (0, 1):
        safe = f"is_response_{k}_safe"
        by_flag = row.get(safe) is not None
        labels[f"unsafe{k}"] = 1.0 - flag(row, safe) if by_flag else _unsafe(row, f"unsafe_{k}")
    return _numbered(row, labels)


def _unsafe(row: Row, field: str) -> float:
    if isinstance(row.get(field), bool):
        return flag(row, field)
    value = share(row, field)
    if 0 < value < 1:
        raise RowError(field, f"must be 0, 1 or null, not {value}")
    return value


def _numbered(row: Row, labels: dict[str, float]) -> Comparison:
    answers = {field: text(row, field) for field in ("response_0", "response_1")}
    return compared(text(row, "prompt"), answers, labels)


def read_relabeled(row: Row, at: Place) -> Comparison:
    """Read HH rows with a machine's second label (Siththaranjan et al. 2024, arXiv 2312.08358).

    ``chosen`` follows the machine's ``label`` and is not read. Where ``objective`` (what the machine judged)
    is not ``data_subset`` (what the human judged) the row carries both labels; else the human's alone counts.
    """
    labels = {_objective(row, "objective"): float(whole(row, "label", (0, 1)))}
    labels[_objective(row, "data_subset")] = float(whole(row, "original_label", (0, 1)))  # the human's stands
    answers = row.get("responses")
    if not isinstance(answers, list) or len(answers) != 2 or not all(isinstance(a, str) for a in answers):
        raise RowError("responses", MISSING if answers is None else "must be a list of two strings")
    named = {f"responses[{k}]": answer and f" {answer}" for k, answer in enumerate(answers)}
    turns_so_far = text(row, "prompt")  # "Human: ..."; the marks below make it the transcript of the HH files
    prompt = f"\n\n{turns_so_far}{ASSISTANT}" if turns_so_far.strip() else ""
    return compared(prompt, named, {str(name): label for name, label in labels.items()})


def _objective(row: Row, field: str) -> Objective:
    name = text(row, field)
    if name not in OBJECTIVE_OF:
        raise RowError(field, f"must be one of {', '.join(OBJECTIVE_OF)}")
    return OBJECTIVE_OF[name]


def read_transcripts(row: Row, at: Place) -> Comparison:
    """Read HH transcripts (Bai et al. 2022): the prompt runs up to the last Assistant mark of both."""
    chosen, rejected = (_cut_transcript(row, field) for field in ("chosen", "rejected"))
    return _chosen_of(chosen, rejected, at)


def _cut_transcript(row: Row, field: str) -> tuple[str, str]:
    transcript = text(row, field)
    end = transcript.rfind(ASSISTANT)
    if end < 0 or transcript.rfind(HUMAN) > end:
        raise RowError(field, "the transcript does not end with an Assistant turn")
    return transcript[: end + len(ASSISTANT)], transcript[end + len(ASSISTANT) :]


def read_conversations(row: Row, at: Place) -> Comparison:
    """Read TRL's conversational rows, whose prompt stands in its own column or before both answers."""
    chosen, rejected = (_cut_conversation(row, field) for field in ("chosen", "rejected"))
    return _chosen_of(chosen, rejected, at)


def _cut_conversation(row: Row, field: str) -> tuple[str, str]:
    side, opening = turns(row.get(field), field), row.get("prompt")
    if side[0][0] == "assistant":  # the answer alone
        side = ([("user", opening)] if isinstance(opening, str) else turns(opening, "prompt")) + side
    if side[-1][0] != "assistant":
        raise RowError(field, "the conversation does not end with an assistant turn")
    return dialogue(side[:-1], field), side[-1][1]


def _chosen_of(chosen: tuple[str, str], rejected: tuple[str, str], at: Place) -> Comparison:
    if chosen[0] != rejected[0]:
        raise RowError("rejected", "its prompt differs from the prompt of `chosen`")
    return chose(chosen[0], {"chosen": chosen[1], "rejected": rejected[1]}, at, prompt_field="chosen")


def read_explicit(row: Row, at: Place) -> Comparison:
    """Read {prompt, chosen, rejected} strings."""
    return chose(text(row, "prompt"), _strings(row), at)


def read_implicit(row: Row, at: Place) -> Comparison:
    """Read two strings that begin alike: the prompt ends before the last white space they share."""
    chosen, rejected = _strings(row).values()
    unequal = (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    shared = next(unequal, min(len(chosen), len(rejected)))
    cut = max((i for i in range(shared) if chosen[i].isspace()), default=0)
    answers = {"chosen": chosen[cut:], "rejected": rejected[cut:]}
    return chose(chosen[:cut], answers, at, prompt_field="chosen")


def _strings(row: Row) -> dict[str, str]:
    return {field: text(row, field) for field in ("chosen", "rejected")}


def read_llama_factory(row: Row, at: Place) -> Comparison:
    """Read LLaMA-Factory's from/value conversations with one chosen and one rejected message."""
    before = _system(row) + turns(row.get("conversations"), "conversations")
    answers = {}
    for field in ("chosen", "rejected"):
        side = turns(row.get(field), field)
        if len(side) != 1 or side[0][0] != "assistant":
            raise RowError(field, "must be one assistant message")
        answers[field] = side[0][1]
    return chose(dialogue(before, "conversations"), answers, at, prompt_field="conversations")


def read_instruction(row: Row, at: Place) -> Comparison:
    """Read an instruction with a chosen and a rejected answer; ``output`` is a third text and not read."""
    return chose(_instruction(row), _strings(row), at, prompt_field="instruction")


def _instruction(row: Row) -> str:
    asked = text(row, "instruction")
    if row.get("input") is not None and text(row, "input").strip():
        asked = f"{asked}\n\n{text(row, 'input')}"
    before = _system(row) + _history(row)
    return dialogue([*before, ("user", asked)], "instruction") if before else asked


def _system(row: Row) -> list[Turn]:
    return [("system", text(row, "system"))] if row.get("system") else []


def _history(row: Row) -> list[Turn]:
    found: list[Turn] = []
    past = row.get("history")
    for said in past if isinstance(past, list) else [past] if past else []:
        if not isinstance(said, list) or len(said) != 2 or not all(isinstance(part, str) for part in said):
            raise RowError("history", "must be a list of [user, assistant] pairs of strings")
        found += [("user", said[0]), ("assistant", said[1])]
    return found


def read_judges(row: Row, at: Place) -> Comparison:
    """Read PandaLM (Wang et al. 2023, arXiv 2306.05087): the mean of three judges, a tie counting 0.5."""
    votes = [whole(row, f"annotator{j}", (0, 1, 2)) for j in (1, 2, 3)]
    mean = sum((0.5, 0.0, 1.0)[vote] for vote in votes) / 3  # 0 a tie, 1 and 2 name the better answer
    answers = {field: text(row, field) for field in ("response1", "response2")}
    return compared(_instruction(row), answers, {at.objective: mean}, prompt_field="instruction")


def read_votes(row: Row, at: Place) -> Comparison:
    """Read Stack Exchange pairs: response_j got more votes than response_k."""
    answers = {field: text(row, field) for field in ("response_j", "response_k")}
    return chose(text(row, "question"), answers, at, prompt_field="question")


def read_strength(row: Row, at: Place) -> Comparison:
    """Read HelpSteer2-Preference (Wang et al. 2024, arXiv 2410.01257): above 0 response_2 is better."""
    strength = whole(row, "preference_strength", range(-3, 4))
    better = 0.5 if strength == 0 else float(strength > 0)
    answers = {field: text(row, field) for field in ("response_1", "response_2")}
    return compared(text(row, "prompt"), answers, {at.objective: better})
