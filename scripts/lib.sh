# shellcheck shell=bash
# Steps with their time, steps done once, pinned downloads. Sourced by the other scripts, not for a shell.

set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$DEFUSION_ROOT"

DEPS=$DEFUSION_ROOT/.deps
LOGS=$DEPS/logs
mkdir -p "$LOGS"

die() {
  printf '%s: %s\n' "scripts/$(basename "$0")" "$*" >&2
  exit 1
}

# The comment at the top of the calling script is its help.
usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
}

line() { # line WHAT OUTCOME
  printf '%-52s %s\n' "$1" "$2"
}

# attempt WHAT COMMAND...: runs it as one line with its time; its output goes to a log, which is shown when it fails.
# Sets STATUS and always returns 0. The command runs in a subshell under `set -e`.
attempt() {
  local what=$1 start=$SECONDS log
  shift
  log=$LOGS/$(basename "$0")-$(printf '%s' "$what" | tr -cs 'A-Za-z0-9.\n' -).log
  printf '%-52s ' "$what"
  set +e
  if [ -n "${VERBOSE:-}" ]; then
    printf '\n'
    (set -e; "$@") 2>&1 | tee "$log"
    STATUS=${PIPESTATUS[0]}
  else
    (set -e; "$@") >"$log" 2>&1
    STATUS=$?
  fi
  set -e
  if [ "$STATUS" = 0 ]; then
    printf 'ok %6d s\n' $((SECONDS - start))
  else
    printf 'FAILED after %d s\n' $((SECONDS - start))
    if [ -z "${VERBOSE:-}" ]; then tail -n 60 "$log" >&2; fi
    printf 'The whole output is in %s\n' "${log#"$DEFUSION_ROOT"/}" >&2
  fi
}

# build_step WHAT CARGO-COMMAND...: a step that takes minutes and is watched. On a terminal cargo shows its own bar; elsewhere
# one line a minute says how many crates are compiled. The whole output goes to the step's log.
build_step() {
  local what=$1
  shift
  if [ -t 2 ] && [ -z "${VERBOSE:-}" ]; then
    line "$what" "..."
    local start=$SECONDS
    "$@" || die "$what failed"
    line "$what" "$(printf 'ok %6d s' $((SECONDS - start)))"
    return
  fi
  local watcher
  watch_build &
  watcher=$!
  attempt "$what" "$@"
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  if [ "$STATUS" != 0 ]; then exit "$STATUS"; fi
}

# One line a minute: crates compiled so far, and the newest.
watch_build() {
  local minute=0 logs=("$LOGS/$(basename "$0")"-cargo-build*.log)
  while sleep 60; do
    minute=$((minute + 1))
    awk -v minute="$minute" '$1 == "Compiling" { n++; name = $2 } END { printf "\n  %d min: %d crates compiled or begun, now %s", minute, n, name }' "${logs[@]}" 2>/dev/null
  done
}

# step WHAT COMMAND...: an attempt that ends the script when it fails.
step() {
  attempt "$@"
  if [ "$STATUS" != 0 ]; then exit "$STATUS"; fi
}

# once FOLDER CONTENT WHAT COMMAND...: a step that makes FOLDER. It is left out while the folder is there and CONTENT, all
# that it is made from, is what it was.
once() {
  local stamp=$1/.made-from content=$2
  shift 2
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$content" ]; then
    line "$1" "there"
    return
  fi
  rm -f "$stamp"
  step "$@"
  printf '%s' "$content" >"$stamp"
}

# digest FILE...: one sha256 over the contents.
digest() {
  cat "$@" | sha256sum | cut -d ' ' -f 1
}

# The wheels of a requirements file, whatever Python is here: each is checked against the sha256 in the file.
# pinned_wheels REQUIREMENTS FOLDER
pinned_wheels() {
  local tag tags=()
  for tag in manylinux1 manylinux2010 manylinux2014 manylinux_2_{5,12,17,18,24,25,27,28}; do
    tags+=(--platform "${tag}_x86_64")
  done
  "$DEPS/python/bin/pip" download --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
    --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none "${tags[@]}" \
    --dest "$2" --requirement "$1"
}

# bench_program NAME: builds a benchmark program of the crate defusion-tests and prints its path.
bench_program() {
  cargo bench --quiet --locked --package defusion-tests --bench "$1" --no-run --message-format=json |
    python3 -c 'import json, sys
print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1])'
}

# malloc_tunables: the settings that defusion-launch gives to the workers of a CPU.
malloc_tunables() {
  paste -sd: launcher/src/malloc-tunables.txt
}

make_oracles() {
  python3 -m venv --clear "$DEPS/oracles"
  "$DEPS/oracles/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
    --requirement tests/oracles/requirements.txt
}

# PyTorch and the other implementations that tests and benchmarks compare with, in .deps/oracles.
python_oracles() {
  once "$DEPS/oracles" "$(python3 --version) $(digest tests/oracles/requirements.txt)" "Python's oracles" make_oracles
}

# One script at a time works on .deps; the lock is free again when the script ends.
lock_deps() {
  exec 9>"$DEPS/lock"
  if ! flock --nonblock 9; then
    line "another script is at work on .deps" "waiting"
    flock 9
  fi
}
