// Reads the events of shards (native/include/vanity/events.hpp) from a segment: of a system that runs, that was killed,
// or from an archive. Numbers become words here; every number is untrusted.
import { type Native, native } from '../native.js';
import { count, type RingName, type Row, type Segment, type SegmentRing, text } from './segment.js';

/** What an event is. */
export type EventKind =
  | 'state'
  | 'step'
  | 'fault'
  | 'restart'
  | 'reload'
  | 'turn'
  | 'receive'
  | 'send'
  | 'drop'
  | 'sleep'
  | 'wake'
  | 'block'
  | 'unblock'
  | 'watermark';

/** By its number; 0 is none. */
const KINDS: readonly (EventKind | 'none')[] = [
  'none',
  'state',
  'step',
  'fault',
  'restart',
  'reload',
  'turn',
  'receive',
  'send',
  'drop',
  'sleep',
  'wake',
  'block',
  'unblock',
  'watermark',
];
const FAULTS = ['none', 'signal', 'overflow', 'exception', 'descriptor', 'init', 'asked'];
const CHANGES = ['switched', 'kept', 'undone', 'refused'];
const WAKES = ['signalled', 'deadline', 'limit', 'spurious'];
const SIGNALS: Record<number, string> = {
  4: 'SIGILL',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  11: 'SIGSEGV',
};
/** Of an event: its time, what it is, and two of its own. */
export const EVENT_WORDS = 4;
const RINGS: readonly RingName[] = ['events', 'fault_events', 'packet_events'];
const COPY_TRIES = 20;
const BELL_GROUPS = 32;
const BELL_CHANNELS = 16;
/** Control bytes of the doorbell, behind those of the channels. */
const BELL_CONTROLS = ['kernel', 'interrupt'];

/** One event of one shard. Which of the rest there is depends on what it is. */
export interface ShardEvent {
  /** Nanoseconds since the system booted. */
  ns: number;
  /** Index of the shard. */
  shard: number;
  event: EventKind | `unknown(${number})`;
  /** Elements or packets; what has no room, of `block`; the number of it, of `step`, `restart` and `reload`. */
  n?: number;
  /** Of `state`: where it went. */
  state?: string;
  channel?: string;
  /** Index of the channel. */
  channelIndex?: number;
  /** Of the channel: elements that went through it, these among them. */
  position?: number;
  /** A port that it received from. */
  port?: string;
  /** Number of an output that is a port's. */
  output?: number;
  /** Of `turn`, `wake` and `unblock`: how long it took; absent when its beginning was not seen. */
  durationNs?: number;
  /** Of `wake`: signalled, deadline, limit or spurious. */
  how?: string;
  /** Of `wake`: channels that had work, `kernel`, `interrupt`. Above 32 channels the first and last of a group. */
  by?: string[];
  /** Of `wake`: it found work before it slept. */
  spun?: boolean;
  /** Of `watermark`. */
  above?: boolean;
  /** Of `fault`. */
  fault?: string;
  signal?: string;
  address?: string;
  at?: string;
  /** Of `reload`: switched, kept, undone, refused. */
  change?: string;
}

/** Of one shard, what there is to read. */
export interface EventSource {
  shard: string;
  /** Its bursts and waits are noted. */
  tracing: boolean;
  /** Events that were written over before they were read. */
  lost: number;
}

/** How far a ring was read. */
export interface RingCursor {
  next: number;
  lost: number;
}

interface Cursor extends RingCursor {
  index: number;
  epoch: bigint;
  /** Channels into it, in the order of its doorbell. */
  inputs: string[];
  sleptAt: number | undefined;
  blockedAt: number | undefined;
}

const SETTLE_MS = 20;

/** Reads on where it was: each event once, those of all its shards in the order of time. */
export class EventReader {
  #waiting: ShardEvent[] = [];
  /** Of those that were there when it was looked for settled ones the last time, and when that was. */
  #newest = Number.NEGATIVE_INFINITY;
  #markedMs = Number.NEGATIVE_INFINITY;
  readonly #segment: Segment;
  readonly #ring: 'events' | 'fault_events';
  readonly #cursors: Cursor[];
  readonly #shards: Row[];
  readonly #channels: Row[];
  readonly #ports: Row[];
  readonly #states: string[];

