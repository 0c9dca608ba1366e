// A shard that is a process of its own: others do not notice how it ends, and nothing is left behind.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { EXAMPLE, generator, workspace } from './helpers.js';

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const lives = (pid) => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
};

async function until(done, what) {
  for (let i = 0; i < 400; i++) {
    if (await done()) return;
    await sleep(25);
  }
  throw new Error(`not within ten seconds: ${what}`);
}

const apart = (text, shard, more = '') =>
  text.replace(
    `[shards.${shard}]\n`,
    `[shards.${shard}]\nisolation = "process"\nwatchdog = { backoff_ms = 1, max_restarts = 1000 }\n${more}`,
  );

async function shardOf(at, system, name) {
  const { stdout } = await at.run('stats', system, '--json');
  return JSON.parse(stdout).shards[name];
}

test.serial(
  'a process that is killed comes back, and nothing is lost that is not counted',
  async (t) => {
    const at = workspace(t);
    const text = apart(generator({ name: 'apart' }), 'middle');
    const system = at.start('run', at.file('apart.toml', text), '--json');
    await system.said(/apart/);
    const pids = new Set();
    for (let i = 0; i < 5; i++) {
      await until(async () => {
        const { restarts, state, received, tid } = await shardOf(at, 'apart', 'middle');
        if (restarts !== i || state !== 'running' || received === 0) return false;
        pids.add(tid);
        return true;
      }, `restart ${i}`);
      process.kill([...pids].at(-1), 'SIGKILL');
    }
    await until(
      async () => (await shardOf(at, 'apart', 'middle')).restarts === 5,
      'the last restart',
    );
    t.is(pids.size, 5);
    system.kill('SIGINT');
    const end = await system.ended;
    t.is(end.code, 0, end.stderr);
    const { shards } = JSON.parse(end.stdout);
    t.is(shards.middle.faults, 5);
    t.is(shards.middle.dropped, shards.middle.dropped_fault);
    t.is(shards.source.received, shards.end.consumed + shards.middle.dropped);
    t.regex(end.stderr, /its process was killed by SIGKILL/);
    for (const pid of pids) t.false(lives(pid));
    t.deepEqual(at.left(), []);
  },
);

test.serial('a stray write into another shard is a fault of its own process', async (t) => {
  const at = workspace(t);
  const source = join(at.path, 'stray.c');
  // Where the system's process has the memory of other shards, this one has nothing.
  at.file(
    'stray.c',
    `#include <stdint.h>
#include <stdlib.h>
#include <vanity/program.h>
static uint64_t seen;
static uint32_t poll_once(vanity_shard* shard, void* state) {
  (void)state;
  vanity_packet packets[32];
  const uint32_t got = vanity_receive(shard, packets, 32);
  seen += got;
  const char* at = vanity_api_of(shard)->option(shard, "at");
  if (seen > 10000 && at != 0) *(volatile uint64_t*)strtoull(at, 0, 0) = 0xdeadbeef;
  vanity_send(shard, 0, packets, got);
  return got;
}
static const vanity_program program = {VANITY_ABI_VERSION, sizeof(vanity_program), "stray", "1", 0, poll_once, 0, 0, 0, 0};
const vanity_program* vanity_program_entry(void) { return &program; }
`,
  );
  const { status, stderr } = spawnSync(
    'cc',
    [
      '-O2',
      '-fPIC',
      '-shared',
      `-I${root('native/include')}`,
      source,
      '-o',
      join(at.path, 'stray.so'),
    ],
    { encoding: 'utf8' },
  );
  t.is(status, 0, stderr);
  const text = apart(
    generator({ name: 'stray', middle: 'stray.so' }),
    'middle',
    // No mapping of Linux lies there, whoever asks.
    'options = { at = "0x100000000000" }\n',
  );
  const system = at.start('run', at.file('stray.toml', text), '--json');
  await system.said(/stray/);
  await until(async () => (await shardOf(at, 'stray', 'middle')).restarts >= 2, 'two restarts');
  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  t.regex(end.stderr, /SIGSEGV at address 0x100000000000, in poll_once\+0x[0-9a-f]+ \(stray\.so\)/);
});

