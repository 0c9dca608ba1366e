import test from 'ava';
import { parseDuration, quantity, si, time, whole } from '../../dist/report/format.js';
import { lostPackets, summarize, summaryLines } from '../../dist/report/summary.js';
import { table } from '../../dist/report/table.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { golden } from './helpers/golden.js';
import { labSegment, writeSegment } from './helpers/segment.js';

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

// A chain of shards, with a port at its head unless it makes its packets itself.
function chain(received, links, shards, carries_packets = 1) {
  return read({
    queues: received > 0 ? [{ port: 0, direction: 'rx', shard: 0, packets: received }] : [],
    channels: links.map(([sent, taken], i) => ({
      from: i,
      to: i + 1,
      carries_packets,
      sent,
      received: taken,
    })),
    shards,
  });
}

test('lost: received, and neither sent, consumed nor filtered', (t) => {
  t.is(lostPackets(ended), 100);
  const one = (fields) => chain(100, [], [fields]);
  t.is(lostPackets(one({ consumed: 100 })), 0);
  t.is(lostPackets(one({ consumed: 90, filtered: 10 })), 0);
  t.is(lostPackets(one({ consumed: 90, dropped: 10 })), 10);
  // Neither counted as dropped nor anything else: a leak counts as well.
  t.is(lostPackets(one({ consumed: 90 })), 10);
  t.is(lostPackets(chain(100, [[100, 100]], [{}, { consumed: 100 }])), 0);
  t.is(lostPackets(chain(100, [[100, 80]], [{}, { consumed: 80 }])), 20, 'left in a channel');
  // What an immediate stop clears out of a channel is received and dropped.
  t.is(lostPackets(chain(100, [[100, 100]], [{}, { consumed: 80, dropped: 20 }])), 20);
});

test('lost: what a source makes and a mirror multiplies has to end as well', (t) => {
  const made = (links, shards) => lostPackets(chain(0, links, shards));
  t.is(made([[50, 50]], [{ received: 50 }, { consumed: 50 }]), 0);
  t.is(made([[45, 45]], [{ received: 50, dropped: 5 }, { consumed: 45 }]), 5);
  t.is(
    made(
      [
        [50, 50],
        [100, 100],
      ],
      [{}, {}, { consumed: 100 }],
    ),
    0,
  );
  t.is(
    made(
      [
        [50, 50],
        [100, 100],
      ],
      [{}, {}, { consumed: 97 }],
    ),
    3,
  );
  t.is(
    made(
      [
        [50, 50],
        [90, 90],
      ],
      [{}, { dropped: 10 }, { consumed: 90 }],
    ),
    10,
  );
});

test('lost: messages are no packets', (t) => {
  t.is(lostPackets(chain(0, [[500, 500]], [{ sent: 500 }, { received: 500 }], 0)), 0);
  t.is(lostPackets(chain(0, [[500, 400]], [{}, { consumed: 400 }], 0)), 0);
});

test('the object of run --json has every counter by its name', (t) => {
  const failure = { code: 'VANITY_E_X', message: 'm', hint: 'h' };
  const summary = summarize(ended, { failures: [failure] });
  t.is(summary.system, 'lab');
  t.is(summary.state, 'stopped');
  t.is(summary.duration_s, 1);
  t.is(summary.lost, 100);
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
