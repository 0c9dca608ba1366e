// vanity top: a live view of a running system, from outside of it.
import { VanityError } from '../errors.js';
import type { Segment, Snapshot } from '../telemetry/segment.js';
import { chooseSystem, openSystem } from '../telemetry/systems.js';
import { parseDuration } from '../text/format.js';
import { note, print, wantsColor } from './output.js';
import { render, type SortKey } from './top-view.js';

export interface TopOptions {
  once?: boolean;
  sort: string;
  interval: string;
}

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const SORTS: readonly SortKey[] = ['pps', 'busy', 'name'];
const KEYS: Record<string, SortKey> = { p: 'pps', b: 'busy', n: 'name' };
/** A kernel turns many times a second; one that was silent for so long is stuck or gone. */
const SILENT_NS = 2_000_000_000n;

export async function topCommand(name: string | undefined, options: TopOptions): Promise<number> {
  const sort = SORTS.find((key) => key === options.sort);
  if (!sort) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `--sort must be one of ${SORTS.join(', ')}; it is "${options.sort}"`,
    });
  }
  const interval = parseDuration(options.interval, '--interval');
  const found = chooseSystem(name, 'top');
  const segment = openSystem(found);
  // What is in an archive does not change: its whole life is shown, as of a system that has ended.
  if (found.archive) return still(segment, sort);
  if (options.once || !process.stdout.isTTY || !process.stdin.isTTY) {
    return once(segment, sort, interval);
  }
  return live(segment, sort, interval);
}

// Two looks one interval apart, since rates need two; a system that has ended shows its whole life.
async function once(segment: Segment, sort: SortKey, interval: number): Promise<number> {
  const first = segment.read();
  const running = first.system.state === 'running';
  if (running) await new Promise((resolve) => setTimeout(resolve, interval));
  const size = { columns: process.stdout.columns ?? 200, rows: Number.POSITIVE_INFINITY };
  const options = { sort, color: wantsColor(process.stdout), silentNs: silence(segment) };
  print(...render(running ? first : undefined, segment.read(), size, options));
  return 0;
}

function still(segment: Segment, sort: SortKey): number {
  const size = { columns: process.stdout.columns ?? 200, rows: Number.POSITIVE_INFINITY };
  const options = { sort, color: wantsColor(process.stdout), silentNs: undefined };
  print(...render(undefined, segment.read(), size, options));
  return 0;
}

function live(segment: Segment, start: SortKey, interval: number): Promise<number> {
  const { stdout, stdin } = process;
  const color = wantsColor(stdout);
  let sort = start;
  let previous: Snapshot | undefined;
  let current = segment.read();
  const draw = (): void => {
    const lines = render(
      previous,
      current,
      { columns: stdout.columns, rows: stdout.rows },
      { sort, color, silentNs: silence(segment), keys: true },
    );
    // Each line is cleared to its end as it is written; the screen never flashes.
    stdout.write(`\u001b[H${lines.map((line) => `${line}\u001b[K`).join('\r\n')}\u001b[J`);
  };
  return new Promise((resolve) => {
    const end = (message?: string): void => {
      clearInterval(timer);
      stdout.off('resize', draw);
      stdin.off('data', key);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, quit);
      stdin.setRawMode(false);
      stdin.pause();
      stdout.write(LEAVE);
      if (message) note(message);
      resolve(0);
    };
    const quit = (): void => end();
    const key = (data: Buffer): void => {
      for (const pressed of data.toString('latin1')) {
        if (pressed === 'q' || pressed === '\u0003') {
          end();
          return;
        }
        const chosen = KEYS[pressed];
        if (chosen) {
          sort = chosen;
          draw();
        }
      }
    };
    const turn = (): void => {
      previous = current;
      current = segment.read();
      const { name, state } = current.system;
      if (state === 'stopped' || state === 'failed') end(`${name} has ended: ${state}`);
      else if (!alive(segment.pid)) end(`${name} is gone: process ${segment.pid} no longer exists`);
      else draw();
    };
    const timer = setInterval(turn, interval);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, quit);
    stdout.on('resize', draw);
    stdin.setRawMode(true);
    stdin.resume();
    stdin.on('data', key);
    stdout.write(ENTER);
    turn();
  });
}

// How long the kernel has been silent, when that is too long to be chance.
function silence(segment: Segment): number | undefined {
  if (segment.state() !== 'running') return undefined;
  const ns = process.hrtime.bigint() - segment.heartbeatNs();
  return ns > SILENT_NS ? Number(ns) : undefined;
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process exists all the same.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
