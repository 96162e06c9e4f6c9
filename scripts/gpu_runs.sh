#!/usr/bin/env bash
# What is still to be measured on a GPU, in one go: constrained DPO in 4 bits with adapters, from end to end.
#   ROWS=pairs.jsonl bash scripts/gpu_runs.sh                  8B-shaped random weights: memory, hours, throughput, resume
#   ROWS=pairs.jsonl MODEL=FOLDER bash scripts/gpu_runs.sh     the same with a model of yours on its rows
# Everything lands in OUT (runs/gpu). Nobody has run this on a GPU yet; SHAPE=tiny tries it on a CPU.
set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
: "${ROWS:?ROWS is missing: a file of preference rows, or a hub name}"
PYTHON="${PYTHON-python}"
OUT="${OUT-runs/gpu}"
SHAPE="${SHAPE-8B}"
KILL_AFTER="${KILL_AFTER-600}" # seconds until the run is killed, to be resumed
SIZES="${SIZES---batch-size 8 --micro-batch 2 --eval-rows 16 --max-prompt-tokens 256 --max-response-tokens 128}"
RUN="${RUN---rounds 3 --max-steps 60 --samples 4}"
mkdir -p "$OUT"

if [ -z "${MODEL-}" ]; then
  MODEL="$OUT/model"
  [ -e "$MODEL/config.json" ] || "$PYTHON" scripts/random_checkpoint.py "$MODEL" --shape "$SHAPE" --pairs "$ROWS"
fi
# A score costs nothing here: what is measured is the policy. REWARD and COST name score models instead.
cat >"$OUT/scores.py" <<'SCORES'
import torch


def length(prompts, responses):
    return torch.tensor([len(str(y)) / 20 for y in responses])


def letters(prompts, responses):
    return torch.tensor([str(y).count("e") / 4 for y in responses])


length.fingerprint, letters.fingerprint = "length", "letters"
SCORES

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv >"$OUT/gpu.csv" 2>/dev/null || echo "no GPU" >"$OUT/gpu.csv"
# shellcheck disable=SC2086  # options, word by word
"$PYTHON" -m cdpo_edu memory --model "$MODEL" --bits 4 --lora-rank 16 --checkpointing $SIZES --measure --probe --json >"$OUT/memory.json"

begin=("$PYTHON" -m cdpo_edu train --tier lm --bits 4 --lora-rank 16 --checkpointing --model "$MODEL" --pairs "$ROWS"
  --reward "${REWARD-$OUT/scores.py:length}" --cost "${COST-$OUT/scores.py:letters}" --cost-limit-relative 0.05)
# shellcheck disable=SC2206
begin+=($SIZES $RUN)
if [ ! -e "$OUT/run/config.json" ]; then
  timeout --signal=KILL "$KILL_AFTER" "${begin[@]}" --out "$OUT/run" || echo "killed after $KILL_AFTER seconds"
fi
"$PYTHON" -m cdpo_edu train --resume --out "$OUT/run"
if [ "$SHAPE" != tiny ]; then
  "$PYTHON" scripts/benchmark.py step --shape 7b --device cuda --json >"$OUT/step.json"
fi
echo "$OUT: gpu.csv, memory.json (predicted, measured), run/ (card.json: seconds), step.json (pairs per second; not for tiny)"
