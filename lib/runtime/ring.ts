// The two halves of a channel, over the memory that native/include/vanity/channel.hpp draws. The same
// protocol with the same words: the other half may be native code or another worker.
//
// Ordering. Slots are written and read as ordinary elements; the words that hand them over go through
// Atomics, whose loads and stores are sequentially consistent in ECMAScript and in V8 whether or not the
// buffer is a SharedArrayBuffer: a call that the compiler moves no other access across, and an instruction
// (XCHG, STLR/LDAR) that the processor does not either. That is more than the release and acquire that the
// native half uses. Indices are int32 here and wrap as the native u32 do.
//
// What crosses between cores is what crosses natively: per burst one index line, the slots themselves, and
// now and then the index back. Nothing is allocated and native code is not called.

/** Byte offsets in a ring, as `ChannelLayout` has them; held against the addon by a test. */
export const RING = {
  magic: 0x48434e56,
  version: 1,
  capacity: 8,
  elementBytes: 12,
  slotBytes: 16,
  layout: 20,
  slotsOffset: 24,
  tail: 128,
  head: 256,
} as const;

const TAIL = RING.tail / 4;
const HEAD = RING.head / 4;

/** What both halves know, and the elements as the program sees them. */
export class RingMemory {
  readonly capacity: number;
  readonly elementBytes: number;
  /** Bytes from one element to the next. */
  readonly stride: number;
  readonly layout: 'bulk' | 'latency';
  /** Every slot; the byte `offset` is where the elements of the burst begin. */
  readonly bytes: Uint8Array;
  /** The same memory by words of 4 and of 8 bytes. */
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  readonly u64: BigUint64Array;
  /** @internal The whole ring by words. */
  readonly words: Int32Array;
  /** @internal Word of the sequence number of slot 0; slots are `stride / 4` words apart. */
  readonly sequence: number;

  constructor(memory: ArrayBuffer) {
    const header = new Uint32Array(memory, 0, 8);
    if (header[0] !== RING.magic || header[1] !== RING.version) {
      throw new RangeError('this memory holds no channel of version 1');
    }
    const word = (bytes: number) => header[bytes / 4] as number;
    this.capacity = word(RING.capacity);
    this.elementBytes = word(RING.elementBytes);
    this.stride = word(RING.slotBytes);
    this.layout = word(RING.layout) === 0 ? 'bulk' : 'latency';
    const first = word(RING.slotsOffset);
    const length = this.capacity * this.stride;
    this.bytes = new Uint8Array(memory, first, length);
    this.i32 = new Int32Array(memory, first, length / 4);
    this.u32 = new Uint32Array(memory, first, length / 4);
    this.f64 = new Float64Array(memory, first, Math.floor(length / 8));
    this.u64 = new BigUint64Array(memory, first, Math.floor(length / 8));
    this.words = new Int32Array(memory);
    this.sequence = (first + this.stride) / 4 - 1;
  }
}

// Small elements: a loop over words beats TypedArray.set, which needs a subarray of each side.
const SET_FROM_BYTES = 512;

// `bytes` are a multiple of 8, and so are offsets in a ring; what the program gives may lie anywhere.
function copy(to: Uint8Array, at: number, from: Uint8Array, start: number, bytes: number): void {
  if (bytes >= SET_FROM_BYTES) {
    to.set(from.subarray(start, start + bytes), at);
    return;
  }
  for (let i = 0; i < bytes; ++i) to[at + i] = from[start + i] as number;
}

/** The reading half. */
export class RingReader extends RingMemory {
  /** Byte of the first peeked element, in `bytes`. */
  offset = 0;
  readonly #mask: number;
  readonly #bulk: boolean;
  readonly #slotWords: number;
  readonly #quarter: number;
  #head: number;
  #headGiven: number;
  #tailSeen: number;

  constructor(memory: ArrayBuffer) {
    super(memory);
    this.#mask = this.capacity - 1;
    this.#bulk = this.layout === 'bulk';
    this.#slotWords = this.stride / 4;
    this.#quarter = Math.max(1, this.capacity / 4);
    this.#head = Atomics.load(this.words, HEAD);
    this.#headGiven = this.#head;
    this.#tailSeen = this.#head;
  }

