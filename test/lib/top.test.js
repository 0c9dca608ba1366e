import test from 'ava';
import { liveLine } from '../../dist/cli/live.js';
import { render } from '../../dist/cli/top-view.js';
import { Segment } from '../../dist/telemetry/segment.js';
import { golden } from './helpers/golden.js';
import { labSegment, nicRows, writeSegment } from './helpers/segment.js';

const at = (scale, system = {}) => new Segment(labSegment({ pid: 4711, ...system }, scale)).read();
const view = (size, options, now = at(3)) =>
  render(
    at(1),
    now,
    { columns: 120, rows: 40, ...size },
    { sort: 'pps', color: false, ...options },
  );
const text = (lines) => `${lines.join('\n')}\n`;

test('everything, on a wide screen', (t) => {
  golden(t, 'top/wide.txt', text(view({}, { keys: true })));
});

test('colors mark states, losses and fill', (t) => {
  golden(t, 'top/color.txt', text(view({}, { color: true })));
});

test('a narrow screen cuts lines, never wraps them', (t) => {
  const lines = view({ columns: 50 });
  golden(t, 'top/narrow.txt', text(lines));
  t.true(lines.every((line) => line.length <= 50));
});

test('cut lines end their colors', (t) => {
  for (let columns = 1; columns < 120; columns++) {
    for (const line of view({ columns }, { color: true })) {
      const on = line.split('\u001b[').length - 1;
      const off = line.split('\u001b[0m').length - 1;
      t.is(on, 2 * off, `${columns} columns: ${JSON.stringify(line)}`);
    }
  }
});

test('a low screen shows some of each and counts the rest', (t) => {
  const shards = Array.from({ length: 30 }, (_, i) => ({
    name: `s${i}`,
    program: 'forward',
    state: 'running',
    received: i,
  }));
  const channels = [{ name: 'only', from: 0, to: 1, capacity: 8 }];
  const snapshot = new Segment(writeSegment({ pid: 1 }, { shards, channels })).read();
  for (let rows = 0; rows < 50; rows++) {
    const lines = render(undefined, snapshot, { columns: 80, rows }, { sort: 'pps', color: false });
    t.true(lines.length <= rows, `${rows} rows`);
  }
  const options = { sort: 'pps', color: false };
  const lines = render(undefined, snapshot, { columns: 80, rows: 14 }, options);
  golden(t, 'top/low.txt', text(lines));
  t.true(
    lines.some((line) => line.startsWith('only')),
    'the channel has its line',
  );
});

test('sorted by rate, by use, by name', (t) => {
  const order = (sort) =>
    view({}, { sort })
      .filter((line) => /^(rx|tx) /.test(line))
      .map((line) => line.slice(0, 2));
  t.deepEqual(order('pps'), ['rx', 'tx']);
  t.deepEqual(order('busy'), ['tx', 'rx']);
  t.deepEqual(order('name'), ['rx', 'tx']);
});

test('a silent kernel is named', (t) => {
  t.regex(view({}, { silentNs: 5e9 })[2], /no sign of life from its kernel for 5\.0 s/);
});

test('an empty system is no problem', (t) => {
  const empty = new Segment(writeSegment({}, {})).read();
  const lines = render(undefined, empty, { columns: 80, rows: 24 }, { sort: 'pps', color: false });
  t.is(lines.length, 2);
});

test('the line for logs', (t) => {
  t.is(
    liveLine(at(1), at(3)),
    '3.0 s  running  in 1.00 kpps  out 990 pps  dropped 10/s  | ' +
      'rx 0.0% 1.00 k/s  tx 0.0% 990/s',
  );
});

test('devices and vectors, as they were between two looks', (t) => {
  const look = (scale) =>
    new Segment(writeSegment({ pid: 4711, uptimeNs: scale * 1e9 }, nicRows(scale))).read();
  const lines = render(look(1), look(3), { columns: 120, rows: 50 }, { sort: 'pps', color: false });
  golden(t, 'top/nic.txt', text(lines));
});
