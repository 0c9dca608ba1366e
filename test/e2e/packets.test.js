// Sampled packets: where each waited, and for what, in a running system, after SIGKILL, and in Wireshark's format.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readPcapng } from '../lib/helpers/pcapng.js';
import { EXAMPLE, generator, MAIN, workspace } from './helpers.js';

const slow = (name, rate = 20000) => generator({ name, options: `rate = ${rate}` });
/** Until packets reach the shard. */
const flowing = async (at, name, shard = 'end') => {
  for (let i = 0; i < 200; i++) {
    const { stdout } = await at.run('stats', name, '--json');
    if (JSON.parse(stdout || '{}').shards?.[shard]?.received > 0) return;
    await sleep(50);
  }
  throw new Error('nothing flows');
};
const packets = async (t, at, ...args) => {
  const { code, stdout, stderr } = await at.run('trace', ...args, '--packets', '--json');
  t.is(code, 0, stderr);
  return JSON.parse(stdout);
};

test.serial('sampled packets are followed from shard to shard, and not longer', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('ways.toml', slow('ways')), '--quiet');
  await flowing(at, 'ways');
  const none = await at.run('trace', 'ways', '--packets');
  t.is(none.code, 0);
  t.regex(none.stderr, /packets are not sampled.*vanity trace ways --packets --duration 1s/);

  const seen = await packets(t, at, 'ways', '--duration', '500ms', '--sample', '10');
  const whole = seen.packets.filter((one) => one.whole);
  t.true(whole.length > 100, `${whole.length} of ${seen.packets.length}`);
  t.is(new Set(whole.map(({ number }) => number)).size, whole.length);
  for (const { packet, steps, time_ns, total_ns, bytes } of whole) {
    t.regex(packet, /^source\.\d+$/);
    t.is(bytes, 64);
    t.deepEqual(
      steps.map(({ shard, from, to, ended }) => [shard, from, to, ended]),
      [
        ['source', { made: true }, [{ channel: 'first' }], undefined],
        ['middle', { channel: 'first' }, [{ channel: 'second' }], undefined],
        ['end', { channel: 'second' }, [], 'consumed'],
      ],
    );
    // Its time is all accounted for: in a channel or in a shard.
    let now = time_ns;
    for (const step of steps) {
      now += step.waited_ns ?? 0;
      t.is(step.time_ns, now);
      now += step.served_ns;
      const sum = (step.waited_for ?? []).reduce((all, { ns }) => all + ns, 0);
      t.is(sum, step.waited_ns ?? 0);
    }
    t.is(now - time_ns, total_ns);
  }
  t.deepEqual(seen.channels.map(({ channel }) => channel).sort(), ['first', 'second']);
  t.true((await packets(t, at, 'ways')).shards.every(({ tracing }) => !tracing));

  // For people; those that pass a shard, the last of them.
  const text = await at.run('trace', 'ways', 'end', '--packets', '--last', '2');
  t.is(text.stdout.match(/packet source\.\d+: 64 bytes/g).length, 2);
  t.regex(text.stdout, /^ +middle {2}waited .* in first: middle was .*; served in .*, to second$/m);
  t.regex(text.stdout, /^second +2 packets waited .* in the median/m);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('a shard in JavaScript has its part in the way', async (t) => {
  const at = workspace(t);
  const program = fileURLToPath(new URL('../fixtures/programs/forward.js', import.meta.url));
  const text = generator({ name: 'script', options: 'rate = 20000', middle: program });
  const system = at.start('run', at.file('script.toml', text), '--quiet');
  await flowing(at, 'script');
  const seen = await packets(t, at, 'script', '--duration', '500ms', '--sample', '10');
  const whole = seen.packets.filter((one) => one.whole);
  t.true(whole.length > 100, `${whole.length} of ${seen.packets.length}`);
  for (const { steps } of whole) {
    t.deepEqual(
      steps.map(({ shard, from, to }) => [shard, from, to]),
      [
        ['source', { made: true }, [{ channel: 'first' }]],
        ['middle', { channel: 'first' }, [{ channel: 'second' }]],
        ['end', { channel: 'second' }, []],
      ],
    );
    t.true(steps[1].waited_ns >= 0 && steps[1].served_ns > 0 && steps[2].waited_ns >= 0);
  }
  // Held at its end, it says that it is blocked, and by what.
  t.is((await at.run('trace', 'script', '--packets', '--on', '--sample', '100')).code, 0);
  t.is((await at.run('hold', 'script', 'end')).code, 0);
  await sleep(300);
  t.is((await at.run('release', 'script', 'end')).code, 0);
  await sleep(300);
  const { channels } = await packets(t, at, 'script');
  const first = channels.find(({ channel }) => channel === 'first');
  t.like(first.waited_for[0], { for: 'blocked', in: 'second' });
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('a packet that waits for a shard that is held says so', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('held.toml', slow('held', 1000)), '--quiet');
  await flowing(at, 'held');
  t.is((await at.run('trace', 'held', '--packets', '--on', '--sample', '20')).code, 0);
  t.is((await at.run('hold', 'held', 'middle')).code, 0);
  await sleep(300);
  t.is((await at.run('release', 'held', 'middle')).code, 0);
  await sleep(300);
  const off = await at.run('trace', 'held', '--packets', '--off', '--json');
  t.deepEqual(JSON.parse(off.stdout), { system: 'held', sample: 0 });
  const { packets: all } = await packets(t, at, 'held');
  const longest = all
    .map(({ steps }) => steps.find(({ shard }) => shard === 'middle'))
    .filter((step) => step?.waited_ns !== undefined)
    .sort((a, b) => b.waited_ns - a.waited_ns)[0];
  t.true(longest.waited_ns > 250e6, `${longest.waited_ns}`);
  t.is(longest.waited_for[0].for, 'held');
  t.true(longest.waited_for[0].ns > 0.9 * longest.waited_ns);
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial('the ways are told as packets reach their end, until Ctrl-C', async (t) => {
  const at = workspace(t);
  const system = at.start('run', at.file('follow.toml', slow('follow', 2000)), '--quiet');
  await flowing(at, 'follow');
  const asked = ['trace', 'follow', 'end', '--packets', '--follow', '--sample', '20'];
  const follower = at.spawn(process.execPath, [MAIN, ...asked, '--json'], 'stdout');
  await follower.said(/(.+\n){20}/);
  // A packet that waits is told when it has reached its end, not before.
  t.is((await at.run('hold', 'follow', 'end')).code, 0);
  await sleep(500);
  t.is((await at.run('release', 'follow', 'end')).code, 0);
  await sleep(300);
  follower.kill('SIGINT');
  const { code, stdout, stderr } = await follower.ended;
  t.is(code, 0, stderr);
  const ways = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.is(new Set(ways.map(({ number }) => number)).size, ways.length);
  const longest = ways
    .filter(({ whole }) => whole)
    .map(({ steps }) => steps.find(({ shard }) => shard === 'end'))
    .sort((a, b) => b.waited_ns - a.waited_ns)[0];
  t.true(longest.waited_ns > 400e6, `${longest.waited_ns}`);
  t.is(longest.waited_for[0].for, 'held');
  t.true((await packets(t, at, 'follow')).shards.every(({ tracing }) => !tracing));
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});

test.serial(
  'Wireshark gets them with comments, also after SIGKILL and from an archive',
  async (t) => {
    const at = workspace(t);
    const system = at.start('run', EXAMPLE, '--quiet');
    await flowing(at, 'flow-split', 'out');
    t.is((await at.run('trace', 'flow-split', '--packets', '--on', '--sample', '5000')).code, 0);
    await sleep(500);
    system.kill('SIGKILL');
    await system.ended;
    const tar = join(at.path, 'dead.tar');
    t.is((await at.run('dump', '--out', tar)).code, 0);
    const file = join(at.path, 'ways.pcapng');
    const left = await packets(t, at, 'flow-split');
    t.deepEqual((await packets(t, at, tar)).packets, left.packets);
    const { code, stdout, stderr } = await at.run('trace', tar, '--pcapng', file);
    t.is(code, 0, stderr);
    t.regex(stdout, /ways\.pcapng: \d+ packets/);

    const capture = readPcapng(readFileSync(file));
    t.deepEqual(
      capture.interfaces.map(({ name }) => name),
      ['split', 'left', 'right', 'out'],
    );
    const steps = left.packets.flatMap((way) => way.steps);
    t.true(steps.length > 30, `${steps.length}`);
    t.is(capture.packets.length, steps.length);
    for (const way of left.packets) {
      const stages = capture.packets.filter(({ id }) => id === BigInt(way.number));
      t.is(stages.length, way.steps.length);
      for (const stage of stages) t.is(Buffer.from(stage.data).toString('hex'), way.data);
      t.is(stages[0].wireBytes, way.wire_bytes);
    }
    t.regex(capture.packets.map(({ comment }) => comment).join('\n'), /, out: waited .* in from-/);
    // Of now, and in order.
    const now = BigInt(Date.now()) * 1_000_000n;
    for (const [i, { ns }] of capture.packets.entries()) {
      t.true(ns > now - 600_000_000_000n && ns < now);
      if (i > 0) t.true(ns >= capture.packets[i - 1].ns);
    }
    // Another reader takes it, too.
    const dumped = spawnSync('tcpdump', ['-n', '-r', file], { encoding: 'utf8' });
    t.is(dumped.status, 0, dumped.stderr);
    t.is(dumped.stdout.match(/^\d\d:\d\d:\d\d\.\d+ /gm).length, steps.length);
    const nowhere = await at.run('trace', tar, '--pcapng', '/nowhere/x.pcapng');
    t.regex(nowhere.stderr, /VANITY_E_OUTPUT.*--pcapng/);
    const gone = await at.run('trace', tar, '--packets', '--duration', '1s');
    t.regex(gone.stderr, /VANITY_E_TRACE.*no packet is to come/);
  },
);
