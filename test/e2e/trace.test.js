// What shards did, event by event: while they run, after SIGKILL, from an archive, and before a fault.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { generator, workspace } from './helpers.js';

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
/** Slow enough that nothing is written over unread. */
const slow = (name, extra) => generator({ name, options: 'rate = 20000', ...extra });

const trace = async (t, at, ...args) => {
  const { code, stdout, stderr } = await at.run('trace', ...args, '--json');
  t.is(code, 0, stderr);
  return JSON.parse(stdout);
};
/** Each with the one before it. */
const pairs = (all) => all.slice(1).map((one, i) => [all[i], one]);
const of = (events, event, shard) =>
  events.filter((one) => one.event === event && (shard === undefined || one.shard === shard));

test.serial('a system is traced while it runs, and not longer', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('live.toml', slow('live')), '--quiet');
  await sleep(1500);
  // Not traced: its life, and nothing else.
  const before = await trace(t, at, 'live');
  t.deepEqual([...new Set(before.events.map(({ event }) => event))], ['state']);
  t.is(of(before.events, 'state', 'middle').at(-1).state, 'running');
  t.true(before.shards.every(({ tracing }) => !tracing));
  const plain = await at.run('trace', 'live', 'end');
  t.regex(plain.stdout, /^ +\d+\.\d{9} {2}end {2}is running$/m);
  t.notRegex(plain.stdout, /middle/);
  t.regex(plain.stderr, /vanity trace live --duration 1s/);

  const { code, stdout, stderr } = await at.run('trace', 'live', '--duration', '500ms', '--json');
  t.is(code, 0, stderr);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  // What one sends into a channel is what the other receives from it, by the same positions.
  for (const [from, to, channel] of [
    ['source', 'middle', 'first'],
    ['middle', 'end', 'second'],
  ]) {
    const sends = of(events, 'send', from);
    const receives = of(events, 'receive', to);
    t.true(sends.length > 20 && receives.length > 20, `${sends.length} ${receives.length}`);
    for (const all of [sends, receives]) {
      t.true(all.every((one) => one.channel === channel));
      for (const [last, one] of pairs(all)) t.is(one.position, last.position + one.n);
    }
    // No element comes before it was sent, at the latest by the send that is noted next.
    for (const one of receives) {
      const sent = sends.find(({ time_ns }) => time_ns > one.time_ns);
      if (sent) t.true(one.position <= sent.position, JSON.stringify([one, sent]));
    }
  }
  const wakes = of(events, 'wake', 'end').filter(({ how }) => how === 'signalled');
  t.true(wakes.length > 0);
  t.true(wakes.every(({ by }) => by.join() === 'second'));
  t.true(of(events, 'turn', 'middle').every(({ n, duration_ns }) => n > 0 && duration_ns > 0));
  // In the order of time, and traced no more.
  for (const [last, one] of pairs(events)) t.true(one.time_ns >= last.time_ns - 5e6);
  const after = await trace(t, at, 'live');
  t.true(after.shards.every(({ tracing }) => !tracing));

  // Until Ctrl-C, which puts back what it found.
  const follow = at.spawn(
    process.execPath,
    [root('dist/cli/main.js'), 'trace', 'live', 'middle', '--follow'],
    'stdout',
  );
  await follow.said(/middle {2}sent \d+ to second/);
  t.true((await trace(t, at, 'live', 'middle')).shards[0].tracing);
  follow.kill('SIGINT');
  t.is((await follow.ended).code, 0);
  t.false((await trace(t, at, 'live', 'middle')).shards[0].tracing);

  // By hand.
  t.regex((await at.run('trace', 'live', 'middle', '--on')).stdout, /^middle: events are on$/m);
  await sleep(200);
  const on = await trace(t, at, 'live', '--last', '100');
  t.is(on.events.length, 100);
  t.true(of(on.events, 'turn').every(({ shard }) => shard === 'middle'));
  t.is((await at.run('trace', 'live', '--off')).code, 0);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('Perfetto gets a track a shard, slices that nest, and arrows', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('draw.toml', slow('draw')), '--quiet');
  await sleep(1500);
  const file = join(at.path, 'trace.json');
  const { code, stdout, stderr } = await at.run(
    ...['trace', 'draw', '--duration', '300ms', '--perfetto', file, '--json'],
  );
  t.is(code, 0, stderr);
  t.is(JSON.parse(stdout).lost, 0);
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8'));
  const named = traceEvents.filter(({ ph, name }) => ph === 'M' && name === 'thread_name');
  t.deepEqual(
    named.map(({ tid, args }) => [tid, args.name]),
    [
      [1, 'source'],
      [2, 'middle'],
      [3, 'end'],
    ],
  );
  // Two slices of a track lie one in the other, or apart.
  for (const { tid } of named) {
    const slices = traceEvents
      .filter((one) => one.ph === 'X' && one.tid === tid)
      .sort((a, b) => a.ts - b.ts || b.dur - a.dur);
    t.true(slices.length > 20);
    const open = [];
    for (const { name, ts, dur } of slices) {
      while (open.length > 0 && open.at(-1) <= ts + 0.001) open.pop();
      if (open.length > 0) t.true(ts + dur <= open.at(-1) + 0.001, `${name} at ${ts} on ${tid}`);
      open.push(ts + dur);
    }
  }
  // An arrow goes forward in time, from one shard to the next.
  const starts = new Map(traceEvents.filter(({ ph }) => ph === 's').map((one) => [one.id, one]));
  const ends = traceEvents.filter(({ ph }) => ph === 'f');
  t.true(ends.length > 20);
  t.is(starts.size, ends.length);
  for (const one of ends) {
    t.is(one.tid, starts.get(one.id).tid + 1);
    t.true(one.ts >= starts.get(one.id).ts);
  }
  const bad = await at.run('trace', 'draw', '--perfetto', '/nowhere/trace.json');
  t.is(bad.code, 1);
  t.regex(bad.stderr, /VANITY_E_OUTPUT.*--perfetto/);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('what was traced is there after SIGKILL, and in an archive', async (t) => {
  const at = workspace(t);
  const traced = generator({ name: 'dead' }).replace(/(\[shards\.\w+\])/g, '$1\ntrace = true');
  const system = at.start('run', at.file('dead.toml', traced), '--quiet');
  await sleep(1500);
  // While it writes millions a second.
  const live = join(at.path, 'live.tar');
  t.is((await at.run('dump', 'dead', '--out', live)).code, 0);
  const during = await trace(t, at, live);
  t.false(during.live);
  for (const shard of ['source', 'middle', 'end']) {
    const own = during.events.filter((one) => one.shard === shard);
    t.true(own.length > 3000, `${own.length} of ${shard}`);
    t.true(own.every(({ event }) => !event.startsWith('unknown')));
    for (const [last, one] of pairs(own)) t.true(one.time_ns >= last.time_ns);
    for (const [last, one] of pairs(of(own, 'send'))) t.is(one.position, last.position + one.n);
  }
  system.kill('SIGKILL');
  await system.ended;
  const left = await trace(t, at, 'dead');
  t.true(left.events.length > 10_000);
  const dead = join(at.path, 'dead.tar');
  t.is((await at.run('dump', '--out', dead)).code, 0);
  t.deepEqual((await trace(t, at, dead)).events, left.events);
  const follow = await at.run('trace', dead, '--follow');
  t.is(follow.code, 1);
  t.regex(follow.stderr, /VANITY_E_TRACE.*nothing to follow/);
});

