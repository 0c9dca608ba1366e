#!/usr/bin/env bash
# "N passed, N failed" last. Skipped with the reason where there is no DPDK, and failed under CI.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
if ! command -v dpdk-testpmd >/dev/null && [ -z "${CI:-}" ]; then
  echo "skipped - no dpdk-testpmd; type: apt-get install --no-install-recommends dpdk-dev"
  echo "0 passed, 0 failed"
  exit 0
fi
node scripts/build.js >/dev/null || { echo "0 passed, 1 failed" && exit 1; }
exec node test/vhost/dpdk.js
