// The last minute of a system: looked at while it runs, on a terminal, and after it is gone.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { generator, workspace } from './helpers.js';

// A second of what goes through at this rate, with room for a machine that is busy.
const RATE = 20_000;
const upOf = (text) => Number(/up ([\d.]+) s/.exec(text)[1]);

test.serial(
  'what was is shown by --at: of a system that runs, and of one that was killed',
  async (t) => {
    const at = workspace(t);
    const manifest = generator({ name: 'past', options: `rate = ${RATE}, count = 0` });
    const system = at.start('run', at.file('past.toml', manifest), '--quiet', '--sim', 'threads');
    await sleep(6000);
    const stats = async (...args) => JSON.parse((await at.run('stats', ...args, '--json')).stdout);
    const [early, late, now] = [
      await stats('past', '--at', '1500ms'),
      await stats('past', '--at', '-1s'),
      await stats('past'),
    ];
    // Counters grow from look to look, and each is as old as was asked for.
    t.true(early.duration_s > 0.9 && early.duration_s <= 1.5, `${early.duration_s} s`);
    t.true(late.duration_s < now.duration_s - 0.5 && late.duration_s > now.duration_s - 3);
    for (const key of ['consumed', 'polls'])
      t.true(
        early.shards.end[key] < late.shards.end[key] && late.shards.end[key] < now.shards.end[key],
        key,
      );
    // Words of two moments are not mixed: what the end had is what the source had sent, but for what was on its way.
    t.true(early.shards.source.sent >= early.shards.end.consumed);
    t.true(early.shards.source.sent - early.shards.end.consumed < RATE / 10);

    const top = await at.run('top', 'past', '--at', '-2s');
    t.is(top.code, 0, top.stderr);
    t.regex(top.stdout, /as it was \d\.\d s ago/);
    t.regex(top.stdout, /end +sink +running .* 1[89]\.\d k|end +sink +running .* 2[01]\.\d k/);

    const refused = await at.run('top', 'past', '--at', '-1h');
    t.is(refused.code, 2, refused.stderr);
    t.regex(refused.stderr, /--at -1h: what is known of past begins .* after its start/);
    t.is((await at.run('stats', 'past', '--at', 'noon')).code, 2);

    system.kill('SIGKILL');
    await system.ended;
    const dead = join(at.path, 'dead.tar');
    t.is((await at.run('dump', '--out', dead)).code, 0);
    t.like(await stats(dead, '--at', '1500ms'), {
      duration_s: early.duration_s,
      shards: early.shards,
    });
    t.regex((await at.run('top', dead, '--at', '-2s')).stdout, /as it was \d\.\d s before the end/);
  },
);

test.serial('on a terminal: pause, seek, and back to the present', async (t) => {
  const at = workspace(t);
  const manifest = generator({ name: 'seek', options: `rate = ${RATE}, count = 0` });
  const system = at.start('run', at.file('seek.toml', manifest), '--quiet', '--sim', 'threads');
  await sleep(4500);
  const top = at.terminal('top', 'seek', '--interval', '100ms', '--at', '-1s');
  const [first] = await top.said(/vanity top[\s\S]*?as it was \d\.\d s ago/);
  top.type('\u001b[D');
  await sleep(300);
  top.type('q');
  const { stdout } = await top.ended;
  const views = stdout.split('\u001b[H').slice(1).map(upOf);
  t.is(views[0], upOf(first));
  const before = views.at(-1);
  t.true(before < views[0] - 0.8 && before > views[0] - 1.2, `${views[0]} s, then ${before} s`);

  const pause = at.terminal('top', 'seek', '--interval', '100ms');
  await pause.said(/up [\d.]+ s[\s\S]*up [\d.]+ s/);
  pause.type(' ');
  await pause.said(/paused/);
  await sleep(700);
  pause.type('l');
  await sleep(500);
  pause.type('\u0003');
  const shown = (await pause.ended).stdout.split('\u001b[H').slice(1);
  const still = shown.filter((screen) => screen.includes('paused'));
  t.true(still.length > 2);
  t.is(new Set(still.map(upOf)).size, 1, 'it stands');
  t.true(upOf(shown.at(-1)) > upOf(still[0]) + 0.5, 'and goes on');
  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
});
