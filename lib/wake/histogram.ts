// The histogram of the report: log-linear as HDR histograms are, 256 buckets an octave, so that a value
// read back is at most 0.2 % from the one recorded. It counts in picoseconds, since a signal costs less
// than a nanosecond; below 256 ps each has its own bucket.
import type { WakeHistogram, WakePercentiles } from './result.js';

const SUB_BITS = 8;
const SUB = 1 << SUB_BITS;
/** Picoseconds beyond which whole numbers are no longer exact: 2.5 hours. */
const MAX_PS = Number.MAX_SAFE_INTEGER;
/** Samples that must stand above a percentile for it to mean anything. */
const LEAST_ABOVE = 10;

/** Bucket of a whole number of picoseconds. */
export function bucketOf(ps: number): number {
  if (ps < SUB) return ps;
  // log2 may round up just below a power of two; the index comes out the same.
  const shift = Math.floor(Math.log2(ps)) - SUB_BITS;
  return (shift << SUB_BITS) + Math.floor(ps / 2 ** shift);
}

/** The least picosecond of a bucket; the greatest is one below the next bucket's least. */
export function bucketLow(index: number): number {
  if (index < SUB) return index;
  const shift = (index >> SUB_BITS) - 1;
  return (index - (shift << SUB_BITS)) * 2 ** shift;
}

export class LatencyHistogram {
  #counts = new Map<number, number>();
  #count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;
  #sum = 0;

  static of(values: Iterable<number>): LatencyHistogram {
    const histogram = new LatencyHistogram();
    for (const ns of values) histogram.record(ns);
    return histogram;
  }

  static fromJSON(json: WakeHistogram): LatencyHistogram {
    const histogram = new LatencyHistogram();
    for (const [lowNs, n] of json.buckets) {
      const index = bucketOf(picoseconds(lowNs));
      histogram.#counts.set(index, (histogram.#counts.get(index) ?? 0) + n);
      histogram.#count += n;
    }
    if (histogram.#count > 0) {
      histogram.#min = picoseconds(json.min_ns);
      histogram.#max = picoseconds(json.max_ns);
      histogram.#sum = Math.round(json.sum_ns * 1000);
    }
    return histogram;
  }

  /** All of them in one. */
  static merged(parts: Iterable<LatencyHistogram | WakeHistogram>): LatencyHistogram {
    const whole = new LatencyHistogram();
    for (const part of parts) {
      whole.merge(part instanceof LatencyHistogram ? part : LatencyHistogram.fromJSON(part));
    }
    return whole;
  }

  get count(): number {
    return this.#count;
  }
  get minNs(): number {
    return this.#count > 0 ? this.#min / 1000 : 0;
  }
  get maxNs(): number {
    return this.#max / 1000;
  }
  get meanNs(): number {
    return this.#count > 0 ? this.#sum / this.#count / 1000 : 0;
  }

  /** A latency below 0 is the error of the skew between two clocks, and counts as 0. */
  record(ns: number, times = 1): void {
    const ps = picoseconds(ns);
    const index = bucketOf(ps);
    this.#counts.set(index, (this.#counts.get(index) ?? 0) + times);
    this.#count += times;
    this.#sum += ps * times;
    if (ps < this.#min) this.#min = ps;
    if (ps > this.#max) this.#max = ps;
  }

  merge(other: LatencyHistogram): void {
    for (const [index, n] of other.#counts) {
      this.#counts.set(index, (this.#counts.get(index) ?? 0) + n);
    }
    this.#count += other.#count;
    this.#sum += other.#sum;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
  }

  /** The middle of each bucket in ns and its count, ascending. */
  *entries(): Generator<[number, number]> {
    for (const [index, n] of this.#sorted()) {
      yield [(bucketLow(index) + bucketLow(index + 1) - 1) / 2000, n];
    }
  }

  /** Nanoseconds at quantile `q` (0 to 1), as the middle of its bucket; undefined when empty. */
  quantile(q: number): number | undefined {
    if (this.#count === 0) return undefined;
    const rank = rankOf(q, this.#count);
    if (rank === this.#count) return this.maxNs;
    let seen = 0;
    for (const [index, n] of this.#sorted()) {
      seen += n;
      if (seen >= rank) {
        const middle = (bucketLow(index) + bucketLow(index + 1) - 1) / 2;
        return Math.min(Math.max(middle, this.#min), this.#max) / 1000;
      }
    }
    return this.maxNs;
  }

  /** The median, also of few samples; undefined when empty. */
  median(): number | undefined {
    return this.quantile(0.5);
  }

  /**
   * The median as a clock with ticks of `tickNs` leaves it: each value stands for all that would have been read
   * as it, so that two medians differ by what the samples differ, not by a whole tick or none.
   */
  smoothMedian(tickNs: number): number | undefined {
    const width = Math.max(tickNs * 1000, 1);
    const values = this.#sorted().map(([index, n]) => ({
      middle: (bucketLow(index) + bucketLow(index + 1) - 1) / 2,
      n,
    }));
    const below = (ps: number): number =>
      values.reduce(
        (sum, { middle, n }) => sum + n * Math.min(1, Math.max(0, (ps - middle) / width + 0.5)),
        0,
      );
    if (this.#count === 0) return undefined;
    let [low, high] = [this.#min - width, this.#max + width];
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (below(middle) * 2 < this.#count) low = middle;
      else high = middle;
    }
    return Math.max(0, high) / 1000;
  }

  /** A percentile that fewer than ten samples stand above would be chance: null. */
  percentiles(): WakePercentiles {
    const at = (q: number): number | null =>
      this.#count - rankOf(q, this.#count) < LEAST_ABOVE ? null : (this.quantile(q) ?? null);
    return {
      count: this.#count,
      p50: at(0.5),
      p90: at(0.9),
      p99: at(0.99),
      p99_9: at(0.999),
      p99_99: at(0.9999),
      max: this.#count > 0 ? this.maxNs : null,
    };
  }

  toJSON(): WakeHistogram {
    return {
      count: this.#count,
      min_ns: this.minNs,
      max_ns: this.maxNs,
      sum_ns: this.#sum / 1000,
      buckets: this.#sorted().map(([index, n]) => [bucketLow(index) / 1000, n]),
    };
  }

  #sorted(): [number, number][] {
    return [...this.#counts].sort(([a], [b]) => a - b);
  }
}

function picoseconds(ns: number): number {
  if (Number.isNaN(ns)) throw new RangeError('a latency that is no number');
  return Math.min(Math.max(0, Math.round(ns * 1000)), MAX_PS);
}

// 1 to count: how many samples are at or below the quantile.
function rankOf(q: number, count: number): number {
  // 0.9999 * 100000 is a hair above 99990.
  return Math.min(count, Math.max(1, Math.ceil(q * count - 1e-6)));
}
