// The sections of the page that show what was measured.
import type { Relation, WakeCell, WakePair, WakePercentiles } from '../../wake/result.js';
import {
  type Axis,
  dotRow,
  dotScale,
  idleAxis,
  type Known,
  known,
  type Line,
  lineChart,
  logAxis,
  lookOf,
  type Point,
  quantileAxis,
  swatch,
} from './chart.js';
import { type Content, type Markup, markup } from './markup.js';
import { latency, type Row, type Section, table, tabs } from './parts.js';
import { median } from './statistics.js';
import { HEAT_STEPS } from './style.js';
import { NONE, ns, pairName, share, short, times, whole } from './units.js';
import { cumulative, disturbedShare, grouped, RELATIONS, undisturbed, type View } from './view.js';

const sum = (values: readonly number[]): number => values.reduce((all, v) => all + v, 0);

const after = (idle: number): string =>
  idle === 0 ? 'without idle time' : `after ${short(idle)} idle`;

function named(view: View, name: string): Markup {
  const index = view.mechanisms.findIndex((m) => m.name === name);
  return markup`${swatch(lookOf(name, index))}${name}`;
}

function pairLabel(view: View, pair: WakePair): string {
  return `${pairName(pair)}, ${RELATIONS[view.relation(pair) ?? pair.relation].about}`;
}

// -- the head of the page

const KEEPS_ITS_CORE: ReadonlySet<string> = new Set([
  'spin',
  'spin+pause',
  'waitpkg-c01',
  'waitpkg-c02',
  'monitorx',
  'monitorx-c1',
  'wfe',
  'wfet',
  'zawrs',
]);

/** What an engineer looks for first; each only where it was measured. */
export function tiles(view: View): Content {
  const { main, idle } = view;
  if (!main || idle === undefined) return undefined;
  const cells = view.mechanisms
    .filter(({ kind }) => kind === 'backend')
    .flatMap(({ name }) => view.cell(name, main, idle) ?? [])
    .filter(({ latency: l }) => l.p50 !== null)
    .sort((a, b) => (a.latency.p50 ?? 0) - (b.latency.p50 ?? 0));
  const of = (cell: WakeCell, what: string): Markup =>
    tile(
      what,
      ns(cell.latency.p50),
      `${cell.mechanism}, p50 ${after(idle)}${cell.latency.p99 === null ? '' : `; p99 ${ns(cell.latency.p99)}`}`,
    );
  const [fastest] = cells;
  // Who spins burns less only when somebody else has the core.
  const resting = cells.find(
    (c) => !KEEPS_ITS_CORE.has(c.mechanism) && c.cpu_s_per_s !== null && c.cpu_s_per_s < 0.5,
  );
  const costs = view.report.signals
    .filter(({ from, to }) => from === main.from && to === main.to)
    .flatMap(({ mechanism, signal_ns, store_ns }) => {
      const [signal, store] = [median(signal_ns), median(store_ns)];
      return signal === undefined || store === undefined
        ? []
        : [{ mechanism, over: signal - store }];
    });
  const cost = costs.find(({ mechanism }) => mechanism === 'futex') ?? costs[0];
  const wakes = sum(view.report.cells.map((c) => c.wakes.signalled));
  const late = sum(view.report.cells.map((c) => c.wakes.late_found_work));
  return markup`<dl class="tiles">${fastest && of(fastest, 'Fastest wake')}${
    resting && resting !== fastest && of(resting, 'Fastest that gives the core back')
  }${
    cost &&
    tile(
      'signal() to an awake consumer',
      `${cost.over < 0 ? '−' : '+'}${ns(Math.abs(cost.over))}`,
      `${cost.mechanism}, over the plain store`,
    )
  }${tile(
    'Lost wakes',
    whole(late),
    late === 0
      ? `of ${whole(wakes)}: no wait ended by a bound and then found work`
      : `of ${whole(wakes)}: waits that a bound ended although work was there`,
    late > 0,
  )}</dl>`;
}

function tile(what: string, big: string, small: string, bad = false): Markup {
  return markup`<div class="tile"><dt>${what}</dt><dd class="big${bad && ' bad'}">${big}</dd><dd class="small">${small}</dd></div>`;
}

