// What a run says in few numbers, and what they must reach. Every ratio is made of visits that stood next to
// one another: one of each pair and round, and of those the median. A machine that changes changes both sides.
import type { Figure } from '../text/figures.js';
import { time } from '../text/format.js';
import { LatencyHistogram } from './histogram.js';
import { wakeDefaults } from './limits.js';
import { median } from './median.js';
import { nearest } from './nearest.js';
import type { WakeCell, WakeHistogram, WakeReport } from './result.js';

/** The one table of targets. */
export const wakeTargets = {
  spinOverFloor: 1.1,
  futexOverRaw: 1.05,
  signalOverStoreNs: 3,
  adaptiveWithin: 1.2,
  adaptiveBeyond: 1.1,
  atomicsOverFutex: 1.3,
  lateFoundWork: 0,
  spinSpreadPercent: 10,
} as const;

/** Idle time at which a sleeper is really asleep. */
const ASLEEP_NS = 100_000;

/** Share of a latency that a tick may be before it is told of. */
const COARSE = 0.05;

type Measurements = Pick<
  WakeReport,
  'cells' | 'signals' | 'floors' | 'noise' | 'host' | 'clock' | 'mechanisms'
>;

interface Series {
  from: number;
  to: number;
  rounds: readonly WakeHistogram[];
}

export function figuresOf(report: Measurements): { figures: Figure[]; notes: string[] } {
  const oneway = (mechanism: string, idleNs: number): WakeCell[] =>
    report.cells.filter(
      (c) => c.mode === 'oneway' && c.mechanism === mechanism && c.idle_ns === idleNs,
    );
  const tick = report.clock.tick_ns;
  const ratio = (above: readonly Series[], below: readonly Series[]): number | undefined =>
    ratioOf(above, below, tick);
  const figures: Figure[] = [];
  const notes: string[] = [];
  const upTo = (name: string, value: number | undefined, unit: string, most: number): void => {
    if (value === undefined) return;
    figures.push({ name, value, unit, target: `<= ${most}`, met: value <= most });
  };
  const idles = [...new Set(report.cells.map((cell) => cell.idle_ns))].sort((a, b) => a - b);
  const asleep = idles.find((ns) => ns >= ASLEEP_NS);

  const overFloor = (lines: 1 | 2): number | undefined =>
    twice(
      ratio(
        oneway('spin', 0),
        report.floors.filter((floor) => floor.lines === lines),
      ),
    );
  upTo(
    'spin one-way p50 / half the one-line floor, idle 0',
    overFloor(1),
    'x',
    wakeTargets.spinOverFloor,
  );
  const overTwo = overFloor(2);
  if (overTwo !== undefined) {
    figures.push({
      name: 'spin one-way p50 / half the two-line floor, idle 0',
      value: overTwo,
      unit: 'x',
      target: null,
      met: null,
    });
  }
  if (asleep !== undefined) {
    const at = `idle ${time0(asleep)}`;
    upTo(
      `futex p50 / raw-futex p50, ${at}`,
      ratio(oneway('futex', asleep), oneway('raw-futex', asleep)),
      'x',
      wakeTargets.futexOverRaw,
    );
  }
  upTo(
    'signal() to an awake consumer over the plain store, futex',
    signalOverStore(report, 'futex'),
    'ns',
    wakeTargets.signalOverStoreNs,
  );
  for (const idle of idles) {
    const within = idle <= wakeDefaults.adaptiveSpinNs;
    const beside = within ? 'spin' : 'futex';
    upTo(
      `adaptive p50 / ${beside} p50, idle ${time0(idle)} (spins ${time0(wakeDefaults.adaptiveSpinNs)})`,
      ratio(oneway('adaptive', idle), oneway(beside, idle)),
      'x',
      within ? wakeTargets.adaptiveWithin : wakeTargets.adaptiveBeyond,
    );
  }
  const late = report.cells.reduce((sum, cell) => sum + cell.wakes.late_found_work, 0);
  if (report.cells.length > 0) {
    figures.push({
      name: 'waits that a bound ended and that then found work (late_found_work)',
      value: late,
      unit: 'waits',
      target: `= ${wakeTargets.lateFoundWork}`,
      met: late === wakeTargets.lateFoundWork,
    });
  }

  const least = Math.min(
    ...report.cells.filter((c) => c.mode === 'oneway').flatMap((c) => c.latency.p50 ?? []),
  );
  if (tick > least * COARSE) {
    notes.push(
      `The clock ticks every ${tick.toFixed(1)} ns: single latencies and percentiles near ${least.toFixed(0)} ns are known to no less; ratios and spreads are interpolated between ticks.`,
    );
  }

  const spinIdle = idles.find((ns) => oneway('spin', ns).length > 0);
  if (spinIdle !== undefined) {
    const spread = spreadPercent(oneway('spin', spinIdle), tick);
    const most = wakeTargets.spinSpreadPercent;
    upTo(`spin one-way p50, spread over rounds, idle ${time0(spinIdle)}`, spread, '%', most);
    if (spread !== undefined && spread > most) notes.push(whySpread(report, spread));
  }

  if (asleep !== undefined) {
    const value = ratio(oneway('atomics', asleep), oneway('futex', asleep));
    if (value !== undefined) {
      figures.push({
        name: `atomics p50 / futex p50, idle ${time0(asleep)}`,
        value,
        unit: 'x',
        target: `expected >= ${wakeTargets.atomicsOverFutex}`,
        met: null,
      });
    }
  }
  const shown = nearest(idles, wakeDefaults.mapIdleNs);
  for (const { name } of report.mechanisms) {
    if (shown === undefined) break;
    const cells = oneway(name, shown);
    const value = merged(cells).median();
    if (value === undefined) continue;
    figures.push({
      name: `${name} one-way p50, idle ${time0(shown)}`,
      value,
      unit: 'ns',
      target: null,
      met: null,
    });
  }
  return { figures, notes };
}

