// What is in the channels of a system: copied out of the rings (the byte map of native/include/vanity/channel.hpp) while
// both ends may go on. Every number is untrusted.
import { VanityError } from '../errors.js';
import { Arenas } from './arenas.js';
import { count, type Row, type Segment, text } from './segment.js';

/** Elements a channel when nobody says how many. */
export const CONTENTS_ELEMENTS = 64;
/** Of all channels of a system together. */
export const CONTENTS_BYTES_MAX = 2 ** 24;
/** Of a packet. */
const PACKET_BYTES = 128;

const HEADER_BYTES = 384;
const MAGIC = 0x48434e56;
const TAIL = 128;
const HEAD = 256;
/** Of a slot, at most: a sequence number, and what fills its last line. */
const SLOT_EXTRA = 64;
const META = 64;
const META_BYTES = 16;
const POOL_SHIFT = 24;
/** A busy channel moves on while it is copied: so often it is tried, and so much more than is wanted is taken. */
const TRIES = 20;
const SPARE_BYTES = 2 ** 18;

const NO_SHARD = 0xffffffff;

/** A packet in a channel: its descriptor, and the rest where it could be read before the reader had the packet. */
export interface QueuedPacket {
  buffer: number;
  hash: number;
  offset: number;
  length: number;
  port: number;
  flags: number;
  wireLength?: number;
  timestampNs?: bigint | string;
  /** In hex. */
  bytes?: string;
}

export interface QueuedElement {
  /** Of all that ever went through, modulo 2^32. */
  position: number;
  /** In hex. */
  data: string;
  packet?: QueuedPacket;
}

export interface ChannelContents {
  channel: string;
  from: string;
  to: string;
  packets: boolean;
  capacity: number;
  elementBytes: number;
  /** Elements in it, as it was copied. */
  depth: number;
  /** The oldest first, which the reader takes next. */
  elements: QueuedElement[];
  /** Taken by the reader while they were copied. */
  movedOn: number;
  /** Beyond the limit. */
  leftOut: number;
}

/** The member of an archive that has them, or says why there are none. */
export const CONTENTS_MEMBER = 'channels.json';

export interface ArchivedContents {
  /** Elements a channel, at most. */
  most: number;
  channels?: ChannelContents[];
  /** Why they could not be read. */
  why?: string;
}

const APART = 0xffffffffffffffffn;

/** For an archive: never throws. */
export function archiveContents(segment: Segment, live: boolean, most: number): ArchivedContents {
  try {
    return { most, channels: readContents(segment, live, most) };
  } catch (error) {
    return { most, why: VanityError.from(error).message };
  }
}

/**
 * Up to `most` elements of each channel, the oldest ones. Throws VANITY_E_CONTENTS when the memory of the process can't be
 * read; what is not live has none.
 */
export function readContents(segment: Segment, live: boolean, most: number): ChannelContents[] {
  if (!live) {
    throw new VanityError('VANITY_E_CONTENTS', {
      problem: `process ${segment.pid} is gone, and with it the memory of its shards`,
      hint: 'What is in channels can be read while the process is there: dump it before it is killed.',
    });
  }
  const arenas = new Arenas(segment);
  try {
    return copyContents(segment, arenas, most);
  } finally {
    arenas.close();
  }
}

/** The same from memory that somebody else reads. */
export function copyContents(
  segment: Segment,
  arenas: Pick<Arenas, 'read'>,
  most: number,
): ChannelContents[] {
  const reader = new Reader(segment, arenas);
  // Nor of those whose ring lies in no arena of a shard: one that came while the system ran.
  const there = segment
    .rows('channels')
    .filter((row) => row.name !== '' && row.arena_offset !== APART);
  return there.map((row) => reader.channel(row, most));
}

class Reader {
  readonly #arenas: Pick<Arenas, 'read'>;
  readonly #shards: Row[];
  readonly #pools: Row[];
  #room = CONTENTS_BYTES_MAX;

  constructor(segment: Segment, arenas: Pick<Arenas, 'read'>) {
    this.#arenas = arenas;
    this.#shards = segment.rows('shards');
    this.#pools = segment.rows('pools');
  }