// -- idle sweep, and all mechanisms at one idle time

export function sweepSection(view: View): Section | undefined {
  const { idle, idles } = view;
  if (idle === undefined) return undefined;
  const several = new Set(view.pairs.map(({ relation }) => relation)).size > 1;
  const panels = view.pairs.map((pair, i) => ({
    label: several ? `${pairName(pair)}, ${pair.relation}` : pairName(pair),
    content: markup`${idles.length > 1 && sweeps(view, pair, `sweep${i}`)}${glance(view, pair, idle)}`,
  }));
  return {
    id: 'sweep',
    title: 'Wake latency by idle time',
    short: 'Idle time',
    body: markup`<p class="sub">From the store on one processor to the first instruction after the wait on another. The longer the waiter has been idle, the deeper it sleeps.</p>${tabs('sweep-pair', 'Processors', panels)}`,
  };
}

/** Disturbed samples that are worth a second look, and so many that it is needed. */
const FEW_DISTURBED = 0.01;
const MANY_DISTURBED = 0.05;

function sweeps(view: View, pair: WakePair, id: string): Markup {
  const disturbed = disturbedShare(view.cellsOf(pair).filter((c) => c.mode === 'oneway'));
  return markup`${sweep(view, pair, id, (cell) => cell.latency)}${
    disturbed > FEW_DISTURBED &&
    markup`<details${disturbed > MANY_DISTURBED && markup` open`}><summary>The same without the ${share(disturbed)} of samples that were disturbed</summary>${sweep(view, pair, `${id}-calm`, undisturbed)}</details>`
  }`;
}

function sweep(
  view: View,
  pair: WakePair,
  id: string,
  percentilesOf: (cell: WakeCell) => WakePercentiles,
): Markup {
  const lines = view.mechanisms.map(({ name }, i): Line => {
    const cells = view.idles.map((idle) => {
      const cell = view.cell(name, pair, idle);
      return [idle, cell && percentilesOf(cell)] as const;
    });
    const points = (of: 'p50' | 'p99') =>
      cells.map(([idle, found]): Point => [idle, found?.[of] ?? null]);
    const p50 = points('p50');
    const last = known(p50).at(-1);
    return {
      name,
      ...(last && { value: ns(last[1]) }),
      look: lookOf(name, i),
      points: p50,
      faint: points('p99'),
      marked: true,
    };
  });
  const values = lines.flatMap(({ points, faint = [] }) =>
    known([...points, ...faint]).map(([, v]) => v),
  );
  return markup`<figure>${lineChart({
    id,
    title: `Wake latency by idle time, processors ${pairName(pair)}`,
    description: lines
      .filter(({ points }) => known(points).length > 0)
      .map(({ name, points }) => {
        const [first, last] = [known(points)[0], known(points).at(-1)];
        return `${name}: p50 ${ns(first?.[1])} at ${short(first?.[0] ?? 0)}, ${ns(last?.[1])} at ${short(last?.[0] ?? 0)}.`;
      })
      .join(' '),
    x: idleAxis('idle time before the signal', view.idles, short),
    y: logAxis('wake latency', values, short),
    lines,
  })}<figcaption>${pairLabel(view, pair)}. p50 with markers, p99 faint in the same colour. Both axes are logarithmic; 0: the signal follows at once.</figcaption></figure>`;
}

