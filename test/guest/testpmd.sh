# For jobs: DPDK's testpmd, driven by its prompt.

# DPDK loads every driver there is, which takes half a minute from a folder of the host: leave it those it needs.
few_drivers() {
  local all=/run/dpdk-all few=/run/dpdk-few folder name
  folder=$(echo /usr/lib/*/dpdk/pmds-*)
  chmod go-w /run  # DPDK takes nothing from a folder that everybody writes to
  mkdir $all $few && mount --bind "$folder" $all || return 1
  for name in bus_pci bus_vdev net_virtio net_e1000 mempool_ring; do
    ln -s $all/librte_$name.so.*.* $few/
  done
  mount --bind $few "$folder" && export LD_LIBRARY_PATH=$all  # what is linked against is found there
}

# start_testpmd EAL-ARGUMENT... -- ARGUMENT...: comes back when there is a prompt.
start_testpmd() {
  [ -d /run/dpdk-all ] || few_drivers || return 1
  rm -f /run/testpmd.in
  mkfifo /run/testpmd.in
  dpdk-testpmd --no-telemetry --in-memory -n 1 "$@" -i </run/testpmd.in >/run/testpmd.log 2>&1 &
  testpmd=$!
  exec 8>/run/testpmd.in
  until_true 60 testpmd_says 'testpmd> ' || { cat /run/testpmd.log && return 1; }
}
testpmd_says() { grep -q "$1" /run/testpmd.log || ! kill -0 $testpmd; }
testpmd() { echo "$*" >&8; }
stop_testpmd() {
  testpmd stop
  testpmd quit
  exec 8>&-
  until_true 10 gone $testpmd || kill -KILL $testpmd
  wait $testpmd 2>/dev/null
}
gone() { ! kill -0 "$1" 2>/dev/null; }
