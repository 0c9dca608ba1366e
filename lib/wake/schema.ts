// The shape of result.ts as a schema: what `vanity report` accepts, and what is published for others who
// read reports. TypeScript holds the two together.
import * as z from 'zod';
import { WAKE_FORMAT, WAKE_VERSION, type WakeReport } from './result.js';

const count = z.int().min(0);
const cpu = z.int().min(0).max(65_535);
const nonNegative = z.number().min(0);
const text = z.string();

const histogram = z
  .strictObject({
    count,
    min_ns: nonNegative,
    max_ns: nonNegative,
    sum_ns: nonNegative,
    buckets: z.array(z.tuple([nonNegative, z.int().min(1)])),
  })
  .refine(
    ({ count: all, buckets }) =>
      buckets.reduce((sum, [, n]) => sum + n, 0) === all &&
      buckets.every(([low], i) => i === 0 || low > (buckets[i - 1]?.[0] ?? 0)),
    { error: 'a histogram whose buckets are not ascending or do not add up to its count' },
  );

const percentiles = z.strictObject({
  count,
  p50: nonNegative.nullable(),
  p90: nonNegative.nullable(),
  p99: nonNegative.nullable(),
  p99_9: nonNegative.nullable(),
  p99_99: nonNegative.nullable(),
  max: nonNegative.nullable(),
});

const pair = { from: cpu, to: cpu };

const cell = z.strictObject({
  mechanism: text,
  ...pair,
  idle_ns: nonNegative,
  mode: z.enum(['oneway', 'roundtrip']),
  idled_ns: nonNegative.nullable(),
  latency: percentiles,
  rounds: z.array(histogram),
  disturbed: histogram,
  marks: z.strictObject({ preempted: count, migrated: count, stolen: count, signaller: count }),
  overrun: count,
  signal: percentiles,
  signal_rounds: z.array(histogram),
  wakes: z.strictObject({
    waits: count,
    signalled: count,
    deadline: count,
    os_limit: count,
    spurious: count,
    late_found_work: count,
  }),
  cpu_s_per_s: nonNegative.nullable(),
  joules_per_s: nonNegative.nullable(),
});

const doctorRow = z.strictObject({
  name: text,
  status: z.enum(['ok', 'warn', 'missing']),
  found: text,
  why: text,
  fix: text.nullable(),
});

export const wakeReportSchema = z.strictObject({
  format: z.literal(WAKE_FORMAT),
  version: z.literal(WAKE_VERSION),
  created: z.iso.datetime(),
  vanity: text,
  complete: z.boolean(),
  elapsed_s: nonNegative,
  options: z.strictObject({
    quick: z.boolean(),
    rounds: z.int().min(1),
    seed: count,
    idles_ns: z.array(nonNegative),
    mechanisms: z.array(text),
    pairs: z.array(z.tuple([cpu, cpu])),
    samples: z.int().min(1).nullable(),
    budget_s: nonNegative,
  }),
  host: z.strictObject({
    name: text,
    processor: text,
    architecture: text,
    kernel: text,
    node: text,
    hypervisor: text.nullable(),
    cpus: z.array(
      z.strictObject({
        id: cpu,
        core: z.int(),
        package: z.int(),
        node: z.int(),
        siblings: z.array(cpu),
        isolated: z.boolean(),
      }),
    ),
    advice: z.array(doctorRow),
  }),
  clock: z.strictObject({
    source: text,
    ticks_per_second: z.number().positive(),
    error_ppm: nonNegative,
    invariant: z.boolean(),
    tick_ns: nonNegative,
    read_ns: nonNegative,
    skews: z.array(z.strictObject({ ...pair, offset_ns: z.number(), error_ns: nonNegative })),
  }),
  mechanisms: z.array(
    z.strictObject({
      name: text,
      kind: z.enum(['backend', 'path', 'reference']),
      about: text,
      usable: z.boolean(),
      reason: text,
    }),
  ),
  pairs: z.array(
    z.strictObject({
      ...pair,
      relation: z.enum(['same', 'sibling', 'cluster', 'package', 'remote']),
    }),
  ),
  cells: z.array(cell),
  signals: z.array(
    z.strictObject({
      mechanism: text,
      ...pair,
      signal_ns: z.array(nonNegative),
      store_ns: z.array(nonNegative),
    }),
  ),
  floors: z.array(
    z.strictObject({
      ...pair,
      lines: z.literal([1, 2]),
      rounds: z.array(histogram),
      roundtrip: percentiles,
    }),
  ),
  noise: z.strictObject({
    cpus: z.array(
      z.strictObject({
        cpu,
        involuntary_switches: count,
        steal_ms: nonNegative.nullable(),
        interrupts: count.nullable(),
        smi: count.nullable(),
        frequency_mhz: nonNegative.nullable(),
        residency: z.record(text, nonNegative).nullable(),
      }),
    ),
  }),
  energy: z.strictObject({ available: z.boolean(), reason: text }),
  figures: z.array(
    z.strictObject({
      name: text,
      value: z.number(),
      unit: text,
      target: text.nullable(),
      met: z.boolean().nullable(),
    }),
  ),
  notes: z.array(text),
}) satisfies z.ZodType<WakeReport>;

/** JSON Schema of a report, as published in schema/. */
export function wakeJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(wakeReportSchema, { target: 'draft-2020-12' });
  return { title: 'Report of vanity bench wake', ...(schema as Record<string, unknown>) };
}
