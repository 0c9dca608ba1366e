// vanity sim with users' native modules: each schedule finds them as new, what they break is found, and
// who asks the world outside is told.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { findSimulator } from '../../dist/loader.js';
import { loadManifest } from '../../dist/manifest/plan.js';
import { SCALE, systemText } from '../../dist/planning/sim-system.js';
import { workspace } from './helpers.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SOURCES = join(ROOT, 'test/sim/modules');
const INCLUDE = ['-I', join(ROOT, 'native/include'), '-I', join(ROOT, 'native')];

/** Compiles one of test/sim/modules, for the machine and, unless told otherwise, for the simulator. */
function compile(work, source, policy = true) {
  const [name, ending] = source.split('.');
  const [compiler, ...standard] = ending === 'cpp' ? ['c++', '-std=c++20'] : ['cc', '-w'];
  const builds = policy ? [[], ['-DVANITY_SIM']] : [[]];
  for (const defines of builds) {
    const out = join(work.path, `${name}${defines.length > 0 ? '.sim' : ''}.so`);
    // The headers in C++ call what only the simulator has.
    if (ending === 'cpp' && defines.length === 0) work.file(`${name}.so`, '');
    else {
      const more = ['-shared', '-fPIC', '-O2', ...INCLUDE, '-o', out, join(SOURCES, source)];
      const made = spawnSync(compiler, [...standard, ...defines, ...more], { encoding: 'utf8' });
      if (made.status !== 0) throw new Error(made.stderr);
    }
  }
}

function system(work, name, more = '') {
  return work.file(
    `${name}.toml`,
    `
[system]
name = "${name}"
oversubscribe = true
[shards.source]
program = "generate"
options = { count = 12 }
[shards.mine]
program = "./${name}.so"
${more}
[shards.drain]
program = "sink"
[channels.in]
from = "source"
to = "mine"
overflow = "block"
[channels.out]
from = "mine"
to = "drain"
overflow = "${name === 'forgetful' ? 'program' : 'block'}"
`,
  );
}

async function sim(work, manifest, ...args) {
  const keep = ['--keep', join(work.path, 'kept.repro')];
  const run = await work.start('sim', manifest, '--json', '--seed', '5', ...keep, ...args).ended;
  return { ...run, result: JSON.parse(run.stdout) };
}

for (const source of ['steady.c', 'ring.cpp', 'local.c']) {
  test.serial(`${source}: goes through many schedules, each as if it were the first`, async (t) => {
    const work = workspace(t);
    compile(work, source);
    const { code, result, stdout } = await sim(
      work,
      system(work, source.split('.')[0]),
      '--schedules',
      '200',
    );
    t.is(code, 0, stdout);
    t.like(result, { verdict: 'good', schedules: 200 });
  });
}

test.serial('one seed is one log, whoever runs it and whatever ran before', async (t) => {
  const work = workspace(t);
  compile(work, 'steady.c');
  const manifest = system(work, 'steady');
  const log = async (name, ...args) => {
    const path = join(work.path, name);
    const { code, stdout } = await sim(work, manifest, '--log', path, ...args);
    t.is(code, 0, stdout);
    return readFileSync(path, 'utf8');
  };
  const first = await log('first', '--schedules', '30');
  t.is(await log('second', '--schedules', '30'), first);
  t.regex(first, /^mine received 12, gone 12, dropped 0$/m);
});

for (const [source, calls] of [
  ['clock.c', ['clock_gettime']],
  ['chance.c', ['getrandom', 'rand']],
  ['address.c', []],
]) {
  test.serial(`${source}: two runs of one seed differ, and it is named`, async (t) => {
    const work = workspace(t);
    compile(work, source);
    const name = source.split('.')[0];
    const { code, result, stdout } = await sim(work, system(work, name), '--schedules', '100');
    t.is(code, 1, stdout);
    t.is(result.verdict, 'diverges');
    t.like(result.failure, { shards: ['mine'], calls });
    t.true(result.failure.step > 0);
    t.not(...result.failure.lines);
    t.regex(result.failure.what, new RegExp(`shard mine \\(${name}\\.sim\\.so\\) does not do`));
  });
}

