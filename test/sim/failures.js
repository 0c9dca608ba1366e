// What a failure gives: a verdict that names who should have woken whom, few steps, a file that runs
// it again, and a trace for Perfetto. Prints "N passed, N failed".
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

process.chdir(new URL('../..', import.meta.url).pathname);
const program = '.cache/sim/native/failing_sim';
const folder = mkdtempSync(join(tmpdir(), 'vanity-failing-'));
let passed = 0;
let failed = 0;
function check(name, good, shown) {
  if (good) passed++;
  else failed++;
  console.log(`${good ? 'ok' : 'not ok'} - ${name}`);
  if (!good) console.log(shown);
}
const run = (...args) => spawnSync(program, args, { encoding: 'utf8' });

const hunt = run('--keep', folder);
const { stdout } = hunt;
check(
  'a lost wake is found',
  hunt.status === 1 && /: lost wake after \d+ sched/.test(stdout),
  stdout,
);
check(
  'it says who should have woken whom',
  /consumer sleeps since step \d+ and has input; producer should have woken it/.test(stdout),
  stdout,
);
const [, whole, left, steps] =
  /of (\d+) decisions (\d+) are left, in (\d+) steps/.exec(stdout)?.map(Number) ?? [];
check(
  `it is short: ${steps} steps, ${left} of ${whole} decisions`,
  steps <= 25 && left < whole,
  stdout,
);
check(
  'its trace is numbered and has a column for each',
  /^ +# {2}producer +consumer/m.test(stdout),
  stdout,
);

const file = join(folder, 'signals-too-early.repro');
const perfetto = join(folder, 'trace.json');
const again = run('--replay', file, '--perfetto', perfetto);
check(
  'the file runs it again',
  again.status === 0 && /the same as when/.test(again.stdout),
  again.stdout,
);
const trace = (text) =>
  text.slice(text.indexOf('   #  producer'), text.indexOf(': consumer sleeps'));
check('step by step', trace(again.stdout) === trace(stdout), again.stdout);
const { traceEvents } = JSON.parse(readFileSync(perfetto, 'utf8'));
const slices = traceEvents.filter(({ ph }) => ph === 'X');
const tracks = traceEvents
  .filter(({ name }) => name === 'thread_name')
  .map(({ args }) => args.name);
check(
  'Perfetto gets a track for each thread and a slice for each step',
  slices.length === steps && String(tracks) === 'producer,consumer',
  JSON.stringify(traceEvents.slice(0, 5)),
);
check(
  'and an arrow from each store to who found it',
  traceEvents.some(({ ph }) => ph === 's') &&
    traceEvents.filter(({ ph }) => ph === 's').length ===
      traceEvents.filter(({ ph }) => ph === 'f').length,
  JSON.stringify(traceEvents.slice(0, 5)),
);

const text = readFileSync(file, 'utf8');
for (const [name, changed, expected] of [
  ['another file', 'hello\n', /its first line is not/],
  ['a line that nobody knows', text.replace('seed ', 'sede '), /line 4 cannot be read: sede/],
  ['no decisions', text.replace(/^decisions.*$/m, ''), /no scenario or no decisions/],
  ['another scenario', text.replace('signals too early', 'nobody'), /no scenario nobody here/],
]) {
  const path = join(folder, 'changed.repro');
  writeFileSync(path, changed);
  const { status, stderr } = run('--replay', path);
  check(`refuses ${name}`, status === 2 && expected.test(stderr), stderr);
}
writeFileSync(join(folder, 'good.repro'), text.replace(/^verdict.*$/m, 'verdict race'));
const other = run('--replay', join(folder, 'good.repro'));
check(
  'says when it goes another way',
  other.status === 1 && /NOT what it was/.test(other.stdout),
  other.stdout,
);

rmSync(folder, { recursive: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
