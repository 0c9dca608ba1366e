// Energy of the processor packages as RAPL counts it and the powercap files show it.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { WakeEnergy } from './result.js';

interface Domain {
  path: string;
  /** Where its counter starts anew. */
  rangeUj: number;
}

export class EnergyMeter {
  readonly #domains: Domain[] = [];
  readonly about: WakeEnergy;

  constructor(root = '/') {
    const folder = join(root, 'sys/class/powercap');
    let refused = '';
    const names: string[] = [];
    for (const domain of list(folder)) {
      // Packages; what lies below them ("intel-rapl:0:0") is part of them.
      if (!/^[a-z-]+:\d+$/.test(domain)) continue;
      const path = join(folder, domain);
      try {
        const name = readFileSync(join(path, 'name'), 'utf8').trim();
        // What the whole board takes would count the packages twice.
        if (!name.startsWith('package')) continue;
        readFileSync(join(path, 'energy_uj'), 'utf8');
        const rangeUj = Number(readFileSync(join(path, 'max_energy_range_uj'), 'utf8'));
        this.#domains.push({ path: join(path, 'energy_uj'), rangeUj });
        names.push(name);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        refused = code === 'EACCES' ? 'only root may read it' : String(code);
      }
    }
    const available = names.length > 0;
    this.about = {
      available,
      reason: available
        ? `RAPL: ${names.join(', ')}`
        : refused === ''
          ? 'this host shows no energy counters (/sys/class/powercap has no package)'
          : `the energy counters in /sys/class/powercap can't be read: ${refused}`,
    };
  }

  /** Microjoules of each package; undefined where there are none. */
  read(): number[] | undefined {
    if (this.#domains.length === 0) return undefined;
    try {
      return this.#domains.map(({ path }) => Number(readFileSync(path, 'utf8')));
    } catch {
      return undefined;
    }
  }

  /** Joules between two readings. */
  between(before: number[] | undefined, after: number[] | undefined): number | undefined {
    if (!before || !after) return undefined;
    return this.#domains.reduce((sum, { rangeUj }, i) => {
      const uj = (after[i] as number) - (before[i] as number);
      return sum + (uj < 0 ? uj + rangeUj : uj) / 1e6;
    }, 0);
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
