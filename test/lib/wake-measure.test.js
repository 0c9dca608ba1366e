// The loop around the visits, with an addon that answers at once.
import test from 'ava';
import { measureWake } from '../../dist/wake/measure.js';
import { planWake } from '../../dist/wake/plan.js';

const processor = (id) => ({
  id,
  core: id,
  package: 0,
  node: 0,
  siblings: [id],
  cluster: [0, 1],
  isolated: false,
  usable: true,
});
const MECHANISMS = [
  { name: 'spin', kind: 'backend', sleeps: false, script: false },
  { name: 'futex', kind: 'backend', sleeps: true, script: false },
  { name: 'atomics', kind: 'reference', sleeps: true, script: true },
];

const plan = (choice = {}) =>
  planWake({
    processors: [processor(0), processor(1)],
    mechanisms: MECHANISMS,
    budgetS: 1,
    choice: {
      quick: true,
      pairs: null,
      idlesNs: [0, 10_000],
      samples: null,
      rounds: 3,
      seed: 1,
      ...choice,
    },
  });

/** What a visit of these samples answers. */
function visitOf(samples, more = {}) {
  return {
    latencyNs: Float64Array.from({ length: samples }, () => 100),
    signalNs: Float64Array.from({ length: samples }, () => 5),
    marks: new Uint8Array(samples),
    idledNs: 11_000,
    overrun: 1,
    wallNs: 1e6,
    cpuNs: 5e5,
    waits: samples,
    signalled: samples,
    deadline: 0,
    osLimit: 0,
    spurious: 0,
    lateFoundWork: 0,
    involuntary: [1, 2],
    ...more,
  };
}

async function measure(options = {}) {
  const calls = { native: [], script: [], skews: [], aborted: 0, progress: [] };
  const {
    answer = (spec) => visitOf(spec.samples),
    skew = () => ({ offsetNs: 7, errorNs: 50 }),
    ...rest
  } = options;
  const wake = {
    visit: async (spec) => {
      calls.native.push(spec);
      return answer(spec, calls);
    },
    skew: async (from, to) => {
      calls.skews.push([from, to]);
      return skew(calls.skews.length);
    },
    abort: () => {
      calls.aborted++;
    },
  };
  const script = {
    visit: async (spec) => {
      calls.script.push(spec);
      return visitOf(spec.samples);
    },
    abort: () => {},
  };
  const measured = await measureWake({
    wake,
    script,
    plan: plan(),
    budgetS: null,
    seed: 1,
    signal: new AbortController().signal,
    onProgress: (progress) => calls.progress.push(progress),
    ...rest,
  });
  return { ...measured, calls };
}

test('every visit of the plan is made, by whom it is for, and adds to its cell', async (t) => {
  const { cells, signals, floors, complete, notes, calls, noise } = await measure();
  t.true(complete);
  t.deepEqual(notes, []);
  // 2 pairs x 3 mechanisms x (2 idle times + there and back).
  t.is(cells.length, 2 * 3 * 3);
  t.is(signals.length, 2 * 2);
  t.deepEqual(floors.map(({ lines }) => lines).sort(), [1, 1, 2, 2]);
  t.true(calls.script.every((spec) => spec.mechanism === 'atomics'));
  t.false(calls.native.some((spec) => spec.mechanism === 'atomics'));
  for (const cell of cells) {
    t.is(cell.rounds.length, 3);
    t.is(cell.latency.count, cell.wakes.waits || cell.latency.count);
    t.is(cell.idled_ns, 11_000);
    t.is(cell.overrun, 3);
    t.is(cell.cpu_s_per_s, 0.5);
  }
  t.deepEqual(signals[0].signal_ns.length, 3);
  t.is(floors[0].rounds.length, 3);
  const visits = calls.native.length + calls.script.length;
  t.is(
    noise.cpus.reduce((sum, cpu) => sum + cpu.involuntary_switches, 0),
    3 * visits,
  );
});

test('numbers for the addon are whole, and the skew of each direction is subtracted', async (t) => {
  const { calls, skews } = await measure({ budgetS: 5 });
  for (const spec of calls.native) {
    for (const key of ['samples', 'maxNs', 'idleNs', 'spinNs', 'seed'])
      t.true(Number.isInteger(spec[key]));
    t.is(spec.offsetNs, spec.from < spec.to === calls.skews[0][0] < calls.skews[0][1] ? 7 : -7);
  }
  t.is(
    calls.skews.length,
    5 * (3 + 1),
    'once for both directions: before each round and at the end',
  );
  t.deepEqual(
    skews.map((s) => s.offset_ns).sort((a, b) => a - b),
    [-7, 7],
  );
});

test('a skew that is known better later corrects what was measured before', async (t) => {
  // A bad guess first: it makes one direction come out below zero.
  const skew = (call) =>
    call <= 5 ? { offsetNs: 140, errorNs: 300 } : { offsetNs: call % 3, errorNs: 50 + (call % 3) };
  const answer = (spec) => {
    const ns = spec.mode === 'oneway' ? 100 - spec.offsetNs : 100;
    return visitOf(spec.samples, { latencyNs: new Float64Array(spec.samples).fill(ns) });
  };
  const { cells, skews, notes } = await measure({ skew, answer });
  t.deepEqual(notes, []);
  t.deepEqual(
    skews.map((s) => [Math.abs(s.offset_ns), s.error_ns]),
    [
      [1, 50],
      [1, 50],
    ],
  );
  for (const cell of cells.filter((c) => c.mechanism !== 'atomics')) {
    const { offset_ns } = skews.find((s) => s.from === cell.from);
    const expected = cell.mode === 'roundtrip' ? 100 : 100 - offset_ns;
    for (const round of cell.rounds) {
      t.true(Math.abs(round.min_ns - expected) < 1, `${cell.mode} ${round.min_ns} ${expected}`);
      t.true(Math.abs(round.max_ns - expected) < 1);
    }
  }
});

