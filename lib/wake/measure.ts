// Runs a plan: visit after visit, and what came of each, until all are done or somebody has had enough.
import { VanityError } from '../errors.js';
import type { NativeWake, NativeWakeSpec, NativeWakeVisit } from '../native.js';
import { EnergyMeter } from './energy.js';
import { LatencyHistogram } from './histogram.js';
import { wakeDefaults } from './limits.js';
import { NoiseWatch } from './noise.js';
import type { PlannedVisit, WakePlan } from './plan.js';
import type {
  WakeCell,
  WakeClock,
  WakeEnergy,
  WakeFloor,
  WakeNoise,
  WakeSignal,
} from './result.js';

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
  soFar: () => Pick<Measured, 'cells' | 'signals' | 'floors'>;
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

export interface Measured {
  complete: boolean;
  skews: WakeClock['skews'];
  cells: WakeCell[];
  signals: WakeSignal[];
  floors: WakeFloor[];
  noise: WakeNoise;
  energy: WakeEnergy;
  notes: string[];
}

/** How far beyond its time a visit may go before it is cut short: on a busy host its first wakes take long. */
const PATIENCE = { factor: 2, ns: 100e6 } as const;
/** Samples of a late run shrink down to this share; what is still too much costs rounds. */
const LEAST_SCALE = 0.5;
/** Skews that are measured again at the end. */
const RECHECKED = 16;

export async function measureWake(options: MeasureOptions): Promise<Measured> {
  const { wake, script, plan, signal, onProgress } = options;
  const began = performance.now();
  const elapsedS = (): number => (performance.now() - began) / 1000;
  const stop = (): void => {
    wake.abort();
    script.abort();
  };
  signal.addEventListener('abort', stop);

  const energy = new EnergyMeter();
  const collected = new Collection();
  const skews = new Skews(wake);
  const failures = new Map<string, VanityError>();
  const cpus = plan.pairs.flatMap(({ from, to }) => [from, to]);
  const noise = new NoiseWatch(cpus);
  const totalNs = plan.expectedS * 1e9;
  let plannedNs = 0;
  let spentNs = 0;
  let measuredRounds = 0;

  try {
    const report = (visit: PlannedVisit | null, round: number): void => {
      const done = totalNs > 0 ? plannedNs / totalNs : 1;
      const remainingS =
        options.budgetS === null || plannedNs > totalNs / 20
          ? ((totalNs - plannedNs) / 1e9) * pace(spentNs, plannedNs)
          : options.budgetS - elapsedS();
      const rounds = plan.rounds.length;
      onProgress({
        done,
        elapsedS: elapsedS(),
        remainingS: Math.max(0, remainingS),
        round,
        rounds,
        visit,
        soFar: () => collected.result(),
      });
    };
    report(null, 0);
    await skews.measure(plan, signal);
    for (const [round, visits] of plan.rounds.entries()) {
      const roundBeganS = elapsedS();
      for (const visit of visits) {
        if (signal.aborted) break;
        report(visit, round);
        const leftNs = totalNs - plannedNs;
        const scale =
          options.budgetS === null
            ? 1
            : Math.min(
                1,
                Math.max(
                  LEAST_SCALE,
                  ((options.budgetS - elapsedS()) * 1e9) / (leftNs * pace(spentNs, plannedNs)),
                ),
              );
        const spec: NativeWakeSpec = {
          mechanism: visit.mechanism,
          mode: visit.mode,
          from: visit.from,
          to: visit.to,
          idleNs: visit.idleNs,
          samples: Math.max(Math.min(2, visit.samples), Math.round(visit.samples * scale)),
          maxNs: Math.round(
            options.budgetS === null
              ? visit.expectedNs * 20 + 1e9
              : visit.expectedNs * PATIENCE.factor * scale + PATIENCE.ns,
          ),
          spinNs: wakeDefaults.adaptiveSpinNs,
          offsetNs: skews.offset(visit.from, visit.to),
          seed: (options.seed + round) >>> 0,
        };
        plannedNs += visit.expectedNs;
        const key = keyOf(visit);
        if (failures.has(key)) continue;
        const at = performance.now();
        const before = energy.read();
        try {
          const result = await (visit.script ? script.visit(spec) : wake.visit(spec));
          const joules = energy.between(before, energy.read());
          noise.switched(visit.from, result.involuntary[0]);
          noise.switched(visit.to, result.involuntary[1]);
          collected.add(visit, round, result, joules, (performance.now() - at) / 1000);
        } catch (error) {
          failures.set(key, VanityError.from(error));
        }
        spentNs += (performance.now() - at) * 1e6;
      }
      measuredRounds = round + 1;
      const tookS = elapsedS() - roundBeganS;
      if (options.budgetS !== null && elapsedS() + tookS * 0.75 > options.budgetS) break;
    }
    if (!signal.aborted) await skews.measureAgain(signal);
  } finally {
    signal.removeEventListener('abort', stop);
  }

  const [failed] = failures.values();
  if (failed && collected.empty) throw failed;
  const notes = failureNotes(failures);
  if (!signal.aborted && measuredRounds < plan.rounds.length) {
    notes.push(
      `The host was too busy for all of it: ${measuredRounds} of ${plan.rounds.length} rounds fitted into the time.`,
    );
  }
  return {
    complete: !signal.aborted,
    skews: skews.list,
    ...collected.result(),
    noise: noise.read(),
    energy: energy.about,
    notes: [...notes, ...skews.notes],
  };
}

