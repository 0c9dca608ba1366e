#!/usr/bin/env bash
# The simulator and what it holds: exhausts the small cases, runs random executions from fresh seeds
# for SIM_SECONDS (180) of processor time, and finds the mutants. Prints "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=.cache/sim/native
keep=.cache/sim/failures
cases="ring wait doorbell interrupt tenure relay handover"
passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# add COMMAND...: a suite that says itself how much of it passed.
add() {
  "$@" >"$work/out" 2>&1
  tally "$work/out" "$@"
}
tally() { # OUTPUT COMMAND...
  local line
  grep -v '^[0-9]* passed, [0-9]* failed$' "$1"
  line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
  if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
  else
    failed=$((failed + 1))
    echo "not ok - ${*:2} ended early"
  fi
}
check() { # NAME COMMAND...
  if "${@:2}"; then
    passed=$((passed + 1))
    echo "ok - $1"
  else
    failed=$((failed + 1))
    echo "not ok - $1"
  fi
}

mkdir -p "$keep"
check "builds" make -s -j2 -f test/sim/Makefile "OUT=$out" || exit 1

echo "# the memories"
add "$out/litmus_sim"
for name in $cases; do
  echo "# $name"
  add "$out/${name}_sim" --keep "$keep"
done

# 32 bits: what every program here takes.
seed=${SIM_SEED:-$((($(date +%s) * 1000 + RANDOM) % 4294967296))}
seconds=${SIM_SECONDS:-180}
echo "# fresh seeds for $seconds s of processor time: SIM_SEED=$seed bash test/sim/run.sh runs them again"
for name in $cases; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  "$out/${name}_sim" --time "$((seconds / 7))" --seed "$seed" --keep "$keep" >"$work/$name" 2>&1 &
done
wait
for name in $cases; do
  tally "$work/$name" "${name}_sim" --seed "$seed"
done

echo "# whole systems"
check "the policy build is there" node scripts/build.js || exit 1
for manifest in examples/flow-split/vanity.toml test/sim/systems/*.toml; do
  name=$(basename "$(dirname "$manifest")")-$(basename "$manifest" .toml)
  check "$name" node dist/cli/main.js sim "$manifest" --seed "$seed" --keep "$keep/$name.repro"
done

echo "# what a failure gives"
add node test/sim/failures.js
add node test/sim/system-failures.js
echo "# the policy's cost"
add node test/sim/cost.js

# The same executions, step by step, on another processor.
if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null; then
  check "builds for aarch64" make -s -j2 -f test/sim/Makefile OUT=.cache/sim/aarch64 \
    CXX=aarch64-linux-gnu-g++ OPTIMIZE=-O1 LINK=-static .cache/sim/aarch64/doorbell_sim .cache/sim/aarch64/interrupt_sim
  for name in doorbell interrupt; do
    "$out/${name}_sim" --log --seed "$seed" --schedules 300 >"$work/here"
    qemu-aarch64-static ".cache/sim/aarch64/${name}_sim" --log --seed "$seed" --schedules 300 >"$work/there"
    [ -s "$work/here" ] || echo "no log" >"$work/there"
    check "$name: $(wc -l <"$work/here") steps are the same on aarch64" cmp "$work/here" "$work/there"
  done
  check "the policy build for aarch64" make -s -j2 -f test/sim/system.mk OUT=.cache/sim/system-aarch64 \
    CXX=aarch64-linux-gnu-g++ OPTIMIZE=-O1 LINK=-static
  system=test/sim/systems/split.toml
  node test/sim/system-text.js "$system" >"$work/system"
  build/Release/vanity-sim "$work/system" --seed "$seed" --schedules 30 --log "$work/here" >/dev/null
  qemu-aarch64-static .cache/sim/system-aarch64/vanity-sim "$work/system" --seed "$seed" --schedules 30 \
    --log "$work/there" >/dev/null
  [ -s "$work/here" ] || echo "no log" >"$work/there"
  check "$system: $(wc -l <"$work/here") steps are the same on aarch64" cmp "$work/here" "$work/there"
else
  echo "skipped - no aarch64 (apt-get install g++-aarch64-linux-gnu qemu-user-static)"
fi

echo "# mutants"
add node test/sim/mutants.js
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
