// The tables of what stands outside: queues of ports, devices, interrupt vectors.
import { isReceive, QUEUE_LOSSES } from '../telemetry/rates.js';
import type { Snapshot } from '../telemetry/segment.js';
import { count, histogram, NO_PORT, shardName, text } from '../telemetry/segment.js';
import { time, whole } from '../text/format.js';
import { table } from '../text/table.js';

const right = (title: string) => ({ title, right: true });

/** One row a queue, where some port has several of one direction: the sums of the ports hide them. */
export function queueLines(snapshot: Snapshot): string[] {
  const { ports } = snapshot;
  const queues = snapshot.queues.filter((queue) => queue.port !== NO_PORT);
  if (queues.every((queue) => count(queue, 'queue') === 0)) return [];
  const columns = [
    { title: 'queue' },
    { title: 'shard' },
    right('packets'),
    right('bytes'),
    right('packets/burst'),
    right('lost'),
  ];
  const rows = queues.map((queue) => {
    const direction = isReceive(queue) ? 'rx' : 'tx';
    const bursts = count(queue, 'bursts');
    return [
      `${text(ports[count(queue, 'port')], 'name')} ${direction} ${count(queue, 'queue')}`,
      shardName(snapshot, count(queue, 'shard')),
      whole(count(queue, 'packets')),
      whole(count(queue, 'bytes')),
      bursts > 0 ? (count(queue, 'packets') / bursts).toFixed(1) : '-',
      whole(QUEUE_LOSSES.reduce((sum, loss) => sum + count(queue, loss), 0)),
    ];
  });
  return ['', ...table(columns, rows)];
}

export function deviceLines({ devices }: Snapshot): string[] {
  if (devices.length === 0) return [];
  const columns = [
    { title: 'device' },
    { title: 'address' },
    { title: 'driver' },
    { title: 'backend' },
    { title: 'state' },
    right('vectors'),
    right('wanted back'),
    right('errors'),
    right('refused'),
  ];
  const rows = devices.map((device) => [
    ...['name', 'address', 'driver', 'backend', 'state'].map((field) => text(device, field)),
    ...['vectors', 'requests', 'errors', 'refused'].map((field) => whole(count(device, field))),
  ]);
  return ['', ...table(columns, rows)];
}

export function vectorLines(snapshot: Snapshot): string[] {
  const { vectors, system } = snapshot;
  if (vectors.length === 0) return [];
  const columns = [
    { title: 'vector' },
    { title: 'to' },
    { title: 'trigger' },
    { title: 'eoi' },
    right('raised'),
    right('taken'),
    right('storms'),
    right('held back'),
    right('p50'),
    right('p99'),
    right('max'),
  ];
  const rows = vectors.map((vector) => {
    const seen = histogram(vector, 'latency_ticks');
    const latency = (q: number): string => {
      const bucket = seen?.quantile(q);
      return bucket ? time((bucket.high / system.ticksPerSecond) * 1e9) : '-';
    };
    return [
      text(vector, 'name'),
      shardName(snapshot, count(vector, 'shard')),
      text(vector, 'trigger'),
      text(vector, 'eoi'),
      ...['raised', 'taken', 'storms', 'suppressed'].map((field) => whole(count(vector, field))),
      latency(0.5),
      latency(0.99),
      latency(1),
    ];
  });
  return ['', ...table(columns, rows)];
}
