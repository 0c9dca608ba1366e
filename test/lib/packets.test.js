// The ways of sampled packets, put together from what shards noted, told, and written for Wireshark.
import test from 'ava';
import { channelLines, wayLines } from '../../dist/report/packet-lines.js';
import { pcapng } from '../../dist/report/pcapng.js';
import { channelWaits, PacketReader } from '../../dist/telemetry/packets.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { readPcapng } from './helpers/pcapng.js';
import { eventFields, eventRow, FIELDS, labRows, writeSegment } from './helpers/segment.js';

const PACKET = 15;
const BYTES = 16;
const TOOK = 17;
const GAVE = 18;
const ENDED = 19;
const WAITED = 20;
const [ASLEEP, , , BLOCKED, , HELD] = [0, 1, 2, 3, 4, 5];
const PORT = 1;
const MADE = 2;
const EPOCH = 1000;

/** The lab, whose two shards noted these; times are those of a clock of one tick a nanosecond. */
function read(rx, tx, rows = labRows()) {
  const noted = (events) => eventRow(events, EPOCH, 'packet_events');
  const fields = { ...FIELDS, events: eventFields(64) };
  const buffer = writeSegment({}, { ...rows, events: [noted(rx), noted(tx)] }, fields);
  const reader = new PacketReader(new Segment(buffer));
  reader.read();
  return reader.ways();
}
const bytesOf = (n, length, ticks) => [
  [PACKET, { ticks, what: PORT, place: 0, n, a: BigInt(length) | (200n << 32n), b: 77n }],
  [BYTES, { ticks, what: 0, place: 16, n, a: 0x0706050403020100n, b: 0x0f0e0d0c0b0a0908n }],
  [BYTES, { ticks, what: 1, place: length - 16, n, a: 0x13121110n }],
];
const waited = (what, from, to, place = 0) => [WAITED, { ticks: to, what, place, a: EPOCH + from }];

test('where a packet waited, and for what', (t) => {
  const [way, ...more] = read(
    [...bytesOf(5, 20, 100), [GAVE, { ticks: 300, n: 5 }]],
    [
      waited(HELD, 200, 400), // it came in the midst of it
      waited(BLOCKED, 500, 600, 0),
      waited(BLOCKED, 500, 700, 0), // the same, that had gone on
      waited(ASLEEP, 900, 950),
      [TOOK, { ticks: 1000, n: 5 }],
      waited(BLOCKED, 1010, 1020, 0),
      [GAVE, { ticks: 1030, what: PORT, place: 0, n: 5 }],
    ],
  );
  t.is(more.length, 0);
  t.like(way, { packet: 'rx.5', number: 5, ns: 100, bytes: 20, wireBytes: 200, totalNs: 930 });
  t.is(way.timestampNs, 77n);
  t.true(way.whole);
  t.deepEqual(
    [...way.data],
    Array.from({ length: 20 }, (_, i) => i),
  );
  const [rx, tx] = way.steps;
  t.like(rx, { shard: 'rx', ns: 100, from: { port: 'in' }, to: [{ channel: 'link' }] });
  t.like(rx, { servedNs: 200, waitedNs: undefined });
  t.like(tx, { shard: 'tx', ns: 1000, from: { channel: 'link' }, to: [{ port: 'out' }] });
  t.is(tx.waitedNs, 700);
  t.deepEqual(tx.waitedFor, [
    { for: 'busy', ns: 350 },
    { for: 'blocked', in: 'link', ns: 200 },
    { for: 'held', ns: 100 },
    { for: 'asleep', ns: 50 },
  ]);
  t.is(tx.servedNs, 30);
  t.deepEqual(tx.servedFor, [{ for: 'blocked', in: 'link', ns: 10 }]);
  t.deepEqual(wayLines(way), [
    '     0.000000100  packet rx.5: 200 bytes, 930 ns in all',
    '                  rx  from in; served in 200 ns, to link',
    '                  tx  waited 700 ns in link: tx was busy 350 ns, blocked by link 200 ns, held 100 ns, asleep 50 ns; served in 30 ns (blocked by link 10 ns), to out',
  ]);
  t.deepEqual(channelLines(channelWaits([way])), [
    'link  1 packets waited 700 ns in the median, 700 ns at most: its reader was busy 50%, blocked by link 29%, held 14%, asleep 7.1%',
  ]);
});

