import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { comparisonLines } from '../../dist/report/wake/changes.js';
import { spread } from '../../dist/report/wake/chart.js';
import { compareWake } from '../../dist/report/wake/compare.js';
import { wakeCsv } from '../../dist/report/wake/csv.js';
import { wakeHtml } from '../../dist/report/wake/html.js';
import { byTopology } from '../../dist/report/wake/measured.js';
import { falseDiscovery, quantileOfT, tailOfT } from '../../dist/report/wake/statistics.js';
import { ns, share, short, times } from '../../dist/report/wake/units.js';
import { View } from '../../dist/report/wake/view.js';
import { readWakeReport } from '../../dist/wake/read.js';
import { HOSTILE, makeReport, random, spoil } from '../fixtures/wake/make.js';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const TWO = makeReport();

const attributes = (html) => [...html.matchAll(/<[a-z][^>]*>/gi)].map(([tag]) => tag);

test('the made-up reports are what the reader takes', (t) => {
  for (const cpus of [1, 2, 16]) {
    const report = makeReport({ cpus, samples: 20 });
    t.deepEqual(readWakeReport(JSON.stringify(report), 'made'), report);
  }
  t.deepEqual(makeReport({ seed: 7 }), makeReport({ seed: 7 }));
});

// -- the page

test('the page needs nothing from anywhere, and runs nothing', (t) => {
  const html = wakeHtml(TWO);
  t.regex(html, /^<!DOCTYPE html>\n<html lang="en">/);
  t.regex(
    html,
    /<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-/,
  );
  t.notRegex(html, /https?:|<script|@import|url\(|javascript:/i);
  for (const tag of attributes(html)) {
    t.notRegex(tag, /\s(src|srcset|style|on\w+|action)=/i, tag);
    const target = /\shref="([^"]*)"/.exec(tag)?.[1];
    if (target !== undefined) t.regex(target, /^(#[a-z]+|data:,)$/);
  }
  t.is(html, wakeHtml(TWO), 'the same report, the same page');
});

test('every percentile of the pairs shown is in the page, exactly', (t) => {
  const html = wakeHtml(TWO);
  const values = new Set([...html.matchAll(/<data value="([^"]+)">/g)].map(([, v]) => Number(v)));
  for (const { latency } of TWO.cells) {
    for (const name of ['p50', 'p90', 'p99', 'p99_9', 'p99_99', 'max']) {
      if (latency[name] !== null) t.true(values.has(latency[name]), `${name} ${latency[name]}`);
    }
  }
});

test('every section is there, and every mechanism in it', (t) => {
  const html = wakeHtml(TWO);
  for (const id of [
    'sweep',
    'pairs',
    'distribution',
    'percentiles',
    'signal',
    'time',
    'wakes',
    'disturbed',
    'figures',
    'advice',
    'clock',
    'noise',
    'mechanisms',
    'host',
    'notes',
  ]) {
    t.true(html.includes(`<section id="${id}"`), id);
    t.true(html.includes(`href="#${id}"`), id);
  }
  const ids = [...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
  t.is(new Set(ids).size, ids.length, 'no id twice');
  for (const [, references] of html.matchAll(/aria-labelledby="([^"]+)"/g)) {
    for (const id of references.split(' ')) t.true(ids.includes(id), id);
  }
  for (const { name, usable, reason } of TWO.mechanisms) {
    t.true(html.includes(`${name}</th>`), name);
    if (!usable) t.true(html.includes(reason));
  }
  t.true(html.includes('isolcpus=1-1'), 'advice has its command');
  t.true(html.includes('no RAPL domain is readable'));
  t.true(html.includes(`<data value="${TWO.floors[0].roundtrip.p50}">`), 'the floor');
});

test('texts of a report are texts in the page, wherever they stand', (t) => {
  const report = spoil(makeReport({ cpus: 16, samples: 12 }));
  for (const html of [wakeHtml(report), wakeHtml(report, spoil(TWO))]) {
    t.notRegex(html, /<script|<img/i);
    t.is(html.match(/<\/title>/g)?.length, html.match(/<title/g)?.length);
    t.is(html.match(/<\/style>/g)?.length, 1);
    t.false(html.includes(HOSTILE));
    t.true(html.split('&lt;script&gt;').length > 50);
    for (const tag of attributes(html)) t.notRegex(tag.replace(/"[^"]*"/g, '""'), /onerror|'/i);
  }
  const marked = wakeHtml({ ...TWO, notes: ['\u202etxt.exe\u0007'] });
  t.false(marked.includes('\u202e') || marked.includes('\u0007'));
  t.true(marked.includes('txt.exe'));
});

test('whatever is missing, the rest is drawn', (t) => {
  const nothing = { ...TWO, cells: [], signals: [], floors: [], pairs: [], figures: [], notes: [] };
  const empty = structuredClone(TWO);
  for (const cell of empty.cells) {
    cell.latency = {
      count: 0,
      p50: null,
      p90: null,
      p99: null,
      p99_9: null,
      p99_99: null,
      max: null,
    };
    cell.rounds = [];
  }
  const some = structuredClone(TWO);
  some.cells = some.cells.filter((_, i) => i % 3 === 0);
  some.cells[0].latency.p50 = null;
  const unlisted = structuredClone(TWO);
  unlisted.mechanisms = [];
  const reports = [
    nothing,
    empty,
    some,
    unlisted,
    { ...TWO, host: { ...TWO.host, cpus: [], advice: [] }, mechanisms: [] },
    { ...TWO, noise: { cpus: [] }, clock: { ...TWO.clock, skews: [], invariant: false } },
    makeReport({ cpus: 1 }),
    makeReport({ mechanisms: ['spin'], idles: [0], samples: 1, rounds: 1 }),
    makeReport({ mechanisms: ['futex'], idles: [123_456], samples: 50 }),
    makeReport({ complete: false, idles: [1e3, 1e4] }),
  ];
  for (const [i, report] of reports.entries()) {
    const html = wakeHtml(report);
    t.true(html.endsWith('</html>\n'), String(i));
    t.notRegex(html, /NaN|Infinity|undefined|\[object|null/, String(i));
    t.notRegex(wakeHtml(report, TWO), /NaN|Infinity|undefined|\[object|null/, String(i));
  }
  t.true(wakeHtml(makeReport({ complete: false })).includes('<strong>Incomplete.</strong>'));
  t.false(wakeHtml(TWO).includes('Incomplete.'));
  const late = structuredClone(TWO);
  late.cells[3].wakes.late_found_work = 2;
  t.true(wakeHtml(late).includes('2 lost'));
});

test('the page stays small: 1 MB for two processors, 4 MB for 64', (t) => {
  t.true(wakeHtml(makeReport({ samples: 2000 })).length < 1e6);
  const large = makeReport({ cpus: 64, samples: 8, rounds: 2 });
  const html = wakeHtml(large);
  t.true(html.length < 4e6, String(html.length));
  t.true(html.includes('heat many'));
});

test('the map has a cell for each pair, and neighbours stand together', (t) => {
  const report = makeReport({ cpus: 16, samples: 40 });
  const view = new View(report);
  const order = byTopology(
    view,
    report.host.cpus.map(({ id }) => id),
  );
  t.deepEqual(order, [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]);
  const first = wakeHtml(report).split('<table class="heat')[1].split('</table>')[0];
  t.is(first.match(/<td class="h\d/g).length, report.pairs.length);
  t.is(first.match(/<i>S<\/i>/g).length, 16, 'a sibling each');
  t.is(view.pairs.length, 4, 'one pair a relation');
  t.is(view.main.relation, 'package');
});

test('labels keep their distance and stay inside', (t) => {
  const next = random(3);
  for (let i = 0; i < 200; i++) {
    const count = 1 + Math.floor(next() * 14);
    const places = Array.from({ length: count }, () => 10 + next() ** 3 * 380);
    const set = spread(places, 15, 10, 390);
    const sorted = set.toSorted((a, b) => a - b);
    t.true(sorted[0] >= 10 - 1e-6 && sorted.at(-1) <= 390 + 1e-6);
    for (let k = 1; k < count; k++) t.true(sorted[k] - sorted[k - 1] >= 15 - 1e-6);
    // Nobody changes places.
    const order = (values) => values.map((_, k) => k).sort((a, b) => values[a] - values[b]);
    t.deepEqual(order(set), order(places));
  }
  t.deepEqual(spread([100], 15, 10, 390), [100]);
});

test('values as people read them', (t) => {
  const plain = (text) => text.replaceAll('\u00a0', ' ');
  t.deepEqual(
    [0, 0.617, 9.994, 10, 99.96, 245.3, 999.4, 999.6, 16_700, 1.5e6, 2e9, -3.2, null].map((v) =>
      plain(ns(v)),
    ),
    [
      '0 ns',
      '0.62 ns',
      '9.99 ns',
      '10.0 ns',
      '100 ns',
      '245 ns',
      '999 ns',
      '1.00 µs',
      '16.7 µs',
      '1.50 ms',
      '2.00 s',
      '−3.20 ns',
      '–',
    ],
  );
  t.deepEqual(
    [0, 1e3, 1e5, 2.5e6, 123_456].map((v) => plain(short(v))),
    ['0', '1 µs', '100 µs', '2.5 ms', '123 µs'],
  );
  t.deepEqual(
    [0, 0.00001, 0.0005, 0.002, 0.34, 1].map((v) => plain(share(v))),
    ['0 %', '<0.01 %', '0.05 %', '0.2 %', '34 %', '100 %'],
  );
  t.deepEqual([0.0012, 1.02, 37.06, 1061.7, null].map(times), [
    '0.001×',
    '1.02×',
    '37.1×',
    '1,062×',
    '–',
  ]);
});

// -- CSV

function parseCsv(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(
    /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g,
  )) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === '\r\n') rows.push([]);
  }
  rows.pop();
  return rows;
}

test('the CSV has a row a cell, and every value of it', (t) => {
  const report = structuredClone(TWO);
  report.cells[0].mechanism = 'a "strange", name\nof two lines';
  report.cells[1].latency.p99 = null;
  const [header, ...rows] = parseCsv(wakeCsv(report));
  t.is(rows.length, report.cells.length);
  t.true(rows.every((row) => row.length === header.length));
  t.is(new Set(header).size, header.length);
  for (const [i, row] of rows.entries()) {
    const read = Object.fromEntries(header.map((name, k) => [name, row[k]]));
    const cell = report.cells[i];
    const text = (value) => (value === null ? '' : String(value));
    t.is(read.mechanism, cell.mechanism);
    t.is(read.relation, 'package');
    t.is(read.idle_ns, String(cell.idle_ns));
    t.is(read.mode, cell.mode);
    for (const of of ['latency', 'signal']) {
      t.is(read[`${of}_count`], String(cell[of].count));
      for (const name of ['p50', 'p90', 'p99', 'p99_9', 'p99_99', 'max']) {
        t.is(read[`${of}_${name}_ns`], text(cell[of][name]));
      }
    }
    t.is(read.disturbed, String(cell.disturbed.count));
    t.is(read.disturbed_stolen, String(cell.marks.stolen));
    t.is(read.wakes_late_found_work, String(cell.wakes.late_found_work));
    t.is(read.cpu_s_per_s, text(cell.cpu_s_per_s));
  }
  t.is(wakeCsv({ ...TWO, cells: [] }).split('\r\n').length, 2, 'a header without cells');
});

// -- comparing

test('the statistics are those of the books', (t) => {
  const near = (a, b, within = 1e-3) => t.true(Math.abs(a - b) < within, `${a} is not ${b}`);
  near(tailOfT(12.706, 1), 0.05);
  near(tailOfT(2.776, 4), 0.05);
  near(tailOfT(3.355, 8), 0.01);
  near(tailOfT(0, 5), 1);
  near(tailOfT(-2.776, 4), 0.05);
  near(quantileOfT(0.05, 10), 2.228);
  near(quantileOfT(0.05, 1e6), 1.96);
  const adjusted = falseDiscovery([0.01, 0.04, 0.03, 0.5]);
  for (const [i, expected] of [0.04, 0.0533, 0.0533, 0.5].entries()) near(adjusted[i], expected);
  t.deepEqual(falseDiscovery([]), []);
});

const SMALL = { mechanisms: ['spin', 'futex'], idles: [0, 1e4, 1e6], samples: 300, rounds: 5 };
const marksOf = (before, after, seed) => {
  const { figures } = compareWake(before, after, { seed });
  return {
    slower: figures.slower,
    faster: figures.faster,
    all: figures.slower + figures.faster + figures.same,
  };
};

test('two runs of the same machine do not differ, over many seeds and kinds of noise', (t) => {
  for (const noise of [0, 0.01, 0.05]) {
    let marked = 0;
    let figures = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const [a, b] = [seed, seed + 1000].map((s) => makeReport({ ...SMALL, noise, seed: s }));
      const found = marksOf(a, b, seed);
      marked += found.slower + found.faster;
      figures += found.all;
    }
    t.true(figures >= 600, 'p50 and p99 are compared');
    t.true(marked <= 2, `${marked} of ${figures} marked with noise ${noise}`);
  }
});

test('a shift of a tenth is found where rounds are alike, in its direction', (t) => {
  const before = makeReport({ ...SMALL, noise: 0.005, seed: 11 });
  const after = makeReport({ ...SMALL, noise: 0.005, seed: 12, scale: 1.1 });
  const { cells, figures } = compareWake(before, after);
  t.true(cells.every(({ p50 }) => p50.verdict === 'slower'));
  t.is(figures.faster, 0);
  for (const { p50 } of cells) {
    t.true(p50.low < 1.1 * 1.02 && p50.high > 1.1 * 0.98, `${p50.low} to ${p50.high}`);
    t.true(p50.low > 1 && p50.p <= 0.05 && p50.ratio > p50.noise);
  }
  const back = compareWake(after, before);
  t.true(back.cells.every(({ p50 }) => p50.verdict === 'faster'));
});

test('a shift of a tenth is not claimed where rounds differ by as much', (t) => {
  let slower = 0;
  let all = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const before = makeReport({ ...SMALL, noise: 0.12, seed });
    const after = makeReport({ ...SMALL, noise: 0.12, seed: seed + 500, scale: 1.1 });
    const found = marksOf(before, after, seed);
    slower += found.slower + found.faster;
    all += found.all;
  }
  t.true(slower / all < 0.02, `${slower} of ${all}`);
});

test('a shift that single rounds reach by themselves is not claimed, however sure', (t) => {
  const many = { ...SMALL, mechanisms: ['spin'], rounds: 24, samples: 60, noise: 0.06 };
  const { cells } = compareWake(
    makeReport({ ...many, seed: 21 }),
    makeReport({ ...many, seed: 22, scale: 1.06 }),
  );
  t.true(cells.some(({ p50 }) => p50.p < 0.01));
  t.true(cells.every(({ p50 }) => p50.verdict === 'same' && p50.ratio < p50.noise));
});

test('the interval covers the true ratio about as often as it says', (t) => {
  let covered = 0;
  let all = 0;
  for (let seed = 1; seed <= 15; seed++) {
    const before = makeReport({ ...SMALL, noise: 0.02, seed });
    const after = makeReport({ ...SMALL, noise: 0.02, seed: seed + 300, scale: 1.2 });
    for (const { p50, mode, from, to, idle_ns } of compareWake(before, after).cells) {
      t.truthy(p50, `${mode} ${from} ${to} ${idle_ns}`);
      covered += p50.low <= 1.2 && p50.high >= 1.2 ? 1 : 0;
      all++;
    }
  }
  t.true(covered / all >= 0.93, `${covered} of ${all}`);
});

test('what only one run has is listed, and what cannot be judged is not', (t) => {
  const before = makeReport({ ...SMALL, mechanisms: ['spin', 'futex'] });
  const after = makeReport({ ...SMALL, mechanisms: ['spin', 'pipe'] });
  const found = compareWake(before, after);
  t.is(found.cells.length, 8);
  t.true(found.only_before.every(({ mechanism }) => mechanism === 'futex'));
  t.true(found.only_after.every(({ mechanism }) => mechanism === 'pipe'));
  t.is(found.only_before.length, 8);
  t.deepEqual(found.warnings, []);

  const single = makeReport({ ...SMALL, rounds: 1 });
  const unknown = compareWake(single, makeReport({ ...SMALL, scale: 3 }));
  t.true(unknown.cells.every(({ p50 }) => p50.verdict === 'unknown' && p50.low === null));
  t.regex(unknown.warnings.join(), /single round/);
  t.regex(comparisonLines(unknown, { color: false }).join('\n'), /cannot be judged/);

  const other = makeReport({ ...SMALL, complete: false });
  other.host.name = 'elsewhere';
  t.regex(
    compareWake(before, other).warnings.join(),
    /host differs: lab-2 before, elsewhere after.*incomplete/,
  );
});

test('the same seed gives the same comparison', (t) => {
  const [a, b] = [1, 2].map((seed) => makeReport({ ...SMALL, seed }));
  t.deepEqual(compareWake(a, b, { seed: 5 }), compareWake(a, b, { seed: 5 }));
});

test('cells whose rounds all agree to the bucket differ only by more than a bucket', (t) => {
  const flat = (value) => {
    const report = makeReport({ ...SMALL, mechanisms: ['spin'] });
    for (const cell of report.cells) {
      cell.rounds = cell.rounds.map(({ count }) => ({
        count,
        min_ns: value,
        max_ns: value,
        sum_ns: value * count,
        buckets: [[value, count]],
      }));
      cell.latency = { ...cell.latency, p50: value, p99: value };
    }
    return report;
  };
  t.is(compareWake(flat(240.128), flat(240.64)).figures.slower, 0, 'one bucket');
  t.is(compareWake(flat(240.128), flat(300.032)).figures.same, 0);
});

// -- the command

function vanity(args, input = '') {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, 'report', ...args], (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

function folder(t, files = {}) {
  const path = mkdtempSync(join(tmpdir(), 'vanity-report-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(
      join(path, name),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  }
  return (name) => join(path, name);
}

test('report draws what it is asked to, and says where', async (t) => {
  const at = folder(t, { 'a.json': TWO });
  const [html, csv] = [at('a.html'), at('a.csv')];
  const { code, stdout, stderr } = await vanity([at('a.json'), '--html', html, '--csv', csv]);
  t.is(code, 0);
  t.regex(stdout, /^lab-2: Example Processor 8480\+/);
  t.is(stderr, `written: ${html}\nwritten: ${csv}\n`);
  t.is(readFileSync(html, 'utf8'), wakeHtml(TWO));
  t.is(readFileSync(csv, 'utf8'), wakeCsv(TWO));

  const piped = await vanity(['-', '--json'], `\ufeff${JSON.stringify(TWO)}`);
  t.is(piped.code, 0);
  t.deepEqual(JSON.parse(piped.stdout).figures, TWO.figures);
});

test('report compares two, and fails on slower only when told to', async (t) => {
  const slow = makeReport({ seed: 2, scale: 1.2 });
  const at = folder(t, { 'a.json': TWO, 'b.json': slow, 'c.json': makeReport({ seed: 3 }) });
  const plain = await vanity([at('a.json'), at('b.json'), '--html', at('x.html')]);
  t.is(plain.code, 0);
  t.regex(plain.stdout, /\d+ of \d+ figures slower, 0 faster/);
  t.regex(plain.stdout, /^spin .* slower$/m);
  t.regex(plain.stdout, /Benjamini-Hochberg/);
  t.true(readFileSync(at('x.html'), 'utf8').includes('id="comparison"'));

  const told = await vanity([at('a.json'), at('b.json'), '--fail-on-slower', '--json']);
  t.is(told.code, 1);
  t.true(JSON.parse(told.stdout).figures.slower > 50);
  const same = await vanity([at('a.json'), at('c.json'), '--fail-on-slower']);
  t.is(same.code, 0);
  t.regex(same.stdout, /No difference larger than the noise/);
  const faster = await vanity([at('b.json'), '-', '--fail-on-slower'], JSON.stringify(TWO));
  t.is(faster.code, 0);
});

test('bad input is said before anything is written', async (t) => {
  const at = folder(t, {
    'a.json': TWO,
    'cut.json': JSON.stringify(TWO, null, 1).slice(0, 5000),
    'comma.json': '{\n  "format": "vanity-wake",\n}',
    'other.json': '{"shards": {}}',
    'newer.json': { ...TWO, version: 2 },
    'shape.json': { ...TWO, cells: [{ mechanism: 'spin' }] },
    'empty.json': '',
  });
  const html = at('out.html');
  const cases = [
    [[at('none.json')], 1, /VANITY_E_WAKE_REPORT\]: .*none\.json.* no such file/],
    [[at('.')], 1, /it is a folder/],
    [[at('cut.json')], 1, /not JSON: line \d+, column \d+: it ends too soon/],
    [[at('comma.json')], 1, /not JSON: line 3, column 1/],
    [[at('other.json')], 1, /"format" must be "vanity-wake"; it is missing/],
    [[at('newer.json')], 1, /it is of version 2; this Vanity reads version 1/],
    [[at('shape.json')], 1, /cells\.0\./],
    [[at('empty.json')], 1, /it is empty/],
    [[at('a.json'), at('none.json')], 1, /no such file/],
    [['-'], 1, /stdin .* it is empty/],
    [['-', '-'], 2, /only one of two reports can come from stdin/],
    [[at('a.json'), '--fail-on-slower'], 2, /needs two reports/],
    [[at('a.json'), at('a.json'), '--csv', at('x.csv')], 2, /--csv writes one report/],
    [[at('a.json'), '--csv', html], 2, /name the same file/],
    [[at('a.json'), '--csv', at('a.json')], 2, /would be overwritten/],
    [[at('a.json'), '--csv', at('no/x.csv')], 1, /VANITY_E_OUTPUT.*the folder .* does not exist/],
    [[at('a.json'), '--csv', at('.')], 1, /VANITY_E_OUTPUT.*it is a folder/],
  ];
  for (const [args, code, message] of cases) {
    const got = await vanity([...args, '--html', html]);
    t.is(got.code, code, args.join(' '));
    t.is(got.stdout, '');
    t.regex(got.stderr, message, args.join(' '));
    t.regex(got.stderr, /\nhint: /);
    t.false(existsSync(html), args.join(' '));
  }
  t.is(readdirSync(at('.')).length, 7, 'nothing else was written');
  t.deepEqual(JSON.parse(readFileSync(at('a.json'), 'utf8')), TWO);
});

test('an output that cannot be written is an error of its own', async (t) => {
  if (process.getuid() === 0) return t.pass('root may write everywhere');
  const at = folder(t, { 'a.json': TWO });
  chmodSync(at('.'), 0o500);
  t.teardown(() => chmodSync(at('.'), 0o700));
  const { code, stderr } = await vanity([at('a.json'), '--html', at('x.html')]);
  t.is(code, 1);
  t.regex(stderr, /VANITY_E_OUTPUT.*you may not write/);
});
