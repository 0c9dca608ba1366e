// What is in channels, copied from rings that move meanwhile, that are damaged, or too large.
import test from 'ava';
import { channelText } from '../../dist/report/channel-lines.js';
import { CONTENTS_BYTES_MAX, copyContents } from '../../dist/telemetry/contents.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { labRows, writeSegment } from './helpers/segment.js';

const HEADER = 384;
const RING_AT = 4096;
const POOL_AT = 65536;
const STRIDE = 576;

/** A ring with the elements first .. first + depth - 1, each its position; and what does so at each read. */
function lab({
  first = 0,
  depth = 4,
  capacity = 8,
  element = 8,
  latency = false,
  rows,
  damage,
} = {}) {
  const slot = latency ? 16 : element;
  const memory = [Buffer.alloc(POOL_AT + 16 * STRIDE), Buffer.alloc(POOL_AT)];
  const ring = memory[1].subarray(RING_AT);
  const put = (position) => {
    const at = HEADER + (position & (capacity - 1)) * slot;
    ring.writeUInt32LE(position >>> 0, at);
    if (latency) ring.writeUInt32LE((position + 1) >>> 0, at + slot - 4);
  };
  [0x48434e56, 1, capacity, element, slot, latency ? 1 : 0, HEADER].forEach((word, i) => {
    ring.writeUInt32LE(word, 4 * i);
  });
  for (let i = 0; i < depth; i++) put(first + i);
  const move = (head, tail) => {
    ring.writeUInt32LE(tail >>> 0, 128);
    ring.writeUInt32LE(head >>> 0, 256);
  };
  move(first, first + depth);
  damage?.(ring);
  const base = labRows();
  Object.assign(base.channels[0], { capacity, element_bytes: element, carries_packets: 0 });
  Object.assign(base.channels[0], { arena_offset: RING_AT, ...rows });
  Object.assign(base.pools[0], { buffers: 16, buffer_bytes: 512, stride: STRIDE });
  base.pools[0].arena_offset = POOL_AT;
  const segment = new Segment(writeSegment({}, base));
  const copy = (most, after = () => {}) => {
    let reads = 0;
    const read = (shard, offset, bytes) => {
      const from = memory[shard].subarray(Number(offset), Number(offset) + bytes);
      const result = Buffer.from(from);
      after(++reads, offset - BigInt(RING_AT));
      return result;
    };
    return copyContents(segment, { read }, most)[0];
  };
  return { copy, put, move, ring, memory };
}
const positions = ({ elements }) => elements.map(({ position }) => position);
const values = ({ elements }) =>
  elements.map(({ data }) => Buffer.from(data, 'hex').readUInt32LE(0));

for (const latency of [false, true]) {
  test(`the oldest first, across the end of the ring and of its numbers, latency ${latency}`, (t) => {
    const first = 2 ** 32 - 2;
    const found = lab({ first, depth: 5, latency }).copy(3);
    t.deepEqual(positions(found), [first, first + 1, 0]);
    t.deepEqual(values(found), [first, first + 1, 0]);
    t.like(found, { channel: 'link', from: 'rx', to: 'tx', depth: 5, movedOn: 0, leftOut: 2 });
    t.is(lab({ latency }).copy(0).leftOut, 4);
    t.deepEqual(positions(lab({ depth: 0, latency }).copy(3)), []);
  });
}

test('what the reader took while it was copied is not believed', (t) => {
  const { copy, put, move } = lab({ first: 100, depth: 8 });
  // Behind the first copy of slots: two are taken, and two others come into their slots.
  let moved = false;
  const found = copy(8, (_, offset) => {
    if (offset !== 0n || moved) return;
    moved = true;
    put(108);
    put(109);
    move(102, 110);
  });
  t.deepEqual(positions(found), [102, 103, 104, 105, 106, 107]);
  t.deepEqual(values(found), positions(found));
  t.is(found.movedOn, 2);

  // It is always faster: an honest nothing.
  const fast = lab({ first: 0, depth: 8 });
  let head = 0;
  const none = fast.copy(8, (_, offset) => {
    if (offset === 256n) return;
    head += 8;
    fast.move(head, head + 8);
  });
  t.deepEqual(positions(none), []);
  t.is(none.movedOn, 8);
});

