// What of a report is shown, and in which order: the pairs that the idle time was swept on, the one that
// stands for all, the idle time of the headline.
import { LatencyHistogram } from '../../wake/histogram.js';
import type {
  MechanismKind,
  Relation,
  WakeCell,
  WakeHistogram,
  WakePair,
  WakePercentiles,
  WakeReport,
} from '../../wake/result.js';

export interface Shown {
  name: string;
  kind: MechanismKind;
}

/** Time between bursts that a dataplane's shard often sees; the headline is drawn at the nearest one measured. */
const TYPICAL_IDLE_NS = 1e5;
/** So many sweeps can still be told apart by the names of their pairs; beyond, one a relation is shown. */
const PAIRS_SHOWN = 6;
/** Shards are seldom siblings, and never share a core. */
const PREFERRED: readonly Relation[] = ['package', 'cluster', 'sibling', 'remote', 'same'];
export const RELATIONS: Readonly<Record<Relation, { mark: string; about: string }>> = {
  same: { mark: '=', about: 'same processor' },
  sibling: { mark: 'S', about: 'siblings: threads of one core' },
  cluster: { mark: 'C', about: 'same cluster' },
  package: { mark: 'P', about: 'same package' },
  remote: { mark: 'R', about: 'other package' },
};

export class View {
  readonly report: WakeReport;
  readonly mechanisms: readonly Shown[];
  /** Pairs with their own sweep, the main one first. */
  readonly pairs: readonly WakePair[];
  /** Idle times measured one way, ascending. */
  readonly idles: readonly number[];
  /** The idle time of the headline; undefined when nothing was measured. */
  readonly idle: number | undefined;
  readonly #cells = new Map<string, WakeCell>();

  constructor(report: WakeReport) {
    this.report = report;
    for (const cell of report.cells) this.#cells.set(key(cell), cell);
    this.mechanisms = shown(report);
    const measured = report.cells.filter((c) => c.mode === 'oneway' && c.latency.count > 0);
    this.pairs = chosenPairs(report, measured);
    const [main] = this.pairs;
    const onMain = measured.filter((c) => c.from === main?.from && c.to === main?.to);
    this.idles = [...new Set(onMain.map((c) => c.idle_ns))].sort((a, b) => a - b);
    this.idle = this.idles.toSorted((a, b) => distance(a) - distance(b))[0];
  }

  get main(): WakePair | undefined {
    return this.pairs[0];
  }

  cell(
    mechanism: string,
    pair: Pick<WakePair, 'from' | 'to'>,
    idle_ns: number,
    mode: WakeCell['mode'] = 'oneway',
  ): WakeCell | undefined {
    return this.#cells.get(key({ mechanism, from: pair.from, to: pair.to, idle_ns, mode }));
  }

  /** The cells of one pair: by idle time, then in the order of the mechanisms; round trips last. */
  cellsOf(pair: Pick<WakePair, 'from' | 'to'>): WakeCell[] {
    const order = new Map(this.mechanisms.map(({ name }, i) => [name, i]));
    const rank = (c: WakeCell): number => order.get(c.mechanism) ?? order.size;
    return this.report.cells
      .filter((c) => c.from === pair.from && c.to === pair.to)
      .sort((a, b) => a.mode.localeCompare(b.mode) || a.idle_ns - b.idle_ns || rank(a) - rank(b));
  }

  relation(pair: Pick<WakePair, 'from' | 'to'>): Relation | undefined {
    return this.report.pairs.find((p) => p.from === pair.from && p.to === pair.to)?.relation;
  }
}

export function key(
  cell: Pick<WakeCell, 'mechanism' | 'from' | 'to' | 'idle_ns' | 'mode'>,
): string {
  return JSON.stringify([cell.mechanism, cell.from, cell.to, cell.idle_ns, cell.mode]);
}

function distance(idle: number): number {
  return Math.abs(Math.log10(Math.max(idle, 1)) - Math.log10(TYPICAL_IDLE_NS));
}

// Those that have cells; a name that the list lacks comes last.
function shown({ cells, mechanisms }: WakeReport): Shown[] {
  const measured = new Set(cells.map((c) => c.mechanism));
  const listed = mechanisms.filter(({ name }) => measured.delete(name));
  return [
    ...listed.map(({ name, kind }) => ({ name, kind })),
    ...[...measured].map((name): Shown => ({ name, kind: 'reference' })),
  ];
}

function chosenPairs(report: WakeReport, measured: readonly WakeCell[]): WakePair[] {
  const size = new Map<string, { idles: Set<number>; cells: number }>();
  for (const { from, to, idle_ns } of measured) {
    const seen = size.get(`${from}>${to}`) ?? { idles: new Set(), cells: 0 };
    seen.idles.add(idle_ns);
    seen.cells++;
    size.set(`${from}>${to}`, seen);
  }
  const known = new Map(report.pairs.map((pair) => [`${pair.from}>${pair.to}`, pair]));
  const candidates = [...size].flatMap(([name, { idles, cells }]) => {
    const pair = known.get(name);
    return pair ? [{ pair, idles: idles.size, cells }] : [];
  });
  // The order of a report is that of its seed.
  candidates.sort(
    (a, b) =>
      b.idles - a.idles ||
      b.cells - a.cells ||
      PREFERRED.indexOf(a.pair.relation) - PREFERRED.indexOf(b.pair.relation) ||
      a.pair.from - b.pair.from ||
      a.pair.to - b.pair.to,
  );
  const most = candidates[0]?.idles ?? 0;
  const swept = candidates.filter(({ idles }) => idles === most || idles > 1);
  swept.sort((a, b) => PREFERRED.indexOf(a.pair.relation) - PREFERRED.indexOf(b.pair.relation));
  const pairs = swept.map(({ pair }) => pair);
  if (pairs.length <= PAIRS_SHOWN) return pairs;
  return PREFERRED.flatMap((relation) => pairs.find((p) => p.relation === relation) ?? []);
}

/** The percentiles of the samples that nothing disturbed. */
export function undisturbed({ rounds, disturbed }: WakeCell): WakePercentiles {
  const counts = new Map(disturbed.buckets);
  const left = rounds.map((round) => ({
    ...round,
    buckets: round.buckets.flatMap(([low, n]): [number, number][] => {
      const taken = Math.min(n, counts.get(low) ?? 0);
      counts.set(low, (counts.get(low) ?? 0) - taken);
      return n > taken ? [[low, n - taken]] : [];
    }),
  }));
  const whole = LatencyHistogram.merged(left);
  // The greatest of the rest is known to its bucket only.
  return { ...whole.percentiles(), max: null };
}

/** Share of the samples that were marked. */
export function disturbedShare(cells: readonly WakeCell[]): number {
  const of = (pick: (cell: WakeCell) => number): number =>
    cells.reduce((sum, cell) => sum + pick(cell), 0);
  const samples = of((cell) => cell.latency.count);
  return samples > 0 ? of((cell) => cell.disturbed.count) / samples : 0;
}

/** All rounds in one: [lowest nanosecond of the bucket, samples up to its end], ascending. */
export function cumulative(rounds: readonly WakeHistogram[]): [number, number][] {
  const counts = new Map<number, number>();
  for (const { buckets } of rounds) {
    for (const [low, n] of buckets) counts.set(low, (counts.get(low) ?? 0) + n);
  }
  let seen = 0;
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([low, n]) => {
      seen += n;
      return [low, seen];
    });
}

/** In the order in which the keys are met. */
export function grouped<Item, Key>(
  items: readonly Item[],
  by: (item: Item) => Key,
): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>();
  for (const item of items) {
    const name = by(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}