function glance(view: View, pair: WakePair, idle: number): Markup | undefined {
  const cells = view.mechanisms
    .flatMap(({ name, kind }) => {
      const cell = view.cell(name, pair, idle);
      return cell && cell.latency.p50 !== null
        ? [{ cell, kind, p50: cell.latency.p50, p99: cell.latency.p99 }]
        : [];
    })
    .sort((a, b) => a.p50 - b.p50);
  const [least] = cells;
  if (!least) return undefined;
  const axis: Axis = logAxis(
    'latency',
    cells.flatMap(({ p50, p99 }) => [p50, p99 ?? p50]),
    short,
  );
  const base = cells.find(({ cell }) => cell.mechanism === 'spin') ?? least;
  return markup`<h3>All mechanisms ${after(idle)}, ${pairName(pair)}</h3>${table(
    '',
    [
      { title: 'mechanism' },
      { title: dotScale(axis), kind: 'dotcell' },
      { title: 'p50' },
      { title: 'p99' },
      { title: `× ${base.cell.mechanism}` },
    ],
    [
      {
        rows: cells.map(({ cell, kind, p50, p99 }) => ({
          class: kind,
          cells: [
            named(view, cell.mechanism),
            dotRow(axis, lookOf(cell.mechanism), p50, p99),
            latency(p50),
            latency(p99),
            times(p50 / base.p50),
          ],
        })),
      },
    ],
    `All mechanisms ${after(idle)}`,
  )}<p class="note wide-only">The marker is p50, the bar ends at p99.</p>`;
}

// -- pairs of processors

/** The idle time at which most pairs were measured, and the mechanisms that were. */
function heatCells(view: View): { idle: number; cells: WakeCell[] } | undefined {
  const byIdle = grouped(
    view.report.cells.filter((c) => c.mode === 'oneway' && c.latency.count > 0),
    (c) => c.idle_ns,
  );
  const pairs = (cells: readonly WakeCell[]): number =>
    new Set(cells.map(({ from, to }) => `${from}>${to}`)).size;
  let best: { idle: number; cells: WakeCell[] } | undefined;
  for (const [idle, cells] of [...byIdle].sort(([a], [b]) => a - b)) {
    const [now, before] = [pairs(cells), best ? pairs(best.cells) : 0];
    if (now > before || (now === before && idle === view.idle)) best = { idle, cells };
  }
  return best;
}

/** Processors so that those near each other stand together: package, node, core, thread. */
export function byTopology(view: View, ids: Iterable<number>): number[] {
  const cpus = new Map(view.report.host.cpus.map((cpu) => [cpu.id, cpu]));
  const rank = (id: number): number[] => {
    const cpu = cpus.get(id);
    return cpu ? [cpu.package, cpu.node, cpu.core, id] : [Number.MAX_SAFE_INTEGER, 0, 0, id];
  };
  return [...new Set(ids)].sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    return left.map((v, i) => v - (right[i] ?? 0)).find((d) => d !== 0) ?? 0;
  });
}

export function heatSection(view: View): Section | undefined {
  const found = heatCells(view);
  if (!found) return undefined;
  const { idle, cells } = found;
  const ids = byTopology(
    view,
    cells.flatMap(({ from, to }) => [from, to]),
  );
  const panels = view.mechanisms.flatMap(({ name }) => {
    const own = cells.filter((c) => c.mechanism === name);
    return own.length === 0 ? [] : [{ name, label: name, content: heatmap(view, ids, own, name) }];
  });
  const spin = panels.findIndex(({ name }) => name === 'spin');
  return {
    id: 'pairs',
    title: 'Wake latency by pair of processors',
    short: 'Pairs',
    body: markup`<p class="sub">p50 of each ordered pair ${after(idle)}. The row signals, the column waits; neighbours in the machine stand together.</p>${tabs('heat', 'Mechanism', panels, Math.max(0, spin))}`,
  };
}

/** So many columns still have room for the mark of the relation. */
const ROOMY = 24;
/** So few columns may be large. */
const FEW = 4;

