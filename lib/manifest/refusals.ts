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
  const refuse = (change: PartChange, problem: string, location?: Location): VanityError =>
    new VanityError(
      'VANITY_E_APPLY',
      { part: change.part, name: change.name, problem, hint },
      { location },
    );
  return changes.flatMap((change) => {
    const { part, name, action, changed } = change;
    if (POSSIBLE.has(action)) return [];
    const path: Path = part === 'system' ? [] : [SECTIONS[part], name];
    if (action === 'add') {
      const script = part === 'shard' && kindOf(after, name) === 'typescript';
      if (GROWS.has(part) && !script) return [];
      const problem = script
        ? 'it is new, and a TypeScript program begins with the system'
        : `it is new, and a running system takes no ${part} in`;
      return [refuse(change, problem, is?.locate(path, 'key'))];
    }
    if (action === 'remove') {
      const script = part === 'shard' && kindOf(before, name) === 'typescript';
      if (GROWS.has(part) && !script) return [];
      const problem = script
        ? 'it is not there any more, and a TypeScript program ends with the system'
        : `it is not there any more, and a running system lets no ${part} go`;
      return [refuse(change, problem, was?.locate(path, 'key'))];
    }
    const refused = changed
      .filter((one) => !possible(one, change, before, after))
      .map((one) => {
        const problem = `a running system cannot change ${one.key} from ${told(one.before)} to ${told(one.after)}`;
        return refuse(change, problem, is && placeOf(is, path, change, one));
      });
    // What else calls for a new start is refused itself, where it stands.
    const comesOrGoes = change.because.every((one) => /^channel .* (is new|goes)$/.test(one));
    if (refused.length > 0 || change.because.length === 0 || !comesOrGoes) return refused;
    const why = 'it cannot have other channels while it runs';
    return [refuse(change, `${why}: ${change.because.join(', ')}`, is?.locate(path, 'key'))];
  });
}

function kindOf({ plan }: Written, name: string): ShardPlan['programKind'] | undefined {
  return plan.shards.find((shard) => shard.name === name)?.programKind;
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
