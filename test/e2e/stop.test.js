// How a system stops: in order, at once, and with JavaScript stuck.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { packets, writePcap } from './helpers/captures.js';
import {
  parse,
  ROOT,
  Started,
  scratch,
  sharedFiles,
  startSystem,
  stats,
  until,
  writeManifest,
} from './helpers/vanity.js';

const NAME = `stop${process.pid}`;

/** A looping capture, mirrored, through full channels; `end` is the program that takes the packets. */
function loop(folder, end = 'sink') {
  writePcap(join(folder, 'in.pcap'), packets(500));
  return writeManifest(
    folder,
    `[system]
name = "${NAME}"
oversubscribe = true
[kernel]
drain_ms = 20000
[ports.in]
driver = "capture"
file = "in.pcap"
replay = "loop"
rx = "mirror"
[shards]
mirror.program = "mirror"
left.program = "count"
right.program = "forward"
end.program = "${end}"
[channels]
to-left = { from = "mirror", to = "left", overflow = "block" }
to-right = { from = "mirror", to = "right", overflow = "block" }
from-left = { from = "left", to = "end", overflow = "block" }
from-right = { from = "right", to = "end", overflow = "block" }
`,
  );
}

const segments = (folder) =>
  existsSync(join(folder, 'runtime')) ? readdirSync(join(folder, 'runtime')) : [];

/** Nothing of this process is left: no segment, no lock that names it. */
function nothingLeft(t, folder) {
  t.deepEqual(segments(folder), []);
  t.false(sharedFiles().some((name) => name.includes(NAME)));
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  test.serial(`${signal} drains a mirrored flow: every packet is where it should be`, async (t) => {
    const folder = scratch(t);
    const system = await startSystem(t, folder, [loop(folder), '--json']);
    await sleep(300);
    const before = Date.now();
    system.kill(signal);
    const ended = await system.ended;
    t.is(ended.code, 0, ended.stderr);
    t.true(Date.now() - before < 3000);
    const json = parse(ended);
    t.is(json.state, 'stopped');
    t.is(json.lost, 0);
    const { mirror, left, right, end } = json.shards;
    t.true(mirror.received > 1000);
    t.is(left.received, mirror.received);
    t.is(right.received, mirror.received);
    t.is(end.consumed, 2 * mirror.received);
    for (const pool of Object.values(json.pools)) {
      t.is(pool.leaked, 0);
      t.is(pool.taken, pool.returned);
    }
    for (const shard of Object.values(json.shards)) {
      t.is(shard.state, 'stopped');
      t.is(shard.wakes_late, 0);
    }
    nothingLeft(t, folder);
  });
}

test.serial(
  'a second Ctrl-C ends the draining: exit code 130, what was inside counts as lost',
  async (t) => {
    const folder = scratch(t);
    writeFileSync(join(folder, 'idle.mjs'), 'export default { poll: () => 0 };\n');
    const system = await startSystem(t, folder, [loop(folder, 'idle.mjs'), '--json']);
    await until(async () => (await stats(t, folder, NAME)).channels['from-left'].sent >= 1024);
    system.kill('SIGINT');
    t.true(await until(async () => (await stats(t, folder, NAME)).state === 'stopping'));
    t.false(system.over);
    const before = Date.now();
    system.kill('SIGINT');
    const ended = await system.ended;
    t.true(Date.now() - before < 5000);
    t.is(ended.code, 130, ended.stderr);
    const json = parse(ended);
    // Each packet has two owners here, and either may lose it.
    t.true(json.lost >= 2048, `${json.lost}`);
    for (const pool of Object.values(json.pools)) t.is(pool.leaked, 0);
    nothingLeft(t, folder);
  },
);

test.serial('a shard that never comes back does not outlive a second Ctrl-C', async (t) => {
  const folder = scratch(t);
  writeFileSync(
    join(folder, 'endless.mjs'),
    'export default { poll(shard) { if (shard.receive().count) for (;;); return 0; } };\n',
  );
  const system = await startSystem(t, folder, [loop(folder, 'endless.mjs')]);
  await sleep(500);
  system.kill('SIGINT');
  await sleep(200);
  system.kill('SIGINT');
  const { code, signal } = await system.ended;
  t.is(signal, null);
  t.is(code, 130);
  nothingLeft(t, folder);
});

/** A process that boots the system by itself and then keeps its event loop busy. */
async function blocked(t, folder, seconds) {
  const script = `
    import { boot, loadManifest } from ${JSON.stringify(join(ROOT, 'dist/index.js'))};
    const system = await boot(loadManifest(${JSON.stringify(loop(folder))}).plan);
    console.log('blocking');
    // Let the line out, and the system start to run.
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const end = Date.now() + ${seconds * 1000}; Date.now() < end; );
    console.log('free');
    const { snapshot, failures } = await system.ended;
    console.log('ended', snapshot.system.state, failures.length);`;
  const env = { ...process.env, VANITY_RUNTIME_DIR: join(folder, 'runtime') };
  for (let tries = 0; ; ++tries) {
    const args = ['--input-type=module', '-e', script];
    const started = new Started(t, process.execPath, args, { env });
    await until(() => started.over || started.stdout.includes('blocking'));
    if (!started.over) return started;
    if (tries === 50 || !started.stderr.includes('VANITY_E_CORE_IN_USE')) {
      throw new Error(started.stderr);
    }
    await sleep(200);
  }
}

test.serial('a busy event loop keeps nobody from stopping', async (t) => {
  const folder = scratch(t);
  const started = await blocked(t, folder, 5);
  await sleep(600);
  started.kill('SIGINT');
  t.true(await until(async () => (await stats(t, folder, NAME)).state === 'stopped', 3500));
  t.false(started.stdout.includes('free'), 'JavaScript is stuck all this time');
  const { code, stdout } = await started.ended;
  t.is(code, 0);
  t.true(stdout.includes('ended stopped 0'), stdout);
  nothingLeft(t, folder);
});

test.serial('nor a second Ctrl-C from ending the process', async (t) => {
  const folder = scratch(t);
  const started = await blocked(t, folder, 30);
  await sleep(600);
  started.kill('SIGINT');
  await sleep(300);
  started.kill('SIGINT');
  const { code } = await started.ended;
  t.is(code, 130);
  t.false(started.stdout.includes('free'));
  nothingLeft(t, folder);
});
