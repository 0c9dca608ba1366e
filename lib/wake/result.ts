// The report of `vanity bench wake`: what --json writes and `vanity report` reads. Everything that is
// drawn comes from here, so an old report can be drawn again. Times are nanoseconds.

import type { DoctorRow } from '../runtime/doctor.js';
import type { Figure } from '../text/figures.js';

export const WAKE_FORMAT = 'vanity-wake';
/** Changes whenever a reader of the previous one would be misled. */
export const WAKE_VERSION = 1;

export interface WakeReport {
  format: typeof WAKE_FORMAT;
  version: typeof WAKE_VERSION;
  /** ISO 8601, UTC. */
  created: string;
  /** Version of Vanity. */
  vanity: string;
  /** False: it was interrupted; what follows covers what was measured until then. */
  complete: boolean;
  elapsed_s: number;
  options: WakeOptions;
  host: WakeHost;
  clock: WakeClock;
  /** Every mechanism that there is, the ones that this host lacks with the reason. */
  mechanisms: WakeMechanism[];
  pairs: WakePair[];
  cells: WakeCell[];
  /** What signalling costs a producer whose consumer is awake, beside a plain store. */
  signals: WakeSignal[];
  /** Round trip between bare loops, one cache line each way: the least that a wake can take; per pair. */
  floors: WakeFloor[];
  noise: WakeNoise;
  energy: WakeEnergy;
  figures: Figure[];
  /** What a reader must know to read the figures right. */
  notes: string[];
}

export interface WakeOptions {
  quick: boolean;
  rounds: number;
  seed: number;
  idles_ns: number[];
  mechanisms: string[];
  pairs: [number, number][];
  /** Wakes wanted in each cell; null: as many as the time allows. */
  samples: number | null;
  /** What the run was planned to take. */
  budget_s: number;
}

export interface WakeHost {
  name: string;
  processor: string;
  architecture: string;
  kernel: string;
  node: string;
  /** Name of the hypervisor, 'unknown' when there is one that hides its name, null on bare metal. */
  hypervisor: string | null;
  cpus: {
    id: number;
    core: number;
    package: number;
    node: number;
    siblings: number[];
    isolated: boolean;
  }[];
  /** What would make the figures better on this host, from `vanity doctor`. */
  advice: DoctorRow[];
}

export interface WakeClock {
  /** Where ticks come from, such as "TSC, measured 2595.125 MHz". */
  source: string;
  ticks_per_second: number;
  /** One standard error of the calibration against CLOCK_MONOTONIC_RAW, parts per million. */
  error_ppm: number;
  invariant: boolean;
  /** One tick, and what one reading costs. */
  tick_ns: number;
  read_ns: number;
  /** Clock of `to` minus clock of `from`, as subtracted from one-way figures; `error_ns`: half the least round trip. */
  skews: { from: number; to: number; offset_ns: number; error_ns: number }[];
}

export type MechanismKind = 'backend' | 'path' | 'reference';

export interface WakeMechanism {
  /** spin, spin+pause, waitpkg-c01, waitpkg-c02, monitorx, monitorx-c1, wfe, wfet, zawrs, futex, adaptive; interrupt, virtio-user; then references: raw-futex, eventfd, pipe, atomics, message-port. */
  name: string;
  /** backend: Vanity's own waiter; path: through several parts of Vanity; reference: what they are compared with. */
  kind: MechanismKind;
  about: string;
  usable: boolean;
  /** Usable: what it rests on; else: why it can't be had here. */
  reason: string;
}

/** How two processors are related, nearest first. */
export type Relation = 'same' | 'sibling' | 'cluster' | 'package' | 'remote';

export interface WakePair {
  /** Signals. */
  from: number;
  /** Waits. */
  to: number;
  relation: Relation;
}

/**
 * Log-linear: 256 buckets an octave above 256 ps. Each bucket is [lowest value in ns, count], ascending, empty
 * ones left out; a bucket ends where the next index begins (see histogram.ts).
 */
export interface WakeHistogram {
  count: number;
  min_ns: number;
  max_ns: number;
  sum_ns: number;
  buckets: [number, number][];
}

/** Of all samples. A percentile that fewer than ten samples stand above is null, except the maximum. */
export interface WakePercentiles {
  count: number;
  p50: number | null;
  p90: number | null;
  p99: number | null;
  p99_9: number | null;
  p99_99: number | null;
  max: number | null;
}

/** One mechanism, pair and idle time, over all rounds. */
export interface WakeCell {
  mechanism: string;
  from: number;
  to: number;
  /** Time between the waiter going to wait and the signal. 0: the signal follows at once. */
  idle_ns: number;
  /** oneway: store to first instruction after the wait. roundtrip: there and back, both sides waiting so. */
  mode: 'oneway' | 'roundtrip';
  /** Idle time that really was, median. */
  idled_ns: number | null;
  latency: WakePercentiles;
  /** One a round: what changes from round to round is the machine, and confidence is drawn from it. */
  rounds: WakeHistogram[];
  /** The samples of `rounds` that were marked as disturbed, again, by themselves. */
  disturbed: WakeHistogram;
  /** Why they were marked; one sample may have several reasons. */
  marks: { preempted: number; migrated: number; stolen: number; signaller: number };
  /** Signals that were due while the waiter had not yet come back from the one before. */
  overrun: number;
  /** Cost of signal() to the producer, in this cell: of a sleeper, or of whatever the waiter was. */
  signal: WakePercentiles;
  signal_rounds: WakeHistogram[];
  wakes: {
    waits: number;
    signalled: number;
    deadline: number;
    os_limit: number;
    spurious: number;
    /** A bound ended the wait and work had been there before: a lost wake. */
    late_found_work: number;
  };
  /** Processor time of the waiter per second of waiting; null: not known for this mechanism. */
  cpu_s_per_s: number | null;
  /** Energy of the package per second, where RAPL is readable. */
  joules_per_s: number | null;
}

export interface WakeSignal {
  mechanism: string;
  from: number;
  to: number;
  /** A store and a signal() to an awake consumer, and the store alone; medians of each round. */
  signal_ns: number[];
  store_ns: number[];
}

export interface WakeFloor {
  from: number;
  to: number;
  /** 2: a line each way, each with one writer, as mechanisms have them. 1: both sides write the same. */
  lines: 1 | 2;
  rounds: WakeHistogram[];
  roundtrip: WakePercentiles;
}

export interface WakeNoise {
  /** Over the whole run, per measured processor; null: not readable here. */
  cpus: {
    cpu: number;
    involuntary_switches: number;
    steal_ms: number | null;
    interrupts: number | null;
    smi: number | null;
    frequency_mhz: number | null;
    /** C-state name to share of the run, 0 to 1. */
    residency: Record<string, number> | null;
  }[];
}

export interface WakeEnergy {
  available: boolean;
  /** Available: which domain was read; else: why not. */
  reason: string;
}