test('clocks that drift apart are told of', async (t) => {
  const { notes } = await measure({
    skew: (call) => ({ offsetNs: call <= 5 ? 0 : 500, errorNs: 50 }),
  });
  t.regex(notes.join(), /drifted apart by 500 ns/);
});

test('clocks that cannot be compared are told of, unless it was aborted', async (t) => {
  const refuse = () => {
    throw new Error('nothing came back');
  };
  const { notes, skews, complete, calls } = await measure({ skew: refuse });
  t.true(complete);
  t.deepEqual(skews, []);
  t.true(calls.native.every((spec) => spec.offsetNs === 0));
  t.regex(notes[0], /clocks of processors \d and \d could not be compared.*: nothing came back\.$/);
  const abort = new AbortController();
  const aborted = await measure({
    signal: abort.signal,
    skew: () => {
      abort.abort();
      return refuse();
    },
  });
  t.false(aborted.complete);
  t.deepEqual(aborted.notes, []);
  t.deepEqual(aborted.calls.native, []);
});

test('disturbed samples are counted by reason, and stay in', async (t) => {
  const answer = (spec) => {
    const visit = visitOf(spec.samples);
    visit.marks.set([1, 1, 1 | 2, 4 | 8, 4], 0);
    visit.latencyNs[0] = 5000;
    return visit;
  };
  const { cells } = await measure({ answer });
  const cell = cells.find((c) => c.mechanism === 'futex');
  t.deepEqual(cell.marks, { preempted: 9, migrated: 3, stolen: 6, signaller: 3 });
  t.is(cell.disturbed.count, 15);
  t.is(cell.disturbed.max_ns, 5000);
  t.is(cell.latency.max, 5000);
  t.is(cell.rounds[0].max_ns, 5000);
});

test('aborted: what there is, and not complete', async (t) => {
  const abort = new AbortController();
  const answer = (spec, calls) => {
    if (calls.native.length === 5) abort.abort();
    return visitOf(spec.samples);
  };
  const { complete, cells, floors, signals, calls } = await measure({
    answer,
    signal: abort.signal,
  });
  t.false(complete);
  t.is(calls.native.length, 5);
  t.is(calls.aborted, 1);
  t.is(calls.skews.length, 5);
  t.is(cells.length + floors.length + signals.length, calls.native.length + calls.script.length);
});

test('a cell that fails is left out with its reason; when all do, that is the error', async (t) => {
  const fail = () => {
    throw Object.assign(new Error('no such core'), { code: 'VANITY_E_CORE_PIN', hint: 'look' });
  };
  const { cells, notes, calls } = await measure({
    answer: (spec) => (spec.mechanism === 'futex' ? fail() : visitOf(spec.samples)),
  });
  t.false(cells.some((cell) => cell.mechanism === 'futex'));
  t.regex(notes.join(), /Not measured: futex .*; .*; .* and 5 more: no such core/);
  t.is(notes.length, 1);
  t.is(calls.native.filter((spec) => spec.mechanism === 'futex').length, 8, 'not again each round');
  const only = plan({ pairs: [[0, 1]] });
  for (const round of only.rounds) round.splice(0, round.length, ...round.filter((v) => !v.script));
  await t.throwsAsync(measure({ answer: fail, plan: only }), { code: 'VANITY_E_CORE_PIN' });
});

test('a busy host: fewer samples, then fewer rounds, and a note', async (t) => {
  const slow = async (spec) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return visitOf(spec.samples);
  };
  const { notes, complete, cells } = await measure({ answer: slow, budgetS: 0.7 });
  t.true(complete);
  t.regex(notes.join(), /too busy for all of it: [12] of 3 rounds/);
  t.true(cells.every((cell) => cell.latency.count > 0));
});

test('a visit that brought nothing is tried once more, with more time', async (t) => {
  const seen = new Map();
  const answer = (spec) => {
    const key = [spec.mechanism, spec.mode, spec.from, spec.idleNs, spec.seed].join();
    const first = seen.get(key);
    seen.set(key, spec);
    if (first) t.is(spec.maxNs, first.maxNs * 5);
    return visitOf(first ? spec.samples : 0);
  };
  const { cells, calls } = await measure({ answer });
  t.true(cells.every((cell) => cell.latency.count > 0));
  t.is(calls.native.length, 2 * seen.size);
});

test('progress goes from 0 towards 1, with what is measured and what remains', async (t) => {
  const { calls } = await measure({ budgetS: 10 });
  const done = calls.progress.map((p) => p.done);
  t.deepEqual(
    done,
    [...done].sort((a, b) => a - b),
  );
  t.is(calls.progress[0].visit, null);
  t.true(calls.progress.slice(1).every((p) => p.visit !== null && p.remainingS >= 0));
  t.true(done.at(-1) < 1);
});
