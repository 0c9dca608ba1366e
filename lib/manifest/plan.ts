import { VanityError, type Warning } from '../errors.js';
import { builtins } from './builtins.js';
import { Model } from './model.js';
import { RING } from './nic.js';
import { type ManifestSource, parseManifest, readManifest } from './parse.js';
import { applyRules } from './rules/index.js';
import type { DeviceEntry, PortEntry, ShardEntry } from './schema.js';

export { resolveCores } from './cores.js';

/**
 * A validated system: every default filled in, every name an index, every path absolute. The same shape
 * as native/shard/plan.hpp, with -1 for its kNone; metrics are for the CLI.
 */
export interface Plan {
  readonly name: string;
  readonly oversubscribe: boolean;
  readonly pages: 'auto' | '1G' | '2M' | 'transparent' | 'none';
  /** -1: not pinned. */
  readonly kernelCore: number;
  /** That carry the shards, those of TypeScript excepted; 0 or absent: each shard has its own. */
  readonly threads?: number;
  readonly stallNs: number;
  readonly drainNs: number;
  readonly shards: readonly ShardPlan[];
  readonly channels: readonly ChannelPlan[];
  readonly ports: readonly PortPlan[];
  readonly devices: readonly DevicePlan[];
  /** Address of the Prometheus endpoint; empty for none. */
  readonly metrics: string;
}

export interface ShardPlan {
  readonly name: string;
  readonly programKind: 'builtin' | 'native' | 'typescript';
  /** Built-in name, or absolute path. */
  readonly program: string;
  readonly options: Readonly<Record<string, string>>;
  /** "auto" until `resolveCores`. */
  readonly core: number | 'auto';
  readonly wait: NonNullable<ShardEntry['wait']>;
  readonly strategy: 'doorbell' | 'rotate' | 'primary';
  /** Channel index; -1: none. */
  readonly primary: number;
  readonly burst: number;
  readonly fifo: number;
  readonly spinNsMax: number;
  readonly sleepNsMax: number;
  readonly arenaBytes: number;
  readonly isolation: 'thread' | 'process' | 'pkey';
  /** Its bursts and waits are events from the start. */
  readonly trace: boolean;
  readonly watch: WatchPlan;
}

/** What the kernel watches for in one shard; 0: not at all. */
export interface WatchPlan {
  /** 0: `stallNs` of the system. */
  readonly progressNs: number;
  readonly serviceNs: number;
  readonly starveNs: number;
  readonly onProgress: 'report' | 'restart' | 'hold' | 'stop-system';
  readonly onService: WatchPlan['onProgress'];
  readonly onStarve: WatchPlan['onProgress'];
  readonly onFault: 'restart' | 'hold' | 'stop-system' | 'crash';
  readonly backoffNs: number;
  readonly maxRestarts: number;
  readonly windowNs: number;
}

export interface ChannelPlan {
  readonly name: string;
  /** Shard index. */
  readonly from: number;
  readonly to: number;
  readonly capacity: number;
  readonly elementBytes: number;
  readonly packets: boolean;
  readonly layout: 'bulk' | 'latency';
  readonly overflow: 'drop' | 'block' | 'program';
  /** 0: none. */
  readonly highWatermark: number;
  readonly lowWatermark: number;
}

export interface PortPlan {
  readonly name: string;
  readonly driver: PortEntry['driver'];
  /** Shard index of each receive queue. */
  readonly rx: readonly number[];
  readonly tx: readonly number[];
  /** Absolute path; empty: none. */
  readonly file: string;
  readonly write: string;
  readonly replay: 'as-fast' | 'loop' | 'timed';
  readonly interface: string;
  readonly fanout: 'hash' | 'lb' | 'cpu';
  readonly promiscuous: boolean;
  /** Device index; -1: none. */
  readonly device: number;
  readonly ring: number;
  readonly pollNsMax: number;
  readonly interrupts: boolean;
  readonly packed: 'auto' | 'yes' | 'no';
  /** Empty: the device's own. */
  readonly mac: string;
  /** Absolute path of a vhost-user socket; empty: none. */
  readonly socket: string;
  /** Makes the socket and listens. */
  readonly server: boolean;
  /** Who may be at the other end, besides root and our own user; -1: nobody. */
  readonly peerUid: number;
  readonly overflow: 'drop' | 'block';
  readonly buffers: number;
  readonly bufferBytes: number;
}

