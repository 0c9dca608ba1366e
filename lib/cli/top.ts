// vanity top: a live view of a running system, from outside of it, and of its last minute.
import { VanityError } from '../errors.js';
import type { Segment } from '../telemetry/segment.js';
import { chooseSystem, openSystem, processLives } from '../telemetry/systems.js';
import { parseDuration, time } from '../text/format.js';
import { type Moment, momentAt, step } from './moments.js';
import { note, print, wantsColor } from './output.js';
import { render, type Size, type SortKey } from './top-view.js';

export interface TopOptions {
  once?: boolean;
  sort: string;
  interval: string;
  at?: string;
}

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const SORTS: readonly SortKey[] = ['pps', 'busy', 'name'];
const KEYS: Record<string, SortKey> = { p: 'pps', b: 'busy', n: 'name' };
/** Looks back, or on. */
const SEEK: Record<string, number> = {
  '\u001b[D': -1,
  '\u001b[C': 1,
  '\u001b[B': -10,
  '\u001b[A': 10,
};
// biome-ignore lint/suspicious/noControlCharactersInRegex: what arrow keys send
const PRESSED = /\u001b\[[A-Z]|[\s\S]/g;
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
  const terminal = process.stdout.isTTY && process.stdin.isTTY && !options.once;
  const ended = found.archive || segment.state() !== 'running';
  const past = options.at === undefined ? undefined : momentAt(segment, options.at);
  if (terminal) return live(segment, sort, interval, past, ended);
  // Two looks one interval apart, since rates need two; a system that has ended shows its whole life.
  let shown = past;
  if (!shown) {
    const first = ended ? undefined : segment.read();
    if (first) await new Promise((resolve) => setTimeout(resolve, interval));
    shown = { previous: first, current: segment.read() };
  }
  const size = { columns: process.stdout.columns ?? 200, rows: Number.POSITIVE_INFINITY };
  print(...view(segment, shown, size, { sort, color: wantsColor(process.stdout), ended }));
  return 0;
}

function view(
  segment: Segment,
  moment: Moment,
  size: Size,
  options: { sort: SortKey; color: boolean; ended: boolean; keys?: boolean; paused?: boolean },
): string[] {
  const present = moment.number === undefined;
  const { ended, ...rest } = options;
  const behind = Number(segment.read().system.uptimeNs) - Number(moment.current.system.uptimeNs);
  return render(moment.previous, moment.current, size, {
    ...rest,
    silentNs: present && !ended ? silence(segment) : undefined,
    past: present ? undefined : `${time(behind)} ${ended ? 'before the end' : 'ago'}`,
  });
}

// `past`: where to begin; undefined: now. What has ended is a present that does not go on.
function live(
  segment: Segment,
  start: SortKey,
  interval: number,
  past: Moment | undefined,
  ended: boolean,
): Promise<number> {
  const { stdout, stdin } = process;
  const color = wantsColor(stdout);
  let sort = start;
  let now: Moment = { previous: undefined, current: segment.read() };
  // What is on the screen, while it is not the present as it goes on.
  let held = past;
  const draw = (): void => {
    const lines = view(
      segment,
      held ?? now,
      { columns: stdout.columns, rows: stdout.rows },
      { sort, color, ended, keys: true, paused: held !== undefined },
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
      for (const [pressed] of data.toString('latin1').matchAll(PRESSED)) {
        if (pressed === 'q' || pressed === '\u0003') {
          end();
          return;
        }
        sort = KEYS[pressed] ?? sort;
        if (pressed === ' ') held = held ? undefined : now;
        if (pressed === 'l') held = undefined;
        const steps = SEEK[pressed];
        if (steps !== undefined) held = step(segment, held ?? now, steps);
      }
      draw();
    };
    const turn = (): void => {
      if (!ended) now = { previous: now.current, current: segment.read() };
      const { name, state } = now.current.system;
      if (!ended && (state === 'stopped' || state === 'failed')) end(`${name} has ended: ${state}`);
      else if (!ended && !processLives(segment.pid))
        end(`${name} is gone: process ${segment.pid} no longer exists`);
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