function heatmap(
  view: View,
  ids: readonly number[],
  cells: readonly WakeCell[],
  name: string,
): Markup {
  const at = new Map(cells.map((c) => [`${c.from}>${c.to}`, c]));
  const values = cells.flatMap(({ latency: l }) => l.p50 ?? []);
  const [low, high] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [1, 1];
  // Pairs that hardly differ must not look as if they did.
  const width = Math.log(Math.max(high, low * 1.6) / low);
  const step = (v: number): number =>
    Math.min(HEAT_STEPS - 1, Math.floor((Math.log(v / low) / width) * HEAT_STEPS));
  const middle = median(values) ?? 1;
  const [size, unit] = middle >= 1e6 ? [1e6, 'ms'] : middle >= 1e4 ? [1e3, 'µs'] : [1, 'ns'];
  const print = (v: number): string => {
    if (ids.length <= FEW) return ns(v);
    const scaled = v / size;
    return scaled.toFixed(
      scaled < 9.995 ? (size === 1 ? 1 : 2) : scaled < 99.95 && size > 1 ? 1 : 0,
    );
  };
  const packages = new Map(view.report.host.cpus.map((cpu) => [cpu.id, cpu.package]));
  const gap = (i: number): boolean =>
    i > 0 && packages.get(ids[i] ?? -1) !== packages.get(ids[i - 1] ?? -1);
  const roomy = ids.length <= ROOMY;
  const rows = ids.map((from, r) => {
    const row = ids.map((to, c) => {
      const cell = at.get(`${from}>${to}`);
      const edge = gap(c) ? ' gap' : '';
      if (!cell) return markup`<td class="self${edge}">${from === to ? '' : '·'}</td>`;
      const { p50 } = cell.latency;
      if (p50 === null) return markup`<td class="self${edge}">${NONE}</td>`;
      const relation = view.relation(cell);
      return markup`<td class="h${step(p50)}${edge}">${print(p50)}${
        roomy && relation && markup`<i>${RELATIONS[relation].mark}</i>`
      }</td>`;
    });
    return markup`<tr${gap(r) && markup` class="gap"`}><th scope="row">${from}</th>${row}</tr>`;
  });
  const marks = new Set(cells.flatMap((c) => view.relation(c) ?? []));
  const bound = (i: number): string => ns(low * Math.exp((width * i) / HEAT_STEPS));
  const used = new Set(values.map(step));
  return markup`<div class="scroll" role="region" aria-label="Pairs of processors, ${name}" tabindex="0"><table class="heat${ids.length <= FEW ? ' few' : !roomy && ' many'}"><caption><span>${name}, p50${ids.length > FEW && ` in ${unit}`}</span></caption><thead><tr><th scope="col"><span class="hidden">signals</span></th>${ids.map(
    (to, c) => markup`<th scope="col"${gap(c) && markup` class="gap"`}>${to}</th>`,
  )}</tr></thead><tbody>${rows}</tbody></table></div>${
    used.size > 1 &&
    markup`<ul class="ramp"><li class="plain">${name}, p50 from</li>${Array.from(
      { length: HEAT_STEPS },
      (_, i) => used.has(i) && markup`<li class="h${i}">${bound(i)}</li>`,
    )}</ul>`
  }${
    roomy &&
    marks.size > 0 &&
    markup`<p class="note">${Object.entries(RELATIONS)
      .filter(([relation]) => marks.has(relation as Relation))
      .map(([, { mark, about }]) => `${mark}: ${about}`)
      .join('; ')}.</p>`
  }${relations(view, cells)}`;
}

function relations(view: View, cells: readonly WakeCell[]): Content {
  const groups = grouped(
    cells.filter((c) => c.latency.p50 !== null),
    (c) => view.relation(c),
  );
  const p50 = (c: WakeCell | undefined): number => c?.latency.p50 ?? 0;
  const rows = (Object.keys(RELATIONS) as Relation[]).flatMap((relation): Row[] => {
    const own = groups.get(relation)?.toSorted((a, b) => p50(a) - p50(b));
    const [least, most] = [own?.[0], own?.at(-1)];
    if (!own || !least || !most) return [];
    return [
      {
        cells: [
          RELATIONS[relation].about,
          whole(own.length),
          latency(median(own.map(p50))),
          markup`${latency(p50(least))} (${pairName(least)})`,
          markup`${latency(p50(most))} (${pairName(most)})`,
        ],
      },
    ];
  });
  return table(
    '',
    [
      { title: 'relation' },
      { title: 'pairs' },
      { title: 'median p50' },
      { title: 'least' },
      { title: 'most' },
    ],
    [{ rows }],
    'By relation',
  );
}

// -- distribution

