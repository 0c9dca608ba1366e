# QEMU's edu in the hands of a shard that is a process of its own: it is worked, its process is killed at its work, and
# Linux wants it back; then the same by `vanity run`, which also runs a TypeScript program that throws at its work.
# host: node scripts/build.js
# host: make -s -j2 -f test/native/Makefile .cache/native/release/guest/process_device_test .cache/native/release/vanity-shard .cache/native/release/modules/worker.so
# captures: none
# limit: 600
. test/guest/guest.sh

export VANITY_EDU=$edu
bind_vfio "$edu" || exit 1
step .cache/native/release/guest/process_device_test

node dist/cli/main.js run test/guest/process-device.toml --duration 120s --json >/tmp/end.json 2>/tmp/said &
system=$!
# Four processes, one after the other, each at its work.
killed=0 last=
while [ $killed -lt 4 ] && kill -0 $system 2>/dev/null; do
  sleep 1.5
  for comm in /proc/[0-9]*/comm; do
    name=
    { read -r name <"$comm"; } 2>/dev/null
    process=${comm%/comm} process=${process#/proc/}
    [ "$name" = worker ] && [ "$process" != "$last" ] || continue
    kill -KILL "$process" && last=$process killed=$((killed + 1))
  done
done
sleep 3
kill -INT $system
wait $system
echo "vanity run: exit code $?"
grep -m 1 'killed by SIGKILL' /tmp/said || cat /tmp/said
step node -e '
  const { shards } = JSON.parse(require("fs").readFileSync("/tmp/end.json", "utf8"));
  const { worker, source, end } = shards;
  const { rounds, wrong, dirty } = worker.user;
  console.log(`faults ${worker.faults}, restarts ${worker.restarts}, rounds ${rounds}; made ${source.received}, ended ${end.consumed}`);
  const well = worker.faults === 4 && worker.restarts === 4 && rounds > 4 && wrong === 0 && dirty === 0 &&
    source.received === end.consumed && end.consumed > 1000 && source.faults + end.faults === 0;
  console.log(well ? "1 passed, 0 failed" : "0 passed, 1 failed");
  process.exit(well ? 0 : 1);
'

# Each of its programs throws while the device copies into memory that the next one has.
node dist/cli/main.js run test/guest/programs/thrower.toml --duration 20s --json >/tmp/end.json 2>/tmp/said
echo "vanity run: exit code $?"
grep -m 1 'at its work' /tmp/said || cat /tmp/said
step node -e '
  const { shards } = JSON.parse(require("fs").readFileSync("/tmp/end.json", "utf8"));
  const { thrower, source, end } = shards;
  const { rounds, dirty } = thrower.user;
  console.log(`faults ${thrower.faults}, restarts ${thrower.restarts}, rounds ${rounds}, dirty ${dirty}; made ${source.received}, ended ${end.consumed}`);
  const well = thrower.restarts >= 4 && rounds === thrower.faults && dirty === 0 &&
    source.received === end.consumed && end.consumed > 1000 && source.faults + end.faults === 0;
  console.log(well ? "1 passed, 0 failed" : "0 passed, 1 failed");
  process.exit(well ? 0 : 1);
'
exit $failures
