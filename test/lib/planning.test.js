// Planning: what is simulated against what can be worked out by hand, and what is said of bad input.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { simCommand } from '../../dist/cli/sim.js';
import { loadManifest, loadManifestText } from '../../dist/manifest/plan.js';
import { forecast } from '../../dist/planning/forecast.js';
import { modelNames, readHostModel } from '../../dist/planning/host-model.js';
import { Random } from '../../dist/planning/random.js';
import { simulate } from '../../dist/planning/simulate.js';

const shard = (name, more) => ({
  name,
  core: 0,
  burst: 32,
  burstNs: 0,
  packetNs: 50,
  inputs: [],
  outputs: [],
  passes: 'none',
  wakeNs: 1000,
  pollNs: 10,
  spinNs: 0,
  ...more,
});
const play = (queues, shards, more = {}) =>
  simulate({ queues, shards, switchNs: 0, timeNs: 10e6, seed: 1, ...more });
const fed = (rate, capacity = 1024) => ({ name: 'in', capacity, overflow: 'drop', rate });
const channel = (name, overflow, capacity = 64) => ({ name, capacity, overflow });
const reads = (...queues) => ({ inputs: queues.map((queue) => ({ queue, ns: 0 })) });
const writes = (passes, ...queues) => ({
  passes,
  outputs: queues.map((queue) => ({ queue, ns: 0 })),
});
const near = (t, found, wanted, share) =>
  t.true(Math.abs(found / wanted - 1) < share, `${found} is not within ${share} of ${wanted}`);

test('a shard that always has work does one packet in what it costs', (t) => {
  const played = play([fed(Infinity)], [shard('a', { ...reads(0), burstNs: 160 })]);
  near(t, played.shards[0].packets, 10e6 / 55, 0.001); // 50 and its part of a burst of 32
  near(t, played.shards[0].busyNs, 10e6, 0.001);
});

test('below its limit a shard is at work for rate times cost, and drops nothing', (t) => {
  const played = play([fed(5e6)], [shard('a', reads(0))]);
  near(t, played.shards[0].busyNs / 10e6, 0.25, 0.02);
  t.is(played.queues[0].dropped, 0);
  near(t, played.queues[0].arrived, 50_000, 0.02);
});

test('beyond its limit a queue is full, and what is too much is dropped', (t) => {
  const played = play([fed(40e6)], [shard('a', reads(0))]);
  near(t, played.shards[0].packets, 200_000, 0.01);
  near(t, played.queues[0].dropped, 200_000, 0.02);
  t.is(played.queues[0].depthMax, 1024);
  near(t, played.queues[0].fullNs, 1024 / 0.02, 0.1); // 20 packets a microsecond too many
});

test('every packet is somewhere', (t) => {
  const { queues, left, shards } = play(
    [fed(15e6), channel('x', 'drop'), channel('y', 'block')],
    [
      shard('a', { ...reads(0), ...writes('one', 1, 2) }),
      shard('b', { core: 1, packetNs: 200, ...reads(1) }),
      shard('c', { core: 2, packetNs: 20, ...reads(2) }),
    ],
  );
  t.is(shards[1].packets + shards[2].packets, left);
  t.true(queues[1].dropped > 0);
  t.is(queues[2].dropped, 0);
  const within = queues[0].arrived - queues[0].dropped - queues[1].dropped - left;
  t.true(within >= 0 && within <= 1024 + 64 + 64 + 3 * 32, `${within} in it`);
});

test('a channel that blocks slows its producer to the pace of its consumer', (t) => {
  const { shards, queues } = play(
    [fed(Infinity), channel('x', 'block')],
    [
      shard('a', { ...reads(0), packetNs: 10, ...writes('one', 1) }),
      shard('b', { core: 1, packetNs: 100, ...reads(1) }),
    ],
  );
  near(t, shards[1].packets, 100_000, 0.01);
  near(t, shards[0].packets, shards[1].packets, 0.01);
  near(t, queues[1].blockedNs / 10e6, 0.9, 0.05);
});

