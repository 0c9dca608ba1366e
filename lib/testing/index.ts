/**
 * Tests of a system of your own: the same manifest on this machine, and in the simulator under many
 * schedules. For ava, `node:test` and whatever else takes a thrown error for a failure.
 *
 * @packageDocumentation
 */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VanityError } from '../errors.js';
import { brokenClaim, parseClaim } from '../planning/claims.js';
import type { Summary } from '../report/summary.js';

/** What both ways take; each leaves alone what only the other knows. */
export interface TestOptions {
  /** Overrides of the manifest, as `--set`: `shards.left.program=./left.so`. */
  readonly set?: readonly string[];
  /**
   * What must hold of counters when it has stopped in order, here and after each schedule:
   * `sampler.sampled = table.records + table.refused`. Sums of `SHARD.COUNTER`, numbers and
   * `2 * SHARD.COUNTER`, with `=`, `!=`, `<`, `<=`, `>` or `>=` between the sides and spaces between
   * the words. A counter is `received`, `sent`, `consumed`, `filtered`, `dropped`, `bytes`, or one of
   * the program's own.
   */
  readonly holds?: readonly string[];
  /** How long it runs natively: `500ms`, `2s`; 1s. */
  readonly duration?: string;
  /** Executions in the simulator; 1000. */
  readonly schedules?: number;
  /** Of the schedules; fresh each time. */
  readonly seed?: number;
  /** Packets that come to each receive queue and source of a schedule; 24. */
  readonly packets?: number;
  /** Processes that share the schedules; 1. */
  readonly jobs?: number;
  /** Where a failure of the simulator is kept; `NAME.repro` in the working directory. */
  readonly keep?: string;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/** What ran and went well. */
export interface TestResult {
  readonly mode: 'native' | 'sim';
  readonly system: string;
  /** Every counter at the end; of `native`. */
  readonly summary?: Summary;
  /** Of `sim`. */
  readonly schedules?: number;
  /** Of `sim`: what all schedules took together. */
  readonly steps?: number;
  /** Of `sim`. */
  readonly seed?: number;
}

/** One of the two ways: `native` or `sim`. Its name is for the title of a test. */
export type TestMode = (manifest: string, options?: TestOptions) => Promise<TestResult>;

/** What was found, and how to see it again. */
export class SystemFailure extends Error {
  /** By which runners know that a test failed, and did not break. */
  readonly code = 'ERR_ASSERTION';
  readonly mode: TestResult['mode'];
  /** Of `sim`: `order`, `race`, `lost wake`, `broken`, `diverges`, ..; of `native`: `failed`. */
  readonly verdict: string;
  /** The file for `vanity sim --replay`, where one was kept. */
  readonly repro: string | undefined;
  readonly seed: number | undefined;

