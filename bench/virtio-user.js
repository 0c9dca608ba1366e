// Virtqueues at full speed, without a virtual machine: Vanity's driver (virtio-user) beside DPDK's net_virtio_user, each in turn
// against one back-end of DPDK (net_vhost); Vanity's back-end (vhost-user) beside net_vhost, each in turn with DPDK's
// driver; and forwarding from socket to socket beside testpmd. One core is the back-end's, one the driver's; rounds are
// interleaved and ratios taken round by round.
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { figure } from './figure.js';
import { median } from './median.js';
import { installed, reservePages } from './testpmd.js';
import { coresAreEnough, FORWARDERS, forward, forwardAlone } from './virtio-user/forward.js';
import { cyclesPerSecond, kindOf } from './virtio-user/measure.js';
import { nameOf, pair } from './virtio-user/pair.js';

const ROUNDS = 3;
const IDLE_MAX = 1; // per cent of a core
const DPDK = { driver: 'dpdk', backEnd: 'dpdk' };
const OURS = {
  driver: { driver: 'vanity', backEnd: 'dpdk' },
  'back-end': { driver: 'dpdk', backEnd: 'vanity' },
};
const FORWARDED = { testpmd: 'testpmd io', one: 'one shard', two: 'two shards and a channel' };
const THEIRS = { driver: 'net_virtio_user', 'back-end': 'net_vhost' };

const mpps = (rate) => `${(rate / 1e6).toFixed(1)} Mpps`;

// The ones that are judged come first, and are all that --quick does.
function works(quick) {
  const kinds = (size, queues) =>
    [false, true].flatMap((packed) =>
      ['transmit', 'receive'].map((direction) => ({ direction, size, packed, queues })),
    );
  return quick ? kinds(64, 1) : [...kinds(64, 1), ...kinds(1500, 1), ...kinds(64, 2)];
}
const judged = ({ size, queues }) => size === 64 && queues === 1;

// What one packet takes, from the one before to this one, at the end that counts: with a driver and a back-end that work at
// the same time, the slower one's work and what it waits for the other.
function cycles(name, rate) {
  const clock = cyclesPerSecond();
  return clock === undefined ? [] : [figure(name, clock / rate, 'cycles/packet')];
}

function pairFigures({ work, samples }) {
  return Object.keys(OURS).flatMap((end) => {
    const name = `${end}, ${nameOf(work)}`;
    const ours = median(samples.map((sample) => sample[end]));
    const theirs = median(samples.map(({ dpdk }) => dpdk));
    const ratio = median(samples.map((sample) => sample[end] / sample.dpdk));
    const target = judged(work) ? ['>= 1.0', ratio >= 1] : [];
    return [
      figure(name, ours / 1e6, 'Mpps'),
      figure(`${name}, ${THEIRS[end]}`, theirs / 1e6, 'Mpps'),
      figure(`${name}, Vanity / ${THEIRS[end]}`, ratio, 'x', ...target),
      ...cycles(name, ours),
      ...cycles(`${name}, ${THEIRS[end]}`, theirs),
    ];
  });
}

function forwardFigures({ packed, samples }) {
  const over = (pick) => median(samples.map(pick).filter((value) => value !== null));
  const theirs = `testpmd io ${kindOf({ packed })}`;
  return Object.entries(FORWARDED).flatMap(([who, how]) => {
    const name = `forward 64 B ${kindOf({ packed })}, ${how}`;
    const rate = over((sample) => sample[who].rate);
    const idle = over((sample) => sample[who].idle) * 100;
    const shown = [
      figure(name, rate / 1e6, 'Mpps'),
      ...cycles(name, rate),
      figure(
        `${name}, nothing to do`,
        idle,
        '% CPU',
        ...(who === 'testpmd' ? [] : atMostOne(idle)),
      ),
    ];
    if (who === 'testpmd') return shown;
    const ratio = over((sample) => sample[who].rate / sample.testpmd.rate);
    // On a core that two shards share it is the scheduler that is measured.
    const target = who === 'one' || coresAreEnough() ? ['>= 0.9', ratio >= 0.9] : [];
    return [...shown, figure(`${name} / ${theirs}`, ratio, 'x', ...target)];
  });
}
const atMostOne = (percent) => [`<= ${IDLE_MAX}`, percent <= IDLE_MAX];

