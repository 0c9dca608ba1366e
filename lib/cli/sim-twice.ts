// The first schedules by two processes, before the search begins: what a program asks of the world
// outside (the time, chance, where things lie in memory) makes the two differ, and nothing that is
// found after that could be replayed.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Plan } from '../manifest/plan.js';
import { type Divergence, divergence } from '../planning/divergence.js';
import { unsteadyCalls } from '../planning/imports.js';
import { policyBuildOf } from '../planning/policy-build.js';

/** Of a few schedules, one is enough where a program looks at a clock at all. */
const SCHEDULES = 20;
/** The exit code of a process that found something. */
const FOUND = 1;

export interface Twice extends Divergence {
  /** In a sentence. */
  readonly what: string;
  /** What the programs call that could be the reason. */
  readonly calls: readonly string[];
}

export interface Schedules {
  readonly program: string;
  /** The file that has the system. */
  readonly system: string;
  readonly folder: string;
  readonly seed: number;
  readonly first: number;
  readonly count: number;
}

/** Undefined: both did the same, as far as they went. */
export async function twice(plan: Plan, schedules: Schedules): Promise<Twice | undefined> {
  const asked = plan.shards.filter(({ programKind }) => programKind === 'native');
  if (asked.length === 0) return undefined;
  const logs = ['first.log', 'second.log'].map((name) => join(schedules.folder, name));
  // What cannot begin says so when the search does.
  for (const log of logs) if (!(await ran(schedules, log))) return undefined;
  const [first = '', second = ''] = logs.map((log) => readFileSync(log, 'utf8'));
  const found = divergence(
    first,
    second,
    asked.map(({ name }) => name),
  );
  if (found === undefined) return undefined;
  const files = asked.filter(({ name }) => found.shards.includes(name)).map(policyBuildOf);
  const calls = [...new Set(files.flatMap(unsteadyCalls))].sort();
  return { ...found, calls, what: said(found, files, calls, schedules.seed) };
}

// Whatever it finds: if both find the same, the search will find it, too.
function ran({ program, system, seed, first, count }: Schedules, log: string): Promise<boolean> {
  const args = [system, '--seed', String(seed), '--first', String(first)];
  args.push('--schedules', String(Math.min(count, SCHEDULES)), '--log', log);
  return new Promise((resolve) => {
    execFile(program, args, (error) => resolve(error === null || error.code === FOUND));
  });
}

function said(
  { schedule, step, lines, shards }: Divergence,
  files: readonly string[],
  calls: readonly string[],
  seed: number,
): string {
  const names = [...new Set(files.map((file) => basename(file)))].join(', ');
  const reason =
    calls.length > 0
      ? `It calls ${calls.join(', ')}.`
      : 'It calls nothing that tells the time or draws numbers, so look for addresses that are compared or hashed, memory that was never written, and the counter of the processor.';
  return `shard ${shards.join(' or ')} (${names}) does not do the same in two runs of seed ${seed}: at step ${step} of schedule ${schedule} "${lines[0]}", then "${lines[1]}". ${reason} The time is now_ns of its API, and numbers by chance come from a seed in its options.`;
}
