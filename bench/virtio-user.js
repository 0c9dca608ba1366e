// Virtqueues at full speed, without a virtual machine: Vanity's driver (virtio-user) beside DPDK's net_virtio_user, each
// in turn against one net_vhost of DPDK, on the same work. The back-end counts for both. One core is the back-end's, one
// the driver's; rounds are interleaved and ratios taken round by round.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installed, reservePages } from './testpmd.js';

const CLI = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const ROUNDS = 5;
const SECONDS = 4;
const RING = 1024;
const BURST = 32;

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A testpmd that runs until it is ended; `rates` are packets a second, as it prints them. */
class Testpmd {
  constructor(name, core, vdevs, mode, more = []) {
    // The main thread sleeps; only the second works.
    this.child = spawn(
      'stdbuf',
      [
        ...['-oL', 'dpdk-testpmd', '--lcores', `0@${core},1@${core}`, '--no-pci', '--no-telemetry'],
        ...['--in-memory', '--single-file-segments', `--file-prefix=${name}-${process.pid}`],
        ...vdevs.flatMap((vdev) => ['--vdev', vdev]),
        ...['--', `--forward-mode=${mode}`, '--auto-start', '--total-num-mbufs=16384'],
        ...[`--burst=${BURST}`, `--rxd=${RING}`, `--txd=${RING}`, '--stats-period', '1'],
        ...['--no-mlockall', ...more],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    );
    this.out = '';
    this.rates = [];
    this.ended = new Promise((resolve) => this.child.on('close', resolve));
    this.child.on('error', () => {});
    this.child.stderr.on('data', (text) => {
      this.out += text;
    });
    let rest = '';
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      this.out += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const rx = line.match(/Rx-pps:\s+(\d+)/);
        const tx = line.match(/Tx-pps:\s+(\d+)/);
        if (rx) this.rx = Number(rx[1]);
        if (tx) this.rates.push({ at: performance.now(), rx: this.rx ?? 0, tx: Number(tx[1]) });
      }
    });
  }
  /** The median of what it printed between two moments, in packets a second. */
  rate(direction, from, to) {
    const seen = this.rates
      .filter(({ at }) => at >= from && at <= to)
      .map((rate) => rate[direction]);
    if (seen.length === 0) throw new Error(`testpmd printed no rate:\n${this.out.slice(-2000)}`);
    return median(seen);
  }
  // It hangs on its way out now and then, and has nothing more to say.
  async end() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

const manifest = (socket, { direction, size, packed, queues }) => `
[system]
name = "virtio-user"

[ports.user]
driver = "virtio-user"
socket = ${JSON.stringify(socket)}
ring = ${RING}
packed = "${packed ? 'yes' : 'no'}"
interrupts = false
buffers = 8192
overflow = "block"
${direction === 'transmit' ? 'tx' : 'rx'} = [${Array(queues).fill('"work"').join(', ')}]

[shards.work]
program = "${direction === 'transmit' ? 'generate' : 'sink'}"
burst = ${BURST}
core = 1
${direction === 'transmit' ? `options = { size = ${size}, buffers = 8192 }` : ''}
`;

