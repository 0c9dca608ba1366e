// Clocks of two processors beside each other: how far apart, and whether they drift. Compared again and again, since a
// comparison is as good as the line between the two happened to be fast.
import type { NativeWake } from '../native.js';
import { median } from './median.js';
import type { WakePlan } from './plan.js';
import type { WakeClock, WakePair } from './result.js';

/** Pairs that are compared again at the end, when there are too many for each round. */
const RECHECKED = 16;
/** An estimate whose error is within this of the least counts as much as the best. */
const AS_GOOD = 1.25;

interface Skew {
  offsetNs: number;
  errorNs: number;
}

export class Skews {
  readonly #wake: NativeWake;
  readonly #signal: AbortSignal;
  readonly #times: number;
  readonly #everyRound: boolean;
  /** By pair, the lower processor first. */
  readonly #found = new Map<string, { from: number; to: number; all: Skew[] }>();
  readonly #refused = new Set<string>();

  constructor(wake: NativeWake, plan: WakePlan, signal: AbortSignal) {
    this.#wake = wake;
    this.#signal = signal;
    this.#times = plan.skews;
    this.#everyRound = plan.skewsEveryRound;
    for (const { from, to } of plan.pairs) {
      const [low, high] = from < to ? [from, to] : [to, from];
      if (low !== high) this.#found.set(`${low}-${high}`, { from: low, to: high, all: [] });
    }
  }

  /** Before the first visit. */
  async begin(): Promise<void> {
    for (const pair of this.#found.values()) await this.#compare(pair);
  }

  async betweenRounds(): Promise<void> {
    if (this.#everyRound) await this.begin();
  }

  async end(): Promise<void> {
    for (const pair of [...this.#found.values()].slice(0, RECHECKED)) await this.#compare(pair);
  }

  /** Clock of `to` minus clock of `from`, as it is known by now. */
  offset = (from: number, to: number): number => this.#best(from, to)?.offsetNs ?? 0;

  list(pairs: readonly WakePair[]): WakeClock['skews'] {
    return pairs.flatMap(({ from, to }) => {
      const best = this.#best(from, to);
      return best ? [{ from, to, offset_ns: best.offsetNs, error_ns: best.errorNs }] : [];
    });
  }

  notes(): string[] {
    const drifts = [...this.#found.values()].flatMap(({ from, to, all }) => {
      const best = this.#best(from, to) as Skew;
      const away = all.map((skew) => ({ ...skew, ns: Math.abs(skew.offsetNs - best.offsetNs) }));
      const [worst] = away
        .filter(({ ns, errorNs }) => ns > errorNs + best.errorNs)
        .sort((a, b) => b.ns - a.ns);
      return worst
        ? [
            `The clocks of processors ${from} and ${to} drifted apart by ${worst.ns.toFixed(0)} ns during the run; ` +
              'one-way latencies between them are off by as much.',
          ]
        : [];
    });
    return [...this.#refused, ...drifts];
  }

  #best(from: number, to: number): Skew | undefined {
    const [low, high, sign] = from < to ? [from, to, 1] : [to, from, -1];
    const all = this.#found.get(`${low}-${high}`)?.all ?? [];
    const errorNs = Math.min(...all.map((skew) => skew.errorNs));
    // Each has its own luck; the median of the good ones has less.
    const offsetNs = median(
      all.filter((skew) => skew.errorNs <= errorNs * AS_GOOD).map((skew) => skew.offsetNs),
    );
    return offsetNs === undefined ? undefined : { offsetNs: offsetNs * sign + 0, errorNs };
  }

  async #compare({ from, to, all }: { from: number; to: number; all: Skew[] }): Promise<void> {
    for (let i = 0; i < this.#times && !this.#signal.aborted; i++) {
      try {
        all.push(await this.#wake.skew(from, to));
      } catch (error) {
        if (this.#signal.aborted || all.length > 0) return;
        this.#refused.add(
          `The clocks of processors ${from} and ${to} could not be compared, and are taken as equal: ${(error as Error).message}.`,
        );
        return;
      }
    }
  }
}
