// The arithmetic of the segment's histograms: values below 8 exactly, above that 8 buckets an octave.

const SUB_BITS = 3;
const SUB = 1 << SUB_BITS;

/** Buckets a full histogram of 64-bit values has. */
export const BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS;

/** The least value that falls into bucket `index`. */
export function bucketLow(index: number): number {
  return index < SUB ? index : (SUB + (index % SUB)) * 2 ** (Math.floor(index / SUB) - 1);
}

/** The greatest whole value that falls into bucket `index`. */
export function bucketHigh(index: number): number {
  return index < SUB ? index : bucketLow(index) + 2 ** (Math.floor(index / SUB) - 1) - 1;
}

/** Bucket of a whole value below 2^53. */
export function bucketOf(value: number): number {
  if (value < SUB) return value;
  const octave = Math.floor(Math.log2(value));
  // log2 may round up just below a power of two.
  const exact = 2 ** octave > value ? octave - 1 : octave;
  const sub = Math.floor(value / 2 ** (exact - SUB_BITS)) % SUB;
  return ((exact - SUB_BITS + 1) << SUB_BITS) + sub;
}

/** Counts per bucket, as read from a segment. */
export class Histogram {
  readonly counts: readonly number[];
  readonly total: number;

  constructor(counts: readonly number[]) {
    this.counts = counts;
    this.total = counts.reduce((sum, n) => sum + n, 0);
  }

  /** What was recorded since `earlier`. */
  since(earlier: Histogram): Histogram {
    return new Histogram(this.counts.map((n, i) => Math.max(0, n - (earlier.counts[i] ?? 0))));
  }

  /**
   * The bucket that holds the quantile `q` (0..1], as its least and greatest value; the true value
   * lies between them, at most 12.5 % apart. Undefined when nothing was recorded.
   */
  quantile(q: number): { low: number; high: number } | undefined {
    if (this.total === 0) return undefined;
    const rank = Math.max(1, Math.ceil(q * this.total));
    let seen = 0;
    for (let i = 0; i < this.counts.length; i++) {
      seen += this.counts[i] ?? 0;
      if (seen >= rank) return { low: bucketLow(i), high: bucketHigh(i) };
    }
    return undefined;
  }

  /** The sum of all values, each taken as the middle of its bucket. */
  estimatedSum(): number {
    return this.counts.reduce((sum, n, i) => sum + n * ((bucketLow(i) + bucketHigh(i)) / 2), 0);
  }
}
