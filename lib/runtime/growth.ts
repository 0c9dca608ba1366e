// What comes and goes between two plans, who has which channels in between, and the plan as it is meanwhile. Parts are
// known by their names: places in a running system are other ones than those in a manifest.

import type { PartChange } from '../manifest/difference.js';
import { limits } from '../manifest/limits.js';
import type { ChannelPlan, Plan, PortPlan, ShardPlan } from '../manifest/plan.js';
import type { NativeReload } from '../native.js';

interface NamedChannel {
  readonly channel: ChannelPlan;
  readonly from: string;
  readonly to: string;
}

interface NamedPort {
  readonly port: PortPlan;
  readonly rx: readonly string[];
  readonly tx: readonly string[];
}

export interface Growth {
  readonly shards: readonly ShardPlan[];
  readonly channels: readonly NamedChannel[];
  readonly ports: readonly NamedPort[];
  /** Producers before consumers. */
  readonly goneShards: readonly string[];
  readonly goneChannels: readonly string[];
  readonly gonePorts: readonly string[];
}

const nameOf = (plan: Plan, shard: number): string => plan.shards[shard]?.name ?? '';

function channelsOf(plan: Plan): NamedChannel[] {
  return plan.channels.map((channel) => ({
    channel,
    from: nameOf(plan, channel.from),
    to: nameOf(plan, channel.to),
  }));
}

function portsOf(plan: Plan): NamedPort[] {
  const names = (shards: readonly number[]): string[] => shards.map((one) => nameOf(plan, one));
  return plan.ports.map((port) => ({ port, rx: names(port.rx), tx: names(port.tx) }));
}

export function growthOf(before: Plan, after: Plan): Growth {
  const lacks = (all: readonly { readonly name: string }[], name: string): boolean =>
    !all.some((one) => one.name === name);
  const gone = before.shards.map(({ name }) => name).filter((name) => lacks(after.shards, name));
  return {
    shards: after.shards.filter(({ name }) => lacks(before.shards, name)),
    channels: channelsOf(after).filter(({ channel }) => lacks(before.channels, channel.name)),
    ports: portsOf(after).filter(({ port }) => lacks(before.ports, port.name)),
    goneShards: consumersFirst(before, gone).reverse(),
    goneChannels: before.channels
      .map(({ name }) => name)
      .filter((name) => lacks(after.channels, name)),
    gonePorts: before.ports.map(({ name }) => name).filter((name) => lacks(after.ports, name)),
  };
}

/** Names of a shard's channels, in the order of the manifest. */
export function endsOf(plan: Plan, shard: string): string[] {
  return channelsOf(plan)
    .filter(({ from, to }) => from === shard || to === shard)
    .map(({ channel }) => channel.name);
}

/** Inputs of a shard that it has before and not after: it keeps them until nobody sends any more. */
export function leavingInputs(before: Plan, after: Plan, shard: string): string[] {
  const kept = new Set(after.channels.map(({ name }) => name));
  return channelsOf(before)
    .filter(({ channel, to }) => to === shard && !kept.has(channel.name))
    .map(({ channel }) => channel.name);
}

/** Those of a cycle in any order. */
export function consumersFirst(plan: Plan, names: readonly string[]): string[] {
  const channels = channelsOf(plan);
  const done = new Set<string>();
  const order: string[] = [];
  const visit = (name: string): void => {
    if (done.has(name)) return;
    done.add(name);
    for (const { from, to } of channels) if (from === name) visit(to);
    order.push(name);
  };
  for (const name of names) visit(name);
  return order.filter((name) => names.includes(name));
}

