# Programs that are confined by protection keys write where they may not, under load: in the core, and in a system that is
# run. QEMU's processor has the keys; Debian's Linux 6.1 cannot be used with them (jobs/pkey-old.sh).
# host: node scripts/build.js
# host: make -s -j2 -f test/native/Makefile .cache/native/release/pkey_test .cache/native/release/modules/strayer.so .cache/native/release/modules/writer.so .cache/native/release/modules/reader.so
# kernel: own
# captures: none
. test/guest/guest.sh

export VANITY_PKEY=1
step .cache/native/release/pkey_test

node dist/cli/main.js doctor | grep "protection keys"
node dist/cli/main.js run test/guest/pkey.toml --duration 5s --json >/tmp/end.json 2>/tmp/said
echo "vanity run: exit code $?"
grep -m 1 'it wrote where it may not' /tmp/said || cat /tmp/said
# All that was made ended, or was dropped: what it held when it faulted, and what waited for it when the stop came first. The
# others never faulted.
step node -e '
  const { shards, pools } = JSON.parse(require("fs").readFileSync("/tmp/end.json", "utf8"));
  const { source, stray, script, end } = shards;
  console.log(`faults ${stray.faults}, restarts ${stray.restarts}; made ${source.received}, ended ${end.consumed}, dropped ${stray.dropped}`);
  const well = stray.faults > 1 && stray.restarts >= stray.faults - 1 && stray.dropped >= stray.dropped_fault &&
    source.received === end.consumed + stray.dropped && end.consumed > 1000 &&
    source.faults + script.faults + end.faults === 0 && Object.values(pools).every(({ leaked }) => leaked === 0);
  console.log(well ? "1 passed, 0 failed" : "0 passed, 1 failed");
  process.exit(well ? 0 : 1);
'
exit $failures
