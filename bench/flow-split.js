// How many packets a second a looping capture goes through one receiving shard that splits by flow and
// one worker that reads the headers, beside one core of DPDK's testpmd (5tswap over net_pcap with
// infinite_rx) on the same capture. Both in turn, several rounds; the ratio is taken round by round.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { figure } from './figure.js';
import { median } from './median.js';
import { installed, reservePages } from './testpmd.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const MANIFEST = file('./manifests/flow-split.toml');
const CAPTURE = file('../examples/captures/two-hosts.pcap');
const CLI = file('../dist/cli/main.js');
const ROUNDS = 5;
const SECONDS = 3;

function capture(command, args, seconds) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] });
    const guard = setTimeout(() => child.kill('SIGKILL'), (seconds + 20) * 1000);
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
    child.on('error', reject);
    child.on('close', () => {
      clearTimeout(guard);
      resolve(out);
    });
    // testpmd stops at a line on its input, and sometimes hangs in stopping: its figures are out by then.
    if (command === 'dpdk-testpmd') {
      setTimeout(() => child.stdin.end('\n'), seconds * 1000);
      setTimeout(() => child.kill('SIGKILL'), (seconds + 4) * 1000);
    }
  });
}

async function vanity(seconds) {
  const out = await capture(
    process.execPath,
    [CLI, 'run', MANIFEST, '--duration', `${seconds}s`, '--json', '--quiet'],
    seconds,
  );
  const report = JSON.parse(out);
  if (report.error) throw new Error(`${report.error.code}: ${report.error.message}`);
  return {
    mpps: report.shards.worker.received / report.duration_s / 1e6,
    lost: report.lost,
    ns: { split: report.shards.split.ns_per_packet, worker: report.shards.worker.ns_per_packet },
    pages: report.shards.split.arena_pages,
  };
}

async function testpmd(seconds, huge) {
  const out = await capture(
    'dpdk-testpmd',
    [
      ...['--lcores', '0@0,1@1', '--no-pci', '--no-telemetry', '--file-prefix=vanity-bench'],
      ...(huge ? [] : ['--no-huge', '-m', '512']),
      ...['--vdev', `net_pcap0,rx_pcap=${CAPTURE},infinite_rx=1`, '--vdev', 'net_null0,no-rx=1'],
      ...['--', '--forward-mode=5tswap', '--auto-start', '--total-num-mbufs=16384', '--burst=32'],
      ...['--stats-period', '1', '--no-mlockall'],
    ],
    seconds + 3,
  );
  const rates = [...out.matchAll(/Rx-pps:\s+(\d+)/g)].map((match) => Number(match[1]) / 1e6);
  const steady = rates.filter((rate) => rate > 0.01).slice(1); // the first second holds the start
  if (steady.length === 0) throw new Error('testpmd printed no rate');
  return { mpps: median(steady) };
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds = undefined, quick, log }) {
  if (!existsSync(CAPTURE)) throw new Error(`${CAPTURE} is missing`);
  const peer = installed('dpdk-testpmd');
  if (!peer) log('dpdk-testpmd is not installed (apt-get install dpdk): no comparison');
  const huge = reservePages();
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const samples = [];
  for (let round = 0; round < count; ++round) {
    const sample = { vanity: await vanity(SECONDS), testpmd: null };
    if (peer) sample.testpmd = await testpmd(SECONDS, huge);
    samples.push(sample);
    log(
      `round ${round + 1}/${count}: vanity ${sample.vanity.mpps.toFixed(1)} Mpps` +
        (sample.testpmd ? `, testpmd ${sample.testpmd.mpps.toFixed(1)} Mpps` : ''),
    );
  }
  const over = (pick) => median(samples.map(pick));
  const lost = samples.reduce((sum, { vanity: { lost } }) => sum + lost, 0);
  const figures = [
    figure(
      'flow-split, one rx shard and one worker',
      over((s) => s.vanity.mpps),
      'Mpps',
    ),
    figure('packets lost', lost, 'packets', '= 0', lost === 0),
    figure(
      'split: receive, hash, send',
      over((s) => s.vanity.ns.split),
      'ns/packet',
    ),
    figure(
      'worker: receive, count, free',
      over((s) => s.vanity.ns.worker),
      'ns/packet',
    ),
  ];
  if (peer) {
    const ratio = over((s) => s.vanity.mpps / s.testpmd.mpps);
    figures.push(
      figure(
        'testpmd 5tswap, one core',
        over((s) => s.testpmd.mpps),
        'Mpps',
      ),
      figure('flow-split / testpmd 5tswap', ratio, 'x', '>= 1.0', ratio >= 1),
    );
  }
  return {
    figures,
    rounds: samples,
    huge_pages: huge,
    capture: 'examples/captures/two-hosts.pcap',
  };
}
