import test from 'ava';
import { native } from '../../dist/native.js';
import { RING, RingReader, RingWriter } from '../../dist/runtime/ring.js';

const LAYOUTS = ['bulk', 'latency'];
const SIZES = [8, 16, 24, 64, 72, 512, 1024];
// Among them the last indices before 2^31 and 2^32, where int32 and u32 wrap.
const FIRSTS = [0, 2 ** 31 - 5, 2 ** 32 - 5];

const number = (element, i) => new Float64Array(element.buffer, element.byteOffset + i, 1);

/** `count` elements that hold their number in the first word, and something of it in every byte. */
function elements(first, count, size) {
  const bytes = new Uint8Array(count * size);
  for (let i = 0; i < count; ++i) {
    bytes.fill((first + i) & 0xff, i * size, (i + 1) * size);
    number(bytes, i * size)[0] = first + i;
  }
  return bytes;
}

const each = (run) => {
  for (const layout of LAYOUTS) {
    for (const size of SIZES) for (const first of FIRSTS) run({ layout, size, first });
  }
};

test('the offsets are those of the native layout', (t) => {
  for (const [name, value] of Object.entries(RING)) t.is(value, native.layout[name], name);
});

test('what native code sends, the reader receives, through several laps', (t) => {
  each(({ layout, size, first }) => {
    const ring = new native.NativeRing(8, size, layout, first);
    const reader = new RingReader(ring.memory);
    let sent = 0;
    let got = 0;
    for (let turn = 0; turn < 40; ++turn) {
      sent += ring.send(elements(sent, (turn % 9) + 1, size));
      const into = new Uint8Array((((turn * 5) % 8) + 1) * size);
      const n = reader.receive(into, into.length / size);
      t.deepEqual(into.subarray(0, n * size), elements(got, n, size), `${layout} ${size} ${first}`);
      got += n;
    }
    t.true(got > 60 && sent - got <= 8, `${sent} sent, ${got} received`);
  });
});

test('what the writer sends, native code receives, through several laps', (t) => {
  each(({ layout, size, first }) => {
    const ring = new native.NativeRing(8, size, layout, first);
    const writer = new RingWriter(ring.memory);
    let sent = 0;
    let got = 0;
    for (let turn = 0; turn < 40; ++turn) {
      sent += writer.send(elements(sent, (turn % 9) + 1, size), (turn % 9) + 1);
      const into = new Uint8Array((((turn * 5) % 8) + 1) * size);
      const n = ring.receive(into);
      t.deepEqual(into.subarray(0, n * size), elements(got, n, size), `${layout} ${size} ${first}`);
      got += n;
    }
    t.true(got > 60 && sent - got <= 8, `${sent} sent, ${got} received`);
  });
});

test('full at both ends: every slot is usable, and none more', (t) => {
  each(({ layout, size, first }) => {
    const ring = new native.NativeRing(4, size, layout, first);
    const writer = new RingWriter(ring.memory);
    t.is(writer.send(elements(0, 6, size), 6), 4);
    t.is(writer.claim(1), 0);
    t.is(writer.depth(), 4);
    t.is(ring.receive(new Uint8Array(4 * size)), 4);
    t.is(writer.depth(), 0);
    t.is(writer.send(elements(4, 6, size), 6), 4);
    const reader = new RingReader(ring.memory);
    const into = new Uint8Array(8 * size);
    t.is(reader.receive(into, 8), 4);
    t.deepEqual(into.subarray(0, 4 * size), elements(4, 4, size));
    t.is(reader.peek(1), 0);
  });
});

test('peek and claim stop at the end of the ring, and give views in place', (t) => {
  const ring = new native.NativeRing(4, 16, 'bulk', 3);
  const writer = new RingWriter(ring.memory);
  const reader = new RingReader(ring.memory);
  t.is(writer.claim(4), 1, 'one slot before the end');
  t.is(writer.offset, 3 * 16);
  writer.f64[writer.offset / 8] = 7;
  writer.commit(1);
  t.is(writer.claim(4), 3);
  t.is(writer.offset, 0);
  writer.f64[0] = 8;
  writer.commit(1);
  t.is(reader.peek(4), 1);
  t.is(reader.f64[reader.offset / 8], 7);
  t.is(reader.peek(4), 1, 'peeking takes nothing');
  reader.release(1);
  t.is(reader.peek(4), 1);
  t.is(reader.f64[reader.offset / 8], 8);
});

test('nothing is visible before commit, and release is told at the end of a drain', (t) => {
  for (const layout of LAYOUTS) {
    const ring = new native.NativeRing(16, 8, layout, 0);
    const writer = new RingWriter(ring.memory);
    const reader = new RingReader(ring.memory);
    t.is(writer.claim(8), 8);
    t.is(reader.peek(8), 0);
    t.false(reader.ready());
    writer.commit(3);
    t.is(reader.peek(8), 3);
    reader.release(1);
    t.is(writer.depth(), 3, 'held back: the drain is not over');
    reader.flush();
    t.is(writer.depth(), 2);
    reader.release(2);
    t.is(writer.depth(), 0);
  }
});

test('memory that holds no channel is refused', (t) => {
  t.throws(() => new RingReader(new ArrayBuffer(1024)), { message: /no channel/ });
});
