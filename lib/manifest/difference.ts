// What it takes to turn one plan into another, part by part. Parts are the same when their names are; values are compared
// under the words of the manifest.
import type { ChannelPlan, DevicePlan, Plan, PortPlan, ShardPlan } from './plan.js';

/**
 * `set`: figures of the kernel, or another built-in stage, its options or channels, in place. `reload`: another module of the same kind, or the
 * same with other settings or channels, in its place, while packets flow. `move`: another core, and nothing else but figures. `restart`: made anew, and
 * what there was goes when nothing is left in it.
 */
export type Action = 'keep' | 'add' | 'remove' | 'set' | 'reload' | 'move' | 'restart';

/** A value that is another one; empty: there is none on that side. */
export interface Changed {
  key: string;
  before: string;
  after: string;
}

export interface PartChange {
  part: 'system' | 'shard' | 'channel' | 'port' | 'device';
  name: string;
  action: Action;
  changed: Changed[];
  /** What else calls for it: a channel or a port that is another one. */
  because: string[];
}

type Words = Record<string, string>;

/** Every part of both plans, in the order of the later one, and what has gone behind. */
export function planChanges(before: Plan, after: Plan): PartChange[] {
  const channels = parts('channel', before, after, before.channels, after.channels, channelWords);
  const ports = parts('port', before, after, before.ports, after.ports, portWords);
  const devices = parts('device', before, after, before.devices, after.devices, deviceWords);
  const shards = parts('shard', before, after, before.shards, after.shards, shardWords);
  for (const shard of shards) if (shard.action === 'restart') shard.action = 'keep';
  // Whoever is made anew has channels of its own, and the shards at their other ends have others then.
  const anew = (): number =>
    [...shards, ...channels].filter(({ action }) => action === 'restart').length;
  let known: number;
  do {
    known = anew();
    const around = [...channels, ...ports, ...devices].filter(({ action }) => action !== 'keep');
    for (const shard of shards) settleShard(shard, around, before, after);
    for (const channel of channels) settleChannel(channel, shards, after);
  } while (anew() > known);
  return [systemChange(before, after), ...shards, ...channels, ...ports, ...devices];
}

/** By its own values, and by what it has an end of. */
function settleShard(
  shard: PartChange,
  around: readonly PartChange[],
  before: Plan,
  after: Plan,
): void {
  if (shard.action === 'add' || shard.action === 'remove') return;
  const [old, fresh] = [before, after].map(({ shards }) =>
    shards.find(({ name }) => name === shard.name),
  ) as [ShardPlan, ShardPlan];
  const joined = around.filter(({ part, name }) =>
    [...ends(before, part, name), ...ends(after, part, name)].includes(shard.name),
  );
  shard.because = joined.map(({ part, name, action }) => {
    const what = { add: 'is new', remove: 'goes' }[action as string] ?? 'is another one';
    return `${part} ${name} ${what}`;
  });
  const device = holdsDevice(after, shard.name);
  const channels =
    joined.every(({ part }) => part === 'channel') && otherChannels(old, fresh, device);
  shard.action = shardAction(shard, old, fresh, device, channels);
}

function settleChannel(channel: PartChange, shards: readonly PartChange[], after: Plan): void {
  if (channel.action !== 'keep' && channel.because.length === 0) return;
  const joined = ends(after, 'channel', channel.name);
  const anew = shards.filter(({ name, action }) => action === 'restart' && joined.includes(name));
  channel.because = anew.map(madeAnew);
  if (anew.length > 0) channel.action = 'restart';
}

export const madeAnew = ({ part, name }: PartChange): string => `${part} ${name} is made anew`;

function shardAction(
  { changed, because }: PartChange,
  before: ShardPlan,
  after: ShardPlan,
  device: boolean,
  channels: 'set' | 'reload' | false | undefined,
): Action {
  if (changed.length === 0 && because.length === 0) return 'keep';
  const ways: (Action | undefined)[] = changed.map((one) => inPlace(one, before, after, device));
  // A program finds its channels when it begins.
  if (because.length > 0) ways.push(channels || undefined);
  if (ways.includes(undefined)) return 'restart';
  if (ways.includes('reload')) return 'reload';
  // Figures go along with either.
  const stage = changed.some(isProgram) || because.length > 0;
  return changed.some(isCore) && !stage ? 'move' : 'set';
}

/** What is reloaded or set may move as well, afterwards. */
export const isCore = ({ key }: Changed): boolean => key === 'core';

const isProgram = ({ key }: Changed): boolean => key === 'program' || key.startsWith('options.');

