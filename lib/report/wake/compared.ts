// The section of the page that compares the report with an earlier one.
import type { WakeReport } from '../../wake/result.js';
import {
  change,
  interval,
  type MarkedChange,
  marked,
  method,
  OVERVIEW,
  overviewRows,
  verdict,
} from './changes.js';
import { lookOf, swatch } from './chart.js';
import { type ComparedCell, compareWake, type WakeChange, type WakeComparison } from './compare.js';
import { type Content, type Markup, markup } from './markup.js';
import { latency, type Row, type Section, table } from './parts.js';
import { date, pairName, short, whole } from './units.js';

const MOST_ROWS = 20;
/** Figures listed in full. */
const MOST_CELLS = 400;

export function comparisonSection(before: WakeReport, after: WakeReport): Section {
  const comparison = compareWake(before, after);
  const found = marked(comparison);
  const { warnings, only_before, only_after } = comparison;
  const all = comparison.cells.flatMap((cell) =>
    (['p50', 'p99'] as const).flatMap((figure): MarkedChange[] => {
      const one = cell[figure];
      return one ? [{ cell, figure, change: one }] : [];
    }),
  );
  const ends = (['before', 'after'] as const).map(
    (which) =>
      markup`<dt>${which}</dt><dd>${comparison[which].host}, ${date(comparison[which].created)}, Vanity ${comparison[which].vanity}</dd>`,
  );
  const { slower, faster } = comparison.figures;
  const state = slower > 0 ? 'bad' : faster > 0 ? 'good' : '';
  return {
    id: 'comparison',
    title: 'Compared with an earlier run',
    short: 'Comparison',
    body: markup`<p class="verdict ${state}">${verdict(comparison)}</p><dl class="list">${ends}</dl>${
      warnings.length > 0 &&
      markup`<ul class="notes">${warnings.map((text) => markup`<li>${text}</li>`)}</ul>`
    }${
      found.length > 0 &&
      forest(
        found.slice(0, MOST_ROWS),
        found.length > MOST_ROWS
          ? `The ${MOST_ROWS} largest of ${whole(found.length)} changes beyond the noise`
          : 'Changes beyond the noise, the largest first',
      )
    }<details${found.length === 0 && markup` open`}><summary>By mechanism</summary>${overview(comparison)}</details>${
      all.length > 0 &&
      markup`<details><summary>All ${whole(all.length)} figures compared</summary>${forest(all.slice(0, MOST_CELLS), '')}${
        all.length > MOST_CELLS &&
        markup`<p class="note">The first ${whole(MOST_CELLS)}; all of them: <code>vanity report before.json after.json --json</code></p>`
      }</details>`
    }${only(only_before, 'before')}${only(only_after, 'after')}<p class="note">${method(comparison)}</p><p class="note">The sections below show the later run.</p>`,
  };
}

function only(cells: WakeComparison['only_before'], which: string): Content {
  if (cells.length === 0) return undefined;
  const names = [...new Set(cells.map((c) => c.mechanism))].join(', ');
  return markup`<p class="note">Only ${which}: ${whole(cells.length)} cells (${names}).</p>`;
}

function forest(rows: readonly MarkedChange[], caption: string): Markup {
  const logs = rows.flatMap(({ change: c }) =>
    [c.ratio, c.low ?? c.ratio, c.high ?? c.ratio].map((v) => Math.abs(Math.log(v))),
  );
  // A wide interval must not squeeze all the others.
  const reach = Math.min(Math.log(4), Math.max(Math.log(1.05), ...logs) * 1.04);
  const at = (ratio: number): string =>
    (50 + 48 * Math.min(1, Math.max(-1, Math.log(ratio) / reach))).toFixed(2);
  const edge = Math.exp(reach);
  const scale = markup`<svg class="dots" width="100%" height="18" aria-hidden="true"><text x="2%" y="13">${change(1 / edge)}</text><text x="50%" y="13" text-anchor="middle">same</text><text x="98%" y="13" text-anchor="end">${change(edge)}</text></svg>`;
  return table(
    caption,
    [
      { title: 'mechanism' },
      { title: 'change' },
      { title: 'figure' },
      { title: 'idle' },
      { title: 'pair' },
      { title: 'before' },
      { title: 'after' },
      { title: scale, kind: 'forest' },
      { title: '95 % of the ratio' },
    ],
    [
      {
        rows: rows.map(({ cell, figure, change: c }): Row => {
          return {
            cells: [
              markup`${swatch(lookOf(cell.mechanism))}${cell.mechanism}`,
              chip(c),
              figure,
              idle(cell),
              pairName(cell),
              latency(c.before_ns),
              latency(c.after_ns),
              ratioRow(c, at),
              interval(c),
            ],
          };
        }),
      },
    ],
    'Figures compared',
  );
}

function idle({ mode, idle_ns }: ComparedCell): string {
  return mode === 'roundtrip' ? 'round trip' : short(idle_ns);
}

function chip({ verdict: v, ratio }: WakeChange): Content {
  const text = change(ratio);
  if (v === 'slower') return markup`<span class="chip bad">▲ ${text} slower</span>`;
  if (v === 'faster') return markup`<span class="chip good">▼ ${text} faster</span>`;
  return markup`<span class="quiet">${text} ${v === 'same' ? 'noise' : '?'}</span>`;
}

function ratioRow(c: WakeChange, at: (ratio: number) => string): Markup {
  const kind = c.verdict === 'slower' || c.verdict === 'faster' ? ` ${c.verdict}` : '';
  return markup`<svg class="dots ratio${kind}" width="100%" height="20" aria-hidden="true"><line class="axis" x1="50%" x2="50%" y1="0" y2="20"/>${
    c.low !== null &&
    c.high !== null &&
    markup`<line class="reach" x1="${at(c.low)}%" x2="${at(c.high)}%" y1="10" y2="10"/>`
  }<circle class="mark" cx="${at(c.ratio)}%" cy="10" r="3.6"/></svg>`;
}

function overview(comparison: WakeComparison): Markup {
  return table(
    '',
    OVERVIEW.map((title) => ({ title })),
    [
      {
        rows: overviewRows(comparison).map(([name = '', ...cells]) => ({
          cells: [markup`${swatch(lookOf(name))}${name}`, ...cells],
        })),
      },
    ],
    'By mechanism',
  );
}