async function besideDpdk(where, { rounds, quick, log }) {
  const pairs = [];
  for (const work of works(quick)) {
    const samples = [];
    const count = rounds ?? (quick || !judged(work) ? 1 : ROUNDS);
    for (let round = 0; round < count; ++round) {
      const sample = { dpdk: await pair(DPDK, work, where) };
      for (const [end, who] of Object.entries(OURS)) sample[end] = await pair(who, work, where);
      samples.push(sample);
      log(
        `${nameOf(work)}, round ${round + 1}/${count}: DPDK at both ends ${mpps(sample.dpdk)}, ` +
          `Vanity's driver ${mpps(sample.driver)}, Vanity's back-end ${mpps(sample['back-end'])}`,
      );
    }
    pairs.push({ work, samples });
  }
  const forwards = [];
  for (const packed of [false, true]) {
    const samples = [];
    const count = rounds ?? (quick ? 1 : ROUNDS);
    for (let round = 0; round < count; ++round) {
      const sample = {};
      for (const who of Object.keys(FORWARDERS))
        sample[who] = await forward(who, { packed, idles: round === 0 }, where);
      samples.push(sample);
      log(
        `forward ${kindOf({ packed })}, round ${round + 1}/${count}: ` +
          Object.keys(FORWARDERS)
            .map((who) => `${FORWARDED[who]} ${mpps(sample[who].rate)}`)
            .join(', '),
      );
    }
    forwards.push({ packed, samples });
  }
  const notes = coresAreEnough()
    ? []
    : [
        `with ${cpus().length} cores the back-end has one and whoever forwards has one: two shards take turns on it, which is a ` +
          'figure of the scheduler and of whatever else runs, and not judged; one shard is, on as many cores as testpmd',
      ];
  return {
    figures: [...pairs.flatMap(pairFigures), ...forwards.flatMap(forwardFigures)],
    pairs,
    forwards,
    notes,
  };
}

async function alone(where, { rounds, quick, log }) {
  const results = [];
  for (const work of works(quick)) {
    const samples = [];
    const count = rounds ?? (quick || !judged(work) ? 1 : ROUNDS);
    for (let round = 0; round < count; ++round) {
      samples.push(await pair({ driver: 'vanity', backEnd: 'vanity' }, work, where));
      log(`${nameOf(work)}, round ${round + 1}/${count}: ${mpps(samples.at(-1))}`);
    }
    results.push({ work, samples });
  }
  const forwards = [];
  for (const packed of [false, true]) {
    for (const who of ['one', 'two']) {
      const { rate, idle } = await forwardAlone(who, { packed }, where);
      const name = `Vanity at both ends, forward 64 B ${kindOf({ packed })}, ${FORWARDED[who]}`;
      log(
        `${name}: ${mpps(rate)}, ${(idle * 100).toFixed(2)} % of a core when there is nothing to do`,
      );
      forwards.push({ name, rate, idle });
    }
  }
  return {
    figures: [
      ...results.flatMap(({ work, samples }) => {
        const name = `Vanity at both ends, ${nameOf(work)}`;
        const rate = median(samples);
        return [figure(name, rate / 1e6, 'Mpps'), ...cycles(name, rate)];
      }),
      ...forwards.flatMap(({ name, rate, idle }) => [
        figure(name, rate / 1e6, 'Mpps'),
        ...cycles(name, rate),
        figure(`${name}, nothing to do`, idle * 100, '% CPU', ...atMostOne(idle * 100)),
      ]),
    ],
    pairs: results,
    forwards,
    notes: [
      'dpdk-testpmd is not installed (apt-get install dpdk): nothing is compared, and Vanity is at both ends',
    ],
  };
}

/** @type {import('../dist/cli/bench.js').RunBench} */
export async function run({ rounds = undefined, quick, log }) {
  if (cpus().length < 2)
    throw new Error('a driver and a back-end need a core each, and there is one');
  const peer = installed('dpdk-testpmd');
  if (!peer) log('dpdk-testpmd is not installed (apt-get install dpdk): no comparison');
  const folder = mkdtempSync(join(tmpdir(), 'vanity-bench-'));
  const where = { folder, huge: reservePages() };
  try {
    const report = await (peer ? besideDpdk : alone)(where, { rounds, quick, log });
    return { ...report, huge_pages: where.huge, cycles_per_second: cyclesPerSecond() ?? null };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
