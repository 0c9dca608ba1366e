// A system on a machine that was not made for it: the same threads and programs, and none of what the
// plan says of cores.
import type { Plan } from '../manifest/plan.js';

export const HOSTED_MODES = ['threads'] as const;
export type HostedMode = (typeof HOSTED_MODES)[number];

/**
 * `threads`: one thread a shard, which Linux runs where it likes. Any number of shards; they sleep in
 * the kernel, so that whoever has work gets a core, and take no huge pages.
 */
export function hosted(plan: Plan, _mode: HostedMode): Plan {
  return {
    ...plan,
    oversubscribe: true,
    pages: 'none',
    kernelCore: -1,
    shards: plan.shards.map((shard) => ({ ...shard, core: -1, wait: 'futex', fifo: 0 })),
  };
}
