// The wake bench as it ships, on this host. Figures are whatever the host makes them; what is held here is
// that every cell is measured, that no wake is lost, and that it ends as it should.
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { usableCpus } from '../../dist/host/cpus.js';
import { readWakeReport } from '../../dist/wake/read.js';
import { workspace } from './helpers.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const several = availableParallelism() > 1 ? test.serial : test.skip;
/** Few samples, as fast as they come. */
const SHORT = ['--samples', '40', '--rounds', '2', '--idle', '0,100us'];

const lateIn = (report) => report.cells.reduce((sum, cell) => sum + cell.wakes.late_found_work, 0);

several('--quick --json: a valid report, samples in every cell, no wake lost', async (t) => {
  const space = workspace(t);
  const began = Date.now();
  const mechanisms = 'spin,futex,raw-futex,atomics';
  const run = space.start(
    'bench',
    'wake',
    '--quick',
    '--idle',
    '0,100us',
    '--mechanisms',
    mechanisms,
    '--json',
  );
  const { code, stdout, stderr } = await run.ended;
  t.is(code, 0, stderr);
  // 10 s, and what a busy machine adds.
  t.true(Date.now() - began < 30_000);
  const report = readWakeReport(stdout, 'stdout');
  t.true(report.complete);
  t.deepEqual(report.options.mechanisms, ['spin', 'futex', 'raw-futex', 'atomics']);
  t.deepEqual(report.options.idles_ns, [0, 100_000]);
  t.true(report.pairs.length >= 2);
  t.true(report.cells.length >= report.pairs.length * 4);
  const busy = report.notes.some((note) => note.startsWith('Others were running'));
  for (const cell of report.cells) {
    const name = `${cell.mechanism} ${cell.from}-${cell.to} ${cell.mode} ${cell.idle_ns}`;
    t.true(cell.latency.count > 0, name);
    t.is(
      cell.rounds.reduce((sum, r) => sum + r.count, 0),
      cell.latency.count,
      name,
    );
    t.true(cell.latency.max > 0, name);
    // On processors that others want, nobody is idle when he should be.
    if (!busy && cell.mode === 'oneway' && cell.idle_ns === 100_000) {
      t.true(cell.idled_ns > 50_000, `${name}: idled ${cell.idled_ns}`);
    }
  }
  t.is(lateIn(report), 0);
  t.true(report.floors.every((floor) => floor.rounds[0].count > 0));
  t.true(report.signals.some((s) => s.mechanism === 'futex' && s.signal_ns.length > 0));
  t.is(report.noise.cpus.length, new Set(report.pairs.flatMap((p) => [p.from, p.to])).size);
  const names = report.figures.map((figure) => figure.name).join('\n');
  for (const part of [
    /half the one-line floor/,
    /raw-futex/,
    /plain store/,
    /late_found_work/,
    /atomics/,
  ]) {
    t.regex(names, part);
  }
  t.regex(stderr, /\d+%.*left/);
});

