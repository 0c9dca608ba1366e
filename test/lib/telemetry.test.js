import test from 'ava';
import fc from 'fast-check';
import {
  BUCKETS,
  bucketHigh,
  bucketLow,
  bucketOf,
  Histogram,
} from '../../dist/telemetry/histogram.js';
import { rates } from '../../dist/telemetry/rates.js';
import { count, histogram, Segment } from '../../dist/telemetry/segment.js';
import { FIELDS, labRows, labSegment, writeSegment } from './helpers/segment.js';

const invalid = { code: 'VANITY_E_SEGMENT_INVALID' };

test('buckets: exact below 8, then 8 an octave, without holes', (t) => {
  for (let i = 0; i < 8; i++) t.deepEqual([bucketLow(i), bucketHigh(i)], [i, i]);
  t.is(bucketOf(8), 8);
  t.is(bucketOf(15), 15);
  t.is(bucketOf(16), 16);
  t.is(bucketOf(17), 16);
  t.is(bucketOf(18), 17);
  t.is(bucketOf(32), 24);
  for (let i = 1; i < 300; i++) t.is(bucketLow(i), bucketHigh(i - 1) + 1);
  t.is(BUCKETS, 496);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const i = bucketOf(value);
      return bucketLow(i) <= value && value <= bucketHigh(i);
    }),
  );
});

test('quantiles name the bucket that holds them', (t) => {
  const counts = Array(BUCKETS).fill(0);
  for (const value of [1, 2, 3, 32, 32, 32, 1000]) counts[bucketOf(value)]++;
  const seen = new Histogram(counts);
  t.is(seen.total, 7);
  t.deepEqual(seen.quantile(0.01), { low: 1, high: 1 });
  t.is(seen.quantile(0.5).low, 32);
  t.true(seen.quantile(1).low <= 1000 && seen.quantile(1).high >= 1000);
  t.is(new Histogram([]).quantile(0.5), undefined);
  t.is(seen.since(seen).total, 0);
});

test('of two manifests the one with the higher edition is in force', (t) => {
  const fields = {
    ...FIELDS,
    manifests: [
      ...['edition', 'generation', 'text_bytes'].map((name) => ({ name, type: 'gauge' })),
      { name: 'text', type: 'text', count: 2 },
    ],
  };
  const manifest = (manifests) => new Segment(writeSegment({}, { manifests }, fields)).manifest();
  const first = { edition: 3, generation: 1, text_bytes: 3, text: 'the first' };
  const second = { edition: 4, generation: 2, text_bytes: 10, text: 'the second' };
  t.deepEqual(manifest([first, second]), { generation: 2, text: 'the second' });
  t.deepEqual(manifest([{ ...second, edition: 2 }, first]), { generation: 1, text: 'the' });
  t.is(manifest([{ ...first, edition: 0 }]), undefined);
  t.is(manifest([]), undefined);
  t.is(new Segment(labSegment()).manifest(), undefined);
  // It may claim what it likes: only its own room is read.
  const long = { edition: 1, generation: 1, text_bytes: 1e9, text: 'm'.repeat(2048) };
  t.is(manifest([long]).text, 'm'.repeat(2048));
  const row = new Segment(writeSegment({}, { manifests: [long] }, fields)).rows('manifests')[0];
  t.deepEqual(row, { edition: 1, generation: 1, text_bytes: 1e9 });
});

test('a segment decodes by its own descriptors', (t) => {
  const segment = new Segment(labSegment({ name: 'lab', pid: 42 }));
  const { system, shards, channels, ports, queues, pools } = segment.read();
  t.is(system.name, 'lab');
  t.is(system.pid, 42);
  t.is(system.state, 'running');
  t.is(system.uptimeNs, 1_000_000_000);
  t.is(system.ticksPerSecond, 1_000_000_000);
  t.is(shards[0].name, 'rx');
  t.is(shards[0].received, 1000);
  t.is(shards[0].state, 'running');
  t.deepEqual(shards[0].user, { hits: 7 });
  t.is(histogram(shards[0], 'burst').total, 4);
  t.is(channels[0].from, 0);
  t.is(ports[1].target, 'out.pcap');
  t.is(queues[1].direction, 'tx');
  t.is(pools[0].taken, 1000);
});

test('another layout of the same fields decodes to the same values', (t) => {
  const turned = Object.fromEntries(
    Object.entries(FIELDS).map(([table, fields]) => [table, [...fields].reverse()]),
  );
  const system = { heartbeatNs: 1n };
  t.deepEqual(
    new Segment(writeSegment(system, labRows(), turned)).read(),
    new Segment(writeSegment(system, labRows())).read(),
  );
});

