#!/usr/bin/env bash
# Every job in a guest of its own, or those that are named; "N passed, N failed" last. A job that prints such
# lines itself is counted by them, any other by its exit code. A job that needs what is not installed is
# skipped with the reason, and failed under CI.
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
if ! command -v qemu-system-x86_64 >/dev/null && [ -z "${CI:-}" ]; then
  echo "skipped - no qemu-system-x86_64; type: apt-get install --no-install-recommends qemu-system-x86 seabios"
  echo "0 passed, 0 failed"
  exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
[ $# -gt 0 ] || for job in jobs/*.sh; do set -- "$@" "$(basename "$job" .sh)"; done
for name in "$@"; do
  start=$SECONDS
  echo "# $name"
  ./run "$name" 2>&1 | tee "$log"
  code=${PIPESTATUS[0]}
  read -r p f < <(awk '/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 } END { print p + 0, f + 0 }' "$log")
  [ "$code" -eq 77 ] && [ -z "${CI:-}" ] && continue
  [ "$code" -ne 0 ] && [ "$f" -eq 0 ] && f=1
  [ "$code" -eq 0 ] && [ "$p" -eq 0 ] && [ "$f" -eq 0 ] && p=1
  passed=$((passed + p))
  failed=$((failed + f))
  echo "# $name: exit code $code, $p passed, $f failed, $((SECONDS - start)) s"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
