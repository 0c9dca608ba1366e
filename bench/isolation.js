// What a shard costs that is a process of its own: the rate of one channel into it, beside the same into a thread, in turn, several
// rounds, the ratio taken round by round; and how long it is away when it is killed. And what a burst costs a native module, with a
// protection key where there are some, and without.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { boot, loadManifestText } from '../dist/index.js';
import { native } from '../dist/native.js';
import { figure } from './figure.js';
import { median } from './median.js';

const ROUNDS = 7;
const PKEY_MAX = 1.1;
const SECONDS = 2;
const KILLS = 20;

const manifest = (isolation) => `
[system]
name = "bench-isolation"
[shards.source]
program = "generate"
core = 0
[shards.end]
program = "count"
core = 1
isolation = "${isolation}"
watchdog = { backoff_ms = 0, max_restarts = 1000 }
[channels.way]
from = "source"
to = "end"
overflow = "block"
`;

/** A router of examples/, between a source and a sink. */
const routed = (program, isolation) => `
[system]
name = "bench-isolation"
oversubscribe = true
[shards.source]
program = "generate"
core = 0
[shards.hop]
program = "${program}"
core = 1
isolation = "${isolation}"
[shards.end]
program = "sink"
core = 0
[channels.in]
from = "source"
to = "hop"
overflow = "block"
[channels.out]
from = "hop"
to = "end"
overflow = "block"
`;

const start = (isolation) => boot(loadManifestText('isolation.toml', manifest(isolation)).plan);

async function stop(system) {
  system.stop();
  const { failures, snapshot } = await system.ended;
  if (failures.length > 0) throw new Error(failures[0].message);
  return snapshot.shards[1];
}

async function rate(isolation, seconds) {
  const system = await start(isolation);
  await sleep(200);
  const [from, began] = [system.snapshot().shards[1].received, performance.now()];
  await sleep(seconds * 1000);
  const [to, ended] = [system.snapshot().shards[1].received, performance.now()];
  const { busy_ticks, received, dropped } = await stop(system);
  if (dropped !== 0) throw new Error(`${dropped} packets were dropped`);
  return {
    mpps: Number(to - from) / (ended - began) / 1e3,
    ticks: Number(busy_ticks) / Number(received),
  };
}

/** Ticks of the clock, and packets, of a burst of the router. */
async function burst(program, isolation, seconds) {
  const system = await boot(loadManifestText('isolation.toml', routed(program, isolation)).plan);
  await sleep(seconds * 1000);
  const { busy_ticks, polls_busy, received, faults } = await stop(system);
  if (faults !== 0) throw new Error('the router faulted');
  return {
    ticks: Number(busy_ticks) / Number(polls_busy),
    packets: Number(received) / Number(polls_busy),
  };
}

async function bursts(count, log) {
  const keys = native.protectionKeys();
  if (!keys.usable) log(`no pkey: ${keys.reason}`);
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-isolation-'));
  try {
    const file = (path) => fileURLToPath(new URL(path, import.meta.url));
    const program = join(folder, 'hop.so');
    const { status, stderr, error } = spawnSync(
      'cc',
      ['-O2', '-shared', '-fPIC', '-I', file('../native/include')].concat([
        '-o',
        program,
        file('../examples/native-c/hop.c'),
      ]),
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(`cc: ${error?.message ?? stderr}`);
    const samples = [];
    for (let round = 0; round < count; ++round) {
      const thread = await burst(program, 'thread', SECONDS);
      const pkey = keys.usable ? await burst(program, 'pkey', SECONDS) : null;
      samples.push({ thread, pkey });
    }
    return samples;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Milliseconds from the kill until the next one has taken a packet. */
async function away(kills) {
  const system = await start('process');
  const samples = [];
  for (let i = 0; i < kills; ++i) {
    await sleep(100);
    const before = system.snapshot().shards[1];
    process.kill(before.tid, 'SIGKILL');
    const since = performance.now();
    for (;;) {
      const now = system.snapshot().shards[1];
      if (now.tid !== before.tid && now.state === 'running' && now.polls_busy > before.polls_busy)
        break;
      await new Promise(setImmediate);
    }
    samples.push(performance.now() - since);
  }
  const end = await stop(system);
  return { samples, lost: end.dropped_fault };
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds = undefined, quick, log }) {
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const samples = [];
  for (let round = 0; round < count; ++round) {
    const sample = {
      thread: await rate('thread', SECONDS),
      process: await rate('process', SECONDS),
    };
    samples.push(sample);
    const said = (kind) => `${kind} ${sample[kind].mpps.toFixed(1)} Mpps`;
    log(`round ${round + 1}/${count}: ${said('thread')}, ${said('process')}`);
  }
  const over = (pick) => median(samples.map(pick));
  const kills = await away(quick ? 3 : KILLS);
  const routers = await bursts(count, log);
  const ofRouter = (pick) => median(routers.map(pick));
  const keyed = routers.every((s) => s.pkey !== null)
    ? ofRouter((s) => s.pkey.ticks / s.thread.ticks)
    : null;
  const pkey = keyed
    ? [
        figure(
          'a burst of a native module, pkey',
          ofRouter((s) => s.pkey.ticks),
          'ticks',
        ),
        figure('pkey : thread', keyed, '× the ticks', `<= ${PKEY_MAX}`, keyed <= PKEY_MAX),
      ]
    : [];
  return {
    figures: [
      figure(
        'a channel into a thread',
        over((s) => s.thread.mpps),
        'Mpps',
      ),
      figure(
        'a channel into a process',
        over((s) => s.process.mpps),
        'Mpps',
      ),
      figure(
        'process : thread',
        over((s) => s.process.mpps / s.thread.mpps),
        '× as fast',
      ),
      figure(
        'busy in the thread',
        over((s) => s.thread.ticks),
        'ticks/packet',
      ),
      figure(
        'busy in the process',
        over((s) => s.process.ticks),
        'ticks/packet',
      ),
      figure('away when it is killed', median(kills.samples), 'ms'),
      figure('the longest of them', Math.max(...kills.samples), 'ms'),
      figure('packets that it held then', kills.lost, 'packets'),
      figure(
        'a burst of a native module, thread',
        ofRouter((s) => s.thread.ticks),
        'ticks',
      ),
      figure(
        'packets in it',
        ofRouter((s) => s.thread.packets),
        'packets',
      ),
      ...pkey,
    ],
    samples,
    kills,
    routers,
  };
}