test('a field unknown to this build is read; one that is missing counts as 0', (t) => {
  const fields = { shards: [{ name: 'novel', type: 'counter' }] };
  const { shards } = new Segment(writeSegment({}, { shards: [{ novel: 5 }] }, fields)).read();
  t.is(shards[0].novel, 5);
  t.is(count(shards[0], 'received'), 0);
});

test('counters above 2^53 stay exact', (t) => {
  const rows = { shards: [{ received: 2n ** 53n - 1n, sent: 2n ** 64n - 1n }] };
  const [shard] = new Segment(writeSegment({}, rows)).read().shards;
  t.is(shard.received, Number.MAX_SAFE_INTEGER);
  t.is(shard.sent, 2n ** 64n - 1n);
});

test('control characters of a foreign segment never reach a terminal', (t) => {
  const rows = { ports: [{ name: 'in', target: '\u001b[2Jx\u0007' }] };
  const [port] = new Segment(writeSegment({ name: 'a\u001bb' }, rows)).read().ports;
  t.is(port.target, '\ufffd[2Jx\ufffd');
  t.is(new Segment(writeSegment({ name: 'a\u001bb' })).name, 'a\ufffdb');
});

test('a name like __proto__ is data', (t) => {
  const rows = { shards: [{ user: JSON.parse('{"__proto__": 3}') }] };
  const [shard] = new Segment(writeSegment({}, rows)).read().shards;
  t.deepEqual(Object.keys(shard.user), ['__proto__']);
});

const damage = {
  'no magic': (view) => view.setUint8(0, 0x41),
  'another version': (view) => view.setUint32(8, 2, true),
  'another header size': (view) => view.setUint32(12, 128, true),
  'longer than the file': (view) => view.setBigUint64(16, 2n ** 40n, true),
  'no ticks': (view) => view.setBigUint64(24, 0n, true),
  'too many tables': (view) => view.setUint32(44, 17, true),
  'a table twice': (view) => view.setUint32(104 + 32, 2, true),
  'records outside': (view) => view.setUint32(104 + 4, 0xffffffff, true),
  'records at an odd place': (view) => view.setBigUint64(104 + 16, 4097n, true),
  'records far outside': (view) => view.setBigUint64(104 + 16, 2n ** 64n - 8n, true),
  'an odd stride': (view) => view.setUint32(104 + 8, 7, true),
  'no stride': (view) => view.setUint32(104 + 8, 0, true),
  'too many fields': (view) => view.setUint32(104 + 12, 0xffffffff, true),
  'descriptors outside': (view) => view.setBigUint64(104 + 24, 2n ** 63n, true),
  'a field outside its record': (view) => view.setUint32(4096 + 44, 0xfffffff8, true),
  'a field off alignment': (view) => view.setUint32(4096 + 44, 12 + 1, true),
  'an unknown type': (view) => view.setUint16(4096 + 48, 99, true),
  'a field without a name': (view) => view.setUint8(4096, 0),
  'two fields of one name': (view) => {
    for (let i = 0; i < 32; i++) view.setUint8(4096 + 128 + i, view.getUint8(4096 + i));
  },
};
for (const [name, apply] of Object.entries(damage)) {
  test(`refused: ${name}`, (t) => {
    const buffer = labSegment();
    apply(new DataView(buffer));
    t.throws(() => new Segment(buffer), invalid);
  });
}

test('refused: cut short, empty, or something else', (t) => {
  const buffer = labSegment();
  for (const bytes of [0, 1, 4095, 4096, buffer.byteLength - 8]) {
    t.throws(() => new Segment(buffer.slice(0, bytes)), invalid, `${bytes} bytes`);
  }
});

test('a segment that is still being written says so', (t) => {
  t.throws(() => new Segment(labSegment({ ready: 0 })), { code: 'VANITY_E_SEGMENT_BOOTING' });
  t.throws(() => new Segment(new ArrayBuffer(8192)), { code: 'VANITY_E_SEGMENT_BOOTING' });
});

test('no damage of any byte does anything but decode or be refused', (t) => {
  const good = labSegment({ heartbeatNs: 5n });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 4096 + 128 * 60 }), fc.nat({ max: 255 })), { maxLength: 8 }),
      (changes) => {
        const bytes = new Uint8Array(good.slice(0));
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        try {
          new Segment(bytes.buffer).read();
        } catch (error) {
          if (!/^VANITY_E_SEGMENT_/.test(error.code)) throw error;
        }
      },
    ),
    { numRuns: 300 },
  );
  t.pass();
});

