#!/bin/sh
# Compiles the core's sources for every architecture that has a cross compiler here.
# Executes nothing. Prints "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 2
passed=0
failed=0
for machine in x86_64 aarch64 riscv64; do
  compiler="$machine-linux-gnu-g++"
  if ! command -v "$compiler" >/dev/null; then
    echo "skipped - $machine: no $compiler (apt-get install g++-$(echo $machine | tr _ -)-linux-gnu)"
    continue
  fi
  for source in $(grep '^native/' native/sources.txt | grep -v '^native/addon/'); do
    if "$compiler" -std=c++20 -O2 -fPIC -Wall -Wextra -Werror -Inative/include -Inative \
      -c "$source" -o /dev/null; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      echo "not ok - $machine $source"
    fi
  done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
