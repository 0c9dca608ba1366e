import test from 'ava';
import { planWake } from '../../dist/wake/plan.js';

/** `packages` of `cores` cores of `threads` threads, numbered as Linux does: threads of a core far apart. */
function machine({ packages = 1, cores, threads = 1, clusters = 1, unusable = [], isolated = [] }) {
  const total = packages * cores;
  const cpus = [];
  for (let id = 0; id < total * threads; id++) {
    const core = id % total;
    const siblings = Array.from({ length: threads }, (_, t) => core + t * total);
    const socket = Math.floor(core / cores);
    const perCluster = cores / clusters;
    const cluster = Math.floor(core / perCluster);
    cpus.push({
      id,
      core: core % cores,
      package: socket,
      node: socket,
      siblings,
      cluster: Array.from({ length: total * threads }, (_, other) => other).filter(
        (other) => Math.floor((other % total) / perCluster) === cluster,
      ),
      isolated: isolated.includes(id),
      usable: !unusable.includes(id),
    });
  }
  return cpus;
}

const mechanism = (name, sleeps, script = false) => ({
  name,
  kind: script ? 'reference' : 'backend',
  sleeps,
  script,
});
const MECHANISMS = [
  mechanism('spin', false),
  mechanism('adaptive', false),
  mechanism('futex', true),
  mechanism('atomics', true, true),
];
const IDLES = [0, 1000, 10_000, 100_000, 1_000_000, 10_000_000];

function plan(processors, { budgetS = 56, mechanisms = MECHANISMS, ...choice } = {}) {
  return planWake({
    processors,
    mechanisms,
    budgetS,
    choice: {
      quick: false,
      pairs: null,
      idlesNs: IDLES,
      samples: null,
      rounds: 4,
      seed: 1,
      ...choice,
    },
  });
}

const keyOf = (v) => [v.mechanism, v.mode, v.from, v.to, v.idleNs].join();
const pairOf = ({ from, to }) => `${from}-${to}`;

test('two processors: everything both ways, each cell once a round, in orders of their own', (t) => {
  const { pairs, rounds, notes, expectedS } = plan(machine({ cores: 2 }));
  t.deepEqual(pairs.map(pairOf).sort(), ['0-1', '1-0']);
  t.true(pairs.every((pair) => pair.relation === 'cluster'));
  t.deepEqual(notes, []);
  t.is(rounds.length, 4);
  const [first, second] = rounds.map((round) => round.map(keyOf));
  // Of each pair: 4 mechanisms at 6 idle times and there and back, 3 native signals, two floors.
  t.is(first.length, 2 * (4 * 6 + 4 + 3 + 2));
  t.is(new Set(first).size, first.length);
  t.deepEqual([...first].sort(), [...second].sort());
  t.notDeepEqual(first, second);
  t.true(expectedS > 40 && expectedS <= 56.01, `${expectedS} s`);
});

test('what is compared stands together: all mechanisms on one pair at one idle time', (t) => {
  const orders = plan(machine({ cores: 2 })).rounds.map((round) => {
    const blocks = round.map((v) =>
      [v.from, v.to, ['floor', 'line'].includes(v.mode) ? 'oneway' : v.mode, v.idleNs].join(),
    );
    const starts = blocks.filter((block, i) => block !== blocks[i - 1]);
    t.is(starts.length, new Set(blocks).size, 'no block is left and entered again');
    return starts;
  });
  t.notDeepEqual(orders[0], orders[1], 'the blocks have another order in each round');
  t.deepEqual(orders[0].sort(), orders[1].sort());
});

test('the seed decides the order, and nothing else', (t) => {
  const order = (seed) =>
    plan(machine({ cores: 2 }), { seed })
      .rounds.flat()
      .map(keyOf);
  t.deepEqual(order(7), order(7));
  t.notDeepEqual(order(7), order(8));
  t.deepEqual(order(7).sort(), order(8).sort());
});

test('time is shared: less idle time, more samples; each has the least', (t) => {
  const [round] = plan(machine({ cores: 2 })).rounds;
  const samples = (idleNs) =>
    round.find((v) => v.mechanism === 'futex' && v.mode === 'oneway' && v.idleNs === idleNs)
      .samples;
  t.true(samples(0) > samples(100_000));
  t.true(samples(100_000) > samples(1_000_000));
  t.true(samples(1_000_000) >= samples(10_000_000));
  t.true(round.every((v) => v.samples >= 13));
});