/** One for each reason, however many cells it cost. */
function failureNotes(failures: ReadonlyMap<string, VanityError>): string[] {
  const byReason = new Map<string, string[]>();
  for (const [key, { message }] of failures) {
    byReason.set(message, [...(byReason.get(message) ?? []), key.replaceAll('|', ' ')]);
  }
  return [...byReason].map(([reason, cells]) => {
    const more = cells.length > 3 ? ` and ${cells.length - 3} more` : '';
    return `Not measured: ${cells.slice(0, 3).join('; ')}${more}: ${reason}`;
  });
}

// What visits take over what they were planned to.
function pace(spentNs: number, plannedNs: number): number {
  return plannedNs > 0 && spentNs > 0 ? spentNs / plannedNs : 1;
}

function keyOf({ mechanism, mode, from, to, idleNs }: PlannedVisit): string {
  return [mechanism || 'floor', mode, `${from}-${to}`, `${idleNs} ns`].join('|');
}

// -- clocks of two processors -------------------------------------------------------------------

interface Skew {
  offsetNs: number;
  errorNs: number;
}

class Skews {
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
      if (from === to || signal.aborted) continue;
      // One measurement serves both directions.
      const back = this.#found.get(`${to}-${from}`);
      const skew = back
        ? { offsetNs: -back.offsetNs, errorNs: back.errorNs }
        : await this.#compare(from, to, plan.skews);
      this.#found.set(`${from}-${to}`, skew);
      this.list.push({ from, to, offset_ns: skew.offsetNs + 0, error_ns: skew.errorNs });
    }
  }

  /** Each comparison has its own luck; the median of several has less. */
  async #compare(from: number, to: number, times: number): Promise<Skew> {
    const all: Skew[] = [];
    while (all.length < times) all.push(await this.#wake.skew(from, to));
    all.sort((a, b) => a.offsetNs - b.offsetNs);
    return all[all.length >> 1] as Skew;
  }

  async measureAgain(signal: AbortSignal): Promise<void> {
    const forth = this.list.filter(({ from, to }) => from < to).slice(0, RECHECKED);
    for (const { from, to, offset_ns, error_ns } of forth) {
      if (signal.aborted) return;
      const { offsetNs, errorNs } = await this.#compare(from, to, this.#times);
      const drift = Math.abs(offsetNs - offset_ns);
      if (drift > error_ns + errorNs) {
        this.notes.push(
          `The clocks of processors ${from} and ${to} drifted apart by ${drift.toFixed(0)} ns during the run; ` +
            'one-way latencies between them are off by as much.',
        );
      }
    }
  }
}

// -- what came of the visits --------------------------------------------------------------------

class Building {
  readonly visit: PlannedVisit;
  readonly rounds: LatencyHistogram[] = [];
  readonly signals: LatencyHistogram[] = [];
  readonly disturbed = new LatencyHistogram();
  readonly marks = { preempted: 0, migrated: 0, stolen: 0, signaller: 0 };
  readonly wakes = {
    waits: 0,
    signalled: 0,
    deadline: 0,
    os_limit: 0,
    spurious: 0,
    late_found_work: 0,
  };
  readonly idled: number[] = [];
  overrun = 0;
  wallNs = 0;
  cpuNs = 0;
  joules = 0;
  metredS = 0;

