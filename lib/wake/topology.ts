// Processors and how near two of them are, as /sys tells it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCpuList, usableCpus } from '../host/cpus.js';
import type { Relation } from './result.js';

export interface Processor {
  id: number;
  core: number;
  package: number;
  /** NUMA node. */
  node: number;
  /** Threads of the same core, itself included. */
  siblings: number[];
  /** Those that share its last-level cache, or else its cluster; itself included. */
  cluster: number[];
  isolated: boolean;
  /** In this process's affinity mask. */
  usable: boolean;
}

/** Online processors, by id; `root` is where the host's file system starts. */
export function readProcessors(root = '/'): Processor[] {
  const base = join(root, 'sys/devices/system/cpu');
  const read = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return undefined;
    }
  };
  const usable = new Set(usableCpus(root));
  const isolated = new Set(parseCpuList(read(join(base, 'isolated')) ?? ''));
  const listed = parseCpuList(read(join(base, 'online')) ?? '');
  const online = listed.length > 0 ? listed : [...usable];
  return online
    .sort((a, b) => a - b)
    .map((id) => {
      const cpu = join(base, `cpu${id}`);
      const number = (name: string): number => {
        const value = Number(read(join(cpu, 'topology', name)) ?? 0);
        // -1 where the firmware does not say.
        return Number.isInteger(value) && value >= 0 ? value : 0;
      };
      const list = (path: string): number[] => {
        const cpus = parseCpuList(read(join(cpu, path)) ?? '').filter((c) => listed.includes(c));
        return cpus.includes(id) ? cpus : [id];
      };
      return {
        id,
        core: number('core_id'),
        package: number('physical_package_id'),
        node: nodeOf(cpu),
        siblings: list('topology/thread_siblings_list'),
        cluster: list(lastLevelCache(cpu, read) ?? 'topology/cluster_cpus_list'),
        isolated: isolated.has(id),
        usable: usable.has(id),
      };
    });
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function nodeOf(cpu: string): number {
  const node = names(cpu)
    .map((name) => /^node(\d+)$/.exec(name)?.[1])
    .find((number) => number !== undefined);
  return Number(node ?? 0);
}

// A level 3 or beyond: a shared level 2 says little about where a line travels.
function lastLevelCache(
  cpu: string,
  read: (path: string) => string | undefined,
): string | undefined {
  return names(join(cpu, 'cache'))
    .filter((name) => /^index\d+$/.test(name))
    .map((name) => ({
      path: `cache/${name}/shared_cpu_list`,
      level: Number(read(join(cpu, 'cache', name, 'level')) ?? 0),
    }))
    .filter(({ level }) => level >= 3)
    .sort((a, b) => b.level - a.level)[0]?.path;
}

export function relationOf(from: Processor, to: Processor): Relation {
  if (from.id === to.id) return 'same';
  if (from.siblings.includes(to.id)) return 'sibling';
  if (from.cluster.includes(to.id)) return 'cluster';
  return from.package === to.package ? 'package' : 'remote';
}

export const RELATIONS: readonly Relation[] = ['same', 'sibling', 'cluster', 'package', 'remote'];
