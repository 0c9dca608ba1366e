// What the flags of `vanity bench wake` ask for, held against what this host has. Everything that can be
// wrong is found here, before anything is measured.
import { VanityError } from '../errors.js';
import { list, nearest } from '../manifest/suggest.js';
import type { NativeWakeMechanism } from '../native.js';
import { time } from '../text/format.js';
import { wakeDefaults, wakeLimits } from './limits.js';
import type { Processor } from './topology.js';

/** As typed. */
export interface WakeFlags {
  quick?: boolean;
  pairs?: string;
  mechanisms?: string;
  idle?: string;
  samples?: string;
  rounds?: string;
  seed?: string;
}

export interface WakeChoice {
  quick: boolean;
  /** Ordered pairs; null: chosen by the plan. */
  pairs: [number, number][] | null;
  /** Usable ones that were asked for, in the order of the host's list. */
  mechanisms: NativeWakeMechanism[];
  idlesNs: number[];
  samples: number | null;
  rounds: number;
  seed: number;
}

export interface WakeHostFacts {
  processors: readonly Processor[];
  mechanisms: readonly NativeWakeMechanism[];
}

export function chooseWake(flags: WakeFlags, host: WakeHostFacts): WakeChoice {
  const quick = flags.quick === true;
  const pairs = flags.pairs === undefined ? null : parsePairs(flags.pairs, host.processors);
  const choice = {
    quick,
    pairs,
    idlesNs: flags.idle === undefined ? [...wakeDefaults.idlesNs] : parseIdles(flags.idle),
    samples:
      flags.samples === undefined
        ? null
        : wholeNumber('--samples', flags.samples, 1, wakeLimits.samplesMax),
    rounds:
      flags.rounds === undefined
        ? wakeDefaults.rounds[quick ? 'quick' : 'full']
        : wholeNumber('--rounds', flags.rounds, 1, wakeLimits.roundsMax),
    seed:
      flags.seed === undefined
        ? wakeDefaults.seed
        : wholeNumber('--seed', flags.seed, 0, wakeLimits.seedMax),
  };
  if (choice.samples !== null && choice.samples < choice.rounds) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `--samples ${choice.samples} is fewer than one a round; there are ${choice.rounds} rounds (--rounds)`,
    });
  }
  return { ...choice, mechanisms: parseMechanisms(flags.mechanisms, host) };
}

function words(option: string, text: string): string[] {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.some((part) => part === '')) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `${option} is a list with commas between; it is "${text}"`,
    });
  }
  return parts;
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `${option} must be a whole number from ${least} to ${most}; it is "${text}"`,
    });
  }
  return value;
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 };

function parseIdles(text: string): number[] {
  const idles = words('--idle', text).map((word) => {
    const match = /^(\d+(?:\.\d+)?)(ns|us|µs|ms|s)$/.exec(word);
    const ns = word === '0' ? 0 : Number(match?.[1]) * (UNITS[match?.[2] ?? ''] ?? Number.NaN);
    if (!(ns >= 0)) {
      throw new VanityError('VANITY_E_USAGE', {
        problem: `--idle is a list of times such as 0,10us,1ms; "${word}" is none`,
      });
    }
    if (ns > wakeLimits.idleNsMax) {
      throw new VanityError('VANITY_E_USAGE', {
        problem: `--idle goes up to ${time(wakeLimits.idleNsMax)}; it is "${word}"`,
      });
    }
    return Math.round(ns);
  });
  const all = [...new Set(idles)].sort((a, b) => a - b);
  if (all.length > wakeLimits.idles) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `--idle takes up to ${wakeLimits.idles} times; there are ${all.length}`,
    });
  }
  return all;
}

function parsePairs(text: string, processors: readonly Processor[]): [number, number][] {
  const usable = processors.filter((p) => p.usable).map((p) => p.id);
  const fail = (problem: string): never => {
    const [first = 0, second = first] = usable;
    throw new VanityError('VANITY_E_WAKE_PAIR', {
      problem,
      hint: `Type: --pairs ${first}-${second} (processors that this process may use: ${ranges(usable)}), or: --pairs all`,
    });
  };
  if (text.trim() === 'all') {
    return usable.flatMap((from) =>
      usable
        .filter((to) => to !== from || usable.length === 1)
        .map((to): [number, number] => [from, to]),
    );
  }
  const seen = new Map<string, [number, number]>();
  for (const word of words('--pairs', text)) {
    const match = /^(\d{1,6})-(\d{1,6})$/.exec(word);
    if (!match) return fail(`"${word}" of --pairs is no pair: two processors, from-to`);
    const pair: [number, number] = [Number(match[1]), Number(match[2])];
    for (const cpu of pair) {
      const processor = processors.find((p) => p.id === cpu);
      if (!processor) return fail(`--pairs ${word}: there is no processor ${cpu} online`);
      if (!processor.usable) {
        return fail(`--pairs ${word}: this process may not use processor ${cpu} (its affinity)`);
      }
    }
    seen.set(pair.join('-'), pair);
  }
  return [...seen.values()];
}

function parseMechanisms(text: string | undefined, host: WakeHostFacts): NativeWakeMechanism[] {
  const usable = host.mechanisms.filter((m) => m.usable);
  if (text === undefined || text.trim() === 'all') return usable;
  const names = new Set(words('--mechanisms', text));
  for (const name of names) {
    const mechanism = host.mechanisms.find((m) => m.name === name);
    if (mechanism?.usable) continue;
    if (mechanism) {
      throw new VanityError('VANITY_E_WAKE_MECHANISM', {
        problem: `this host does not have the mechanism "${name}": ${mechanism.reason}`,
        hint: `Type: --mechanisms ${usable.map((m) => m.name).join(',')}`,
      });
    }
    const all = host.mechanisms.map((m) => m.name);
    const meant = nearest(name, all);
    throw new VanityError('VANITY_E_WAKE_MECHANISM', {
      problem: `no mechanism is called "${name}"`,
      hint: meant
        ? `Did you mean "${meant}"? There are: ${all.join(', ')}`
        : `There are ${list(all, 'and', 32)}`,
    });
  }
  return usable.filter((m) => names.has(m.name));
}

export function ranges(cpus: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < cpus.length; i++) {
    const first = cpus[i] as number;
    let last = first;
    while (cpus[i + 1] === last + 1) {
      last++;
      i++;
    }
    parts.push(last > first ? `${first}-${last}` : String(first));
  }
  return parts.join(',');
}
