// A host without protection keys says so, and runs nothing unconfined that was to be confined. What they do where there are some is
// tried in the guest (test/guest/jobs/pkey.sh).
import test from 'ava';
import { generator, modules, workspace } from './helpers.js';

test('what cannot be confined is not started', async (t) => {
  const at = workspace(t);
  const { stdout } = await at.run('doctor', '--json');
  const keys = JSON.parse(stdout).rows.find(({ name }) => name === 'protection keys');
  if (keys.status === 'ok') {
    t.log(`skipped: ${keys.found}`);
    t.pass();
    return;
  }
  modules(at, 'decider');
  const text = generator({ name: 'keyed' }).replace(
    /\[shards\.middle\]\nprogram = ".*"/,
    '[shards.middle]\nprogram = "decider.so"\nisolation = "pkey"',
  );
  const end = await at.run('run', at.file('keyed.toml', text), '--duration', '1s');
  t.is(end.code, 1, end.stderr);
  t.regex(end.stderr, /VANITY_E_PROTECTION_KEYS/);
  t.true(end.stderr.includes(`shard middle: ${keys.found}`), end.stderr);
  t.deepEqual(at.left(), []);
});
