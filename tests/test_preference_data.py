"""Published shapes and file formats against hand-made kitchen rows and, where they lie at hand, real rows."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cdpo_edu.preference_data import load_pairs, load_rows, validate
from cdpo_edu.types import InputError

HERE = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("CDPO_EDU_DATA", ROOT / "../shared/data"))
Q = "Nuts?"
GOOD = {"prompt": Q, "chosen": "None.", "rejected": "Plenty."}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def same(column: torch.Tensor | None, expected: list[Any]) -> bool:
    """Return whether a column holds the expected numbers, nan equal to nan."""
    return column is not None and torch.allclose(column, torch.tensor(expected), equal_nan=True)


NAN = float("nan")

# ---- one synthetic file per shape: (schema, rows, usable) and what each file must turn into ----

SHAPES = {
    "pku_saferlhf.jsonl": ("pku-saferlhf", 6, 6),
    "pku_saferlhf_older.jsonl": ("pku-saferlhf-older", 6, 6),
    "dual_pairs.jsonl": ("dual-pairs", 6, 6),
    "hh_harmless.jsonl": ("hh-transcripts", 3, 3),
    "hh_relabeled_dual.jsonl": ("hh-relabeled-dual", 6, 6),
    "trl_explicit.json": ("trl-explicit", 3, 3),
    "trl_implicit.jsonl": ("trl-implicit", 2, 2),
    "trl_conversational.jsonl": ("trl-conversational", 2, 2),
    "trl_conversational_implicit.jsonl": ("trl-conversational", 3, 3),
    "llama_factory.json": ("llama-factory", 2, 2),
    "instruction_pairs.json": ("instruction-pairs", 2, 2),
    "pandalm.json": ("pandalm", 4, 4),
    "stack_exchange.jsonl": ("stack-exchange", 2, 2),
    "helpsteer2_preference.jsonl": ("helpsteer2-preference", 4, 4),
    "pairs.csv": ("pairs", 2, 2),
    "kto.jsonl": ("kto", 2, 0),
    "kto_completion.jsonl": ("kto", 1, 0),
    "rankings.json": ("rankings", 1, 0),
    "single_answers.json": ("single-answers", 1, 0),
    "beavertails.jsonl": ("beavertails", 1, 1),
    "prompts.csv": ("prompts", 1, 0),
    "refusal_labels.csv": ("refusal-labels", 1, 0),
    "text.jsonl": ("text", 1, 0),
}


def test_every_sample_file_is_expected() -> None:
    assert {path.name for path in HERE.iterdir()} >= SHAPES.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_shape_of_sample(name: str) -> None:
    found = validate(HERE / name)
    assert (found.schema, found.rows, found.usable) == SHAPES[name]
    assert found.problems == ()
    if found.usable:
        assert len(load_rows(HERE / name)) == found.usable
    if not found.usable or name == "beavertails.jsonl":  # flagged answers are usable, and no comparisons
        assert found.advice
        with pytest.raises(InputError, match=f"(?s){re.escape(found.schema)}.*{re.escape(found.advice)}"):
            load_pairs(HERE / name)


@pytest.mark.parametrize("name", ["pku_saferlhf.jsonl", "pku_saferlhf_older.jsonl"])
def test_safe_rlhf_labels(name: str) -> None:
    pairs = load_pairs(HERE / name)
    assert same(pairs.better, [0, 1, 0, 1, 1, 1.0])  # better_response_id as written in the file
    assert same(pairs.safer, [0, 0, 1, 1, 1, 0.0])
    # is_response_k_safe (1,0) (1,0) (1,1) (0,1) (0,0) (1,1), turned round
    assert same(pairs.unsafe, [[0, 1], [0, 1], [0, 0], [1, 0], [1, 1], [0, 0.0]])
    assert pairs.y1[3].endswith("Köchin Zoë") and "  " in pairs.y1[5]  # byte for byte


def test_dual_pairs_have_no_flags_and_say_what_that_means() -> None:
    pairs = load_pairs(HERE / "dual_pairs.jsonl")
    assert pairs.unsafe is None and same(pairs.safer, [0, 0, 1, 1, 1, 0.0])
    assert "no anchored zero" in validate(HERE / "dual_pairs.jsonl").advice


def test_transcripts_are_cut_after_the_last_assistant_mark() -> None:
    pairs = load_pairs(HERE / "hh_harmless.jsonl")
    assert pairs.prompts[1] == (
        "\n\nHuman: Hello\n\nAssistant: Good evening."
        "\n\nHuman: Is the pesto safe without pine nuts?\n\nAssistant:"
    )
    # rows 1 and 3 have the chosen answer at y1, row 2 at y0; the space after the colon is the answer's
    assert pairs.y1[0] == " Soup and bread, both without nuts."
    assert (pairs.y0[1], pairs.y1[1]) == (" Yes, we make one with sunflower seeds.", " Who knows.")
    assert pairs.y1[2] == " Yes.\n\nAsk for the oat version."
    assert same(pairs.safer, [1, 0, 1.0]) and pairs.better is None  # the file's name says harmless


def test_second_label_never_overrules_the_human() -> None:
    pairs = load_pairs(HERE / "hh_relabeled_dual.jsonl")
    # (subset, objective):  harmless/helpful  harmless/harmless  helpful/harmless  helpful/helpful  then again
    # machine's label              1                 0                  1                1          0  0
    # human's original_label       1                 1                  0                0          0  1
    assert same(pairs.better, [1, NAN, 0, 0, 0, 1])
    assert same(pairs.safer, [1, 1, 1, NAN, 0, 0])
    transcripts = load_pairs(HERE / "hh_harmless.jsonl")  # the same three dialogues, twice
    assert pairs.prompts == transcripts.prompts * 2
    assert {pairs.y0[0], pairs.y1[0]} == {transcripts.y0[0], transcripts.y1[0]}


def test_implicit_prompt_ends_before_the_last_shared_space() -> None:
    pairs = load_pairs(HERE / "trl_implicit.jsonl")
    # bread / broth share "br": a word is never cut
    assert (pairs.prompts[0], pairs.y1[0]) == ("The guest asked for soup and got", " bread.")
    assert pairs.y0[1] == " fruit."


def test_message_lists_become_the_hh_form() -> None:
    pairs = load_pairs(HERE / "trl_conversational.jsonl")
    assert pairs.prompts == [
        "You are a cook.\n\nHuman: Can I have the curry? I react to cashews.\n\nAssistant:",
        "\n\nHuman: Hello\n\nAssistant: Good evening.\n\nHuman: Is there egg in the noodles?\n\nAssistant:",
    ]
    assert pairs.y1[0] == "I will cook it with coconut instead."  # no space is invented
    implicit = load_pairs(HERE / "trl_conversational_implicit.jsonl")
    assert implicit.prompts[1:] == [f"\n\nHuman: Any {food}?\n\nAssistant:" for food in ("soy", "fish")]
    factory = load_pairs(HERE / "llama_factory.json")
    assert factory.prompts[0] == "You are a cook.\n\nHuman: No celery for table four, please.\n\nAssistant:"


def test_instruction_and_input_are_two_paragraphs() -> None:
    pairs = load_pairs(HERE / "instruction_pairs.json")
    assert pairs.prompts == [
        "Write a note for the allergy card.\n\nDish: satay",
        "Name a dessert without milk.",
    ]
    assert (pairs.y1[0], pairs.y0[0]) == ("Contains peanuts and soy.", "Tasty.")


def test_history_and_system_make_an_instruction_a_dialogue(tmp_path: Path) -> None:
    row = {"instruction": "And fish?", "system": "Cook.", "history": [["Soy?", "No."]]} | {
        "chosen": "None.", "rejected": "Some.",
    }  # fmt: skip
    pairs = load_pairs(write(tmp_path / "a.jsonl", [row]))
    assert pairs.prompts == ["Cook.\n\nHuman: Soy?\n\nAssistant: No.\n\nHuman: And fish?\n\nAssistant:"]


def test_judges_are_averaged() -> None:
    # 2 favours response2 = y1: (2,2,2) 1; (1,1,0) (0+0+1/2)/3; (0,0,0) 1/2; (1,2,2) 2/3
    assert same(load_pairs(HERE / "pandalm.json").better, [1, 1 / 6, 1 / 2, 2 / 3])


def test_sign_of_the_strength() -> None:
    assert same(load_pairs(HERE / "helpsteer2_preference.jsonl").better, [0, 0, 0.5, 1])  # -3, -1, 0, 2


def test_votes_name_the_first_answer() -> None:
    pairs = load_pairs(HERE / "stack_exchange.jsonl")
    assert pairs.y1[0].startswith("Wash") and pairs.y0[1].startswith("Three") and same(pairs.better, [1, 0.0])


def test_own_columns_from_csv_with_newlines_and_missing_labels() -> None:
    pairs = load_pairs(HERE / "pairs.csv")
    assert pairs.y0 == ["Peanut oil.\nAlways.", "A pinch, then taste."]
    assert pairs.y1 == ['Ask first, then "plain" oil.', "1"]  # a number in a text column stays text
    assert same(pairs.better, [0.25, 0]) and same(pairs.safer, [1, NAN])
    assert same(pairs.unsafe, [[1, 0], [NAN, NAN]])


def test_position_never_carries_the_label(tmp_path: Path) -> None:
    rows = [{**GOOD, "chosen": f"None {i}."} for i in range(10)]
    pairs = load_pairs(write(tmp_path / "a.jsonl", rows))
    assert pairs.better is not None and pairs.better.tolist() == [1.0, 0.0] * 5
    for better, y0, y1 in zip(pairs.better, pairs.y0, pairs.y1, strict=True):
        assert (y1 if better else y0).startswith("None")


# ---- the objective of a lone label ----


@pytest.mark.parametrize(
    ("folder", "given", "column"),
    [
        ("plain", None, "better"),
        ("plain", "safer", "safer"),
        ("harmless-base", None, "safer"),
        ("harmless-base", "better", "better"),
        ("harmless-study/helpful-base", None, "better"),  # the last word of the path counts
        ("helpful/harmless-online", None, "safer"),
    ],
)
def test_objective(tmp_path: Path, folder: str, given: Any, column: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    pairs = load_pairs(write(tmp_path / folder / "a.jsonl", [GOOD]), objective=given)
    assert getattr(pairs, column).tolist() == [1.0]
    assert getattr(pairs, "safer" if column == "better" else "better") is None


def test_objective_is_refused_where_it_would_do_nothing() -> None:
    with pytest.raises(InputError, match="objective.*pku-saferlhf"):
        load_pairs(HERE / "pku_saferlhf.jsonl", objective="better")
    with pytest.raises(InputError, match="better or safer, not 'harmless'"):
        load_pairs(HERE / "hh_harmless.jsonl", objective="harmless")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="revision"):
        load_pairs(HERE / "hh_harmless.jsonl", revision="v1")


# ---- problems of one row ----


def test_problems_carry_row_field_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    path = HERE / "pku_problems.jsonl"
    found = validate(path)
    assert [(p.row, p.field, p.what) for p in found.problems] == [
        (2, "better_response_id", "must be one of the integers 0, 1, not 2"),
        (3, "is_response_0_safe", "must be true or false, not a string"),
        (4, "response_1", "empty answer"),
        (5, "prompt", "empty prompt"),
        (6, "response_1", "the two answers are identical"),
        (7, "safer_response_id", "must be one of the integers 0, 1, not a boolean"),
        (8, "better_response_id", "missing or null (mixed columns: this row reads as 'pairs')"),
        (9, "safer_response_id", "missing or null"),
        (10, "better_response_id", "missing or null (mixed columns: this row reads as 'trl-explicit')"),
        (11, "response_0", "must be a string, not an integer"),
        (12, "", "not an object with named fields"),
    ]
    assert (found.schema, found.rows, found.usable) == ("pku-saferlhf-older", 13, 2)
    assert {p.file for p in found.problems} == {str(path)}
    with caplog.at_level(logging.WARNING):
        pairs = load_pairs(path)
    assert len(pairs) == 2 and "11 of 13 rows" in caplog.text and "row 2, better_response_id" in caplog.text


def test_as_dict_is_plain_json() -> None:
    plain = validate(HERE / "pku_problems.jsonl").as_dict()
    assert list(plain) == ["schema", "rows", "usable", "problems", "advice"]
    assert list(plain["problems"][0]) == ["file", "row", "field", "what"]
    assert json.loads(json.dumps(plain))["problems"][0]["row"] == 2


def hh(*answers: str) -> str:
    return "".join(f"\n\n{'Human' if i % 2 == 0 else 'Assistant'}: {text}" for i, text in enumerate(answers))


USER, COOK = {"role": "user", "content": Q}, {"role": "assistant", "content": "None."}
OTHER = {"role": "assistant", "content": "Plenty."}
JUDGED = {"instruction": Q, "input": "", "response1": "None.", "response2": "Plenty."}
STRENGTH = {"prompt": Q, "response_1": "None.", "response_2": "Plenty.", "preference_strength": 1}
OWN = {"prompt": Q, "response_0": "None.", "response_1": "Plenty."}
DUAL = {"prompt": "Human: Nuts?", "responses": ["None.", "Plenty."], "objective": "helpful"} | {
    "data_subset": "harmless", "original_label": 1, "label": 0,
}  # fmt: skip
FACTORY = {"conversations": [{"from": "human", "value": Q}]} | {
    "chosen": {"from": "gpt", "value": "None."}, "rejected": {"from": "gpt", "value": "Plenty."},
}  # fmt: skip
VOTES = {f"annotator{j}": 1 for j in (1, 2, 3)}


@pytest.mark.parametrize(
    ("good", "change", "field", "what"),
    [
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")}, {"rejected": hh("Eggs?", "Plenty.")},
         "rejected", "prompt differs"),
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")}, {"chosen": hh(Q, "None.", "Sure?")},
         "chosen", "does not end with an Assistant turn"),
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")}, {"chosen": "None."},
         "chosen", "does not end with an Assistant turn"),
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")}, {"rejected": hh(Q, "")},
         "rejected", "empty answer"),
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")}, {"rejected": hh(Q, "None.")},
         "rejected", "identical"),
        ({"chosen": hh(Q, "None."), "rejected": hh(Q, "Plenty.")},
         {"chosen": hh("", "None."), "rejected": hh("", "Plenty.")}, "chosen", "empty prompt"),
        (GOOD, {"chosen": None}, "chosen", "missing or null"),
        (GOOD, {"rejected": ["Plenty."]}, "rejected", "must be a string, not a list"),
        (GOOD, {"rejected": "\udcff"}, "rejected", "not valid UTF-8"),
        ({"chosen": "We serve soup.", "rejected": "We serve bread."}, {"rejected": "None."}, "chosen",
         "empty prompt"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]}, {"prompt": [COOK]}, "chosen",
         "must end with a user turn"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]}, {"prompt": []}, "prompt", "list of at"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]}, {"chosen": [COOK, USER]}, "chosen",
         "does not end with an assistant turn"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]},
         {"prompt": [USER, {"role": "system", "content": "Cook."}, USER]}, "chosen", "must come first"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]},
         {"prompt": [{"role": "tool", "content": "7"}]}, "prompt", "role must be one of"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]}, {"chosen": [{"role": "assistant"}]},
         "chosen", "needs the strings role and content"),
        ({"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]},
         {"chosen": [USER, COOK], "rejected": [{"role": "user", "content": "Eggs?"}, OTHER]}, "rejected",
         "prompt differs"),
        (FACTORY, {"conversations": []}, "conversations", "at least one message"),
        (FACTORY, {"chosen": {"from": "human", "value": "None."}}, "chosen", "one assistant message"),
        (JUDGED | VOTES, {"annotator2": 3}, "annotator2", "one of the integers 0, 1, 2, not 3"),
        (JUDGED | VOTES, {"response1": True}, "response1", "must be a string, not a boolean"),
        (STRENGTH, {"preference_strength": 4}, "preference_strength", "not 4"),
        (STRENGTH, {"preference_strength": 1.0}, "preference_strength", "not a decimal number"),
        (OWN, {"better": 1.5}, "better", "between 0 and 1"),
        (OWN, {"safer": "1"}, "safer", "number from 0 to 1 or null, not a string"),
        (OWN, {"unsafe_0": 0.5}, "unsafe_0", "must be 0, 1 or null"),
        (OWN, {"is_response_1_safe": "true"}, "is_response_1_safe", "true or false"),
        (DUAL, {"label": 2}, "label", "not 2"),
        (DUAL, {"objective": "honest"}, "objective", "helpful, harmless"),
        (DUAL, {"responses": ["None."]}, "responses", "two strings"),
        (DUAL, {"responses": ["", "Plenty."]}, "responses[0]", "empty answer"),
        ({"instruction": Q, "chosen": "None.", "rejected": "Plenty."}, {"history": [["Soy?"]]}, "history",
         "pairs of strings"),
    ],
)  # fmt: skip
def test_problem(tmp_path: Path, good: dict, change: dict, field: str, what: str) -> None:
    """The changed row alone is refused: the two good rows around it stay."""
    path = write(tmp_path / "a.jsonl", [good, {**good, **change}, good])
    found = validate(path)
    assert (found.rows, found.usable, len(found.problems)) == (3, 2, 1)
    assert (found.problems[0].row, found.problems[0].field) == (2, field)
    assert what in found.problems[0].what
    assert len(load_pairs(path)) == 2


ODD_VALUES = [
    None,
    7,
    1.5,
    True,
    "",
    "x",
    [],
    {},
    [[]],
    [None, 3],
    [{"role": 5, "content": []}],
    {"from": "gpt"},
]
PAIR_FILES = [
    name
    for name, (_, _, usable) in SHAPES.items()
    if usable and not name.endswith(".csv") and name != "beavertails.jsonl"
]


@pytest.mark.parametrize("name", PAIR_FILES)
def test_no_value_of_any_field_breaks_the_reader(tmp_path: Path, name: str) -> None:
    """Whatever one field of one row holds, the row is used or named, and no other row suffers."""
    text = (HERE / name).read_text(encoding="utf-8")
    good = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    rows = [{**good[0], field: value} for field in [*good[0], "history", "system"] for value in ODD_VALUES]
    found = validate(write(tmp_path / "a.jsonl", good[:1] * len(rows) + rows))
    assert found.schema == SHAPES[name][0]
    assert found.usable + len(found.problems) == found.rows == 2 * len(rows)
    assert found.problems and all(problem.row > len(rows) for problem in found.problems)


def test_no_row_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 1 rows cannot be used.*row 1, chosen: empty answer.*No row"):
        load_pairs(write(tmp_path / "a.jsonl", [{**GOOD, "chosen": " "}]))


def test_an_error_quotes_no_text_of_a_row(tmp_path: Path) -> None:
    secret = "a very rude word"
    rows = [{**OWN, "better": secret}, {**OWN, "response_0": [secret]}, {**OWN, "is_response_0_safe": secret}]
    found = validate(write(tmp_path / "a.jsonl", rows))
    assert len(found.problems) == 3 and secret not in json.dumps(found.as_dict())


# ---- shapes nobody knows ----


def test_unknown_shape_lists_columns_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"columns are prompt, chosen; nearest is 'trl-explicit'.*needs rejected"
    ):
        validate(write(tmp_path / "a.jsonl", [{"prompt": Q, "chosen": "None."}]))
    with pytest.raises(InputError, match="'helpsteer2-preference', which also needs preference_strength"):
        load_pairs(
            write(tmp_path / "b.jsonl", [{k: STRENGTH[k] for k in ("prompt", "response_1", "response_2")}])
        )


def test_the_shape_is_that_of_most_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": Q}, GOOD, GOOD])
    found = validate(path)
    assert (found.schema, found.usable, found.problems[0].row) == ("trl-explicit", 2, 1)


def test_open_dialogue_prompts_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{**GOOD, "prompt": "Human: Nuts?"}, GOOD])
    assert "1 prompts are dialogues without a last 'Assistant:'" in validate(path).advice
    assert "dialogues" not in validate(HERE / "hh_harmless.jsonl").advice


# ---- file formats: one table in all of them gives the same pairs ----

ROWS = [
    json.loads(line) for line in (HERE / "pku_saferlhf_older.jsonl").read_text(encoding="utf-8").splitlines()
]


def to_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def to_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(LINES.encode()),
    "a.ndjson": lambda path: path.write_bytes(LINES.rstrip("\n").encode()),
    "bom.jsonl": lambda path: path.write_bytes(LINES.encode("utf-8-sig")),
    "windows.jsonl": lambda path: path.write_bytes(LINES.replace("\n", "\r\n").encode()),
    "blank.jsonl": lambda path: path.write_bytes(f"\n{LINES}\n \n".encode()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES.encode())),
    "gzipped.jsonl": lambda path: path.write_bytes(gzip.compress(LINES.encode())),
    "lines.json": lambda path: path.write_bytes(LINES.encode()),
    "a.json": lambda path: path.write_text(json.dumps(ROWS), encoding="utf-8"),
    "bom.json": lambda path: path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8-sig"),
    "a.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "a.csv": to_csv,
    "a.tsv": lambda path: to_csv(path, "\t"),
    "a.parquet": to_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_alike(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = validate(tmp_path / name)
    assert (found.schema, found.rows, found.problems) == ("pku-saferlhf-older", 6, ())
    pairs = load_pairs(tmp_path / name)
    assert pairs.prompts == [row["prompt"] for row in ROWS]
    assert pairs.y0 == [row["response_0"] for row in ROWS] and pairs.y1 == [row["response_1"] for row in ROWS]
    assert same(pairs.better, [float(row["better_response_id"]) for row in ROWS])
    assert same(pairs.unsafe, [[float(not row[f"is_response_{k}_safe"]) for k in (0, 1)] for row in ROWS])


def test_parquet_keeps_message_lists(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    rows = [{"prompt": [USER], "chosen": [COOK], "rejected": [OTHER]}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    pairs = load_pairs(tmp_path / "a.parquet")
    assert (pairs.prompts, pairs.y1) == (["\n\nHuman: Nuts?\n\nAssistant:"], ["None."])


def test_line_separators_inside_a_string_do_not_end_a_line(tmp_path: Path) -> None:
    text = "One.\u2028Two.\x85Three."
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**GOOD, "chosen": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert load_pairs(path).y1 == [text]


def test_csv_cell_longer_than_the_default_limit(tmp_path: Path) -> None:
    before, long = csv.field_size_limit(), "soup " * 40_000
    path = tmp_path / "a.csv"
    path.write_text(f"prompt,chosen,rejected\nWhat?,{long},Bread.\n", encoding="utf-8")
    assert load_pairs(path).y1 == [long] and csv.field_size_limit() == before


def test_truncated_line_is_a_problem_and_stops_loading(tmp_path: Path) -> None:
    line = json.dumps(GOOD) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n" + line + line[:20], encoding="utf-8")  # row numbers are line numbers: 1, 3, 4
    found = validate(path)
    assert (found.rows, found.usable, found.problems[0].row) == (3, 2, 4)
    assert "not JSON" in found.problems[0].what
    with pytest.raises(InputError, match=r"a\.jsonl, row 4: not JSON"):
        load_pairs(path)


def test_bad_utf8_is_named_and_dropped(tmp_path: Path) -> None:
    line = json.dumps(GOOD).encode() + b"\n"
    path = tmp_path / "a.jsonl"
    path.write_bytes(line + line.replace(b"Plenty", b"Pl\xffnty") + line)
    (problem,) = validate(path).problems
    assert (problem.row, problem.field) == (2, "rejected") and "not valid UTF-8" in problem.what
    assert len(load_pairs(path)) == 2


def test_csv_row_with_too_many_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "prompt,chosen,rejected\nNuts?,None.,Plenty.\nNuts?,None.,Yes, plenty.\n", encoding="utf-8"
    )
    (problem,) = validate(path).problems
    assert problem.row == 2 and "more cells" in problem.what


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("object.json", b'{"prompt": "Nuts?"}', "JSON array"),
        ("cut.json", b'[{"prompt": "Nuts?"', "not JSON .*line 1"),
        ("empty.jsonl", b"", "holds no rows"),
        ("empty.json", b"\n", "holds no rows"),
        ("empty_array.json", b"[]", "holds no rows"),
        ("header.csv", b"prompt,chosen,rejected\n", "holds no rows"),
        ("open.csv", b'prompt,chosen,rejected\nNuts?,"None.,Plenty.\n', "line 2 is no row"),
        ("numbers.jsonl", b"1\n2\n", "row 1: not an object"),
        ("cut.jsonl", b'{"prompt": ', "row 1: not JSON"),
        ("cut.jsonl.gz", gzip.compress(LINES.encode())[:-20], "cannot be read"),
        ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("wide.jsonl", LINES.encode("utf-16"), "UTF-16"),
        ("notes.docx", b"", "unknown ending"),
        ("broken.parquet", b"PAR1 is not enough", "not readable as Parquet"),
    ],
)
def test_unreadable_file(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    for read in (validate, load_pairs):
        with pytest.raises(InputError, match=f"{re.escape(name)}.*{words}"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["absent.jsonl", "./absent folder", "/absent/folder"])
def test_missing_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        load_pairs(name)


def test_plain_text_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Chop.\n\nServe.\n", encoding="utf-8")
    assert validate(tmp_path / "a.txt")[:3] == ("text", 3, 0)


# ---- folders ----


def test_folder_takes_the_split_in_sorted_order(tmp_path: Path) -> None:
    for number, name in enumerate(["train-2.jsonl", "train-1.jsonl", "test.jsonl"]):
        write(tmp_path / name, [{**GOOD, "prompt": f"{number}?"}])
    (tmp_path / "README.md").write_text("Notes.", encoding="utf-8")
    (tmp_path / "licence.txt").write_text("Terms.", encoding="utf-8")
    assert load_pairs(tmp_path).prompts == ["1?", "0?"]
    assert load_pairs(str(tmp_path), split="test").prompts == ["2?"]
    with pytest.raises(InputError, match="no file for split 'validation' among test.jsonl"):
        load_pairs(tmp_path, split="validation")


def test_folder_without_split_names_is_read_whole(tmp_path: Path) -> None:
    for number, name in enumerate(["b.jsonl", "a.jsonl", "device.jsonl"]):
        write(tmp_path / name, [{**GOOD, "prompt": f"{number}?"}])
    assert load_pairs(tmp_path, split="test").prompts == ["1?", "0?", "2?"]


def test_folder_of_two_shapes_names_both(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [GOOD])
    write(tmp_path / "b.jsonl", [STRENGTH])
    with pytest.raises(InputError, match=r"a\.jsonl.*'trl-explicit'.*b\.jsonl.*'helpsteer2-preference'"):
        validate(tmp_path)


def test_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no data file"):
        load_pairs(tmp_path)


# ---- the hub, without a network ----


def test_hub_name_folder_split_and_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(name: str, **options: Any) -> list[dict[str, str]]:
        asked.update(options, name=name)
        return [GOOD]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    pairs = load_pairs("Kitchen/notes/harmless-base", split="test", revision="v1")
    assert asked == {"name": "Kitchen/notes", "data_dir": "harmless-base", "split": "test", "revision": "v1"}
    assert pairs.safer is not None and pairs.better is None
    load_pairs("Kitchen/notes")
    assert asked == {"name": "Kitchen/notes", "data_dir": None, "split": "train", "revision": None}


def test_hub_failure_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load_dataset(name: str, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        InputError, match="Kitchen/notes: no such path.*split 'train'.*Couldn't reach the Hub"
    ):
        load_pairs("Kitchen/notes")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        validate("Kitchen/notes")


# ---- real rows: counts only, their text is never shown ----

real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real rows: CDPO_EDU_DATA or {REAL.name} is absent")

# file: (schema, rows as its README states, usable, problems)
REAL_FILES = {
    "alpaca/alpaca_2000.json": ("single-answers", 2000, 0, 0),
    "c4-demo-text/c4_240.jsonl": ("text", 240, 0, 0),
    "dual-pairs/test.jsonl": ("dual-pairs", 139, 139, 0),
    "dual-pairs/train.jsonl": ("dual-pairs", 771, 771, 0),
    "hh-harmless-base/test.jsonl.gz": ("hh-transcripts", 300, 300, 0),
    "hh-harmless-base/train.jsonl.gz": ("hh-transcripts", 1712, 1704, 8),
    "hh-helpful-base/test.jsonl.gz": ("hh-transcripts", 300, 300, 0),
    "hh-helpful-base/train.jsonl.gz": ("hh-transcripts", 1387, 1383, 4),
    "hh-relabeled-dual/test.jsonl.gz": ("hh-relabeled-dual", 575, 575, 0),
    "hh-relabeled-dual/train.jsonl.gz": ("hh-relabeled-dual", 2910, 2904, 6),
    "llamafactory-demo/dpo_en_demo.json": ("llama-factory", 200, 200, 0),
    "llamafactory-demo/kto_en_demo.json": ("kto", 197, 0, 0),
    "llms-from-scratch-pref/pairs.json": ("instruction-pairs", 800, 795, 5),
    "oasst-rank-zh/rankings.json": ("rankings", 475, 0, 0),
    "pandalm-human/pairs.json": ("pandalm", 699, 639, 60),
    "pku-saferlhf-sample/sample_6.jsonl": ("pku-saferlhf", 6, 6, 0),
    "saferlhf-problems/helpful_problem.json": ("prompts", 129, 0, 0),
    "saferlhf-problems/safety_problem.json": ("prompts", 83, 0, 0),
    "stack-exchange-paired-tiny/stack_exchange_paired_tiny.json": ("stack-exchange", 25, 25, 0),
    "tinyshakespeare/input_first90.txt": ("text", 35526, 0, 0),  # 35525 line breaks, the last line is cut
    "xstest/xstest_prompts.csv": ("prompts", 450, 0, 0),
    "xstest/xstest_v2_completions_gpt4.csv": ("refusal-labels", 450, 0, 0),
    "xstest/xstest_v2_completions_mistralinstruct.csv": ("refusal-labels", 450, 0, 0),
}


def raw(name: str) -> list[dict[str, Any]]:
    """Read a real file the plain way, with none of the code under test."""
    data = (REAL / name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")
    return (
        json.loads(text)
        if name.endswith(".json")
        else [json.loads(line) for line in text.strip().split("\n")]
    )


@real
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_file(name: str) -> None:
    found = validate(REAL / name)
    assert (found.schema, found.rows, found.usable, len(found.problems)) == REAL_FILES[name]


@real
def test_no_real_file_is_left_out() -> None:
    files = {str(path.relative_to(REAL)) for path in REAL.glob("*/*") if path.suffix != ".md"}
    assert files == REAL_FILES.keys()


def bad_texts(texts: list[Any]) -> bool:
    return texts[0] == texts[1] or any(not isinstance(text, str) or not text.strip() for text in texts)


@real
@pytest.mark.parametrize("name", [name for name, row in REAL_FILES.items() if row[0] == "hh-transcripts"])
def test_real_transcripts_counted_another_way(name: str) -> None:
    cut = re.compile(r"(.*\n\nAssistant:)(.*)", re.DOTALL)
    bad = 0
    for row in raw(name):
        (prompt, won), (other, lost) = (cut.fullmatch(row[side]).groups() for side in ("chosen", "rejected"))
        bad += prompt != other or bad_texts([won, lost])
    assert bad == len(validate(REAL / name).problems)


@real
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("llms-from-scratch-pref/pairs.json", ("chosen", "rejected")),
        ("pandalm-human/pairs.json", ("response1", "response2")),
        ("stack-exchange-paired-tiny/stack_exchange_paired_tiny.json", ("response_j", "response_k")),
    ],
)
def test_real_answers_counted_another_way(name: str, fields: tuple[str, str]) -> None:
    bad = sum(bad_texts([row[field] for field in fields]) for row in raw(name))
    assert bad == len(validate(REAL / name).problems)


@real
@pytest.mark.parametrize(("split", "conflicts"), [("train", 343), ("test", 65)])
def test_real_conflicts(split: str, conflicts: int) -> None:
    pairs = load_pairs(REAL / "dual-pairs", split=split)
    assert pairs.better is not None and pairs.safer is not None and pairs.unsafe is None
    assert int((pairs.better != pairs.safer).sum()) == conflicts


@real
@pytest.mark.parametrize("split", ["train", "test"])
def test_real_relabeled_rows(split: str) -> None:
    """The README's rule, row by row, and its derived set as a second opinion."""
    rows = [r for r in raw(f"hh-relabeled-dual/{split}.jsonl.gz") if not bad_texts(r["responses"])]
    pairs = load_pairs(REAL / "hh-relabeled-dual", split=split)
    assert pairs.better is not None and pairs.safer is not None
    for row, better, safer in zip(rows, pairs.better.tolist(), pairs.safer.tolist(), strict=True):
        label = {row["objective"]: row["label"]} | {row["data_subset"]: row["original_label"]}
        assert label.get("helpful", -1) == (-1 if better != better else better)
        assert label.get("harmless", -1) == (-1 if safer != safer else safer)
    two = [r["data_subset"] == "harmless" and r["objective"] == "helpful" for r in rows]
    dual, both = load_pairs(REAL / "dual-pairs", split=split), torch.tensor(two)
    assert len(dual) == sum(two)
    assert torch.equal(dual.better, pairs.better[both]) and torch.equal(dual.safer, pairs.safer[both])
    assert [f" {text}" for text in dual.y0] == [y for y, kept in zip(pairs.y0, two, strict=True) if kept]


