// A system in text, for the simulator: native/sim/system/plan.cpp is the other side. Small, so that
// rings fill and wrap and buffers run out within what a schedule can go through; what each schedule
// has is drawn below that.
import { VanityError } from '../errors.js';
import type { ChannelPlan, Plan, PortPlan, ShardPlan } from '../manifest/plan.js';
import { type Claim, claimLine } from './claims.js';
import { policyBuildOf } from './policy-build.js';

/** What each part has at most. */
export interface Scale {
  /** That come to each receive queue, and that a source makes which is to make them for ever. */
  readonly packets: number;
  /** Slots of a channel. */
  readonly capacity: number;
  readonly burst: number;
  /** Of a port's pool. */
  readonly buffers: number;
}

/** Of the pool of a program that makes packets: the fewest that `generate` takes. */
const OWN_BUFFERS = 64;

export const SCALE: Scale = { packets: 24, capacity: 8, burst: 4, buffers: 8 };

/**
 * Throws VANITY_E_SIM_PROGRAM where a shard runs TypeScript, and VANITY_E_SIM_MODULE where a native
 * module has no policy build.
 */
export function systemText(plan: Plan, scale: Scale, claims: readonly Claim[] = []): string {
  const shards = plan.shards.map(({ name }) => name);
  return [
    `name ${plan.name}`,
    `arrivals ${scale.packets}`,
    `drain_ns ${plan.drainNs}`,
    ...plan.shards.flatMap((shard) => shardLines(shard, scale)),
    ...plan.channels.map((channel) => channelLine(channel, scale)),
    ...plan.ports.map((port) => portLine(port, scale)),
    ...claims.map((claim) => claimLine(claim, shards)),
    '',
  ].join('\n');
}

function shardLines(shard: ShardPlan, scale: Scale): string[] {
  if (shard.programKind === 'typescript') {
    throw new VanityError('VANITY_E_SIM_PROGRAM', { shard: shard.name, program: shard.program });
  }
  const options = { ...shard.options };
  if (shard.program === 'generate') {
    const count = Number(options.count ?? 0);
    options.count = String(count === 0 ? scale.packets : Math.min(count, 4 * scale.packets));
    options.buffers = String(OWN_BUFFERS);
    delete options.rate; // as fast as there is room
  }
  if (shard.programKind === 'native' && options.buffers !== undefined)
    options.buffers = String(Math.min(Number(options.buffers), OWN_BUFFERS));
  const { name, programKind, strategy, primary, wait, burst, spinNsMax, sleepNsMax } = shard;
  const program = programKind === 'native' ? policyBuildOf(shard) : shard.program;
  return [
    `shard ${name} ${programKind} ${strategy} ${primary < 0 ? '-' : primary} ${wait} ${Math.min(burst, scale.burst)} ${spinNsMax} ${sleepNsMax} ${program}`,
    ...(shard.arenaBytes === 0 ? [] : [`arena ${shard.arenaBytes}`]),
    ...Object.entries(options).map(
      ([key, value]) => `option ${key} ${value.replaceAll('\n', ' ').trim()}`,
    ),
  ];
}

function channelLine(channel: ChannelPlan, scale: Scale): string {
  const { name, from, to, elementBytes, packets, layout, overflow, highWatermark } = channel;
  const capacity = Math.min(channel.capacity, scale.capacity);
  const marks = highWatermark === 0 ? [0, 0] : [capacity, Math.floor(capacity / 2)];
  return `channel ${name} ${from} ${to} ${capacity} ${elementBytes} ${packets ? 1 : 0} ${layout} ${overflow} ${marks.join(' ')}`;
}

function portLine({ name, overflow, buffers, bufferBytes, rx, tx }: PortPlan, scale: Scale) {
  const queues = (shards: readonly number[]) => [shards.length, ...shards].join(' ');
  return `port ${name} ${overflow} ${Math.min(buffers, scale.buffers)} ${bufferBytes} ${queues(rx)} ${queues(tx)}`;
}
