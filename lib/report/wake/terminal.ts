// A wake report as text: tables, a map of processor pairs, figures. Pure: lines in, lines out.

import { figureLines } from '../../text/figures.js';
import { time, whole } from '../../text/format.js';
import { type Column, table } from '../../text/table.js';
import { signalOverStore } from '../../wake/figures.js';
import { LatencyHistogram } from '../../wake/histogram.js';
import { wakeDefaults } from '../../wake/limits.js';
import type { Progress } from '../../wake/measure.js';
import { nearest } from '../../wake/nearest.js';
import type { Relation, WakeCell, WakeReport } from '../../wake/result.js';

export interface TerminalStyle {
  color: boolean;
  columns: number;
}

const NONE = '-';
/** Where tails are shown, if it was measured; else the nearest. */
const TAIL_IDLE_NS = 100_000;
const RESET = '\u001b[0m';
/** Of 256 colours: from near to far. */
const SHADES = [28, 64, 100, 136, 130, 124];

/** What tables and maps are drawn from, also while it is still being measured. */
export type Drawn = Pick<WakeReport, 'cells' | 'floors' | 'signals' | 'mechanisms' | 'pairs'> & {
  host: Pick<WakeReport['host'], 'cpus'>;
};

/** What there is so far, in no more than `rows` lines. */
export function liveLines(soFar: Drawn, style: TerminalStyle, rows: number): string[] {
  const table = section('One way, p50 by idle time, so far', medianLines(soFar));
  const map = mapLines(soFar, style);
  const lines = table.length + map.length <= rows ? [...table, ...map] : table;
  return lines.length <= rows ? lines : [];
}

/** All of it. */
export function wakeLines(report: WakeReport, style: TerminalStyle): string[] {
  return [
    ...headLines(report),
    ...section('One way, p50 by idle time', medianLines(report)),
    ...section('Tails and costs', tailLines(report)),
    ...mapLines(report, style),
    ...section('Figures', figureLines(report.figures)),
    ...noteLines(report),
    ...missingLines(report),
    ...adviceLines(report),
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines];
}

function headLines({ host, clock, options, cells, complete, elapsed_s }: WakeReport): string[] {
  const samples = cells.reduce((sum, cell) => sum + cell.latency.count, 0);
  const disturbed = cells.reduce((sum, cell) => sum + cell.disturbed.count, 0);
  const skew = [...clock.skews].sort((a, b) => Math.abs(b.offset_ns) - Math.abs(a.offset_ns))[0];
  const where = host.hypervisor === null ? '' : `, virtual machine (${host.hypervisor})`;
  return [
    `${host.name}: ${host.processor}, ${host.cpus.length} processors, ${host.architecture}${where}, Linux ${host.kernel}, Node ${host.node}`,
    `Clock: ${clock.source}, +-${clock.error_ppm.toPrecision(2)} ppm, ${clock.invariant ? 'invariant' : 'NOT invariant'}, a tick is ${time(clock.tick_ns)}, reading it takes ${time(clock.read_ns)}${
      skew
        ? `; largest skew corrected ${skew.offset_ns.toFixed(1)} ns (${skew.from}-${skew.to}), within ${skew.error_ns.toFixed(0)} ns`
        : ''
    }`,
    `${complete ? '' : 'INTERRUPTED: '}${whole(samples)} wakes in ${elapsed_s.toFixed(1)} s, ${options.rounds} rounds, seed ${options.seed}; ${whole(disturbed)} marked as disturbed, and counted`,
  ];
}

const idleName = (ns: number): string => (ns === 0 ? '0' : time(ns).replace('.0 ', ' '));

function nearestIdle(report: Drawn, wanted: number): number | undefined {
  const idles = report.cells.filter((c) => c.mode === 'oneway').map((c) => c.idle_ns);
  return nearest(idles, wanted);
}

/** Cells of the pairs that have every idle time, so that a row compares like with like. */
function swept(report: Drawn): WakeCell[] {
  const of = (from: number, to: number): Set<number> =>
    new Set(
      report.cells
        .filter((c) => c.from === from && c.to === to && c.mode === 'oneway')
        .map((c) => c.idle_ns),
    );
  const counts = report.pairs.map((pair) => ({ pair, idles: of(pair.from, pair.to).size }));
  const most = Math.max(0, ...counts.map(({ idles }) => idles));
  const full = counts.filter(({ idles }) => idles === most).map(({ pair }) => pair);
  return report.cells.filter((c) => full.some((p) => p.from === c.from && p.to === c.to));
}

const merged = (cells: readonly WakeCell[], of: 'rounds' | 'signal_rounds' = 'rounds') =>
  LatencyHistogram.merged(cells.flatMap((cell) => cell[of]));

function shown(ns: number | null | undefined): string {
  return ns === null || ns === undefined ? NONE : time(ns);
}

