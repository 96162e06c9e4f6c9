# shellcheck shell=bash
# Makes and keeps .venv, the one environment of run.sh and test.sh, which source this file under
# `set -euo pipefail` and call `set_up`. When nothing changed since the last call, it only compares a stamp.
#
#   CDPO_EDU_PIP_ARGS   more arguments for pip, split at spaces (for instance, to choose a build of torch)
#
# Written for bash 3.2, which is what macOS ships.

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"
PYTHON="$VENV/bin/python"
CONSTRAINTS="$ROOT/scripts/constraints.txt"
STAMP="$VENV/.cdpo-edu-stamp"             # what the environment was made from
UNFINISHED="$VENV/.cdpo-edu-unfinished"   # there while packages are being installed
LOCK="$ROOT/.setup-lock"                  # a link whose target names its owner, host:process

# glibc gives every large tensor back to the kernel when it is freed and pays for it again in page faults:
# a third of the processor time of a training step. Must be set before Python starts; elsewhere it has no effect.
if [ "$(uname -s)" = Linux ]; then
  export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_-8000000000}"
  export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_-8000000000}"
fi

say() { printf '%s\n' "$*" >&2; }

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

fits() { # PYTHON: can it make our environment?
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

version_of() { # PYTHON: its version and what it lacks, in words
  "$1" -c 'import platform, sys
lacks = "" if (3, 11) <= sys.version_info[:2] < (3, 14) else " (needed: 3.11, 3.12 or 3.13)"
try:
    import venv, ensurepip
except ImportError:
    lacks += " (its venv module is missing; Debian and Ubuntu: install the package python3-venv)"
print(platform.python_version() + lacks)' 2>/dev/null || printf 'does not run\n'
}

find_python() { # print the interpreter to build .venv with; exit 2 when there is none
  local name found=""
  for name in python3 python3.13 python3.12 python3.11; do
    command -v "$name" >/dev/null 2>&1 || continue
    if fits "$name"; then
      # The interpreter behind an active environment, so that .venv never hangs on another .venv.
      "$name" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)'
      return
    fi
    found="$found
  $name: $(version_of "$name")"
  done
  say "No Python that fits was found: 3.11, 3.12 or 3.13 with its venv module is needed. Found:${found:- none.}"
  exit 2
}

fingerprint() { # of all that the environment is made from; fails when its Python does not run
  "$PYTHON" -c 'import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
parts = [(root / name).read_bytes() for name in ("pyproject.toml", "scripts/constraints.txt")]
print(hashlib.sha256(b"\0".join([*parts, sys.version.encode(), bytes(root)])).hexdigest())' "$ROOT" 2>/dev/null
}

is_current() {
  [ -f "$STAMP" ] && [ ! -e "$UNFINISHED" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]
}

owner_is_gone() { # HOST:PROCESS
  [ "${1%:*}" = "$(uname -n)" ] && ! kill -0 "${1##*:}" 2>/dev/null
}

take_lock() {
  local owner told=""
  until ln -s "$(uname -n):$$" "$LOCK" 2>/dev/null; do
    [ -w "$ROOT" ] || { say "Cannot write in $ROOT, where .venv belongs."; exit 2; }
    owner="$(readlink "$LOCK" || true)"
    if [ -n "$owner" ] && owner_is_gone "$owner"; then
      rm -f "$LOCK"
      continue
    fi
    [ -n "$told" ] || say "Waiting for another set-up of this clone ($owner); if there is none, remove $LOCK"
    told=yes
    sleep 1
  done
  trap 'rm -f "$LOCK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

release_lock() {
  rm -f "$LOCK"
  trap - EXIT INT TERM
}

refuse_intel_mac() { # PYTHON: PyTorch has no packages for it, unless CDPO_EDU_PIP_ARGS names a place that has
  [ -z "${CDPO_EDU_PIP_ARGS:-}" ] || return 0
  if ! "$1" -c 'import platform, sys; sys.exit(sys.platform == "darwin" and platform.machine() == "x86_64")'; then
    say "This Python ($1) is built for Intel Macs, for which PyTorch has no packages since 2.3: on Apple silicon install a Python for arm64; on an Intel Mac use Linux on a hosted machine."
    exit 2
  fi
}

make_venv() { # keep a .venv that works; replace one that is broken or was left half-made
  local base
  if [ ! -e "$UNFINISHED" ] && fits "$PYTHON" && "$PYTHON" -m pip --version >/dev/null 2>&1; then
    return
  fi
  base="$(find_python)" || exit 2
  refuse_intel_mac "$base"
  say "set-up 1/3: making .venv with $base ($(version_of "$base"))"
  "$base" -m venv --clear "$VENV"
}

install() { # PIP ARGUMENTS
  # shellcheck disable=SC2086  # CDPO_EDU_PIP_ARGS is a list of words
  if ! (cd "$ROOT" && "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-input \
    ${CDPO_EDU_PIP_ARGS:-} -c "$CONSTRAINTS" "$@"); then
    say "set-up failed: pip's message is above. The same command starts again from what was downloaded."
    exit 1
  fi
}

make_environment() {
  local started=$SECONDS
  make_venv
  : >"$UNFINISHED"
  # torch first and by its pin: an open range may fetch another build of several gigabytes.
  say "set-up 2/3: installing torch, the largest download"
  install "$(grep '^torch==' "$CONSTRAINTS")" "$(grep '^hatchling==' "$CONSTRAINTS")"
  say "set-up 3/3: installing the other packages (some minutes)"
  install --no-build-isolation -e ".[dev,classroom,site]"
  fingerprint >"$STAMP"
  rm -f "$UNFINISHED"
  say "set-up done in $(clock $((SECONDS - started)))"
}

set_up() {
  is_current && return
  take_lock
  is_current || make_environment # another call may have made it while this one waited
  release_lock
}