  /** How many of the next `n` elements are there, side by side; sets `offset` to the first. */
  peek(n: number): number {
    const head = this.#head;
    const at = head & this.#mask;
    const toEnd = this.capacity - at;
    const wanted = Math.min(n, toEnd);
    let used = (this.#tailSeen - head) | 0;
    if (this.#bulk) {
      if (used === 0) {
        this.#tailSeen = Atomics.load(this.words, TAIL); // pairs with commit of the writer
        used = (this.#tailSeen - head) | 0;
      }
    } else {
      while (used < wanted && this.#holds(this.#tailSeen)) {
        this.#tailSeen = (this.#tailSeen + 1) | 0;
        ++used;
      }
    }
    this.offset = at * this.stride;
    return Math.min(used, wanted);
  }

  /** The first `n` peeked elements are done with. The writer is told once a drain or a quarter ring. */
  release(n: number): void {
    this.#head = (this.#head + n) | 0;
    if (this.#head === this.#tailSeen || ((this.#head - this.#headGiven) | 0) >= this.#quarter) {
      this.flush();
    }
  }

  /** Gives back now what `release` still holds. */
  flush(): void {
    if (this.#headGiven === this.#head) return;
    this.#headGiven = this.#head;
    Atomics.store(this.words, HEAD, this.#head); // pairs with claim of the writer
  }

  /** Copies up to `n` elements into `into`; returns how many. */
  receive(into: Uint8Array, n: number): number {
    const size = this.elementBytes;
    const room = Math.floor(into.length / size);
    let done = 0;
    const wanted = Math.min(n, room);
    while (done < wanted) {
      const got = this.peek(wanted - done);
      if (got === 0) break;
      if (size === this.stride) {
        copy(into, done * size, this.bytes, this.offset, got * size);
      } else {
        for (let i = 0; i < got; ++i) {
          copy(into, (done + i) * size, this.bytes, this.offset + i * this.stride, size);
        }
      }
      this.release(got);
      done += got;
    }
    return done;
  }

  /** Is there an element? */
  ready(): boolean {
    return this.#tailSeen !== this.#head || this.peek(1) !== 0;
  }

  /** Elements known to be there, without looking. */
  depth(): number {
    return (this.#tailSeen - this.#head) | 0;
  }

  // Pairs with commit of the writer: the slot holds the element of this lap.
  #holds(index: number): boolean {
    const word = this.sequence + (index & this.#mask) * this.#slotWords;
    return Atomics.load(this.words, word) === ((index + 1) | 0);
  }
}

/** The writing half. */
export class RingWriter extends RingMemory {
  /** Byte of the first claimed slot, in `bytes`. */
  offset = 0;
  readonly #mask: number;
  readonly #bulk: boolean;
  readonly #slotWords: number;
  #tail: number;
  #headSeen: number;

  constructor(memory: ArrayBuffer) {
    super(memory);
    this.#mask = this.capacity - 1;
    this.#bulk = this.layout === 'bulk';
    this.#slotWords = this.stride / 4;
    this.#tail = Atomics.load(this.words, TAIL);
    this.#headSeen = Atomics.load(this.words, HEAD); // pairs with flush of the reader
  }

  /** How many of the next `n` slots are free, side by side; sets `offset` to the first. */
  claim(n: number): number {
    let room = this.capacity - ((this.#tail - this.#headSeen) | 0);
    if (room < n) {
      this.#headSeen = Atomics.load(this.words, HEAD); // pairs with flush of the reader
      room = this.capacity - ((this.#tail - this.#headSeen) | 0);
    }
    const at = this.#tail & this.#mask;
    const toEnd = this.capacity - at;
    this.offset = at * this.stride;
    const most = Math.min(n, toEnd);
    return Math.min(most, room);
  }

  /** Gives the first `n` claimed slots to the reader. */
  commit(n: number): void {
    if (this.#bulk) {
      this.#tail = (this.#tail + n) | 0;
      Atomics.store(this.words, TAIL, this.#tail); // pairs with peek of the reader
      return;
    }
    for (let i = 0; i < n; ++i) {
      const word = this.sequence + (this.#tail & this.#mask) * this.#slotWords;
      this.#tail = (this.#tail + 1) | 0;
      Atomics.store(this.words, word, this.#tail); // pairs with peek of the reader
    }
    this.words[TAIL] = this.#tail; // for observers of the depth only
  }

  /** Copies up to `n` elements of `from` in; returns how many, fewer when the ring is full. */
  send(from: Uint8Array, n: number): number {
    const size = this.elementBytes;
    const there = Math.floor(from.length / size);
    const wanted = Math.min(n, there);
    let done = 0;
    while (done < wanted) {
      const got = this.claim(wanted - done);
      if (got === 0) break;
      if (size === this.stride) {
        copy(this.bytes, this.offset, from, done * size, got * size);
      } else {
        for (let i = 0; i < got; ++i) {
          copy(this.bytes, this.offset + i * this.stride, from, (done + i) * size, size);
        }
      }
      this.commit(got);
      done += got;
    }
    return done;
  }

  /** Elements not yet taken, as the reader has said by now. */
  depth(): number {
    this.#headSeen = Atomics.load(this.words, HEAD); // pairs with flush of the reader
    return (this.#tail - this.#headSeen) | 0;
  }
}