test('samples that were asked for are had, whatever time they take', (t) => {
  const { rounds, expectedS } = plan(machine({ cores: 2 }), { samples: 4001 });
  for (const visit of rounds[0]) t.is(visit.samples, 1001);
  t.true(expectedS > 2 * 4 * 4 * 1001 * 0.01, 'the 10 ms alone');
});

test('four cores of two threads: representatives of each relation there and back, others at one idle time', (t) => {
  const cpus = machine({ cores: 4, threads: 2 });
  const { pairs, rounds, notes, expectedS } = plan(cpus, { budgetS: 8.5, quick: true });
  t.is(pairs.length, 56, 'every ordered pair');
  t.true(expectedS <= 8.51, `${expectedS} s`);
  const swept = new Set(rounds[0].filter((v) => v.idleNs === 10_000_000).map(pairOf));
  t.is(swept.size, 4);
  const relations = pairs.filter((p) => swept.has(pairOf(p))).map((p) => p.relation);
  t.deepEqual(relations.sort(), ['cluster', 'cluster', 'sibling', 'sibling']);
  for (const pair of pairs.map(pairOf)) {
    const own = rounds[0].filter((v) => pairOf(v) === pair);
    t.true(own.some((v) => v.mode === 'floor'));
    t.true(own.some((v) => v.mechanism === 'spin' && v.idleNs === 10_000));
    if (!swept.has(pair)) t.false(own.some((v) => v.script || v.mode === 'signal'));
  }
  t.true(notes.some((note) => note.includes('one idle time')));
});

test('96 processors: a sample that has every relation, within the budget, the same for the same seed', (t) => {
  const cpus = machine({ packages: 2, cores: 24, threads: 2, clusters: 4 });
  t.is(cpus.length, 96);
  for (const [budgetS, quick] of [
    [56, false],
    [8.5, true],
  ]) {
    const { pairs, rounds, notes, expectedS } = plan(cpus, { budgetS, quick });
    t.true(expectedS <= budgetS * 1.01, `${expectedS} s of ${budgetS}`);
    t.deepEqual([...new Set(pairs.map((p) => p.relation))].sort(), [
      'cluster',
      'package',
      'remote',
      'sibling',
    ]);
    t.true(notes.some((note) => note.includes('left out')));
    t.deepEqual([...new Set(rounds[0].map(pairOf))].sort(), pairs.map(pairOf).sort());
    t.is(new Set(pairs.map(pairOf)).size, pairs.length, 'no pair twice');
    t.deepEqual(plan(cpus, { budgetS, quick }).pairs, pairs);
  }
  const others = (seed) => plan(cpus, { seed }).pairs.map(pairOf);
  t.notDeepEqual(others(1), others(2));
});

test('pairs that were asked for are never left out', (t) => {
  const cpus = machine({ packages: 2, cores: 48 });
  const pairs = cpus.slice(1).map((cpu) => [0, cpu.id]);
  const result = plan(cpus, { pairs, budgetS: 8.5, quick: true });
  t.is(result.pairs.length, 95);
  t.is(new Set(result.rounds[0].map(pairOf)).size, 95);
});

test('isolated processors are swept first, the first one last', (t) => {
  const swept = (isolated) => {
    const cpus = machine({ cores: 8, isolated });
    const { rounds } = plan(cpus, { budgetS: 8, quick: true });
    return [...new Set(rounds[0].filter((v) => v.idleNs === 10_000_000).map(pairOf))].sort();
  };
  t.deepEqual(swept([]), ['1-2', '2-1']);
  t.deepEqual(swept([5, 7]), ['5-7', '7-5']);
});

test('one processor: what sleeps shares it, the rest is named', (t) => {
  const cpus = machine({ cores: 4, unusable: [0, 1, 3] });
  const { pairs, rounds, notes } = plan(cpus);
  t.deepEqual(pairs, [{ from: 2, to: 2, relation: 'same' }]);
  t.deepEqual([...new Set(rounds[0].map((v) => v.mechanism))].sort(), ['atomics', 'futex']);
  t.deepEqual([...new Set(rounds[0].map((v) => v.mode))].sort(), ['oneway', 'roundtrip']);
  t.regex(notes.join(), /Not measured on one and the same processor: spin, adaptive\./);
  const alone = plan(cpus, { mechanisms: [mechanism('spin', false)] });
  t.is(alone.rounds.flat().length, 0);
});
