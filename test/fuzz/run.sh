#!/bin/sh
# Builds every fuzzer of this folder with ASan and UBSan, runs a fixed number of damaged inputs from a
# fixed seed through each, and prints "N passed, N failed": `test/fuzz/run.sh [inputs] [seed]`.
cd "$(dirname "$0")/../.." || exit 2
out=.cache/native/address
passed=0
failed=0
for source in test/fuzz/*_fuzz.cpp; do
  program="$out/$(basename "$source" .cpp)"
  if make --no-print-directory -s -f test/native/Makefile SANITIZE=address "OUT=$out" "$program" &&
    "$program" test/fixtures/captures "${1:-50000}" "${2:-1}"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "not ok - $source"
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
