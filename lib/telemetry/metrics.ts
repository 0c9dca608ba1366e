// The Prometheus endpoint. Metrics are generated from the field descriptors of the segment, so every
// counter of every table is exported under its documented name; a scrape reads memory, no shard.
import { createServer, type Server } from 'node:http';
import { type Metric, Registry } from 'prom-client';
import { VanityError } from '../errors.js';
import { bucketHigh, bucketOf, Histogram } from './histogram.js';
import type { Row, Segment, SegmentField, Snapshot, TableName } from './segment.js';
import { count, NO_PORT, shardName, text } from './segment.js';

type Labels = Record<string, string>;
interface Value {
  metricName?: string;
  labels: Labels;
  value: number;
}

interface Group {
  table: TableName;
  prefix: string;
  labels(snapshot: Snapshot, row: Row, index: number): Labels;
}

const GROUPS: readonly Group[] = [
  { table: 'shards', prefix: 'shard', labels: (_, row) => ({ shard: text(row, 'name') }) },
  { table: 'channels', prefix: 'channel', labels: (_, row) => ({ channel: text(row, 'name') }) },
  { table: 'ports', prefix: 'port', labels: (_, row) => ({ port: text(row, 'name') }) },
  {
    table: 'queues',
    prefix: 'queue',
    labels: (snapshot, row) => ({
      port: text(snapshot.ports[count(row, 'port')], 'name'),
      queue: String(count(row, 'queue')),
      direction: text(row, 'direction') || (count(row, 'direction') === 0 ? 'rx' : 'tx'),
      shard: shardName(snapshot, count(row, 'shard')),
    }),
  },
  {
    table: 'pools',
    prefix: 'pool',
    labels: (snapshot, row) => ({
      pool: text(row, 'name'),
      shard: shardName(snapshot, count(row, 'shard')),
    }),
  },
  { table: 'devices', prefix: 'device', labels: (_, row) => ({ device: text(row, 'name') }) },
  {
    table: 'vectors',
    prefix: 'vector',
    labels: (snapshot, row) => ({
      device: text(snapshot.devices[count(row, 'device')], 'name'),
      vector: String(count(row, 'vector')),
      shard: shardName(snapshot, count(row, 'shard')),
    }),
  },
];
// Indices of other tables; the labels say the same by name.
const INDICES: Partial<Record<TableName, readonly string[]>> = {
  channels: ['from', 'to'],
  queues: ['port', 'queue', 'direction', 'shard'],
  pools: ['shard'],
  vectors: ['device', 'vector', 'shard'],
};

/** A registry whose metrics are read from the segment when it is asked for them. */
export class SegmentRegistry {
  readonly #segment: Segment;
  readonly #registry = new Registry();
  #snapshot: Snapshot;

  constructor(segment: Segment) {
    this.#segment = segment;
    this.#snapshot = segment.read();
    this.#add('vanity_system_up', 'gauge', '1 while the system runs', () => [
      { labels: this.#system(), value: this.#snapshot.system.state === 'running' ? 1 : 0 },
    ]);
    this.#add('vanity_system_uptime_seconds', 'gauge', 'Time since the shards were let go', () => [
      { labels: this.#system(), value: Number(this.#snapshot.system.uptimeNs) / 1e9 },
    ]);
    this.#add(
      'vanity_system_gone_dropped_total',
      'counter',
      'Lost by shards and ports that are gone',
      () => [{ labels: this.#system(), value: Number(this.#snapshot.system.gone_dropped ?? 0) }],
    );
    this.#add(
      'vanity_system_start_time_seconds',
      'gauge',
      'Unix time at which the system started',
      () => [
        { labels: this.#system(), value: Number(this.#snapshot.system.startedRealtimeNs) / 1e9 },
      ],
    );
    for (const group of GROUPS) this.#addGroup(group);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The exposition text, of one moment. */
  async metrics(): Promise<string> {
    this.#snapshot = this.#segment.read();
    return this.#registry.metrics();
  }

  #system(): Labels {
    return { system: this.#segment.name };
  }

  #addGroup(group: Group): void {
    const fields = this.#segment.fields(group.table);
    const each = (values: (row: Row, labels: Labels) => Value[]): Value[] =>
      (
        this.#snapshot[
          group.table as Exclude<TableName, 'system' | 'events' | 'looks' | 'manifests'>
        ] as Row[]
      ).flatMap((row, i) =>
        // A part that has gone has no name, nor has the port of a queue that went with it.
        row.name === '' || row.port === NO_PORT
          ? []
          : values(row, { ...this.#system(), ...group.labels(this.#snapshot, row, i) }),
      );
    const skipped = INDICES[group.table] ?? [];
    for (const field of fields) {
      if (skipped.includes(field.name)) continue;
      const { name, scale } = inBaseUnits(field, this.#segment.ticksPerSecond);
      const metric = `vanity_${group.prefix}_${name}`;
      const help = field.text === '' ? field.name : field.text;
      switch (field.type) {
        case 'counter':
          this.#add(`${metric}_total`, 'counter', help, () =>
            each((row, labels) => [{ labels, value: count(row, field.name) * scale }]),
          );
          break;
        case 'gauge':
        case 'number':
          this.#add(metric, 'gauge', help, () =>
            each((row, labels) => [{ labels, value: count(row, field.name) * scale }]),
          );
          break;
        case 'state':
          this.#add(metric, 'gauge', `1 for the one that holds: ${field.text}`, () =>
            each((row, labels) =>
              field.text.split('|').map((state) => ({
                labels: { ...labels, [field.name]: state },
                value: row[field.name] === state ? 1 : 0,
              })),
            ),
          );
          break;
        case 'dynamic':
          this.#add(`${metric}_total`, 'counter', help, () =>
            each((row, labels) =>
              Object.entries(row[field.name] ?? {}).map(([counter, value]) => ({
                labels: { ...labels, counter },
                value: Number(value),
              })),
            ),
          );
          break;
        case 'histogram':
          this.#add(metric, 'histogram', `${help} (sum estimated from the buckets)`, () =>
            each((row, labels) => {
              const seen = row[field.name];
              return seen instanceof Histogram ? buckets(metric, seen, scale, labels) : [];
            }),
          );
          break;
        case 'label':
          break;
      }
    }
    const texts = fields.filter((field) => field.type === 'label' && field.name !== 'name');
    if (texts.length > 0) {
      this.#add(`vanity_${group.prefix}_info`, 'gauge', 'Always 1; what it is, in labels', () =>
        each((row, labels) => [
          {
            labels: {
              ...labels,
              ...Object.fromEntries(texts.map((field) => [field.name, text(row, field.name)])),
            },
            value: 1,
          },
        ]),
      );
    }
  }

  // The metric classes of prom-client count by themselves; these are counted already, elsewhere.
  #add(name: string, type: string, help: string, values: () => Value[]): void {
    const metric = {
      name,
      get: async () => ({ name, help, type, aggregator: 'sum', values: values() }),
    };
    this.#registry.registerMetric(metric as unknown as Metric);
  }
}

