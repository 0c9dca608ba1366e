// Writes segments for tests: the same format as native/include/vanity/segment.hpp, record layout free.
import { bucketOf } from '../../../dist/telemetry/histogram.js';

const KINDS = {
  system: 1,
  shards: 2,
  channels: 3,
  ports: 4,
  queues: 5,
  pools: 6,
  devices: 7,
  vectors: 8,
  events: 10,
  looks: 11,
  manifests: 12,
};
const TYPES = [
  'counter',
  'gauge',
  'number',
  'state',
  'label',
  'histogram',
  'dynamic',
  'ring',
  'text',
];
const STATES = ['booting', 'running', 'stopping', 'stopped', 'failed'];
export const HISTOGRAM_BUCKETS = 496;

const counters = (...names) =>
  names.map((name) => ({ name, type: 'counter', text: `The ${name}.` }));
const numbers = (...names) => names.map((name) => ({ name, type: 'number' }));
const label = (name, count) => ({ name, type: 'label', count });
const histogram = (name, unit) => ({ name, unit, type: 'histogram', count: HISTOGRAM_BUCKETS });

/** The tables of a packet system, in an order of its own: readers must go by the descriptors. */
export const FIELDS = {
  shards: [
    ...counters('received', 'sent', 'consumed', 'filtered', 'dropped', 'bytes'),
    ...['busy_ticks', 'idle_ticks', 'wait_ticks'].map((name) => ({
      name,
      unit: 'ticks',
      type: 'counter',
      text: `The ${name}.`,
    })),
    ...counters('polls', 'polls_busy', 'waits', 'wakes_late', 'stalls'),
    label('name', 32),
    label('program', 64),
    ...numbers('core'),
    {
      name: 'state',
      type: 'state',
      text: 'starting|ready|running|draining|stopped|failed|stalled',
    },
    { name: 'arena_bytes', type: 'gauge', unit: 'bytes' },
    { name: 'user', type: 'dynamic', count: 8 },
    histogram('burst', ''),
    histogram('service_ticks', 'ticks'),
  ],
  channels: [
    label('name', 32),
    ...numbers('from', 'to', 'capacity', 'element_bytes'),
    { name: 'carries_packets', type: 'number' },
    { name: 'arena', type: 'number' },
    { name: 'arena_offset', type: 'gauge', unit: 'bytes' },
    ...counters('sent', 'received', 'bursts', 'dropped', 'blocked', 'high_watermark'),
  ],
  ports: [
    label('name', 32),
    label('driver', 16),
    label('target', 128),
    { name: 'state', type: 'state', text: 'starting|up|down|finished|failed' },
    ...numbers('queues'),
    ...counters('downs', 'errors'),
  ],
  queues: [
    ...numbers('port', 'queue'),
    { name: 'direction', type: 'state', text: 'rx|tx' },
    ...numbers('shard'),
    ...counters('packets', 'bytes', 'no_buffer', 'oversize', 'dropped', 'invalid'),
  ],
  pools: [
    label('name', 32),
    ...numbers('shard', 'buffers', 'buffer_bytes', 'stride'),
    { name: 'arena_offset', type: 'gauge', unit: 'bytes' },
    ...counters('taken', 'returned', 'leaked'),
  ],
  devices: [
    label('name', 32),
    label('address', 16),
    label('driver', 16),
    label('backend', 16),
    { name: 'state', type: 'state', text: 'opening|granted|wanted|lost|returned' },
    ...numbers('vectors'),
    ...counters('requests', 'errors', 'refused'),
  ],
  vectors: [
    label('name', 32),
    ...numbers('device', 'shard', 'vector'),
    { name: 'trigger', type: 'state', text: 'level|edge|msi|msix' },
    { name: 'eoi', type: 'state', text: 'immediate|delayed' },
    ...counters('raised', 'storms', 'suppressed', 'taken', 'done'),
    histogram('latency_ticks', 'ticks'),
  ],
};

const sizeOf = ({ type, count = 1 }) =>
  ({
    number: 4,
    state: 4,
    label: count,
    histogram: 8 * count,
    dynamic: 40 * count,
    ring: 32 * count,
    text: 1024 * count,
  })[type] ?? 8;
const up = (n, to) => Math.ceil(n / to) * to;

/**
 * @param {object} system name, pid, state, uptimeNs, heartbeatNs, ticksPerSecond, ready
 * @param {object} rows   per table: array of { field: value }; histograms as arrays of recorded values
 * @param {object} fields per table: descriptors; FIELDS by default
 */
