# native/port/ivshmem on QEMU's ivshmem-doorbell, with ivshmem_peer.py on the host as the accelerator: alone under ASan
# and UBSan, and by a program in a run.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/ivshmem_test
# host: node scripts/build.js
# host: c++ -std=c++20 -O2 -Wall -Wextra -Werror -shared -fPIC -I native/include -I native -o test/guest/programs/mailbox.so test/guest/programs/mailbox.cpp
# needs: python3
# beside: python3 test/guest/ivshmem_peer.py SCRATCH/ivshmem
# qemu: -chardev socket,id=shared,path=SCRATCH/ivshmem -device ivshmem-doorbell,chardev=shared,vectors=4
. test/guest/guest.sh

export VANITY_IVSHMEM=$(pci 1af4:1110)
bind_vfio "$VANITY_IVSHMEM" || exit 1
step .cache/native/address/guest/ivshmem_test
step node test/guest/ivshmem.js
exit $failures
