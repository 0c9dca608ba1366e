// How late the alarm is: a program stalls again and again and counts for how long, until the watchdog has it left.
// What that is more than `progress_ms` is what the alarm, the order to leave and the way out took together.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { boot, loadManifest } from '../dist/index.js';
import { quantile } from './median.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const STALLS = 200;
const STALLS_QUICK = 20;
const PROGRESS_MS = 10;
const TARGET_MS = 1;
const KERNEL_CORE = 0;
const MANIFEST = `
[system]
name = "bench-watchdog"

[kernel]
core = ${KERNEL_CORE}

[shards.staller]
program = "staller.so"
core = 1
sleep_us_max = 500

[shards.staller.watchdog]
progress_ms = ${PROGRESS_MS}
on_progress = "restart"
backoff_ms = 0
max_restarts = 1000
`;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds = undefined, quick, log }) {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-watchdog-'));
  try {
    const args = ['-O2', '-shared', '-fPIC', '-I', file('../native/include')];
    const module = join(folder, 'staller.so');
    const { status, stderr, error } = spawnSync(
      'cc',
      [...args, '-o', module, file('./watchdog/staller.c')],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`cc: ${error?.message ?? stderr}`);
    writeFileSync(join(folder, 'watchdog.toml'), MANIFEST);
    return await measure(folder, rounds ?? (quick ? STALLS_QUICK : STALLS), log);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(folder, count, log) {
  const system = await boot(loadManifest(join(folder, 'watchdog.toml')).plan, { metrics: '' });
  const look = () => system.snapshot().shards[0];
  const late = [];
  try {
    while (look().user.stalled_ns === undefined) await sleep(1);
    let { restarts, user } = look();
    const end = performance.now() + count * 1000;
    while (late.length < count) {
      if (performance.now() > end)
        throw new Error(`${late.length} of ${count} stalls in ${count} s`);
      await sleep(2);
      if (look().restarts === restarts) continue;
      // The next stall is 20 ms away: whatever was read above while the last one ended is whole here.
      const now = look();
      const stalls = Number(now.restarts - restarts);
      const each = Number(now.user.stalled_ns - user.stalled_ns) / stalls / 1e6;
      // Two between two looks: their mean would hide the later one.
      if (stalls === 1) late.push(each - PROGRESS_MS);
      ({ restarts, user } = now);
      if (late.length % 50 === 0) log(`${late.length} of ${count} stalls`);
    }
  } finally {
    system.stop();
    await system.ended;
  }
  const sorted = [...late].sort((a, b) => a - b);
  const isolated = readFileSync('/sys/devices/system/cpu/isolated', 'utf8').trim();
  const figure = (name, value, target = null, met = null) => ({
    ...{ name, value, unit: 'ms', target, met },
  });
  const p50 = quantile(sorted, 0.5);
  const p99 = quantile(sorted, 0.99);
  return {
    figures: [
      figure('left later than its deadline, p50', p50, `<= ${TARGET_MS}`, p50 <= TARGET_MS),
      figure('left later than its deadline, p99', p99, `<= ${TARGET_MS}`, p99 <= TARGET_MS),
      figure('left later than its deadline, latest', sorted.at(-1)),
      figure('left earlier than its deadline, earliest', -sorted[0]),
    ],
    late_ms: late,
    notes:
      isolated === ''
        ? ['no core is isolated here: the kernel core is shared with whatever else runs']
        : [],
  };
}
