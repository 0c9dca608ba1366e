// Reads the events of sampled packets (native/include/vanity/events.hpp) from a segment, and puts those of each packet
// together: the way it went, where it waited, and what for. Every number is untrusted.
import {
  EVENT_WORDS,
  type EventSource,
  type RingCursor,
  readRing,
  sinceNs,
  tracesPackets,
} from './events.js';
import { count, type Row, type Segment, type SegmentRing, text } from './segment.js';

// Numbers of EventKind.
const PACKET = 15;
const BYTES = 16;
const TOOK = 17;
const GAVE = 18;
const ENDED = 19;
const WAITED = 20;

const ENDINGS = ['consumed', 'filtered', 'dropped'] as const;
const WAITS = ['asleep', 'polling', 'yielding', 'blocked', 'transmitting', 'held'] as const;
/** Bits of a number that count; those above are the shard. */
const COUNT_BITS = 24;
/** Bytes of an event that are the packet's. */
const CHUNK = 16;

/** Where a packet came from, or went. */
export type PacketPlace = { channel: string } | { port: string } | { made: true };

/**
 * What a shard did while a packet waited for it: `busy` with what came before; `asleep` or `polling`, having nothing
 * to do until it saw the packet, or on a shared core `yielding` it to others; `blocked` by a full channel, or
 * `transmitting` into a port without room; `held`.
 */
export interface PacketWait {
  for: (typeof WAITS)[number] | 'busy';
  /** The channel or port that had no room. */
  in?: string;
  ns: number;
}

/** One shard on the way of a packet. */
export interface PacketStep {
  shard: string;
  /** Index of the shard. */
  shardIndex: number;
  /** When the shard took it: nanoseconds since the system booted. */
  ns: number;
  /** Absent when that was written over. */
  from?: PacketPlace;
  /** How long it lay in the channel, and what the shard did meanwhile. Absent when it was not seen to go in. */
  waitedNs?: number;
  waitedFor?: PacketWait[];
  /** How long the shard had it; and how much of that is waiting for room. Absent when it was not seen to leave. */
  servedNs?: number;
  servedFor?: PacketWait[];
  /** Where it went; to several, when the shard multiplies. */
  to: PacketPlace[];
  /** By whom it was ended here. */
  ended?: (typeof ENDINGS)[number];
}

/** The way of one sampled packet. */
export interface PacketWay {
  /** "split.17": the shard where it came in, and a number. */
  packet: string;
  number: number;
  /** When it was first seen: nanoseconds since the system booted. */
  ns: number;
  /** Of the frame held, and on the wire. */
  bytes: number;
  wireBytes: number;
  /** Its own time, as the port says, in nanoseconds since 1970; 0 when unknown. */
  timestampNs: bigint;
  /** The first bytes of it. */
  data: Uint8Array;
  /** In the order of time. */
  steps: PacketStep[];
  /** Each branch of it was seen to its end. */
  whole: boolean;
  /** From its first to its last event. */
  totalNs: number;
}

interface Raw {
  kind: number;
  what: number;
  place: number;
  ns: number;
  shard: number;
  a: bigint;
  b: bigint;
}

interface Interval {
  from: number;
  to: number;
  what: number;
  place: number;
}

interface Cursor extends RingCursor {
  index: number;
  epoch: bigint;
}

/** What was heard of a packet so far. */
interface Heard {
  raws: Raw[];
  /** When last, in milliseconds, and whether its way was looked at since. */
  at: number;
  looked: boolean;
}

/** A step while it is put together. */
interface Draft extends PacketStep {
  channel: number;
  left: { ns: number; channel: number; taken: boolean }[];
  leftNs?: number;
}

/** Events of one packet come from several shards, which are read one after the other. */
const QUIET_MS = 50;
/** What was not seen to its end by then is told as it is. */
const PATIENCE_MS = 10_000;

