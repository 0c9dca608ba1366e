// The references in JavaScript, by themselves: real workers, pinned by the addon.
import test from 'ava';
import { usableCpus } from '../../dist/host/cpus.js';
import { SCRIPT_MECHANISMS, ScriptReferences } from '../../dist/wake/node/references.js';

const cpus = usableCpus();
const [from, to] = [cpus[0], cpus.at(-1)];

function references(t) {
  const script = new ScriptReferences();
  t.teardown(() => script.close());
  return script;
}

const spec = (mechanism, mode, more = {}) => ({
  mechanism,
  mode,
  from,
  to,
  idleNs: 50_000,
  samples: 30,
  maxNs: 10e9,
  spinNs: 0,
  offsetNs: 0,
  seed: 1,
  ...more,
});

for (const { name } of SCRIPT_MECHANISMS) {
  for (const mode of ['oneway', 'roundtrip']) {
    test.serial(
      `${name}, ${mode}: as many samples as asked for, each with its latency`,
      async (t) => {
        const visit = await references(t).visit(spec(name, mode));
        t.is(visit.latencyNs.length, 30);
        t.is(visit.marks.length, 30);
        t.true(visit.latencyNs.every((ns) => ns > 0 && ns < 10e9));
        t.is(visit.signalNs.length, mode === 'oneway' ? 30 : 0);
        t.true(visit.wallNs > 0 && visit.cpuNs > 0 && visit.cpuNs < 2 * visit.wallNs);
        t.is(Number.isNaN(visit.idledNs), mode === 'roundtrip');
      },
    );
  }

  test.serial(`${name}: the skew is subtracted one way, never there and back`, async (t) => {
    const script = references(t);
    const far = { offsetNs: -1e12 };
    const [there, both] = [
      await script.visit(spec(name, 'oneway', far)),
      await script.visit(spec(name, 'roundtrip', far)),
    ];
    t.true(there.latencyNs.every((ns) => ns > 1e12));
    t.true(both.latencyNs.every((ns) => ns < 1e12));
  });

  test.serial(`${name}: ends when its time is over, and when it is told to`, async (t) => {
    const script = references(t);
    const long = { idleNs: 20e6, samples: 100_000 };
    for (const mode of ['oneway', 'roundtrip']) {
      const samples = mode === 'oneway' ? 100_000 : 1_000_000;
      const visit = await script.visit(spec(name, mode, { ...long, samples, maxNs: 200e6 }));
      t.true(visit.latencyNs.length < samples, mode);
      t.true(visit.latencyNs.length > 0, mode);
    }
    setTimeout(() => script.abort(), 200);
    const began = performance.now();
    const aborted = await script.visit(spec(name, 'oneway', { ...long, maxNs: 60e9 }));
    t.true(performance.now() - began < 10_000);
    t.true(aborted.latencyNs.length < 100_000);
    const after = await script.visit(spec(name, 'oneway', { ...long, maxNs: 60e9 }));
    t.true(after.latencyNs.length < 100_000, 'and so does whatever comes later');
  });
}

test.serial('on one processor both sides take turns', async (t) => {
  const script = references(t);
  for (const { name } of SCRIPT_MECHANISMS) {
    const visit = await script.visit(spec(name, 'oneway', { to: from }));
    t.is(visit.latencyNs.length, 30, name);
  }
});

test.serial('a processor that is not there is an error, and the next visit works', async (t) => {
  const script = references(t);
  await t.throwsAsync(script.visit(spec('atomics', 'oneway', { to: 4000 })), {
    code: 'VANITY_E_WAKE_WORKER',
  });
  t.is((await script.visit(spec('atomics', 'oneway'))).latencyNs.length, 30);
});
