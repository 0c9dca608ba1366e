# For jobs, after guest.sh and hosts.sh: two hosts, west and east, that reach each other only through Vanity.
#   west --wire 0-- LEFT (Vanity) RIGHT --wire 1-- east
# The job's head has `# nic: west 0 ...` and `# nic: east 1 ...`, and NICs for Vanity on both wires.

host west "$nic_west" 10.0.0.1
host east "$nic_east" 10.0.0.2
manifest=examples/nic-forward/vanity.toml
cc -O2 -shared -fPIC -I native/include -o examples/nic-forward/cross.so examples/nic-forward/cross.c || exit 1

size() { stat -c %s "$scratch/$1.pcap"; }
report=/run/forward.json
vanity() { node dist/cli/main.js "$@"; }

# start_forwarder ARGUMENT...: of `vanity run`; comes back when the system runs.
start_forwarder() {
  node dist/cli/main.js run "$manifest" --quiet --json --set system.oversubscribe=true "$@" >$report 2>/run/forward.err &
  forwarder=$!
  until_true 60 started
  running && return
  cat /run/forward.err $report
  kill -KILL $forwarder 2>/dev/null
  return 1
}
running() { vanity stats nic-forward >/dev/null 2>&1; }
started() { ! kill -0 $forwarder 2>/dev/null || running; }
stop_forwarder() {
  kill $forwarder
  wait $forwarder
}

# What the report of a run says: a JavaScript condition over `it`.
says() { CONDITION=$1 REPORT=$report node -e '
  const it = JSON.parse(require("fs").readFileSync(process.env.REPORT, "utf8"));
  if (eval(process.env.CONDITION)) process.exit(0);
  const { state, lost, failures, ports, pools } = it;
  console.log("it says:", JSON.stringify({ state, lost, failures, ports, pools }));
  process.exit(1);'; }

# talk SECONDS: what two hosts do with each other. Less is under way at a time than any ring holds: where a NIC has no
# buffer left, QEMU queues, and a packet that comes when there is one again overtakes those that wait.
talk() {
  on west ping -c 5 -i 0.2 -W 2 10.0.0.2 | tail -n 2 && on west ping -c 20 -i 0.01 -s 1400 -q 10.0.0.2 | tail -n 2 || return 1
  on east iperf3 -s -1 -D --logfile /run/iperf3.log && sleep 1 &&
    on west iperf3 -c 10.0.0.2 -t "$1" -w 48K -f m >/run/iperf3.txt && grep -E 'sender|receiver' /run/iperf3.txt ||
    { cat /run/iperf3.txt /run/iperf3.log && return 1; }
}

passed=0
failed=0
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)) && echo "ok $name"; else failed=$((failed + 1)) && echo "not ok $name"; fi
}

# forward_case NAME SECONDS ARGUMENT...: the two talk through a forwarder; what left one arrived at the other, the
# same, once and in order; nothing was lost and all buffers are home.
forward_case() {
  local name=$1 seconds=$2 west east
  shift 2
  echo "## $name"
  on west ip neigh flush all
  on east ip neigh flush all
  west=$(size west) east=$(size east)
  check "$name: it starts" start_forwarder "$@" || return
  check "$name: ARP, ping and iperf3" talk "$seconds"
  sleep 0.5
  check "$name: it stops" stop_forwarder
  check "$name: nothing lost, all buffers home" says \
    'it.lost === 0 && Object.values(it.pools).every((pool) => pool.leaked === 0 && pool.taken === pool.returned)'
  check "$name: west to east, packet by packet" node test/guest/captures.js \
    "$scratch/west.pcap@$west" "$scratch/east.pcap@$east" "$(mac_of west)"
  check "$name: east to west, packet by packet" node test/guest/captures.js \
    "$scratch/east.pcap@$east" "$scratch/west.pcap@$west" "$(mac_of east)"
}
finish() {
  echo "$passed passed, $failed failed"
  exit "$((failed > 0))"
}
