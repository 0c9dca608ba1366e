# A Linux that gives out protection keys but ends a confined thread at its first signal: found out, and refused.
# host: make -s -j2 -f test/native/Makefile .cache/native/release/pkey_test
# captures: none
. test/guest/guest.sh

grep -q ' ospke' /proc/cpuinfo || exit 1
.cache/native/release/pkey_test keys | tee /tmp/said
grep -q 'this Linux ends a thread' /tmp/said