  /** `shards`: indices; `ring`: those of now, or those that were kept at the last fault. */
  constructor(
    segment: Segment,
    shards: readonly number[],
    ring: 'events' | 'fault_events' = 'events',
  ) {
    this.#segment = segment;
    this.#ring = ring;
    this.#shards = segment.rows('shards');
    this.#channels = segment.rows('channels');
    this.#ports = segment.rows('ports');
    const state = segment.fields('shards').find(({ name }) => name === 'state');
    this.#states = state?.text.split('|') ?? [];
    const rows = segment.rows('events');
    this.#cursors = shards
      .filter((index) => segment.ring(ring, index) !== undefined)
      .map((index) => ({
        index,
        next: 0,
        lost: 0,
        epoch: BigInt(count(rows[index], 'epoch_ticks')),
        inputs: this.#channels
          .filter((row) => count(row, 'to') === index)
          .map((row) => text(row, 'name')),
        sleptAt: undefined,
        blockedAt: undefined,
      }));
  }

  /** False: the segment was written by a build that has no events. */
  get any(): boolean {
    return this.#cursors.length > 0;
  }

  sources(): EventSource[] {
    return this.#cursors.map(({ index, lost }) => ({
      shard: text(this.#shards[index], 'name'),
      tracing: tracesEvents(this.#segment.rows('shards')[index]),
      lost,
    }));
  }

  /** What comes from now on; what was missed until now is not lost. */
  skip(): void {
    this.read();
    for (const cursor of this.#cursors) cursor.lost = 0;
  }

  /** All that there is since the last time. */
  read(): ShardEvent[] {
    this.#take();
    const events = this.#waiting.sort((a, b) => a.ns - b.ns || a.shard - b.shard);
    this.#waiting = [];
    return events;
  }

  /**
   * The same for whoever asks again and again, in the order of time from one call to the next, too: a shard may be
   * late to tell what came before the events of others, so they wait for it, 20 ms to 40 ms.
   */
  readInOrder(nowMs: number = performance.now()): ShardEvent[] {
    if (nowMs - this.#markedMs < SETTLE_MS) {
      this.#take();
      return [];
    }
    const events = this.read();
    const settled = this.#newest;
    this.#markedMs = nowMs;
    this.#newest = events.at(-1)?.ns ?? settled;
    const newer = events.findIndex(({ ns }) => ns > settled);
    if (newer !== -1) this.#waiting = events.splice(newer);
    return events;
  }

  #take(): void {
    for (const cursor of this.#cursors) {
      for (const event of this.#readOne(cursor)) this.#waiting.push(event);
    }
  }

  #readOne(cursor: Cursor): ShardEvent[] {
    const next = cursor.next;
    const words = readRing(this.#segment.ring(this.#ring, cursor.index) as SegmentRing, cursor);
    if (cursor.next - words.length / EVENT_WORDS > next) {
      cursor.sleptAt = cursor.blockedAt = undefined;
    }
    const events: ShardEvent[] = [];
    for (let at = 0; at < words.length; at += EVENT_WORDS) {
      const event = this.#decode(cursor, words.subarray(at, at + EVENT_WORDS));
      if (event !== undefined) events.push(event);
    }
    return events;
  }

  #decode(cursor: Cursor, words: BigUint64Array): ShardEvent | undefined {
    const [ticks, packed, a, b] = words as unknown as [bigint, bigint, bigint, bigint];
    const kind = Number(packed & 0xffn);
    const what = Number((packed >> 8n) & 0xffn);
    const place = Number((packed >> 16n) & 0xffffn);
    const n = Number(packed >> 32n);
    const name = KINDS[kind];
    // The slot of an archive that was given up while it was copied.
    if (name === 'none') return undefined;
    const ns = this.#ns(cursor, ticks);
    const event: ShardEvent = { ns, shard: cursor.index, event: name ?? `unknown(${kind})` };
    switch (name) {
      case 'state':
        event.state = this.#states[what] ?? `unknown(${what})`;
        break;
      case 'step':
      case 'restart':
      case 'drop':
        event.n = n;
        break;
      case 'fault':
        event.fault = FAULTS[what] ?? `unknown(${what})`;
        if (n !== 0) {
          event.signal = SIGNALS[n] ?? `signal ${n}`;
          event.address = `0x${a.toString(16)}`;
        }
        if (b !== 0n) event.at = `0x${b.toString(16)}`;
        break;
      case 'reload':
        event.change = CHANGES[what] ?? `unknown(${what})`;
        event.n = n;
        break;
      case 'turn':
        event.n = n;
        event.durationNs = ns - this.#ns(cursor, a);
        break;
      case 'receive':
      case 'send':
        event.n = n;
        this.#where(event, what, place);
        if (what === 0) event.position = Number(a);
        break;
      case 'sleep':
        cursor.sleptAt = ns;
        break;
      case 'wake':
        event.how = WAKES[what] ?? `unknown(${what})`;
        event.by = marked(a, cursor.inputs);
        event.spun = n === 0;
        if (cursor.sleptAt !== undefined) event.durationNs = ns - cursor.sleptAt;
        cursor.sleptAt = undefined;
        break;
      case 'block':
        event.n = n;
        this.#where(event, what, place);
        cursor.blockedAt = ns;
        break;
      case 'unblock':
        event.n = n;
        this.#where(event, what, place);
        if (cursor.blockedAt !== undefined) event.durationNs = ns - cursor.blockedAt;
        cursor.blockedAt = undefined;
        break;
      case 'watermark':
        event.n = n;
        event.above = what === 1;
        this.#where(event, 0, place);
        break;
    }
    return event;
  }

  // A channel; or, by `what`, a port: one that packets came from, or an output.
  #where(event: ShardEvent, what: number, place: number): void {
    if (what === 0) {
      event.channel = text(this.#channels[place], 'name') || `channel ${place}`;
      event.channelIndex = place;
    } else if (what === 1 && event.event === 'receive') {
      event.port = text(this.#ports[place], 'name') || `port ${place}`;
    } else if (what === 1) {
      event.output = place;
    }
  }

  #ns(cursor: Cursor, ticks: bigint): number {
    return sinceNs(this.#segment, cursor.epoch, ticks);
  }
}

