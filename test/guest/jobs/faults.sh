# Links that flap and errors of the bus, under load: each driver in a whole System, under ASan and UBSan.
# host: make -s -j2 -f test/native/Makefile SANITIZE=address .cache/native/address/guest/faults_test
# kernel: own
# captures: none
# limit: 400
# nic: ours 0 e1000e
# nic: peer 0 virtio-net-pci
# nic: ours-v 1 virtio-net-pci,aer=on
# nic: peer-v 1 virtio-net-pci
. test/guest/guest.sh
. test/guest/load.sh

.cache/native/address/guest/faults_test
