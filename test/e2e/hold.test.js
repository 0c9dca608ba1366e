// Holding shards from outside, while whatever could be asked is stuck.
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { generator, workspace } from './helpers.js';

const API = new URL('../../dist/index.js', import.meta.url).href;
const program = (name) => fileURLToPath(new URL(`../fixtures/programs/${name}`, import.meta.url));

const stats = async (at, name) => JSON.parse((await at.run('stats', name, '--json')).stdout);

test.serial('JavaScript blocked for ten seconds: packets flow, and shards are held', async (t) => {
  const at = workspace(t);
  const manifest = at.file('js.toml', generator({ name: 'js-stuck' }));
  const script = at.file(
    'stuck.mjs',
    `import { boot, loadManifest } from ${JSON.stringify(API)};
     const system = await boot(loadManifest(${JSON.stringify(manifest)}).plan);
     process.stderr.write('blocking\\n');
     const until = Date.now() + 10_000;
     while (Date.now() < until);
     process.stderr.write('back\\n');
     system.stop();
     const { snapshot, failures } = await system.ended;
     process.stdout.write(JSON.stringify({ state: snapshot.system.state, failures, shards: snapshot.shards
       .map(({ name, received, sent, consumed, dropped }) => ({ name, received, sent, consumed, dropped })) }));`,
  );
  const system = at.spawn(process.execPath, [script], 'stderr');
  await system.said(/blocking/);
  const first = await stats(at, 'js-stuck');
  await sleep(1000);
  const second = await stats(at, 'js-stuck');
  t.true(second.shards.end.consumed > first.shards.end.consumed + 10_000);

  const held = await at.run('hold', 'js-stuck', 'middle', '--json');
  t.is(held.code, 0, held.stderr);
  t.is(JSON.parse(held.stdout).state, 'held');
  const third = await stats(at, 'js-stuck');
  t.is(third.shards.middle.state, 'held');
  t.is(third.channels.first.sent - third.channels.first.received, 1024); // full, and waiting
  const step = await at.run('step', 'js-stuck', 'middle', '--turns', '3', '--json');
  t.is(step.code, 0, step.stderr);
  t.like(JSON.parse(step.stdout), { steps: 3, received: 96, sent: 96, state: 'held' });
  const fourth = await stats(at, 'js-stuck');
  t.is(fourth.shards.middle.polls, third.shards.middle.polls + 3);
  t.is((await at.run('release', 'js-stuck', 'middle')).code, 0);
  await sleep(300);
  const fifth = await stats(at, 'js-stuck');
  t.true(fifth.shards.end.consumed > fourth.shards.end.consumed + 10_000);

  const { code, stdout } = await system.ended;
  t.is(code, 0);
  const end = JSON.parse(stdout);
  t.is(end.state, 'stopped');
  t.deepEqual(end.failures, []);
  t.is(end.shards[0].sent, end.shards[2].consumed);
  t.is(
    end.shards.reduce((sum, { dropped }) => sum + dropped, 0),
    0,
  );
});

test.serial('a TypeScript shard is held and stepped by the same words', async (t) => {
  const at = workspace(t);
  const text = generator({ name: 'ts-held', middle: program('forward.js') });
  const system = at.start('run', at.file('ts.toml', text), '--json');
  await system.said(/ts-held/);
  t.is((await at.run('hold', 'ts-held', 'middle')).stdout.split(',')[0], 'middle is held');
  const before = await stats(at, 'ts-held');
  await sleep(200);
  const after = await stats(at, 'ts-held');
  t.is(after.shards.middle.received, before.shards.middle.received);
  t.is(after.shards.middle.polls, before.shards.middle.polls);
  const step = await at.run('step', 'ts-held', 'middle', '--json');
  t.like(JSON.parse(step.stdout), { steps: 1, state: 'held' });
  t.is((await at.run('release', 'ts-held', 'middle')).code, 0);
  system.kill('SIGINT');
  const { code, stdout } = await system.ended;
  t.is(code, 0);
  t.is(JSON.parse(stdout).lost, 0);
});

test.serial('what cannot be held is said, with its name', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('no.toml', generator({ name: 'no' })), '--quiet');
  await sleep(500);
  const { code, stderr } = await at.run('hold', 'no', 'midle');
  t.is(code, 1);
  t.regex(stderr, /VANITY_E_SHARD_NONE.*midle[\s\S]*source, middle, end/);
  t.is((await at.run('step', 'no', 'middle', '--turns', '0')).code, 2);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});