export interface DevicePlan {
  readonly name: string;
  /** What the manifest knows the device by. */
  readonly pci: string;
  /** Its address on this host; empty until `resolveDevices`. */
  readonly address: string;
  readonly driver: DeviceEntry['driver'];
  readonly backend: DeviceEntry['backend'];
  readonly unsafeNoiommu: boolean;
  readonly mmio: readonly { bar: number; offset: number; bytes: number; shard: number }[];
  readonly irqs: readonly {
    vector: number;
    shard: number;
    trigger: 'level' | 'edge' | 'msi' | 'msix';
    eoi: 'immediate' | 'delayed';
  }[];
  readonly dma: readonly { name: string; bytes: number; bits: number; shard: number }[];
}

/** A plan whose shards all have a core: -1 is not pinned. */
export interface ResolvedPlan extends Plan {
  readonly shards: readonly (ShardPlan & { readonly core: number })[];
}

/** Everything that is wrong with a manifest, in the order of its lines. */
export class ManifestErrors extends Error {
  override readonly name = 'ManifestErrors';
  readonly exitCode: number;

  constructor(
    readonly errors: readonly VanityError[],
    readonly warnings: readonly Warning[] = [],
  ) {
    super(errors.map((error) => error.message).join('\n'));
    this.exitCode = Math.max(1, ...errors.map((error) => error.exitCode));
  }
}

export interface LoadOptions {
  /** Overrides, each `key.path=value`. */
  readonly set?: readonly string[];
}

export interface Loaded {
  readonly plan: Plan;
  /** What it was read from; empty for an object. */
  readonly file: string;
  readonly text: string;
  readonly warnings: readonly Warning[];
}

/** Reads and checks a manifest; throws ManifestErrors with everything that is wrong with it. */
export function loadManifest(file: string, options: LoadOptions = {}): Loaded {
  return loadSource(readSource(file, options));
}

/** As `loadManifest`, for text that stands for the file of that name. */
export function loadManifestText(file: string, text: string, options: LoadOptions = {}): Loaded {
  return loadSource(asErrors(() => parseManifest(file, text, options.set)));
}

/** What a manifest says and where, before any of it is checked. */
export function readSource(file: string, options: LoadOptions = {}): ManifestSource {
  return asErrors(() => parseManifest(file, readManifest(file), options.set));
}

function asErrors<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof VanityError) throw new ManifestErrors([error]);
    throw error;
  }
}

/** The rest of the way, from what is written to a plan. */
export function loadSource(source: ManifestSource): Loaded {
  const model = new Model(source);
  applyRules(model);
  if (model.errors.length > 0) {
    throw new ManifestErrors([...model.errors].sort(byPlace), model.warnings);
  }
  const { file, text } = source;
  return { plan: planOf(model), file: text === '' ? '' : file, text, warnings: model.warnings };
}

function byPlace(a: VanityError, b: VanityError): number {
  const rank = ({ location }: VanityError) => (location?.set === undefined ? 0 : 1);
  return (
    rank(a) - rank(b) ||
    (a.location?.line ?? 0) - (b.location?.line ?? 0) ||
    (a.location?.column ?? 0) - (b.location?.column ?? 0)
  );
}

function programKindOf(program: string): ShardPlan['programKind'] {
  if (builtins.has(program)) return 'builtin';
  return program.endsWith('.so') ? 'native' : 'typescript';
}

function present<T>(value: T | undefined): T {
  if (value === undefined)
    throw new VanityError('VANITY_E_INTERNAL', { problem: 'a plan of an invalid manifest' });
  return value;
}