test.serial('a fault keeps what came before it', async (t) => {
  const at = workspace(t);
  const file = join(at.path, 'crasher.so');
  const options = ['-std=c++20', '-O2', '-fPIC', '-shared', `-I${root('native/include')}`];
  const source = root('test/native/modules/crasher.cpp');
  t.is(spawnSync('c++', [...options, source, '-o', file]).status, 0);
  const text = generator({ name: 'why', middle: 'crasher.so' }).replace(
    'program = "crasher.so"',
    `program = "crasher.so"
options = { how = "segv", after = 10000 }
trace = true
watchdog = { max_restarts = 0 }`,
  );
  const system = at.start('run', at.file('why.toml', text), '--quiet');
  await system.said(/VANITY_W_SHARD_FAULT[\s\S]*vanity trace why middle --fault/);
  const { events } = await trace(t, at, 'why', 'middle', '--fault');
  t.is(events.length, 256);
  t.like(events.at(-1), { event: 'fault', fault: 'signal', signal: 'SIGSEGV', address: '0x0' });
  t.like(events.at(-2), { event: 'receive', channel: 'first' });
  // The same from a dump, by the same words.
  const dump = join(at.path, 'why.tar');
  t.is((await at.run('dump', 'why', '--out', dump)).code, 0);
  const { stdout } = await at.run('trace', dump, 'middle', '--fault');
  t.regex(stdout, /middle {2}received \d+ from first\n.*middle {2}FAULT: SIGSEGV at 0x0, in/);
  system.kill('SIGINT');
  await system.ended;
});

test.serial('what cannot be traced is said', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('no.toml', slow('no')), '--quiet');
  await sleep(1000);
  const none = await at.run('trace', 'no', 'midle');
  t.is(none.code, 1);
  t.regex(none.stderr, /VANITY_E_SHARD_NONE.*midle[\s\S]*source, middle, end/);
  for (const args of [
    ['no', '--on', '--off'],
    ['no', '--on', '--follow'],
    ['no', '--follow', '--duration', '1s'],
    ['no', '--fault', '--follow'],
    ['no', '--last', '5', '--follow'],
    ['no', '--last', '0'],
    ['no', '--duration', '5'],
    ['no', '--packets', '--fault'],
    ['no', '--packets', '--sample', '10'],
    ['no', '--sample', '0', '--duration', '1s'],
    ['no', '--pcapng', 'x.pcapng', '--on'],
    [],
  ]) {
    t.is((await at.run('trace', ...args)).code, 2, args.join(' '));
  }
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
  t.false(existsSync(join(at.path, 'runtime/no.segment')));
  const gone = await at.run('trace', 'no');
  t.is(gone.code, 1);
  t.regex(gone.stderr, /VANITY_E_SYSTEM_UNKNOWN/);
});
