// The summary of a system: one object for scripts, tables for people, both from one snapshot.
import type { NativeFailure } from '../native.js';
import { Histogram } from '../telemetry/histogram.js';
import { isReceive } from '../telemetry/rates.js';
import type { Count, Row, Snapshot } from '../telemetry/segment.js';
import { count, exact, histogram, shardName, text } from '../telemetry/segment.js';
import { si, time, whole } from '../text/format.js';
import { table } from '../text/table.js';
import { deviceLines, queueLines, vectorLines } from './device-tables.js';

export interface Quantiles {
  p50: number;
  p99: number;
  max: number;
}

type Counters = Record<string, unknown>;

export interface Summary {
  system: string;
  state: string;
  pid: number;
  duration_s: number;
  /** Packets that there was no room for, anywhere. */
  lost: number;
  shards: Record<string, Counters>;
  channels: Record<string, Counters>;
  ports: Record<string, Counters>;
  pools: Record<string, Counters>;
  devices: Record<string, Counters>;
  vectors: Record<string, Counters>;
  warnings: NativeFailure[];
  failures: NativeFailure[];
}

const UNPINNED = 0xffffffff;

/**
 * Packets that there was no room for, each counted where it was lost: by the shard whose output was
 * full, there or gone, by the queue of the port that could not take it in or send it, by the pool its buffer never
 * came back to. Not what a filter discards or a mirror multiplies.
 */
export function lostPackets({ system, shards, queues, pools }: Snapshot): number {
  const sum = (rows: Row[], ...fields: string[]): number =>
    rows.reduce((all, row) => fields.reduce((of, field) => of + count(row, field), all), 0);
  const [receive, transmit] = [queues.filter(isReceive), queues.filter((q) => !isReceive(q))];
  return (
    sum(shards, 'dropped') +
    Number(system.gone_dropped ?? 0) +
    sum(receive, 'dropped', 'oversize') +
    sum(transmit, 'dropped', 'oversize', 'invalid') +
    sum(pools, 'leaked')
  );
}

/** Everything the snapshot holds under the documented names, with the derived figures. */
export function summarize(
  snapshot: Snapshot,
  notes: { warnings?: readonly NativeFailure[]; failures?: readonly NativeFailure[] } = {},
): Summary {
  const { system } = snapshot;
  const nsPerTick = 1e9 / system.ticksPerSecond;
  const nameOf = (index: number): string => shardName(snapshot, index);
  return {
    system: system.name,
    state: system.state,
    pid: system.pid,
    duration_s: Number(system.uptimeNs) / 1e9,
    lost: lostPackets(snapshot),
    shards: byName(there(snapshot.shards), (shard) => ({
      ...plain(shard, nsPerTick),
      core: count(shard, 'core') === UNPINNED ? null : count(shard, 'core'),
      ns_per_packet: nsPerPacket(shard, nsPerTick) ?? null,
    })),
    channels: byName(there(snapshot.channels), (channel) => ({
      ...plain(channel, nsPerTick),
      from: nameOf(count(channel, 'from')),
      to: nameOf(count(channel, 'to')),
    })),
    ports: byName(there(snapshot.ports), (port) => {
      const index = snapshot.ports.indexOf(port);
      return {
        ...plain(port, nsPerTick),
        ...portTotals(snapshot, index),
        rx_queues: queuesOf(snapshot, index, true, nsPerTick),
        tx_queues: queuesOf(snapshot, index, false, nsPerTick),
      };
    }),
    pools: byName(there(snapshot.pools), (pool) => ({
      ...plain(pool, nsPerTick),
      shard: nameOf(count(pool, 'shard')),
    })),
    devices: byName(snapshot.devices, (device) => plain(device, nsPerTick)),
    vectors: byName(snapshot.vectors, (vector) => ({
      ...plain(vector, nsPerTick),
      device: text(snapshot.devices[count(vector, 'device')], 'name'),
      shard: nameOf(count(vector, 'shard')),
    })),
    warnings: [...(notes.warnings ?? [])],
    failures: [...(notes.failures ?? [])],
  };
}

