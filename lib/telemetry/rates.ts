// What happened between two snapshots of one system.
import type { Row, Snapshot } from './segment.js';
import { count, histogram, shardName, text } from './segment.js';

export interface ShardRate {
  name: string;
  state: string;
  program: string;
  /** Elements taken per second; for a source, elements put out. */
  perSecond: number;
  droppedPerSecond: number;
  /** Shares of the interval, 0..1; together at most 1. */
  busy: number;
  idle: number;
  wait: number;
  /** Busy time per element, undefined when there were none. */
  nsPerElement: number | undefined;
}

export interface ChannelRate {
  name: string;
  from: string;
  to: string;
  perSecond: number;
  droppedPerSecond: number;
  /** Elements in it now, and of how many. */
  depth: number;
  capacity: number;
}

export interface PortRate {
  name: string;
  driver: string;
  state: string;
  rxPerSecond: number;
  rxBitsPerSecond: number;
  txPerSecond: number;
  txBitsPerSecond: number;
  /** Packets the port itself lost, either way. */
  droppedPerSecond: number;
}

export interface DeviceRate {
  name: string;
  address: string;
  driver: string;
  backend: string;
  state: string;
  vectors: number;
}

export interface VectorRate {
  name: string;
  /** The shard it goes to, or the kernel. */
  to: string;
  trigger: string;
  perSecond: number;
  /** Interrupts held back per second, because it fires without end. */
  suppressedPerSecond: number;
  /** From the kernel's core to the shard, at most, in nanoseconds; undefined when there was none. */
  p50Ns: number | undefined;
  p99Ns: number | undefined;
  maxNs: number | undefined;
}

export interface Rates {
  seconds: number;
  shards: ShardRate[];
  channels: ChannelRate[];
  ports: PortRate[];
  devices: DeviceRate[];
  vectors: VectorRate[];
}

/** Losses that a queue counts itself. */
export const QUEUE_LOSSES = ['no_buffer', 'oversize', 'dropped', 'invalid'];

/** Rates over the time between the two; over the whole life of the system without `previous`. */
export function rates(previous: Snapshot | undefined, current: Snapshot): Rates {
  const ns = count(current.system, 'uptimeNs') - count(previous?.system, 'uptimeNs');
  const seconds = Math.max(0, ns) / 1e9;
  const grown = (now: Row, before: Row | undefined, field: string): number =>
    Math.max(0, count(now, field) - count(before, field));
  const per = (n: number): number => (seconds > 0 ? n / seconds : 0);
  const ticks = current.system.ticksPerSecond;
  const nameOf = (index: number): string => shardName(current, index) || '?';

  // A record without a name is a place whose part has gone.
  const shards = current.shards.flatMap((now, i): ShardRate[] => {
    if (text(now, 'name') === '') return [];
    const before = previous?.shards[i];
    const busyTicks = grown(now, before, 'busy_ticks');
    const idleTicks = grown(now, before, 'idle_ticks');
    const waitTicks = grown(now, before, 'wait_ticks');
    // A shard that has not slept since the last look may have counted more than the interval holds.
    const all = Math.max(seconds * ticks, busyTicks + idleTicks + waitTicks, 1);
    const elements = grown(now, before, 'received') || grown(now, before, 'sent');
    return [
      {
        name: text(now, 'name'),
        state: text(now, 'state'),
        program: text(now, 'program'),
        perSecond: per(elements),
        droppedPerSecond: per(grown(now, before, 'dropped')),
        busy: busyTicks / all,
        idle: idleTicks / all,
        wait: waitTicks / all,
        nsPerElement: elements > 0 ? ((busyTicks / ticks) * 1e9) / elements : undefined,
      },
    ];
  });

  const channels = current.channels.flatMap((now, i): ChannelRate[] => {
    if (text(now, 'name') === '') return [];
    const before = previous?.channels[i];
    const capacity = count(now, 'capacity');
    const inside = count(now, 'sent') - count(now, 'received');
    return [
      {
        name: text(now, 'name'),
        from: nameOf(count(now, 'from')),
        to: nameOf(count(now, 'to')),
        perSecond: per(grown(now, before, 'received')),
        droppedPerSecond: per(grown(now, before, 'dropped')),
        // The two counters are of different age.
        depth: Math.min(capacity, Math.max(0, inside)),
        capacity,
      },
    ];
  });

  const ports = current.ports.flatMap((now, index): PortRate[] => {
    if (text(now, 'name') === '') return [];
    let [rx, rxBytes, tx, txBytes, dropped] = [0, 0, 0, 0, 0];
    current.queues.forEach((queue, i) => {
      if (count(queue, 'port') !== index) return;
      const before = previous?.queues[i];
      const packets = grown(queue, before, 'packets');
      const bytes = grown(queue, before, 'bytes');
      if (isReceive(queue)) {
        rx += packets;
        rxBytes += bytes;
      } else {
        tx += packets;
        txBytes += bytes;
      }
      for (const loss of QUEUE_LOSSES) dropped += grown(queue, before, loss);
    });
    return [
      {
        name: text(now, 'name'),
        driver: text(now, 'driver'),
        state: text(now, 'state'),
        rxPerSecond: per(rx),
        rxBitsPerSecond: per(rxBytes * 8),
        txPerSecond: per(tx),
        txBitsPerSecond: per(txBytes * 8),
        droppedPerSecond: per(dropped),
      },
    ];
  });
  const devices = current.devices.map(
    (now): DeviceRate => ({
      name: text(now, 'name'),
      address: text(now, 'address'),
      driver: text(now, 'driver'),
      backend: text(now, 'backend'),
      state: text(now, 'state'),
      vectors: count(now, 'vectors'),
    }),
  );

  const vectors = current.vectors.map((now, i): VectorRate => {
    const before = previous?.vectors[i];
    const all = histogram(now, 'latency_ticks');
    const earlier = histogram(before, 'latency_ticks');
    const seen = all && earlier ? all.since(earlier) : all;
    const atMost = (q: number): number | undefined => {
      const bucket = seen?.quantile(q);
      return bucket && (bucket.high / ticks) * 1e9;
    };
    return {
      name: text(now, 'name'),
      to: nameOf(count(now, 'shard')),
      trigger: text(now, 'trigger'),
      perSecond: per(grown(now, before, 'raised')),
      suppressedPerSecond: per(grown(now, before, 'suppressed')),
      p50Ns: atMost(0.5),
      p99Ns: atMost(0.99),
      maxNs: atMost(1),
    };
  });
  return { seconds, shards, channels, ports, devices, vectors };
}

/** Whether a queue receives; its direction may be described as a state or as a number. */
export function isReceive(queue: Row): boolean {
  return queue.direction === 0 || queue.direction === 'rx';
}
