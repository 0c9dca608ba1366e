// What of a plan's changes a running system cannot come by, each at its line of the new manifest.
import { type Location, VanityError } from '../errors.js';
import {
  type Action,
  type Changed,
  holdsDevice,
  inPlace,
  type PartChange,
  systemInPlace,
} from './difference.js';
import { type ManifestSource, type Path, parseManifest } from './parse.js';
import type { ShardPlan } from './plan.js';
import type { ManifestGeneration } from './running.js';

type Written = Omit<ManifestGeneration, 'generation'>;

const SECTIONS = {
  shard: 'shards',
  channel: 'channels',
  port: 'ports',
  device: 'devices',
} as const;

const RENAME =
  'Give it and its channels other names: the old one goes, and the new one comes, without its state.';

const POSSIBLE: ReadonlySet<Action> = new Set(['keep', 'set', 'reload', 'move']);
/** What may come and go. */
const GROWS: ReadonlySet<PartChange['part']> = new Set(['shard', 'channel']);

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
  const refuse = (
    { part, name }: PartChange,
    problem: string,
    location?: Location,
    otherwise = hint,
  ): VanityError =>
    new VanityError('VANITY_E_APPLY', { part, name, problem, hint: otherwise }, { location });
  return changes.flatMap((change) => {
    const { part, name, action, changed } = change;
    if (POSSIBLE.has(action)) return [];
    const path: Path = part === 'system' ? [] : [SECTIONS[part], name];
    if (action === 'add' || action === 'remove') {
      const comes = action === 'add';
      const why = bound(
        change,
        ...(comes ? ([after, before] as const) : ([before, after] as const)),
      );
      if (why === undefined) return [];
      const problem = `${comes ? 'it is new' : 'it is not there any more'}, and ${why}`;
      return [refuse(change, problem, (comes ? is : was)?.locate(path, 'key'))];
    }
    const refused = changed
      .filter((one) => !possible(one, change, before, after))
      .map((one) => {
        const values = `${one.key} from ${told(one.before)} to ${told(one.after)}`;
        const what = part === 'shard' && one.key !== 'isolation' && isolated(before, name);
        const whose = what ? ` of ${what}` : '';
        const problem = `a running system cannot change ${values}${whose}`;
        return refuse(change, problem, is && placeOf(is, path, change, one));
      });
    // What else calls for a new start is refused itself, where it stands.
    const comesOrGoes = change.because.every((one) => /^channel .* (is new|goes)$/.test(one));
    // And so is a channel at a process, or at a program that a key confines.
    const at = part === 'shard' && isolated(before, name) !== undefined;
    if (refused.length > 0 || change.because.length === 0 || !comesOrGoes || at) return refused;
    const why = 'it cannot have other channels while it runs';
    const problem = `${why}: ${change.because.join(', ')}`;
    const hinted = kindOf(after, name) === 'typescript' ? RENAME : hint;
    return [refuse(change, problem, is?.locate(path, 'key'), hinted)];
  });
}

const kindOf = ({ plan }: Written, name: string): ShardPlan['programKind'] | undefined =>
  plan.shards.find((shard) => shard.name === name)?.programKind;

/** A TypeScript program that stays, and that packets of a shard may come to: it knows the buffers that it began with. */
function stranger({ plan }: Written, name: string, other: Written): string | undefined {
  const owner = plan.shards.findIndex((shard) => shard.name === name);
  const { program, options } = plan.shards[owner] as ShardPlan;
  if (program !== 'generate' && Number(options.buffers ?? 0) === 0) return undefined;
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
  has: Written,
  other: Written,
): string | undefined {
  const { plan } = has;
  const [takes, begins] = action === 'add' ? ['takes no # in', 'begins'] : ['lets no # go', 'ends'];
  if (!GROWS.has(part)) return `a running system ${takes.replace('#', part)}`;
  const shard = plan.shards.find((one) => one.name === name);
  if (part === 'shard') {
    if (shard && apart(shard)) return `${apart(shard)} ${begins} with the system`;
    const who = stranger(has, name, other);
    return (
      who &&
      `its packets come to shard "${who}", whose TypeScript program sees the buffers that it began with`
    );
  }
  const channel = plan.channels.find((one) => one.name === name);
  const end = [channel?.from, channel?.to]
    .map((index) => plan.shards[index ?? -1])
    .find((one) => one && apart(one));
  if (end === undefined) return undefined;
  return `shard "${end.name}" is ${apart(end)}, whose channels are those it began with`;
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
  { part, name, action }: PartChange,
  before: Written,
  after: Written,
): boolean {
  if (part === 'system') return systemInPlace(one) !== undefined;
  if (part !== 'shard') return false;
  // Not along with a program.
  if (one.key === 'core' && action === 'restart') return false;
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
