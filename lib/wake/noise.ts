// What else the measured processors did during the run, as far as the system tells: counts before and
// after. What can't be read is null.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { WakeNoise } from './result.js';

/** Machine-specific register that Intel counts system management interrupts in. */
const MSR_SMI_COUNT = 0x34;
/** /proc/stat counts in these. */
const USER_HZ = 100;

interface Counts {
  atMs: number;
  stealMs: number | null;
  interrupts: number | null;
  smi: number | null;
  /** C-state to microseconds. */
  idleUs: Map<string, number> | null;
}

export class NoiseWatch {
  readonly #root: string;
  readonly #cpus: number[];
  readonly #before: Map<number, Counts>;
  readonly #involuntary = new Map<number, number>();
  readonly #throttledBefore: number;

  constructor(cpus: Iterable<number>, root = '/') {
    this.#root = root;
    this.#cpus = [...new Set(cpus)].sort((a, b) => a - b);
    this.#before = this.#counts();
    this.#throttledBefore = this.#throttled();
  }

  /** What was noticed beside the counts of each processor. */
  notes(): string[] {
    const times = this.#throttled() - this.#throttledBefore;
    return times > 0
      ? [
          `The CPU quota of this container (cpu.max) stopped its processes in ${times} periods: each is a pause of milliseconds.`,
        ]
      : [];
  }

  /** Involuntary switches of a measuring thread on `cpu`. */
  switched(cpu: number, times: number): void {
    this.#involuntary.set(cpu, (this.#involuntary.get(cpu) ?? 0) + times);
  }

  /** Since the construction. */
  read(): WakeNoise {
    const after = this.#counts();
    return {
      cpus: this.#cpus.map((cpu) => {
        const was = this.#before.get(cpu) as Counts;
        const is = after.get(cpu) as Counts;
        return {
          cpu,
          involuntary_switches: this.#involuntary.get(cpu) ?? 0,
          steal_ms: since(was.stealMs, is.stealMs),
          interrupts: since(was.interrupts, is.interrupts),
          smi: since(was.smi, is.smi),
          frequency_mhz: this.#frequency(cpu),
          residency: residency(was, is),
        };
      }),
    };
  }

  #counts(): Map<number, Counts> {
    const interrupts = interruptsOf(this.#read('proc/interrupts'));
    const stat = this.#read('proc/stat') ?? '';
    return new Map(
      this.#cpus.map((cpu) => [
        cpu,
        {
          atMs: performance.now(),
          stealMs: stealOf(stat, cpu),
          interrupts: interrupts?.get(cpu) ?? null,
          smi: this.#smi(cpu),
          idleUs: this.#idle(cpu),
        },
      ]),
    );
  }

  #read(path: string): string | undefined {
    try {
      return readFileSync(join(this.#root, path), 'utf8');
    } catch {
      return undefined;
    }
  }

  #throttled(): number {
    const path = /^0::(.*)$/m.exec(this.#read('proc/self/cgroup') ?? '')?.[1] ?? '/';
    const stat =
      this.#read(join('sys/fs/cgroup', path, 'cpu.stat')) ??
      this.#read('sys/fs/cgroup/cpu/cpu.stat');
    return Number(/^nr_throttled (\d+)$/m.exec(stat ?? '')?.[1] ?? 0);
  }

  #smi(cpu: number): number | null {
    if (!/^vendor_id\s*:\s*GenuineIntel/m.test(this.#read('proc/cpuinfo') ?? '')) return null;
    try {
      const file = openSync(join(this.#root, `dev/cpu/${cpu}/msr`), 'r');
      try {
        const value = Buffer.alloc(8);
        return readSync(file, value, 0, 8, MSR_SMI_COUNT) === 8 ? value.readUInt32LE(0) : null;
      } finally {
        closeSync(file);
      }
    } catch {
      return null;
    }
  }

  #frequency(cpu: number): number | null {
    const khz = Number(this.#read(`sys/devices/system/cpu/cpu${cpu}/cpufreq/scaling_cur_freq`));
    return khz > 0 ? khz / 1000 : null;
  }

  #idle(cpu: number): Map<string, number> | null {
    const folder = `sys/devices/system/cpu/cpu${cpu}/cpuidle`;
    let states: string[];
    try {
      states = readdirSync(join(this.#root, folder));
    } catch {
      return null;
    }
    const times = states.flatMap((state): [string, number][] => {
      const name = this.#read(`${folder}/${state}/name`)?.trim();
      const us = this.#read(`${folder}/${state}/time`);
      return name && us !== undefined ? [[name, Number(us)]] : [];
    });
    return times.length > 0 ? new Map(times) : null;
  }
}

function since(was: number | null, is: number | null): number | null {
  return was === null || is === null ? null : Math.max(0, is - was);
}

function residency(was: Counts, is: Counts): Record<string, number> | null {
  if (!was.idleUs || !is.idleUs) return null;
  const ranUs = (is.atMs - was.atMs) * 1000;
  if (ranUs <= 0) return null;
  return Object.fromEntries(
    [...is.idleUs].map(([name, us]) => {
      const share = (us - (was.idleUs?.get(name) ?? us)) / ranUs;
      return [name, Math.min(1, Math.max(0, share))];
    }),
  );
}

/** All interrupts of each processor. */
function interruptsOf(text: string | undefined): Map<number, number> | undefined {
  const [head, ...lines] = (text ?? '').split('\n');
  const cpus = [...(head ?? '').matchAll(/CPU(\d+)/g)].map(([, id]) => Number(id));
  if (cpus.length === 0) return undefined;
  const sums = new Map(cpus.map((cpu) => [cpu, 0]));
  for (const line of lines) {
    const counts = line.replace(/^\s*\S+:/, '').trim();
    // ERR and MIS have one count, for all processors.
    const fields = counts.split(/\s+/).slice(0, cpus.length);
    if (fields.length < cpus.length || fields.some((field) => !/^\d+$/.test(field))) continue;
    for (const [i, cpu] of cpus.entries()) {
      sums.set(cpu, (sums.get(cpu) ?? 0) + Number(fields[i]));
    }
  }
  return sums;
}

function stealOf(stat: string, cpu: number): number | null {
  const fields = new RegExp(`^cpu${cpu} (.*)$`, 'm').exec(stat)?.[1]?.trim().split(/\s+/);
  const steal = fields?.[7];
  return steal === undefined ? null : (Number(steal) * 1000) / USER_HZ;
}