test('a latency slot counts when its sequence says so', (t) => {
  const { copy, ring } = lab({ first: 0, depth: 4, latency: true });
  ring.writeUInt32LE(99, HEADER + 2 * 16 + 12); // the producer's mirror was ahead
  t.deepEqual(positions(copy(8)), [0, 1]);
});

test('packets come with their first bytes, while they are the channel’s', (t) => {
  const packets = lab({ element: 16, rows: { carries_packets: 1 } });
  const { copy, ring, memory, move } = packets;
  for (const [i, buffer] of [3, 99, (7 << 24) >>> 0, 4].entries()) {
    const at = HEADER + i * 16;
    ring.writeUInt32LE(buffer, at);
    ring.writeUInt16LE(i === 3 ? 500 : 80, at + 8); // the last one ends behind its buffer
    ring.writeUInt16LE(200, at + 10);
  }
  memory[0].fill(0xab, POOL_AT + 3 * STRIDE + 80, POOL_AT + 3 * STRIDE + 280);
  memory[0].writeBigUInt64LE(77n, POOL_AT + 3 * STRIDE + 64);
  memory[0].writeUInt32LE(1500, POOL_AT + 3 * STRIDE + 72);
  const found = copy(4);
  const [whole, ...rest] = found.elements.map(({ packet }) => packet);
  t.like(whole, { buffer: 3, offset: 80, length: 200, wireLength: 1500, timestampNs: 77n });
  t.is(whole.bytes, 'ab'.repeat(128));
  t.true(rest.every(({ bytes }) => bytes === undefined));
  t.regex(
    channelText(found),
    /^link {2}rx > tx: 4 of 8\n {2}0 {2}200 bytes in buffer 0:3: ab ab .* \.\.$/m,
  );
  // Its reader has it before its bytes are here: they may be another's.
  const late = copy(4, (_, offset) => {
    if (offset > 60000n || offset < 0n) move(1, 4);
  });
  t.is(late.elements.length, 4);
  t.is(late.elements[0].packet.bytes, undefined);
  t.is(late.elements[0].packet.wireLength, undefined);
});

test('a ring that is damaged is refused, and what is large is cut', (t) => {
  for (const damage of [
    (ring) => ring.writeUInt32LE(0, 0),
    (ring) => ring.writeUInt32LE(16, 8),
    (ring) => ring.writeUInt32LE(16, 12),
    (ring) => ring.writeUInt32LE(4, 16),
    (ring) => ring.writeUInt32LE(0xffffffff, 16),
  ]) {
    t.throws(() => lab({ damage }).copy(4), {
      code: 'VANITY_E_CONTENTS',
      message: /link is damaged/,
    });
  }
  // Indices that make no sense are a full ring.
  const wild = lab({ damage: (ring) => ring.writeUInt32LE(0x7fffffff, 128) }).copy(4);
  t.like(wild, { depth: 8, leftOut: 4 });

  // All channels together have no more than so many bytes.
  const element = 65536;
  const rows = labRows();
  const capacity = (2 * CONTENTS_BYTES_MAX) / element;
  const shape = { capacity, element_bytes: element, carries_packets: 0, arena_offset: 0 };
  const second = { ...rows.channels[0], ...shape, name: 'second' };
  rows.channels = [{ ...rows.channels[0], ...shape }, second];
  const header = Buffer.alloc(HEADER);
  [0x48434e56, 1, capacity, element, element, 0, HEADER].forEach((word, i) => {
    header.writeUInt32LE(word, 4 * i);
  });
  header.writeUInt32LE(capacity, 128);
  const read = (_, offset, bytes) =>
    offset < HEADER ? header.subarray(Number(offset), Number(offset) + bytes) : Buffer.alloc(bytes);
  const all = copyContents(new Segment(writeSegment({}, rows)), { read }, capacity);
  t.deepEqual(
    all.map(({ elements, leftOut }) => [elements.length, leftOut]),
    [
      [capacity / 2, capacity / 2],
      [0, capacity],
    ],
  );
});
