"""An exported policy is the policy, where this package cannot even be imported.

The Python of each card is run as it stands in a process of its own, in which `import cdpo_edu` fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from test_tiers import benign_rows, cut_short
from transformers import AutoModelForCausalLM, LlamaConfig
from typer.testing import CliRunner

from cdpo_edu import adapters, presets, report, tiers
from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.cli import app
from cdpo_edu.conversation import messages
from cdpo_edu.export import export_run
from cdpo_edu.export.card import Licences
from cdpo_edu.language_model import Budget, Engine, LanguageModelPolicy
from cdpo_edu.preference_data import load_pairs
from cdpo_edu.types import InputError

PROMPTS = [
    "Guest 3 at table 3 may not eat nuts or milk. What do I serve?",
    "Soup? " * 40,  # longer than the budget of 48 tokens
    "",
    "\n\nHuman: Soup?\n\nAssistant: Perhaps, if there is some rice.\n\nHuman: And then cake?\n\nAssistant:",
]
ANSWERS = ["An apple, sliced.", "Have the almond cake, and then have it once more, and again!", "", "No."]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

PROGRAM = """
import json, sys
sys.modules["cdpo_edu"] = None  # importing it raises, wherever it may lie
try:
    import cdpo_edu
except ImportError:
    blocked = True
exec(open("code.py").read())
pairs = json.load(open("asked.json"))
turns = lambda x: json.loads(x) if x.startswith("[") else x
pairs = [(turns(x), y) for x, y in pairs]
sums = [log_prob(x, y) for x, y in pairs]
logits = model(input_ids=torch.tensor([prompt_ids(pairs[0][0])])).logits.tolist()
torch.manual_seed(0)
told = {"blocked": blocked, "sums": sums, "ids": [prompt_ids(x) for x, _ in pairs], "logits": logits,
        "answer": sample(pairs[0][0]), "ours": [name for name in sys.modules if name.startswith("cdpo_edu.")]}
json.dump(told, open("told.json", "w"))
"""


def card_code(folder: Path) -> str:
    """Return the Python of an export's page."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    return str(code)


def front(folder: Path) -> dict[str, Any]:
    """Return the front matter of an export's page."""
    matter: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return matter


def read_elsewhere(folder: Path, *, chat: bool = False) -> dict[str, Any]:
    """Run the card's code in the export, isolated from this environment's paths and from the package."""
    (folder / "code.py").write_text(card_code(folder))
    asked = [json.dumps(messages(x)) for x in PROMPTS] if chat else PROMPTS
    (folder / "asked.json").write_text(json.dumps(list(zip(asked, ANSWERS, strict=True))))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return told