/** Collects what there is of sampled packets, until it is asked for their ways. */
export class PacketReader {
  readonly #segment: Segment;
  readonly #cursors: Cursor[];
  readonly #shards: Row[];
  readonly #channels: Row[];
  readonly #ports: Row[];
  /** Names of the ports behind the outputs of each shard. */
  readonly #portOutputs: string[][];
  /** By number. */
  readonly #packets = new Map<number, Heard>();
  /** By shard. */
  readonly #waits: Interval[][];
  #events = 0;
  #now = 0;

  constructor(segment: Segment) {
    this.#segment = segment;
    this.#shards = segment.rows('shards');
    this.#channels = segment.rows('channels');
    this.#ports = segment.rows('ports');
    const queues = segment.rows('queues');
    this.#portOutputs = this.#shards.map((_, shard) =>
      queues
        .filter((row) => text(row, 'direction') === 'tx' && count(row, 'shard') === shard)
        .map((row) => text(this.#ports[count(row, 'port')], 'name')),
    );
    this.#waits = this.#shards.map(() => []);
    const rows = segment.rows('events');
    this.#cursors = this.#shards.flatMap((_, index) =>
      segment.ring('packet_events', index) === undefined
        ? []
        : [{ index, next: 0, lost: 0, epoch: BigInt(count(rows[index], 'epoch_ticks')) }],
    );
  }

  /** False: the segment was written by a build that samples no packets. */
  get any(): boolean {
    return this.#cursors.length > 0;
  }

  /** Events kept so far. */
  get events(): number {
    return this.#events;
  }