/** Busy time per element taken; per element put out where nothing is taken. */
function nsPerPacket(shard: Row, nsPerTick: number): number | undefined {
  const elements = count(shard, 'received') || count(shard, 'sent');
  return elements > 0 ? round((count(shard, 'busy_ticks') * nsPerTick) / elements) : undefined;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** rx_packets, rx_bytes, ..., tx_packets, ... summed over the queues of a port. */
export function portTotals(snapshot: Snapshot, port: number): Record<string, Count> {
  const totals: Record<string, bigint> = {};
  for (const queue of snapshot.queues) {
    if (count(queue, 'port') !== port) continue;
    const prefix = isReceive(queue) ? 'rx' : 'tx';
    for (const [field, value] of Object.entries(queue)) {
      if (['port', 'queue', 'direction', 'shard'].includes(field)) continue;
      if (typeof value !== 'number' && typeof value !== 'bigint') continue;
      const key = `${prefix}_${field}`;
      totals[key] = (totals[key] ?? 0n) + BigInt(value);
    }
  }
  return Object.fromEntries(Object.entries(totals).map(([key, value]) => [key, exact(value)]));
}

/** The queues of a port in one direction, in their order. */
function queuesOf(
  snapshot: Snapshot,
  port: number,
  receive: boolean,
  nsPerTick: number,
): Counters[] {
  return snapshot.queues
    .filter((queue) => count(queue, 'port') === port && isReceive(queue) === receive)
    .map(({ port: _, queue: __, direction: ___, shard, ...counters }) => ({
      shard: shardName(snapshot, Number(shard)),
      ...plain(counters, nsPerTick),
    }));
}

/** A place whose part has gone has a record without a name. */
const there = (rows: Row[]): Row[] => rows.filter(({ name }) => name !== '');

function byName(
  rows: Row[],
  entry: (row: Row, index: number) => Counters,
): Record<string, Counters> {
  return Object.fromEntries(
    rows.map((row, index) => {
      const { name, ...rest } = entry(row, index);
      return [typeof name === 'string' && name !== '' ? name : String(index), rest];
    }),
  );
}

// Histograms become quantiles; those of ticks become nanoseconds, and change their name to say so.
function plain(row: Row, nsPerTick: number): Counters {
  const out: Counters = {};
  for (const [field, value] of Object.entries(row)) {
    if (value instanceof Histogram) {
      if (field.endsWith('_ticks')) {
        out[`${field.slice(0, -6)}_ns`] = quantiles(value, (b) => Math.round(b.high * nsPerTick));
      } else {
        out[field] = quantiles(value, (b) => b.low);
      }
    } else {
      out[field] = value;
    }
  }
  return out;
}

function quantiles(
  seen: Histogram,
  pick: (bucket: { low: number; high: number }) => number,
): Quantiles | null {
  const [p50, p99, max] = [0.5, 0.99, 1].map((q) => seen.quantile(q));
  return p50 && p99 && max ? { p50: pick(p50), p99: pick(p99), max: pick(max) } : null;
}

/** The tables that end a run, and what `vanity stats` prints. */
export function summaryLines(
  snapshot: Snapshot,
  notes: { failures?: readonly NativeFailure[] } = {},
): string[] {
  const { system, shards, channels, pools } = snapshot;
  const ports = there(snapshot.ports);
  const seconds = Number(system.uptimeNs) / 1e9;
  const nsPerTick = 1e9 / system.ticksPerSecond;
  const per = (n: number): string => si(seconds > 0 ? n / seconds : 0);
  const lost = lostPackets(snapshot);
  const lines = [
    `${system.name}: ${system.state} after ${time(Number(system.uptimeNs))}, ${whole(lost)} packets lost`,
  ];
  const right = (title: string) => ({ title, right: true });

  if (shards.length > 0) {
    lines.push(
      '',
      ...table(
        [
          { title: 'shard' },
          { title: 'program' },
          right('core'),
          { title: 'state' },
          right('received'),
          right('sent'),
          right('ended'),
          right('dropped'),
          right('per s'),
          right('ns/packet'),
          right('burst p50'),
          right('service p99'),
        ],
        shards.map((shard) => {
          const burst = histogram(shard, 'burst')?.quantile(0.5);
          const service = histogram(shard, 'service_ticks')?.quantile(0.99);
          return [
            text(shard, 'name'),
            programName(text(shard, 'program')),
            count(shard, 'core') === UNPINNED ? '-' : String(count(shard, 'core')),
            text(shard, 'state'),
            whole(count(shard, 'received')),
            whole(count(shard, 'sent')),
            whole(count(shard, 'consumed') + count(shard, 'filtered')),
            whole(count(shard, 'dropped')),
            per(count(shard, 'received') || count(shard, 'sent')),
            nsPerPacket(shard, nsPerTick)?.toFixed(1) ?? '-',
            burst ? String(burst.low) : '-',
            service ? time(service.high * nsPerTick) : '-',
          ];
        }),
      ),
    );
    const named = shards.flatMap((shard) =>
      Object.entries((shard.user ?? {}) as Record<string, Count>).map(([name, value]) => [
        text(shard, 'name'),
        name,
        whole(value),
      ]),
    );
    if (named.length > 0) {
      lines.push('', ...table([{ title: 'shard' }, { title: 'counter' }, right('value')], named));
    }
  }
  if (channels.length > 0) {
    lines.push(
      '',
      ...table(
        [
          { title: 'channel' },
          { title: 'from > to' },
          right('capacity'),
          right('sent'),
          right('received'),
          right('dropped'),
          right('blocked'),
          right('depth max'),
          right('burst'),
        ],
        channels.map((channel) => [
          text(channel, 'name'),
          `${text(shards[count(channel, 'from')], 'name')} > ${text(shards[count(channel, 'to')], 'name')}`,
          whole(count(channel, 'capacity')),
          whole(count(channel, 'sent')),
          whole(count(channel, 'received')),
          whole(count(channel, 'dropped')),
          whole(count(channel, 'blocked')),
          whole(count(channel, 'depth_max')),
          count(channel, 'bursts') > 0
            ? (count(channel, 'sent') / count(channel, 'bursts')).toFixed(1)
            : '-',
        ]),
      ),
    );
  }
  if (ports.length > 0) {
    lines.push(
      '',
      ...table(
        [
          { title: 'port' },
          { title: 'driver' },
          { title: 'target' },
          { title: 'state' },
          right('rx packets'),
          right('rx bytes'),
          right('rx lost'),
          right('tx packets'),
          right('tx bytes'),
          right('tx lost'),
        ],
        ports.map((port) => {
          const totals = portTotals(snapshot, snapshot.ports.indexOf(port));
          const sum = (...names: string[]): string =>
            whole(names.reduce((all, name) => all + Number(totals[name] ?? 0), 0));
          return [
            text(port, 'name'),
            text(port, 'driver'),
            programName(text(port, 'target')),
            text(port, 'state'),
            sum('rx_packets'),
            sum('rx_bytes'),
            sum('rx_no_buffer', 'rx_oversize', 'rx_dropped', 'rx_invalid'),
            sum('tx_packets'),
            sum('tx_bytes'),
            sum('tx_no_buffer', 'tx_oversize', 'tx_dropped', 'tx_invalid'),
          ];
        }),
      ),
    );
  }
  lines.push(...queueLines(snapshot));
  if (pools.length > 0) {
    lines.push(
      '',
      ...table(
        [
          { title: 'pool' },
          { title: 'owner' },
          right('buffers'),
          right('bytes each'),
          right('taken'),
          right('returned'),
          right('empty'),
          right('leaked'),
        ],
        pools.map((pool) => [
          text(pool, 'name'),
          text(shards[count(pool, 'shard')], 'name'),
          whole(count(pool, 'buffers')),
          whole(count(pool, 'buffer_bytes')),
          whole(count(pool, 'taken')),
          whole(count(pool, 'returned')),
          whole(count(pool, 'empty')),
          whole(count(pool, 'leaked')),
        ]),
      ),
    );
  }
  lines.push(...deviceLines(snapshot), ...vectorLines(snapshot));
  for (const failure of notes.failures ?? []) {
    lines.push('', `failed ${failure.code}: ${failure.message}`);
    if (failure.hint !== '') lines.push(`  hint: ${failure.hint}`);
  }
  return lines;
}

// A path says most at its end.
function programName(path: string): string {
  return path.includes('/') ? path.slice(path.lastIndexOf('/') + 1) : path;
}
