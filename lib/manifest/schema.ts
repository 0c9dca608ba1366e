import * as z from 'zod';
import { limits } from './limits.js';

/** What error messages say about a value: what it must be, and one that would do. */
export interface Expectation {
  readonly expects: string;
  readonly example: string;
}

/** Expectations of the schema's leaves. */
export const expectations = z.registry<Expectation>();

function leaf<T extends z.ZodType>(schema: T, expects: string, example: string, about: string): T {
  const described = schema.describe(about);
  expectations.add(described, { expects, example });
  return described;
}

function integer(min: number, max: number, example: number, about: string, unit = '') {
  const units = unit === '' ? '' : ` ${unit}`;
  return leaf(
    z.int().min(min).max(max),
    `an integer from ${min} to ${max}${units}`,
    String(example),
    unit === '' ? about : `${about} Unit: ${unit}.`,
  );
}

function powerOfTwo(min: number, max: number, example: number, about: string) {
  return leaf(
    z
      .int()
      .min(min)
      .max(max)
      .refine((n) => Number.isInteger(Math.log2(n))),
    `a power of two from ${min} to ${max}`,
    String(example),
    about,
  );
}

function choice<const T extends readonly [string, ...string[]]>(values: T, about: string) {
  const words = values.map((value) => `"${value}"`);
  return leaf(z.enum(values), `one of ${words.join(', ')}`, words[0] as string, about);
}

const boolean = (about: string) => leaf(z.boolean(), 'true or false', 'true', about);

const text = (expects: string, example: string, about: string, pattern = /^[^\0]+$/) =>
  leaf(z.string().regex(pattern), expects, JSON.stringify(example), about);

const unitOf: Record<string, number> = {
  '': 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};
const sizePattern = /^(\d{1,15})\s?(B|KiB|MiB|GiB|TiB)?$/;

/** `65536` or `"64KiB"` in bytes; NaN when it is neither. */
export function bytesOf(size: number | string): number {
  if (typeof size === 'number') return size;
  const match = sizePattern.exec(size);
  return match ? Number(match[1]) * (unitOf[match[2] ?? ''] as number) : Number.NaN;
}

const byteText = (n: number) => {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const size = unitOf[unit] as number;
    if (n >= size && n % size === 0) return `${n / size}${unit}`;
  }
  return String(n);
};

function byteSize(min: number, max: number, example: string, about: string, multiple = 1) {
  const also = multiple === 1 ? '' : ` and a multiple of ${multiple}`;
  return leaf(
    z
      .union([z.int(), z.string().regex(sizePattern)])
      .refine((size) => {
        const n = bytesOf(size);
        return Number.isSafeInteger(n) && n >= min && n <= max && n % multiple === 0;
      })
      .transform(bytesOf),
    `a size from ${byteText(min)} to ${byteText(max)}${also}: bytes, or text such as "64KiB"`,
    example,
    `${about} Unit: bytes.`,
  );
}

export const waits = ['auto', 'spin', 'futex', 'waitpkg', 'monitorx', 'wfe', 'zawrs'] as const;

const wait = (about: string) => choice(waits, about);

const shardName = (about: string) => leaf(z.string(), 'the name of a shard', '"worker"', about);

const queues = (about: string) =>
  leaf(
    z.union([
      z.string().transform((name) => [name]),
      z.array(z.string()).min(1).max(limits.queuesPerPort),
    ]),
    `the name of a shard, or a list of 1 to ${limits.queuesPerPort} of them`,
    '"worker"',
    about,
  );

const core = <const T extends 'auto' | 'any'>(other: T, about: string) =>
  leaf(
    z.union([z.int().min(0).max(limits.coreMax), z.literal(other)]),
    `an integer from 0 to ${limits.coreMax} or "${other}"`,
    '2',
    about,
  );

const second = 1000;

