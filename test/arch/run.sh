#!/usr/bin/env bash
# Runs every target, emulators side by side, and prints "N passed, N failed": run.sh [--full]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${1:-}" = --full ] && export VANITY_FULL=1
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT

one() { # TARGET
  local start=$SECONDS
  "$here/run" "$1" >"$logs/$1" || true
  echo "== $1 ($((SECONDS - start)) s)"
  cat "$logs/$1"
}
# The x86 guests need a kernel, which takes minutes to build where none is cached: one lane for
# them, one for the others.
lane() {
  local target
  for target in "$@"; do one "$target"; done
}
lane waitpkg monitorx &
lane riscv64 riscv64-zawrs aarch64 aarch64-system node-arm64 native &
wait
cat "$logs"/* | awk '/^[0-9]+ passed, [0-9]+ failed$/ { suites++; passed += $1; failed += $3 }
  END {
    failed += 8 - suites  # what ended without a last line
    print passed + 0 " passed, " failed + 0 " failed"
    exit failed > 0
  }'
