// Two runs beside each other, as text for a terminal.
import { type Column, table } from '../../text/table.js';
import type { CellName, ComparedCell, WakeChange, WakeComparison } from './compare.js';
import { ns, pairName, short, whole } from './units.js';

/** Rows that a reader still looks through; --json has all. */
const MOST_ROWS = 40;
const COLOURS = { slower: '31', faster: '32' } as const;

/** A figure of a cell that is marked. */
export interface MarkedChange {
  cell: ComparedCell;
  figure: 'p50' | 'p99';
  change: WakeChange;
}

/** The marked ones, the largest first. */
export function marked({ cells }: WakeComparison): MarkedChange[] {
  const size = ({ change }: MarkedChange): number => Math.abs(Math.log(change.ratio));
  return cells
    .flatMap((cell) =>
      (['p50', 'p99'] as const).flatMap((figure): MarkedChange[] => {
        const change = cell[figure];
        return change && (change.verdict === 'slower' || change.verdict === 'faster')
          ? [{ cell, figure, change }]
          : [];
      }),
    )
    .sort((a, b) => size(b) - size(a));
}

/** One sentence. */
export function verdict({ figures }: WakeComparison): string {
  const { slower, faster, same, unknown } = figures;
  const all = slower + faster + same + unknown;
  if (all === 0) return 'The two runs have no figure in common.';
  if (all === unknown) return 'Runs of a single round cannot be judged: their noise is not known.';
  if (slower + faster === 0)
    return `No difference larger than the noise, in ${whole(all)} figures.`;
  return `${whole(slower)} of ${whole(all)} figures slower, ${whole(faster)} faster; the others differ by no more than the noise.`;
}

/** How it was judged, for whoever wants to rely on it. */
export function method({ method: m }: WakeComparison): string {
  return (
    `Marked: the ${m.confidence * 100} % confidence interval of the ratio excludes 1 after adjusting for the number of figures ` +
    `(${m.adjustment}, false discovery rate ${m.false_discovery_rate}), and the ratio is beyond what any round deviated from its own run. ` +
    `Bootstrap of rounds, then of samples: ${m.resamples} times, seed ${m.seed}.`
  );
}

export function cellName({ mechanism, idle_ns, mode, ...pair }: CellName): string {
  const what = mode === 'roundtrip' ? 'round trip' : `idle ${short(idle_ns)}`;
  return `${mechanism} ${pairName(pair)}, ${what}`;
}

export function change(ratio: number): string {
  const percent = (ratio - 1) * 100;
  if (ratio >= 2 || ratio <= 0.5) return `×${ratio.toFixed(2)}`;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)}\u00a0%`;
}

export function interval({ low, high }: WakeChange): string {
  return low === null || high === null ? '–' : `${low.toFixed(3)} to ${high.toFixed(3)}`;
}

export function comparisonLines(
  comparison: WakeComparison,
  { color }: { color: boolean },
): string[] {
  const { before, after, warnings, only_before, only_after } = comparison;
  const rows = marked(comparison);
  const lines = [
    `before: ${before.host}, ${before.created}, Vanity ${before.vanity}`,
    `after:  ${after.host}, ${after.created}, Vanity ${after.vanity}`,
    ...warnings.map((text) => `warning: ${text}`),
    '',
    verdict(comparison),
  ];
  if (rows.length > 0) {
    const columns: Column[] = [
      { title: 'mechanism' },
      { title: 'pair' },
      { title: 'idle', right: true },
      { title: 'mode' },
      { title: 'figure' },
      { title: 'before', right: true },
      { title: 'after', right: true },
      { title: 'change', right: true },
      { title: '95 % of the ratio', right: true },
      { title: 'verdict' },
    ];
    const [head = '', ...body] = table(
      columns,
      rows
        .slice(0, MOST_ROWS)
        .map(({ cell, figure, change: c }) => [
          cell.mechanism,
          `${cell.from}-${cell.to}`,
          short(cell.idle_ns),
          cell.mode,
          figure,
          ns(c.before_ns),
          ns(c.after_ns),
          change(c.ratio),
          interval(c),
          c.verdict,
        ]),
    );
    const paint = (line: string, i: number): string => {
      const found = rows[i]?.change.verdict;
      const code = found === 'slower' || found === 'faster' ? COLOURS[found] : undefined;
      return color && code ? `\u001b[${code}m${line}\u001b[0m` : line;
    };
    lines.push('', head, ...body.map(paint));
    if (rows.length > MOST_ROWS)
      lines.push(`... and ${rows.length - MOST_ROWS} more: --json has all`);
  }
  lines.push('', ...overview(comparison));
  for (const [cells, which] of [
    [only_before, 'before'],
    [only_after, 'after'],
  ] as const) {
    if (cells.length === 0) continue;
    const names = cells.slice(0, 8).map(cellName);
    const more = cells.length > names.length ? `, and ${cells.length - names.length} more` : '';
    lines.push(`only ${which}: ${names.join('; ')}${more}`);
  }
  return [...lines, method(comparison)].map((line) => line.replaceAll('\u00a0', ' '));
}

export const OVERVIEW = [
  'mechanism',
  'cells',
  'p50, middle of all',
  'p99, middle of all',
  'slower',
  'faster',
] as const;

/** By mechanism: the middle of the ratios, so that a shift of all is seen even where none is marked. */
export function overviewRows({ cells }: WakeComparison): string[][] {
  const names = [...new Set(cells.map(({ mechanism }) => mechanism))];
  return names.flatMap((name) => {
    const own = cells.filter(({ mechanism }) => mechanism === name);
    const of = (figure: 'p50' | 'p99') => own.flatMap((cell) => cell[figure] ?? []);
    const all = [...of('p50'), ...of('p99')];
    const count = (verdict: WakeChange['verdict']): string =>
      whole(all.filter((c) => c.verdict === verdict).length);
    return all.length === 0
      ? []
      : [
          [
            name,
            whole(own.length),
            middle(of('p50')),
            middle(of('p99')),
            count('slower'),
            count('faster'),
          ],
        ];
  });
}

function overview(comparison: WakeComparison): string[] {
  const rows = overviewRows(comparison);
  if (rows.length === 0) return [];
  return [
    ...table(
      OVERVIEW.map((title, i) => ({ title, right: i > 0 })),
      rows,
    ),
    '',
  ];
}

function middle(changes: readonly WakeChange[]): string {
  const ratios = changes.map((c) => c.ratio).sort((a, b) => a - b);
  const ratio = ratios[ratios.length >> 1];
  return ratio === undefined ? '–' : change(ratio);
}
