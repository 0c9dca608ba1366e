// How many packets a second Vanity forwards between two virtio NICs beside DPDK's testpmd (io), and how many instructions
// each takes for one: both in turn in one virtual machine that test/guest boots (QEMU without KVM, no IOMMU), on the same
// two NICs. Both poll, in bursts of 64, on rings of 256. The NICs are emulated, so only the comparison means something.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { figure } from './figure.js';
import { median } from './median.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const RUN = file('../test/guest/run');
const ROUNDS = 5;
const SECONDS = 3;

// Rounds of one guest; each is { vanity, testpmd }.
async function rounds(name, count, log) {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-')); // the guest sees the host's files
  const job = join(folder, `${name}.sh`);
  const text = readFileSync(file(`./guest-forward/${name}.sh`), 'utf8');
  writeFileSync(job, text.replace(/^\. /m, `arguments="${count} ${SECONDS}"\n. `));
  try {
    const found = await boot(job, count);
    log(`${name}: ${count} rounds`);
    return found;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function boot(job, count) {
  return new Promise((resolve, reject) => {
    const child = spawn(RUN, [job], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        out += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code) => {
      const found = [...out.matchAll(/^round: (.*)$/gm)].map(([, json]) => JSON.parse(json));
      if (code === 0 && found.length === count) resolve(found);
      else reject(new Error(`the guest ended with ${code}: ${out}`));
    });
  });
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds: wanted = undefined, quick, log }) {
  const count = wanted ?? (quick ? 1 : ROUNDS);
  const time = await rounds('time', count, log);
  const instructions = await rounds('instructions', quick ? 1 : 3, log);
  const over = (samples, pick) => median(samples.map(pick));
  const ratio = over(time, ({ vanity, testpmd }) => vanity.pps / testpmd.pps);
  const cost = over(instructions, ({ vanity, testpmd }) => testpmd.ticks / vanity.ticks);
  const lost = [...time, ...instructions].reduce((sum, { vanity }) => sum + vanity.lost, 0);
  return {
    figures: [
      figure(
        'virtio to virtio',
        over(time, ({ vanity }) => vanity.pps),
        'packets/s',
      ),
      figure(
        'testpmd io',
        over(time, ({ testpmd }) => testpmd.pps),
        'packets/s',
      ),
      figure('Vanity / testpmd', ratio, 'x', '>= 1.0', ratio >= 1),
      figure(
        'one packet, Vanity',
        over(instructions, ({ vanity }) => vanity.ticks),
        'instructions/packet',
      ),
      figure(
        'one packet, testpmd io',
        over(instructions, ({ testpmd }) => testpmd.ticks),
        'instructions/packet',
      ),
      figure('instructions, testpmd / Vanity', cost, 'x', '>= 1.0', cost >= 1),
      figure('packets lost', lost, 'packets', '= 0', lost === 0),
    ],
    time,
    instructions,
  };
}
