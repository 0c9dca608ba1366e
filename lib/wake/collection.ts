// What came of the visits, cell by cell.
import type { NativeWakeVisit } from '../native.js';
import { LatencyHistogram } from './histogram.js';
import { median } from './median.js';
import type { PlannedVisit } from './plan.js';
import type { WakeCell, WakeFloor, WakeSignal } from './result.js';

export interface Collected {
  cells: WakeCell[];
  signals: WakeSignal[];
  floors: WakeFloor[];
}

/** Names a cell. */
export function keyOf({ mechanism, mode, from, to, idleNs }: PlannedVisit): string {
  return [mechanism || 'floor', mode, `${from}-${to}`, `${idleNs} ns`].join(' ');
}

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

export class Collection {
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

  result(): Collected {
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