test('rates between two snapshots', (t) => {
  const before = new Segment(labSegment({}, 1)).read();
  const now = new Segment(labSegment({}, 3)).read();
  const { seconds, shards, channels, ports } = rates(before, now);
  t.is(seconds, 2);
  t.is(shards[0].perSecond, 1000);
  t.is(shards[0].droppedPerSecond, 10);
  t.is(shards[0].idle, 0.5);
  t.is(shards[1].wait, 0.9);
  t.is(shards[1].nsPerElement, 100);
  t.is(channels[0].from, 'rx');
  t.is(channels[0].depth, 90);
  t.is(ports[0].rxPerSecond, 1000);
  t.is(ports[0].rxBitsPerSecond, 512_000);
  t.is(ports[1].txPerSecond, 990);
  t.is(rates(undefined, now).shards[0].perSecond, 1000);
  t.is(rates(now, now).shards[0].perSecond, 0);
});

// As the kernel lays them out: a header, and the words where it says that they are.
const WORDS_AT = 128;
const lookFields = (words) => [
  { name: 'number', type: 'counter' },
  { name: 'at_ns', type: 'gauge' },
  { name: 'uptime_ns', type: 'gauge' },
  { name: 'state', type: 'state', text: 'booting|running' },
  { name: 'tables', type: 'number' },
  { name: 'words_at', type: 'number' },
  { name: 'words', type: 'dynamic', count: Math.ceil(words / 5) },
];
function past(looks, words = 5 * 5) {
  const fields = {
    shards: [
      { name: 'name', type: 'label', count: 32 },
      { name: 'sent', type: 'counter' },
      { name: 'state', type: 'state', text: 'starting|running|held' },
      { name: 'burst', type: 'histogram', count: 496 },
      { name: 'user', type: 'dynamic', count: 2 },
    ],
    looks: lookFields(words),
  };
  // In the order of tables: shards are the second where a system is the first.
  const rows = {
    shards: [{ name: 'a', sent: 50, state: 'held', burst: [3], user: { hits: 7 } }],
    looks: looks.map(({ number, uptimeNs }) => ({
      number,
      at_ns: 5,
      uptime_ns: uptimeNs,
      state: 'running',
      tables: 1,
      words_at: WORDS_AT,
    })),
  };
  const buffer = writeSegment({ name: 'past' }, rows, { system: [], ...fields });
  const view = new DataView(buffer);
  const at = Number(view.getBigUint64(104 + 2 * 32 + 16, true));
  const stride = view.getUint32(104 + 2 * 32 + 8, true);
  looks.forEach(({ words: put }, i) => {
    put.forEach((word, k) => {
      view.setBigUint64(at + i * stride + WORDS_AT + 8 * k, BigInt(word), true);
    });
  });
  return new Segment(buffer);
}

test('a look is the whole segment as it was', (t) => {
  const segment = past([
    { number: 61, uptimeNs: 61e9, words: [40, 1, 5, 0] },
    { number: 60, uptimeNs: 60e9, words: [39, 0, 4, 0] },
    { number: 0, uptimeNs: 0, words: [] },
  ]);
  const looks = segment.looks();
  t.deepEqual(
    looks.map(({ number }) => number),
    [60, 61],
  );
  const before = segment.at(looks[0]).read();
  t.is(before.system.uptimeNs, 60e9);
  t.is(before.system.state, 'running');
  t.like(before.shards[0], { name: 'a', sent: 39, state: 'starting', user: { hits: 4 } });
  t.is(before.shards[0].burst.total, 0, 'a histogram of now says nothing of then');
  t.is(segment.read().shards[0].sent, 50, 'the present is as it was');
  t.is(segment.at({ ...looks[0], number: 59 }), undefined, 'written over');
  t.is(segment.at({ number: 0, slot: 2, uptimeNs: 0 }), undefined, 'none');
  t.is(segment.at({ ...looks[0], slot: 3 }), undefined, 'no such record');
});

test('a look that is shorter than its tables is refused', (t) => {
  const segment = past([{ number: 1, uptimeNs: 1, words: [] }], 0);
  const [look] = segment.looks();
  t.throws(() => segment.at(look), {
    code: 'VANITY_E_SEGMENT_INVALID',
    message: /shorter than the tables/,
  });
});
