#!/usr/bin/env bash
# Runs cdpo-edu in its own environment, which the first call makes (.venv, some minutes).
#   bash scripts/run.sh          align a toy policy and leave runs/toy (runs/toy-2, ... when that exists)
#   bash scripts/run.sh ARGS     cdpo-edu ARGS, from the current folder
set -euo pipefail
# shellcheck source=scripts/setup_env.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup_env.sh"
set_up
export TOKENIZERS_PARALLELISM="${TOKENIZERS_PARALLELISM-false}" # no warning when a data loader forks

if [ $# -gt 0 ]; then
  exec "$VENV/bin/cdpo-edu" "$@"
fi

cd "$ROOT"
out=runs/toy
number=2
while [ -e "$out" ]; do
  out="runs/toy-$number"
  number=$((number + 1))
done
exec "$VENV/bin/cdpo-edu" train --tier toy --out "$out"
