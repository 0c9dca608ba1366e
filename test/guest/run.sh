#!/usr/bin/env bash
# Every job in a guest of its own, or those that are named, two at a time; "N passed, N failed" last. A job that
# prints such lines itself is counted by them, any other by its exit code. A job that needs what is not installed
# is skipped with the reason, and failed under CI.
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
if ! command -v qemu-system-x86_64 >/dev/null && [ -z "${CI:-}" ]; then
  echo "skipped - no qemu-system-x86_64; type: apt-get install --no-install-recommends qemu-system-x86 seabios"
  echo "0 passed, 0 failed"
  exit 0
fi
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$logs"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
# "# full: WHAT" at a job's head: too slow for each time.
[ $# -gt 0 ] || for job in jobs/*.sh; do
  full=$(sed -n 's/^# full: //p' "$job")
  if [ -n "$full" ] && [ -z "${VANITY_FULL:-}" ]; then echo "# left out: $full (--full)"; else set -- "$@" "$(basename "$job" .sh)"; fi
done

# What jobs want done on the host, each command once, whoever of them wants it.
for name in "$@"; do sed -n 's/^# host: //p' "jobs/$name.sh"; done | awk '!seen[$0]++' | while read -r command; do
  (cd ../.. && eval "$command") </dev/null >"$logs/host" 2>&1 && continue
  cat "$logs/host"
  echo "the host's part failed: $command"
  exit 1
done || { echo "0 passed, 1 failed" && exit 1; }
export VANITY_GUEST_PREPARED=1

# One after the other finishes, so what it said is kept together and comes when it has ended.
job() { # NAME
  local start=$SECONDS code
  ./run "$1" >"$logs/$1.log" 2>&1
  code=$?
  # QEMU has died of an assertion of its own, which says nothing of the job.
  if [ $code -eq 134 ]; then
    grep Assertion "$logs/$1.log" | sed 's/^/# QEMU died, and the job runs once more: /' >"$logs/$1.died"
    ./run "$1" >"$logs/$1.log" 2>&1
    code=$?
    cat "$logs/$1.died" >>"$logs/$1.log"
  fi
  # CI's machines stall any job that has a clock: what failed runs once more, and it is said that it did.
  if [ $code -ne 0 ] && [ $code -ne 77 ] && [ -n "${VANITY_AGAIN:-}" ]; then
    grep -B 4 '^not ok\|[^0-9][1-9][0-9]* failed\|rror' "$logs/$1.log" | head -n 40 | sed 's/^/# before: /' >"$logs/$1.before"
    ./run "$1" >"$logs/$1.log" 2>&1
    code=$?
    [ $code -ne 0 ] || { cat "$logs/$1.before"; echo "# unsteady: $1 failed, then passed"; } >>"$logs/$1.log"
  fi
  echo "$code $((SECONDS - start))" >"$logs/$1.end"
}
passed=0
failed=0
tell() { # NAME
  local code seconds p f
  read -r code seconds <"$logs/$1.end"
  echo "# $1"
  cat "$logs/$1.log"
  read -r p f < <(awk '/^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 } END { print p + 0, f + 0 }' "$logs/$1.log")
  [ "$code" -eq 77 ] && [ -z "${CI:-}" ] && return
  [ "$code" -ne 0 ] && [ "$f" -eq 0 ] && f=1
  [ "$code" -eq 0 ] && [ "$p" -eq 0 ] && [ "$f" -eq 0 ] && p=1
  passed=$((passed + p))
  failed=$((failed + f))
  echo "# $1: exit code $code, $p passed, $f failed, $seconds s"
}
tell_ended() {
  local end
  for end in "$logs"/*.end; do
    [ -e "$end" ] || continue
    tell "$(basename "$end" .end)"
    rm "$end"
  done
}
running=0
for name in "$@"; do
  if [ $running -eq 2 ]; then
    wait -n
    running=1
    tell_ended
  fi
  job "$name" &
  running=$((running + 1))
done
wait
tell_ended
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