/** The same with other shards, channels and ports. */
function replaced(
  plan: Plan,
  shards: readonly ShardPlan[],
  channels: readonly NamedChannel[],
  ports: readonly NamedPort[],
  primaries: ReadonlyMap<string, string>,
): Plan {
  const index = (name: string): number => shards.findIndex((shard) => shard.name === name);
  const moved = (shard: number): number => index(nameOf(plan, shard));
  const granted = <T extends { readonly shard: number }>(all: readonly T[]): T[] =>
    all.map((one) => ({ ...one, shard: moved(one.shard) }));
  return {
    ...plan,
    shards: shards.map((shard) => ({
      ...shard,
      primary: channels.findIndex(({ channel }) => channel.name === primaries.get(shard.name)),
    })),
    channels: channels.map(({ channel, from, to }) => ({
      ...channel,
      from: index(from),
      to: index(to),
    })),
    ports: ports.map(({ port, rx, tx }) => ({ ...port, rx: rx.map(index), tx: tx.map(index) })),
    devices: plan.devices.map((device) => ({
      ...device,
      mmio: granted(device.mmio),
      irqs: granted(device.irqs),
      dma: granted(device.dma),
    })),
  };
}

function primariesOf(plan: Plan): Map<string, string> {
  return new Map(
    plan.shards.flatMap(({ name, primary }) => {
      const channel = plan.channels[primary];
      return channel ? [[name, channel.name] as const] : [];
    }),
  );
}

/** `plan` with what comes from `after`. */
export function grown(plan: Plan, after: Plan, { shards, channels, ports }: Growth): Plan {
  return replaced(
    plan,
    [...plan.shards, ...shards],
    [...channelsOf(plan), ...channels],
    [...portsOf(plan), ...ports],
    new Map([...primariesOf(after), ...primariesOf(plan)]),
  );
}

/** `plan` without what goes. */
export function shrunk(plan: Plan, { goneShards, goneChannels, gonePorts }: Growth): Plan {
  return replaced(
    plan,
    plan.shards.filter(({ name }) => !goneShards.includes(name)),
    channelsOf(plan).filter(({ channel }) => !goneChannels.includes(channel.name)),
    portsOf(plan).filter(({ port }) => !gonePorts.includes(port.name)),
    primariesOf(plan),
  );
}

/** Under which name what is made anew is there until it goes: none that a manifest can give. */
const leaving = (name: string): string => `${name.slice(0, limits.nameBytes - 1)}~`;

/** Other names for shards and channels, each by the one that it has. */
export interface Renames {
  readonly shards: ReadonlyMap<string, string>;
  readonly channels: ReadonlyMap<string, string>;
}

/** What is made anew makes room for its successor by its name. */
export function makingRoom(changes: readonly PartChange[]): Renames {
  const of = (which: PartChange['part']): Map<string, string> =>
    new Map(
      changes.flatMap(({ part, name, action }) =>
        part === which && action === 'restart' ? [[name, leaving(name)] as const] : [],
      ),
    );
  return { shards: of('shard'), channels: of('channel') };
}

export function backwards({ shards, channels }: Renames): Renames {
  const turned = (names: ReadonlyMap<string, string>) =>
    new Map([...names].map(([from, to]) => [to, from]));
  return { shards: turned(shards), channels: turned(channels) };
}

export function renamed(plan: Plan, { shards, channels }: Renames): Plan {
  const other = <P extends { readonly name: string }>(all: readonly P[], names: typeof shards) =>
    all.map((one) => ({ ...one, name: names.get(one.name) ?? one.name }));
  return {
    ...plan,
    shards: other(plan.shards, shards),
    channels: other(plan.channels, channels),
  };
}

/** As the kernel is asked for it. */
export function newParts(
  after: Plan,
  { shards, channels, ports }: Growth,
  cores: ReadonlyMap<string, number>,
  renames: Renames,
): NonNullable<NativeReload['grow']> {
  const primaries = primariesOf(after);
  const pairs = (names: ReadonlyMap<string, string>) =>
    [...names].map(([from, to]) => ({ from, to }));
  return {
    shardNames: pairs(renames.shards),
    channelNames: pairs(renames.channels),
    shards: shards.map((shard) => ({
      ...shard,
      core: cores.get(shard.name) ?? -1,
      primary: -1,
      primaryName: primaries.get(shard.name) ?? '',
    })),
    channels: channels.map(({ channel, from, to }) => ({
      ...channel,
      from: -1,
      to: -1,
      fromName: from,
      toName: to,
    })),
    ports: ports.map(({ port, rx, tx }) => ({
      ...port,
      rx: [],
      tx: [],
      device: -1,
      rxNames: rx,
      txNames: tx,
    })),
  };
}
