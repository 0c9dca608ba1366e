// vanity sim without a model: the shipping code of a whole system, under a scheduler that decides each
// step. Processes of native/sim/system do the work; this starts them, adds up, and says what was found.
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { VanityError } from '../errors.js';
import { findSimulator } from '../loader.js';
import { loadManifest, type Plan } from '../manifest/plan.js';
import { parseClaim } from '../planning/claims.js';
import { noPolicyBuild, policyBuildOf } from '../planning/policy-build.js';
import { SCALE, type Scale, systemText } from '../planning/sim-system.js';
import { parseDuration, quantity, whole } from '../text/format.js';
import { fail, note, print, printJson } from './output.js';
import type { SimOptions } from './sim.js';
import { type Twice, twice } from './sim-twice.js';

const SCHEDULES = 10_000;
const EXIT_INTERRUPTED = 130;

/** What a process says: how far it is, what it found, or why it could not begin. */
interface Said {
  readonly state: 'running' | 'done' | 'failed' | 'error';
  readonly schedules?: number;
  readonly steps?: number;
  readonly seconds?: number;
  readonly verdict?: string;
  readonly what?: string;
  readonly memory?: string;
  readonly schedule?: number;
  readonly decisions?: number;
  readonly repro?: string;
  readonly code?: string;
  readonly message?: string;
  readonly hint?: string;
}

interface Job {
  readonly child: ChildProcess;
  readonly over: Promise<void>;
  schedules: number;
  steps: number;
}

export async function simSystemCommand(
  file: string | undefined,
  options: SimOptions,
): Promise<number> {
  try {
    const program = findSimulator();
    if (options.replay !== undefined) return await replay(program, options.replay, options);
    if (file === undefined) throw usage('give a manifest, or --replay FILE');
    return await hunt(program, file, options);
  } catch (error) {
    return fail(error, options.json ?? false);
  }
}

function usage(problem: string): VanityError {
  return new VanityError('VANITY_E_USAGE', { problem });
}

async function hunt(program: string, file: string, options: SimOptions): Promise<number> {
  const { plan } = loadManifest(file, { set: options.set ?? [] });
  const shards = plan.shards.map(({ name }) => name);
  const claims = (options.holds ?? []).map((claim) => parseClaim(claim, shards));
  const text = systemText(plan, scaleOf(options), claims);
  const seconds = options.time === undefined ? 0 : parseDuration(options.time, '--time') / 1000;
  // A time without a number of schedules is all that bounds it.
  const schedules = options.schedules ?? (seconds === 0 ? SCHEDULES : undefined);
  const seed = seedOf(options.seed) ?? Math.floor(Math.random() * 2 ** 32);
  const jobs = Math.min(options.jobs ?? 1, schedules ?? Number.POSITIVE_INFINITY);
  if (options.log !== undefined && jobs > 1) throw usage('--log is written by one job: --jobs 1');
  const keep = options.keep ?? `${plan.name}.repro`;
  const folder = mkdtempSync(join(tmpdir(), 'vanity-sim-'));
  try {
    const system = join(folder, 'system');
    writeFileSync(system, text);
    const began = performance.now();
    const all = { program, system, folder, seed };
    const parted = await twice(plan, { ...all, first: 0, count: schedules ?? SCHEDULES });
    if (parted !== undefined) {
      reportParted(plan.name, options, seed, parted);
      return 1;
    }
    const found: Said[] = [];
    const running = Array.from({ length: jobs }, (_, job) => {
      const args = [system, '--seed', String(seed), '--first', String(job), '--stride', `${jobs}`];
      args.push('--keep', join(folder, `${job}.repro`));
      if (seconds > 0) args.push('--seconds', String(seconds));
      if (schedules !== undefined)
        args.push('--schedules', String(Math.ceil((schedules - job) / jobs)));
      if (options.log !== undefined) args.push('--log', options.log);
      return start(program, args, (said) => {
        found.push(said);
        for (const other of running) if (other.child !== running[job]?.child) other.child.kill();
      });
    });
    const interrupted = await finish(running, options);
    const error = found.find(({ state }) => state === 'error');
    if (error !== undefined) throw errorOf(error, plan);
    const failure = found.find(({ state }) => state === 'failed');
    if (failure?.verdict === 'diverges') {
      const again = { ...all, first: failure.schedule ?? 0, count: 1 };
      reportParted(plan.name, options, seed, (await twice(plan, again)) ?? failure);
      return 1;
    }
    const repro = failure?.repro === '' ? '' : keep;
    if (failure?.repro) keepFile(failure.repro, keep);
    report(plan.name, options, {
      seed,
      jobs,
      schedules: sum(running.map((job) => job.schedules)),
      steps: sum(running.map((job) => job.steps)),
      seconds: (performance.now() - began) / 1000,
      ...(failure === undefined ? {} : { failure: { ...failure, repro } }),
      interrupted,
    });
    if (failure !== undefined) return 1;
    return interrupted ? EXIT_INTERRUPTED : 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function replay(program: string, file: string, options: SimOptions): Promise<number> {
  const args = ['--replay', file];
  if (options.perfetto !== undefined) args.push('--perfetto', options.perfetto);
  if (options.log !== undefined) args.push('--log', options.log);
  const found: Said[] = [];
  const job = start(program, args, (said) => found.push(said));
  await finish([job], options);
  const [said] = found;
  if (said?.state === 'error') throw errorOf(said);
  if (options.json) printJson(said ?? { state: 'done', steps: job.steps });
  else if (said === undefined) print(`Nothing goes wrong in ${whole(job.steps)} steps.`);
  else print(...failureLines(said));
  return said === undefined ? 0 : 1;
}

/** Starts one; `tell` hears of what it found. */
function start(program: string, args: readonly string[], tell: (said: Said) => void): Job {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  let ended = false;
  lines.on('line', (line) => {
    const said = JSON.parse(line) as Said;
    if (said.state === 'failed' || said.state === 'error') tell(said);
    if (said.state === 'failed' || said.state === 'error' || said.state === 'done') ended = true;
    if (said.state === 'running' || said.state === 'done') {
      job.schedules = said.schedules ?? 0;
      job.steps = said.steps ?? 0;
    }
  });
  const over = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      // Without a last word: it was ended, or it broke.
      if (!ended && signal !== 'SIGTERM' && signal !== 'SIGINT')
        reject(
          new VanityError('VANITY_E_SIM_ENDED', { how: signal ?? `exit code ${String(code)}` }),
        );
      else resolve();
    });
  });
  const job: Job = { child, over, schedules: 0, steps: 0 };
  return job;
}

