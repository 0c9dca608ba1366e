// How long a shard stands still while its program is replaced, and whether a packet is lost or comes out of order: a
// million packets a second through flow-split and two modules that are replaced in turn, hundreds of times. Each packet
// has a number in its flow; the last shard checks them. Modules are those of test/native/modules.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { boot, loadManifest, lostPackets } from '../dist/index.js';
import { figure } from './figure.js';
import { quantile } from './median.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const MODULES = ['numberer', 'checker', 'passer_1', 'passer_1b'];
const RELOADS = 300;
const RELOADS_QUICK = 20;
const TARGET_PPS = 1e6;
const TARGET_US = 100;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function build(folder) {
  for (const name of MODULES) {
    const args = ['-O2', '-shared', '-fPIC', '-I', file('../native/include')];
    const { status, stderr, error } = spawnSync(
      'cc',
      [...args, '-o', join(folder, `${name}.so`), file(`../test/native/modules/${name}.c`)],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`cc: ${error?.message ?? stderr}`);
  }
  copyFileSync(file('./manifests/reload.toml'), join(folder, 'reload.toml'));
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ reloads = undefined, quick, log }) {
  const count = reloads ?? (quick ? RELOADS_QUICK : RELOADS);
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-reload-'));
  try {
    build(folder);
    return await measure(folder, count, log);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(folder, count, log) {
  const system = await boot(loadManifest(join(folder, 'reload.toml')).plan, { metrics: '' });
  const shard = (name) => system.snapshot().shards.find((row) => row.name === name);
  const samples = [];
  let result;
  let before;
  let after;
  let seconds;
  try {
    await sleep(500);
    before = Number(shard('end').user.seq_checked);
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      // Each of the two gets one and the other module in turn.
      const module = join(folder, i % 4 < 2 ? 'passer_1b.so' : 'passer_1.so');
      const certificate = await system.reload(i % 2 === 0 ? 'left' : 'right', module);
      samples.push(certificate);
      if (!certificate.ok) throw new Error(`reload ${i + 1}: ${certificate.error?.message}`);
      if ((i + 1) % 100 === 0) log(`${i + 1} of ${count} reloads`);
    }
    seconds = (performance.now() - began) / 1000;
    after = Number(shard('end').user.seq_checked);
  } finally {
    system.stop();
    result = await system.ended;
  }
  const { snapshot } = result;
  const row = (name) => snapshot.shards.find((one) => one.name === name);
  const { seq_checked, seq_missing, seq_reordered } = row('end').user;
  const unaccounted = samples.reduce((sum, { packets }) => sum + packets.unaccounted, 0);
  const lost = Number(lostPackets(snapshot)) + Number(row('source').sent) - Number(seq_checked);
  const sorted = (of) => samples.map(of).sort((a, b) => a - b);
  const pauses = sorted(({ pause_us }) => pause_us);
  const prepare = sorted(({ prepare_ms }) => prepare_ms);
  const turns = sorted(({ first_turn_us }) => first_turn_us);
  const pps = (after - before) / seconds;
  const p99 = quantile(pauses, 0.99);
  const zero = (name, value) => figure(name, value, 'packets', '= 0', value === 0);
  const cores = availableParallelism();
  return {
    figures: [
      figure('reloads', count, 'times'),
      figure('through flow-split meanwhile', pps / 1e6, 'Mpps', '>= 1', pps >= TARGET_PPS * 0.99),
      zero('lost', lost + unaccounted),
      zero('missing in a flow', Number(seq_missing)),
      zero('reordered within a flow', Number(seq_reordered)),
      figure('pause, p50', quantile(pauses, 0.5), 'us'),
      figure('pause, p99', p99, 'us', `<= ${TARGET_US}`, p99 <= TARGET_US),
      figure('pause, longest', pauses.at(-1), 'us'),
      figure('first busy turn of the new one, p99', quantile(turns, 0.99), 'us'),
      figure('loaded, compared and rehearsed before, p50', quantile(prepare, 0.5), 'ms'),
    ],
    seconds,
    pauses_us: samples.map(({ pause_us }) => pause_us),
    first_turns_us: samples.map(({ first_turn_us }) => first_turn_us),
    prepare_ms: samples.map(({ prepare_ms }) => prepare_ms),
    notes:
      cores < snapshot.shards.length + 1
        ? [
            `${snapshot.shards.length} shards share ${cores} cores: pauses are those of the scheduler too`,
          ]
        : [],
  };
}