// Prometheus wants seconds; ticks mean nothing outside of this machine.
function inBaseUnits(field: SegmentField, ticksPerSecond: number): { name: string; scale: number } {
  if (field.unit === 'ticks' && field.name.endsWith('_ticks')) {
    return { name: `${field.name.slice(0, -6)}_seconds`, scale: 1 / ticksPerSecond };
  }
  if (field.unit === 'ns' && field.name.endsWith('_ns')) {
    return { name: `${field.name.slice(0, -3)}_seconds`, scale: 1e-9 };
  }
  return { name: field.name, scale: 1 };
}

// One bucket an octave: `le` is the last value below a power of two, an edge that the segment's own
// buckets have too, so counts are exact. The edges are fixed, so that series never come and go.
const OCTAVES_MAX = 40;
function buckets(metric: string, seen: Histogram, scale: number, labels: Labels): Value[] {
  const values: Value[] = [];
  const octaves = scale === 1 ? 17 : OCTAVES_MAX;
  let below = 0;
  let next = 0;
  for (let octave = 0; octave < octaves; octave++) {
    const last = bucketOf(2 ** octave) - 1;
    for (; next <= last; next++) below += seen.counts[next] ?? 0;
    values.push({
      metricName: `${metric}_bucket`,
      labels: { ...labels, le: String(bucketHigh(last) * scale) },
      value: below,
    });
  }
  values.push(
    { metricName: `${metric}_bucket`, labels: { ...labels, le: '+Inf' }, value: seen.total },
    { metricName: `${metric}_sum`, labels, value: seen.estimatedSum() * scale },
    { metricName: `${metric}_count`, labels, value: seen.total },
  );
  return values;
}

export interface MetricsAddress {
  host: string;
  port: number;
}

/** ":9464", "9464", "host:9464", "[::1]:9464". Without a host it is 127.0.0.1: open on purpose only. */
export function parseMetricsAddress(address: string): MetricsAddress {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]\s]*):)?(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (!match || port > 65535) throw new VanityError('VANITY_E_METRICS_ADDRESS', { address });
  const host = (match[1] ?? '').replace(/^\[|\]$/g, '');
  return { host: host === '' ? '127.0.0.1' : host, port };
}

/** The endpoint, taken before a system boots, so that a port in use stops the start. */
export class MetricsServer {
  readonly #server: Server;
  #registry: SegmentRegistry | undefined;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Throws VANITY_E_METRICS_ADDRESS or VANITY_E_METRICS_BIND. */
  static async listen(address: string): Promise<MetricsServer> {
    const { host, port } = parseMetricsAddress(address);
    const server = createServer((request, response) => {
      const path = request.url?.split('?')[0];
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.writeHead(405, { allow: 'GET, HEAD' }).end();
      } else if (path !== '/metrics') {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('see /metrics\n');
      } else {
        void self.#serve().then(
          ({ type, body }) => response.writeHead(200, { 'content-type': type }).end(body),
          () => response.writeHead(503, { 'content-type': 'text/plain' }).end('not running\n'),
        );
      }
    });
    const self = new MetricsServer(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => {
        const reason =
          error.code === 'EADDRINUSE'
            ? 'the port is in use'
            : error.code === 'EACCES'
              ? 'ports below 1024 need privileges'
              : error.message;
        const example = port < 65535 && port >= 1024 ? port + 1 : 9464;
        reject(new VanityError('VANITY_E_METRICS_BIND', { address, reason, example }));
      });
      server.listen(port, host, resolve);
    });
    // The system's life keeps the process up, not its endpoint.
    server.unref();
    return self;
  }

  /** Where it listens, as a URL. */
  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') return '';
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return `http://${host}:${address.port}/metrics`;
  }

  /** Serves this segment from now on; must be followed by `close` before it is unmapped. */
  attach(segment: Segment): void {
    this.#registry = new SegmentRegistry(segment);
  }

  close(): void {
    this.#registry = undefined;
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #serve(): Promise<{ type: string; body: string }> {
    const registry = this.#registry;
    if (!registry) throw new Error('nothing to serve yet');
    return { type: registry.contentType, body: await registry.metrics() };
  }
}
