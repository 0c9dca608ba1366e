/**
 * Two runs side by side. What varies from round to round within a run is the machine, so a difference
 * counts only when it is larger than that:
 *
 * - the standard error of a quantile comes from a bootstrap: rounds are drawn with replacement, then the
 *   samples within them; with few rounds it is too small by (n - 1) / n, which is put back;
 * - the confidence interval of the ratio, and its p, are Student's with the degrees of freedom that the
 *   rounds give (Welch);
 * - hundreds of figures are compared, so p is adjusted (Benjamini-Hochberg);
 * - and the ratio must lie beyond what any single round deviated from its own run.
 */
import { bucketLow, bucketOf } from '../../wake/histogram.js';
import { type Random, random } from '../../wake/random.js';
import type { Relation, WakeCell, WakeHistogram, WakeReport } from '../../wake/result.js';
import { falseDiscovery, median, normal, quantileOfT, tailOfT, variance } from './statistics.js';
import { key } from './view.js';

export type Verdict =
  | 'slower'
  | 'faster'
  /** No difference larger than the noise. */
  | 'same'
  /** A run of one round does not know its noise. */
  | 'unknown';

export interface WakeChange {
  before_ns: number;
  after_ns: number;
  /** After over before. */
  ratio: number;
  /** Confidence interval of the ratio; null when it is unknown. */
  low: number | null;
  high: number | null;
  /** The ratio, or one over it, must be beyond this. */
  noise: number;
  /** Adjusted for the number of figures compared; null when it is unknown. */
  p: number | null;
  verdict: Verdict;
}

export type CellName = Pick<WakeCell, 'mechanism' | 'from' | 'to' | 'idle_ns' | 'mode'>;

export interface ComparedCell extends CellName {
  relation: Relation | null;
  /** Null where one of the runs has too few samples for it. */
  p50: WakeChange | null;
  p99: WakeChange | null;
}

export interface WakeComparison {
  before: RunName;
  after: RunName;
  method: {
    confidence: number;
    resamples: number;
    seed: number;
    adjustment: 'Benjamini-Hochberg';
    false_discovery_rate: number;
  };
  /** Figures (p50 and p99 of every cell that both runs have) by verdict. */
  figures: Record<Verdict, number>;
  cells: ComparedCell[];
  only_before: CellName[];
  only_after: CellName[];
  /** What makes the two runs less comparable. */
  warnings: string[];
}

export interface RunName {
  host: string;
  processor: string;
  kernel: string;
  vanity: string;
  created: string;
}

export interface CompareOptions {
  seed?: number;
  resamples?: number;
}

const CONFIDENCE = 0.95;
const FALSE_DISCOVERIES = 0.05;
const RESAMPLES = 400;

