import { readFileSync } from 'node:fs';
import test from 'ava';
import { LatencyHistogram } from '../../dist/wake/histogram.js';
import { readWakeReport } from '../../dist/wake/read.js';
import { wakeJsonSchema } from '../../dist/wake/schema.js';
import { wakeReport } from './helpers/wake.js';

const read = (text) => readWakeReport(text, 'old.json');

test('what was written is read, and its histograms are whole', (t) => {
  const report = wakeReport();
  const back = read(JSON.stringify(report));
  t.deepEqual(back, JSON.parse(JSON.stringify(report)));
  t.is(LatencyHistogram.fromJSON(back.cells[0].rounds[0]).count, back.cells[0].rounds[0].count);
});

test('what is no report says where and why, and what to type', (t) => {
  const good = wakeReport();
  const text = JSON.stringify(good, null, 2);
  const changed = (change) => {
    const copy = structuredClone(JSON.parse(text));
    change(copy);
    return JSON.stringify(copy);
  };
  const cases = [
    ['', /it is empty/],
    ['hello', /not JSON: line 1, column 1/],
    [text.slice(0, 500), /not JSON: line \d+, column \d+: it ends too soon/],
    [text.replace('"rounds"', 'rounds'), /not JSON: line \d+, column \d+: /],
    ['[]', /no object/],
    ['null', /no object/],
    ['{}', /"format" must be "vanity-wake"; it is missing/],
    ['{"figures":[]}', /"format" must be/],
    ['{"error":{"message":"no such pair"}}', /error that ended the run: no such pair/],
    [changed((r) => (r.version = 2)), /of version 2; this Vanity reads version 1/],
    [changed((r) => (r.version = '1')), /of version "1"/],
    [changed((r) => delete r.clock), /clock: /],
    [changed((r) => (r.extra = 1)), /extra/],
    [changed((r) => (r.cells[0].latency.p50 = -1)), /cells\.0\.latency\.p50: /],
    [changed((r) => (r.cells[0].rounds[0].count += 1)), /cells\.0\.rounds\.0: .*add up/],
    [changed((r) => r.cells[0].rounds[0].buckets.reverse()), /ascending/],
  ];
  for (const [input, message] of cases) {
    const error = t.throws(() => read(input), { code: 'VANITY_E_WAKE_REPORT' }, input.slice(0, 40));
    t.regex(error.message, /^old\.json is no report/);
    t.regex(error.message, message);
    t.true(error.hint.length > 0);
  }
});

test('the place of a fault is where it is', (t) => {
  const at = (text) => /line (\d+), column (\d+)/.exec(t.throws(() => read(text)).message).slice(1);
  t.deepEqual(at('{\n  "a": nul\n}'), ['2', '11']);
  t.deepEqual(at('{\n  "a": [1, 2'), ['2', '13']);
  t.deepEqual(at('{"a": x}'), ['1', '7']);
  t.deepEqual(at(`{"long": "${'x'.repeat(100)}", "a": x}`), ['1', '119']);
});

test('the published JSON Schema is that of the report', (t) => {
  const published = readFileSync(new URL('../../schema/wake.schema.json', import.meta.url), 'utf8');
  t.deepEqual(JSON.parse(published), wakeJsonSchema(), 'run: node schema/generate.js');
});
