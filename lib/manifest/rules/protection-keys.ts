import { extname } from 'node:path';
import { builtins } from '../builtins.js';
import { limits } from '../limits.js';
import type { Model } from '../model.js';
import { type Path, pathText } from '../parse.js';
import type { ShardEntry } from '../schema.js';

/** What a program cannot have that a protection key confines, and how many of them there can be. */
export function protectionKeyRules(model: Model): void {
  const keyed = new Set<string>();
  for (const { name, path, value } of model.shards.values()) {
    if (value?.isolation !== 'pkey') continue;
    keyed.add(name);
    const refuse = (problem: string, hint: string, at: Path) =>
      model.report('VANITY_E_ISOLATION_PKEY', { shard: name, problem, hint }, at, [
        { message: 'isolation is set here', location: model.at([...path, 'isolation']) },
      ]);
    const thread = 'or remove isolation = "pkey"';
    if (builtins.has(value.program) || extname(value.program) !== '.so') {
      refuse(
        builtins.has(value.program)
          ? `${value.program} is a part of the runtime, which writes everywhere`
          : 'JavaScript has its memory in common with the whole process',
        `Run a native module, ${thread}.`,
        [...path, 'program'],
      );
    }
    if (value.watchdog.on_fault === 'crash') {
      refuse(
        'a stray write is a fault, and nothing contains its faults',
        `Set on_fault = "stop-system" when the others are to stop with it, ${thread}.`,
        [...path, 'watchdog', 'on_fault'],
      );
    }
    for (const device of model.devices.values()) {
      if (!device.value) continue;
      for (const grant of ['mmio', 'irqs', 'dma'] as const) {
        const index = device.value[grant].findIndex(({ to }) => to === name);
        if (index < 0) continue;
        refuse(
          `it is granted device "${device.name}", whose memory has no key`,
          `Grant it to another shard, ${thread}.`,
          [...device.path, grant, index, 'to'],
        );
      }
    }
    for (const channel of model.channels.values()) {
      const to = channel.value && model.shards.get(channel.value.to);
      if (channel.value?.from !== name || channel.value.carries === 'packets') continue;
      if (to?.value?.isolation !== 'process') continue;
      refuse(
        `it would write its messages where they lie, in the memory of the process of shard "${to.name}"`,
        `Set isolation = "pkey" for both, or carries = "packets", ${thread}.`,
        [...channel.path, 'to'],
      );
    }
  }
  countKeys(model, keyed);
}

/** One for each of them, and one for each set of them that may hold the packets of a pool. The kernel counts the same. */
function countKeys(model: Model, keyed: ReadonlySet<string>): void {
  const sets = new Set(keyed);
  for (const owner of poolOwners(model)) {
    const holders = [...reachedFrom(model, owner)].filter((shard) => keyed.has(shard));
    if (holders.length > 0) sets.add(holders.sort().join(' '));
  }
  if (sets.size <= limits.protectionKeys) return;
  const last = model.shards.get([...keyed].at(-1) as string);
  if (!last) return;
  model.report(
    'VANITY_E_LIMIT',
    {
      what: 'protection keys',
      count: sets.size,
      limit: limits.protectionKeys,
      hint:
        'There is one for each shard with isolation = "pkey", and one for each set of them that may hold the packets of a pool; ' +
        `[${pathText(last.path)}] is the last of them.`,
    },
    model.at([...last.path, 'isolation']),
  );
}

function poolOwners(model: Model): Set<string> {
  const owners = new Set<string>();
  for (const { value } of model.ports.values())
    for (const shard of value?.rx ?? []) owners.add(shard);
  for (const { name, value } of model.shards.values())
    if (value && makesPackets(value)) owners.add(name);
  return owners;
}

function makesPackets({ program, options }: ShardEntry): boolean {
  const known = builtins.get(program);
  return known ? known.options.buffers !== undefined : Number(options.buffers ?? 0) !== 0;
}

/** Shards that packets from one can come to, itself among them. */
function reachedFrom(model: Model, shard: string): Set<string> {
  const seen = new Set([shard]);
  for (const at of seen) {
    for (const { value } of model.channels.values()) {
      if (value?.from === at && value.carries === 'packets') seen.add(value.to);
    }
  }
  return seen;
}
