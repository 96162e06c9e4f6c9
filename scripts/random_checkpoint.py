"""Write a checkpoint of random weights in the shape of a model of presets.toml; throughput needs no more.

    python scripts/random_checkpoint.py FOLDER --shape 8B --pairs ROWS

The tokenizer is trained on the rows and knows fewer words than the shape has; the head is as wide as the
shape says, so a step costs what it would cost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from cdpo_edu.backbone import bpe_tokenizer
from cdpo_edu.preference_data import load_pairs
from cdpo_edu.presets import card_presets


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shapes = card_presets()["shapes"]
    options.add_argument("folder", type=Path)
    options.add_argument("--shape", choices=sorted(shapes), default="8B")
    options.add_argument("--pairs", required=True, help="preference rows, to train the tokenizer on")
    told = options.parse_args()
    rows = load_pairs(told.pairs)
    texts = [str(text) for part in (rows.prompts, rows.y0, rows.y1) for text in part]
    tokenizer = bpe_tokenizer(texts, vocabulary=1024)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(**shapes[told.shape] | special)
    torch.manual_seed(0)
    dtype = torch.float32 if told.shape == "tiny" else torch.bfloat16
    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(told.folder)
    tokenizer.save_pretrained(told.folder)


if __name__ == "__main__":
    main()
