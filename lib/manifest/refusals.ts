// What of a plan's changes a running system cannot come by, each at its line of the new manifest.
import { type Location, VanityError } from '../errors.js';
import {
  type Action,
  type Changed,
  ends,
  holds,
  holdsDevice,
  inPlace,
  madeAnew,
  type PartChange,
  systemInPlace,
} from './difference.js';
import { type ManifestSource, type Path, parseManifest } from './parse.js';
import type { Plan, PortPlan, ShardPlan } from './plan.js';
import type { ManifestGeneration } from './running.js';

type Written = Omit<ManifestGeneration, 'generation'>;

const SECTIONS = {
  shard: 'shards',
  channel: 'channels',
  port: 'ports',
  device: 'devices',
} as const;

const POSSIBLE: ReadonlySet<Action> = new Set(['keep', 'set', 'reload', 'move']);
/** What may be made anew. */
const ANEW: ReadonlySet<PartChange['part']> = new Set(['shard', 'channel']);

/** One error a line, in the order of the changes; none: it can. */
export function refusals(
  changes: readonly PartChange[],
  before: Written,
  after: Written,
): VanityError[] {
  const [was, is] = [before, after].map(sourceOf) as [
    ManifestSource | undefined,
    ManifestSource | undefined,
  ];
  const hint = `It takes a new start: stop the system, then vanity run ${after.file || 'with this manifest'}`;
  const refuse = ({ part, name }: PartChange, problem: string, location?: Location): VanityError =>
    new VanityError('VANITY_E_APPLY', { part, name, problem, hint }, { location });
  return changes.flatMap((change) => {
    const { part, name, action, changed } = change;
    if (POSSIBLE.has(action)) return [];
    const path: Path = part === 'system' ? [] : [SECTIONS[part], name];
    if (action === 'add' || action === 'remove') {
      const comes = action === 'add';
      const why = bound(
        change,
        changes,
        ...(comes ? ([after, before] as const) : ([before, after] as const)),
      );
      if (why === undefined) return [];
      const problem = `${comes ? 'it is new' : 'it is not there any more'}, and ${why}`;
      return [refuse(change, problem, (comes ? is : was)?.locate(path, 'key'))];
    }
    const fixed = fixture(change, changes, before, after);
    if (fixed === undefined) return [];
    const { of, why } = fixed;
    const refused = changed
      .filter((one) => !possible(one, change, before, after))
      .map((one) => {
        const values = `${one.key} from ${told(one.before)} to ${told(one.after)}`;
        const whose = of === '' || one.key === 'isolation' ? '' : ` of ${of}`;
        const problem = `a running system cannot change ${values}${whose}`;
        return refuse(change, problem, is && placeOf(is, path, change, one));
      });
    if (refused.length > 0 || why === '') return refused;
    return [refuse(change, why, is?.locate(path, 'key'))];
  });
}

/**
 * Why a part that would have to be made anew is there for as long as the system runs: what it is, and what is told where
 * none of its own values is another one, if anything; undefined: it can be made anew.
 */
function fixture(
  { part, name, because }: PartChange,
  changes: readonly PartChange[],
  before: Written,
  after: Written,
): { of: string; why: string } | undefined {
  if (!ANEW.has(part)) return { of: '', why: '' };
  const plans = [before, after];
  if (part === 'channel') {
    const [end] = plans.flatMap(({ plan }) => endApart(plan, name) ?? []);
    if (end === undefined) return undefined;
    const what = apart(end);
    // Either end may be refused itself.
    const calls = changes.flatMap((one) =>
      because.includes(madeAnew(one)) && fixture(one, changes, before, after) === undefined
        ? [madeAnew(one)]
        : [],
    );
    const whose = `shard "${end.name}" is ${what}, whose channels are those it began with`;
    return {
      of: `one at ${what}`,
      why: calls.length > 0 ? `${calls.join(', ')}, and ${whose}` : '',
    };
  }
  // A channel, port or device that cannot be another one is refused itself, where it stands.
  const told = because.length > 0 && because.every((one) => one.startsWith('channel '));
  const calls = (why: string): string => (told ? `${because.join(', ')}, and ${why}` : '');
  const [what] = plans.flatMap((one) => isolated(one, name) ?? []);
  if (what !== undefined) return { of: what, why: '' };
  const [held] = plans.flatMap(({ plan }) => holds(plan, name) ?? []);
  if (held !== undefined) {
    const why = calls(`it cannot be made anew while it has ${held}`);
    return { of: `a shard that has ${held}`, why };
  }
  const who = stranger(before, name, after) ?? stranger(after, name, before);
  if (who === undefined) return undefined;
  return {
    of: `a shard whose packets come to TypeScript in shard "${who}"`,
    why: calls(seenBy(who)),
  };
}

const seenBy = (who: string): string =>
  `its packets come to shard "${who}", whose TypeScript program sees the buffers that it began with`;

const kindOf = ({ plan }: Written, name: string): ShardPlan['programKind'] | undefined =>
  plan.shards.find((shard) => shard.name === name)?.programKind;

