#!/usr/bin/env bash
# The whole addon on Arm: cross-built as a prebuild, loaded by Node for arm64 under QEMU's user
# emulation, where it boots a system. The tests of channels and waits run there too. For riscv64,
# which has no Node in the registry, the prebuild is built and looked at.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for machine in aarch64 riscv64; do need "$machine-linux-gnu-g++" "g++-$machine-linux-gnu"; done
need qemu-aarch64-static qemu-user-static
need readelf binutils
[ -d "$root/node_modules" ] || { echo "not ok - no node_modules: npm ci" && exit 1; }
qemu=(timeout --foreground --kill-after=5 "$limit" qemu-aarch64-static)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() { # WHAT COMMAND...
  local what=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    echo "ok - $what"
  else
    failed=$((failed + 1))
    echo "not ok - $what"
    tail -n 30 "$work/out" | sed 's/^/# /'
  fi
}

say "prebuilds for arm64 and riscv64"
built=$(prebuilds)
machine_is() { readelf -h "$built/linux-$1/vanity.node" | grep -E "Machine: +$2$"; }
check "the prebuild linux-arm64 is for AArch64" machine_is arm64 AArch64
check "the prebuild linux-riscv64 is for RISC-V (not loaded: there is no Node for it)" machine_is riscv64 RISC-V

# What an installed package has, with the prebuild in its place.
node=$(node_arm64)
node "$root/scripts/build.js" ts >/dev/null
mkdir "$work/package"
cp -r "$root"/{dist,schema,examples,package.json} "$work/package/"
cp -r "$built" "$work/package/prebuilds"
ln -s "$root/node_modules" "$work/package/node_modules"
vanity() {
  (cd "$work/package" && "${qemu[@]}" -L /usr/aarch64-linux-gnu "$node" dist/cli/main.js "$@")
}
asks() { node --input-type=module -e "
  import { readFileSync } from 'node:fs';
  import assert from 'node:assert';
  const it = JSON.parse(readFileSync('$work/json', 'utf8'));
  $1"; }

say "Node for arm64"
# Not asked for: wakes_late 0. Four emulated shards on two cores, beside builds, are held up between a
# store and its signal for longer than the millisecond after which a wake counts as late.
runs() {
  vanity run examples/flow-split/vanity.toml --duration 2s --quiet --json >"$work/json" &&
    asks "assert.equal(it.state, 'stopped');
      assert.equal(it.lost, 0);
      assert(it.shards.out.received > 1000, 'received ' + it.shards.out.received);
      for (const pool of Object.values(it.pools)) assert.equal(pool.leaked, 0);"
}
doctor() {
  local code=0
  vanity doctor --json >"$work/json" || code=$?
  [ "$code" -le 1 ] && asks "assert(/futex/.test(it.rows.find((r) => r.name === 'wait').found));"
}
check "Node for arm64 boots examples/flow-split, and loses no buffer" runs
check "Node for arm64 runs doctor" doctor

say "native tests for aarch64"
tests=(channel_test wait_test platform_test)
check "the native tests build for aarch64" make -C "$root" -s -j"$(nproc)" -f test/native/Makefile \
  CXX="aarch64-linux-gnu-g++ -static" CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar \
  OUT="$work/native" "${tests[@]/#/$work/native/}"
for test in "${tests[@]}"; do check "$test passes on aarch64" "${qemu[@]}" "$work/native/$test"; done
echo "$passed passed, $failed failed"
