// With protection keys a program that strays is left and its neighbours go on; a host without them says so, and runs nothing
// unconfined that was to be confined. Either half runs where it can; the guest has keys (test/guest/jobs/pkey.sh).
import test from 'ava';
import { generator, modules, workspace } from './helpers.js';

const keyed = (program, options = '') =>
  generator({ name: 'keyed' }).replace(
    /\[shards\.middle\]\nprogram = ".*"/,
    `[shards.middle]\nprogram = "${program}"\nisolation = "pkey"\noptions = { ${options} }`,
  );

async function keysOf(at) {
  const { stdout } = await at.run('doctor', '--json');
  return JSON.parse(stdout).rows.find(({ name }) => name === 'protection keys');
}

test('what cannot be confined is not started', async (t) => {
  const at = workspace(t);
  const keys = await keysOf(at);
  if (keys.status === 'ok') {
    t.pass(`not here: ${keys.found}`);
    return;
  }
  modules(at, 'decider');
  const end = await at.run('run', at.file('keyed.toml', keyed('decider.so')), '--duration', '1s');
  t.is(end.code, 1, end.stderr);
  t.regex(end.stderr, /VANITY_E_PROTECTION_KEYS/);
  t.true(end.stderr.includes(`shard middle: ${keys.found}`), end.stderr);
  t.deepEqual(at.left(), []);
});

test('a confined program is replaced while packets flow, and not by one that strays', async (t) => {
  const at = workspace(t);
  const keys = await keysOf(at);
  if (keys.status !== 'ok') {
    t.pass(`not here: ${keys.found}`);
    return;
  }
  modules(at, 'strayer');
  const system = at.start('run', at.file('keyed.toml', keyed('strayer.so')), '--json');
  await system.said(/keyed/);
  const done = await at.run('reload', 'keyed', 'middle', `${at.path}/strayer.so`, '--json');
  t.is(done.code, 0, done.stderr);
  t.is(JSON.parse(done.stdout).packets.unaccounted, 0);
  const strays = at.file('strays.toml', keyed('strayer.so', 'after = 1'));
  const refused = await at.run('apply', 'keyed', strays);
  t.is(refused.code, 1, refused.stdout);
  t.regex(
    refused.stderr,
    /in a rehearsal .*: it wrote where it may not .*to memory of the process/,
  );
  const later = at.file('later.toml', keyed('strayer.so', 'after = 300'));
  const undone = await at.run('apply', 'keyed', later, '--bursts', '1024');
  t.is(undone.code, 3, undone.stdout);
  t.regex(`${undone.stdout}${undone.stderr}`, /it wrote where it may not/);
  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  const { shards } = JSON.parse(end.stdout);
  t.is(shards.middle.reloads, 1);
  t.is(shards.source.received, shards.end.consumed + shards.middle.dropped);
  t.deepEqual(at.left(), []);
});