export function distributionSection(view: View): Section | undefined {
  const { main, idles, idle } = view;
  if (!main || idle === undefined) return undefined;
  const panels = idles.map((at, i) => ({
    label: short(at),
    content: distribution(view, main, at, `spread${i}`),
  }));
  return {
    id: 'distribution',
    title: 'Latency distribution by mechanism',
    short: 'Distribution',
    body: markup`<p class="sub">Each nine of the tail has the same width, so that rare wakes are seen as well as common ones.</p>${tabs('spread-idle', 'Idle time', panels, idles.indexOf(idle))}`,
  };
}

/** Points of a curve; more cannot be seen. */
const CURVE_POINTS = 64;
const LEAST_ABOVE = 10;

function distribution(view: View, pair: WakePair, idle: number, id: string): Markup {
  let nines = 1;
  const lines = view.mechanisms.map(({ name }, m): Line => {
    const buckets = cumulative(view.cell(name, pair, idle)?.rounds ?? []);
    const count = buckets.at(-1)?.[1] ?? 0;
    const points: Known[] = [];
    const beyond: Known[] = [];
    if (count > 1) {
      const end = Math.log10(count);
      nines = Math.max(nines, end);
      let bucket = 0;
      for (let i = 0; i <= CURVE_POINTS; i++) {
        const q = 1 - 10 ** (-(end * i) / CURVE_POINTS);
        while ((buckets[bucket]?.[1] ?? count) < q * count) bucket++;
        const point: Known = [q, Math.max(buckets[bucket]?.[0] ?? 0, 0.25)];
        if (count * (1 - q) >= LEAST_ABOVE) points.push(point);
        else {
          const last = points.at(-1);
          if (beyond.length === 0 && last) beyond.push(last);
          beyond.push(point);
        }
      }
    }
    const end = beyond.at(-1) ?? points.at(-1);
    return { name, look: lookOf(name, m), points, faint: beyond, ...(end && { end }) };
  });
  const values = lines.flatMap(({ points, faint = [] }) =>
    known([...points, ...faint]).map(([, v]) => v),
  );
  return markup`<figure>${lineChart({
    id,
    title: `Latency distribution by mechanism ${after(idle)}, processors ${pairName(pair)}`,
    description: lines
      .filter(({ points }) => points.length > 0)
      .map(({ name }) => {
        const l = view.cell(name, pair, idle)?.latency;
        return `${name}: p50 ${ns(l?.p50)}, p99 ${ns(l?.p99)}, p99.9 ${ns(l?.p99_9)}.`;
      })
      .join(' '),
    x: quantileAxis('share of wakes that were at least this fast', nines),
    y: logAxis('wake latency', values, short),
    lines,
  })}<figcaption>${pairLabel(view, pair)}, ${after(idle)}. Faint where fewer than ${LEAST_ABOVE} samples stand above: chance, up to the greatest seen.</figcaption></figure>`;
}

// -- all percentiles

export function percentileSection(view: View): Section | undefined {
  const [main, ...others] = view.pairs;
  if (!main) return undefined;
  return {
    id: 'percentiles',
    title: 'Percentiles',
    body: markup`<p class="sub">A percentile that fewer than ten samples stand above is left out (${NONE}). Disturbed samples are in all figures but the last two.</p>${percentiles(view, main)}${others.map(
      (pair) =>
        markup`<details><summary>${pairLabel(view, pair)}</summary>${percentiles(view, pair)}</details>`,
    )}${
      view.pairs.length < view.report.pairs.length &&
      markup`<p class="note">${whole(view.report.pairs.length)} pairs were measured; the ones above had their idle time swept. All cells: <code>vanity report wake.json --csv wake.csv</code></p>`
    }`,
  };
}

