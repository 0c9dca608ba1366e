// vanity run --sim pool: many shards on few threads, stopped, held, replaced and broken as any others.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { generator, modules, workspace } from './helpers.js';

const { serial } = test;
const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const POOL = ['--sim', 'pool', '--quiet', '--json'];

/** Lines of four beside one another; nothing in it says that cores may be shared. */
function lines(name, shards, options) {
  const programs = ['generate', 'forward', 'count', 'sink'];
  let text = `[system]\nname = "${name}"\n`;
  for (let s = 0; s < shards; s++) {
    const program = programs[s % 4];
    text += `[shards.s${s}]\nprogram = "${program}"\n${s % 4 === 0 ? `options = { ${options} }\n` : ''}`;
    if (s % 4 === 0) continue;
    text += `[channels.c${s}]\nfrom = "s${s - 1}"\nto = "s${s}"\noverflow = "block"\n`;
  }
  return text;
}

const threadsOf = (pid) =>
  readdirSync(`/proc/${pid}/task`)
    .map((tid) => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim())
    .filter((name) => name.startsWith('vanity-pool-'))
    .sort();

const cpuTicks = (pid) =>
  readFileSync(`/proc/${pid}/stat`, 'utf8')
    .split(') ')[1]
    .split(' ')
    .slice(11, 13)
    .reduce((sum, ticks) => sum + Number(ticks), 0);

serial('64 shards on two threads account for every packet', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', lines('pool64', 64, 'count = 5000'));
  const { code, stdout, stderr } = await space.run('run', manifest, ...POOL, '--threads', '2');
  t.is(code, 0, stderr);
  const { shards, lost, warnings } = JSON.parse(stdout);
  t.is(lost, 0);
  t.deepEqual(warnings, []);
  const all = Object.values(shards);
  t.is(
    all.reduce((sum, { consumed }) => sum + consumed, 0),
    16 * 5000,
  );
  t.is(new Set(all.map(({ tid }) => tid)).size, 2);
  t.deepEqual(
    all.filter(({ wakes_late }) => wakes_late !== 0),
    [],
  );
  t.deepEqual(space.left(), []);
});

serial('idle, they cost next to nothing, and Ctrl-C stops them in order', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', lines('poolidle', 64, 'rate = 1'));
  const system = space.start('run', manifest, '--sim', 'pool', '--threads', '2', '--json');
  await system.said(/poolidle runs/);
  await sleep(1000);
  t.deepEqual(threadsOf(system.pid), ['vanity-pool-0', 'vanity-pool-1']);
  const before = cpuTicks(system.pid);
  await sleep(2000);
  const percent = (cpuTicks(system.pid) - before) / 2;
  t.true(percent < 40, `${percent} % of a core`);
  system.kill('SIGINT');
  const { code, stdout, stderr } = await system.ended;
  t.is(code, 0, stderr);
  const { state, lost } = JSON.parse(stdout);
  t.is(state, 'stopped');
  t.is(lost, 0);
});

serial('one that faults comes back, one that is held waits, one is replaced', async (t) => {
  const space = workspace(t);
  modules(space, 'passer_1', 'passer_1b');
  const crasher = ['-std=c++20', '-O2', '-fPIC', '-shared', `-I${root('native/include')}`];
  const source = root('test/native/modules/crasher.cpp');
  const { status } = spawnSync('c++', [...crasher, source, '-o', join(space.path, 'crasher.so')]);
  t.is(status, 0);
  const text = `${lines('poolfaults', 8, 'rate = 20000')}`
    .replace('[shards.s1]\nprogram = "forward"', '[shards.s1]\nprogram = "passer_1.so"')
    .replace(
      '[shards.s5]\nprogram = "forward"',
      `[shards.s5]\nprogram = "crasher.so"\noptions = { how = "segv", after = 5000 }
watchdog = { backoff_ms = 1, max_restarts = 1000 }`,
    );
  const manifest = space.file('v.toml', text);
  const system = space.start('run', manifest, '--sim', 'pool', '--threads', '1', '--json');
  await system.said(/VANITY_W_SHARD_FAULT.*shard s5/s);
  const reload = await space.run('reload', 'poolfaults', 's1', join(space.path, 'passer_1b.so'));
  t.is(reload.code, 0, reload.stdout + reload.stderr);
  const hold = await space.run('hold', 'poolfaults', 's3');
  t.is(hold.code, 0, hold.stderr);
  const release = await space.run('release', 'poolfaults', 's3');
  t.is(release.code, 0, release.stderr);
  system.kill('SIGINT');
  const { code, stdout, stderr } = await system.ended;
  t.is(code, 0, stderr);
  const { shards, state } = JSON.parse(stdout);
  t.is(state, 'stopped');
  t.true(shards.s5.restarts > 0);
  t.is(shards.s1.reloads, 1);
  t.is(shards.s0.sent, shards.s3.consumed);
  t.is(shards.s4.sent, shards.s7.consumed + shards.s5.dropped);
});

serial('TypeScript shards have threads of their own, and wake the pool', async (t) => {
  const space = workspace(t);
  const forward = root('test/fixtures/programs/forward.js');
  const text = lines('poolts', 8, 'rate = 500').replace(
    '[shards.s1]\nprogram = "forward"',
    `[shards.s1]\nprogram = "${forward}"`,
  );
  const manifest = space.file('v.toml', text);
  const flags = [...POOL, '--threads', '2', '--duration', '2s'];
  const { code, stdout, stderr } = await space.run('run', manifest, ...flags);
  t.is(code, 0, stderr);
  const { shards, lost } = JSON.parse(stdout);
  t.is(lost, 0);
  t.true(shards.s3.consumed > 300, String(shards.s3.consumed));
  t.is(shards.s0.sent, shards.s3.consumed);
  t.is(new Set(Object.values(shards).map(({ tid }) => tid)).size, 3);
  // What JavaScript sends finds the sleeper of the thread.
  t.true(shards.s2.wakes_signalled > 100, String(shards.s2.wakes_signalled));
  t.is(shards.s2.wakes_late, 0);
});

serial('a number of threads that cannot be is refused', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ options: 'count = 100' }));
  for (const [flags, problem] of [
    [['--sim', 'pool', '--threads', '0'], /whole number from 1 to 128/],
    [['--sim', 'pool', '--threads', '129'], /whole number from 1 to 128/],
    [['--sim', 'pool', '--threads', 'two'], /whole number from 1 to 128/],
    [['--sim', 'pool', '--threads', '128'], /--threads 128: there are \d shards/],
    [['--sim', 'threads', '--threads', '1'], /--threads is for: vanity run --sim pool/],
    [['--threads', '1'], /--threads is for: vanity run --sim pool/],
  ]) {
    const { code, stderr } = await space.run('run', manifest, ...flags);
    t.is(code, 2, flags.join(' '));
    t.regex(stderr, problem);
  }
  const { code, stdout } = await space.run('run', manifest, ...POOL);
  t.is(code, 0, stdout);
});
