#!/usr/bin/env bash
# Runs every check of the project in its own environment, which the first call makes (.venv, some minutes).
#   bash scripts/test.sh [--full] [PYTEST ARGUMENTS]
# --full adds the tests marked slow; further arguments go to the unit tests' pytest (for instance -k dual).
# Stops at the first stage that fails. Needs no network once the environment is made. The browser tests need
# Chromium (Debian: apt install chromium; elsewhere name it in CDPO_EDU_CHROMIUM) and are skipped without it.
set -euo pipefail
# shellcheck source=scripts/setup_env.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup_env.sh"
set_up
cd "$ROOT"

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1
export TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 CDPO_EDU_BARS=0 MPLBACKEND="${MPLBACKEND-Agg}"
export CDPO_EDU_SCREENSHOTS="${CDPO_EDU_SCREENSHOTS-$ROOT/runs/screenshots}" # what the browser tests saw

selection="not slow"
if [ "${1-}" = --full ]; then
  selection=""
  shift
fi
color=auto
if [ -t 1 ]; then color=yes; fi # pytest writes through tee below and cannot see the terminal
LOGS="$(mktemp -d)"
trap 'rm -rf "$LOGS"' EXIT

stage() { # NAME COMMAND...
  local name="$1" started=$SECONDS status=0
  shift
  say "== $name"
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    say "== $name FAILED after $(clock $((SECONDS - started))), exit $status"
    exit "$status"
  fi
  say "== $name passed in $(clock $((SECONDS - started)))"
}

unit_tests() {
  "$PYTHON" -m pytest -n 2 --color="$color" -m "$selection" "$@" | tee "$LOGS/unit"
}

notebooks() { # each cell of the lessons and solved assignments is executed and compared with the outputs it was committed with
  local settings
  mapfile -t settings < <(grep -v '^#' scripts/lessons.env)
  env "${settings[@]}" "$PYTHON" -m pytest --nbval notebooks/*.ipynb notebooks/museum/*.ipynb notebooks/solutions/*.ipynb \
    --nbval-current-env -n 2 --dist loadscope --color="$color" --nbval-sanitize-with tests/nbval_sanitize.cfg \
    --nbval-cell-timeout 120 -p no:cacheprovider | tee "$LOGS/notebooks"
}

stage "ruff check" "$PYTHON" -m ruff check .
stage "ruff format" "$PYTHON" -m ruff format --check .
stage "codespell" "$VENV/bin/codespell"
stage "mypy" "$PYTHON" -m mypy
stage "import-linter" "$VENV/bin/lint-imports"
stage "unit tests" unit_tests "$@"
if compgen -G "notebooks/*.ipynb" >/dev/null; then
  stage "notebooks" notebooks
  say "== all stages passed in $(clock $SECONDS); pytest's closing lines, notebooks and unit tests:"
  tail -n 1 "$LOGS/notebooks"
else
  say "== notebooks skipped: no lesson is built yet (notebooks/*.ipynb)"
  say "== all stages passed in $(clock $SECONDS); pytest's closing line:"
fi
tail -n 1 "$LOGS/unit"
