// Events of shards as segments hold them, read, told and drawn.
import test from 'ava';
import { eventLine, eventText, eventTime } from '../../dist/report/event-lines.js';
import { perfetto } from '../../dist/report/perfetto.js';
import { EventReader, settleEvents } from '../../dist/telemetry/events.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { eventFields, eventRow, FIELDS, labRows, writeSegment } from './helpers/segment.js';

const STATE = 1;
const STEP = 2;
const FAULT = 3;
const RESTART = 4;
const RELOAD = 5;
const TURN = 6;
const RECEIVE = 7;
const SEND = 8;
const DROP = 9;
const SLEEP = 10;
const WAKE = 11;
const BLOCK = 12;
const UNBLOCK = 13;
const WATERMARK = 14;

/** The lab with these events of its two shards. */
function lab(rx, tx = [], { slots = 64, rows = labRows(), system = {} } = {}) {
  const fields = { ...FIELDS, events: eventFields(slots) };
  return writeSegment(system, { ...rows, events: [eventRow(rx), eventRow(tx)] }, fields);
}
const reader = (buffer, shards = [0, 1]) => new EventReader(new Segment(buffer), shards);

test('each event says what it is', (t) => {
  const cases = [
    [[STATE, { what: 2 }], 'is running'],
    [[STATE, { what: 99 }], 'is unknown(99)'],
    [[STEP, { n: 3 }], 'takes step 3'],
    [
      [FAULT, { what: 1, n: 11, a: 0, b: 0x1234 }],
      'FAULT: SIGSEGV at 0x0, in the instruction at 0x1234',
    ],
    [[FAULT, { what: 3 }], 'FAULT: exception'],
    [[RESTART, { n: 2 }], 'its program was started anew, for the 2. time'],
    [[RELOAD, { what: 1, n: 2 }], 'reload: kept, generation 2'],
    [[TURN, { ticks: 5000, n: 32, a: 1000 + 4000 }], 'turn of 1.0 us: 32 elements'],
    [[TURN, { ticks: 5500, n: 1, a: 1000 + 5000 }], 'turn of 500 ns: 1 element'],
    [[RECEIVE, { ticks: 6000, n: 32, place: 0, a: 64 }], 'received 32 from link'],
    [[RECEIVE, { ticks: 6000, what: 1, n: 7, place: 0 }], 'received 7 from in'],
    [[RECEIVE, { ticks: 6000, what: 2, n: 7 }], 'received 7 that it made'],
    [[SEND, { ticks: 6000, n: 1000, place: 0, a: 96 }], 'sent 1,000 to link'],
    [[SEND, { ticks: 6000, n: 1, place: 9 }], 'sent 1 to channel 9'],
    [[SEND, { ticks: 6000, what: 1, n: 5, place: 1 }], 'sent 5 to output 1'],
    [[DROP, { ticks: 6000, n: 4 }], 'dropped 4'],
    [[SLEEP, { ticks: 7000 }], 'waits'],
    [[WAKE, { ticks: 9000, n: 1, a: 2n ** 32n }], 'slept for 2.0 us: work in kernel'],
    [[WAKE, { ticks: 9000, a: 0 }], 'spun: a signal, without work'],
    [[WAKE, { ticks: 9000, n: 1, what: 1 }], 'slept: its bound passed'],
    [[BLOCK, { ticks: 10_000, n: 8 }], 'is blocked: 8 have no room in link'],
    [[UNBLOCK, { ticks: 11_000 }], 'was blocked for 1.0 us by link'],
    [[UNBLOCK, { ticks: 12_000, n: 3 }], 'was blocked by link, and gave up with 3 left'],
    [[WATERMARK, { ticks: 13_000, what: 1, n: 700 }], 'link is above its high watermark: 700'],
    [[WATERMARK, { ticks: 13_000, n: 10 }], 'link is below its low watermark: 10'],
    [[200, { ticks: 14_000 }], 'unknown(200)'],
  ];
  const events = reader(lab(cases.map(([event]) => event))).read();
  t.deepEqual(
    events.map(eventText),
    cases.map(([, text]) => text),
  );
  t.is(eventLine(events[2], 'rx', 5), '     0.000000000  rx     takes step 3');
  t.is(eventTime(-1), '-0.000000001');
});

test('events of all shards come in the order of time, each once', (t) => {
  const buffer = lab(
    [
      [SEND, { ticks: 10, n: 1 }],
      [SEND, { ticks: 30, n: 3 }],
    ],
    [[RECEIVE, { ticks: 20, n: 2 }]],
  );
  const all = reader(buffer);
  t.deepEqual(
    all.read().map(({ shard, ns, n }) => [shard, ns, n]),
    [
      [0, 10, 1],
      [1, 20, 2],
      [0, 30, 3],
    ],
  );
  t.deepEqual(all.read(), []);
  t.deepEqual(
    reader(buffer, [1])
      .read()
      .map(({ n }) => n),
    [2],
  );
  t.deepEqual(
    all.sources().map(({ shard, lost }) => [shard, lost]),
    [
      ['rx', 0],
      ['tx', 0],
    ],
  );
});

test('what was written over unread is counted, what was over before anybody looked is not', (t) => {
  const send = (n) => [SEND, { ticks: n, n }];
  const buffer = lab(
    Array.from({ length: 20 }, (_, n) => send(n)),
    [],
    { slots: 8 },
  );
  const segment = new Segment(buffer);
  const follow = new EventReader(segment, [0]);
  // One less than there are slots: the next may be half written.
  t.deepEqual(
    follow.read().map(({ n }) => n),
    [13, 14, 15, 16, 17, 18, 19],
  );
  t.is(follow.sources()[0].lost, 0);
  const { written } = segment.ring('events', 0);
  new DataView(buffer).setBigUint64(written, 31n, true);
  t.is(follow.read().length, 7);
  t.is(follow.sources()[0].lost, 4); // 20 to 23
  follow.skip();
  t.is(follow.sources()[0].lost, 0);
});