export const systemSchema = z
  .strictObject({
    name: leaf(
      z.string(),
      'the name of the system',
      '"my-system"',
      'Name of the system and of its segment.',
    ),
    oversubscribe: boolean('Allow several shards on one core.').default(false),
    huge_pages: choice(
      ['auto', '1G', '2M', 'transparent', 'none'],
      'Pages of the arenas; "auto" takes the largest that the host gives.',
    ).default('auto'),
    wait: wait('How shards wait that do not say so themselves.').default('auto'),
    metrics: text(
      'an address such as ":9464" or "127.0.0.1:9464"',
      ':9464',
      'Address of the Prometheus endpoint; none when absent.',
      /^[^\s/]*:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])$/,
    ).optional(),
  })
  .describe('The system as a whole.');

export const kernelSchema = z
  .strictObject({
    core: core('any', 'Core of the kernel thread; "any" does not pin it.').default('any'),
    stall_ms: integer(
      1,
      3600 * second,
      1000,
      'A shard that makes no progress for this long counts as stalled.',
      'milliseconds',
    ).default(1000),
    drain_ms: integer(
      0,
      3600 * second,
      2000,
      'How long shutdown waits for packets on their way.',
      'milliseconds',
    ).default(2000),
  })
  .describe('The control thread.');

export const policies = ['report', 'restart', 'hold', 'stop-system'] as const;

const hour = 3600 * second;

export const watchdogSchema = z
  .strictObject({
    progress_ms: integer(
      0,
      hour,
      1000,
      'A turn of the shard that takes so long is a stall; the stall_ms of [kernel] when 0.',
      'milliseconds',
    ).default(0),
    service_us: integer(
      0,
      hour * 1000,
      500,
      'A turn that takes longer is slow; 0 does not watch for it.',
      'microseconds',
    ).default(0),
    starve_ms: integer(
      0,
      hour,
      100,
      'Input that waits for so long while the shard takes turns is starved; 0 does not watch for it.',
      'milliseconds',
    ).default(0),
    on_progress: choice(policies, 'What is done about a stall.').default('report'),
    on_service: choice(policies, 'What is done about a slow turn.').default('report'),
    on_starve: choice(policies, 'What is done about starved input.').default('report'),
    on_fault: choice(
      ['restart', 'hold', 'stop-system', 'crash'],
      'What is done when a native module faults or a TypeScript program throws; "crash" ends the process, as without Vanity, or fails the TypeScript shard and stops the system in order.',
    ).default('restart'),
    backoff_ms: integer(
      0,
      60 * second,
      100,
      'Time before the first restart, twice as long before the next.',
      'milliseconds',
    ).default(100),
    max_restarts: integer(
      0,
      1000,
      3,
      'Restarts within the window; a program that faults once more is given up.',
    ).default(3),
    window_ms: integer(1, 24 * hour, 60000, 'The window of max_restarts.', 'milliseconds').default(
      60000,
    ),
  })
  .describe('What is watched for in one shard, and what is done about it.');

export const shardSchema = z
  .strictObject({
    program: text(
      'the name of a built-in program, or the path of a .so, .js, .mjs or .ts file',
      'forward',
      'What the shard runs: a built-in, or a path relative to the folder of the manifest.',
    ),
    core: core('auto', 'Core of the shard; "auto" picks a free one at boot.').default('auto'),
    wait: wait('How the shard waits; the value of [system] when absent.').optional(),
    strategy: choice(
      ['doorbell', 'rotate', 'primary'],
      'How the shard waits on many channels.',
    ).default('doorbell'),
    primary: leaf(
      z.string(),
      'the name of a channel into this shard',
      '"channel-name"',
      'The channel to wait on with strategy = "primary".',
    ).optional(),
    burst: integer(1, limits.burstMax, 32, 'Elements taken at once.').default(32),
    fifo: integer(0, 99, 0, 'SCHED_FIFO priority; 0 leaves the normal scheduler.').default(0),
    spin_us_max: integer(
      0,
      second * 1000,
      50,
      'Longest spin before a sleep.',
      'microseconds',
    ).default(50),
    sleep_us_max: integer(
      1,
      second * 1000,
      10000,
      'Longest sleep before another look.',
      'microseconds',
    ).default(10000),
    arena: byteSize(
      0,
      2 ** 40,
      '"16MiB"',
      'Memory for the program itself, beyond what channels and pools need.',
    ).prefault(0),
    options: z
      .record(
        z.string(),
        leaf(
          z.union([z.string(), z.number(), z.boolean()]),
          'text, a number or true or false',
          '1',
          'A value.',
        ),
      )
      .describe('What the program reads as its options.')
      .prefault({}),
    isolation: choice(
      ['thread', 'process', 'pkey'],
      'A thread of the process; a process of its own; or a thread whose program, by a protection key, can write to no memory but its own and that of its channels and packets.',
    ).default('thread'),
    trace: boolean('Note every burst and wait as an event, for vanity trace.').default(false),
    watchdog: watchdogSchema.prefault({}),
  })
  .describe('One shard: a core, a thread or a process, a program.');

