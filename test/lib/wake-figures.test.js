import test from 'ava';
import { figuresOf } from '../../dist/wake/figures.js';
import { cell, floor, wakeReport } from './helpers/wake.js';

const figure = (report, pattern) => {
  const found = figuresOf(report).figures.filter(({ name }) => pattern.test(name));
  return found.length === 1 ? found[0] : found;
};
const near = (t, actual, expected) => t.true(Math.abs(actual / expected - 1) < 0.005, `${actual}`);

test('each target of the table, met and missed', (t) => {
  const report = wakeReport({
    cells: [
      cell('spin', 0, [110, 110, 110]),
      cell('spin', 10_000, [120, 120, 120]),
      cell('futex', 100_000, [6000, 6000, 6000]),
      cell('raw-futex', 100_000, [5000, 6000, 6000]),
      cell('adaptive', 10_000, [130, 130, 150]),
      cell('adaptive', 100_000, [9000, 9000, 9000]),
      cell('atomics', 100_000, [12_000, 12_000, 12_000]),
    ],
    floors: [floor([200, 200, 200]), floor([440, 440, 440], { lines: 2 })],
    signals: [
      { mechanism: 'futex', from: 0, to: 1, signal_ns: [2, 9, 2.5], store_ns: [0.5, 0.5, 0.5] },
      { mechanism: 'eventfd', from: 0, to: 1, signal_ns: [300], store_ns: [0.5] },
    ],
  });
  const rows = [
    [/^spin .*half the one-line floor/, 1.1, '<= 1.1', null],
    [/^spin .*half the two-line floor/, 0.5, null, null],
    [/^futex p50 \/ raw-futex/, 1, '<= 1.05', true],
    [/^signal\(\)/, 2, '<= 3', true],
    [/^adaptive p50 \/ spin p50, idle 10 us/, 130 / 120, '<= 1.2', true],
    [/^adaptive p50 \/ futex p50, idle 100 us/, 1.5, '<= 1.1', false],
    [/^atomics/, 2, 'expected >= 1.3', null],
  ];
  for (const [pattern, value, target, met] of rows) {
    const row = figure(report, pattern);
    near(t, row.value, value);
    t.is(row.target, target);
    if (met !== null || !target?.startsWith('<')) t.is(row.met, met, row.name);
  }
  t.deepEqual(figure(report, /late_found_work/).met, true);
});

test('a ratio is the median of those of each pair and round, never of merged samples', (t) => {
  // The machine slows down tenfold in the second round: both do, and the ratio stays.
  const report = wakeReport({
    cells: [
      cell('futex', 100_000, [1000, 10_000, 1000]),
      cell('raw-futex', 100_000, [1000, 10_000, 1000]),
      cell('futex', 100_000, [50_000], { from: 1, to: 0 }),
    ],
  });
  near(t, figure(report, /^futex p50 .* raw-futex/).value, 1);
});

test('an error of the skew cancels: there and back count as one', (t) => {
  const cells = (mechanism, there, back) => [
    cell(mechanism, 0, [there, there]),
    cell(mechanism, 0, [back, back], { from: 1, to: 0 }),
  ];
  const floors = [floor([200, 200]), floor([200, 200], { from: 1, to: 0 })];
  const report = wakeReport({
    cells: [...cells('spin', 60, 140), ...cells('adaptive', 80, 160)],
    floors,
  });
  near(t, figure(report, /half the one-line floor/).value, 1);
  near(t, figure(report, /^adaptive p50/).value, 1.2);
  t.true(figure(report, /spread/).value < 1);
  // A skew that is corrected between two rounds moves both directions, and no sum.
  report.cells = [cell('spin', 0, [60, 80]), cell('spin', 0, [140, 120], { from: 1, to: 0 })];
  t.true(figure(report, /spread/).value < 1);
});

test('what was not measured has no figure; one lost wake misses its target', (t) => {
  const report = wakeReport({
    cells: [cell('futex', 1000, [10])],
    floors: [],
    signals: [],
    options: { ...wakeReport().options, idles_ns: [1000] },
  });
  report.cells[0].wakes.late_found_work = 1;
  const { figures } = figuresOf(report);
  t.deepEqual(
    figures.map(({ name, met }) => [name.split(' ')[0], met]),
    [
      ['waits', false],
      ['futex', null],
    ],
  );
  t.deepEqual(figuresOf(wakeReport({ cells: [], floors: [], signals: [] })).figures, []);
});

test('a spread of spin beyond its target is explained by what was measured, and by nothing else', (t) => {
  const spread = (more) => {
    const { figures, notes } = figuresOf(
      wakeReport({ cells: [cell('spin', 0, [100, 150, 100])], ...more }),
    );
    const row = figures.find(({ name }) => /spread/.test(name));
    near(t, row.value, 50);
    t.false(row.met);
    t.is(notes.length, 1);
    return notes[0];
  };
  const base = wakeReport();
  const quiet = {
    cpus: [{ ...base.noise.cpus[0], involuntary_switches: 0, steal_ms: null, smi: null }],
  };
  t.regex(spread({ noise: quiet }), /50 % between rounds: nothing that was measured explains it/);
  const noisy = spread({
    noise: { cpus: [{ ...quiet.cpus[0], involuntary_switches: 7, steal_ms: 20 }] },
    floors: [floor([200, 300, 200])],
    host: {
      ...base.host,
      hypervisor: 'KVM',
      advice: [{ name: 'governor', status: 'warn', found: 'powersave', why: '', fix: null }],
    },
  });
  for (const part of [/floor .* by 50 %/, /20 ms/, /7 times/, /"powersave"/, /KVM/])
    t.regex(noisy, part);
  const calm = figuresOf(wakeReport({ cells: [cell('spin', 0, [100, 101, 100])] }));
  t.deepEqual(calm.notes, []);
  t.true(calm.figures.find(({ name }) => /spread/.test(name)).met);
});