  constructor(visit: PlannedVisit) {
    this.visit = visit;
  }

  add(round: number, result: NativeWakeVisit, joules: number | undefined, tookS: number): void {
    this.rounds[round] = LatencyHistogram.of(result.latencyNs);
    this.signals[round] = LatencyHistogram.of(result.signalNs);
    for (const [i, mark] of result.marks.entries()) {
      if (mark === 0) continue;
      this.disturbed.record(result.latencyNs[i] as number);
      if (mark & 1) this.marks.preempted++;
      if (mark & 2) this.marks.migrated++;
      if (mark & 4) this.marks.stolen++;
      if (mark & 8) this.marks.signaller++;
    }
    this.wakes.waits += result.waits;
    this.wakes.signalled += result.signalled;
    this.wakes.deadline += result.deadline;
    this.wakes.os_limit += result.osLimit;
    this.wakes.spurious += result.spurious;
    this.wakes.late_found_work += result.lateFoundWork;
    if (result.latencyNs.length > 0 && result.idledNs >= 0) this.idled.push(result.idledNs);
    this.overrun += result.overrun;
    this.wallNs += result.wallNs;
    this.cpuNs += result.cpuNs;
    if (joules !== undefined) {
      this.joules += joules;
      this.metredS += tookS;
    }
  }

  cell(): WakeCell {
    const { mechanism, from, to, idleNs, mode } = this.visit;
    // A round that was never reached leaves no hole before one that was.
    const rounds = Array.from(this.rounds, (r) => r ?? new LatencyHistogram());
    const signals = Array.from(this.signals, (r) => r ?? new LatencyHistogram());
    return {
      mechanism,
      from,
      to,
      idle_ns: idleNs,
      mode: mode as WakeCell['mode'],
      idled_ns: median(this.idled) ?? null,
      latency: LatencyHistogram.merged(rounds).percentiles(),
      rounds: rounds.map((r) => r.toJSON()),
      disturbed: this.disturbed.toJSON(),
      marks: this.marks,
      overrun: this.overrun,
      signal: LatencyHistogram.merged(signals).percentiles(),
      signal_rounds: signals.map((r) => r.toJSON()),
      wakes: this.wakes,
      cpu_s_per_s: this.wallNs > 0 ? this.cpuNs / this.wallNs : null,
      joules_per_s: this.metredS > 0 ? this.joules / this.metredS : null,
    };
  }
}

class Collection {
  readonly #cells = new Map<string, Building>();

  get empty(): boolean {
    return this.#cells.size === 0;
  }

  add(
    visit: PlannedVisit,
    round: number,
    result: NativeWakeVisit,
    joules: number | undefined,
    tookS: number,
  ): void {
    const key = keyOf(visit);
    const building = this.#cells.get(key) ?? new Building(visit);
    this.#cells.set(key, building);
    building.add(round, result, joules, tookS);
  }

  result(): Pick<Measured, 'cells' | 'signals' | 'floors'> {
    const all = [...this.#cells.values()];
    const of = (...modes: string[]): Building[] =>
      all.filter(({ visit }) => modes.includes(visit.mode));
    const medians = (rounds: readonly LatencyHistogram[]): number[] =>
      rounds.flatMap((round) => round?.median() ?? []);
    return {
      cells: of('oneway', 'roundtrip').map((building) => building.cell()),
      signals: of('signal').map(({ visit, rounds, signals }) => ({
        mechanism: visit.mechanism,
        from: visit.from,
        to: visit.to,
        signal_ns: medians(signals),
        store_ns: medians(rounds),
      })),
      floors: of('floor').map(({ visit, rounds }) => ({
        from: visit.from,
        to: visit.to,
        rounds: Array.from(rounds, (r) => (r ?? new LatencyHistogram()).toJSON()),
        roundtrip: LatencyHistogram.merged(rounds.filter((r) => r)).percentiles(),
      })),
    };
  }
}

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]
    : sorted.length === 0
      ? undefined
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