function percentiles(view: View, pair: WakePair): Markup {
  const floors = view.report.floors.filter(({ from, to }) => from === pair.from && to === pair.to);
  const groups = grouped(view.cellsOf(pair), (c) => `${c.mode} ${c.idle_ns}`);
  const all = table(
    `Processors ${pairLabel(view, pair)}`,
    [
      { title: 'mechanism' },
      { title: 'p50' },
      { title: 'p90' },
      { title: 'p99' },
      { title: 'p99.9' },
      { title: 'p99.99' },
      { title: 'max' },
      { title: 'samples' },
      { title: 'disturbed' },
      { title: 'p50' },
      { title: 'p99' },
    ],
    [...groups.values()].map((cells) => ({
      title: cells[0] && groupTitle(cells[0]),
      rows: cells
        .map((c) => ({ c, calm: undisturbed(c) }))
        .map(({ c, calm }) => ({
          cells: [
            named(view, c.mechanism),
            ...[
              c.latency.p50,
              c.latency.p90,
              c.latency.p99,
              c.latency.p99_9,
              c.latency.p99_99,
              c.latency.max,
            ].map(latency),
            whole(c.latency.count),
            whole(c.disturbed.count),
            latency(calm.p50),
            latency(calm.p99),
          ],
        })),
    })),
    `Percentiles of ${pairName(pair)}`,
    [
      ['', 1],
      ['all samples', 8],
      ['undisturbed', 2],
    ],
  );
  return markup`${all}${floors.map(
    ({ lines, roundtrip }) =>
      markup`<p class="note">The floor: there and back between bare loops by ${lines === 1 ? 'one cache line' : 'a cache line each way'} takes ${latency(roundtrip.p50)} (p50), ${latency(roundtrip.p99)} (p99), of ${whole(roundtrip.count)} turns.</p>`,
  )}`;
}

function groupTitle({ mode, idle_ns }: WakeCell): string {
  return mode === 'roundtrip'
    ? `Round trip${idle_ns > 0 ? `, ${short(idle_ns)} idle` : ''}`
    : `One way ${after(idle_ns)}`;
}

// -- cost to the producer

export function signalSection(view: View): Section | undefined {
  const { main, idles } = view;
  if (!main) return undefined;
  const awake = new Map(
    view.report.signals
      .filter(({ from, to }) => from === main.from && to === main.to)
      .map((signal) => [signal.mechanism, signal]),
  );
  const rows = view.mechanisms.flatMap(({ name, kind }): Row[] => {
    const signal = awake.get(name);
    const cells = idles.map((idle) => view.cell(name, main, idle)?.signal.p50 ?? null);
    if (!signal && cells.every((p50) => p50 === null)) return [];
    const [store, both] = [median(signal?.store_ns ?? []), median(signal?.signal_ns ?? [])];
    return [
      {
        class: kind,
        cells: [
          named(view, name),
          latency(store),
          latency(both),
          store !== undefined && both !== undefined
            ? `${both - store < 0 ? '−' : '+'}${ns(Math.abs(both - store))}`
            : NONE,
          ...cells.map(latency),
        ],
      },
    ];
  });
  if (rows.length === 0) return undefined;
  return {
    id: 'signal',
    title: 'What a signal costs its producer',
    short: 'Signal cost',
    body: markup`<p class="sub">Of a consumer that is awake: a plain store, the store followed by signal(), and what that adds; medians of the rounds. Of one that waits: the call of signal() alone.</p>${table(
      `Processors ${pairLabel(view, main)}`,
      [
        { title: 'mechanism' },
        { title: 'store' },
        { title: '+ signal()' },
        { title: 'difference' },
        ...idles.map((idle) => ({ title: short(idle) })),
      ],
      [{ rows }],
      'Cost of a signal',
      [
        ['', 1],
        ['consumer awake', 3],
        ['consumer waiting, p50 by idle time', idles.length],
      ],
    )}`,
  };
}

// -- processor time and energy

