// Which cores this process may use at all.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** "0-3,6" as numbers; what is no list has none. */
export function parseCpuList(list: string): number[] {
  return list
    .trim()
    .split(',')
    .flatMap((part) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (!match) return [];
      const first = Number(match[1]);
      const last = Math.min(Number(match[2] ?? first), first + 65_535);
      return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
    });
}

/** Online cores that the process's affinity (taskset, cpuset, container) allows. */
export function usableCpus(root = '/'): number[] {
  const online = parseCpuList(read(join(root, 'sys/devices/system/cpu/online')) ?? '');
  const status = read(join(root, 'proc/self/status')) ?? '';
  const allowed = new Set(parseCpuList(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? ''));
  const usable = online.filter((cpu) => allowed.has(cpu));
  return usable.length > 0 ? usable : online;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