export const channelSchema = z
  .strictObject({
    from: shardName('The shard that sends.'),
    to: shardName('The shard that receives.'),
    capacity: powerOfTwo(
      limits.capacityMin,
      limits.capacityMax,
      1024,
      'Elements the ring holds.',
    ).default(1024),
    carries: choice(
      ['packets', 'messages'],
      'Packets (descriptors of buffers) or messages of fixed size.',
    ).default('packets'),
    element_bytes: byteSize(
      limits.elementBytesMin,
      limits.elementBytesMax,
      '64',
      'Size of a message; required with carries = "messages", absent otherwise.',
      8,
    ).optional(),
    layout: choice(
      ['bulk', 'latency'],
      'Tuned for throughput in bursts, or for the time of one element.',
    ).default('bulk'),
    overflow: choice(
      ['drop', 'block', 'program'],
      'What happens when it is full: count and drop, wait, or let the program decide.',
    ).default('drop'),
    high_watermark: integer(
      1,
      limits.capacityMax,
      768,
      'Depth that counts as high.',
      'elements',
    ).optional(),
    low_watermark: integer(
      0,
      limits.capacityMax,
      256,
      'Depth that ends a high one.',
      'elements',
    ).optional(),
  })
  .describe('One ring between two shards.');

/** Neither a group's (bit 0 of the first byte) nor all zero. */
const STATION_ADDRESS = /^(?!00(:00){5}$)[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$/;

const SOCKET_PATH = /^[^\0]+$/;

export const portSchema = z
  .strictObject({
    driver: choice(
      ['capture', 'af_packet', 'device', 'virtio-user', 'vhost-user'],
      'What the port is.',
    ),
    rx: queues('Shard of each receive queue.').optional(),
    tx: queues('Shard of each transmit queue.').optional(),
    file: text(
      'the path of a capture file',
      'in.pcap',
      'capture: the pcap or pcapng file to read.',
    ).optional(),
    write: text(
      'a path that ends in .pcap or .pcapng',
      'out.pcap',
      'capture: the file to write.',
      /^[^\0]+\.(pcap|pcapng)$/,
    ).optional(),
    replay: choice(
      ['as-fast', 'loop', 'timed'],
      'capture: once as fast as it goes, for ever, or at captured time.',
    ).optional(),
    interface: text(
      'the name of a network interface, 1 to 15 bytes',
      'eth0',
      'af_packet: the interface.',
      /^[^\s/\0]{1,15}$/,
    ).optional(),
    fanout: choice(
      ['hash', 'lb', 'cpu'],
      'af_packet: how packets spread over several receive queues.',
    ).optional(),
    promiscuous: boolean(
      'af_packet, device: take packets for other addresses too; true when absent.',
    ).optional(),
    device: leaf(
      z.string(),
      'the name of a device',
      '"nic0"',
      'device: the NIC, [devices.NAME]; its driver is set there.',
    ).optional(),
    ring: powerOfTwo(
      limits.ringMin,
      limits.ringMax,
      256,
      'device, virtio-user: descriptors of each ring; 256 when absent.',
    ).optional(),
    poll_us_max: integer(
      0,
      second * 1000,
      50,
      'device, virtio-user, vhost-user: how long an empty receive queue is polled before its interrupt is armed; 0 arms at once, 50 when absent.',
      'microseconds',
    ).optional(),
    interrupts: boolean(
      'device, virtio-user, vhost-user: arm interrupts when idle; false polls always, true when absent.',
    ).optional(),
    packed: choice(
      ['auto', 'yes', 'no'],
      'virtio-user, and device with driver = "virtio-net": packed rings; "auto" takes them where they are offered. vhost-user: "no" does not offer them.',
    ).optional(),
    mac: text(
      'the MAC address of one station, not of a group: six bytes in hexadecimal',
      '52:54:00:12:34:56',
      'device: the address that the NIC listens to; its own when absent.',
      STATION_ADDRESS,
    ).optional(),
    socket: text(
      `the path of a Unix socket, at most ${limits.socketPathBytes} bytes`,
      '/run/vanity/net0.sock',
      'virtio-user, vhost-user: the socket that joins this port to the process which is its device, or its driver.',
      SOCKET_PATH,
    ).optional(),
    role: choice(
      ['client', 'server'],
      'virtio-user, vhost-user: connect to the socket, or make it and listen; "client" when absent, of vhost-user "server".',
    ).optional(),
    peer_uid: integer(
      0,
      0xfffffffe,
      64055,
      'virtio-user, vhost-user: the user, besides root and our own, who may be at the other end.',
    ).optional(),
    overflow: choice(
      ['drop', 'block'],
      'What happens when a transmit queue is full: count and drop, or wait.',
    ).default('drop'),
    buffers: powerOfTwo(64, limits.poolBuffersMax, 8192, 'Buffers of each receive queue.').default(
      8192,
    ),
    buffer_bytes: byteSize(
      limits.bufferBytesMin,
      limits.bufferBytesMax,
      '2048',
      'Size of one buffer.',
      64,
    ).prefault(2048),
  })
  .describe('A source and sink of packets.');

const grantee = shardName('The shard that gets it.');

/** What means a PCI device: an address, or something that it is known by. */
export const PCI_SELECTOR =
  /^([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]|[0-9a-fA-F]{4}:[0-9a-fA-F]{4}|mac=[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}|(serial|slot)=[^\s=]{1,64})$/;

export const deviceSchema = z
  .strictObject({
    pci: text(
      'a PCI address such as "0000:01:00.0", or vendor:device, mac=, serial= or slot=',
      '0000:01:00.0',
      'Address of the device, or what it is known by: "8086:10d3", "mac=52:54:00:12:34:56", "serial=...", "slot=3".',
      PCI_SELECTOR,
    ),
    driver: choice(
      ['vfio', 'virtio-net', 'e1000e'],
      'Who drives it: programs with the grants below ("vfio"), or the driver of a NIC, which a port names.',
    ).default('vfio'),
    backend: choice(
      ['auto', 'group', 'cdev'],
      'Interface of VFIO: groups and a container, or the device alone with iommufd; "auto" takes what the host has.',
    ).default('auto'),
    unsafe_noiommu: boolean(
      'Run without an IOMMU: the device can write to all memory of the host.',
    ).default(false),
    mmio: z
      .array(
        z.strictObject({
          bar: integer(0, 5, 0, 'Base address register.'),
          offset: byteSize(0, 2 ** 40, '0', 'Start of the range in the BAR.', 4096),
          bytes: byteSize(1, 2 ** 40, '4096', 'Length of the range.'),
          to: grantee,
        }),
      )
      .describe('Ranges of registers.')
      .prefault([]),
    irqs: z
      .array(
        z.strictObject({
          vector: integer(0, limits.vectorsPerDevice - 1, 0, 'Number of the vector.'),
          to: grantee,
          trigger: choice(
            ['level', 'edge', 'msi', 'msix'],
            'What kind of interrupt it is.',
          ).default('msix'),
          eoi: choice(
            ['immediate', 'delayed'],
            'When the line is unmasked; "delayed" for level and "immediate" for the others when absent.',
          ).optional(),
        }),
      )
      .describe('Interrupt vectors.')
      .prefault([]),
    dma: z
      .array(
        z.strictObject({
          name: leaf(z.string(), 'the name of a region', '"rings"', 'Name of the region.'),
          bytes: byteSize(4096, 2 ** 40, '"2MiB"', 'Length of the region.', 4096),
          bits: integer(24, 64, 64, 'Address bits the device can drive.').default(64),
          to: grantee,
        }),
      )
      .describe('Memory the device may reach.')
      .prefault([]),
  })
  .describe('A PCI device and what is granted of it; what is not listed is not mapped.');

export const manifestSchema = z
  .strictObject({
    system: systemSchema,
    kernel: kernelSchema.prefault({}),
    shards: z.record(z.string(), shardSchema).describe('Shards by name.'),
    channels: z.record(z.string(), channelSchema).describe('Channels by name.').prefault({}),
    ports: z.record(z.string(), portSchema).describe('Ports by name.').prefault({}),
    devices: z.record(z.string(), deviceSchema).describe('Devices by name.').prefault({}),
  })
  .describe('A Vanity system.');

/** A manifest as its author writes it. */
export type Manifest = z.input<typeof manifestSchema>;
/** A manifest with every default filled in. */
export type FilledManifest = z.output<typeof manifestSchema>;
export type ShardEntry = z.output<typeof shardSchema>;
export type ChannelEntry = z.output<typeof channelSchema>;
export type PortEntry = z.output<typeof portSchema>;
export type DeviceEntry = z.output<typeof deviceSchema>;

/** The schema that editors use, draft 2020-12. */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(manifestSchema, { io: 'input', target: 'draft-2020-12' });
  // Names are a rule here, so that its message can say what is odd about one; editors get a pattern.
  const name = {
    type: 'string',
    pattern: '^[a-z0-9][a-z0-9-]*$',
    maxLength: limits.nameBytes,
  } as const;
  const sections = schema.properties ?? {};
  for (const key of ['shards', 'channels', 'ports', 'devices']) {
    const section = sections[key];
    if (typeof section === 'object') section.propertyNames = name;
  }
  const system = sections.system;
  if (typeof system === 'object' && typeof system.properties?.name === 'object') {
    Object.assign(system.properties.name, name);
  }
  return { title: 'Vanity manifest', ...(schema as Record<string, unknown>) };
}

