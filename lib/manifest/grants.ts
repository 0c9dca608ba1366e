// What the driver of a NIC is granted: it follows from the port that names the device. The kernel derives the same at boot.
import { builtins } from './builtins.js';
import { limits } from './limits.js';
import type { NicDriver } from './nic.js';
import type { Plan, PortPlan, ShardPlan } from './plan.js';

/** The buffers of a receive queue, or of a program that makes packets. */
export interface PoolPlan {
  readonly name: string;
  /** Shard index. */
  readonly owner: number;
  readonly bytes: number;
  /** Port index; -1 for the pool of a program. */
  readonly port: number;
}

export interface NicGrants {
  readonly device: string;
  readonly driver: NicDriver;
  readonly port: string;
  /** In the order of the driver: a vector for each receive queue that has interrupts, then the port's own. */
  readonly vectors: readonly { readonly of: string; readonly to: string }[];
  readonly rings: { readonly rx: number; readonly tx: number; readonly descriptors: number };
  readonly pools: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly access: 'read-write' | 'read-only';
  }[];
}

const LINE = 64;
const FRAME_OFFSET = 80;

/** Bytes of a pool's buffers, as native/memory/pool.hpp lays them out. */
function poolBytes(buffers: number, bufferBytes: number): number {
  return buffers * (Math.ceil(bufferBytes / LINE) | 1) * LINE;
}

/** Every pool that the manifest tells of; a native program may bring one of its own besides. */
export function poolsOf(plan: Plan): PoolPlan[] {
  const ports = plan.ports.flatMap(({ name, rx, buffers, bufferBytes }, port) =>
    rx.map((owner, queue) => ({
      name: rx.length === 1 ? name : `${name}.${queue}`,
      owner,
      bytes: poolBytes(buffers, bufferBytes),
      port,
    })),
  );
  const programs = plan.shards.flatMap((shard, owner) => {
    const bytes = ownPoolBytes(shard);
    return bytes === 0 ? [] : [{ name: shard.name, owner, bytes, port: -1 }];
  });
  return [...ports, ...programs];
}

function ownPoolBytes({ programKind, program, options }: ShardPlan): number {
  if (programKind !== 'builtin') {
    return poolBytes(Number(options.buffers ?? 0) || 0, Number(options.buffer_bytes ?? 2048));
  }
  const known = builtins.get(program)?.options;
  if (known?.buffers === undefined) return 0;
  const size = Number(options.size ?? known.size?.example);
  const bufferBytes = Math.max(limits.bufferBytesMin, FRAME_OFFSET + size);
  return poolBytes(Number(options.buffers ?? known.buffers.example), bufferBytes);
}

/** Shards that packets from one can come to, itself among them. */
function reachedFrom(plan: Plan, shard: number): Set<number> {
  const seen = new Set([shard]);
  for (const at of seen) {
    for (const { from, to, packets } of plan.channels) {
      if (from === at && packets) seen.add(to);
    }
  }
  return seen;
}

/** The grants of every NIC, by device index. */
export function nicGrants(plan: Plan): Map<number, NicGrants> {
  const pools = poolsOf(plan);
  return new Map(
    plan.ports.flatMap((port, index) => {
      const device = plan.devices[port.device];
      if (device === undefined || device.driver === 'vfio') return [];
      const { name, driver } = device;
      return [[port.device, { device: name, driver, ...grantsOf(plan, pools, port, index) }]];
    }),
  );
}

function grantsOf(plan: Plan, pools: readonly PoolPlan[], port: PortPlan, index: number) {
  const name = (shard: number) => plan.shards[shard]?.name ?? '';
  const sends = (pool: PoolPlan) => {
    const reached = reachedFrom(plan, pool.owner);
    return port.tx.some((shard) => reached.has(shard));
  };
  const queues = port.interrupts ? port.rx : [];
  return {
    port: port.name,
    vectors: [
      ...queues.map((shard, queue) => ({ of: `rx ${queue}`, to: name(shard) })),
      { of: 'link', to: 'the kernel' },
    ],
    rings: { rx: port.rx.length, tx: port.tx.length, descriptors: port.ring },
    pools: pools
      .filter((pool) => pool.port === index || sends(pool))
      .map((pool) => ({
        name: pool.name,
        bytes: pool.bytes,
        access: pool.port === index ? ('read-write' as const) : ('read-only' as const),
      })),
  };
}