/** Runs Vanity's driver for a while; when it was at work: [from, to]. */
async function vanity(folder, socket, work) {
  const file = join(folder, 'vanity.toml');
  writeFileSync(file, manifest(socket, work));
  const child = spawn(process.execPath, [CLI, 'run', file, '--quiet', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out += text;
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  await sleep(2500);
  const from = performance.now();
  await sleep(SECONDS * 1000);
  const to = performance.now();
  child.kill('SIGINT');
  await ended;
  const report = JSON.parse(out);
  if (report.error) throw new Error(`${report.error.code}: ${report.error.message}`);
  return { from, to, report };
}

async function testpmd(socket, { direction, size, packed, queues }) {
  const vdev = `net_virtio_user0,path=${socket},queues=${queues},queue_size=${RING},packed_vq=${packed ? 1 : 0}`;
  const peer = new Testpmd(
    'vanity-user',
    1,
    [vdev],
    direction === 'transmit' ? 'txonly' : 'rxonly',
    [`--txpkts=${size}`, ...[`--rxq=${queues}`, `--txq=${queues}`]],
  );
  try {
    await sleep(2500);
    const from = performance.now();
    await sleep(SECONDS * 1000);
    return { from, to: performance.now() };
  } finally {
    await peer.end();
  }
}

async function compare(work, rounds, peer, folder, log) {
  const socket = join(folder, `${Object.values(work).join('-')}.sock`);
  const name = `${work.direction} ${work.size} B ${work.packed ? 'packed' : 'split'}${work.queues > 1 ? ` ${work.queues} queues` : ''}`;
  const backend = new Testpmd(
    'vanity-vhost',
    0,
    [`net_vhost0,iface=${socket},queues=${work.queues}`],
    work.direction === 'transmit' ? 'rxonly' : 'txonly',
    [`--txpkts=${work.size}`, `--rxq=${work.queues}`, `--txq=${work.queues}`],
  );
  const counted = work.direction === 'transmit' ? 'rx' : 'tx';
  const samples = [];
  try {
    for (let i = 0; i < 200 && !existsSync(socket); ++i) await sleep(100);
    await sleep(1000);
    for (let round = 0; round < rounds; ++round) {
      const ours = await vanity(folder, socket, work);
      await sleep(1500);
      const theirs = peer ? await testpmd(socket, work) : null;
      await sleep(1500);
      const sample = {
        vanity: backend.rate(counted, ours.from + 500, ours.to) / 1e6,
        testpmd: theirs && backend.rate(counted, theirs.from + 500, theirs.to) / 1e6,
      };
      samples.push(sample);
      log(
        `${name}, round ${round + 1}/${rounds}: Vanity ${sample.vanity.toFixed(1)} Mpps` +
          (theirs ? `, net_virtio_user ${sample.testpmd.toFixed(1)} Mpps` : ''),
      );
    }
  } finally {
    await backend.end();
  }
  return { name, work, samples };
}

const ghz = () => {
  const line = readFileSync('/proc/cpuinfo', 'utf8').match(/cpu MHz\s*:\s*([\d.]+)/);
  return line ? Number(line[1]) / 1e3 : undefined;
};

function figuresOf({ name, work, samples }) {
  const ours = median(samples.map(({ vanity }) => vanity));
  const figures = [{ name, value: ours, unit: 'Mpps', target: null, met: null }];
  const clock = ghz();
  if (clock !== undefined) {
    figures.push({
      name: `${name}, driver`,
      value: (clock * 1e3) / ours,
      unit: 'cycles/packet',
      target: null,
      met: null,
    });
  }
  if (samples.every(({ testpmd }) => testpmd !== null)) {
    const theirs = median(samples.map(({ testpmd }) => testpmd));
    const ratio = median(samples.map(({ vanity, testpmd }) => vanity / testpmd));
    const judged = work.size === 64 && work.queues === 1;
    figures.push(
      { name: `${name}, net_virtio_user`, value: theirs, unit: 'Mpps', target: null, met: null },
      {
        name: `${name}, Vanity / net_virtio_user`,
        value: ratio,
        unit: 'x',
        target: judged ? '>= 1.0' : null,
        met: judged ? ratio >= 1 : null,
      },
    );
  }
  return figures;
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds: wanted = undefined, quick, log }) {
  if (!installed('dpdk-testpmd'))
    throw new Error('there is no peer: dpdk-testpmd is not installed (apt-get install dpdk-dev)');
  reservePages();
  const rounds = wanted ?? (quick ? 1 : ROUNDS);
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-'));
  const results = [];
  try {
    for (const queues of quick ? [1] : [1, 2])
      for (const size of quick || queues > 1 ? [64] : [64, 1500])
        for (const packed of [false, true])
          for (const direction of ['transmit', 'receive'])
            results.push(
              await compare({ direction, size, packed, queues }, rounds, true, folder, log),
            );
  } finally {
    rmSync(folder, { recursive: true });
  }
  return { figures: results.flatMap(figuresOf), results };
}