@real
def test_real_relabeled_dialogues_are_those_of_the_transcripts() -> None:
    """At most 0.5 % of rebuilt rows differ from upstream, by the README of the helpful rows."""
    names = [f"hh-{kind}-base" for kind in ("harmless", "helpful")]
    upstream = [load_pairs(REAL / name, split="test") for name in names]
    known = {(x, frozenset(ys)) for p in upstream for x, *ys in zip(p.prompts, p.y0, p.y1, strict=True)}
    dual = load_pairs(REAL / "hh-relabeled-dual", split="test")
    mine = [(x, frozenset(ys)) for x, *ys in zip(dual.prompts, dual.y0, dual.y1, strict=True)]
    assert sum(pair in known for pair in mine) >= 0.98 * len(mine)


@real
def test_real_safe_rlhf_cases() -> None:
    pairs = load_pairs(REAL / "pku-saferlhf-sample/sample_6.jsonl")
    assert pairs.unsafe is not None and pairs.better is not None and pairs.safer is not None
    count = pairs.unsafe.sum(1)
    assert [int((count == k).sum()) for k in (0, 1, 2)] == [4, 1, 1]
    assert (pairs.better != pairs.safer).tolist() == (
        count == 2
    ).tolist()  # the both-unsafe pair is in conflict
    assert (pairs.better[count == 2].item(), pairs.safer[count == 2].item()) == (1, 0)


@real
def test_real_objectives_follow_the_folder() -> None:
    assert load_pairs(REAL / "hh-harmless-base").better is None
    assert load_pairs(REAL / "hh-helpful-base").safer is None
