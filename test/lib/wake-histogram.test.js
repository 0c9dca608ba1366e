import test from 'ava';
import fc from 'fast-check';
import { bucketLow, bucketOf, LatencyHistogram } from '../../dist/wake/histogram.js';

const latencies = fc.array(
  fc.oneof(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.double({ min: 0, max: 1e4, noNaN: true }),
    fc.double({ min: 0, max: 1e10, noNaN: true }),
  ),
  { minLength: 1, maxLength: 300 },
);

test('every bucket begins where the one before ends, and holds what falls into it', (t) => {
  for (let index = 0; index < 256 * 45; index++) {
    t.is(bucketOf(bucketLow(index)), index);
    if (bucketOf(bucketLow(index + 1) - 1) !== index) t.fail(`the end of bucket ${index}`);
  }
  t.is(bucketOf(255), 255);
  t.is(bucketOf(256), 256);
  t.is(bucketLow(512), 512, 'the second octave begins');
  t.is(bucketLow(513), 514, 'and counts in twos');
});

test('a quantile is within 0.2 % of the sorted samples', (t) => {
  fc.assert(
    fc.property(latencies, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const sorted = [...values].sort((a, b) => a - b);
      const histogram = LatencyHistogram.of(values);
      const rank = Math.min(values.length, Math.max(1, Math.ceil(q * values.length - 1e-6)));
      const exact = sorted[rank - 1];
      t.true(Math.abs(histogram.quantile(q) - exact) <= exact * 0.002 + 0.001);
      t.is(histogram.count, values.length);
      t.true(Math.abs(histogram.minNs - sorted[0]) <= 0.0006 + sorted[0] * 1e-12);
      t.true(Math.abs(histogram.maxNs - sorted.at(-1)) <= 0.0006 + sorted.at(-1) * 1e-12);
    }),
  );
});

test('as JSON and back, and in parts and merged, it is the same', (t) => {
  fc.assert(
    fc.property(latencies, latencies, (first, second) => {
      const [a, b] = [LatencyHistogram.of(first), LatencyHistogram.of(second)];
      const both = LatencyHistogram.of([...first, ...second]).toJSON();
      const text = JSON.stringify(a);
      t.deepEqual(LatencyHistogram.fromJSON(JSON.parse(text)).toJSON(), a.toJSON());
      t.deepEqual(LatencyHistogram.merged([JSON.parse(text), b]).toJSON(), both);
    }),
  );
});

test('a percentile that fewer than ten samples stand above is null', (t) => {
  const of = (count) =>
    LatencyHistogram.of(Array.from({ length: count }, (_, i) => i)).percentiles();
  t.deepEqual(of(0), {
    count: 0,
    p50: null,
    p90: null,
    p99: null,
    p99_9: null,
    p99_99: null,
    max: null,
  });
  t.is(of(1).max, 0);
  for (const [key, enough] of [
    ['p50', 20],
    ['p90', 100],
    ['p99', 1000],
    ['p99_9', 10_000],
    ['p99_99', 100_000],
  ]) {
    t.is(of(enough - 1)[key], null, `${key} of ${enough - 1}`);
    t.not(of(enough)[key], null, `${key} of ${enough}`);
  }
});

test('below zero is the error of the clocks and counts as zero; what is no number is refused', (t) => {
  const histogram = LatencyHistogram.of([-3, 5]);
  t.is(histogram.minNs, 0);
  t.is(histogram.count, 2);
  t.is(histogram.meanNs, 2.5);
  t.throws(() => histogram.record(Number.NaN), { instanceOf: RangeError });
  t.is(LatencyHistogram.of([Number.POSITIVE_INFINITY]).count, 1);
});

test('the smooth median sees what a coarse clock hides', (t) => {
  const tick = 9.4;
  const read = (ns) => Math.floor(ns / tick) * tick;
  // The same spread, shifted by a third of a tick: the plain median moves by a tick or not at all.
  const of = (shift) =>
    LatencyHistogram.of(Array.from({ length: 3000 }, (_, i) => read(50 + shift + (i % 300) / 10)));
  const moved = of(3).smoothMedian(tick) - of(0).smoothMedian(tick);
  t.true(Math.abs(moved - 3) < 0.3, `${moved}`);
  t.is(new LatencyHistogram().smoothMedian(tick), undefined);
  // With a fine clock it is the median.
  fc.assert(
    fc.property(latencies, (values) => {
      const histogram = LatencyHistogram.of(values);
      const low = histogram.quantile(0.5 - 0.5 / values.length);
      const high = histogram.quantile(0.5 + 0.5 / values.length);
      const smooth = histogram.smoothMedian(0.001);
      t.true(smooth >= low * 0.995 - 0.002 && smooth <= high * 1.005 + 0.002, `${smooth}`);
    }),
  );
});