test('shards of one core share it, and pay for each change', (t) => {
  const shards = (switchNs) =>
    play(
      [fed(Infinity), channel('x', 'block')],
      [
        shard('a', { ...reads(0), packetNs: 30, ...writes('one', 1) }),
        shard('b', { packetNs: 70, ...reads(1) }),
      ],
      { switchNs },
    ).shards;
  near(t, shards(0)[1].packets, 100_000, 0.05);
  t.true(shards(1000)[1].packets < 0.8 * shards(0)[1].packets);
});

test('a packet that finds its shard asleep waits for the wake; one that finds it polling does not', (t) => {
  const p50 = (spinNs) =>
    play([fed(1e4)], [shard('a', { ...reads(0), spinNs })], { timeNs: 100e6 }).latency.quantile(
      0.5,
    );
  near(t, p50(0), 1000, 0.1); // counted when it is taken
  near(t, p50(1e9), 10, 0.1);
});

test('mirror gives each packet to each output', (t) => {
  const { shards } = play(
    [fed(1e6), channel('x', 'block'), channel('y', 'block')],
    [
      shard('a', { ...reads(0), ...writes('each', 1, 2) }),
      shard('b', { core: 1, ...reads(1) }),
      shard('c', { core: 2, ...reads(2) }),
    ],
  );
  t.true(Math.abs(shards[1].packets - shards[0].packets) <= 32);
  t.is(shards[1].packets, shards[2].packets);
});

test('the same seed gives the same figures, another one others', (t) => {
  const told = (seed) => JSON.stringify(play([fed(5e6)], [shard('a', reads(0))], { seed }));
  t.is(told(7), told(7));
  t.not(told(7), told(8));
});

test('random numbers are even, and those of Poisson have their mean', (t) => {
  const random = new Random(3);
  const buckets = new Array(10).fill(0);
  for (let i = 0; i < 100_000; i++) buckets[random.below(10)]++;
  for (const count of buckets) near(t, count, 10_000, 0.05);
  for (const mean of [0.5, 20, 400]) {
    let sum = 0;
    for (let i = 0; i < 20_000; i++) sum += random.poisson(mean);
    near(t, sum / 20_000, mean, 0.03);
  }
});

const options = { timeNs: 2e6, seed: 1, arrivals: new Map(), costs: new Map() };
const FLOW_SPLIT = 'examples/flow-split/vanity.toml';

test('every model that comes with the package is read, and more cores do more', (t) => {
  t.deepEqual(modelNames(), ['riscv-appliance', 'two-core-vm', 'two-socket-x86', 'xsight-e1']);
  const { plan } = loadManifest(FLOW_SPLIT);
  const pps = Object.fromEntries(
    modelNames().map((name) => [name, forecast(plan, readHostModel(name), options).pps]),
  );
  t.true(pps['two-socket-x86'] > pps['two-core-vm']);
  t.true(pps['riscv-appliance'] < pps['two-core-vm']);
});

test('128 shards on 64 cores: enough for 800 Gbit/s of long frames, and what is full first of short ones', (t) => {
  const { plan } = loadManifest('examples/dpu/vanity.toml');
  const model = readHostModel('xsight-e1');
  const at = (bytes) => {
    const rate = 400e9 / 8 / (bytes + 20);
    const arrivals = new Map([
      ['net0', rate],
      ['net1', rate],
    ]);
    return { offered: 2 * rate, told: forecast(plan, model, { ...options, arrivals }) };
  };
  const long = at(1500);
  near(t, long.told.pps, long.offered, 0.02);
  t.is(long.told.dropped, 0);
  t.is(long.told.firstFull, '');
  const short = at(64);
  t.true(short.told.pps < short.offered);
  t.true(short.told.dropped > 0);
  t.not(short.told.firstFull, '');
  t.true(short.told.shards.find(({ name }) => name === short.told.busiest).busy > 0.5);
});

test('a cost that is given counts instead of the model', (t) => {
  const { plan } = loadManifest(FLOW_SPLIT);
  const costs = new Map([['split', 1000]]);
  const told = forecast(plan, readHostModel('two-socket-x86'), { ...options, costs });
  t.true(told.pps < 1e6);
  t.is(told.busiest, 'split');
});

function printed(file, options) {
  const written = [];
  const { write } = process.stdout;
  process.stdout.write = (text) => written.push(text) > 0;
  try {
    return { code: simCommand(file, { json: true, model: 'two-core-vm', ...options }), written };
  } finally {
    process.stdout.write = write;
  }
}