export function writeSegment(system = {}, rows = {}, fields = FIELDS) {
  const tables = Object.entries(fields).map(([name, described]) => {
    let stride = 8;
    const placed = described.map((field) => {
      const offset = up(stride, 8);
      stride = offset + sizeOf(field);
      return { ...field, offset };
    });
    return { name, fields: placed, stride: up(stride, 128), rows: rows[name] ?? [] };
  });
  let at = 4096;
  for (const table of tables) {
    table.fieldsAt = at;
    at += table.fields.length * 128;
  }
  at = up(at, 128);
  for (const table of tables) {
    table.recordsAt = at;
    at += table.stride * table.rows.length;
  }
  const buffer = new ArrayBuffer(at);
  const view = new DataView(buffer);
  const putText = (offset, string, bytes) => {
    new Uint8Array(buffer, offset, bytes).set(Buffer.from(string).subarray(0, bytes));
  };
  const putWord = (offset, value) => view.setBigUint64(offset, BigInt(value), true);

  putText(0, 'VANITYSG', 8);
  view.setUint32(8, 1, true);
  view.setUint32(12, 4096, true);
  putWord(16, at);
  putWord(24, system.ticksPerSecond ?? 1_000_000_000);
  putWord(32, system.startedRealtimeNs ?? 1_700_000_000_000_000_000n);
  view.setUint32(40, system.pid ?? process.pid, true);
  view.setUint32(44, tables.length, true);
  putText(48, system.name ?? 'lab', 32);
  view.setUint32(80, STATES.indexOf(system.state ?? 'running'), true);
  view.setUint32(84, system.ready ?? 1, true);
  putWord(88, system.heartbeatNs ?? process.hrtime.bigint());
  putWord(96, system.uptimeNs ?? 2_000_000_000);

  tables.forEach((table, i) => {
    const t = 104 + i * 32;
    view.setUint32(t, KINDS[table.name], true);
    view.setUint32(t + 4, table.rows.length, true);
    view.setUint32(t + 8, table.stride, true);
    view.setUint32(t + 12, table.fields.length, true);
    putWord(t + 16, table.recordsAt);
    putWord(t + 24, table.fieldsAt);
    table.fields.forEach((field, f) => {
      const d = table.fieldsAt + f * 128;
      putText(d, field.name, 32);
      putText(d + 32, field.unit ?? '', 12);
      view.setUint32(d + 44, field.offset, true);
      view.setUint16(d + 48, TYPES.indexOf(field.type), true);
      view.setUint16(d + 50, field.count ?? 1, true);
      putText(d + 52, field.text ?? '', 76);
    });
    table.rows.forEach((row, r) => {
      for (const field of table.fields) {
        const value = row[field.name];
        if (value === undefined) continue;
        const base = table.recordsAt + r * table.stride + field.offset;
        if (field.type === 'label') putText(base, value, field.count);
        else if (field.type === 'text') putText(base, value, 1024 * field.count);
        else if (field.type === 'number') view.setUint32(base, value, true);
        else if (field.type === 'state')
          view.setUint32(base, field.text.split('|').indexOf(value), true);
        else if (field.type === 'histogram') {
          for (const recorded of value) {
            const bucket = base + 8 * bucketOf(recorded);
            view.setBigUint64(bucket, view.getBigUint64(bucket, true) + 1n, true);
          }
        } else if (field.type === 'dynamic') {
          Object.entries(value).forEach(([name, n], k) => {
            putText(base + 40 * k, name, 32);
            putWord(base + 40 * k + 32, n);
          });
        } else if (field.type === 'ring') {
          // The last of them, each in its slot.
          value.forEach((words, n) => {
            words.forEach((word, i) => {
              putWord(base + 32 * (n % field.count) + 8 * i, word);
            });
          });
        } else putWord(base, value);
      }
    });
  });
  return buffer;
}

