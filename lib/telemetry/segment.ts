// Reads a segment (native/include/vanity/segment.hpp) by what the segment says about itself: the
// header and the field descriptors. No record offset is known here, so a field that a later build
// adds is read as well. Every byte is untrusted: all ranges are checked once, in the constructor.
import { VanityError } from '../errors.js';
import { Histogram } from './histogram.js';

const MAGIC = 'VANITYSG';
const VERSION = 1;
const HEADER_BYTES = 4096;
const STATE_OFFSET = 80;
const HEARTBEAT_OFFSET = 88;
const UPTIME_OFFSET = 96;
const TABLE_OFFSET = 104;
const TABLE_BYTES = 32;
const TABLES_MAX = 16;
const FIELD_BYTES = 128;
const FIELDS_MAX = 512;
const NAME_BYTES = 32;

export type TableName =
  | 'system'
  | 'shards'
  | 'channels'
  | 'ports'
  | 'queues'
  | 'pools'
  | 'devices'
  | 'vectors'
  | 'reloads'
  | 'events'
  | 'looks'
  | 'manifests';
export type FieldType = (typeof FIELD_TYPES)[number];
/** 64-bit words are numbers while a number can hold them exactly. */
export type Count = number | bigint;
export type FieldValue = Count | string | Histogram | Record<string, Count>;
/** One record of a table, by field name. */
export type Row = Record<string, FieldValue>;

export interface SegmentField {
  name: string;
  unit: string;
  type: FieldType;
  offset: number;
  count: number;
  /** One sentence, or the labels of a state separated by '|'. */
  text: string;
}

export interface SystemRow extends Row {
  name: string;
  pid: number;
  /** booting, running, stopping, stopped or failed. */
  state: string;
  uptimeNs: Count;
  heartbeatNs: Count;
  ticksPerSecond: number;
  startedRealtimeNs: Count;
}

/** Everything a segment held at one moment; words of one snapshot may differ slightly in age. */
export interface Snapshot {
  system: SystemRow;
  shards: Row[];
  channels: Row[];
  ports: Row[];
  queues: Row[];
  pools: Row[];
  devices: Row[];
  /** Interrupt vectors of the devices. */
  vectors: Row[];
  /** One: the last reload, as it was asked for and answered. */
  reloads: Row[];
}

/** The rings of a shard: its last events, those before its last fault, and those of sampled packets. */
export type RingName = 'events' | 'fault_events' | 'packet_events';

/** What a system was asked to be, as it wrote it down, and for the how manieth time. */
export interface SegmentManifest {
  generation: number;
  text: string;
}

/** Where a ring of events lies in a segment: the offset of the count of all that were written, that of the slots, and how many. */
export interface SegmentRing {
  buffer: ArrayBuffer;
  written: number;
  ring: number;
  slots: number;
}

/** A moment of the past that the segment has kept: one record of its table `looks`. */
export interface Look {
  /** From 1 on, a second apart. */
  number: number;
  uptimeNs: number;
  slot: number;
}

interface Table {
  name: TableName;
  /** Its place among all tables of the segment, also those of kinds that are not known here. */
  index: number;
  /** Of records, as it is now. */
  readonly count: number;
  stride: number;
  offset: number;
  fields: SegmentField[];
}

const KINDS: Record<number, TableName> = {
  1: 'system',
  2: 'shards',
  3: 'channels',
  4: 'ports',
  5: 'queues',
  6: 'pools',
  7: 'devices',
  8: 'vectors',
  9: 'reloads',
  10: 'events',
  11: 'looks',
  12: 'manifests',
};
const FIELD_TYPES = [
  'counter',
  'gauge',
  'number',
  'state',
  'label',
  'histogram',
  'dynamic',
  'ring',
  'text',
] as const;
const EVENT_BYTES = 32;
const TEXT_UNIT = 1024;
const MANIFEST_TRIES = 100;
const NO_SHARD = 0xffffffff;
/** The port of a queue that has gone with it. */
export const NO_PORT = 0xffffffff;
const SYSTEM_STATES = ['booting', 'running', 'stopping', 'stopped', 'failed'];