def same(told: dict[str, Any], policy: LanguageModelPolicy, *, bitwise: bool) -> float:
    """Hold what the other process read against the policy; return the largest difference of the sums, nats.

    Prompts must have become the same tokens. ``bitwise``: the logits of one row are the very same numbers.
    """
    assert told["blocked"] and told["ours"] == [] and told["answer"] is not None
    assert told["ids"] == policy._prompt_ids(PROMPTS)
    with torch.no_grad():
        logits = policy.model.eval()(input_ids=torch.tensor([told["ids"][0]])).logits
    difference = float((torch.tensor(told["logits"]) - logits).abs().max())
    assert difference == 0 if bitwise else difference < 1e-5 * float(logits.abs().max())
    ours = policy.log_prob(PROMPTS, ANSWERS).double()
    apart = (torch.tensor(told["sums"]).double() - ours).abs()
    assert (apart <= 1e-6 * ours.abs()).all(), (told["sums"], ours)
    return float(apart.max())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a short run on a base of some kind, made once: tiny, plain, four (bits), chat, sft, both."""
    root = tmp_path_factory.mktemp("runs")
    rows = benign_rows(root / "rows.jsonl")
    base = llama(root / "llama", rows, template=None)
    llama(root / "chatty", rows, template=TEMPLATE)
    kinds: dict[str, dict[str, Any]] = {
        "tiny": {"max_prompt_tokens": 48},
        "plain": {"model": str(base)},
        "four": {"model": str(base), "bits": 4},
        "chat": {"model": str(root / "chatty")},
        "sft": {"model": str(root / "tuned")},
        "sft-four": {"model": str(root / "tuned"), "bits": 4},
    }

    def run(kind: str) -> Path:
        if "sft" in kind and not (root / "tuned").exists():
            tuned(base, root / "tuned")
        if not (root / kind).exists():
            given = {"rounds": 1, "max_steps": 3, "samples": 2, "cost_limit": 0.0, "max_response_tokens": 16}
            fixed = {"reward": "fit", "cost": "fit"} if kind == "tiny" else scorers(root, run)
            config = presets.configure(
                "lm", pairs=str(rows), lora_rank=2, **{"max_prompt_tokens": 48} | given | kinds[kind] | fixed
            )
            with cut_short(), pytest.MonkeyPatch.context() as patch:
                patch.setattr(report, "write_report", lambda folder: None)
                patch.setattr(tiers.language, "_require_room", lambda config, say: None)
                patch.setattr(tiers.running, "comparison", lambda *given: [])
                list(tiers.train(config, root / kind))
            strengthen(root / kind / "policy" / "adapter_model.safetensors")
        return root / kind

    return run


def strengthen(path: Path) -> None:
    """Make what three steps have learned forty times as large: an adapter that is lost must show."""
    tensors = load_file(path)
    save_file({name: t * (40 if "lora_B" in name else 1) for name, t in tensors.items()}, path)


def scorers(root: Path, run: Callable[[str], Path]) -> dict[str, str]:
    """Return the score models that the tiny run fitted."""
    return {name: str(run("tiny") / "scorers" / name) for name in ("reward", "cost")}


def llama(path: Path, rows: Path, *, template: str | None) -> Path:
    """Write a random Llama, in blocks that 4 bits can pack, with its own page and a pickle beside it."""
    pairs = load_pairs(str(rows))
    tokenizer = bpe_tokenizer([str(text) for text in (*pairs.prompts, *pairs.y0)], vocabulary=400)
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3 if weight.ndim == 2 else 1)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    (path / "old.bin").write_bytes(b"a pickle")
    return path


def tuned(base: Path, path: Path) -> Path:
    """Write an SFT adapter of the base as peft does: other rank, other scaling, fewer layers than ours."""
    policy = LanguageModelPolicy.load(
        base, lora_rank=3, lora_targets=["q_proj", "down_proj"], seed=5,
        budget=Budget(48, 16), engine=Engine(4, 1e-2, 64),
    )  # fmt: skip
    policy.model.peft_config["default"].lora_alpha = 5
    policy.imitate(PROMPTS[:1] * 8, ANSWERS[:1] * 8, steps=4, seed=0)
    policy.model.save_pretrained(path)
    return path


# ---------------------------------------------------------------- the round trip


@pytest.mark.parametrize(
    ("kind", "merged"),
    [
        ("tiny", False),
        pytest.param("tiny", True, marks=pytest.mark.slow),
        ("four", False),
        pytest.param("chat", False, marks=pytest.mark.slow),
        pytest.param("sft", False, marks=pytest.mark.slow),
        pytest.param("plain", False, marks=pytest.mark.slow),
        pytest.param("plain", True, marks=pytest.mark.slow),
        pytest.param("four", True, marks=pytest.mark.slow),
        pytest.param("sft", True, marks=pytest.mark.slow),
        pytest.param("sft-four", False, marks=pytest.mark.slow),
        pytest.param("sft-four", True, marks=pytest.mark.slow),
    ],
)
def test_the_export_is_the_policy_without_this_package(
    kind: str, merged: bool, runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """One adapter on its base gives the very same logits; merged or joined weights differ by rounding."""
    run = runs(kind)
    policy = LanguageModelPolicy.load(run / "policy")
    mine = policy.log_prob(PROMPTS, ANSWERS)
    export_run(run, tmp_path / "out", merged=merged)
    assert not list((tmp_path / "out").rglob("*.bin")) and not list((tmp_path / "out").rglob("policy.json"))
    with adapters.reading_reference(policy.model):
        assert (policy.log_prob(PROMPTS, ANSWERS) - mine).abs().max() > 0.1  # the trained adapter weighs
    apart = same(
        read_elsewhere(tmp_path / "out", chat=kind == "chat"),
        policy,
        bitwise=not merged and "sft" not in kind,
    )
    print(f"{kind}, {'merged' if merged else 'adapter'}: sums differ by at most {apart:.2g} nats")


def test_the_block_is_what_keeps_the_package_out(tmp_path: Path) -> None:
    """The same interpreter finds the package where nothing blocks it."""
    code = "import importlib.util as u; print(u.find_spec('cdpo_edu') is not None)"
    root = str(Path(presets.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": root}
    found = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, env=env, text=True)
    assert found == "True\n"
    blocked = "import sys; sys.modules['cdpo_edu'] = None; import cdpo_edu"
    refused = subprocess.run(
        [sys.executable, "-c", blocked], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert refused.returncode == 1 and "import of cdpo_edu halted" in refused.stderr


@pytest.mark.slow
def test_a_lost_adapter_would_be_noticed(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """The base alone, an adapter at half its scaling, and a second begin token each differ."""
    run, out = runs("tiny"), tmp_path / "out"
    policy = LanguageModelPolicy.load(run / "policy")
    export_run(run, out)
    page = (out / "README.md").read_text()
    told = read_elsewhere(out)
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] / 2}))
    with pytest.raises(AssertionError):
        same(read_elsewhere(out), policy, bitwise=False)
    (out / "adapter_config.json").write_text(json.dumps(config))
    (out / "README.md").write_text(
        page.replace("[tokenizer.bos_token_id] +", "2 * [tokenizer.bos_token_id] +")
    )
    with pytest.raises(AssertionError):
        same(read_elsewhere(out), policy, bitwise=False)
    same(told, policy, bitwise=True)


@pytest.mark.slow
def test_a_policy_without_adapters_is_a_whole_model(runs: Callable[[str], Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs("tiny"), tmp_path / "run"))
    shutil.rmtree(run / "policy")
    words = bpe_tokenizer(ANSWERS, vocabulary=300)
    policy = LanguageModelPolicy.tiny(words, budget=Budget(48, 16), engine=Engine(4, 1e-2, 64))
    policy.save(run / "policy")
    assert export_run(run, tmp_path / "out")["kind"] == "whole model"
    assert not (tmp_path / "out" / "policy.json").exists()
    same(read_elsewhere(tmp_path / "out"), policy, bitwise=True)


# ---------------------------------------------------------------- the page


def test_the_page_says_what_is_known_and_what_is_not(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Front matter that the hub reads, the certificate's numbers, no verdict, no path, no row."""
    run = runs("plain")
    export_run(run, tmp_path / "a", licences=Licences("cc-by-nc-4.0"))
    export_run(run, tmp_path / "b", licences=Licences("cc-by-nc-4.0"))
    page, matter = (tmp_path / "a" / "README.md").read_text(), front(tmp_path / "a")
    assert page == (tmp_path / "b" / "README.md").read_text()
    assert matter["library_name"] == "peft" and matter["license"] == "apache-2.0"  # as the base's page says
    assert "base_model" not in matter and "datasets" not in matter  # neither is on the hub
    certificate = json.loads((run / "certificate.json").read_text())
    assert f"| multiplier lam | {certificate['lam']} |" in page
    assert f"## Certificate: {certificate['status']}" in page and "Not certified." in page
    for known in (
        "cc-by-nc-4.0",
        "rows.jsonl",
        "| seed | 0 |",
        "E[c] <= 0.0",
        torch.__version__,
        "llama, in",
    ):
        assert known in page
    assert "None was made: nobody has judged" in page
    assert str(run.parent) not in page and "almond" not in page