several('a table, a map, CSV and HTML; the files are whole and leave no draft', async (t) => {
  const space = workspace(t);
  const [csv, html] = [join(space.path, 'wake.csv'), join(space.path, 'wake.html')];
  const args = ['--mechanisms', 'spin,futex,pipe', '--csv', csv, '--html', html, '--pairs', 'all'];
  const { code, stdout, stderr } = await space.run('bench', 'wake', ...SHORT, ...args);
  t.is(code, 0, stderr);
  for (const part of [
    /^spin .*( ns| us)/m,
    /\(floor, one line\)/,
    /signals, across: waits/,
    /^Figures/m,
    /^Not on this host/m,
  ]) {
    t.regex(stdout, part);
  }
  t.false(stdout.includes('\u001b['), 'no colours where there is no terminal');
  t.true(readFileSync(csv, 'utf8').split('\n').length > 3 * 3);
  t.regex(readFileSync(html, 'utf8'), /<\/html>\s*$/);
  t.deepEqual(
    readdirSync(space.path)
      .filter((name) => name.startsWith('wake'))
      .sort(),
    ['wake.csv', 'wake.html'],
  );
  t.deepEqual(
    readdirSync(space.path).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test.serial('the references of Node are measured as everything else', async (t) => {
  const space = workspace(t);
  const args = ['--mechanisms', 'atomics,message-port', '--json'];
  const { code, stdout, stderr } = await space.run('bench', 'wake', ...SHORT, ...args);
  t.is(code, 0, stderr);
  const report = readWakeReport(stdout, 'stdout');
  for (const cell of report.cells) {
    t.is(cell.latency.count, 40, `${cell.mechanism} ${cell.mode}`);
    t.true(cell.latency.p50 > 0);
    t.true(cell.cpu_s_per_s > 0);
    if (cell.mode === 'oneway') t.true(cell.signal.p50 > 0);
  }
});

test.serial('Ctrl-C: what there is, as a valid report, and 130', async (t) => {
  const space = workspace(t);
  const run = space.start('bench', 'wake', '--json');
  await run.said(/%.*left.*round 1 of \d+ {2}(?!comparing)/);
  const began = Date.now();
  run.kill('SIGINT');
  const { code, stdout, stderr } = await run.ended;
  t.is(code, 130, stderr);
  t.true(Date.now() - began < 5000);
  const report = readWakeReport(stdout, 'stdout');
  t.false(report.complete);
  t.true(report.cells.length > 0);
  t.regex(stderr, /interrupted: the report covers/);
});

test.serial('a second Ctrl-C ends it at once', async (t) => {
  const space = workspace(t);
  const run = space.start('bench', 'wake', '--idle', '1s', '--mechanisms', 'futex');
  await run.said(/left/);
  run.kill('SIGINT');
  run.kill('SIGINT');
  const { code, stderr } = await run.ended;
  t.is(code, 130, stderr);
});

test.serial('what is wrong is said before anything is measured', async (t) => {
  const space = workspace(t);
  const cases = [
    [['--html', '/nonexistent/wake.html'], 1, /VANITY_E_OUTPUT.*\/nonexistent does not exist/],
    [['--csv', space.path], 1, /VANITY_E_OUTPUT.*it is a folder/],
    [['--csv', join(space.path, 'x'), '--html', join(space.path, 'x')], 2, /name the same file/],
    [['--pairs', '0-4095'], 2, /VANITY_E_WAKE_PAIR.*no processor 4095/],
    [['--mechanisms', 'spni'], 2, /VANITY_E_WAKE_MECHANISM.*\nhint: Did you mean "spin"/],
    [['--idle', 'soon'], 2, /VANITY_E_USAGE.*"soon"/],
    [['--samples', 'many'], 2, /--samples must be/],
    [['--idel', '0'], 2, /Did you mean --idle\?/],
    [['spin'], 2, /too many arguments/],
  ];
  for (const [args, expected, message] of cases) {
    const { code, stdout, stderr } = await space.run('bench', 'wake', ...args);
    t.is(code, expected, args.join(' '));
    t.is(stdout, '');
    t.regex(stderr, message);
    t.notRegex(stderr, /left/, 'nothing was measured');
  }
  const { stdout } = await space.run('bench', 'wake', '--pairs', 'x', '--json');
  t.is(JSON.parse(stdout).error.code, 'VANITY_E_WAKE_PAIR');
  t.deepEqual(
    readdirSync(space.path).filter((name) => name !== 'runtime'),
    [],
  );
});

test.serial('a mechanism that this host lacks is refused by name, with the reason', async (t) => {
  const space = workspace(t);
  const all = await space.run('bench', 'wake', '--mechanisms', 'futex', '--json', ...SHORT);
  const missing = readWakeReport(all.stdout, 'stdout').mechanisms.find((m) => !m.usable);
  t.truthy(missing, 'no processor has WFE and UMWAIT');
  const { code, stderr } = await space.run('bench', 'wake', '--mechanisms', missing.name);
  t.is(code, 2);
  t.true(stderr.includes(`"${missing.name}": ${missing.reason}`), stderr);
});

test.serial(
  'with one processor: what sleeps is measured, the rest is named, and why',
  async (t) => {
    const space = workspace(t);
    const cpu = String(usableCpus()[0]);
    const confined = (...args) =>
      space.spawn(
        'taskset',
        ['-c', cpu, process.execPath, MAIN, 'bench', 'wake', ...args],
        'stderr',
      ).ended;
    const { code, stdout, stderr } = await confined(...SHORT, '--json');
    t.is(code, 0, stderr);
    const report = readWakeReport(stdout, 'stdout');
    t.deepEqual(report.pairs, [{ from: Number(cpu), to: Number(cpu), relation: 'same' }]);
    const measured = new Set(report.cells.map((cell) => cell.mechanism));
    for (const name of ['futex', 'raw-futex', 'eventfd', 'pipe', 'atomics', 'message-port']) {
      t.true(measured.has(name), name);
    }
    t.false(measured.has('spin'));
    t.regex(report.notes.join('\n'), /Not measured on one and the same processor: .*spin/);
    t.regex(report.notes.join('\n'), /one processor only/);
    t.true(report.cells.every((cell) => cell.latency.count > 0));
    t.is(lateIn(report), 0);
    const alone = await confined('--mechanisms', 'spin');
    t.is(alone.code, 1);
    t.regex(alone.stderr, /VANITY_E_WAKE_NOTHING.*\nhint: Type: --mechanisms .*futex/);
    if (availableParallelism() > 1) {
      const other = usableCpus().at(-1);
      const away = await confined('--pairs', `${cpu}-${other}`);
      t.regex(away.stderr, new RegExp(`may not use processor ${other} `));
    }
  },
);

const asRoot = process.getuid() === 0 ? test.serial : test.skip;
asRoot('without rights it measures the same', async (t) => {
  const space = workspace(t);
  const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all'];
  const bench = (...args) =>
    space.spawn(
      'setpriv',
      [...nobody, '--bounding-set=-all', process.execPath, MAIN, 'bench', 'wake', ...args],
      'stderr',
    ).ended;
  const { code, stdout, stderr } = await bench('--mechanisms', 'futex,atomics', '--json', ...SHORT);
  t.is(code, 0, stderr);
  const report = readWakeReport(stdout, 'stdout');
  t.true(report.cells.every((cell) => cell.latency.count === 40));
  const refused = await bench('--csv', '/wake.csv');
  t.is(refused.code, 1);
  t.regex(refused.stderr, /VANITY_E_OUTPUT.*you may not write in \/\n/);
});

several('on a terminal: one line of progress in place, and colours unless NO_COLOR', async (t) => {
  const space = workspace(t);
  const { code, stdout } = await space.terminal(
    'bench',
    'wake',
    ...SHORT,
    '--mechanisms',
    'spin,futex',
  ).ended;
  t.is(code, 0);
  t.true(stdout.includes('\r\u001b[K'));
  t.true(stdout.includes('\u001b[97;48;5;'));
});

test.serial('it is in the list of benches, and flags before its name count too', async (t) => {
  const space = workspace(t);
  t.regex((await space.run('bench')).stdout, /^wake /m);
  const { stdout } = await space.run('bench', '--json', 'wake', '--pairs', 'x');
  t.is(JSON.parse(stdout).error.code, 'VANITY_E_WAKE_PAIR');
  t.regex(
    (await space.run('bench', 'wake', '--help')).stdout,
    /\nExamples:\n {2}\$ vanity bench wake --quick/,
  );
});