  sources(): EventSource[] {
    const rows = this.#segment.rows('shards');
    return this.#cursors.map(({ index, lost }) => ({
      shard: text(rows[index], 'name'),
      tracing: tracesPackets(rows[index]),
      lost,
    }));
  }

  /** Forgets what there was until now. */
  skip(): void {
    this.read();
    for (const cursor of this.#cursors) cursor.lost = 0;
    this.#packets.clear();
    for (const waits of this.#waits) waits.length = 0;
    this.#events = 0;
  }

  /** Takes in what came since the last time. */
  read(): void {
    this.#now = performance.now();
    for (const cursor of this.#cursors) {
      const ring = this.#segment.ring('packet_events', cursor.index) as SegmentRing;
      const words = readRing(ring, cursor);
      this.#events += words.length / EVENT_WORDS;
      for (let at = 0; at < words.length; at += EVENT_WORDS) this.#take(cursor, words, at);
    }
  }

  #take({ index, epoch }: Cursor, words: BigUint64Array, at: number): void {
    const [ticks, packed, a, b] = words.subarray(at, at + EVENT_WORDS) as unknown as [
      bigint,
      bigint,
      bigint,
      bigint,
    ];
    const kind = Number(packed & 0xffn);
    if (kind < PACKET || kind > WAITED) return;
    const what = Number((packed >> 8n) & 0xffn);
    const place = Number((packed >> 16n) & 0xffffn);
    const number = Number(packed >> 32n);
    const ns = sinceNs(this.#segment, epoch, ticks);
    if (kind === WAITED) {
      const from = sinceNs(this.#segment, epoch, a);
      const waits = this.#waits[index] as Interval[];
      const last = waits.at(-1);
      // Noted once more when it went on.
      if (last?.from === from && last.what === what) last.to = ns;
      else waits.push({ from, to: ns, what, place });
      return;
    }
    const raw: Raw = { kind, what, place, ns, shard: index, a, b };
    const known = this.#packets.get(number);
    if (known === undefined) {
      this.#packets.set(number, { raws: [raw], at: this.#now, looked: false });
    } else {
      known.raws.push(raw);
      known.at = this.#now;
      known.looked = false;
    }
  }

  /** The ways of all packets that were seen to come in, in the order of time. */
  ways(): PacketWay[] {
    return [...this.#packets]
      .flatMap(([number, { raws }]) => this.#way(number, raws) ?? [])
      .sort((a, b) => a.ns - b.ns || a.number - b.number);
  }

  /** Of those that nothing is heard of any more, which are forgotten then; the others in time. */
  settled(): PacketWay[] {
    const settled: PacketWay[] = [];
    for (const [number, heard] of this.#packets) {
      const quiet = this.#now - heard.at;
      if (quiet < QUIET_MS || (heard.looked && quiet < PATIENCE_MS)) continue;
      const way = this.#way(number, heard.raws);
      heard.looked = true;
      if (way?.whole === false && quiet < PATIENCE_MS) continue;
      this.#packets.delete(number);
      this.#events -= heard.raws.length;
      if (way !== undefined) settled.push(way);
    }
    // What shards waited for before the oldest of the others came in, nobody will ask any more.
    const [oldest] = this.#packets.values();
    const since = oldest?.raws[0]?.ns ?? Number.POSITIVE_INFINITY;
    for (const [shard, waits] of this.#waits.entries()) {
      const kept = waits.filter(({ to }) => to >= since);
      this.#events -= waits.length - kept.length;
      this.#waits[shard] = kept;
    }
    return settled.sort((a, b) => a.ns - b.ns || a.number - b.number);
  }

  #way(number: number, raws: readonly Raw[]): PacketWay | undefined {
    const first = raws.find(({ kind }) => kind === PACKET);
    if (first === undefined) return undefined;
    const bytes = Number(first.a & 0xffff_ffffn);
    const steps = this.#steps(raws);
    const lefts = steps.flatMap(({ left }) => left);
    const last = Math.max(...raws.map(({ ns }) => ns));
    return {
      packet: `${text(this.#shards[number >>> COUNT_BITS], 'name')}.${number & (2 ** COUNT_BITS - 1)}`,
      number,
      ns: first.ns,
      bytes,
      wireBytes: Number(first.a >> 32n),
      timestampNs: first.b,
      data: dataOf(raws.filter(({ kind }) => kind === BYTES)),
      steps: steps.map(({ channel: _, left: _l, leftNs: _n, ...step }) => step),
      whole:
        lefts.every(({ taken, channel }) => taken || channel < 0) &&
        steps.every(({ ended, to }) => ended !== undefined || to.length > 0),
      totalNs: last - first.ns,
    };
  }

  #steps(raws: readonly Raw[]): Draft[] {
    const steps: Draft[] = [];
    // Within a shard they are in order; between shards, by what goes in and comes out of a channel.
    const current = new Map<number, Draft>();
    const begin = (raw: Raw, from: PacketPlace | undefined, channel = -1): Draft => {
      const step: Draft = {
        shard: text(this.#shards[raw.shard], 'name'),
        shardIndex: raw.shard,
        ns: raw.ns,
        ...(from === undefined ? {} : { from }),
        to: [],
        channel,
        left: [],
      };
      steps.push(step);
      current.set(raw.shard, step);
      return step;
    };
    for (const raw of raws) {
      const { kind, what, place, shard } = raw;
      if (kind === PACKET) {
        if (current.has(shard)) continue;
        begin(raw, what === 2 ? { made: true } : { port: this.#portName(place) });
      } else if (kind === TOOK) {
        begin(raw, { channel: this.#channelName(place) }, place);
      } else if (kind === GAVE || kind === ENDED) {
        const step = current.get(shard) ?? begin(raw, undefined);
        step.leftNs = raw.ns;
        if (kind === ENDED) {
          step.ended = ENDINGS[what] ?? 'dropped';
        } else if (what === 0) {
          step.to.push({ channel: this.#channelName(place) });
          step.left.push({ ns: raw.ns, channel: place, taken: false });
        } else {
          step.to.push({ port: this.#outputName(shard, place) });
        }
      }
    }
    steps.sort((a, b) => a.ns - b.ns);
    const lefts = steps.flatMap(({ left }) => left).sort((a, b) => a.ns - b.ns);
    for (const step of steps) {
      if (step.channel >= 0) {
        const came = lefts.findLast(
          ({ channel, ns, taken }) => !taken && channel === step.channel && ns <= step.ns,
        );
        if (came !== undefined) {
          came.taken = true;
          step.waitedNs = step.ns - came.ns;
          step.waitedFor = this.#waitsOf(step.shardIndex, came.ns, step.ns, true);
        }
      }
      if (step.leftNs !== undefined && step.from !== undefined) {
        step.servedNs = step.leftNs - step.ns;
        step.servedFor = this.#waitsOf(step.shardIndex, step.ns, step.leftNs, false);
      }
    }
    return steps;
  }

  /** What a shard waited for between two times, most first; `rest`: and how long it did not. */
  #waitsOf(shard: number, from: number, to: number, rest: boolean): PacketWait[] {
    const found = new Map<string, PacketWait>();
    let busy = to - from;
    for (const wait of this.#waits[shard] as Interval[]) {
      const ns = Math.min(to, wait.to) - Math.max(from, wait.from);
      if (ns <= 0) continue;
      busy -= ns;
      const what = WAITS[wait.what] ?? 'held';
      const where =
        what === 'blocked'
          ? this.#channelName(wait.place)
          : what === 'transmitting'
            ? this.#outputName(shard, wait.place)
            : undefined;
      const key = `${what} ${where}`;
      const known = found.get(key);
      if (known !== undefined) known.ns += ns;
      else found.set(key, { for: what, ...(where === undefined ? {} : { in: where }), ns });
    }
    const waits = [...found.values()];
    if (rest && busy > 0) waits.push({ for: 'busy', ns: busy });
    return waits.sort((a, b) => b.ns - a.ns);
  }

  #channelName(index: number): string {
    return text(this.#channels[index], 'name') || `channel ${index}`;
  }
  #portName(index: number): string {
    return text(this.#ports[index], 'name') || `port ${index}`;
  }
  // Outputs are the shard's channels, and behind them its ports.
  #outputName(shard: number, output: number): string {
    const channels = this.#channels.filter((row) => count(row, 'from') === shard).length;
    return this.#portOutputs[shard]?.[output - channels] || `output ${output}`;
  }
}

function dataOf(chunks: readonly Raw[]): Uint8Array {
  const most = (of: (chunk: Raw) => number): number => Math.max(0, ...chunks.map(of));
  const whole = new Uint8Array(most(({ what }) => (what + 1) * CHUNK));
  const view = new DataView(whole.buffer);
  for (const { what, a, b } of chunks) {
    view.setBigUint64(what * CHUNK, a, true);
    view.setBigUint64(what * CHUNK + 8, b, true);
  }
  return whole.subarray(
    0,
    most(({ what, place }) => what * CHUNK + Math.min(place, CHUNK)),
  );
}

/** Where packets waited: of one channel, over all of them. */
export interface ChannelWaits {
  channel: string;
  packets: number;
  medianNs: number;
  maxNs: number;
  /** Summed over all packets, most first. */
  waitedFor: PacketWait[];
}

/** Of each channel that sampled packets came through, the one where they waited most first. */
export function channelWaits(ways: readonly PacketWay[]): ChannelWaits[] {
  const byChannel = new Map<string, PacketStep[]>();
  for (const step of ways.flatMap(({ steps }) => steps)) {
    if (step.waitedNs === undefined || !step.from || !('channel' in step.from)) continue;
    const { channel } = step.from;
    byChannel.set(channel, [...(byChannel.get(channel) ?? []), step]);
  }
  const total = ({ waitedFor }: ChannelWaits): number =>
    waitedFor.reduce((sum, { ns }) => sum + ns, 0);
  return [...byChannel]
    .map(([channel, steps]) => {
      const sorted = steps.map(({ waitedNs = 0 }) => waitedNs).sort((a, b) => a - b);
      const sums = new Map<string, PacketWait>();
      for (const wait of steps.flatMap(({ waitedFor = [] }) => waitedFor)) {
        const key = `${wait.for} ${wait.in}`;
        const known = sums.get(key);
        if (known === undefined) sums.set(key, { ...wait });
        else known.ns += wait.ns;
      }
      return {
        channel,
        packets: sorted.length,
        medianNs: sorted[sorted.length >> 1] ?? 0,
        maxNs: sorted.at(-1) ?? 0,
        waitedFor: [...sums.values()].sort((a, b) => b.ns - a.ns),
      };
    })
    .sort((a, b) => total(b) - total(a));
}