/** A module's buffers are made before anything runs. */
const POOL = new Set(['options.buffers', 'options.buffer_bytes']);

/** How a running shard can come by this change; undefined: it can't. */
export function inPlace(
  change: Changed,
  before: ShardPlan,
  after: ShardPlan,
  device: boolean,
): 'set' | 'reload' | 'move' | undefined {
  const { key, before: was, after: is } = change;
  if (key === 'core') return 'move';
  // Whether faults are contained is settled when a shard is made.
  if (key.startsWith('watchdog.')) return [was, is].includes('crash') ? undefined : 'set';
  const kind = before.programKind;
  if (!isProgram(change) || kind !== after.programKind) return undefined;
  // What a process was handed when it was started is what it has.
  if (before.isolation === 'process') return undefined;
  // Who makes packets has buffers of its own, as a module may.
  if (kind === 'builtin') return [before, after].some(makesPackets) ? undefined : 'set';
  // Two programs would drive the device at once, and nothing contains the faults of a trial.
  return POOL.has(key) || device || after.watch.onFault === 'crash' ? undefined : 'reload';
}

const makesPackets = ({ program }: ShardPlan): boolean => program === 'generate';

/** Is its built-in stage another one, or has it other options? */
export function otherStage(before: ShardPlan, after: ShardPlan): boolean {
  return (
    after.programKind === 'builtin' && compare(programWords(before), programWords(after)).length > 0
  );
}

/** How a running shard can come by other channels; undefined: it can't. */
export function otherChannels(
  before: ShardPlan,
  after: ShardPlan,
  device: boolean,
): 'set' | 'reload' | undefined {
  if (before.programKind !== after.programKind || after.programKind === 'typescript')
    return undefined;
  if (before.isolation !== 'thread') return undefined;
  if (after.programKind === 'builtin') return 'set';
  return device || [before, after].some(({ watch }) => watch.onFault === 'crash')
    ? undefined
    : 'reload';
}

/** How a running system can come by this change of [system] or [kernel]. */
export function systemInPlace({ key }: Changed): 'set' | undefined {
  return key === 'kernel.stall_ms' || key === 'kernel.drain_ms' ? 'set' : undefined;
}

function parts<P extends { readonly name: string }>(
  part: PartChange['part'],
  before: Plan,
  after: Plan,
  old: readonly P[],
  fresh: readonly P[],
  words: (plan: Plan, one: P) => Words,
): PartChange[] {
  const change = (name: string, action: Action, changed: Changed[] = []): PartChange => ({
    part,
    name,
    action,
    changed,
    because: [],
  });
  const known = new Map(old.map((one) => [one.name, one]));
  return [
    ...fresh.map((one) => {
      const was = known.get(one.name);
      known.delete(one.name);
      if (was === undefined) return change(one.name, 'add');
      const changed = compare(words(before, was), words(after, one));
      return change(one.name, changed.length === 0 ? 'keep' : 'restart', changed);
    }),
    ...[...known.keys()].map((name) => change(name, 'remove')),
  ];
}

function compare(before: Words, after: Words): Changed[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => {
    const [old, fresh] = [before, after].map((words) =>
      Object.hasOwn(words, key) ? (words[key] ?? '') : '',
    ) as [string, string];
    return old === fresh ? [] : [{ key, before: old, after: fresh }];
  });
}

function systemChange(before: Plan, after: Plan): PartChange {
  const words = (plan: Plan): Words => ({
    name: plan.name,
    oversubscribe: String(plan.oversubscribe),
    huge_pages: plan.pages,
    'kernel.core': plan.kernelCore < 0 ? 'any' : String(plan.kernelCore),
    'kernel.stall_ms': String(plan.stallNs / 1e6),
    'kernel.drain_ms': String(plan.drainNs / 1e6),
    metrics: plan.metrics,
  });
  const changed = compare(words(before), words(after));
  return {
    part: 'system',
    name: after.name,
    action: changed.length === 0 ? 'keep' : changed.every(systemInPlace) ? 'set' : 'restart',
    changed,
    because: [],
  };
}

const nameOf = (all: readonly { readonly name: string }[], index: number): string =>
  all[index]?.name ?? '';
const namesOf = (plan: Plan, shards: readonly number[]): string =>
  shards.map((index) => nameOf(plan.shards, index)).join(', ');

