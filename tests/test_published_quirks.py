"""What published preference files do that one does not expect, a row each: kept, repaired or named.

Every row here is made up about a kitchen and shows one quirk that the real files' descriptions list. The
readers' own tests are in test_preference_data.py; this is the list, so that no quirk is lost without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdpo_edu.pairs import Pairs
from cdpo_edu.preference_data import Validation, load_pairs, validate


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


PKU = {
    "prompt": "Which  nuts?Say",  # double spaces and glued words are in the source
    "response_0": "Almonds.",
    "response_1": "None,thanks.",
    "is_response_0_safe": False,
    "is_response_1_safe": False,
    "better_response_id": 1,
    "safer_response_id": 0,
}
NEWER = PKU | {
    "prompt_source": "kitchen",
    "response_0_source": "cook",
    "response_1_source": "cook",
    "response_0_harm_category": {"Allergy": True, "Burns": False},
    "response_1_harm_category": {"Allergy": False, "Burns": False},
    "response_0_severity_level": 3,
    "response_1_severity_level": 0,
    "response_0_sha256": "0" * 64,
    "response_1_sha256": "1" * 64,
}
ASKED = "\n\nHuman: Soup?\n\nAssistant:"
HH = {"chosen": ASKED + " With bread.", "rejected": ASKED + " No."}
DUAL = {
    "chosen": HH["rejected"].lstrip("\n"),  # follows the machine's label, not the person's
    "rejected": HH["chosen"].lstrip("\n"),
    "Index": 7,
    "data_subset": "harmless",
    "prompt": "Human: Soup?",
    "responses": ["With bread.", "No."],
    "original_label": 0,
    "objective": "helpful",
    "label": 1,
}
FACTORY = {
    "conversations": [
        {"from": "system", "value": "You cook."},
        {"from": "human", "value": "Hello"},
        {"from": "gpt", "value": "Good evening."},
        {"from": "human", "value": "Egg?"},
    ],
    "chosen": {"from": "gpt", "value": "None."},
    "rejected": {"from": "gpt", "value": "Some."},
}
PANDA = {
    "idx": 1, "motivation_app": "kitchen", "cmp_key": "a_b", "instruction": "Name a fruit.", "input": "",
    "response1": "Apple.", "response2": "Stone.", "annotator1": 0, "annotator2": 1, "annotator3": 2,
}  # fmt: skip

KEPT: dict[str, tuple[list[dict[str, Any]], Callable[[Pairs], bool]]] = {
    "PKU: spaces doubled and words glued stay, byte for byte": (
        [PKU],
        lambda p: (p.prompts, p.y1) == (["Which  nuts?Say"], ["None,thanks."]),
    ),
    "PKU: better and safer may name different answers": (
        [PKU],
        lambda p: (p.better.tolist(), p.safer.tolist()) == ([1.0], [0.0]),  # type: ignore[union-attr]
    ),
    "PKU: both answers unsafe": ([PKU], lambda p: p.unsafe.tolist() == [[1.0, 1.0]]),  # type: ignore[union-attr]
    "PKU: the newer generation's further columns change nothing": (
        [NEWER],
        lambda p: (
            (p.fingerprint, p.unsafe.tolist())  # type: ignore[union-attr]
            == (Pairs(["Which  nuts?Say"], ["Almonds."], ["None,thanks."]).fingerprint, [[1.0, 1.0]])
        ),
    ),
    "dual pairs: no flags, so no zero; the dialogue is the prompt": (
        [{k: v for k, v in PKU.items() if not k.startswith("is_")} | {"prompt": ASKED}],
        lambda p: p.unsafe is None and p.prompts == [ASKED],
    ),
    "HH: the label is in the order of the two, and odd rows are turned": (
        [HH, HH],
        lambda p: p.better.tolist() == [1.0, 0.0] and p.y0 == [" No.", " With bread."],  # type: ignore[union-attr]
    ),
    "HH: one side ends in a trailing space": (
        [HH | {"chosen": HH["chosen"] + " "}],
        lambda p: p.y1 == [" With bread. "],
    ),
    "relabelled: the person's choice, not the machine's, and the machine's for the other objective": (
        [DUAL],
        lambda p: (p.safer.tolist(), p.better.tolist()) == ([0.0], [1.0]),  # type: ignore[union-attr]
    ),
    "relabelled: a second opinion on one objective overrules nobody": (
        [DUAL, DUAL | {"objective": "harmless"}],
        lambda p: p.safer.tolist() == [0.0, 0.0] and bool(p.better[1].isnan()),  # type: ignore[index, union-attr]
    ),
    "LLaMA-Factory: system and several turns": (
        [FACTORY],
        lambda p: (
            p.prompts
            == ["You cook.\n\nHuman: Hello\n\nAssistant: Good evening.\n\nHuman: Egg?\n\nAssistant:"]
        ),
    ),
    "instruction rows: chosen and rejected are answers, input may be empty, output is a third one": (
        [
            {
                "instruction": "Name a fruit.",
                "input": "",
                "output": "Fig.",
                "rejected": "No.",
                "chosen": "A fig.",
            }
        ],
        lambda p: (p.prompts, p.y1, p.y0) == (["Name a fruit."], ["A fig."], ["No."]),
    ),
    "PandaLM: 0 is a tie, three judges": ([PANDA], lambda p: p.better.tolist() == [0.5]),  # type: ignore[union-attr]
    "Stack Exchange: markup and line breaks stay": (
        [{"question": "<p>Salt\n\n`x`</p>", "response_j": "<b>Yes</b>", "response_k": "No\n"}],
        lambda p: (p.prompts, p.y1, p.y0) == (["<p>Salt\n\n`x`</p>"], ["<b>Yes</b>"], ["No\n"]),
    ),
    "letters outside ASCII": (
        [HH | {"chosen": ASKED + " 米饭和罗勒。", "rejected": ASKED + " Nö."}],
        lambda p: (p.y1, p.y0) == ([" 米饭和罗勒。"], [" Nö."]),
    ),
}

NAMED: dict[str, tuple[list[dict[str, Any]], Callable[[Validation], bool]]] = {
    "HH: two transcripts without a common beginning": (
        [HH, HH | {"rejected": "\n\nHuman: Tea?\n\nAssistant: No."}],
        lambda v: [(p.row, bool(p.what)) for p in v.problems] == [(2, True)],
    ),
    "two equal answers": (
        [PKU, PKU | {"response_1": "Almonds."}],
        lambda v: [p.row for p in v.problems] == [2],
    ),
    "an empty answer": (
        [PKU, PKU | {"response_1": ""}],
        lambda v: [(p.row, p.field, p.what) for p in v.problems] == [(2, "response_1", "empty answer")],
    ),
    "KTO: one answer and a judgement": (
        [{"messages": [said("user", "Egg?"), said("assistant", "No.")], "label": True}],
        lambda v: (v.schema, v.usable) == ("kto", 0) and bool(v.advice),
    ),
    "rankings: a list of answers, best first": (
        [{"instruction": "鱼?", "input": "", "output": ["没有。", "有。"], "history": [["Soy?", "No."]]}],
        lambda v: (v.schema, v.usable) == ("rankings", 0) and bool(v.advice),
    ),
    "Alpaca: instructions with one answer": (
        [{"instruction": "Name a fruit.", "input": "", "output": "Fig."}],
        lambda v: v.usable == 0 and bool(v.advice),
    ),
    "problem sets: prompts alone": (
        [{"prompt": "What may I eat?", "category": "Allergy"}],
        lambda v: (v.schema, v.usable) == ("prompts", 0) and bool(v.advice),
    ),
    "C4: documents": (
        [{"text": "A long recipe."}],
        lambda v: (v.schema, v.usable) == ("text", 0) and bool(v.advice),
    ),
}  # fmt: skip


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("quirk", KEPT)
def test_a_quirk_is_kept_or_repaired(tmp_path: Path, quirk: str) -> None:
    rows, right = KEPT[quirk]
    path = written(tmp_path, rows)
    assert validate(path).problems == ()
    pairs = load_pairs(path)
    assert len(pairs) == len(rows) and right(pairs)


@pytest.mark.parametrize("quirk", NAMED)
def test_a_quirk_is_named(tmp_path: Path, quirk: str) -> None:
    rows, right = NAMED[quirk]
    found = validate(written(tmp_path, rows))
    assert found.rows == len(rows) and right(found), found
