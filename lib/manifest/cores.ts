import { VanityError, type Warning, warn } from '../errors.js';
import { ManifestErrors, type Plan, type ResolvedPlan } from './plan.js';

/** `0-3,6` */
export function coreList(cores: readonly number[]): string {
  const sorted = [...new Set(cores)].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === (sorted[end] as number) + 1) end++;
    parts.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return parts.length === 0 ? 'none' : parts.join(',');
}

/**
 * Gives every shard with core = "auto" a core of this machine: one that nobody else has, and the
 * kernel's own last. Throws ManifestErrors when the machine hasn't got what the plan wants.
 */
export function resolveCores(
  plan: Plan,
  onlineCpus: readonly number[],
): { plan: ResolvedPlan; warnings: Warning[] } {
  const online = [...new Set(onlineCpus)].sort((a, b) => a - b);
  const problems: VanityError[] = [];
  const found: Warning[] = [];
  const absent = (who: string, core: number, path: string) => {
    if (online.includes(core)) return;
    const example = online.at(-1) ?? 0;
    problems.push(
      new VanityError('VANITY_E_CORE_ABSENT', {
        who,
        core,
        path,
        example,
        online: coreList(online),
      }),
    );
  };
  if (plan.kernelCore >= 0) absent('the kernel', plan.kernelCore, 'kernel.core');
  const users = new Map<number, string[]>(online.map((core) => [core, []]));
  for (const { name, core } of plan.shards) {
    if (core === 'auto' || core < 0) continue;
    absent(`shard "${name}"`, core, `shards.${name}.core`);
    users.get(core)?.push(name);
  }

  const automatic = plan.shards.filter(({ core }) => core === 'auto');
  const free = online.filter((core) => users.get(core)?.length === 0);
  // Sorting is stable: only the kernel's core changes its place.
  const last = (core: number) => (core === plan.kernelCore ? 1 : 0);
  free.sort((a, b) => last(a) - last(b));
  if (automatic.length > free.length && (!plan.oversubscribe || online.length === 0)) {
    problems.push(
      new VanityError('VANITY_E_CORES', {
        shards: plan.shards.length,
        needed: automatic.length,
        available: free.length,
        online: `online: ${coreList(online)}`,
      }),
    );
  }
  if (problems.length > 0) throw new ManifestErrors(problems);

  // Once the free ones are gone, round-robin over the least used.
  const pick = (): number => {
    const next = free.shift();
    if (next !== undefined) return next;
    const load = (core: number) => users.get(core)?.length ?? 0;
    return online.reduce((best, core) => (load(core) < load(best) ? core : best));
  };
  const shards = plan.shards.map((shard) => {
    const { core } = shard;
    if (core !== 'auto') return { ...shard, core };
    const chosen = pick();
    users.get(chosen)?.push(shard.name);
    return { ...shard, core: chosen };
  });

  const shared = [...users.values()].filter((names) => names.length > 1);
  if (shared.length > 0) {
    const who = shared.map((names) => names.join(' + ')).join(', ');
    found.push(
      warn('VANITY_W_OVERSUBSCRIBED', { shards: shared.flat().length, cores: shared.length, who }),
    );
  }
  for (const { name, core } of shards) {
    if (core >= 0 && core === plan.kernelCore)
      found.push(warn('VANITY_W_KERNEL_CORE', { shard: name, core }));
  }
  return { plan: { ...plan, shards }, warnings: found };
}