function medianLines(report: Drawn): string[] {
  const cells = swept(report);
  const idles = [...new Set(cells.filter((c) => c.mode === 'oneway').map((c) => c.idle_ns))].sort(
    (a, b) => a - b,
  );
  const names = report.mechanisms.map((m) => m.name);
  const rows = names.flatMap((name) => {
    const own = cells.filter((c) => c.mechanism === name);
    if (own.length === 0) return [];
    const at = (some: readonly WakeCell[]): string => shown(merged(some).percentiles().p50);
    return [
      [
        name,
        ...idles.map((ns) => at(own.filter((c) => c.mode === 'oneway' && c.idle_ns === ns))),
        at(own.filter((c) => c.mode === 'roundtrip')),
      ],
    ];
  });
  for (const lines of [1, 2]) {
    const rounds = report.floors.filter((f) => f.lines === lines).flatMap((f) => f.rounds);
    const floor = LatencyHistogram.merged(rounds).percentiles().p50;
    const name = lines === 1 ? '(floor, one line)' : '(floor, two lines)';
    if (floor !== null) rows.push([name, ...idles.map(() => ''), shown(floor)]);
  }
  if (rows.length === 0) return [];
  const columns: Column[] = [
    { title: 'mechanism' },
    ...idles.map((ns) => ({ title: idleName(ns), right: true })),
    { title: 'round trip', right: true },
  ];
  const pairs = report.pairs
    .filter(({ from, to }) => cells.some((c) => c.from === from && c.to === to))
    .map(({ from, to }) => `${from}-${to}`);
  const some = pairs.length > 8 ? `${pairs.slice(0, 8).join(', ')}, ...` : pairs.join(', ');
  return [...table(columns, rows), `(pairs ${some} together; from-to)`];
}

function tailLines(report: WakeReport): string[] {
  const idle = nearestIdle(report, TAIL_IDLE_NS);
  if (idle === undefined) return [];
  const rows = report.mechanisms.flatMap(({ name }) => {
    const cells = report.cells.filter(
      (c) => c.mechanism === name && c.mode === 'oneway' && c.idle_ns === idle,
    );
    if (cells.length === 0) return [];
    const all = report.cells.filter((c) => c.mechanism === name);
    const sum = (some: readonly WakeCell[], pick: (c: WakeCell) => number): number =>
      some.reduce((total, c) => total + pick(c), 0);
    const { count, p50, p90, p99, p99_9, max } = merged(cells).percentiles();
    const cpu = cells.flatMap((c) => c.cpu_s_per_s ?? []);
    const joules = cells.flatMap((c) => c.joules_per_s ?? []);
    const average = (values: number[]): string =>
      values.length === 0
        ? NONE
        : (values.reduce((total, value) => total + value, 0) / values.length).toFixed(2);
    return [
      [
        name,
        whole(count),
        ...[p50, p90, p99, p99_9, max].map(shown),
        whole(sum(cells, (c) => c.disturbed.count)),
        shown(merged(cells, 'signal_rounds').percentiles().p50),
        awake(report, name),
        average(cpu),
        ...(report.energy.available ? [average(joules)] : []),
        whole(sum(all, (c) => c.wakes.late_found_work)),
      ],
    ];
  });
  const right = (title: string): Column => ({ title, right: true });
  return [
    ...table(
      [
        { title: `idle ${idleName(idle)}` },
        ...['wakes', 'p50', 'p90', 'p99', 'p99.9', 'max', 'disturbed'].map(right),
        ...['signal', 'awake', 'cpu s/s'].map(right),
        ...(report.energy.available ? [right('J/s')] : []),
        right('late'),
      ],
      rows,
    ),
    '(signal: what it costs the producer here; awake: over a plain store when the consumer is awake; late: of all idle times)',
  ];
}

function awake(report: WakeReport, mechanism: string): string {
  const middle = signalOverStore(report, mechanism);
  return middle === undefined ? NONE : `${middle < 0 ? '' : '+'}${middle.toFixed(1)} ns`;
}

// -- the map of pairs ---------------------------------------------------------------------------

function mapLines(report: Drawn, style: TerminalStyle): string[] {
  const idle = nearestIdle(report, wakeDefaults.mapIdleNs);
  if (idle === undefined) return [];
  const names = report.mechanisms
    .map((m) => m.name)
    .filter((name) => report.cells.some((c) => c.mechanism === name && c.mode === 'oneway'));
  // The fastest that there is, and the one that every host has.
  const chosen = [...new Set([names[0], names.find((name) => name === 'futex')])];
  return chosen.flatMap((name) => {
    if (name === undefined) return [];
    const medians = new Map<string, number>();
    for (const cell of report.cells) {
      if (cell.mechanism !== name || cell.mode !== 'oneway' || cell.idle_ns !== idle) continue;
      const p50 = merged([cell]).median();
      if (p50 !== undefined) medians.set(`${cell.from}-${cell.to}`, p50);
    }
    const title = `${name}, p50 between processors, idle ${idleName(idle)} (down: signals, across: waits)`;
    return [...section(title, heatmap(report, medians, style)), ...relationLines(report, medians)];
  });
}

