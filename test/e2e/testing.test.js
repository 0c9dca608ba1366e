// vanity/testing, as users' own tests have it: one file, both ways.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { native, SystemFailure, sim } from 'vanity/testing';
import { command, ROOT, shell, shellBlocks } from './helpers/paste.js';
import { workspace } from './helpers.js';

const GUIDE = join(ROOT, 'docs/guide/testing.md');
const SYSTEM = `
[system]
name = "both"
oversubscribe = true
[shards.source]
program = "generate"
options = { count = 2000, rate = 20000 }
[shards.mine]
program = "./NAME.so"
[shards.drain]
program = "sink"
[channels.in]
from = "source"
to = "mine"
overflow = "block"
[channels.out]
from = "mine"
to = "drain"
capacity = 4096
overflow = "OVERFLOW"
`;

const system = (name, overflow = 'program') =>
  SYSTEM.replace('NAME', name).replace('OVERFLOW', overflow);

function compiled(t, name, overflow) {
  const work = workspace(t);
  for (const [out, ...defines] of [[`${name}.so`], [`${name}.sim.so`, '-DVANITY_SIM']]) {
    const { status, stderr } = spawnSync(
      'cc',
      [
        ...['-O2', '-w', '-shared', '-fPIC', ...defines, '-I', join(ROOT, 'native/include')],
        ...['-o', join(work.path, out), join(ROOT, 'test/sim/modules', `${name}.c`)],
      ],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(stderr);
  }
  return { work, manifest: work.file('both.toml', system(name, overflow)) };
}

for (const mode of [native, sim]) {
  test.serial(`${mode.name}: a program that is right`, async (t) => {
    const { manifest } = compiled(t, 'steady', 'block');
    const holds = ['mine.received = mine.sent', 'source.sent - drain.consumed = 0'];
    const result = await mode(manifest, { duration: '500ms', schedules: 200, seed: 3, holds });
    t.like(result, { mode: mode.name, system: 'both' });
    if (mode === sim) t.like(result, { schedules: 200, seed: 3, summary: undefined });
    else t.is(result.summary.shards.drain.consumed, 2000);
  });
}

test.serial(
  'what is wrong in some schedules only is found there, with the way to see it',
  async (t) => {
    const { work, manifest } = compiled(t, 'forgetful');
    const { summary } = await native(manifest, { duration: '500ms' });
    t.is(summary.lost, 0);
    const keep = join(work.path, 'kept.repro');
    const failure = await t.throwsAsync(() => sim(manifest, { schedules: 400, seed: 3, keep }));
    t.true(failure instanceof SystemFailure && failure.code === 'ERR_ASSERTION');
    t.like(failure, { mode: 'sim', verdict: 'order', seed: 3, repro: keep });
    t.regex(
      failure.message,
      /^both goes wrong in the simulator: order, (tso|weak) memory: VANITY_E/,
    );
    const [, typed] = /\n {2}npx vanity (sim --replay \S+) --perfetto trace\.json\n/.exec(
      failure.message,
    );
    const again = await work.start(...typed.split(' '), '--json').ended;
    t.is(again.code, 1, again.stderr);
    t.is(JSON.parse(again.stdout).verdict, 'order');
  },
);

test.serial('a claim that does not hold is a failure of either', async (t) => {
  const { work, manifest } = compiled(t, 'steady', 'block');
  const keep = join(work.path, 'kept.repro');
  const options = { duration: '500ms', schedules: 100, seed: 3, keep };
  const failing = (mode, claim) =>
    t.throwsAsync(() => mode(manifest, { ...options, holds: [claim] }), {
      instanceOf: SystemFailure,
    });
  const here = await failing(native, 'mine.sent < 2000');
  t.is(
    here.message,
    'both runs on this machine, but "mine.sent < 2000" does not hold: mine.sent is 2000',
  );
  const there = await failing(sim, 'mine.sent > 0');
  t.like(there, { verdict: 'order', repro: keep });
  t.regex(there.message, /"mine\.sent > 0" does not hold: mine\.sent is 0\n/);
  const again = await work.start('sim', '--replay', keep, '--json').ended;
  t.regex(JSON.parse(again.stdout).what, /"mine\.sent > 0" does not hold/);
  const none = await failing(native, 'mine.nothing = 0');
  t.regex(none.message, /"mine\.nothing = 0": mine has no counter "nothing"/);
  for (const mode of [native, sim]) {
    const code = 'VANITY_E_USAGE';
    await t.throwsAsync(() => mode(manifest, { holds: ['mine.sent'] }), { code });
  }
});

test.serial('one that looks at the clock is named', async (t) => {
  const { manifest } = compiled(t, 'clock');
  const failure = await t.throwsAsync(() => sim(manifest, { schedules: 100, seed: 3 }));
  t.like(failure, { verdict: 'diverges', repro: undefined });
  t.regex(failure.message, /shard mine \(clock\.sim\.so\) .* It calls clock_gettime\./);
});

test.serial('what fails on the machine is a failure, too', async (t) => {
  const { work } = compiled(t, 'steady');
  const packets = readFileSync(join(ROOT, 'test/native/modules/hoarder.c'), 'utf8');
  const source = work.file('hoarder.c', packets);
  const include = ['-I', join(ROOT, 'native/include')];
  const out = join(work.path, 'hoarder.so');
  t.is(spawnSync('cc', ['-w', '-shared', '-fPIC', ...include, source, '-o', out]).status, 0);
  const manifest = work.file('hoarder.toml', system('hoarder'));
  const failure = await t.throwsAsync(() => native(manifest, { duration: '300ms' }));
  t.true(failure instanceof SystemFailure);
  t.like(failure, { mode: 'native', verdict: 'failed', repro: undefined });
  t.regex(failure.message, /^both fails on this machine:\n {2}VANITY_E_BUFFER_LEAK: /);
});

test.serial('what cannot begin is an error of its own, and an abort ends it', async (t) => {
  const { manifest } = compiled(t, 'steady');
  for (const mode of [native, sim]) {
    const code = 'VANITY_E_PROGRAM_UNKNOWN';
    await t.throwsAsync(() => mode(manifest, { set: ['shards.mine.program=snik'] }), { code });
    const signal = AbortSignal.timeout(1500);
    const set = ['shards.source.options.count=0', 'channels.out.overflow=block'];
    const options = { set, duration: '60s', schedules: 1e9, signal };
    await t.throwsAsync(() => mode(manifest, options), { name: 'AbortError' });
  }
});

test.serial('the guide, followed: node:test finds what is wrong, and then nothing', async (t) => {
  const { path } = workspace(t);
  mkdirSync(join(path, 'node_modules'));
  symlinkSync(ROOT, join(path, 'node_modules/vanity'));
  command(join(path, 'node_modules/.bin'));
  const text = readFileSync(GUIDE, 'utf8');
  const files = [...text.matchAll(/as `([\w.-]+)`:\n\n```\w+\n([\s\S]*?)^```$/gm)];
  t.deepEqual(
    files.map(([, name]) => name),
    ['relay.toml', 'relay.c', 'relay.test.mjs', 'mended.c'],
  );
  for (const [, name, content] of files) writeFileSync(join(path, name), content);
  const { code, stdout, stderr } = await shell(shellBlocks(GUIDE).join('\n'), path, {
    seconds: 110,
  });
  t.is(code, 0, `${stdout}\n${stderr}`);
  const [, wrong, right] = stdout.split(/^. tests 2$/m);
  t.regex(stdout, /relay goes wrong in the simulator: order, .*VANITY_E_BUFFER_LEAK/);
  t.regex(wrong, /^. pass 1$/m);
  t.regex(right, /^. pass 2$/m);
});
