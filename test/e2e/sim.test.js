// vanity sim without a model: whole systems of the shipping code under the scheduler.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { EXAMPLE, workspace } from './helpers.js';

const SYSTEM = `
[system]
name = "small"
[shards.source]
program = "generate"
options = { count = 12 }
[shards.drain]
program = "sink"
[channels.all]
from = "source"
to = "drain"
overflow = "block"
`;

test('an example goes through many schedules, and nothing goes wrong', async (t) => {
  const work = workspace(t);
  const run = await work.start('sim', EXAMPLE, '--schedules', '500', '--seed', '1', '--json').ended;
  t.is(run.code, 0, run.stdout + run.stderr);
  const result = JSON.parse(run.stdout);
  t.like(result, { system: 'flow-split', verdict: 'good', seed: 1, schedules: 500, jobs: 1 });
  t.true(result.steps > 500 * 1000 && result.steps_per_second > 0);
});

test('one seed is one log, and the same steps however many jobs share them', async (t) => {
  const work = workspace(t);
  const manifest = work.file('small.toml', SYSTEM);
  const sim = async (...args) => {
    const run = await work.start('sim', manifest, '--schedules', '60', '--json', ...args).ended;
    t.is(run.code, 0, run.stdout + run.stderr);
    return JSON.parse(run.stdout);
  };
  const [first, second, other] = ['first', 'second', 'other'].map((name) => join(work.path, name));
  const one = await sim('--seed', '7', '--log', first);
  await sim('--seed', '7', '--log', second);
  await sim('--seed', '8', '--log', other);
  const log = readFileSync(first, 'utf8');
  t.is(readFileSync(second, 'utf8'), log);
  t.not(readFileSync(other, 'utf8'), log);
  t.regex(log, /^\d+ drain drain\.sleeping = 1/m);
  t.is((await sim('--seed', '7', '--jobs', '2')).steps, one.steps);
});

test('what goes wrong is kept, and replayed', async (t) => {
  const work = workspace(t);
  const manifest = work.file('small.toml', SYSTEM.replace('count = 12', 'count = 0'));
  const keep = join(work.path, 'kept.repro');
  // More than a schedule may take.
  const run = await work.start('sim', manifest, '--packets', '900000', '--keep', keep).ended;
  t.is(run.code, 1, run.stderr);
  t.regex(run.stdout, /^endless, (weak|tso) memory: more steps than/m);
  t.regex(readFileSync(keep, 'utf8'), /^vanity-repro 1\nscenario small\n.*\nsystem name small\n/s);
  const again = await work.start('sim', '--replay', keep, '--json').ended;
  t.is(again.code, 1, again.stderr);
  t.is(JSON.parse(again.stdout).verdict, 'endless');
});

test('ends at once when the user has had enough, with what was done so far', async (t) => {
  const work = workspace(t);
  const run = work.start('sim', work.file('small.toml', SYSTEM), '--time', '1h');
  setTimeout(() => run.kill('SIGINT'), 3000);
  const { code, stdout, stderr } = await run.ended;
  t.is(code, 130);
  t.regex(stdout, /^small: [\d,]+ schedules, [\d,]+ steps, .* seed \d+$/m);
  t.is(stderr, 'Interrupted.\n');
});

test('says what it cannot do', async (t) => {
  const work = workspace(t);
  const program = work.file('program.js', 'export default { poll() { return 0; } };');
  const manifest = work.file('small.toml', SYSTEM.replace('"sink"', `"${program}"`));
  const refused = await work.start('sim', manifest, '--json').ended;
  t.is(refused.code, 1);
  t.is(JSON.parse(refused.stdout).error.code, 'VANITY_E_SIM_PROGRAM');
  for (const [args, says] of [
    [[], /give a manifest, or --replay FILE/],
    [['--replay', manifest], /VANITY_E_SIM_REPRO.*not a repro file/s],
    [[EXAMPLE, '--capacity', '3'], /power of two/],
    [[EXAMPLE, '--jobs', '2', '--log', join(work.path, 'log')], /--jobs 1/],
  ]) {
    const run = await work.start('sim', ...args).ended;
    t.is(run.code, 2, run.stdout);
    t.regex(run.stderr, says);
  }
});