function says(t, file, more, pattern) {
  const { code, written } = printed(file, more);
  t.true(code > 0);
  const { error } = JSON.parse(written.join(''));
  t.regex(error.message, pattern);
  return error;
}

test.serial('JSON has the names of every other command: units last', (t) => {
  const { code, written } = printed(FLOW_SPLIT, { time: '1ms' });
  t.is(code, 0);
  const told = JSON.parse(written.join(''));
  t.is(told.time_ns, 1e6);
  t.true(told.latency_ns.p50 > 0);
  t.is(told.shards.length, 4);
  t.true(told.channels.every(({ depth_max, blocked_ns }) => depth_max > 0 && blocked_ns >= 0));
  t.notRegex(written.join(''), /"[a-z]+[A-Z]\w*":/);
});

test.serial('bad input names what is wrong, and where', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-planning-'));
  try {
    const path = join(folder, 'host.toml');
    const text = readFileSync('hosts/two-core-vm.toml', 'utf8');
    const model = (from, to) => {
      t.true(text.includes(from));
      writeFileSync(path, text.replace(from, to));
      return { model: path };
    };
    says(t, FLOW_SPLIT, { model: 'pdp-11' }, /no host model "pdp-11"; there are: riscv-appliance/);
    const wrong = says(
      t,
      FLOW_SPLIT,
      model('value = 2,', 'value = "two",'),
      /cores\.count\.value must be a number of cores from 1 to 1024/,
    );
    t.is(wrong.file, path);
    t.is(wrong.line, 6);
    says(t, FLOW_SPLIT, model('value = 2,', 'value = 1025,'), /from 1 to 1024/);
    says(t, FLOW_SPLIT, model('wake_ns = ', 'wake_us = '), /wake_(us is no key|ns must be)/);
    says(
      t,
      FLOW_SPLIT,
      model('source = "by definition"', 'source = ""'),
      /speed\.source must be text that says where/,
    );
    says(t, FLOW_SPLIT, { time: '11s' }, /at most 10s/);
    says(t, FLOW_SPLIT, { seed: '-1' }, /--seed is a whole number/);
    says(t, FLOW_SPLIT, { seed: '4294967296' }, /below 2\^32/);
    says(
      t,
      FLOW_SPLIT,
      { cost: ['split=fast'] },
      /--cost is written like router=42; it is "split=fast"/,
    );
    says(t, FLOW_SPLIT, { cost: ['splits=4'] }, /no such shard or program/);
    says(t, FLOW_SPLIT, { arrivals: ['in=10Gbps'] }, /--arrivals is written like net=14\.88M/);
    says(t, FLOW_SPLIT, { arrivals: ['in=10Gbps@59'] }, /--arrivals is written like/);
    says(t, FLOW_SPLIT, { arrivals: ['out=1M'] }, /no such port/);
    says(t, FLOW_SPLIT, { set: ['shards.split.core=2'] }, /pinned to core 2, and the model has 2/);
    says(
      t,
      'examples/dpu/vanity.toml',
      { model: 'xsight-e1' },
      /what comes to port "net0"; give --arrivals net0=/,
    );
    const own = join(folder, 'vanity.toml');
    writeFileSync(
      own,
      '[system]\nname = "own"\n[shards.a]\nprogram = "generate"\n[shards.b]\nprogram = "./b.so"\n[channels.c]\nfrom = "a"\nto = "b"\n',
    );
    writeFileSync(join(folder, 'b.so'), '');
    says(t, own, {}, /what program ".*b\.so" costs; give --cost b=NANOSECONDS/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('text of a manifest that stands for a file is planned as well', (t) => {
  const text =
    '[system]\nname = "m"\n[shards.a]\nprogram = "generate"\noptions = { rate = 1000000 }\n[shards.b]\nprogram = "sink"\n[channels.c]\nfrom = "a"\nto = "b"\n';
  const told = forecast(loadManifestText('m.toml', text).plan, readHostModel('two-core-vm'), {
    ...options,
    timeNs: 20e6,
  });
  near(t, told.pps, 1e6, 0.05);
});