/** A TypeScript program that stays, and that packets of a shard may come to: it knows the buffers that it began with. */
function stranger({ plan }: Written, name: string, other: Written): string | undefined {
  const owner = plan.shards.findIndex((shard) => shard.name === name);
  const { program, options } = plan.shards[owner] as ShardPlan;
  const buffers = program === 'generate' || Number(options.buffers ?? 0) > 0;
  if (!buffers && !plan.ports.some(({ rx }) => rx.includes(owner))) return undefined;
  const seen = new Set([owner]);
  for (const at of seen) {
    for (const { from, to, packets } of plan.channels) if (packets && from === at) seen.add(to);
  }
  return [...seen]
    .map((index) => plan.shards[index]?.name ?? '')
    .find((one) => kindOf(other, one) === 'typescript' && one !== name);
}

/** Why it is there for as long as the system runs, by the plan that has it and the other one; undefined: it may come and go. */
function bound(
  { part, name, action }: PartChange,
  changes: readonly PartChange[],
  has: Written,
  other: Written,
): string | undefined {
  const { plan } = has;
  const [takes, begins] = action === 'add' ? ['takes no # in', 'begins'] : ['lets no # go', 'ends'];
  if (part === 'port') return portBound(name, action, changes, has, other);
  if (!ANEW.has(part)) return `a running system ${takes.replace('#', part)}`;
  const shard = plan.shards.find((one) => one.name === name);
  if (part === 'shard') {
    if (shard && apart(shard)) return `${apart(shard)} ${begins} with the system`;
    const who = stranger(has, name, other);
    return who && seenBy(who);
  }
  const end = endApart(plan, name);
  if (end === undefined) return undefined;
  return `shard "${end.name}" is ${apart(end)}, whose channels are those it began with`;
}

/** The same of a port: it comes and goes with all of its shards. */
function portBound(
  name: string,
  action: Action,
  changes: readonly PartChange[],
  { plan }: Written,
  other: Written,
): string | undefined {
  const comes = action === 'add';
  const port = plan.ports.find((one) => one.name === name) as PortPlan;
  const kind = port.device >= 0 ? 'device' : port.socket !== '' ? 'socket' : undefined;
  if (kind !== undefined) return `a port of a ${kind} ${comes ? 'begins' : 'ends'} with the system`;
  const along = (shard: string): boolean =>
    changes.some((one) => one.part === 'shard' && one.name === shard && one.action === action);
  const stays = ends(plan, 'port', name).find((shard) => !along(shard));
  if (stays !== undefined) return `the ports of shard "${stays}" are those it began with`;
  // What goes is there until what comes runs.
  const written = (one: PortPlan, by: PortPlan): boolean =>
    by.write !== '' && [one.file, one.write].includes(by.write);
  const clash = other.plan.ports.find(
    (one) =>
      (port.interface !== '' && one.interface === port.interface) ||
      written(one, port) ||
      written(port, one),
  );
  if (clash === undefined || !comes) return undefined;
  const what = port.interface === '' ? 'file' : 'interface';
  return `port "${clash.name}", which goes, has its ${what}: apply a manifest without either before`;
}

/** The shard at an end of a channel that is more than a thread. */
function endApart({ channels, shards }: Plan, name: string): ShardPlan | undefined {
  const channel = channels.find((one) => one.name === name);
  return [channel?.from, channel?.to]
    .map((index) => shards[index ?? -1])
    .find((one) => one && apart(one));
}

/** What it is, when it is more than a thread. */
function apart({ isolation }: ShardPlan): string | undefined {
  if (isolation === 'process') return 'a process of its own';
  return isolation === 'pkey' ? 'a program confined by a key' : undefined;
}

function isolated({ plan }: Written, name: string): string | undefined {
  const shard = plan.shards.find((one) => one.name === name);
  return shard && apart(shard);
}

const told = (value: string): string => (value === '' ? 'none' : value);

function possible(
  one: Changed,
  { part, name }: PartChange,
  before: Written,
  after: Written,
): boolean {
  if (part === 'system') return systemInPlace(one) !== undefined;
  if (part !== 'shard') return false;
  const [old, fresh] = [before, after].map(({ plan }) =>
    plan.shards.find((shard) => shard.name === name),
  ) as [ShardPlan, ShardPlan];
  return inPlace(one, old, fresh, holdsDevice(after.plan, name)) !== undefined;
}

function sourceOf(from: { file: string; text: string }): ManifestSource | undefined {
  try {
    return from.text === '' ? undefined : parseManifest(from.file, from.text);
  } catch {
    return undefined; // of another build, which knew other words
  }
}

/** Keys of the plan are those of the manifest; what is written nowhere is where its section begins. */
function placeOf(
  source: ManifestSource,
  path: Path,
  { part }: PartChange,
  { key, after }: Changed,
): Location {
  const words = key.split('.');
  const full: Path =
    part !== 'system' ? [...path, ...words] : words.length > 1 ? words : ['system', key];
  const what = after === '' && !source.has(full) ? 'key' : 'value';
  return source.locate(full, what);
}