export function compareWake(
  before: WakeReport,
  after: WakeReport,
  { seed = 1, resamples = RESAMPLES }: CompareOptions = {},
): WakeComparison {
  const next = random(seed);
  const relations = new Map(after.pairs.map((p) => [`${p.from}>${p.to}`, p.relation]));
  const earlier = new Map(before.cells.map((cell) => [key(cell), cell]));
  const later = new Set(after.cells.map(key));
  const ticks = [before.clock.tick_ns, after.clock.tick_ns] as const;

  const pending: { change: WakeChange; p: number }[] = [];
  const cells = after.cells.flatMap((cell): ComparedCell[] => {
    const old = earlier.get(key(cell));
    if (!old) return [];
    const runs = [new Run(old.rounds, ticks[0]), new Run(cell.rounds, ticks[1])] as const;
    const drawn = runs.map((run) => run.resample(resamples, next));
    const change = (name: 'p50' | 'p99', q: number): WakeChange | null => {
      const [from, to] = [old.latency[name], cell.latency[name]];
      if (from === null || to === null || !(from > 0) || !(to > 0)) return null;
      const estimates = runs.map((run, i) => run.estimate(q, drawn[i] ?? []));
      const { result, p } = judge(from, to, estimates);
      if (p !== null) pending.push({ change: result, p });
      return result;
    };
    return [
      {
        ...name(cell),
        relation: relations.get(`${cell.from}>${cell.to}`) ?? null,
        p50: change('p50', 0.5),
        p99: change('p99', 0.99),
      },
    ];
  });

  const adjusted = falseDiscovery(pending.map(({ p }) => p));
  pending.forEach(({ change }, i) => {
    const p = adjusted[i] ?? 1;
    const size = Math.max(change.ratio, 1 / change.ratio);
    change.p = p;
    if (p > FALSE_DISCOVERIES || size <= change.noise) change.verdict = 'same';
    else change.verdict = change.ratio > 1 ? 'slower' : 'faster';
  });

  const figures: Record<Verdict, number> = { slower: 0, faster: 0, same: 0, unknown: 0 };
  for (const { p50, p99 } of cells) {
    for (const change of [p50, p99]) if (change) figures[change.verdict]++;
  }
  return {
    before: runName(before),
    after: runName(after),
    method: {
      confidence: CONFIDENCE,
      resamples,
      seed,
      adjustment: 'Benjamini-Hochberg',
      false_discovery_rate: FALSE_DISCOVERIES,
    },
    figures,
    cells,
    only_before: before.cells.filter((cell) => !later.has(key(cell))).map(name),
    only_after: after.cells.filter((cell) => !earlier.has(key(cell))).map(name),
    warnings: warnings(before, after, figures),
  };
}

interface Estimate {
  rounds: number;
  /** Of the logarithm of the quantile. */
  variance: number;
  /** The farthest that a round is from the median of the rounds, as a logarithm. */
  deviation: number;
  /** What cannot be told apart: a tick, a bucket; as a logarithm. */
  resolution: number;
}

function judge(
  before: number,
  after: number,
  estimates: readonly Estimate[],
): { result: WakeChange; p: number | null } {
  const difference = Math.log(after / before);
  const resolution = Math.max(...estimates.map((e) => e.resolution));
  const noise = Math.exp(Math.max(resolution, ...estimates.map((e) => e.deviation)));
  const base = { before_ns: before, after_ns: after, ratio: after / before, noise };
  if (estimates.some(({ rounds }) => rounds < 2)) {
    return { result: { ...base, low: null, high: null, p: null, verdict: 'unknown' }, p: null };
  }
  // A value that always falls into the same bucket varies at least within it.
  const rounding = resolution ** 2 / 12;
  const parts = estimates.map((e) => ({ of: e.variance + rounding, freedom: e.rounds - 1 }));
  const whole = parts.reduce((sum, { of }) => sum + of, 0);
  const freedom = whole ** 2 / parts.reduce((sum, { of, freedom: own }) => sum + of ** 2 / own, 0);
  const error = Math.sqrt(whole);
  const reach = quantileOfT(1 - CONFIDENCE, freedom) * error;
  return {
    result: {
      ...base,
      low: Math.exp(difference - reach),
      high: Math.exp(difference + reach),
      p: null,
      verdict: 'same',
    },
    p: tailOfT(difference / error, freedom),
  };
}

// The rounds of one cell, so that quantiles of any mixture of them are found fast.
class Run {
  /** Lowest values of all buckets, ascending; and per round the samples up to each. */
  readonly #values: readonly number[];
  readonly #seen: readonly Float64Array[];
  readonly #tick: number;

  constructor(rounds: readonly WakeHistogram[], tick: number) {
    const filled = rounds.filter(({ count }) => count > 0);
    const values = [...new Set(filled.flatMap(({ buckets }) => buckets.map(([low]) => low)))];
    this.#values = values.sort((a, b) => a - b);
    this.#tick = tick;
    const place = new Map(this.#values.map((value, i) => [value, i]));
    this.#seen = filled.map(({ buckets }) => {
      const seen = new Float64Array(this.#values.length);
      for (const [low, n] of buckets) seen[place.get(low) ?? 0] = n;
      for (let i = 1; i < seen.length; i++) seen[i] = (seen[i] ?? 0) + (seen[i - 1] ?? 0);
      return seen;
    });
  }

