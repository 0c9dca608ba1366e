// Archives of systems: that run, that are stuck, and that were killed.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { generator, workspace } from './helpers.js';

test.serial('what was killed is dumped from what it left, and read as a system is', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('dump.toml', generator({ name: 'dump' })), '--quiet');
  await sleep(1500);
  const live = join(at.path, 'live.tar');
  t.like(JSON.parse((await at.run('dump', 'dump', '--out', live, '--json')).stdout), {
    file: live,
    live: true,
  });
  system.kill('SIGKILL');
  await system.ended;
  const dead = join(at.path, 'dead.tar');
  const { code, stdout, stderr } = await at.run('dump', '--out', dead);
  t.is(code, 0, stderr);
  t.regex(stdout, /dead\.tar: dump left by process \d+, which is gone/);

  // It lay still from then on: what is in the archive is what is in the segment.
  const left = JSON.parse(
    (await at.run('stats', join(at.path, 'runtime/dump.segment'), '--json')).stdout,
  );
  const kept = JSON.parse((await at.run('stats', dead, '--json')).stdout);
  t.deepEqual(kept, left);
  const before = JSON.parse((await at.run('stats', live, '--json')).stdout);
  t.true(before.shards.end.consumed > 0);
  t.true(kept.shards.end.consumed >= before.shards.end.consumed);
  const top = await at.run('top', dead);
  t.is(top.code, 0, top.stderr);
  t.regex(top.stdout, /source[\s\S]*middle[\s\S]*end/);

  // Any tar reads it.
  const listed = spawnSync('tar', ['-tf', live], { encoding: 'utf8' });
  t.is(listed.status, 0, listed.stderr);
  for (const member of ['segment', 'dump.json', 'stats.json', 'host.json']) {
    t.true(listed.stdout.split('\n').includes(member), member);
  }
  t.regex(listed.stdout, /^threads\/\d+\/status$/m);
});

test.serial('a full disk leaves no half archive, and one that is cut off is refused', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('full.toml', generator({ name: 'full' })), '--quiet');
  await sleep(1500);
  const full = await at.run('dump', 'full', '--out', '/dev/full');
  t.is(full.code, 1);
  t.regex(full.stderr, /VANITY_E_OUTPUT/);
  const whole = join(at.path, 'whole.tar');
  t.is((await at.run('dump', 'full', '--out', whole)).code, 0);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
  const bytes = readFileSync(whole);
  for (const length of [0, 511, 512, 5000]) {
    const cut = join(at.path, 'cut.tar');
    writeFileSync(cut, bytes);
    truncateSync(cut, length);
    const { code, stderr } = await at.run('stats', cut);
    t.is(code, 1);
    t.regex(stderr, /VANITY_E_ARCHIVE.*cut off/);
  }
  bytes[150] ^= 1;
  writeFileSync(whole, bytes);
  t.regex((await at.run('stats', whole)).stderr, /VANITY_E_ARCHIVE.*checksum/);
  t.false(existsSync(join(at.path, 'none.tar')));
});