test('a packet of several owners has a way that branches', (t) => {
  const rows = labRows();
  rows.channels.push({ ...rows.channels[0], name: 'other' });
  const sent = [
    [PACKET, { ticks: 10, what: MADE, n: 1, a: 60n }],
    [GAVE, { ticks: 20, n: 1, place: 0 }],
    [GAVE, { ticks: 30, n: 1, place: 1 }],
  ];
  const ended = (ticks, what) => [ENDED, { ticks, what, n: 1 }];
  const both = [
    [TOOK, { ticks: 40, n: 1, place: 1 }],
    ended(50, 0),
    [TOOK, { ticks: 60, n: 1, place: 0 }],
    ended(70, 1),
  ];
  const [way] = read(sent, both, rows);
  t.true(way.whole);
  t.deepEqual(way.steps[0].to, [{ channel: 'link' }, { channel: 'other' }]);
  t.deepEqual(
    way.steps.slice(1).map(({ waitedNs, ended: how }) => [waitedNs, how]),
    [
      [10, 'consumed'],
      [40, 'filtered'],
    ],
  );
  // Of one that is still in a channel the end was not seen.
  const [half] = read(sent, both.slice(0, 2), rows);
  t.false(half.whole);
  t.regex(wayLines(half)[0], /not seen to its end/);
});

test('what was written over is not made up', (t) => {
  // Its coming in is lost: nobody knows what it is.
  t.deepEqual(read([[GAVE, { ticks: 1, n: 9 }]], [[TOOK, { ticks: 2, n: 9 }]]), []);
  // Its way into the channel is: it was there, for an unknown time.
  const [way] = read(bytesOf(9, 20, 1), [
    [TOOK, { ticks: 20, n: 9 }],
    [ENDED, { ticks: 30, what: 2, n: 9 }],
  ]);
  t.false(way.whole);
  t.is(way.steps[0].servedNs, undefined);
  t.is(way.steps[1].waitedNs, undefined);
  t.is(way.steps[1].ended, 'dropped');
  t.regex(wayLines(way)[1], /from in; not seen to leave/);
});

test('a hostile ring gives no more than nonsense', (t) => {
  const wild = Array.from({ length: 60 }, (_, i) => [
    PACKET + (i % 7),
    {
      ticks: i * 7919 ** 3,
      what: 255 - i,
      place: 65535 - i,
      n: 2 ** 32 - 1 - (i % 3),
      a: -1n,
      b: -1n,
    },
  ]);
  for (const way of read(wild, wild)) {
    t.true(way.data.byteLength <= 256 * 16);
    t.true(wayLines(way).length > 0);
  }
});

test('Wireshark gets a packet for each shard that had it, with its wait as a comment', (t) => {
  const ways = read(
    [...bytesOf(5, 21, 100), [GAVE, { ticks: 300, n: 5 }], ...bytesOf(6, 16, 400)],
    [waited(ASLEEP, 250, 990), [TOOK, { ticks: 1000, n: 5 }], [ENDED, { ticks: 1100, n: 5 }]],
  );
  const startedNs = 1_700_000_000_123_456_789n;
  const about = { version: '1', startedNs, bytesMax: 128 };
  const shards = [
    { name: 'rx', program: 'port-rx' },
    { name: 'tx', program: 'Zähler' },
  ];
  const { interfaces, packets } = readPcapng(pcapng(about, shards, ways));
  const each = { linkType: 1, bytesMax: 128, tsresol: 9 };
  t.deepEqual(interfaces, [
    { name: 'rx', description: 'port-rx', ...each },
    { name: 'tx', description: 'Zähler', ...each },
  ]);
  t.deepEqual(
    packets.map((one) => [one.interface, one.ns - startedNs, one.wireBytes, one.id]),
    [
      [0, 100n, 200, 5n],
      [0, 400n, 200, 6n],
      [1, 1000n, 200, 5n],
    ],
  );
  t.is(packets[0].data.byteLength, 21);
  t.deepEqual(packets[2].data, packets[0].data);
  t.is(packets[0].comment, 'packet rx.5, stage 1 of 2, rx: from in; served in 200 ns, to link');
  t.is(
    packets[2].comment,
    'packet rx.5, stage 2 of 2, tx: waited 700 ns in link: tx was asleep 690 ns, busy 10 ns; served in 100 ns, consumed',
  );
});
