// What came of the visits, cell by cell.
import type { NativeWakeVisit } from '../native.js';
import { LatencyHistogram } from './histogram.js';
import { median } from './median.js';
import { FLOORS, type PlannedVisit } from './plan.js';
import type { WakeCell, WakeFloor, WakeSignal } from './result.js';

export interface Collected {
  cells: WakeCell[];
  signals: WakeSignal[];
  floors: WakeFloor[];
}

/** Of one visit; no joules where they can't be read. */
export interface Energy {
  joules: number | undefined;
  tookS: number;
}

/** Names a cell. */
export function keyOf({ mechanism, mode, from, to, idleNs }: PlannedVisit): string {
  return [mechanism || 'floor', mode, `${from}-${to}`, `${idleNs} ns`].join(' ');
}

/** Clock of `to` minus clock of `from`, as it is known by now. */
export type Offset = (from: number, to: number) => number;

/** Latencies of one visit, from which a skew was subtracted that may be known better later. */
class Latencies {
  readonly #offsetNs: number;
  readonly #above = new LatencyHistogram();
  /** Below zero, by their distance from it. */
  readonly #below = new LatencyHistogram();

  constructor(offsetNs: number) {
    this.#offsetNs = offsetNs;
  }

  record(ns: number): void {
    if (ns < 0) this.#below.record(-ns);
    else this.#above.record(ns);
  }

  /** As they are when `offsetNs` is subtracted instead. */
  corrected(offsetNs: number): LatencyHistogram {
    const shift = this.#offsetNs - offsetNs;
    if (shift === 0 && this.#below.count === 0) return this.#above;
    const result = new LatencyHistogram();
    for (const [ns, n] of this.#above.entries()) result.record(ns + shift, n);
    for (const [ns, n] of this.#below.entries()) result.record(shift - ns, n);
    return result;
  }
}

class Building {
  readonly visit: PlannedVisit;
  readonly rounds: Latencies[] = [];
  readonly signals: LatencyHistogram[] = [];
  readonly disturbed: Latencies[] = [];
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

  add(round: number, result: NativeWakeVisit, offsetNs: number, energy: Energy): void {
    // There and back is measured by one clock.
    const subtracted = this.visit.mode === 'oneway' ? offsetNs : 0;
    const latencies = new Latencies(subtracted);
    const disturbed = new Latencies(subtracted);
    for (const ns of result.latencyNs) latencies.record(ns);
    this.rounds[round] = latencies;
    this.disturbed[round] = disturbed;
    this.signals[round] = LatencyHistogram.of(result.signalNs);
    for (const [i, mark] of result.marks.entries()) {
      if (mark === 0) continue;
      disturbed.record(result.latencyNs[i] as number);
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
    if (energy.joules !== undefined) {
      this.joules += energy.joules;
      this.metredS += energy.tookS;
    }
  }

  /** A round whose visit failed is empty, so that the others keep their places. */
  histograms(of: readonly Latencies[], offset: Offset): LatencyHistogram[] {
    const { mode, from, to } = this.visit;
    const offsetNs = mode === 'oneway' ? offset(from, to) : 0;
    return Array.from(of, (round) => round?.corrected(offsetNs) ?? new LatencyHistogram());
  }

  cell(offset: Offset): WakeCell {
    const { mechanism, from, to, idleNs, mode } = this.visit;
    const rounds = this.histograms(this.rounds, offset);
    const disturbed = LatencyHistogram.merged(this.histograms(this.disturbed, offset));
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
      disturbed: disturbed.toJSON(),
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

export class Collection {
  readonly #cells = new Map<string, Building>();

  get empty(): boolean {
    return this.#cells.size === 0;
  }

  /** `offsetNs`: what was subtracted from its latencies. */
  add(
    visit: PlannedVisit,
    round: number,
    result: NativeWakeVisit,
    offsetNs: number,
    energy: Energy,
  ): void {
    const key = keyOf(visit);
    const building = this.#cells.get(key) ?? new Building(visit);
    this.#cells.set(key, building);
    building.add(round, result, offsetNs, energy);
  }

  result(offset: Offset): Collected {
    const all = [...this.#cells.values()];
    const of = (...modes: string[]): Building[] =>
      all.filter(({ visit }) => modes.includes(visit.mode));
    const medians = (rounds: readonly (LatencyHistogram | undefined)[]): number[] =>
      rounds.flatMap((round) => round?.median() ?? []);
    return {
      cells: of('oneway', 'roundtrip').map((building) => building.cell(offset)),
      signals: of('signal').map((building) => ({
        mechanism: building.visit.mechanism,
        from: building.visit.from,
        to: building.visit.to,
        signal_ns: medians(building.signals),
        store_ns: medians(building.histograms(building.rounds, offset)),
      })),
      floors: of(...FLOORS).map((building) => {
        const rounds = building.histograms(building.rounds, offset);
        return {
          from: building.visit.from,
          to: building.visit.to,
          lines: building.visit.mode === 'line' ? 1 : 2,
          rounds: rounds.map((round) => round.toJSON()),
          roundtrip: LatencyHistogram.merged(rounds).percentiles(),
        };
      }),
    };
  }
}