export function timeSection(view: View): Section | undefined {
  const { main, idles } = view;
  if (!main) return undefined;
  const rows = view.mechanisms.flatMap(({ name, kind }): Row[] => {
    const cells = idles.map((idle) => view.cell(name, main, idle));
    if (cells.every((c) => c === undefined)) return [];
    return [
      {
        class: kind,
        cells: [named(view, name), ...cells.map((c) => burnt(c?.cpu_s_per_s ?? null))],
      },
    ];
  });
  const { available, reason } = view.report.energy;
  const watts = view.mechanisms.flatMap(({ name, kind }): Row[] => {
    const cells = idles.map((idle) => view.cell(name, main, idle)?.joules_per_s ?? null);
    return cells.every((w) => w === null)
      ? []
      : [
          {
            class: kind,
            cells: [named(view, name), ...cells.map((w) => (w === null ? NONE : w.toFixed(2)))],
          },
        ];
  });
  const columns = (kind?: 'barcell') => [
    { title: 'mechanism' },
    ...idles.map((idle) => ({ title: `${short(idle)} idle`, ...(kind && { kind }) })),
  ];
  return {
    id: 'time',
    title: 'Processor time burnt by waiting',
    short: 'Processor time',
    body: markup`<p class="sub">Processor time of the waiter per second of waiting, by idle time. ${NONE}: not known for this mechanism.</p>${table(
      `Processors ${pairLabel(view, main)}`,
      columns('barcell'),
      [{ rows }],
      'Processor time',
    )}<h3>Energy</h3>${
      watts.length > 0
        ? table(`Watts of the package: ${reason}`, columns(), [{ rows: watts }], 'Energy')
        : markup`<p>${available ? 'Read' : 'Not measured'}: ${reason}.</p>`
    }`,
  };
}

function burnt(value: number | null): Content {
  if (value === null) return NONE;
  const width = (Math.min(1, value) * 100).toFixed(1);
  return markup`${share(value)}<svg width="100%" height="5" aria-hidden="true"><rect class="bar-back" width="100%" height="5" rx="2"/><rect class="bar" width="${width}%" height="5" rx="2"/></svg>`;
}

// -- why waits ended, and what disturbed them

export function wakesSection(view: View): Section | undefined {
  const rows = view.mechanisms.map(({ name, kind }): Row => {
    const of = (field: keyof WakeCell['wakes']): number =>
      sum(view.report.cells.filter((c) => c.mechanism === name).map((c) => c.wakes[field]));
    const late = of('late_found_work');
    return {
      class: kind,
      cells: [
        named(view, name),
        whole(of('waits')),
        whole(of('signalled')),
        whole(of('deadline')),
        whole(of('os_limit')),
        whole(of('spurious')),
        late > 0 ? markup`<span class="bad">${whole(late)} lost</span>` : whole(late),
      ],
    };
  });
  if (rows.length === 0) return undefined;
  return {
    id: 'wakes',
    title: 'Why waits ended',
    short: 'Wake reasons',
    body: markup`<p class="sub">Over all cells. A wait that its deadline or the system's limit ended and that then found work was a lost wake: <em>found work late</em> must be 0.</p>${table(
      '',
      [
        { title: 'mechanism' },
        { title: 'waits' },
        { title: 'signalled' },
        { title: 'deadline' },
        { title: "system's limit" },
        { title: 'spurious' },
        { title: 'found work late' },
      ],
      [{ rows }],
      'Why waits ended',
    )}`,
  };
}

export function disturbedSection(view: View): Section | undefined {
  const rows = view.mechanisms.map(({ name, kind }): Row => {
    const cells = view.report.cells.filter((c) => c.mechanism === name);
    const samples = sum(cells.map((c) => c.latency.count));
    const disturbed = sum(cells.map((c) => c.disturbed.count));
    const of = (field: keyof WakeCell['marks']): string =>
      whole(sum(cells.map((c) => c.marks[field])));
    return {
      class: kind,
      cells: [
        named(view, name),
        whole(samples),
        whole(disturbed),
        samples > 0 ? share(disturbed / samples) : NONE,
        of('preempted'),
        of('migrated'),
        of('stolen'),
        of('signaller'),
        whole(sum(cells.map((c) => c.overrun))),
      ],
    };
  });
  if (rows.length === 0) return undefined;
  return {
    id: 'disturbed',
    title: 'Disturbed samples',
    short: 'Disturbed',
    body: markup`<p class="sub">Counted by cause, and kept: they are in every percentile of this page that does not say otherwise. A sample may have several causes. Overrun: a signal was due while the waiter was still busy with the one before.</p>${table(
      '',
      [
        { title: 'mechanism' },
        { title: 'samples' },
        { title: 'disturbed' },
        { title: 'share' },
        { title: 'preempted' },
        { title: 'migrated' },
        { title: 'stolen' },
        { title: 'signaller' },
        { title: 'overrun' },
      ],
      [{ rows }],
      'Disturbed samples',
    )}`,
  };
}
