import test from 'ava';
import { liveLines, progressLine, wakeLines } from '../../dist/report/wake/terminal.js';
import { LatencyHistogram } from '../../dist/wake/histogram.js';
import { cell, wakeReport } from './helpers/wake.js';

const PLAIN = { color: false, columns: 100 };
const lines = (report, style = PLAIN) => wakeLines(report, style);
const part = (all, title) => {
  const start = all.findIndex((line) => line.startsWith(title));
  const rest = all.slice(start + 1);
  return rest.slice(0, rest.indexOf('') >>> 0);
};

test('p50 of each mechanism by idle time, what was not measured as "-"', (t) => {
  const table = part(lines(wakeReport()), 'One way');
  t.regex(table[0], /^mechanism +0 +100 us +round trip$/);
  t.regex(table[1], /^spin +10\d ns +11\d ns +-$/);
  t.regex(table[2], /^futex +5\.\d us +6\.\d us +-$/);
  t.regex(table.at(-2), /^\(floor, one line\) +19\d ns$/);
  t.is(table.at(-1), '(pairs 0-1 together; from-to)');
});

test('tails: percentiles that mean something, disturbed ones, costs', (t) => {
  const table = part(lines(wakeReport()), 'Tails');
  t.regex(table[0], /^idle 100 us +wakes +p50 +p90 +p99 /);
  const futex = table.find((line) => line.startsWith('futex '));
  // 300 samples: p90 has 30 above it, p99 three.
  t.regex(
    futex,
    /^futex +300 +6\.\d us +6\.\d us +- +- +6\.\d us +0 +5\d\.?\d* ns +\+1\.1 ns +0\.10 +0$/,
  );
  t.notRegex(table[0], /J\/s/);
  const metred = wakeReport({ energy: { available: true, reason: 'RAPL: package-0' } });
  metred.cells[3].joules_per_s = 12.345;
  t.regex(
    part(lines(metred), 'Tails').find((line) => line.startsWith('futex ')),
    / 12\.35 +0$/,
  );
});

test('the map is ordered by the machine, and coloured only when asked', (t) => {
  const host = wakeReport().host;
  // Threads of one core stand side by side: 0 and 2, 1 and 3.
  host.cpus = [0, 1, 2, 3].map((id) => ({
    ...host.cpus[0],
    id,
    core: id % 2,
    siblings: [id % 2, (id % 2) + 2],
  }));
  const report = wakeReport({
    host,
    pairs: [
      { from: 0, to: 2, relation: 'sibling' },
      { from: 0, to: 1, relation: 'package' },
      { from: 3, to: 0, relation: 'package' },
    ],
    cells: [
      cell('spin', 0, [50], { to: 2 }),
      cell('spin', 0, [200], { to: 1 }),
      cell('spin', 0, [800], { from: 3, to: 0 }),
    ],
  });
  const map = part(lines(report), 'spin, p50 between');
  t.deepEqual(map[0].trim().split(/ +/), ['0', '2', '1', '3']);
  t.regex(map[1], /^ +0 +\. +5\d ns +[12]\d\d ns +-$/);
  t.regex(map[4], /^ +3 +[78]\d\d ns +- +- +\.$/);
  t.true(map.some((line) => /^threads of one core +1 +5\d ns/.test(line)));
  t.true(map.some((line) => /^the same package +2 +[12]\d\d ns .*[78]\d\d ns$/.test(line)));
  t.false(lines(report).join().includes('\u001b'));
  const coloured = lines(report, { color: true, columns: 100 }).join();
  t.true(coloured.includes('\u001b[97;48;5;28m') && coloured.includes('\u001b[97;48;5;124m'));
});

test('a map that is wider than the terminal gives way to its summary', (t) => {
  const host = wakeReport().host;
  host.cpus = Array.from({ length: 64 }, (_, id) => ({ ...host.cpus[0], id, core: id }));
  const pairs = host.cpus.slice(1).map(({ id }) => ({ from: 0, to: id, relation: 'package' }));
  const cells = pairs.map(({ to }) => cell('spin', 0, [100], { to }));
  const map = part(lines(wakeReport({ host, pairs, cells })), 'spin, p50 between');
  t.regex(map[0], /too wide.*--html/);
});

test('figures, notes, what is missing and why, what to type', (t) => {
  const report = wakeReport({
    complete: false,
    figures: [
      { name: 'a', value: 1.234, unit: 'x', target: '<= 1.1', met: false },
      { name: 'b', value: 0, unit: 'waits', target: '= 0', met: true },
      { name: 'c', value: 12345.6, unit: 'ns', target: null, met: null },
    ],
    notes: ['Mind the gap.'],
  });
  report.host.advice = [
    { name: 'governor', status: 'warn', found: 'powersave', why: 'x', fix: 'echo performance' },
  ];
  const text = lines(report).join('\n');
  for (const expected of [
    /INTERRUPTED/,
    /^a +1\.23 +x +<= 1\.1 +NO$/m,
    /^b +0 +waits += 0 +yes$/m,
    /^c +12,346 +ns$/m,
    /^- Mind the gap\.$/m,
    /^- Energy: no powercap\.$/m,
    /^waitpkg-c01 +this processor does not have it$/m,
    /^- governor: powersave\n {4}echo performance$/m,
  ]) {
    t.regex(text, expected);
  }
});

test('a report of nothing is drawn too', (t) => {
  const empty = wakeReport({ cells: [], floors: [], signals: [], pairs: [], mechanisms: [] });
  t.notThrows(() => lines(empty));
  const hollow = cell('spin', 0, [1]);
  hollow.rounds = [new LatencyHistogram().toJSON()];
  t.notThrows(() => lines(wakeReport({ cells: [hollow] })));
});

test('while it runs: tables that fit, and a line that does', (t) => {
  const all = liveLines(wakeReport(), PLAIN, 40);
  t.regex(all[1], /so far/);
  t.true(all.some((line) => line.startsWith('spin, p50 between')));
  t.false(liveLines(wakeReport(), PLAIN, 9).some((line) => line.startsWith('spin, p50')));
  t.deepEqual(liveLines(wakeReport(), PLAIN, 3), []);

  const visit = { mechanism: 'futex', mode: 'oneway', from: 0, to: 1, idleNs: 10_000 };
  const progress = { done: 0.256, elapsedS: 2, remainingS: 7.4, round: 1, rounds: 4, visit };
  t.is(progressLine(progress, 100), ' 25%  7 s left  round 2 of 4  futex 0-1 idle 10 us');
  t.is(progressLine(progress, 20).length, 19);
  t.regex(progressLine({ ...progress, visit: null }, 100), /comparing clocks$/);
  t.regex(progressLine({ ...progress, remainingS: 0.2 }, 100), /done soon/);
  t.regex(progressLine({ ...progress, remainingS: 61 }, 100), /1 min 1 s left/);
  t.regex(
    progressLine({ ...progress, visit: { ...visit, mode: 'roundtrip' } }, 100),
    /futex 0-1 roundtrip$/,
  );
  t.regex(
    progressLine({ ...progress, visit: { ...visit, mode: 'floor', mechanism: '' } }, 100),
    /floor 0-1$/,
  );
});