/** Nanoseconds from one reading of the processor's counter to another. */
export function sinceNs(segment: Segment, from: bigint, to: bigint): number {
  return Math.round((Number(BigInt.asIntN(64, to - from)) * 1e9) / segment.ticksPerSecond);
}

/** Are bursts and waits of this shard noted? Are sampled packets? */
export const tracesEvents = (shard: Row | undefined): boolean =>
  ['on', 'both'].includes(text(shard, 'tracing'));
export const tracesPackets = (shard: Row | undefined): boolean =>
  ['packets', 'both'].includes(text(shard, 'tracing'));

/** What came into a ring since the last time, four words an event. */
export function readRing(from: SegmentRing, cursor: RingCursor): BigUint64Array {
  const { buffer, written, ring, slots } = from;
  const copied =
    cursor.next === 0
      ? copyAll(from)
      : native.copyEvents(buffer, written, ring, slots, cursor.next);
  // What the ring had lost before anybody looked is its past, and nobody's loss.
  if (cursor.next > 0) cursor.lost += copied.first - cursor.next;
  cursor.next = copied.first + copied.count;
  return new BigUint64Array(copied.words, 0, copied.count * EVENT_WORDS);
}

/**
 * All that a ring holds. Whoever is interrupted while it copies may find everything written over: it tries again, and
 * keeps the most that it got.
 */
function copyAll({ buffer, written, ring, slots }: SegmentRing): ReturnType<Native['copyEvents']> {
  let best = native.copyEvents(buffer, written, ring, slots, 0);
  for (let i = 1; i < COPY_TRIES && best.first > 0 && best.count < (slots * 3) / 4; i++) {
    const next = native.copyEvents(buffer, written, ring, slots, 0);
    if (next.count > best.count) best = next;
  }
  return best;
}

/** Whose marks a doorbell had, as native/include/vanity/doorbell.hpp lays them out. */
function marked(marks: bigint, inputs: readonly string[]): string[] {
  const names: string[] = [];
  const has = (bit: number): boolean => ((marks >> BigInt(bit)) & 1n) === 1n;
  for (let bit = 0; bit < BELL_GROUPS; bit++) {
    if (!has(bit)) continue;
    const first = inputs.length > BELL_GROUPS ? bit * BELL_CHANNELS : bit;
    const last = inputs.length > BELL_GROUPS ? first + BELL_CHANNELS - 1 : bit;
    const group = inputs.slice(first, last + 1);
    names.push(group.length > 1 ? `${group[0]}..${group.at(-1)}` : (group[0] ?? `input ${bit}`));
  }
  BELL_CONTROLS.forEach((name, i) => {
    if (has(BELL_GROUPS + i)) names.push(name);
  });
  return names;
}

/**
 * Puts the events of a segment that was being written into the copy of it that is to be kept: a copy as such may
 * hold halves of two.
 */
export function settleEvents(live: Segment, copy: Segment): void {
  live.rows('events').forEach((_, index) => {
    for (const name of RINGS) {
      const from = live.ring(name, index);
      const to = copy.ring(name, index);
      if (from === undefined || to === undefined) continue;
      const copied = copyAll(from);
      const ring = new BigUint64Array(to.buffer, to.ring, to.slots * EVENT_WORDS).fill(0n);
      const words = new BigUint64Array(copied.words);
      for (let i = 0; i < copied.count; i++) {
        const slot = (copied.first + i) % to.slots;
        ring.set(words.subarray(i * EVENT_WORDS, (i + 1) * EVENT_WORDS), slot * EVENT_WORDS);
      }
      new BigUint64Array(to.buffer, to.written, 1)[0] = BigInt(copied.first + copied.count);
    }
  });
}
