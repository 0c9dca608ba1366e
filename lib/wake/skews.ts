// Clocks of two processors beside each other: how far apart before the run, and whether they drifted.
import type { NativeWake } from '../native.js';
import type { WakePlan } from './plan.js';
import type { WakeClock } from './result.js';

/** Pairs that are compared again at the end. */
const RECHECKED = 16;

interface Skew {
  offsetNs: number;
  errorNs: number;
}

export class Skews {
  readonly #wake: NativeWake;
  readonly #found = new Map<string, Skew>();
  #times = 1;
  readonly list: WakeClock['skews'] = [];
  readonly notes: string[] = [];

  constructor(wake: NativeWake) {
    this.#wake = wake;
  }

  offset(from: number, to: number): number {
    return this.#found.get(`${from}-${to}`)?.offsetNs ?? 0;
  }

  async measure(plan: WakePlan, signal: AbortSignal): Promise<void> {
    this.#times = plan.skews;
    for (const { from, to } of plan.pairs) {
      if (from === to) continue;
      // One measurement serves both directions.
      const back = this.#found.get(`${to}-${from}`);
      const skew = back
        ? { offsetNs: -back.offsetNs, errorNs: back.errorNs }
        : await this.#compare(from, to, signal);
      if (!skew) continue;
      this.#found.set(`${from}-${to}`, skew);
      this.list.push({ from, to, offset_ns: skew.offsetNs + 0, error_ns: skew.errorNs });
    }
  }

  async measureAgain(signal: AbortSignal): Promise<void> {
    const forth = this.list.filter(({ from, to }) => from < to).slice(0, RECHECKED);
    for (const { from, to, offset_ns, error_ns } of forth) {
      const again = await this.#compare(from, to, signal);
      const drift = again ? Math.abs(again.offsetNs - offset_ns) : 0;
      if (again && drift > error_ns + again.errorNs) {
        this.notes.push(
          `The clocks of processors ${from} and ${to} drifted apart by ${drift.toFixed(0)} ns during the run; ` +
            'one-way latencies between them are off by as much.',
        );
      }
    }
  }

  /** Each comparison has its own luck; the median of several has less. Undefined when it can't be had. */
  async #compare(from: number, to: number, signal: AbortSignal): Promise<Skew | undefined> {
    const all: Skew[] = [];
    try {
      while (all.length < this.#times && !signal.aborted) {
        all.push(await this.#wake.skew(from, to));
      }
    } catch (error) {
      if (!signal.aborted) {
        this.notes.push(
          `The clocks of processors ${from} and ${to} could not be compared, and are taken as equal: ${(error as Error).message}.`,
        );
      }
    }
    all.sort((a, b) => a.offsetNs - b.offsetNs);
    return all[all.length >> 1];
  }
}
