# A System that drives QEMU's edu by a native module: INTx with both EOI policies, MSI, a storm, starts that fail, a
# shard that never stops, SIGKILL, and an unbind under load.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/interrupts_test .cache/native/address/modules/raiser.so .cache/native/address/modules/endless.so
# limit: 400
. test/guest/guest.sh

export VANITY_EDU=$edu
bind_vfio "$edu" || exit 1
.cache/native/address/guest/interrupts_test
