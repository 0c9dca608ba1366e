# For jobs, after guest.sh and hosts.sh: DPDK's testpmd, as many as a job wants, each driven by its prompt.
declare -A testpmd_pid=() testpmd_in=()

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

# start_testpmd NAME EAL-ARGUMENT... -- ARGUMENT...: comes back when there is a prompt.
start_testpmd() {
  local name=$1 fd
  shift
  [ -d /run/dpdk-all ] || few_drivers || return 1
  rm -f "/run/$name.in"
  mkfifo "/run/$name.in"
  dpdk-testpmd --no-telemetry --in-memory -n 1 "$@" -i <"/run/$name.in" >"/run/$name.log" 2>&1 &
  testpmd_pid[$name]=$!
  exec {fd}>"/run/$name.in"
  testpmd_in[$name]=$fd
  until_true 60 testpmd_says "$name" 'testpmd> ' && ! gone "${testpmd_pid[$name]}" ||
    { cat "/run/$name.log" && return 1; }
}
testpmd_says() { grep -q "$2" "/run/$1.log" || gone "${testpmd_pid[$1]}"; }
testpmd() { # NAME COMMAND...
  local fd=${testpmd_in[$1]}
  shift
  echo "$*" >&"$fd"
}
stop_testpmd() { # NAME
  local name=$1 pid=${testpmd_pid[$1]} fd=${testpmd_in[$1]}
  testpmd "$name" stop
  testpmd "$name" quit
  exec {fd}>&-
  until_true 10 gone "$pid" || kill -KILL "$pid"
  wait "$pid" 2>/dev/null
}
gone() { ! kill -0 "$1" 2>/dev/null; }
