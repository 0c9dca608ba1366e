// Runs a plan: visit after visit, and what came of each, until all are done or somebody has had enough.
import { VanityError } from '../errors.js';
import type { NativeWake, NativeWakeSpec, NativeWakeVisit } from '../native.js';
import { type Collected, Collection, keyOf } from './collection.js';
import { EnergyMeter } from './energy.js';
import { wakeDefaults } from './limits.js';
import { NoiseWatch } from './noise.js';
import { Pacing } from './pacing.js';
import type { PlannedVisit, WakePlan } from './plan.js';
import type { WakeClock, WakeEnergy, WakeNoise } from './result.js';
import { Skews } from './skews.js';

export interface Progress {
  /** 0 to 1, by time. */
  done: number;
  elapsedS: number;
  remainingS: number;
  round: number;
  rounds: number;
  /** Null while clocks are compared. */
  visit: PlannedVisit | null;
  /** What there is by now; takes a while to put together. */
  soFar: () => Collected;
}

export interface MeasureOptions {
  wake: NativeWake;
  /** Visits of the references in JavaScript. */
  script: {
    visit(spec: NativeWakeSpec): Promise<NativeWakeVisit>;
    abort(): void;
  };
  plan: WakePlan;
  /** What visits may take; null: as long as their samples need. */
  budgetS: number | null;
  seed: number;
  signal: AbortSignal;
  onProgress: (progress: Progress) => void;
}

export interface Measured extends Collected {
  complete: boolean;
  skews: WakeClock['skews'];
  noise: WakeNoise;
  energy: WakeEnergy;
  notes: string[];
}

/** Time for the second try of a visit that brought nothing. */
const MORE_PATIENCE = 5;

export async function measureWake(options: MeasureOptions): Promise<Measured> {
  const { wake, script, signal } = options;
  const stop = (): void => {
    wake.abort();
    script.abort();
  };
  signal.addEventListener('abort', stop);
  try {
    return await new Run(options).all();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

class Run {
  readonly #options: MeasureOptions;
  readonly #pacing: Pacing;
  readonly #skews: Skews;
  readonly #energy = new EnergyMeter();
  readonly #noise: NoiseWatch;
  readonly #collection = new Collection();
  readonly #failures = new Map<string, VanityError>();

  constructor(options: MeasureOptions) {
    const { plan, budgetS, wake, signal } = options;
    this.#options = options;
    this.#pacing = new Pacing(plan.expectedS, budgetS);
    this.#skews = new Skews(wake, plan, signal);
    this.#noise = new NoiseWatch(plan.pairs.flatMap(({ from, to }) => [from, to]));
  }

  async all(): Promise<Measured> {
    const { plan, signal } = this.#options;
    this.#progress(null, 0);
    await this.#skews.begin();
    let rounds = 0;
    for (const visits of plan.rounds) {
      if (rounds > 0) await this.#skews.betweenRounds();
      const beganS = this.#pacing.elapsedS;
      for (const visit of visits) {
        if (signal.aborted) break;
        this.#progress(visit, rounds);
        await this.#visit(visit, rounds);
      }
      rounds++;
      if (!this.#pacing.fitsAnother(this.#pacing.elapsedS - beganS)) break;
    }
    await this.#skews.end();
    return this.#result(rounds);
  }

  async #visit(visit: PlannedVisit, round: number): Promise<void> {
    const { wake, script, seed, signal } = this.#options;
    const { mechanism, mode, from, to, idleNs } = visit;
    const key = keyOf(visit);
    const began = performance.now();
    const tookMs = (): number => performance.now() - began;
    try {
      if (this.#failures.has(key)) return;
      const spec: NativeWakeSpec = {
        mechanism,
        mode,
        from,
        to,
        idleNs,
        ...this.#pacing.allow(visit),
        spinNs: wakeDefaults.adaptiveSpinNs,
        offsetNs: this.#skews.offset(from, to),
        seed: (seed + round) >>> 0,
      };
      const before = this.#energy.read();
      const measure = (patience: number): Promise<NativeWakeVisit> => {
        const patient = { ...spec, maxNs: spec.maxNs * patience };
        return visit.script ? script.visit(patient) : wake.visit(patient);
      };
      let result = await measure(1);
      // On a busy host the first wakes may take all the time there is.
      if (result.latencyNs.length === 0 && !signal.aborted) result = await measure(MORE_PATIENCE);
      const joules = this.#energy.between(before, this.#energy.read());
      this.#noise.switched(from, result.involuntary[0]);
      this.#noise.switched(to, result.involuntary[1]);
      const energy = { joules, tookS: tookMs() / 1000 };
      this.#collection.add(visit, round, result, spec.offsetNs, energy);
    } catch (error) {
      this.#failures.set(key, VanityError.from(error));
    } finally {
      this.#pacing.ended(visit, tookMs());
    }
  }

  #progress(visit: PlannedVisit | null, round: number): void {
    const { done, elapsedS, remainingS } = this.#pacing;
    this.#options.onProgress({
      done,
      elapsedS,
      remainingS,
      round,
      rounds: this.#options.plan.rounds.length,
      visit,
      soFar: () => this.#collection.result(this.#skews.offset),
    });
  }

  #result(rounds: number): Measured {
    const { plan, signal } = this.#options;
    const [failed] = this.#failures.values();
    if (failed && this.#collection.empty) throw failed;
    const notes = failureNotes(this.#failures);
    if (!signal.aborted && rounds < plan.rounds.length) {
      notes.push(
        `The host was too busy for all of it: ${rounds} of ${plan.rounds.length} rounds fitted into the time.`,
      );
    }
    return {
      complete: !signal.aborted,
      skews: this.#skews.list(plan.pairs),
      ...this.#collection.result(this.#skews.offset),
      noise: this.#noise.read(),
      energy: this.#energy.about,
      notes: [...notes, ...this.#skews.notes(), ...this.#noise.notes()],
    };
  }
}

/** One for each reason, however many cells it cost. */
function failureNotes(failures: ReadonlyMap<string, VanityError>): string[] {
  const byReason = new Map<string, string[]>();
  for (const [key, { message }] of failures) {
    byReason.set(message, [...(byReason.get(message) ?? []), key]);
  }
  return [...byReason].map(([reason, cells]) => {
    const more = cells.length > 3 ? ` and ${cells.length - 3} more` : '';
    return `Not measured: ${cells.slice(0, 3).join('; ')}${more}: ${reason}`;
  });
}
