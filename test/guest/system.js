// For jobs in JavaScript: a system in a process of its own, its counters while it runs, its report when it has ended.
import { spawn } from 'node:child_process';
import { findSystems, openSystem, summarize } from '../../dist/index.js';
import { equal, MAIN } from './harness.js';

const START_MS = 120_000; // on an emulated machine that has others beside it

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `test` is true; false when it took longer than `ms`. */
export async function until(test, ms = 30_000) {
  for (const end = Date.now() + ms; !(await test()); ) {
    if (Date.now() > end) return false;
    await sleep(100);
  }
  return true;
}

export class RunningSystem {
  /** `settings` are those of --set. */
  constructor(name, manifest, settings) {
    const flags = settings.flatMap((setting) => ['--set', setting]);
    this.name = name;
    this.over = false;
    this.out = '';
    this.child = spawn(process.execPath, [MAIN, 'run', manifest, '--quiet', '--json', ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      this.out += text;
    });
    this.ended = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        this.over = true;
        resolve(signal ?? code);
      });
    });
  }

  /** Its counters now; undefined while it has none. */
  stats() {
    if (!this.segment) {
      const found = findSystems().find(({ name, live }) => live && name === this.name);
      if (!found) return undefined;
      try {
        this.segment = openSystem(found);
      } catch (error) {
        if (error.code === 'VANITY_E_SEGMENT_BOOTING') return undefined;
        throw error;
      }
    }
    return summarize(this.segment.read());
  }

  async started() {
    const runs = () => this.over || this.stats()?.state === 'running';
    if ((await until(runs, START_MS)) && !this.over) return;
    throw new Error(`${this.name} did not start: ${this.out}`);
  }

  async report() {
    await this.ended;
    return JSON.parse(this.out);
  }

  /** Ends it in order; its report. */
  async stop() {
    this.child.kill('SIGTERM');
    return await this.report();
  }
}

/** What must hold of every system that has ended in order. */
export function checkEnd(report) {
  const { system, state, lost, failures, pools } = report;
  equal(
    `${system}: ended well, nothing lost`,
    { state, lost, failures },
    {
      state: 'stopped',
      lost: 0,
      failures: [],
    },
  );
  for (const [name, { taken, returned, leaked }] of Object.entries(pools)) {
    equal(`${system}: all buffers of ${name} are home`, [returned, leaked], [taken, 0]);
  }
}
