# native/port/ivshmem on QEMU's ivshmem-doorbell, with ivshmem_peer.py on the host as the accelerator.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/ivshmem_test
# needs: python3
# beside: python3 test/guest/ivshmem_peer.py SCRATCH/ivshmem
# qemu: -chardev socket,id=shared,path=SCRATCH/ivshmem -device ivshmem-doorbell,chardev=shared,vectors=4
. test/guest/guest.sh

export VANITY_IVSHMEM=$(pci 1af4:1110)
bind_vfio "$VANITY_IVSHMEM" || exit 1
.cache/native/address/guest/ivshmem_test
