// A manifest as a running system keeps it in its segment: with what it was read from, and with the one before it.
import { VanityError } from '../errors.js';
import type { Plan } from './plan.js';

export interface ManifestGeneration {
  /** 1 at the start, and one more with each apply. */
  generation: number;
  /** What it was read from; empty for one that was never a file. */
  file: string;
  text: string;
  plan: Plan;
}

export interface RunningManifest extends ManifestGeneration {
  /** False while an apply is under way, and after one that could not be brought back. */
  settled: boolean;
  /** The last one that was in force and well. */
  previous: ManifestGeneration | null;
}

export function firstManifest(plan: Plan, file = '', text = ''): RunningManifest {
  return { generation: 1, file, text, plan, settled: true, previous: null };
}

/** In ASCII, whatever it says. */
export function encodeManifest(manifest: RunningManifest): string {
  return JSON.stringify(manifest).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Throws VANITY_E_SEGMENT_INVALID. */
export function decodeManifest(text: string): RunningManifest {
  try {
    const found = JSON.parse(text) as RunningManifest;
    for (const parts of ['shards', 'channels', 'ports', 'devices'] as const) {
      if (!Array.isArray(found.plan[parts])) throw new TypeError(`no ${parts}`);
    }
    return found;
  } catch (error) {
    const problem = `its manifest cannot be read: ${(error as Error).message}`;
    throw new VanityError('VANITY_E_SEGMENT_INVALID', { problem }, { cause: error });
  }
}

/** The same with another program, settings or figures of one shard; the rest is as it was. */
export function withShard(
  manifest: RunningManifest,
  shard: string,
  change: Partial<Pick<Plan['shards'][number], 'program' | 'options' | 'watch' | 'core'>>,
): RunningManifest {
  const shards = manifest.plan.shards.map((one) =>
    one.name === shard ? { ...one, ...change } : one,
  );
  return { ...manifest, plan: { ...manifest.plan, shards } };
}
