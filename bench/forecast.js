// How far `vanity sim` is from the machine it runs on: what each program costs is measured with other partners, what they
// do together is foretold from that, and then measured. Rounds are interleaved. Two processors are used.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadManifest } from '../dist/manifest/plan.js';
import { forecast } from '../dist/planning/forecast.js';
import { readHostModel } from '../dist/planning/host-model.js';
import { median } from './median.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const CLI = file('../dist/cli/main.js');
const CAPTURE = file('../examples/captures/two-hosts.pcap');
const ROUNDS = 5;
const SECONDS = 2;

/** Shards in a row: [name, program, core], fed by a looping capture or by the first of them. */
function row(shards, fed = true) {
  const lines = ['[system]', 'name = "forecast"', 'oversubscribe = true'];
  if (fed) {
    lines.push('[ports.in]', 'driver = "capture"', `file = ${JSON.stringify(CAPTURE)}`);
    lines.push('replay = "loop"', `rx = "${shards[0][0]}"`);
  }
  for (const [name, program, core] of shards)
    lines.push(`[shards.${name}]`, `program = "${program}"`, `core = ${core}`);
  for (let i = 0; i + 1 < shards.length; i++)
    lines.push(
      `[channels.c${i}]`,
      `from = "${shards[i][0]}"`,
      `to = "${shards[i + 1][0]}"`,
      'overflow = "block"',
    );
  return `${lines.join('\n')}\n`;
}

/** What is measured for a cost: the shard that is asked for is the one that all wait for. */
const PARTS = {
  'flow-split, its own core': {
    of: 'a',
    text: row([
      ['a', 'flow-split', 0],
      ['b', 'sink', 0],
    ]),
  },
  'flow-split, to another core': {
    of: 'a',
    text: row([
      ['a', 'flow-split', 0],
      ['b', 'count', 1],
    ]),
  },
  'count, its own core': {
    of: 'b',
    text: row([
      ['a', 'forward', 0],
      ['b', 'count', 0],
    ]),
  },
  'count, from another core': {
    of: 'b',
    text: row([
      ['a', 'forward', 0],
      ['b', 'count', 1],
    ]),
  },
};
const WHOLES = {
  'split and count, two cores': row([
    ['split', 'flow-split', 0],
    ['count', 'count', 1],
  ]),
  'split and count, one core': row([
    ['split', 'flow-split', 0],
    ['count', 'count', 0],
  ]),
};

async function measured(folder, name, text, seconds) {
  const path = join(folder, `${name.replaceAll(/\W+/g, '-')}.toml`);
  writeFileSync(path, text);
  for (let attempt = 1; ; attempt++) {
    const report = await once(path, seconds);
    if (!report.error) return report;
    // Another system has the core, and may be gone soon.
    if (report.error.code !== 'VANITY_E_CORE_IN_USE' || attempt === 20)
      throw new Error(`${report.error.code}: ${report.error.message}`);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function once(path, seconds) {
  const child = spawn(
    process.execPath,
    [CLI, 'run', path, '--duration', `${seconds}s`, '--json', '--quiet'],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (part) => {
    out += part;
  });
  await new Promise((resolve) => child.on('close', resolve));
  return JSON.parse(out);
}

const figureOf = (value) => ({ value: Math.max(0, value), source: 'measured by this bench' });

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds = undefined, quick, log }) {
  const count = rounds ?? (quick ? 1 : ROUNDS);
  const seconds = quick ? 1 : SECONDS;
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-'));
  const samples = [];
  try {
    const model = readHostModel('two-core-vm');
    const line = model.line_ns.socket.value;
    for (let round = 0; round < count; round++) {
      const sample = { costs: {}, measured: {} };
      for (const [name, { of, text }] of Object.entries(PARTS)) {
        const { burst, service_ns, ns_per_packet } = (await measured(folder, name, text, seconds))
          .shards[of];
        // On a core of its own a shard is never kept waiting, so its mean is what it costs. On a shared one the
        // mean has the turns of others in it.
        sample.costs[name] = name.endsWith('own core') ? service_ns.p50 / burst.p50 : ns_per_packet;
      }
      for (const [name, text] of Object.entries(WHOLES)) {
        const report = await measured(folder, name, text, seconds);
        sample.measured[name] = report.shards.count.received / report.duration_s;
      }
      samples.push(sample);
      log(`round ${round + 1} of ${count}`);
    }
    const cost = (name) => median(samples.map(({ costs }) => costs[name]));
    // The row's first shard takes the packets from the capture, too.
    const received = (name) => (name === 'flow-split' ? model.receive.capture.value : 0);
    const program = (name, moved) => ({
      burst_ns: figureOf(0),
      packet_ns: figureOf(cost(`${name}, its own core`) - received(name)),
      lines_in: figureOf(
        moved.startsWith('from')
          ? (cost(`${name}, ${moved}`) - cost(`${name}, its own core`)) / line
          : 0,
      ),
      lines_out: figureOf(
        moved.startsWith('to')
          ? (cost(`${name}, ${moved}`) - cost(`${name}, its own core`)) / line
          : 0,
      ),
    });
    const programs = {
      'flow-split': program('flow-split', 'to another core'),
      count: program('count', 'from another core'),
    };
    const figures = [];
    for (const [name, text] of Object.entries(WHOLES)) {
      const path = join(folder, 'whole.toml');
      writeFileSync(path, text);
      const told = forecast(
        loadManifest(path).plan,
        { ...model, programs },
        {
          timeNs: 20e6,
          seed: 1,
          arrivals: new Map(),
          costs: new Map(),
        },
      );
      const real = median(samples.map((sample) => sample.measured[name]));
      const ratio = told.pps / real;
      figures.push(
        { name: `${name}: foretold`, value: told.pps, unit: 'packets/s', target: null, met: null },
        { name: `${name}: measured`, value: real, unit: 'packets/s', target: null, met: null },
        {
          name: `${name}: foretold / measured`,
          value: ratio,
          unit: 'x',
          target: '0.75 to 1.25',
          met: ratio >= 0.75 && ratio <= 1.25,
        },
      );
    }
    return { figures, samples, programs };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