/** Two shards, a channel between them, a port in and one out: of 1000 packets 10 were dropped, 90 are inside. */
export function labRows(scale = 1) {
  return {
    shards: [
      {
        name: 'rx',
        program: 'port-rx',
        core: 1,
        state: 'running',
        received: 1000 * scale,
        sent: 990 * scale,
        dropped: 10 * scale,
        bytes: 64_000 * scale,
        busy_ticks: 20_000 * scale,
        idle_ticks: 500_000_000 * scale,
        wait_ticks: 0,
        burst: [32, 32, 32, 1],
        service_ticks: [100, 100, 100, 3000],
        user: { hits: 7 },
      },
      {
        name: 'tx',
        program: 'port-tx',
        core: 0xffffffff,
        state: 'running',
        received: 990 * scale - 90,
        sent: 990 * scale - 90,
        busy_ticks: 99_000 * scale,
        wait_ticks: 900_000_000 * scale,
        burst: [16, 16],
        service_ticks: [50],
      },
    ],
    channels: [
      {
        name: 'link',
        from: 0,
        to: 1,
        capacity: 1024,
        element_bytes: 16,
        carries_packets: 1,
        arena: 1,
        sent: 990 * scale,
        received: 990 * scale - 90,
        dropped: 10 * scale,
      },
    ],
    ports: [
      { name: 'in', driver: 'capture', target: 'in.pcap', state: 'up', queues: 1 },
      { name: 'out', driver: 'capture', target: 'out.pcap', state: 'up', queues: 1 },
    ],
    queues: [
      {
        port: 0,
        queue: 0,
        direction: 'rx',
        shard: 0,
        packets: 1000 * scale,
        bytes: 64_000 * scale,
      },
      {
        port: 1,
        queue: 0,
        direction: 'tx',
        shard: 1,
        packets: 990 * scale - 90,
        bytes: 63_360 * scale,
      },
    ],
    pools: [{ name: 'in.0', shard: 0, buffers: 8192, taken: 1000 * scale, returned: 1000 * scale }],
  };
}

/** What a shard may have noted: `slots` of its last events, which are [kind, { ticks, what, place, n, a, b }]. */
export function eventFields(slots) {
  return [
    { name: 'epoch_ticks', type: 'gauge' },
    { name: 'events_written', type: 'counter' },
    { name: 'events', type: 'ring', count: slots },
    { name: 'fault_events_written', type: 'counter' },
    { name: 'fault_events', type: 'ring', count: slots },
    { name: 'packet_events_written', type: 'counter' },
    { name: 'packet_events', type: 'ring', count: slots },
  ];
}
export function eventRow(events, epoch = 1000, name = 'events') {
  const words = events.map(([kind, { ticks = 0, what = 0, place = 0, n = 0, a = 0, b = 0 }]) => [
    epoch + ticks,
    BigInt(kind) | (BigInt(what) << 8n) | (BigInt(place) << 16n) | (BigInt(n) << 32n),
    a,
    b,
  ]);
  return { epoch_ticks: epoch, [`${name}_written`]: words.length, [name]: words };
}

/** The same with a NIC of two queues: a vector each, and one of the kernel's own. */
export function nicRows(scale = 1) {
  const rows = labRows(scale);
  const vector = (number, shard, more) => ({
    name: `nic0 ${number}`,
    device: 0,
    shard,
    vector: number,
    trigger: 'msix',
    eoi: 'immediate',
    ...more,
  });
  return {
    ...rows,
    ports: [...rows.ports, { name: 'wan', driver: 'virtio-net', target: 'nic0', state: 'up' }],
    queues: [
      ...rows.queues,
      { port: 2, queue: 0, direction: 'rx', shard: 0, packets: 500 * scale, bytes: 32_000 * scale },
      { port: 2, queue: 1, direction: 'rx', shard: 1, packets: 300 * scale, dropped: 2 },
      { port: 2, queue: 0, direction: 'tx', shard: 1, packets: 800 * scale },
    ],
    devices: [
      {
        name: 'nic0',
        address: '0000:01:00.0',
        driver: 'virtio-net',
        backend: 'group',
        state: 'granted',
        vectors: 3,
      },
    ],
    vectors: [
      vector(0, 0, {
        raised: 40 * scale,
        taken: 40 * scale,
        latency_ticks: [...Array(40 * scale - 1).fill(4000), 90_000],
      }),
      vector(1, 1, { raised: 10, taken: 8, storms: 1, suppressed: 2 * scale }),
      vector(2, 0xffffffff, { raised: 1 }),
    ],
  };
}

/** A segment of `labRows`; `scale` is also the age of the system in seconds. */
export function labSegment(system = {}, scale = 1) {
  return writeSegment({ uptimeNs: scale * 1_000_000_000, ...system }, labRows(scale));
}