/** Processors in the order of the machine, so that neighbours stand together. */
function ordered(report: Drawn): number[] {
  const measured = new Set(report.pairs.flatMap(({ from, to }) => [from, to]));
  return report.host.cpus
    .filter((cpu) => measured.has(cpu.id))
    .sort((a, b) => a.package - b.package || a.node - b.node || a.core - b.core || a.id - b.id)
    .map((cpu) => cpu.id);
}

function heatmap(
  report: Drawn,
  medians: ReadonlyMap<string, number>,
  { color, columns }: TerminalStyle,
): string[] {
  const cpus = ordered(report);
  const width = 8;
  if (medians.size === 0) return [];
  if (4 + cpus.length * width > Math.max(columns, 80)) {
    return ['(too wide for this terminal: see --html)'];
  }
  const [least, most] = [Math.min(...medians.values()), Math.max(...medians.values())];
  const paint = (text: string, ns: number): string => {
    if (!color) return text;
    const place = most > least ? Math.log(ns / least) / Math.log(most / least) : 0;
    const shade = SHADES[Math.min(SHADES.length - 1, Math.floor(place * SHADES.length))];
    return `\u001b[97;48;5;${shade}m${text}${RESET}`;
  };
  const head = `    ${cpus.map((cpu) => String(cpu).padStart(width)).join('')}`;
  const rows = cpus.map((from) => {
    const cells = cpus.map((to) => {
      const ns = medians.get(`${from}-${to}`);
      return ns === undefined
        ? (from === to ? '.' : NONE).padStart(width)
        : ` ${paint(time(ns).padStart(width - 1), ns)}`;
    });
    return `${String(from).padStart(4)}${cells.join('')}`;
  });
  return [head, ...rows];
}

const ABOUT: Readonly<Record<Relation, string>> = {
  same: 'the same processor',
  sibling: 'threads of one core',
  cluster: 'the same cache or cluster',
  package: 'the same package',
  remote: 'another package',
};

function relationLines(report: Drawn, medians: ReadonlyMap<string, number>): string[] {
  const measured = report.pairs.filter(({ from, to }) => medians.has(`${from}-${to}`));
  const relations = [...new Set(measured.map((pair) => pair.relation))];
  if (relations.length < 2) return [];
  const rows = relations.map((relation) => {
    const values = measured
      .filter((pair) => pair.relation === relation)
      .map(({ from, to }) => medians.get(`${from}-${to}`) as number)
      .sort((a, b) => a - b);
    const at = (i: number): string => shown(values[i]);
    return [
      ABOUT[relation],
      String(values.length),
      at(0),
      at(values.length >> 1),
      at(values.length - 1),
    ];
  });
  const right = ['pairs', 'least', 'median', 'most'].map((title) => ({ title, right: true }));
  return table([{ title: '' }, ...right], rows);
}

// -- what it comes to ---------------------------------------------------------------------------

function noteLines({ notes, energy }: WakeReport): string[] {
  const all = [...notes, ...(energy.available ? [] : [`Energy: ${energy.reason}.`])];
  return section(
    'Notes',
    all.map((note) => `- ${note}`),
  );
}

function missingLines({ mechanisms }: WakeReport): string[] {
  const missing = mechanisms.filter((m) => !m.usable);
  return section(
    'Not on this host',
    table(
      [{ title: 'mechanism' }, { title: 'why' }],
      missing.map((m) => [m.name, m.reason]),
    ).slice(missing.length > 0 ? 1 : 2),
  );
}

function adviceLines({ host }: WakeReport): string[] {
  return section(
    'What would make it better',
    host.advice.flatMap(({ name, found, fix }) => [
      `- ${name}: ${found}`,
      ...(fix === null ? [] : [`    ${fix}`]),
    ]),
  );
}

/** One line of progress, never wider than the terminal. */
export function progressLine(progress: Progress, columns: number): string {
  const { done, elapsedS, remainingS, round, rounds, visit } = progress;
  const seconds = (s: number): string => time(Math.max(0, Math.round(s)) * 1e9).replace('.0 ', ' ');
  const how =
    visit?.mode === 'oneway'
      ? ` idle ${idleName(visit.idleNs)}`
      : visit?.mechanism
        ? ` ${visit.mode}`
        : '';
  const what =
    visit === null
      ? 'comparing clocks'
      : `${visit.mechanism || 'floor'} ${visit.from}-${visit.to}${how}`;
  const left = elapsedS > 0 && remainingS <= 0.5 ? 'done soon' : `${seconds(remainingS)} left`;
  const line = `${`${Math.floor(done * 100)}%`.padStart(4)}  ${left}  round ${round + 1} of ${rounds}  ${what}`;
  return line.length < columns ? line : line.slice(0, Math.max(0, columns - 1));
}