// What stands behind optional, default and the like.
function unwrap(schema: z.ZodType): z.ZodType {
  let current = schema;
  while (
    current instanceof z.ZodOptional ||
    current instanceof z.ZodDefault ||
    current instanceof z.ZodPrefault
  ) {
    current = current.unwrap() as z.ZodType;
  }
  return current;
}

/** The part of the schema that a path leads to. */
export function schemaAt(path: readonly PropertyKey[]): z.ZodType | undefined {
  let current: z.ZodType | undefined = manifestSchema;
  for (const part of path) {
    const inner: z.ZodType = unwrap(current);
    if (expectations.has(inner)) return inner;
    if (inner instanceof z.ZodObject) current = inner.shape[String(part)] as z.ZodType | undefined;
    else if (inner instanceof z.ZodRecord) current = inner.valueType as z.ZodType;
    else if (inner instanceof z.ZodArray) current = inner.element as z.ZodType;
    else return undefined;
    if (!current) return undefined;
  }
  return unwrap(current);
}

export function expectationAt(path: readonly PropertyKey[]): Expectation | undefined {
  const schema = schemaAt(path);
  return schema && expectations.get(schema);
}

/** The keys that may stand in the table at a path. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  const schema = schemaAt(path);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The words that may stand at a path, when it is a choice. */
export function choicesAt(path: readonly PropertyKey[]): string[] {
  const schema = schemaAt(path);
  return schema instanceof z.ZodEnum ? schema.options.map(String) : [];
}
