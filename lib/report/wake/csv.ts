// All cells of a report as CSV (RFC 4180): one row a cell, units last in the names.
import type { WakeCell, WakePercentiles, WakeReport } from '../../wake/result.js';

type Value = string | number | null | undefined;
const PERCENTILES = ['p50', 'p90', 'p99', 'p99_9', 'p99_99', 'max'] as const;

function percentiles(prefix: string, of: WakePercentiles): [string, Value][] {
  return [
    [`${prefix}_count`, of.count],
    ...PERCENTILES.map((name): [string, Value] => [`${prefix}_${name}_ns`, of[name]]),
  ];
}

function columns(cell: WakeCell, relation: string | undefined): [string, Value][] {
  const { marks, wakes } = cell;
  return [
    ['mechanism', cell.mechanism],
    ['from', cell.from],
    ['to', cell.to],
    ['relation', relation],
    ['idle_ns', cell.idle_ns],
    ['mode', cell.mode],
    ['idled_ns', cell.idled_ns],
    ...percentiles('latency', cell.latency),
    ['disturbed', cell.disturbed.count],
    ['disturbed_preempted', marks.preempted],
    ['disturbed_migrated', marks.migrated],
    ['disturbed_stolen', marks.stolen],
    ['disturbed_signaller', marks.signaller],
    ['overrun', cell.overrun],
    ...percentiles('signal', cell.signal),
    ['waits', wakes.waits],
    ['wakes_signalled', wakes.signalled],
    ['wakes_deadline', wakes.deadline],
    ['wakes_os_limit', wakes.os_limit],
    ['wakes_spurious', wakes.spurious],
    ['wakes_late_found_work', wakes.late_found_work],
    ['cpu_s_per_s', cell.cpu_s_per_s],
    ['joules_per_s', cell.joules_per_s],
  ];
}

const NO_PERCENTILES = {
  count: 0,
  p50: null,
  p90: null,
  p99: null,
  p99_9: null,
  p99_99: null,
  max: null,
};
const NO_HISTOGRAM = { count: 0, min_ns: 0, max_ns: 0, sum_ns: 0, buckets: [] };
/** A report without cells still has a header row. */
const EMPTY: WakeCell = {
  mechanism: '',
  from: 0,
  to: 0,
  idle_ns: 0,
  mode: 'oneway',
  idled_ns: null,
  latency: NO_PERCENTILES,
  rounds: [],
  disturbed: NO_HISTOGRAM,
  marks: { preempted: 0, migrated: 0, stolen: 0, signaller: 0 },
  overrun: 0,
  signal: NO_PERCENTILES,
  signal_rounds: [],
  wakes: { waits: 0, signalled: 0, deadline: 0, os_limit: 0, spurious: 0, late_found_work: 0 },
  cpu_s_per_s: null,
  joules_per_s: null,
};

export function wakeCsv(report: WakeReport): string {
  const relations = new Map(report.pairs.map((pair) => [`${pair.from}>${pair.to}`, pair.relation]));
  const rows = report.cells.map((cell) =>
    columns(cell, relations.get(`${cell.from}>${cell.to}`)).map(([, value]) => value),
  );
  const header = columns(EMPTY, undefined).map(([name]) => name);
  return [header, ...rows].map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

function field(value: Value): string {
  const text = value === null || value === undefined ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
