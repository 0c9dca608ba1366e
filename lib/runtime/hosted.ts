// A system on a machine that was not made for it: the same programs and channels, and none of what the
// plan says of cores.
import { availableParallelism } from 'node:os';
import { VanityError } from '../errors.js';
import type { Plan } from '../manifest/plan.js';

export const HOSTED_MODES = ['threads', 'pool'] as const;
export type HostedMode = (typeof HOSTED_MODES)[number];

/**
 * `threads`: one thread a shard, which Linux runs where it likes. Any number of shards; they sleep in
 * the kernel, so that whoever has work gets a core, and take no huge pages.
 *
 * `pool`: the same on so many threads, as many as there are processors when `threads` is not given. Shards
 * take turns where they would wait. Those of TypeScript have threads of their own all the same.
 */
export function hosted(plan: Plan, mode: HostedMode, threads?: number): Plan {
  return {
    ...plan,
    oversubscribe: true,
    pages: 'none',
    kernelCore: -1,
    threads: mode === 'pool' ? poolThreads(plan, threads) : 0,
    shards: plan.shards.map((shard) => ({
      ...shard,
      core: -1,
      wait: 'futex',
      fifo: 0,
      // Who takes turns on a thread can't be woken from a process.
      isolation: mode === 'pool' ? 'thread' : shard.isolation,
    })),
  };
}

function poolThreads(plan: Plan, threads: number | undefined): number {
  const carried = plan.shards.filter(({ programKind }) => programKind !== 'typescript').length;
  if (threads === undefined) return Math.min(carried, availableParallelism());
  if (threads <= carried) return threads;
  const besides = carried === plan.shards.length ? '' : ', besides those of TypeScript';
  throw new VanityError('VANITY_E_USAGE', {
    problem: `--threads ${threads}: there are ${carried} shards to take turns on them${besides}`,
  });
}