function time0(ns: number): string {
  return ns === 0 ? '0' : time(ns).replace('.0 ', ' ');
}

function twice(value: number | undefined): number | undefined {
  return value === undefined ? undefined : 2 * value;
}

function merged(series: readonly Series[], round?: number): LatencyHistogram {
  return LatencyHistogram.merged(
    series.flatMap(({ rounds }) => (round === undefined ? rounds : (rounds[round] ?? []))),
  );
}

/**
 * Median over pairs and rounds of p50 over p50; undefined when nothing has both. There and back count as one: the
 * error of a skew makes one direction longer by what it makes the other shorter.
 */
function ratioOf(
  above: readonly Series[],
  below: readonly Series[],
  tickNs: number,
): number | undefined {
  const both = above.flatMap((a) => {
    const b = below.find(({ from, to }) => from === a.from && to === a.to);
    return b ? [{ a, b, pair: [a.from, a.to].sort((x, y) => x - y).join() }] : [];
  });
  const rounds = Math.max(0, ...both.map(({ a }) => a.rounds.length));
  const ratios = [...new Set(both.map(({ pair }) => pair))].flatMap((pair) =>
    Array.from({ length: rounds }, (_, round) => {
      let [over, under] = [0, 0];
      for (const { a, b } of both.filter((one) => one.pair === pair)) {
        const [x, y] = [a, b].map((series) => merged([series], round).smoothMedian(tickNs));
        if (x === undefined || y === undefined) continue;
        over += x;
        under += y;
      }
      return under > 0 ? [over / under] : [];
    }).flat(),
  );
  return median(ratios);
}

/** Nanoseconds that signal() takes over a plain store, its consumer awake: median over pairs and rounds. */
export function signalOverStore(
  { signals }: Pick<WakeReport, 'signals'>,
  mechanism: string,
): number | undefined {
  return median(
    signals
      .filter((signal) => signal.mechanism === mechanism)
      .flatMap(({ signal_ns, store_ns }) =>
        signal_ns.flatMap((ns, round) => {
          const store = store_ns[round];
          return store === undefined ? [] : [ns - store];
        }),
      ),
  );
}

/** Of the rounds' medians: (greatest - least) / median, in percent. Pairs are added up: the error of a skew cancels. */
function spreadPercent(series: readonly Series[], tickNs: number): number | undefined {
  const rounds = Math.max(0, ...series.map((s) => s.rounds.length));
  const values = Array.from({ length: rounds }, (_, round) => {
    const medians = series.map((pair) => merged([pair], round).smoothMedian(tickNs));
    return medians.includes(undefined)
      ? []
      : [medians.reduce<number>((sum, ns) => sum + (ns ?? 0), 0)];
  }).flat();
  const middle = median(values);
  if (values.length < 2 || !middle) return undefined;
  return (100 * (Math.max(...values) - Math.min(...values))) / middle;
}

// Only what was measured in this run, or read from this host, is given as a reason.
function whySpread({ floors, noise, host, clock }: Measurements, spread: number): string {
  const reasons: string[] = [];
  const floor = spreadPercent(
    floors.filter(({ lines }) => lines === 1),
    clock.tick_ns,
  );
  if (floor !== undefined && floor > wakeTargets.spinSpreadPercent) {
    reasons.push(
      `the bare floor between the same processors moved by ${floor.toFixed(0)} %, so the machine changed`,
    );
  }
  const sum = (pick: (cpu: (typeof noise.cpus)[number]) => number | null): number =>
    noise.cpus.reduce((all, cpu) => all + (pick(cpu) ?? 0), 0);
  const steal = sum((cpu) => cpu.steal_ms);
  if (steal > 0) reasons.push(`the hypervisor took ${steal.toFixed(0)} ms from these processors`);
  const switches = sum((cpu) => cpu.involuntary_switches);
  if (switches > 0) {
    reasons.push(`other threads took a processor from a measuring thread ${switches} times`);
  }
  const smi = sum((cpu) => cpu.smi);
  if (smi > 0) reasons.push(`the firmware interrupted ${smi} times (SMI)`);
  const governor = host.advice.find((row) => row.name === 'governor');
  if (governor) reasons.push(`the governor "${governor.found}" changes the frequency`);
  if (host.hypervisor !== null) {
    reasons.push(
      `this is a virtual machine (${host.hypervisor}): where its processors really run may change unseen`,
    );
  }
  const why = reasons.length > 0 ? reasons.join('; ') : 'nothing that was measured explains it';
  return `The p50 of spin differs by ${spread.toFixed(0)} % between rounds: ${why}.`;
}
