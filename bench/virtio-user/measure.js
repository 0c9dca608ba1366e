// What all measurements here have in common.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export const BURST = 32;
export const RING = 1024;
/** How long a rate is taken for, after both ends have been at work for a while. */
export const WINDOW_MS = 1500;
const SETTLE_MS = 500;

/** Of a Vanity port, and what testpmd is told of its own. */
export const kindOf = ({ packed }) => (packed ? 'packed' : 'split');

export async function until(what, limitMs, test) {
  const end = performance.now() + limitMs;
  for (;;) {
    const found = await test();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await sleep(20);
  }
}

export const settle = () => sleep(SETTLE_MS);

// Of all threads of a process, by the scheduler's own clock: what /proc/PID/stat says is a guess by ticks, which
// whoever wakes with the tick loses.
function cpuSeconds(pid) {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce(
    (sum, task) =>
      sum + Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e9,
    0,
  );
}

/** The share of one core that a process takes, from 0 on. */
export async function cpuShare(pid, ms) {
  const before = cpuSeconds(pid);
  const from = performance.now();
  await sleep(ms);
  return ((cpuSeconds(pid) - before) * 1000) / (performance.now() - from);
}

/** Cycles a second: of the clock that x86 calls TSC, near enough; undefined where Linux shows none. */
export function cyclesPerSecond() {
  const line = readFileSync('/proc/cpuinfo', 'utf8').match(/cpu MHz\s*:\s*([\d.]+)/);
  return line ? Number(line[1]) * 1e6 : undefined;
}