function invalid(problem: string): VanityError {
  return new VanityError('VANITY_E_SEGMENT_INVALID', { problem });
}

/** A number while it is exact, the bigint otherwise. */
export function exact(value: bigint): Count {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

export class Segment {
  readonly #buffer: ArrayBuffer;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: BigUint64Array;
  readonly #tables: Table[];
  readonly name: string;
  readonly pid: number;
  readonly ticksPerSecond: number;
  /** When the segment was made. */
  readonly startedRealtimeNs: Count;

  /** Throws VANITY_E_SEGMENT_INVALID, or VANITY_E_SEGMENT_BOOTING while it is still being written. */
  constructor(buffer: ArrayBuffer) {
    if (buffer.byteLength < HEADER_BYTES) {
      throw invalid(`${buffer.byteLength} bytes, a header alone has ${HEADER_BYTES}`);
    }
    this.#buffer = buffer;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#words = new BigUint64Array(buffer, 0, buffer.byteLength >> 3);
    const view = this.#view;

    const magic = String.fromCharCode(...this.#bytes.subarray(0, 8));
    if (magic === '\0'.repeat(8)) throw new VanityError('VANITY_E_SEGMENT_BOOTING');
    if (magic !== MAGIC) throw invalid('the first 8 bytes are not VANITYSG');
    const version = view.getUint32(8, true);
    if (version !== VERSION) {
      throw invalid(`it has version ${version}, this build reads version ${VERSION}`);
    }
    if (view.getUint32(84, true) !== 1) throw new VanityError('VANITY_E_SEGMENT_BOOTING');
    const headerBytes = view.getUint32(12, true);
    if (headerBytes !== HEADER_BYTES) {
      throw invalid(`the header claims ${headerBytes} bytes, expected ${HEADER_BYTES}`);
    }
    const claimed = view.getBigUint64(16, true);
    if (claimed > BigInt(buffer.byteLength)) {
      throw invalid(`the header claims ${claimed} bytes, there are ${buffer.byteLength}`);
    }
    const ticks = view.getBigUint64(24, true);
    if (ticks === 0n || ticks > 1_000_000_000_000n) throw invalid(`${ticks} ticks per second`);
    this.ticksPerSecond = Number(ticks);
    this.startedRealtimeNs = exact(view.getBigUint64(32, true));
    this.pid = view.getUint32(40, true);
    const tableCount = view.getUint32(44, true);
    if (tableCount > TABLES_MAX) throw invalid(`${tableCount} tables, at most ${TABLES_MAX}`);
    this.name = this.#text(48, NAME_BYTES);
    this.#tables = this.#readTables(tableCount, Number(claimed));
  }

  /** The descriptors of a table; empty when the segment has no such table. */
  fields(table: TableName): readonly SegmentField[] {
    return this.#tables.find((t) => t.name === table)?.fields ?? [];
  }

  /** booting, running, stopping, stopped or failed; cheaper than a whole snapshot. */
  state(): string {
    const state = this.#view.getUint32(STATE_OFFSET, true);
    return SYSTEM_STATES[state] ?? `unknown(${state})`;
  }

  /** CLOCK_MONOTONIC of the kernel's last turn. */
  heartbeatNs(): bigint {
    return this.#word(HEARTBEAT_OFFSET);
  }

  read(): Snapshot {
    const snapshot: Snapshot = {
      system: {
        name: this.name,
        pid: this.pid,
        state: this.state(),
        uptimeNs: exact(this.#word(UPTIME_OFFSET)),
        heartbeatNs: exact(this.#word(HEARTBEAT_OFFSET)),
        ticksPerSecond: this.ticksPerSecond,
        startedRealtimeNs: this.startedRealtimeNs,
      },
      shards: [],
      channels: [],
      ports: [],
      queues: [],
      pools: [],
      devices: [],
      vectors: [],
      reloads: [],
    };
    for (const table of this.#tables) {
      if (table.name === 'system') Object.assign(snapshot.system, ...this.rows('system'));
      else if (table.name !== 'events' && table.name !== 'looks' && table.name !== 'manifests') {
        snapshot[table.name] = this.rows(table.name);
      }
    }
    return snapshot;
  }

  /** One table alone, when a whole snapshot is not needed. */
  rows(name: TableName): Row[] {
    const table = this.#tables.find((t) => t.name === name);
    if (!table) return [];
    return Array.from({ length: table.count }, (_, i) => {
      const row: Row = {};
      for (const field of table.fields) {
        if (field.type === 'ring' || field.type === 'text') continue;
        row[field.name] = this.#value(table.offset + i * table.stride, field);
      }
      return row;
    });
  }

  /** A ring of events of the shard with this index; undefined in a segment that has none. */
  ring(name: RingName, index: number): SegmentRing | undefined {
    const table = this.#tables.find((t) => t.name === 'events');
    const ring = table?.fields.find((field) => field.name === name && field.type === 'ring');
    const written = table?.fields.find((field) => field.name === `${name}_written`);
    if (!table || !ring || written?.type !== 'counter' || index >= table.count) return undefined;
    const at = table.offset + index * table.stride;
    return {
      buffer: this.#buffer,
      written: at + written.offset,
      ring: at + ring.offset,
      slots: ring.count,
    };
  }

  /** The moments that are still known, the oldest first; none in a segment that keeps none. */
  looks(): Look[] {
    return this.rows('looks')
      .map((row, slot) => ({
        number: count(row, 'number'),
        uptimeNs: count(row, 'uptime_ns'),
        slot,
      }))
      .filter(({ number }) => number > 0)
      .sort((a, b) => a.number - b.number);
  }

  /**
   * What all counters were at that moment, as a segment that stands still. Texts are as they are now, and histograms are
   * empty. Undefined when the kernel has written over it meanwhile.
   */
  at(look: Look): Segment | undefined {
    const table = this.#tables.find((t) => t.name === 'looks');
    if (!table || look.number === 0 || look.slot >= table.count) return undefined;
    const from = table.offset + look.slot * table.stride;
    // Each one an acquiring load: what is read after it is not older.
    const words = BigUint64Array.from({ length: table.stride >> 3 }, (_, i) =>
      Atomics.load(this.#words, (from >> 3) + i),
    );
    const field = (name: string): SegmentField | undefined =>
      table.fields.find((other) => other.name === name);
    const wordOf = (name: string): bigint => words[(field(name)?.offset ?? 0) >> 3] as bigint;
    const half = (name: string): number => {
      const bits = BigInt(((field(name)?.offset ?? 0) & 4) * 8);
      return Number((wordOf(name) >> bits) & 0xffffffffn);
    };
    // The kernel takes the number away before it writes, so it is the same only if nothing was written.
    const number = this.#word(from + (field('number')?.offset ?? 0));
    if (wordOf('number') !== BigInt(look.number) || number !== BigInt(look.number))
      return undefined;

    const copy = this.#buffer.slice(0);
    const view = new DataView(copy);
    view.setUint32(STATE_OFFSET, half('state'), true);
    view.setBigUint64(HEARTBEAT_OFFSET, wordOf('at_ns'), true);
    view.setBigUint64(UPTIME_OFFSET, wordOf('uptime_ns'), true);
    let next = half('words_at') >> 3;
    const take = (): bigint => {
      const word = words[next++];
      if (word === undefined) throw invalid('a look is shorter than the tables that it is of');
      return word;
    };
    const looked = half('tables');
    for (const other of this.#tables) {
      if (other.index < 1 || other.index > looked) continue;
      // There may be more of them now.
      const records = field(other.name) === undefined ? other.count : half(other.name);
      view.setUint32(TABLE_OFFSET + other.index * TABLE_BYTES + 4, records, true);
      for (let i = 0; i < records; i++) {
        for (const { type, offset, count: elements } of other.fields) {
          const at = other.offset + i * other.stride + offset;
          if (type === 'counter' || type === 'gauge') view.setBigUint64(at, take(), true);
          else if (type === 'number' || type === 'state') {
            view.setUint32(at, Number(take() & 0xffffffffn), true);
          } else if (type === 'dynamic') {
            for (let k = 0; k < elements; k++)
              view.setBigUint64(at + k * (NAME_BYTES + 8) + NAME_BYTES, take(), true);
          } else if (type === 'histogram') new Uint8Array(copy, at, 8 * elements).fill(0);
        }
      }
    }
    return new Segment(copy);
  }

  /** The manifest in force; undefined in a segment that has none. */
  manifest(): SegmentManifest | undefined {
    const table = this.#tables.find((t) => t.name === 'manifests');
    const text = table?.fields.find(({ name, type }) => name === 'text' && type === 'text');
    if (!table || !text) return undefined;
    const editions = (): number[] => this.rows('manifests').map((row) => count(row, 'edition'));
    for (let tries = 0; tries < MANIFEST_TRIES; tries++) {
      const before = editions();
      const newest = Math.max(0, ...before);
      if (newest === 0) return undefined;
      const index = before.indexOf(newest);
      const row = this.rows('manifests')[index] as Row;
      const bytes = Math.min(count(row, 'text_bytes'), text.count * TEXT_UNIT);
      const found = this.#text(table.offset + index * table.stride + text.offset, bytes);
      // Nobody writes to it before another one is in force.
      if (before.every((edition, i) => edition === editions()[i])) {
        return found === '' ? undefined : { generation: count(row, 'generation'), text: found };
      }
    }
    throw invalid('its manifest changes faster than it can be read');
  }

  #readTables(count: number, end: number): Table[] {
    const tables: Table[] = [];
    for (let i = 0; i < count; i++) {
      const at = TABLE_OFFSET + i * TABLE_BYTES;
      const name = KINDS[this.#view.getUint32(at, true)];
      // A kind that a later build added; this one has nothing to say about it.
      if (name === undefined) continue;
      if (tables.some((t) => t.name === name)) throw invalid(`two tables of ${name}`);
      const records = this.#view.getUint32(at + 4, true);
      const stride = this.#view.getUint32(at + 8, true);
      const fieldCount = this.#view.getUint32(at + 12, true);
      const offset = this.#view.getBigUint64(at + 16, true);
      const fieldsAt = this.#view.getBigUint64(at + 24, true);
      if (fieldCount > FIELDS_MAX) throw invalid(`${name} have ${fieldCount} fields`);
      if (fieldsAt + BigInt(fieldCount * FIELD_BYTES) > BigInt(end)) {
        throw invalid(`the descriptors of ${name} lie outside of it`);
      }
      if (records > 0 && (stride === 0 || stride % 8 !== 0)) {
        throw invalid(`${name} have records of ${stride} bytes`);
      }
      if (offset % 8n !== 0n || offset + BigInt(records) * BigInt(stride) > BigInt(end)) {
        throw invalid(`the records of ${name} lie outside of it`);
      }
      const fields: SegmentField[] = [];
      for (let f = 0; f < fieldCount; f++) {
        const field = this.#readField(Number(fieldsAt) + f * FIELD_BYTES, name, stride);
        if (fields.some((other) => other.name === field.name)) {
          throw invalid(`${name} have two fields called ${field.name}`);
        }
        fields.push(field);
      }
      // It may grow, up to what there is room for; acquired, so that a record that is counted is whole.
      const most = stride === 0 ? 0 : Math.floor((end - Number(offset)) / stride);
      const words = this.#words;
      tables.push({
        name,
        index: i,
        get count() {
          return Math.min(Number(Atomics.load(words, at >> 3) >> 32n), most);
        },
        stride,
        offset: Number(offset),
        fields,
      });
    }
    return tables;
  }

  #readField(at: number, table: string, stride: number): SegmentField {
    const name = this.#text(at, NAME_BYTES);
    if (!/^[a-z][a-z0-9_]*$/.test(name)) throw invalid(`a field of ${table} has no proper name`);
    const offset = this.#view.getUint32(at + 44, true);
    const type = FIELD_TYPES[this.#view.getUint16(at + 48, true)];
    if (type === undefined) throw invalid(`${table}.${name} has an unknown type`);
    const count = this.#view.getUint16(at + 50, true);
    const size = {
      counter: 8,
      gauge: 8,
      number: 4,
      state: 4,
      label: count,
      histogram: 8 * count,
      dynamic: (NAME_BYTES + 8) * count,
      ring: EVENT_BYTES * count,
      text: TEXT_UNIT * count,
    }[type];
    const align =
      type === 'label' || type === 'text' ? 1 : type === 'number' || type === 'state' ? 4 : 8;
    if (offset % align !== 0 || offset + size > stride) {
      throw invalid(`${table}.${name} lies outside of its record`);
    }
    return {
      name,
      unit: this.#text(at + 32, 12),
      type,
      offset,
      count,
      text: this.#text(at + 52, 76),
    };
  }

  #value(base: number, field: SegmentField): FieldValue {
    const at = base + field.offset;
    switch (field.type) {
      case 'counter':
      case 'gauge':
        return exact(this.#word(at));
      case 'number':
        return this.#view.getUint32(at, true);
      case 'state': {
        const state = this.#view.getUint32(at, true);
        return field.text.split('|')[state] ?? `unknown(${state})`;
      }
      case 'label':
        return this.#text(at, field.count);
      case 'histogram': {
        const first = at >> 3;
        return new Histogram(
          Array.from(this.#words.subarray(first, first + field.count), (word) => Number(word)),
        );
      }
      case 'dynamic': {
        const entries: [string, Count][] = [];
        for (let i = 0; i < field.count; i++) {
          const entry = at + i * (NAME_BYTES + 8);
          const name = this.#text(entry, NAME_BYTES);
          if (name !== '') entries.push([name, exact(this.#word(entry + NAME_BYTES))]);
        }
        // Not by assignment: a name may be __proto__.
        return Object.fromEntries(entries);
      }
      case 'ring':
      case 'text':
        return field.count;
    }
  }

  // One aligned 64-bit load: the writer never stops, and two halves could be of different age.
  #word(at: number): bigint {
    return this.#words[at / 8] as bigint;
  }

  // Names end up on terminals and in label values, so control characters don't get through.
  #text(at: number, bytes: number): string {
    const field = this.#bytes.subarray(at, at + bytes);
    const end = field.indexOf(0);
    // slice, because a decoder may refuse a view of shared memory.
    const text = new TextDecoder().decode(field.slice(0, end < 0 ? bytes : end));
    return text.replace(/\p{Cc}/gu, '\ufffd');
  }
}

/** A field as a number, 0 when the segment has none of that name. */
export function count(row: Row | undefined, field: string): number {
  const value = row?.[field];
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0;
}

/** A field as text, '' when the segment has none of that name. */
export function text(row: Row | undefined, field: string): string {
  const value = row?.[field];
  return typeof value === 'string' ? value : '';
}

/** The shard that an index of a record means; the kernel takes vectors too, and no shard has its index. */
export function shardName(snapshot: Snapshot, index: number): string {
  return index === NO_SHARD ? 'kernel' : text(snapshot.shards[index], 'name');
}

export function histogram(row: Row | undefined, field: string): Histogram | undefined {
  const value = row?.[field];
  return value instanceof Histogram ? value : undefined;
}