/** Shards that have an end of the part. */
export function ends(plan: Plan, part: PartChange['part'], name: string): string[] {
  const indices = (): readonly number[] => {
    const named = <T extends { readonly name: string }>(all: readonly T[]): T | undefined =>
      all.find((one) => one.name === name);
    if (part === 'channel') {
      const channel = named(plan.channels);
      return channel ? [channel.from, channel.to] : [];
    }
    if (part === 'port') {
      const port = named(plan.ports);
      return port ? [...port.rx, ...port.tx] : [];
    }
    const device = named(plan.devices);
    return device ? granted(device).map(({ shard }) => shard) : [];
  };
  return indices().map((index) => nameOf(plan.shards, index));
}

const granted = ({ mmio, irqs, dma }: DevicePlan): { shard: number }[] => [
  ...mmio,
  ...irqs,
  ...dma,
];

export function holdsDevice(plan: Plan, shard: string): boolean {
  return plan.devices.some(({ name }) => ends(plan, 'device', name).includes(shard));
}

/** The port or device that it has, as `port in`. */
export function holds(plan: Plan, shard: string): string | undefined {
  const has = (part: 'port' | 'device', all: readonly { readonly name: string }[]) =>
    all
      .filter(({ name }) => ends(plan, part, name).includes(shard))
      .map(({ name }) => `${part} "${name}"`);
  return [...has('port', plan.ports), ...has('device', plan.devices)][0];
}

function programWords({ program, options }: ShardPlan): Words {
  const words = Object.entries(options).map(([key, value]) => [`options.${key}`, value]);
  return { program, ...Object.fromEntries(words) };
}

function shardWords(plan: Plan, shard: ShardPlan): Words {
  const { watch } = shard;
  return {
    ...programWords(shard),
    core: shard.core === -1 ? 'any' : String(shard.core),
    wait: shard.wait,
    strategy: shard.strategy,
    primary: nameOf(plan.channels, shard.primary),
    burst: String(shard.burst),
    fifo: String(shard.fifo),
    spin_us_max: String(shard.spinNsMax / 1e3),
    sleep_us_max: String(shard.sleepNsMax / 1e3),
    arena: String(shard.arenaBytes),
    isolation: shard.isolation,
    // Not `trace`: vanity trace switches that while it runs.
    'watchdog.progress_ms': String(watch.progressNs / 1e6),
    'watchdog.service_us': String(watch.serviceNs / 1e3),
    'watchdog.starve_ms': String(watch.starveNs / 1e6),
    'watchdog.on_progress': watch.onProgress,
    'watchdog.on_service': watch.onService,
    'watchdog.on_starve': watch.onStarve,
    'watchdog.on_fault': watch.onFault,
    'watchdog.backoff_ms': String(watch.backoffNs / 1e6),
    'watchdog.max_restarts': String(watch.maxRestarts),
    'watchdog.window_ms': String(watch.windowNs / 1e6),
  };
}

function channelWords(plan: Plan, channel: ChannelPlan): Words {
  return {
    from: nameOf(plan.shards, channel.from),
    to: nameOf(plan.shards, channel.to),
    capacity: String(channel.capacity),
    carries: channel.packets ? 'packets' : 'messages',
    element_bytes: String(channel.elementBytes),
    layout: channel.layout,
    overflow: channel.overflow,
    high_watermark: String(channel.highWatermark),
    low_watermark: String(channel.lowWatermark),
  };
}

function portWords(plan: Plan, port: PortPlan): Words {
  return {
    driver: port.driver,
    rx: namesOf(plan, port.rx),
    tx: namesOf(plan, port.tx),
    file: port.file,
    write: port.write,
    replay: port.replay,
    interface: port.interface,
    fanout: port.fanout,
    promiscuous: String(port.promiscuous),
    device: nameOf(plan.devices, port.device),
    ring: String(port.ring),
    poll_us_max: String(port.pollNsMax / 1e3),
    interrupts: String(port.interrupts),
    packed: port.packed,
    mac: port.mac,
    socket: port.socket,
    server: String(port.server),
    peer_uid: port.peerUid < 0 ? '' : String(port.peerUid),
    overflow: port.overflow,
    buffers: String(port.buffers),
    buffer_bytes: String(port.bufferBytes),
  };
}

function deviceWords(plan: Plan, device: DevicePlan): Words {
  const grants = (all: readonly { shard: number }[]): string =>
    all
      .map(({ shard, ...rest }) => JSON.stringify({ ...rest, to: nameOf(plan.shards, shard) }))
      .join(', ');
  return {
    pci: device.pci,
    driver: device.driver,
    backend: device.backend,
    unsafe_noiommu: String(device.unsafeNoiommu),
    mmio: grants(device.mmio),
    irqs: grants(device.irqs),
    dma: grants(device.dma),
  };
}
