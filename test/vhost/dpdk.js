// A capture goes out through DPDK's virtio driver into a Vanity port and comes back: what DPDK writes must be what it
// read, each packet once, in order and unchanged. Drivers come and go; the system stays.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { frames } from '../guest/captures.js';

const PACKETS = 20_000;
const LIMIT_MS = 120_000; // of anything that is waited for, on a slow and busy machine

const folder = mkdtempSync(join(tmpdir(), 'vanity-vhost-'));
const socket = join(folder, 'vm.sock');
const sent = join(folder, 'sent.pcap');
const env = { ...process.env, VANITY_RUNTIME_DIR: join(folder, 'runtime') };
const children = new Set();

// Lengths from the shortest frame to the longest, each packet with its number in it.
function writeCapture(path) {
  const parts = [Buffer.alloc(24)];
  parts[0].writeUInt32LE(0xa1b2c3d4);
  parts[0].writeUInt16LE(2, 4);
  parts[0].writeUInt16LE(4, 6);
  parts[0].writeUInt32LE(65535, 16);
  parts[0].writeUInt32LE(1, 20);
  for (let number = 0; number < PACKETS; number++) {
    const length = 60 + ((number * 37) % 1455);
    const record = Buffer.alloc(16 + length, number & 0xff);
    record.fill(0, 0, 16);
    record.writeUInt32LE(length, 8);
    record.writeUInt32LE(length, 12);
    record.write('525400000202525400000201', 16, 'hex');
    record.writeUInt16BE(0x88b5, 28); // local experiments (IEEE 802)
    record.writeUInt32BE(number, 30);
    parts.push(record);
  }
  writeFileSync(path, Buffer.concat(parts));
}

function start(command, args, { stdin = 'ignore' } = {}) {
  const child = spawn(command, args, { env, stdio: [stdin, 'pipe', 'pipe'] });
  children.add(child);
  const out = { text: '' };
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part) => {
      out.text += part;
    });
  const ended = new Promise((resolve) => {
    child.on('close', (code) => {
      children.delete(child);
      resolve(code);
    });
  });
  return { child, out, ended, write: (text) => child.stdin.write(text) };
}

async function until(what, test) {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    if (await test()) return;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await pause(50);
  }
}

/** testpmd between the capture and the port: what it receives from the port goes into `out`. */
function driver(packed, out) {
  const anywhere = `(${cpus().map((_, core) => core)})`;
  const cores = ['--lcores', `0@${anywhere},1@${anywhere}`];
  return start(
    'dpdk-testpmd',
    [
      ...cores,
      ...['--no-huge', '-m', '256', '--iova-mode=va', '--no-pci', '--no-telemetry'],
      `--file-prefix=vanity-${process.pid}-${Date.now()}`,
      `--vdev=net_virtio_user0,path=${socket},queues=1,queue_size=256,packed_vq=${packed}`,
      `--vdev=net_pcap0,rx_pcap=${sent},tx_pcap=${out}`,
      ...['--', '-i', '--no-flush-rx', '--total-num-mbufs=8192', '--no-mlockall', '--burst=32'],
    ],
    { stdin: 'pipe' },
  );
}

async function ready(testpmd) {
  await until('testpmd is ready', () => {
    if (testpmd.child.exitCode !== null) throw new Error(testpmd.out.text.slice(-2000));
    return testpmd.out.text.includes('testpmd> ');
  });
}

const ports = (it) => JSON.parse(it).ports[0] ?? Object.values(JSON.parse(it).ports)[0];

async function stats() {
  const asked = start(process.execPath, ['dist/cli/main.js', 'stats', '--json', 'vhost-dpdk']);
  await asked.ended;
  return ports(asked.out.text);
}

async function round(packed, name) {
  const out = join(folder, `${name}.pcap`);
  const testpmd = driver(packed, out);
  try {
    await circulate(testpmd, out);
  } catch (error) {
    error.message += `\n${testpmd.out.text.slice(-1500)}`;
    throw error;
  } finally {
    testpmd.child.kill('SIGKILL'); // it is known to hang at its end
    await testpmd.ended;
  }
}

async function circulate(testpmd, out) {
  await ready(testpmd);
  // io, but with patience where the ring is full: nothing may be lost.
  testpmd.write('set fwd io retry\nset burst tx delay 10 retry 1000000\nstart\n');
  const wanted = frames(sent);
  await until(`${PACKETS} packets came back`, () => {
    testpmd.write('show port stats 0\n');
    const counts = [...testpmd.out.text.matchAll(/RX-packets: (\d+)/g)];
    return Number(counts.at(-1)?.[1] ?? 0) >= PACKETS;
  });
  testpmd.write('stop\nquit\n');
  await Promise.race([testpmd.ended, pause(20_000)]);
  const came = frames(out);
  const differs = wanted.findIndex((frame, at) => !came[at] || frame.compare(came[at]) !== 0);
  if (came.length !== wanted.length || differs >= 0)
    throw new Error(
      `${came.length} of ${wanted.length} packets came back, the first other one is ${differs}`,
    );
}

let passed = 0;
let failed = 0;
async function test(name, body) {
  try {
    await body();
    passed++;
    console.log(`ok - ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok - ${name}\n  ${error.stack}`);
    console.log(vanity.out.text.slice(-2000));
  }
}

function end() {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
process.once('SIGTERM', () => {
  end();
  process.exit(143);
});

writeCapture(sent);
const manifest = join(folder, 'vanity.toml');
writeFileSync(manifest, readFileSync(new URL('vanity.toml', import.meta.url)));
const vanity = start(process.execPath, [
  'dist/cli/main.js',
  'run',
  manifest,
  '--json',
  '--interval',
  '1h',
]);
try {
  await until('the system runs', () => /runs \(process/.test(vanity.out.text));
  await test('split rings: every packet comes back, in order', () => round(0, 'split'));
  await test('packed rings: every packet comes back, in order', () => round(1, 'packed'));
  await test('a driver that is killed in full flight costs a connection', async () => {
    const testpmd = driver(0, join(folder, 'killed.pcap'));
    await ready(testpmd);
    testpmd.write('start tx_first 32\n');
    await pause(500);
    testpmd.child.kill('SIGKILL');
    await testpmd.ended;
    await until('the port is down', async () => (await stats()).state === 'down');
  });
  await test('and the next one finds everything as it was', () => round(1, 'after'));
  await test('the balance is right when it ends', async () => {
    vanity.child.kill('SIGINT');
    const code = await vanity.ended;
    if (code !== 0) throw new Error(`exit code ${code}`);
    const report = JSON.parse(vanity.out.text.slice(vanity.out.text.indexOf('\n{') + 1));
    const pools = Object.values(report.pools);
    if (!pools.every(({ leaked, taken, returned }) => leaked === 0 && taken === returned))
      throw new Error(JSON.stringify(pools));
  });
} finally {
  end();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