test.serial(
  'a module that hands on what it knows is replaced, and has to take it over',
  async (t) => {
    const work = workspace(t);
    compile(work, 'heir.c');
    const capture = join(ROOT, 'examples/captures/two-hosts.pcap');
    const manifest = (how) =>
      work.file(
        `${how}.toml`,
        `
[system]
name = "heir"
oversubscribe = true
[ports.in]
driver = "capture"
file = "${capture}"
rx = "mine"
[shards.mine]
program = "./heir.so"
options = { how = "${how}" }
[shards.drain]
program = "sink"
[channels.out]
from = "mine"
to = "drain"
overflow = "block"
`,
      );
    const holds = ['--holds', 'mine.passed = drain.consumed', '--schedules', '1500'];
    const good = await sim(work, manifest('remembers'), ...holds);
    t.is(good.code, 0, good.stdout);
    const { code, result, stdout } = await sim(work, manifest('forgets'), ...holds);
    t.is(code, 1, stdout);
    t.like(result, { verdict: 'order' });
    t.regex(
      result.failure.what,
      /^"mine.passed = drain.consumed" does not hold: mine.passed is \d+, /,
    );
    const kept = readFileSync(result.failure.repro, 'utf8');
    t.regex(kept, /^# .* {2}\* a reload of mine is asked for/m);
    t.regex(kept, /^# .* {2}\* the reload of mine is answered: kept$/m);
  },
);

test.serial('of two programs the one that looks at the clock is named', async (t) => {
  const work = workspace(t);
  for (const source of ['clock.c', 'steady.c']) compile(work, source);
  const manifest = system(work, 'clock');
  const text = readFileSync(manifest, 'utf8')
    .replace('to = "drain"', 'to = "after"')
    .concat('[shards.after]\nprogram = "./steady.so"\n')
    .concat('[channels.last]\nfrom = "after"\nto = "drain"\noverflow = "block"\n');
  const { result } = await sim(work, work.file('clock.toml', text), '--schedules', '100');
  t.is(result.verdict, 'diverges');
  t.deepEqual(result.failure.shards, ['mine']);
});

for (const [how, verdict, says] of [
  ['fault', 'broken', 'mine faults (Segmentation fault)'],
  ['stack', 'broken', 'mine faults (Segmentation fault)'],
  ['abort', 'broken', 'mine gives up (abort)'],
  ['exit', 'broken', 'the program of mine calls exit'],
  ['twice', 'broken', 'the program of mine is left: it gave away a packet that it does not hold'],
  ['hang', 'endless', 'the program of mine does not come back'],
]) {
  test.serial(`a program that breaks (${how}) is a finding, kept and replayed`, async (t) => {
    const work = workspace(t);
    compile(work, 'breaker.c');
    const manifest = system(work, 'breaker', `options = { how = "${how}" }`);
    const text = work.file('system', systemText(loadManifest(manifest).plan, SCALE));
    const repro = join(work.path, 'kept.repro');
    const found = spawnSync(findSimulator(), [text, '--shrink', '0', '--keep', repro], {
      encoding: 'utf8',
    });
    t.is(found.status, 1, found.stdout + found.stderr);
    const said = JSON.parse(found.stdout.trim().split('\n').at(-1));
    t.like(said, { state: 'failed', verdict, what: says, repro });
    const again = await work.start('sim', '--replay', repro, '--json').ended;
    t.is(again.code, 1, again.stderr);
    t.like(JSON.parse(again.stdout), { verdict, what: says, steps: said.steps });
  });
}

test.serial(
  'a packet that is forgotten where the ring is full is a leak of some schedules',
  async (t) => {
    const work = workspace(t);
    compile(work, 'forgetful.c');
    const { code, result, stdout } = await sim(
      work,
      system(work, 'forgetful'),
      '--schedules',
      '400',
    );
    t.is(code, 1, stdout);
    t.regex(result.failure.what, /VANITY_E_BUFFER_LEAK/);
  },
);

test.serial(
  'without a policy build it is refused, and what is to be typed then helps',
  async (t) => {
    const work = workspace(t);
    compile(work, 'steady.c', false);
    for (const file of ['steady.c', 'program.h'])
      copyFileSync(join(SOURCES, file), join(work.path, file));
    const manifest = system(work, 'steady');
    const refused = await sim(work, manifest);
    t.is(refused.code, 1);
    const { code, message, hint } = refused.result.error;
    t.is(code, 'VANITY_E_SIM_MODULE');
    t.regex(message, /shard "mine" runs, .*\/steady\.sim\.so: it is not there$/);
    // One that is compiled as for the machine helps nothing.
    copyFileSync(join(work.path, 'steady.so'), join(work.path, 'steady.sim.so'));
    const same = (await sim(work, manifest)).result.error;
    t.regex(same.message, /steady\.sim\.so: it is not compiled for the simulator$/);
    t.is(same.hint, hint);
    const [, command] = /^Compile it for the simulator: (cc -DVANITY_SIM .*)$/.exec(hint);
    const made = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
    t.is(made.status, 0, made.stderr);
    t.is((await sim(work, manifest, '--schedules', '20')).code, 0);
  },
);

test.serial('the policy build does not run on the machine', async (t) => {
  const work = workspace(t);
  compile(work, 'steady.c');
  const set = ['--set', 'shards.mine.program=./steady.sim.so'];
  const run = await work.start('run', system(work, 'steady'), ...set, '--json').ended;
  t.is(run.code, 1);
  const { code, message } = JSON.parse(run.stdout).error;
  t.is(code, 'VANITY_E_PROGRAM_ABI');
  t.regex(message, /compiled for the simulator/);
});

test.serial('several shards of a module with thread-locals are refused', async (t) => {
  const work = workspace(t);
  compile(work, 'local.c');
  const text = readFileSync(system(work, 'local'), 'utf8')
    .replace('to = "drain"', 'to = "after"')
    .concat('[shards.after]\nprogram = "./local.so"\n')
    .concat('[channels.last]\nfrom = "after"\nto = "drain"\noverflow = "block"\n');
  const { code, result } = await sim(work, work.file('local.toml', text));
  t.is(code, 1);
  t.is(result.error.code, 'VANITY_E_SIM_MODULE');
  t.regex(result.error.message, /local\.sim\.so: it has thread-locals, and several shards run it/);
});
