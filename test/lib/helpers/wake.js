// A small report of `vanity bench wake`, made by hand: what its readers have to cope with.
import { LatencyHistogram } from '../../../dist/wake/histogram.js';

/** Latencies around `ns`, the same each time. */
export function around(ns, count = 100) {
  return LatencyHistogram.of(
    Array.from({ length: count }, (_, i) => ns * (0.9 + (0.2 * i) / count)),
  );
}

/** A cell; `p50` of each round. */
export function cell(mechanism, idle_ns, p50s, more = {}) {
  const rounds = p50s.map((ns) => around(ns));
  const signals = p50s.map(() => around(50));
  return {
    mechanism,
    from: 0,
    to: 1,
    idle_ns,
    mode: 'oneway',
    idled_ns: idle_ns,
    latency: LatencyHistogram.merged(rounds).percentiles(),
    rounds: rounds.map((r) => r.toJSON()),
    disturbed: new LatencyHistogram().toJSON(),
    marks: { preempted: 0, migrated: 0, stolen: 0, signaller: 0 },
    overrun: 0,
    signal: LatencyHistogram.merged(signals).percentiles(),
    signal_rounds: signals.map((r) => r.toJSON()),
    wakes: { waits: 0, signalled: 0, deadline: 0, os_limit: 0, spurious: 0, late_found_work: 0 },
    cpu_s_per_s: mechanism === 'spin' ? 1 : 0.1,
    joules_per_s: null,
    ...more,
  };
}

export function floor(p50s, more = {}) {
  const rounds = p50s.map((ns) => around(ns));
  return {
    from: 0,
    to: 1,
    lines: 1,
    rounds: rounds.map((r) => r.toJSON()),
    roundtrip: LatencyHistogram.merged(rounds).percentiles(),
    ...more,
  };
}

export function wakeReport(more = {}) {
  const mechanism = (name, kind, usable = true) => ({
    name,
    kind,
    about: `about ${name}`,
    usable,
    reason: usable ? 'always there' : 'this processor does not have it',
  });
  const cpu = (id) => ({ id, core: id, package: 0, node: 0, siblings: [id], isolated: false });
  const noise = (id) => ({
    cpu: id,
    involuntary_switches: 3,
    steal_ms: 10,
    interrupts: 1000,
    smi: null,
    frequency_mhz: null,
    residency: null,
  });
  return {
    format: 'vanity-wake',
    version: 1,
    created: '2026-01-02T03:04:05.678Z',
    vanity: '0.1.0',
    complete: true,
    elapsed_s: 9.5,
    options: {
      quick: true,
      rounds: 3,
      seed: 1,
      idles_ns: [0, 100_000],
      mechanisms: ['spin', 'futex', 'raw-futex'],
      pairs: [[0, 1]],
      samples: null,
      budget_s: 10,
    },
    host: {
      name: 'lab',
      processor: 'A processor',
      architecture: 'x64',
      kernel: '6.1.0',
      node: 'v20.19.0',
      hypervisor: null,
      cpus: [cpu(0), cpu(1)],
      advice: [],
    },
    clock: {
      source: 'TSC, measured 2000.000 MHz',
      ticks_per_second: 2e9,
      error_ppm: 0.1,
      invariant: true,
      tick_ns: 0.5,
      read_ns: 12,
      skews: [{ from: 0, to: 1, offset_ns: 2, error_ns: 100 }],
    },
    mechanisms: [
      mechanism('waitpkg-c01', 'backend', false),
      mechanism('spin', 'backend'),
      mechanism('futex', 'backend'),
      mechanism('raw-futex', 'reference'),
    ],
    pairs: [{ from: 0, to: 1, relation: 'cluster' }],
    cells: [
      cell('spin', 0, [100, 102, 101]),
      cell('spin', 100_000, [110, 111, 112]),
      cell('futex', 0, [5000, 5100, 5050]),
      cell('futex', 100_000, [6000, 6100, 6050]),
      cell('raw-futex', 0, [5000, 5000, 5000]),
      cell('raw-futex', 100_000, [6000, 6000, 6000]),
    ],
    signals: [
      { mechanism: 'futex', from: 0, to: 1, signal_ns: [1.5, 1.6, 1.7], store_ns: [0.5, 0.5, 0.5] },
    ],
    floors: [floor([190, 195, 200])],
    noise: { cpus: [noise(0), noise(1)] },
    energy: { available: false, reason: 'no powercap' },
    figures: [],
    notes: [],
    ...more,
  };
}
