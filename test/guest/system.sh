# For jobs, after guest.sh and hosts.sh: `vanity run` beside whatever else a job does, and what its report says.
manifest=examples/nic-forward/vanity.toml
system=nic-forward
cc -O2 -Wall -Wextra -shared -fPIC -I native/include -o examples/nic-forward/cross.so examples/nic-forward/cross.c || exit 1

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
running() { vanity stats "$system" >/dev/null 2>&1; }
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
whole() { says 'it.lost === 0 && Object.values(it.pools).every((pool) => pool.leaked === 0 && pool.taken === pool.returned)'; }
same_packets() { node test/guest/captures.js "$scratch/$1.pcap@$2" "$scratch/$3.pcap@$4" "$5"; } # FROM BYTES TO BYTES MAC

# For the --set of nic-forward: of_both backend=group, rings yes.
of_both() { local one; for one in "$@"; do echo "--set devices.left.$one --set devices.right.$one"; done; }
rings() { echo "--set ports.left.packed=$1 --set ports.right.packed=$1"; }

passed=0
failed=0
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)) && echo "ok $name"; else failed=$((failed + 1)) && echo "not ok $name"; fi
}
finish() {
  echo "$passed passed, $failed failed"
  exit "$((failed > 0))"
}