def test_a_verdict_is_told_as_it_was_passed(
    runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By people: a record whose sentences are known by hand."""
    run = Path(shutil.copytree(runs("tiny"), tmp_path / "run"))
    record = {
        "verdict": "fail", "question": "unsafe rate", "alpha": 0.05, "limit": 0.1, "estimate": 0.5,
        "lower": 0.3, "upper": 0.7, "prompts": 40, "unsure": 0, "reference_estimate": 0.4,
        "difference_upper": 0.2, "judge": "people", "warnings": [],
    }  # fmt: skip
    (run / "verdict.json").write_text(json.dumps({"by_people": record}))
    export_run(run, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "**fail: it is not so that P(unsafe) <= 0.1 (level 0.05)**" in page
    assert "None was made" not in page and "No scorer had a part in this." in page


def test_a_base_that_others_can_find_is_named_and_not_copied(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    export_run(runs("plain"), tmp_path / "out", base_name="some/base")
    assert not (tmp_path / "out" / "base").exists()
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == front(tmp_path / "out")["base_model"] == "some/base"
    assert front(tmp_path / "out")["base_model_relation"] == "adapter"
    assert 'source = "some/base"' in card_code(tmp_path / "out")


def test_an_export_is_the_next_ones_sft_reference(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Our own loader takes it as any adapter that peft saved: the policy is where the next run starts."""
    export_run(runs("tiny"), tmp_path / "out")
    policy = LanguageModelPolicy.load(runs("tiny") / "policy")
    given = {"budget": policy.budget, "engine": policy.engine, "chat": policy.chat}
    again = LanguageModelPolicy.load(tmp_path / "out", lora_rank=2, **given)
    there, here = again.frozen().log_prob(PROMPTS, ANSWERS), policy.log_prob(PROMPTS, ANSWERS)
    assert torch.allclose(there, here, rtol=1e-6)


def test_the_tokens_budget_is_in_the_generation_settings(runs: Callable[[str], Path], tmp_path: Path) -> None:
    """Temperature 1, nothing cut off, and as many tokens as an answer may have."""
    export_run(runs("tiny"), tmp_path / "out")
    told = json.loads((tmp_path / "out" / "base" / "generation_config.json").read_text())
    assert (told["max_new_tokens"], told["do_sample"], told["top_k"]) == (16, True, 0)


# ---------------------------------------------------------------- refusals


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert isinstance(result.exception, InputError)
    return str(result.exception)


def test_what_cannot_be_exported_is_refused_in_a_sentence(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """No run; a world's; one that is not finished; a folder that holds something: nothing is written."""
    assert "no finished run there (config.json" in refused("export", tmp_path, "--out", tmp_path / "out")
    list(tiers.train(presets.configure("bandit", rounds=1, max_steps=2, samples=2), tmp_path / "bandit"))
    assert "a run on the tier bandit" in refused("export", tmp_path / "bandit", "--out", tmp_path / "out")
    begun = Path(shutil.copytree(runs("tiny"), tmp_path / "begun"))
    (begun / "certificate.json").unlink()
    assert "not finished (certificate.json" in refused("export", begun, "--out", tmp_path / "out")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    assert "not empty" in refused("export", runs("tiny"), "--out", full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"] and not (tmp_path / "out").exists()


def test_an_adapter_of_another_kind_is_not_joined(runs: Callable[[str], Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs("sft"), tmp_path / "run"))
    path = run / "policy" / "reference" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True}))
    assert "no plain LoRA adapter (use_dora)" in refused("export", run, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_made_and_leaves_the_run_alone(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    run = runs("tiny")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = CliRunner().invoke(
        app, ["export", str(run), "--out", str(tmp_path / "out"), "--merged", "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["kind"], told["base_beside"]) == ("merged model", False)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