  /** @internal */
  constructor(mode: TestResult['mode'], verdict: string, message: string, kept: Kept = {}) {
    super(message);
    this.name = 'SystemFailure';
    this.mode = mode;
    this.verdict = verdict;
    this.repro = kept.repro;
    this.seed = kept.seed;
  }
}

interface Kept {
  readonly repro?: string | undefined;
  readonly seed?: number | undefined;
}

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const DURATION = '1s';
const SCHEDULES = 1000;
/** Those of every shard that a claim may name. */
const COUNTERS = new Set(['received', 'sent', 'consumed', 'filtered', 'dropped', 'bytes']);

/**
 * Runs the system on this machine, each shard a thread that Linux puts where it likes, and stops it in
 * order after a while. Throws {@link SystemFailure} when a shard failed or a buffer did not come home, and
 * VanityError when it could not begin.
 */
export async function native(manifest: string, options: TestOptions = {}): Promise<TestResult> {
  const { set = [], holds = [], duration = DURATION, signal } = options;
  const said = await vanity(
    ['run', manifest, '--sim', 'threads', '--duration', duration, '--quiet', ...overrides(set)],
    signal,
  );
  const summary = said as unknown as Summary;
  const [first] = summary.failures;
  if (first !== undefined || summary.state === 'failed') {
    const all = summary.failures.map(({ code, message }) => `${code}: ${message}`);
    const message = [`${summary.system} fails on this machine:`, ...all].join('\n  ');
    throw new SystemFailure('native', 'failed', message);
  }
  for (const text of holds) {
    const broken = brokenClaim(parseClaim(text, Object.keys(summary.shards)), valueIn(summary));
    if (broken === undefined) continue;
    const message = `${summary.system} runs on this machine, but ${broken}`;
    throw new SystemFailure('native', 'order', message);
  }
  return { mode: 'native', system: summary.system, summary };
}

/**
 * Runs the system in the simulator, under many schedules; native modules in their policy build. Throws
 * {@link SystemFailure} with the first that goes wrong, made short and kept, and VanityError when it could
 * not begin.
 */
export async function sim(manifest: string, options: TestOptions = {}): Promise<TestResult> {
  const {
    set = [],
    holds = [],
    schedules = SCHEDULES,
    seed,
    packets,
    jobs,
    keep,
    signal,
  } = options;
  const args = ['sim', manifest, '--schedules', String(schedules), ...overrides(set)];
  for (const claim of holds) args.push('--holds', claim);
  for (const [name, value] of Object.entries({ seed, packets, jobs, keep }))
    if (value !== undefined) args.push(`--${name}`, String(value));
  const said = (await vanity(args, signal)) as unknown as Simulated;
  const { system, failure } = said;
  if (failure !== undefined) throw failureOf(said, failure);
  return { mode: 'sim', system, schedules: said.schedules, steps: said.steps, seed: said.seed };
}

interface Simulated {
  readonly system: string;
  readonly verdict: string;
  readonly seed: number;
  readonly schedules: number;
  readonly steps: number;
  readonly failure?: Found;
}

interface Found {
  readonly what?: string;
  readonly memory?: string;
  readonly schedule?: number;
  readonly steps?: number;
  readonly repro?: string;
}

function failureOf({ system, verdict, seed }: Simulated, found: Found): SystemFailure {
  const repro = found.repro ? resolve(found.repro) : undefined;
  const memory = found.memory === undefined ? '' : `, ${found.memory} memory`;
  const lines = [`${system} goes wrong in the simulator: ${verdict}${memory}: ${found.what ?? ''}`];
  if (repro !== undefined) {
    lines.push(`Schedule ${found.schedule}, ${found.steps} steps when made short. To see it:`);
    lines.push(`npx vanity sim --replay ${repro} --perfetto trace.json`);
  }
  lines.push(`The same schedules again: seed: ${seed}`);
  return new SystemFailure('sim', verdict, lines.join('\n  '), { repro, seed });
}

function valueIn({ shards }: Summary) {
  return (name: string, counter: string): number | undefined => {
    const shard = shards[name] ?? {};
    const user = (shard.user ?? {}) as Record<string, unknown>;
    const value = COUNTERS.has(counter) ? shard[counter] : user[counter];
    return value === undefined ? undefined : Number(value);
  };
}

function overrides(set: readonly string[]): string[] {
  return set.flatMap((text) => ['--set', text]);
}

/** The object that a command prints. Throws what it reports as an error. */
async function vanity(args: readonly string[], signal?: AbortSignal): Promise<object> {
  const child = spawn(process.execPath, [MAIN, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal === undefined ? {} : { signal }),
  });
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    output += part;
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    errors += part;
  });
  const how = await new Promise<string>((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, ended) => done(ended ?? `exit code ${code}`));
  });
  let said: { error?: object; errors?: readonly { message: string }[] };
  try {
    said = JSON.parse(output) as typeof said;
  } catch {
    const problem = `vanity ${args[0]} ended with ${how}: ${errors || output}`;
    throw new VanityError('VANITY_E_INTERNAL', { problem });
  }
  const { error, errors: all } = said;
  if (error === undefined) return said;
  // A manifest may have several.
  if (all === undefined) throw VanityError.from(error);
  throw VanityError.from({ ...error, message: all.map(({ message }) => message).join('\n') });
}