/** Waits for all of them. True: the user had enough first. */
async function finish(jobs: readonly Job[], options: SimOptions): Promise<boolean> {
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    for (const { child } of jobs) child.kill();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt);
  const shows = process.stderr.isTTY && !options.json;
  const shown = setInterval(() => {
    if (!shows) return;
    process.stderr.write(`\r${whole(sum(jobs.map(({ schedules }) => schedules)))} schedules `);
  }, 1000);
  try {
    await Promise.all(jobs.map(({ over }) => over));
  } finally {
    clearInterval(shown);
    if (shows) process.stderr.write('\r');
    for (const { child } of jobs) child.kill();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupt);
  }
  return interrupted;
}

interface Result {
  readonly seed: number;
  readonly jobs: number;
  readonly schedules: number;
  readonly steps: number;
  readonly seconds: number;
  readonly failure?: Said;
  readonly interrupted: boolean;
}

function report(name: string, options: SimOptions, result: Result): void {
  const { failure, interrupted, ...figures } = result;
  const speed = result.steps / result.seconds;
  if (options.json) {
    printJson({
      system: name,
      verdict: failure?.verdict ?? 'good',
      ...figures,
      steps_per_second: Math.round(speed),
      interrupted,
      ...(failure === undefined ? {} : { failure }),
    });
    return;
  }
  print(
    `${name}: ${whole(result.schedules)} schedules, ${whole(result.steps)} steps, ${quantity(speed, 'steps/s')}, seed ${result.seed}`,
  );
  if (failure === undefined) print('Nothing went wrong.');
  else print(...failureLines(failure));
  if (interrupted) note('Interrupted.');
}

/** Nothing is kept: it could not be replayed. */
function reportParted(name: string, options: SimOptions, seed: number, found: Said | Twice): void {
  if (options.json) {
    printJson({
      system: name,
      verdict: 'diverges',
      seed,
      failure: { verdict: 'diverges', ...found },
    });
  } else {
    print(`${name}: seed ${seed}`, `diverges: ${found.what ?? ''}`);
  }
}

function failureLines(said: Said): string[] {
  const first = `${said.verdict ?? ''}, ${said.memory ?? ''} memory: ${said.what ?? ''}`;
  if (said.repro === '')
    return [first, `Schedule ${whole(said.schedule ?? 0)}; its process left nothing to be kept.`];
  return [
    first,
    `Schedule ${whole(said.schedule ?? 0)}, ${whole(said.steps ?? 0)} steps when made short; kept as ${said.repro ?? ''}`,
    `To see it: vanity sim --replay ${said.repro ?? ''} --perfetto trace.json`,
  ];
}

function errorOf(said: Said, plan?: Plan): VanityError {
  const { code, message = '' } = said;
  if (code === 'VANITY_E_SIM_MODULE') {
    const modules = plan?.shards.filter(({ programKind }) => programKind === 'native') ?? [];
    for (const shard of modules) {
      const file = policyBuildOf(shard);
      if (!message.startsWith(`${file}: `)) continue;
      const problem = message.slice(file.length + 2);
      const compiled = !problem.includes('not compiled for');
      return noPolicyBuild(shard.name, file, problem, compiled ? said.hint : undefined);
    }
  }
  return VanityError.from({
    code: said.code ?? 'VANITY_E_INTERNAL',
    message: said.message ?? '',
    hint: said.hint ?? '',
  });
}

function scaleOf(options: SimOptions): Scale {
  const { packets, capacity, burst, buffers } = options;
  return {
    packets: packets ?? SCALE.packets,
    capacity: capacity === undefined ? SCALE.capacity : powerOfTwo(capacity),
    burst: burst ?? SCALE.burst,
    buffers: buffers ?? SCALE.buffers,
  };
}

function powerOfTwo(capacity: number): number {
  if (!Number.isInteger(Math.log2(capacity)))
    throw usage(`--capacity is a power of two; it is ${capacity}`);
  return capacity;
}

function seedOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seed = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(seed < 2 ** 32)) throw usage(`--seed is a whole number below 2^32; it is "${text}"`);
  return seed;
}

function keepFile(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    throw usage(`--keep ${to}: ${(error as Error).message}`);
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, one) => all + one, 0);
}
