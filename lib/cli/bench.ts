// vanity bench: builds a bench of the source tree when it is missing or old, runs it, prints its figures.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VanityError } from '../errors.js';
import { type Figure, figureLines } from '../text/figures.js';
import { table } from '../text/table.js';
import { note, print, printJson } from './output.js';

export interface BenchOptions {
  rounds?: string;
  reloads?: number;
  quick?: boolean;
  json?: boolean;
}

/** What every bench reports: the figures, and beside them the samples they were made from. */
export interface BenchReport {
  figures: Figure[];
  [samples: string]: unknown;
}

/** A module of bench/ exports `run` of this type. */
export type RunBench = (options: {
  rounds: number | undefined;
  reloads: number | undefined;
  quick: boolean;
  /** Progress, to stderr. */
  log: (text: string) => void;
}) => Promise<BenchReport>;

type Bench = { about: string } & (
  | { /** CMake target of bench/native. */ target: string }
  | { /** File of bench/. */ module: string }
  | { /** Part of the package, with a command of its own. */ command: true }
);

// To add a bench, add a line here; bench/README.md says what it has to print.
const BENCHES: Readonly<Record<string, Bench>> = {
  channel: {
    about: 'channels and doorbells beside the machine floor and the peers that are installed',
    target: 'channel_bench',
  },
  events: {
    about: 'what an event costs a shard that is traced, and one that is not',
    target: 'events_bench',
  },
  'flow-split': {
    about: 'a looping capture through two shards, beside testpmd on the same capture',
    module: 'flow-split.js',
  },
  forecast: {
    about: 'what `vanity sim` foretells of flow-split on this machine, and what it measures',
    module: 'forecast.js',
  },
  'guest-forward': {
    about: 'packets through two NICs of a virtual machine, beside testpmd on the same NICs',
    module: 'guest-forward.js',
  },
  isolation: {
    about: 'a shard that is a process of its own, beside one that is a thread',
    module: 'isolation.js',
  },
  memory: {
    about: 'growth of the resident set while running, and the size of the segment',
    module: 'memory.js',
  },
  reload: {
    about:
      'a module replaced again and again under a million packets a second: pauses, losses, order',
    module: 'reload.js',
  },
  typescript: {
    about: 'a TypeScript shard taking and giving bursts, beside MessagePort',
    module: 'typescript/index.js',
  },
  vector: {
    about:
      'the two loops of a virtqueue that vector instructions could do, and what they would save',
    target: 'vector_bench',
  },
  'virtio-user': {
    about: 'virtqueues over a vhost-user socket, beside the driver of DPDK on the same back-end',
    module: 'virtio-user.js',
  },
  watchdog: {
    about: 'how long after its deadline a program that stalls is left',
    module: 'watchdog.js',
  },
  wake: {
    about: 'how long a wake takes, by every mechanism this host has; has its own flags: --help',
    command: true,
  },
};

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BUILD = join(ROOT, '.cache', 'bench');

export async function benchCommand(
  name: string | undefined,
  options: BenchOptions,
): Promise<number> {
  const names = Object.keys(BENCHES);
  if (name === undefined) {
    const list = Object.entries(BENCHES).map(([key, { about }]) => ({ name: key, about }));
    if (options.json) printJson({ benches: list });
    else {
      print(
        ...table(
          [{ title: 'bench' }, { title: 'measures' }],
          list.map((bench) => [bench.name, bench.about]),
        ),
      );
    }
    return 0;
  }
  const bench = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (!bench || 'command' in bench) {
    throw new VanityError('VANITY_E_BENCH_UNKNOWN', {
      name,
      hint: `Type: vanity bench ${names[0]} (there is: ${names.join(', ')})`,
    });
  }
  if (options.reloads !== undefined && name !== 'reload') {
    throw new VanityError('VANITY_E_USAGE', { problem: '--reloads is for: vanity bench reload' });
  }
  const rounds = options.rounds === undefined ? undefined : parseRounds(options.rounds);
  const path = join(ROOT, 'bench');
  if (!existsSync(path)) throw new VanityError('VANITY_E_BENCH_SOURCES', { path });

  let report: unknown;
  if ('target' in bench) {
    report = await runNative(name, bench.target, rounds, options.quick === true);
  } else {
    const { run } = (await import(join(path, bench.module))) as { run: RunBench };
    report = await run({
      rounds,
      reloads: options.reloads,
      quick: options.quick === true,
      log: (text) => note(text),
    });
  }
  if (!isReport(report)) {
    throw new VanityError('VANITY_E_BENCH_FAILED', { name, problem: 'it reported no figures' });
  }
  if (options.json) printJson(report);
  else print(...figureLines(report.figures));
  for (const text of Array.isArray(report.notes) ? report.notes : []) note(`note: ${text}`);
  return 0;
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 10_000) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `--rounds must be a whole number from 1 to 10000; it is "${text}"`,
    });
  }
  return rounds;
}

async function runNative(
  name: string,
  target: string,
  rounds: number | undefined,
  quick: boolean,
): Promise<unknown> {
  note(`building ${target} in ${BUILD}`);
  const fail = (problem: string): never => {
    throw new VanityError('VANITY_E_BENCH_FAILED', { name, problem });
  };
  const configured = ['-S', ROOT, '-B', BUILD, '-DCMAKE_BUILD_TYPE=Release', '-DVANITY_BENCH=ON'];
  // A compiler's many lines matter only when it fails.
  for (const args of [configured, ['--build', BUILD, '--target', target, '--parallel', '2']]) {
    const { code, output } = await execute('cmake', args, true).catch((error: Error) =>
      fail(`cmake does not run (${error.message}); install it: apt-get install cmake g++`),
    );
    if (code !== 0) {
      note(output);
      fail(`cmake ${args[0] === '--build' ? 'build' : 'configuration'} ended with ${code}`);
    }
  }
  const args = ['--json', ...(quick ? ['--quick'] : [])];
  if (rounds !== undefined) args.push('--rounds', String(rounds));
  const { code, output } = await execute(join(BUILD, target), args, false);
  if (code !== 0) fail(`${target} ended with ${code}`);
  try {
    return JSON.parse(output);
  } catch {
    return fail(`${target} did not print JSON`);
  }
}

// Its stderr is progress and goes to ours; or, for a build, joins the output.
function execute(
  command: string,
  args: readonly string[],
  both: boolean,
): Promise<{ code: number | string; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', both ? 'pipe' : 'inherit'] });
    const parts: Buffer[] = [];
    child.stdout?.on('data', (part: Buffer) => parts.push(part));
    child.stderr?.on('data', (part: Buffer) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve({ code: code ?? signal ?? 'a signal', output: Buffer.concat(parts).toString() });
    });
  });
}

function isReport(value: unknown): value is BenchReport {
  const figures = (value as Partial<BenchReport> | null)?.figures;
  return Array.isArray(figures) && figures.every((f) => typeof f?.name === 'string');
}
