// What a running system costs in memory: by how much its resident set grows, and whether its segment has
// the size that the manifest implies. The process is watched from outside, after a warm-up in which
// JavaScript has given back what starting took.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { loadManifest } from '../dist/index.js';
import { limits } from '../dist/manifest/limits.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const MANIFEST = file('../examples/flow-split/vanity.toml');
const CLI = file('../dist/cli/main.js');
const WARM_UP_SECONDS = 15;
const SECONDS = 60;

function residentBytes(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
}

// As native/include/vanity/segment.hpp draws it: header, descriptors, then every table's records.
const HEADER_BYTES = 4096;
const FIELD_BYTES = 128;
const TABLES_AT = 104;
const TABLE_BYTES = 32;

function impliedBytes({ shards, channels, ports }, segment) {
  const queues = ports.reduce((sum, port) => sum + port.rx.length + port.tx.length, 0);
  const pools = ports.reduce((sum, port) => sum + port.rx.length, 0);
  // Devices and their vectors: none here. One record for reloads, the looks of a minute, and two manifests.
  const counts = [
    ...[0, shards.length, channels.length, ports.length, queues, pools, 0, 0, 1],
    ...[shards.length, limits.looks, 2],
  ];
  const up = (value, to) => Math.ceil(value / to) * to;
  const table = (i) => TABLES_AT + i * TABLE_BYTES;
  let at = HEADER_BYTES;
  for (const i of counts.keys()) at += segment.readUInt32LE(table(i) + 12) * FIELD_BYTES;
  counts.forEach((count, i) => {
    at = up(at, 128) + count * segment.readUInt32LE(table(i) + 8);
  });
  return up(at, 4096);
}

async function watch(args, seconds, warmUp, log) {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-'));
  const child = spawn(process.execPath, [CLI, 'run', MANIFEST, '--json', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, VANITY_RUNTIME_DIR: folder },
  });
  let out = '';
  child.stdout.on('data', (text) => {
    out += text;
  });
  child.stderr.resume();
  const closed = new Promise((resolve) => child.on('close', resolve));
  try {
    await sleep(warmUp * 1000);
    if (child.exitCode !== null) throw new Error(`vanity ended: ${out}`);
    const rss = [];
    for (let second = 0; second <= seconds; ++second) {
      rss.push(residentBytes(child.pid));
      if (second % 15 === 0) log(`${second} s: ${rss.at(-1)} bytes resident`);
      if (second < seconds) await sleep(1000);
    }
    const { plan } = loadManifest(MANIFEST);
    const segment = readFileSync(join(folder, `${plan.name}.segment`));
    child.kill('SIGINT');
    await closed;
    const { lost, shards } = JSON.parse(out);
    return {
      rss,
      segment: segment.length,
      implied: impliedBytes(plan, segment),
      lost,
      packets: shards.split.received,
    };
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ quick, log }) {
  const seconds = quick ? 10 : SECONDS;
  const sample = await watch(['--quiet'], seconds, WARM_UP_SECONDS, log);
  const growth = sample.rss.at(-1) - sample.rss[0];
  return {
    figures: [
      {
        name: `resident set, growth in ${seconds} s of running`,
        value: growth,
        unit: 'bytes',
        target: '<= 0',
        met: growth <= 0,
      },
      {
        name: 'segment',
        value: sample.segment,
        unit: 'bytes',
        target: `= ${sample.implied}`,
        met: sample.segment === sample.implied,
      },
      {
        name: 'packets meanwhile',
        value: sample.packets,
        unit: 'packets',
        target: null,
        met: null,
      },
      {
        name: 'packets lost',
        value: sample.lost,
        unit: 'packets',
        target: '= 0',
        met: sample.lost === 0,
      },
    ],
    sample,
  };
}
