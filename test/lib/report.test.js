import test from 'ava';
import { lostPackets, summarize, summaryLines } from '../../dist/report/summary.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { parseDuration, quantity, si, time, whole } from '../../dist/text/format.js';
import { table } from '../../dist/text/table.js';
import { golden } from './helpers/golden.js';
import { labSegment, nicRows, writeSegment } from './helpers/segment.js';

const read = (rows) => new Segment(writeSegment({}, rows)).read();
const ended = new Segment(labSegment({ state: 'stopped', pid: 4711 })).read();

test('numbers', (t) => {
  t.deepEqual([0, 7, 0.5, 999, 1000, 12_345, 999_499, 999_600, 1.5e9, -2000, Number.NaN].map(si), [
    '0',
    '7',
    '0.50',
    '999',
    '1.00 k',
    '12.3 k',
    '999 k',
    '1.00 M',
    '1.50 G',
    '-2.00 k',
    '-',
  ]);
  t.is(quantity(990, 'pps'), '990 pps');
  t.is(quantity(12_345, 'pps'), '12.3 kpps');
  t.is(whole(1234567), '1,234,567');
  t.is(whole(2n ** 64n - 1n), '18,446,744,073,709,551,615');
  t.deepEqual([5, 50, 1500, 2.5e6, 3e9, 65e9, 7500e9].map(time), [
    '5.0 ns',
    '50 ns',
    '1.5 us',
    '2.5 ms',
    '3.0 s',
    '1 min 5 s',
    '2 h 5 min',
  ]);
});

test('durations', (t) => {
  t.deepEqual(
    ['500ms', '5s', '1.5s', '2m', '1h', '596h'].map((text) => parseDuration(text, '--duration')),
    [500, 5000, 1500, 120_000, 3_600_000, 2_145_600_000],
  );
  for (const bad of ['', '5', 's', '-5s', '0s', '0.1ms', '5 s', '5sec', '1e3s', '597h', 'NaNs']) {
    const error = t.throws(() => parseDuration(bad, '--duration'), { code: 'VANITY_E_USAGE' }, bad);
    t.is(error.exitCode, 2);
  }
});

test('tables align', (t) => {
  t.deepEqual(
    table(
      [{ title: 'name' }, { title: 'n', right: true }],
      [
        ['a', '1'],
        ['bcdefg', '100'],
      ],
    ),
    ['name      n', 'a         1', 'bcdefg  100'],
  );
});

test('lost: what had no room, counted where it was lost', (t) => {
  t.is(lostPackets(ended), 10);
  const lost = (rows) => lostPackets(read(rows));
  t.is(lost({ shards: [{ received: 100, consumed: 90, dropped: 10 }] }), 10);
  t.is(lost({ queues: [{ direction: 'rx', dropped: 3, oversize: 2 }] }), 5);
  t.is(lost({ queues: [{ direction: 'tx', dropped: 3, oversize: 2, invalid: 1 }] }), 6);
  t.is(lost({ pools: [{ leaked: 4 }] }), 4);
});

test('lost: neither what is inside, discarded, malformed or multiplied, nor messages', (t) => {
  const snapshot = read({
    queues: [{ direction: 'rx', packets: 50, invalid: 7, no_buffer: 9 }],
    shards: [
      { received: 50, filtered: 20, sent: 30 },
      { received: 20, sent: 40 },
    ],
    channels: [{ from: 0, to: 1, carries_packets: 0, sent: 500, received: 400, dropped: 100 }],
  });
  t.is(lostPackets(snapshot), 0);
});

test('the object of run --json has every counter by its name', (t) => {
  const failure = { code: 'VANITY_E_X', message: 'm', hint: 'h' };
  const summary = summarize(ended, { failures: [failure] });
  t.is(summary.system, 'lab');
  t.is(summary.state, 'stopped');
  t.is(summary.duration_s, 1);
  t.is(summary.lost, 10);
  t.is(summary.shards.rx.received, 1000);
  t.is(summary.shards.rx.ns_per_packet, 20);
  t.is(summary.shards.rx.core, 1);
  t.is(summary.shards.tx.core, null);
  t.deepEqual(summary.shards.rx.user, { hits: 7 });
  t.deepEqual(summary.shards.rx.burst, { p50: 32, p99: 32, max: 32 });
  t.is(summary.shards.rx.service_ns.p50, 103);
  t.is(summary.shards.rx.service_ticks, undefined);
  t.is(summary.channels.link.from, 'rx');
  t.is(summary.ports.in.state, 'up');
  t.is(summary.ports.in.rx_packets, 1000);
  t.is(summary.ports.in.rx_no_buffer, 0);
  t.is(summary.ports.out.tx_bytes, 63_360);
  t.is(summary.pools['in.0'].taken, 1000);
  t.deepEqual(summary.failures, [failure]);
});

test('the tables that end a run', (t) => {
  golden(t, 'report/summary.txt', `${summaryLines(ended).join('\n')}\n`);
});

test('devices, vectors and queues have their tables', (t) => {
  const snapshot = new Segment(writeSegment({ pid: 4711 }, nicRows())).read();
  golden(t, 'report/nic.txt', `${summaryLines(snapshot).join('\n')}\n`);
});

test('devices, vectors and queues in JSON', (t) => {
  const snapshot = new Segment(writeSegment({ ticksPerSecond: 2e9 }, nicRows())).read();
  const { devices, vectors, ports } = summarize(snapshot);
  t.like(devices.nic0, { address: '0000:01:00.0', backend: 'group', state: 'granted', errors: 0 });
  t.like(vectors['nic0 0'], { device: 'nic0', shard: 'rx', vector: 0, raised: 40, taken: 40 });
  const { p50, p99, max } = vectors['nic0 0'].latency_ns;
  t.true(p50 >= 2000 && p50 <= 2250, `${p50} ns of 4000 ticks`);
  t.is(p99, max);
  t.true(max >= 45_000 && max <= 50_625);
  t.is(vectors['nic0 1'].latency_ns, null);
  t.is(vectors['nic0 2'].shard, 'kernel');
  t.is(ports.wan.rx_packets, 800);
  t.deepEqual(
    ports.wan.rx_queues.map(({ shard, packets, dropped }) => [shard, packets, dropped]),
    [
      ['rx', 500, 0],
      ['tx', 300, 2],
    ],
  );
  t.is(ports.wan.tx_queues[0].packets, 800);
  t.deepEqual(summarize(ended).devices, {});
});