test.serial('commands work on it as on a thread', async (t) => {
  const at = workspace(t);
  const system = at.start(
    'run',
    at.file('asked.toml', apart(generator({ name: 'asked' }), 'middle')),
  );
  await system.said(/asked/);
  await until(async () => (await shardOf(at, 'asked', 'middle')).received > 0, 'packets');
  const before = (await shardOf(at, 'asked', 'middle')).tid;
  for (const [command, said] of [
    ['hold', /held/],
    ['release', /middle/],
    ['restart', /middle was started anew/],
  ]) {
    const { code, stdout, stderr } = await at.run(command, 'asked', 'middle');
    t.is(code, 0, stderr);
    t.regex(stdout, said);
  }
  t.not((await shardOf(at, 'asked', 'middle')).tid, before);
  const dump = join(at.path, 'asked.tar');
  t.is((await at.run('dump', 'asked', '--out', dump)).code, 0);
  const { stdout, stderr } = await at.run('channels', 'asked', '--json');
  t.is(stderr, '');
  t.deepEqual(
    JSON.parse(stdout).channels.map(({ channel }) => channel),
    ['first', 'second'],
  );
  const reload = await at.run('reload', 'asked', 'middle', 'forward.so');
  t.not(reload.code, 0);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('others come beside it, and nothing comes to it', async (t) => {
  const at = workspace(t);
  const split = generator({ name: 'beside', middle: 'flow-split', options: 'flows = 64' });
  const text = apart(split, 'end');
  const system = at.start('run', at.file('beside.toml', text), '--json');
  await system.said(/beside/);
  await until(async () => (await shardOf(at, 'beside', 'end')).received > 0, 'packets');
  const channel = (name, to) => `[channels.${name}]\nfrom = "middle"\nto = "${to}"\n`;
  const grown = `${text}[shards.tap]\nprogram = "sink"\n${channel('aside', 'tap')}`;

  const more = `${grown}${channel('more', 'end')}`;
  const refused = await at.run('apply', 'beside', at.file('more.toml', more), '--json');
  t.is(refused.code, 1);
  const lines = more.split('\n');
  t.deepEqual(
    JSON.parse(refused.stdout).errors.map(({ code, message, hint, line }) => [
      code,
      message,
      hint.replace(/run .*/, 'run FILE'),
      lines[line - 1],
    ]),
    [
      [
        'VANITY_E_APPLY',
        'channel "more": it is new, and shard "end" is a process of its own, whose channels are those it began with',
        'It takes a new start: stop the system, then vanity run FILE',
        '[channels.more]',
      ],
    ],
  );

  let kills = 0;
  const kill = async (times) => {
    for (let i = 0; i < times; i++) {
      await until(async () => {
        const { state, received, restarts } = await shardOf(at, 'beside', 'end');
        return state === 'running' && received > 0 && restarts === kills;
      }, `restart ${kills}`);
      process.kill((await shardOf(at, 'beside', 'end')).tid, 'SIGKILL');
      kills++;
    }
    await until(
      async () => (await shardOf(at, 'beside', 'end')).restarts === kills,
      'the last restart',
    );
  };
  await kill(4);
  const file = at.file('grown.toml', grown);
  const applied = await at.run('apply', 'beside', file, '--json', '--confirm', '0');
  t.is(applied.code, 0, applied.stdout + applied.stderr);
  await until(async () => (await shardOf(at, 'beside', 'tap')).received > 0, 'packets aside');
  await kill(4);
  system.kill('SIGINT');
  const ended = await system.ended;
  t.is(ended.code, 0, ended.stderr + ended.stdout);
  const { shards } = JSON.parse(ended.stdout);
  t.is(shards.end.faults, kills);
  t.is(shards.end.received, shards.end.consumed + shards.end.dropped_fault);
  t.is(shards.middle.sent, shards.end.received + shards.tap.received);
  t.is(shards.source.received, shards.middle.sent + shards.middle.dropped);
});

test.serial('it goes with the system that is killed', async (t) => {
  const at = workspace(t);
  const system = at.start(
    'run',
    at.file('orphan.toml', apart(generator({ name: 'orphan' }), 'middle')),
  );
  await system.said(/orphan/);
  await until(async () => (await shardOf(at, 'orphan', 'middle')).received > 0, 'packets');
  const { tid } = await shardOf(at, 'orphan', 'middle');
  t.true(lives(tid));
  system.kill('SIGKILL');
  await system.ended;
  await until(() => !lives(tid), 'the end of the process');
  t.false(lives(tid));
});

test.serial('the worker of the example is one, and every packet passes', async (t) => {
  const at = workspace(t);
  const captures = join(EXAMPLE, '..', '..', 'captures');
  const text = apart(readFileSync(EXAMPLE, 'utf8'), 'left')
    .replace('../captures', captures)
    .replace('replay = "loop"', 'replay = "as-fast"');
  const { code, stdout, stderr } = await at.run('run', at.file('split.toml', text), '--json');
  t.is(code, 0, stderr + stdout);
  const { shards } = JSON.parse(stdout);
  t.true(shards.left.received > 0);
  t.is(shards.out.consumed, shards.split.received);
  for (const { dropped } of Object.values(shards)) t.is(dropped, 0);
});
