// Whether a run is on time, and what is given up when it isn't: samples first, then rounds.
import type { PlannedVisit } from './plan.js';

/** How far beyond its time a visit may go before it is cut short: on a busy host its first wakes take long. */
const PATIENCE = { factor: 2, ns: 100e6 } as const;
/** Nearly as much as that, where every sample is wanted. */
const ENDLESS = { factor: 20, ns: 1e9 } as const;
/** The samples of a late run shrink down to this share. */
const LEAST_SCALE = 0.5;
/** Below this share of the plan, what was spent says little about the rest. */
const EARLY = 0.05;

export class Pacing {
  readonly #began = performance.now();
  readonly #totalNs: number;
  readonly #budgetS: number | null;
  #plannedNs = 0;
  #spentNs = 0;

  /** `budgetS`: null when the samples decide how long it takes. */
  constructor(expectedS: number, budgetS: number | null) {
    this.#totalNs = expectedS * 1e9;
    this.#budgetS = budgetS;
  }

  get elapsedS(): number {
    return (performance.now() - this.#began) / 1000;
  }

  /** 0 to 1. */
  get done(): number {
    return this.#totalNs > 0 ? this.#plannedNs / this.#totalNs : 1;
  }

  get remainingS(): number {
    const early = this.#budgetS !== null && this.done < EARLY;
    const s = early ? (this.#budgetS ?? 0) - this.elapsedS : (this.#leftNs / 1e9) * this.#pace;
    return Math.max(0, s);
  }

  /** Samples and time of a visit that begins now. */
  allow(visit: PlannedVisit): { samples: number; maxNs: number } {
    const { samples, expectedNs } = visit;
    if (this.#budgetS === null) {
      return { samples, maxNs: Math.round(expectedNs * ENDLESS.factor + ENDLESS.ns) };
    }
    const fits = ((this.#budgetS - this.elapsedS) * 1e9) / (this.#leftNs * this.#pace);
    const scale = Math.min(1, Math.max(LEAST_SCALE, fits));
    return {
      samples: Math.max(Math.min(2, samples), Math.round(samples * scale)),
      maxNs: Math.round(expectedNs * PATIENCE.factor * scale + PATIENCE.ns),
    };
  }

  ended(visit: PlannedVisit, tookMs: number): void {
    this.#plannedNs += visit.expectedNs;
    this.#spentNs += tookMs * 1e6;
  }

  /** Is there time for most of another round that takes as long as the last one? */
  fitsAnother(roundS: number): boolean {
    return this.#budgetS === null || this.elapsedS + roundS * 0.9 <= this.#budgetS;
  }

  get #leftNs(): number {
    return this.#totalNs - this.#plannedNs;
  }

  // What visits take over what they were planned to.
  get #pace(): number {
    return this.#plannedNs > 0 && this.#spentNs > 0 ? this.#spentNs / this.#plannedNs : 1;
  }
}