  /** Draws of as many rounds as there are: how often each, and a normal number for the samples within. */
  resample(times: number, next: Random): { weights: number[]; z: number }[] {
    const { length } = this.#seen;
    return Array.from({ length: times }, () => {
      const weights = new Array<number>(length).fill(0);
      for (let i = 0; i < length; i++) {
        const round = Math.floor(next() * length);
        weights[round] = (weights[round] ?? 0) + 1;
      }
      return { weights, z: normal(next) };
    });
  }

  estimate(q: number, drawn: readonly { weights: number[]; z: number }[]): Estimate {
    const rounds = this.#seen.length;
    const logs = drawn.map(({ weights, z }) => {
      const count = weights.reduce((sum, w, r) => sum + w * (this.#seen[r]?.at(-1) ?? 0), 0);
      // The quantile of n samples drawn from a mixture is the mixture's at a rank that varies by this much.
      const rank = q + z * Math.sqrt((q * (1 - q)) / count);
      return Math.log(this.#quantile(weights, rank * count));
    });
    const each = this.#seen.map((seen, r) => {
      const alone = this.#seen.map((_, i) => (i === r ? 1 : 0));
      return Math.log(this.#quantile(alone, q * (seen.at(-1) ?? 0)));
    });
    const middle = median(each) ?? 0;
    const value = Math.exp(middle);
    const bucket = bucketOf(Math.max(1, Math.round(value * 1000)));
    const width = (bucketLow(bucket + 1) - bucketLow(bucket)) / 1000;
    return {
      rounds,
      variance: rounds > 1 ? (variance(logs) * rounds) / (rounds - 1) : 0,
      deviation: Math.max(0, ...each.map((log) => Math.abs(log - middle))),
      resolution: Math.log1p((width + this.#tick) / value),
    };
  }

  #quantile(weights: readonly number[], rank: number): number {
    let [low, high] = [0, this.#values.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      let seen = 0;
      for (let r = 0; r < weights.length; r++) {
        const weight = weights[r] ?? 0;
        if (weight > 0) seen += weight * (this.#seen[r]?.[middle] ?? 0);
      }
      if (seen >= rank) high = middle;
      else low = middle + 1;
    }
    // Zero is a latency below the error of the skew.
    return Math.max(this.#values[low] ?? 0, 0.001);
  }
}

function name({ mechanism, from, to, idle_ns, mode }: WakeCell): CellName {
  return { mechanism, from, to, idle_ns, mode };
}

function runName({ host, vanity, created }: WakeReport): RunName {
  return { host: host.name, processor: host.processor, kernel: host.kernel, vanity, created };
}

function warnings(
  before: WakeReport,
  after: WakeReport,
  figures: Readonly<Record<Verdict, number>>,
): string[] {
  const found: string[] = [];
  const differ = (what: string, a: string, b: string): void => {
    if (a !== b) found.push(`The ${what} differs: ${a} before, ${b} after.`);
  };
  differ('host', before.host.name, after.host.name);
  differ('processor', before.host.processor, after.host.processor);
  differ('kernel', before.host.kernel, after.host.kernel);
  differ('hypervisor', before.host.hypervisor ?? 'none', after.host.hypervisor ?? 'none');
  for (const [report, which] of [
    [before, 'before'],
    [after, 'after'],
  ] as const) {
    if (!report.complete) found.push(`The run ${which} is incomplete.`);
    if (report.options.quick)
      found.push(`The run ${which} was a quick one: few samples, wide intervals.`);
  }
  if (figures.unknown > 0) {
    found.push('Cells of a single round are not judged: how far rounds vary is not known.');
  }
  return found;
}
