#!/bin/sh
# Runs every model check of this folder and prints "N passed, N failed". Installs nothing: what needs
# a checker that isn't here is skipped (apt-get install relacy-dev spin).
cd "$(dirname "$0")/../.." || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if [ -f /usr/include/relacy/relacy.hpp ]; then
  for source in test/model/*.cpp; do
    echo "# $source"
    # -w: Relacy is older than the warnings.
    if ! "${CXX:-g++}" -std=c++20 -O2 -w -Inative/include -Inative "$source" -o "$work/check"; then
      echo "not ok - $source does not compile"
      failed=$((failed + 1))
      continue
    fi
    "$work/check" >"$work/out"
    grep -v '^[0-9]* passed, [0-9]* failed$' "$work/out"
    last=$(tail -n 1 "$work/out")
    case "$last" in
    *" passed, "*" failed")
      passed=$((passed + $(echo "$last" | cut -d ' ' -f 1)))
      failed=$((failed + $(echo "$last" | cut -d ' ' -f 3)))
      ;;
    *)
      echo "not ok - $source ended early"
      failed=$((failed + 1))
      ;;
    esac
  done
else
  echo "skipped - no Relacy (apt-get install relacy-dev)"
fi

# spin NAME EXPECTED DEFINES: an exhaustive search, in which a mutant must have errors.
spin_check() {
  name=$1
  expected=$2
  shift 2
  echo "$PWD/test/model/wait.pml" >"$work/path"
  (cd "$work" && spin "$@" -a "$(cat path)" && "${CC:-gcc}" -O2 -w -o pan pan.c && ./pan) >"$work/out" 2>&1
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$work/out")
  states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' "$work/out")
  if { [ "$expected" = clean ] && [ "$errors" = 0 ]; } ||
    { [ "$expected" = found ] && [ "${errors:-0}" -gt 0 ]; }; then
    passed=$((passed + 1))
    echo "ok - $name: $errors errors in ${states:-?} states"
  else
    failed=$((failed + 1))
    echo "not ok - $name: ${errors:-no answer, see: spin -a} errors"
  fi
}

if command -v spin >/dev/null; then
  echo "# test/model/wait.pml"
  spin_check "membarrier" clean -DWAITER=2 -DPRODUCER=0
  spin_check "fences on both sides" clean -DWAITER=1 -DPRODUCER=1
  spin_check "fence in the waiter only" found -DWAITER=1 -DPRODUCER=0
  spin_check "fence in the producer only" found -DWAITER=0 -DPRODUCER=1
  spin_check "no fence at all" found -DWAITER=0 -DPRODUCER=0
  spin_check "membarrier, two producers" clean -DWAITER=2 -DPRODUCER=0 -DPRODUCERS=2
  spin_check "fences on both sides, two producers" clean -DWAITER=1 -DPRODUCER=1 -DPRODUCERS=2
  spin_check "fence in the waiter only, two producers" found -DWAITER=1 -DPRODUCER=0 -DPRODUCERS=2
  spin_check "fence in the producers only" found -DWAITER=0 -DPRODUCER=1 -DPRODUCERS=2
  spin_check "no second look" found -DLOOK=0
  spin_check "no second look, fences on both sides" found -DWAITER=1 -DPRODUCER=1 -DLOOK=0
else
  echo "skipped - no spin (apt-get install spin)"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