test('who reads on gets events in the order of time, though rings are read one after the other', (t) => {
  const send = (ticks) => [SEND, { ticks, n: ticks }];
  const buffer = lab([10, 40, 50].map(send), [20, 30, 60].map(send), { slots: 8 });
  const segment = new Segment(buffer);
  const written = [0, 1].map((shard) => segment.ring('events', shard).written);
  const seen = (...counts) => {
    for (const [shard, n] of counts.entries()) {
      new DataView(buffer).setBigUint64(written[shard], BigInt(n), true);
    }
  };
  const follow = new EventReader(segment, [0, 1]);
  const next = (nowMs) => follow.readInOrder(nowMs).map(({ n }) => n);
  seen(2, 0);
  t.deepEqual(next(100), []);
  seen(2, 2); // older than what was there
  t.deepEqual(next(119), []);
  t.deepEqual(next(120), [10, 20, 30, 40]);
  seen(3, 3);
  t.deepEqual(next(140), []);
  t.deepEqual(next(160), [50, 60]);
  t.deepEqual(next(180), []);
  // And whoever has had enough gets the rest.
  seen(0, 0);
  const last = new EventReader(segment, [0, 1]);
  last.skip();
  seen(3, 3);
  last.readInOrder();
  t.deepEqual(
    last.read().map(({ n }) => n),
    [10, 20, 30, 40, 50, 60],
  );
});

test('a doorbell of many channels names groups', (t) => {
  const rows = labRows();
  rows.channels = Array.from({ length: 40 }, (_, i) => ({ name: `c${i}`, from: 0, to: 1 }));
  const marks = 0b101n | (1n << 33n);
  const [wake] = reader(lab([], [[WAKE, { a: marks }]], { rows })).read();
  t.deepEqual(wake.by, ['c0..c15', 'c32..c39', 'interrupt']);
});

test('a hostile ring is read as far as it goes, or refused', (t) => {
  const buffer = lab([[SEND, { n: 1 }]], [], { slots: 8 });
  const segment = new Segment(buffer);
  const { written } = segment.ring('events', 0);
  new DataView(buffer).setBigUint64(written, 2n ** 64n - 1n, true);
  t.true(new EventReader(segment, [0]).read().length <= 8);
  // The descriptor of the second ring.
  const fields = eventFields(8);
  fields[4].count = 8;
  const damaged = writeSegment({}, { events: [eventRow([])] }, { events: fields });
  new DataView(damaged).setUint16(4096 + 4 * 128 + 50, 4000, true);
  t.throws(() => new Segment(damaged), { code: 'VANITY_E_SEGMENT_INVALID' });
  // One that has none is a segment all the same.
  t.false(new EventReader(new Segment(writeSegment({}, labRows())), [0]).any);
});

test('a copy gets whole events, in their slots', (t) => {
  const send = (n) => [SEND, { ticks: n, n }];
  const live = lab(
    Array.from({ length: 21 }, (_, n) => send(n)),
    [],
    { slots: 8 },
  );
  const copy = live.slice(0);
  const { ring } = new Segment(copy).ring('events', 0);
  new Uint8Array(copy, ring, 8 * 32).fill(0xff);
  settleEvents(new Segment(live), new Segment(copy));
  t.deepEqual(reader(copy).read(), reader(live).read());
});

test('arrows join what was sent with what was received, by position', (t) => {
  const system = { name: 'lab', pid: 7 };
  const send = (ns, position, n) => ({
    ...{ ns, shard: 0, event: 'send', channel: 'link', channelIndex: 0, position, n },
  });
  const receive = (ns, position, n) => ({ ...send(ns, position, n), shard: 1, event: 'receive' });
  const draw = (events) => {
    const drawn = perfetto(system, ['rx', 'tx'], events).traceEvents;
    const arrows = drawn.filter(({ ph }) => ph === 's' || ph === 'f');
    return arrows.map(({ ph, id, tid, ts }) => [ph, id, tid, ts]);
  };
  // Two bursts taken as one, the second in part.
  t.deepEqual(
    draw([send(1000, 10, 10), send(2000, 20, 10), receive(3000, 15, 15), receive(4000, 20, 5)]),
    [
      ['s', 0, 1, 1],
      ['f', 0, 2, 3],
      ['s', 2, 1, 2],
      ['f', 2, 2, 3],
    ],
  );
  // What has not come yet, or whose event is gone, has no arrow.
  t.deepEqual(draw([send(1000, 10, 10), send(2000, 20, 10), receive(3000, 30, 10)]), []);
  t.deepEqual(draw([send(1000, 10, 10)]), []);
});

test('what has not ended is drawn to the end', (t) => {
  const events = reader(
    lab(
      [[SLEEP, { ticks: 1000 }]],
      [
        [BLOCK, { ticks: 2000, n: 1 }],
        [UNBLOCK, { ticks: 3000 }],
      ],
    ),
  ).read();
  const { traceEvents } = perfetto({ name: 'lab', pid: 7 }, ['rx', 'tx'], events);
  t.deepEqual(
    traceEvents
      .filter(({ ph }) => ph === 'B' || ph === 'X')
      .map(({ ph, name, ts, dur }) => [ph, name, ts, dur]),
    [
      ['X', 'blocked: link', 2, 1],
      ['B', 'wait', 1, undefined],
    ],
  );
});