function planOf(model: Model): Plan {
  const system = present(model.system);
  const kernel = present(model.kernel);
  const index = (names: Iterable<string>) => new Map([...names].map((name, i) => [name, i]));
  const shardIndex = index(model.shards.keys());
  const channelIndex = index(model.channels.keys());
  const deviceIndex = index(model.devices.keys());
  const shard = (name: string) => present(shardIndex.get(name));
  const indices = (names: readonly string[] | undefined) => (names ?? []).map(shard);
  const listOf = <T, R>(
    all: ReadonlyMap<string, { name: string; value: T | undefined }>,
    make: (name: string, value: T) => R,
  ) => [...all.values()].map(({ name, value }) => make(name, present(value)));
  return {
    name: system.name,
    oversubscribe: system.oversubscribe,
    pages: system.huge_pages,
    kernelCore: kernel.core === 'any' ? -1 : kernel.core,
    stallNs: kernel.stall_ms * 1e6,
    drainNs: kernel.drain_ms * 1e6,
    metrics: system.metrics ?? '',
    shards: listOf(model.shards, (name, value) => {
      const programKind = programKindOf(value.program);
      return {
        name,
        programKind,
        program:
          programKind === 'builtin'
            ? value.program
            : model.file(['shards', name, 'program'], value.program),
        options: Object.fromEntries(
          Object.entries(value.options).map(([key, given]) => [key, String(given)]),
        ),
        core: value.core,
        wait: value.wait ?? system.wait,
        strategy: value.strategy,
        primary: value.primary === undefined ? -1 : present(channelIndex.get(value.primary)),
        burst: value.burst,
        fifo: value.fifo,
        spinNsMax: value.spin_us_max * 1e3,
        sleepNsMax: value.sleep_us_max * 1e3,
        arenaBytes: value.arena,
        isolation: value.isolation,
        trace: value.trace,
        watch: {
          progressNs: value.watchdog.progress_ms * 1e6,
          serviceNs: value.watchdog.service_us * 1e3,
          starveNs: value.watchdog.starve_ms * 1e6,
          onProgress: value.watchdog.on_progress,
          onService: value.watchdog.on_service,
          onStarve: value.watchdog.on_starve,
          onFault: value.watchdog.on_fault,
          backoffNs: value.watchdog.backoff_ms * 1e6,
          maxRestarts: value.watchdog.max_restarts,
          windowNs: value.watchdog.window_ms * 1e6,
        },
      };
    }),
    channels: listOf(model.channels, (name, value) => ({
      name,
      from: shard(value.from),
      to: shard(value.to),
      capacity: value.capacity,
      elementBytes: value.element_bytes ?? 16,
      packets: value.carries === 'packets',
      layout: value.layout,
      overflow: value.overflow,
      highWatermark: value.high_watermark ?? 0,
      lowWatermark: value.low_watermark ?? 0,
    })),
    ports: listOf(model.ports, (name, value) => ({
      name,
      driver: value.driver,
      rx: indices(value.rx),
      tx: indices(value.tx),
      file: value.file === undefined ? '' : model.file(['ports', name, 'file'], value.file),
      write: value.write === undefined ? '' : model.file(['ports', name, 'write'], value.write),
      replay: value.replay ?? 'as-fast',
      interface: value.interface ?? '',
      fanout: value.fanout ?? 'hash',
      promiscuous: value.promiscuous ?? true,
      device: value.device === undefined ? -1 : present(deviceIndex.get(value.device)),
      ring: value.ring ?? RING,
      pollNsMax: (value.poll_us_max ?? 50) * 1e3,
      interrupts: value.interrupts ?? true,
      packed: value.packed ?? 'auto',
      mac: value.mac ?? '',
      socket: value.socket === undefined ? '' : model.file(['ports', name, 'socket'], value.socket),
      server: (value.role ?? (value.driver === 'vhost-user' ? 'server' : 'client')) === 'server',
      peerUid: value.peer_uid ?? -1,
      overflow: value.overflow,
      buffers: value.buffers,
      bufferBytes: value.buffer_bytes,
    })),
    devices: listOf(model.devices, (name, value) => ({
      name,
      pci: value.pci,
      address: '',
      driver: value.driver,
      backend: value.backend,
      unsafeNoiommu: value.unsafe_noiommu,
      mmio: value.mmio.map(({ to, ...rest }) => ({ ...rest, shard: shard(to) })),
      irqs: value.irqs.map(({ to, eoi, ...rest }) => ({
        ...rest,
        shard: shard(to),
        eoi: eoi ?? (rest.trigger === 'level' ? 'delayed' : 'immediate'),
      })),
      dma: value.dma.map(({ to, ...rest }) => ({ ...rest, shard: shard(to) })),
    })),
  };
}

/** Bytes that the manifest itself implies: rings, buffer pools and arenas. */
export function memoryOf(plan: Plan): {
  channels: number;
  pools: number;
  arenas: number;
  total: number;
} {
  const sum = <T>(all: readonly T[], bytes: (one: T) => number) =>
    all.reduce((total, one) => total + bytes(one), 0);
  const channels = sum(plan.channels, ({ capacity, elementBytes }) => capacity * elementBytes);
  const pools = sum(
    plan.ports,
    ({ rx, buffers, bufferBytes }) => rx.length * buffers * bufferBytes,
  );
  const arenas = sum(plan.shards, ({ arenaBytes }) => arenaBytes);
  return { channels, pools, arenas, total: channels + pools + arenas };
}
