// How fast does a TypeScript shard take and give messages? 64-byte messages in bursts of 32: from a native
// shard to a TypeScript one, back, between two TypeScript shards, and, as the measure, the same messages
// between two workers by MessagePort. Rounds are interleaved; every message is numbered and checked.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { boot, planManifest } from '../../dist/index.js';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const TRAFFIC = at('../../.cache/bench/traffic.so');
const BYTES = 64;
const SETTLE_MS = 150;

function build() {
  mkdirSync(at('../../.cache/bench'), { recursive: true });
  const { status, stderr, error } = spawnSync(
    process.env.CXX ?? 'c++',
    ['-std=c++20', '-O3', '-shared', '-fPIC', '-I', at('../../native/include')].concat(
      at('traffic.cpp'),
      '-o',
      TRAFFIC,
    ),
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`traffic.cpp does not compile: ${error?.message ?? stderr}`);
}

/** Messages a second through one channel between two programs, each on a core of its own. */
async function channelRate(from, to, windowMs) {
  const { plan } = planManifest({
    system: { name: `bench-typescript-${process.pid}` },
    shards: { from: { program: from }, to: { program: to } },
    channels: {
      messages: {
        from: 'from',
        to: 'to',
        carries: 'messages',
        element_bytes: BYTES,
        overflow: 'program',
      },
    },
  });
  const system = await boot(plan, { metrics: '' });
  await sleep(SETTLE_MS);
  const received = () => Number(system.snapshot().channels[0].received);
  const [first, start] = [received(), performance.now()];
  await sleep(windowMs);
  const [last, end] = [received(), performance.now()];
  system.stop();
  const { snapshot, failures } = await system.ended;
  if (failures.length > 0) throw new Error(failures.map(({ message }) => message).join('\n'));
  for (const { name, user } of snapshot.shards) {
    if (Number(user.wrong ?? 0) !== 0) throw new Error(`shard ${name}: messages out of order`);
  }
  return ((last - first) / (end - start)) * 1000;
}

/** The same messages by MessagePort. */
async function messagePortRate(windowMs) {
  const shared = new SharedArrayBuffer(8);
  const taken = new Int32Array(shared);
  const { port1, port2 } = new MessageChannel();
  const file = new URL('./message-port.js', import.meta.url);
  const start = (role, port) =>
    new Worker(file, { workerData: { role, port, shared, bytes: BYTES }, transferList: [port] });
  const workers = [start('reader', port2), start('writer', port1)];
  await sleep(2 * SETTLE_MS);
  const [first, begin] = [Atomics.load(taken, 0), performance.now()];
  await sleep(windowMs);
  const [last, end] = [Atomics.load(taken, 0), performance.now()];
  await Promise.all(workers.map((worker) => worker.terminate()));
  return ((last - first) / (end - begin)) * 1000;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** See RunBench in lib/cli/bench.ts. */
export async function run({ rounds = 5, quick, log }) {
  build();
  const windowMs = quick ? 100 : 500;
  const [reader, writer] = [at('reader.js'), at('writer.js')];
  const measures = {
    'native to TypeScript': () => channelRate(TRAFFIC, reader, windowMs),
    'TypeScript to native': () => channelRate(writer, TRAFFIC, windowMs),
    'TypeScript to TypeScript': () => channelRate(writer, reader, windowMs),
    MessagePort: () => messagePortRate(windowMs),
  };
  const samples = Object.fromEntries(Object.keys(measures).map((name) => [name, []]));
  for (let round = 0; round < (quick ? Math.min(rounds, 2) : rounds); ++round) {
    log(`round ${round + 1} of ${rounds}`);
    for (const [name, measure] of Object.entries(measures)) samples[name].push(await measure());
  }
  const middle = Object.fromEntries(
    Object.entries(samples).map(([name, values]) => [name, median(values)]),
  );
  const inflow = middle['native to TypeScript'];
  const ratio = inflow / middle.MessagePort;
  const figure = (name, value, unit, target, met) => ({ name, value, unit, target, met });
  return {
    figures: [
      figure(
        'native to TypeScript, 64 B bursts of 32',
        inflow,
        'messages/s',
        '>= 20000000',
        inflow >= 20e6,
      ),
      figure('native to TypeScript / MessagePort', ratio, 'x', '>= 50', ratio >= 50),
      ...['TypeScript to native', 'TypeScript to TypeScript', 'MessagePort'].map((name) =>
        figure(name, middle[name], 'messages/s', null, null),
      ),
    ],
    samples,
    node: process.version,
  };
}