  channel(row: Row, most: number): ChannelContents {
    const packets = count(row, 'carries_packets') === 1;
    const elementBytes = count(row, 'element_bytes');
    const each = elementBytes + (packets ? PACKET_BYTES : 0);
    const limit = Math.min(most, Math.floor(this.#room / each));
    let best = this.#once(row, limit, packets);
    for (let i = 1; i < TRIES && best.movedOn > best.elements.length; i++) {
      const next = this.#once(row, limit, packets);
      if (next.elements.length > best.elements.length) best = next;
    }
    this.#room -= best.elements.length * each;
    return best;
  }

  #once(row: Row, limit: number, packets: boolean): ChannelContents {
    // A segment of an older build does not say: it was the consumer's.
    const arena = count(row, row.arena === undefined ? 'to' : 'arena');
    // Between two processes, neither of which is the one that is read.
    if (arena === NO_SHARD) return this.#nothing(row, packets);
    const at = BigInt(count(row, 'arena_offset'));
    const capacity = count(row, 'capacity');
    const elementBytes = count(row, 'element_bytes');
    const header = this.#arenas.read(arena, at, HEADER_BYTES);
    const slotBytes = header.readUInt32LE(16);
    if (
      header.readUInt32LE(0) !== MAGIC ||
      header.readUInt32LE(8) !== capacity ||
      header.readUInt32LE(12) !== elementBytes ||
      slotBytes < elementBytes ||
      slotBytes > elementBytes + SLOT_EXTRA
    ) {
      throw new VanityError('VANITY_E_CONTENTS', {
        problem: `the ring of channel ${text(row, 'name')} is damaged`,
        hint: 'Something has written over it. The rest of the system can be looked at: vanity stats',
      });
    }
    const latency = header.readUInt32LE(20) === 1;
    const head = header.readUInt32LE(HEAD);
    const depth = Math.min((header.readUInt32LE(TAIL) - head) >>> 0, capacity);
    const window = limit === 0 ? 0 : Math.min(depth, limit + Math.floor(SPARE_BYTES / slotBytes));
    const first = head & (capacity - 1);
    const before = Math.min(window, capacity - first);
    const slots = (from: number, n: number): Buffer =>
      this.#arenas.read(arena, at + BigInt(HEADER_BYTES + from * slotBytes), n * slotBytes);
    // What the reader has not given back afterwards was not written over meanwhile; nor was its buffer.
    const taken = (): number =>
      (this.#arenas.read(arena, at + BigInt(HEAD), 4).readUInt32LE(0) - head) >>> 0;
    const copied = Buffer.concat([slots(first, before), slots(0, window - before)]);
    const movedOn = Math.min(taken(), window);
    const elements: QueuedElement[] = [];
    for (let i = movedOn; i < window && elements.length < limit; i++) {
      const slot = copied.subarray(i * slotBytes, (i + 1) * slotBytes);
      const position = (head + i) >>> 0;
      // Its sequence says whether the element of this lap is in it.
      if (latency && slot.readUInt32LE(slotBytes - 4) !== (position + 1) >>> 0) break;
      const data = slot.subarray(0, elementBytes);
      elements.push({
        position,
        data: data.toString('hex'),
        ...(packets ? { packet: this.#packet(data) } : {}),
      });
    }
    if (packets && elements.length > 0) {
      for (const { packet } of elements.slice(0, Math.max(0, taken() - movedOn))) {
        delete packet?.bytes;
        delete packet?.timestampNs;
        delete packet?.wireLength;
      }
    }
    return {
      channel: text(row, 'name'),
      from: text(this.#shards[count(row, 'from')], 'name'),
      to: text(this.#shards[count(row, 'to')], 'name'),
      packets,
      capacity,
      elementBytes,
      depth,
      elements,
      movedOn,
      leftOut: depth - movedOn - elements.length,
    };
  }

  #nothing(row: Row, packets: boolean): ChannelContents {
    return {
      channel: text(row, 'name'),
      from: text(this.#shards[count(row, 'from')], 'name'),
      to: text(this.#shards[count(row, 'to')], 'name'),
      packets,
      capacity: count(row, 'capacity'),
      elementBytes: count(row, 'element_bytes'),
      depth: 0,
      elements: [],
      movedOn: 0,
      leftOut: 0,
    };
  }

  #packet(descriptor: Buffer): QueuedPacket {
    const packet: QueuedPacket = {
      buffer: descriptor.readUInt32LE(0),
      hash: descriptor.readUInt32LE(4),
      offset: descriptor.readUInt16LE(8),
      length: descriptor.readUInt16LE(10),
      port: descriptor.readUInt16LE(12),
      flags: descriptor.readUInt16LE(14),
    };
    const pool = this.#pools[packet.buffer >>> POOL_SHIFT];
    const index = packet.buffer & (2 ** POOL_SHIFT - 1);
    const offset = pool?.arena_offset;
    if (pool === undefined || index >= count(pool, 'buffers')) return packet;
    // Buffers that a peer shares lie in no arena of a shard.
    if (offset === undefined || BigInt(offset as number | bigint) === 2n ** 64n - 1n) return packet;
    const shard = count(pool, 'shard');
    const at = BigInt(offset as number | bigint) + BigInt(index) * BigInt(count(pool, 'stride'));
    const meta = this.#arenas.read(shard, at + BigInt(META), META_BYTES);
    packet.timestampNs = meta.readBigUInt64LE(0);
    packet.wireLength = Math.max(meta.readUInt32LE(8), packet.length);
    if (packet.offset + packet.length <= count(pool, 'buffer_bytes')) {
      const bytes = Math.min(packet.length, PACKET_BYTES);
      packet.bytes = this.#arenas.read(shard, at + BigInt(packet.offset), bytes).toString('hex');
    }
    return packet;
  }
}
