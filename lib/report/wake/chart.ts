// Line charts on logarithmic axes, as SVG that takes its colours from the page. Each is drawn for wide, middling
// and narrow screens, since text that shrinks with its chart cannot be read on a phone.
import { type Markup, markup } from './markup.js';

export interface Tick {
  at: number;
  label?: string;
}

/** Maps values to pixels; `ticks` in values. */
export interface Axis {
  title: string;
  min: number;
  max: number;
  /** Value to its place from 0 to 1. */
  place(value: number): number;
  ticks: readonly Tick[];
}

/** Null: not known there; the line has a gap. */
export type Point = readonly [number, number | null];
export type Known = readonly [number, number];

export const known = (points: readonly Point[]): Known[] =>
  points.flatMap(([x, y]): Known[] => (y === null ? [] : [[x, y]]));

export interface Line {
  name: string;
  /** Behind the name where there is room. */
  value?: string;
  look: Look;
  points: readonly Point[];
  /** Drawn faint: a second figure of the same thing. */
  faint?: readonly Point[];
  /** Where its label points to; its last point when absent. */
  end?: Known;
  /** A marker at each point. */
  marked?: boolean;
}

/** Colour, dashes and marker of a mechanism; no two share all of them, so colour is never the only sign. */
export interface Look {
  colour: number;
  dash: string;
  marker: string;
}

const DOT = 'M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z';
const SQUARE = 'M-3.2-3.2h6.4v6.4h-6.4z';
const UP = 'M0-4.2L4 3H-4z';
const DOWN = 'M0 4.2L4-3H-4z';
const DIAMOND = 'M0-4.6L4.6 0L0 4.6L-4.6 0z';
const CROSS = 'M-3.5-3.5L3.5 3.5M-3.5 3.5L3.5-3.5';
const PLUS = 'M-4.2 0H4.2M0-4.2V4.2';

// Blue spins, green monitors, orange and purple sleep, grey is the kernel's own, rose is Node's.
const LOOKS: Readonly<Record<string, Look>> = {
  spin: { colour: 0, dash: '', marker: DOT },
  'spin+pause': { colour: 1, dash: '7 3', marker: DIAMOND },
  'waitpkg-c01': { colour: 2, dash: '', marker: SQUARE },
  'waitpkg-c02': { colour: 3, dash: '7 3', marker: UP },
  monitorx: { colour: 2, dash: '', marker: SQUARE },
  'monitorx-c1': { colour: 3, dash: '7 3', marker: UP },
  wfe: { colour: 2, dash: '', marker: SQUARE },
  wfet: { colour: 3, dash: '7 3', marker: UP },
  zawrs: { colour: 2, dash: '', marker: SQUARE },
  futex: { colour: 4, dash: '', marker: DOT },
  adaptive: { colour: 5, dash: '', marker: DIAMOND },
  interrupt: { colour: 5, dash: '7 3', marker: UP },
  'virtio-user': { colour: 5, dash: '2 3', marker: DOWN },
  'raw-futex': { colour: 6, dash: '2 3', marker: CROSS },
  eventfd: { colour: 6, dash: '6 3', marker: PLUS },
  pipe: { colour: 6, dash: '9 3 2 3', marker: DOWN },
  atomics: { colour: 7, dash: '2 3', marker: CROSS },
  'message-port': { colour: 7, dash: '6 3', marker: PLUS },
};
const OTHERS: readonly Look[] = [SQUARE, UP, DOWN, DIAMOND].map((marker, i) => ({
  colour: 6,
  dash: `${3 + 2 * i} 2`,
  marker,
}));

export function lookOf(name: string, index = 0): Look {
  const known = Object.hasOwn(LOOKS, name) ? LOOKS[name] : undefined;
  return known ?? (OTHERS[index % OTHERS.length] as Look);
}

/** The marker by itself, for tables. */
export function swatch(look: Look): Markup {
  return markup`<svg class="swatch k${look.colour}" width="22" height="10" viewBox="0 0 22 10" aria-hidden="true"><path class="line" d="M0 5H22" stroke-dasharray="${look.dash}"/><path class="mark" transform="translate(11 5)" d="${look.marker}"/></svg>`;
}

const log = Math.log10;

/** Decades; where they are few, also 2 and 5 of each have their label. */
export function logAxis(
  title: string,
  values: readonly number[],
  label: (value: number) => string,
): Axis {
  const seen = values.filter((v) => v > 0 && Number.isFinite(v));
  let [low, high] = seen.length > 0 ? [Math.min(...seen), Math.max(...seen)] : [1, 10];
  low = stepBelow(low * 0.95);
  high = Math.max(-stepBelow(-high * 1.05), low * 5);
  const decades = log(high) - log(low);
  const ticks: Tick[] = [];
  for (let power = Math.floor(log(low)); power <= Math.ceil(log(high)); power++) {
    for (const digit of [1, 2, 5]) {
      const at = Number((digit * 10 ** power).toPrecision(3));
      if (at < low * 0.999 || at > high * 1.001) continue;
      ticks.push(digit === 1 || decades < 1.8 ? { at, label: label(at) } : { at });
    }
  }
  const place = (value: number): number => (log(Math.max(value, low)) - log(low)) / decades;
  return { title, min: low, max: high, place, ticks };
}

// The 1, 2 or 5 of a decade at or below a value; of a negative one, at or above its size.
function stepBelow(value: number): number {
  const size = Math.abs(value);
  const steps = [1, 2, 5, 10].map((digit) => digit * 10 ** Math.floor(log(size)));
  return value > 0
    ? (steps.findLast((step) => step <= size) ?? size)
    : -(steps.find((step) => step >= size) ?? size);
}

/** Idle times: decades, and 0 a decade to the left of the least. */
export function idleAxis(
  title: string,
  idles: readonly number[],
  label: (value: number) => string,
): Axis {
  const positive = idles.filter((v) => v > 0);
  const zero = idles.includes(0) || positive.length === 0;
  const least = positive.length > 0 ? Math.min(...positive) : 1;
  const most = positive.length > 0 ? Math.max(...positive) : 1;
  const left = log(least) - (zero ? 1 : 0);
  // A single time stands in the middle.
  const width = log(most) - left || 1;
  const middle = log(most) === left ? 0.5 : 0;
  const place = (v: number): number => (v > 0 ? (log(v) - left) / width : 0) + middle;
  return {
    title,
    min: 0,
    max: most,
    place,
    ticks: idles.map((at) => ({ at, label: label(at) })),
  };
}

/** Quantiles, each nine as wide as the one before it. */
export function quantileAxis(title: string, nines: number): Axis {
  const ticks: Tick[] = [
    { at: 0, label: '0' },
    { at: 0.5, label: 'p50' },
    { at: 0.9, label: 'p90' },
    { at: 0.99, label: 'p99' },
    { at: 0.999, label: 'p99.9' },
    { at: 0.9999, label: 'p99.99' },
    { at: 0.99999, label: 'p99.999' },
    { at: 0.999999, label: 'p99.9999' },
  ];
  const width = Math.max(nines, 1);
  const place = (q: number): number => -log(1 - Math.min(q, 1 - 1e-9)) / width;
  return { title, min: 0, max: 1, place, ticks: ticks.filter(({ at }) => place(at) <= 1.001) };
}

export interface ChartOptions {
  /** Unique in the page. */
  id: string;
  title: string;
  description: string;
  x: Axis;
  y: Axis;
  lines: readonly Line[];
}

interface Size {
  suffix: string;
  width: number;
  height: number;
  left: number;
  right: number;
  font: number;
  gap: number;
}

const WIDE: Size = {
  suffix: 'wide',
  width: 960,
  height: 460,
  left: 62,
  right: 178,
  font: 13,
  gap: 18,
};
const MIDDLE: Size = {
  suffix: 'middle',
  width: 700,
  height: 430,
  left: 58,
  right: 172,
  font: 12.5,
  gap: 17,
};
const NARROW: Size = {
  suffix: 'narrow',
  width: 372,
  height: 420,
  left: 50,
  right: 112,
  font: 11.5,
  gap: 15,
};

export function lineChart(options: ChartOptions): Markup {
  return markup`<div class="chart">${[WIDE, MIDDLE, NARROW].map((size) => draw(options, size))}</div>`;
}

/** Longer names than any of ours would leave the chart. */
const brief = (name: string): string => (name.length > 13 ? `${name.slice(0, 9)}…` : name);

const TOP = 28;
const BOTTOM = 50;

function draw({ id, title, description, x, y, lines }: ChartOptions, size: Size): Markup {
  const { width, height, left, right, font } = size;
  const [plotWidth, plotHeight] = [width - left - right, height - TOP - BOTTOM];
  const [inset, wide] = [12, size !== NARROW];
  const px = (v: number): number => left + inset + x.place(v) * (plotWidth - 2 * inset);
  const py = (v: number): number => TOP + (1 - y.place(v)) * plotHeight;
  const path = (points: readonly Point[]): string => {
    let open = false;
    return points
      .map(([a, b]) => {
        const verb = open ? 'L' : 'M';
        open = b !== null;
        return b === null ? '' : `${verb}${px(a).toFixed(1)} ${py(b).toFixed(1)}`;
      })
      .join('');
  };
  const named = `${id}-${size.suffix}`;

  const rows = y.ticks.map(({ at, label }) => {
    const place = py(at).toFixed(1);
    return markup`<path class="grid${label ? '' : ' minor'}" d="M${left} ${place}H${width - right}"/>${
      label &&
      markup`<text x="${left - 8}" y="${place}" dy=".35em" text-anchor="end">${label}</text>`
    }`;
  });
  let free = Number.NEGATIVE_INFINITY;
  const columns = x.ticks.map(({ at, label = '' }) => {
    const place = px(at);
    // A label that would touch its neighbour is left out; its line stays.
    const half = (label.length * font * 0.5) / 2;
    const fits = place - half > free;
    if (fits) free = place + half + 3;
    return markup`<path class="grid minor" d="M${place.toFixed(1)} ${TOP}V${TOP + plotHeight}"/>${
      fits &&
      markup`<text x="${place.toFixed(1)}" y="${TOP + plotHeight + font + 6}" text-anchor="middle">${label}</text>`
    }`;
  });

  const drawn = lines.filter(({ points }) => known(points).length > 0);
  const ends = drawn.map(({ points, end }) => end ?? (known(points).at(-1) as Known));
  const places = spread(
    ends.map(([, b]) => py(b)),
    size.gap,
    TOP + 4,
    TOP + plotHeight - 2,
  );
  const labels = drawn.map(({ name, value, look }, i) => {
    const [endX, endY, place] = [px(ends[i]?.[0] ?? 0), py(ends[i]?.[1] ?? 0), places[i] ?? 0];
    const start = width - right + 8;
    return markup`<g class="k${look.colour}"><path class="leader" d="M${(endX + 6).toFixed(1)} ${endY.toFixed(1)}L${start - 2} ${place.toFixed(1)}"/><path class="mark" transform="translate(${start + 5} ${place.toFixed(1)})" d="${look.marker}"/><text class="label" x="${start + 14}" y="${place.toFixed(1)}" dy=".35em">${brief(name)}${
      wide && value && markup`<tspan class="value" dx="6">${value}</tspan>`
    }</text></g>`;
  });
  const curves = drawn.map(
    ({ look, points, faint = [], marked }) =>
      markup`<g class="k${look.colour}">${
        faint.length > 0 && markup`<path class="line faint" d="${path(faint)}"/>`
      }<path class="line" d="${path(points)}" stroke-dasharray="${look.dash}"/>${
        marked &&
        known(points).map(
          ([a, b]) =>
            markup`<path class="mark" transform="translate(${px(a).toFixed(1)} ${py(b).toFixed(1)})" d="${look.marker}"/>`,
        )
      }</g>`,
  );
  return markup`<svg class="${size.suffix}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="${named}-t ${named}-d" font-size="${font}"><title id="${named}-t">${title}</title><desc id="${named}-d">${description}</desc><g class="axes">${rows}${columns}<path class="axis" d="M${left} ${TOP}V${TOP + plotHeight}H${width - right}"/><text class="name" x="${left + plotWidth / 2}" y="${height - 8}" text-anchor="middle">${x.title}</text><text class="name" x="${wide ? left : 2}" y="13">${y.title}</text></g>${curves}${labels}</svg>`;
}

/**
 * Moves labels apart until each has `gap`, each as near to its own place as that allows: neighbours that
 * touch become a block around the mean of their places.
 */
export function spread(
  places: readonly number[],
  gap: number,
  low: number,
  high: number,
): number[] {
  const order = places.map((at, i) => ({ at, i })).sort((a, b) => a.at - b.at);
  const room = order.length > 1 ? Math.min(gap, (high - low) / (order.length - 1)) : gap;
  const blocks: { members: { at: number; i: number }[]; start: number }[] = [];
  const settle = (members: { at: number; i: number }[]): number => {
    const mean = members.reduce((sum, { at }, k) => sum + at - k * room, 0) / members.length;
    return Math.min(Math.max(mean, low), high - (members.length - 1) * room);
  };
  for (const one of order) {
    let block = { members: [one], start: settle([one]) };
    for (;;) {
      const before = blocks.at(-1);
      if (!before || before.start + before.members.length * room <= block.start + 1e-9) break;
      blocks.pop();
      const members = [...before.members, ...block.members];
      block = { members, start: settle(members) };
    }
    blocks.push(block);
  }
  const result = new Array<number>(places.length);
  for (const { members, start } of blocks) {
    members.forEach(({ i }, k) => {
      result[i] = start + k * room;
    });
  }
  return result;
}

/**
 * A row of a dot plot: p50 as the marker, a line to p99. In percent of its width, so that it
 * stretches without its marker.
 */
export function dotRow(axis: Axis, look: Look, p50: number, p99: number | null): Markup {
  const at = (v: number): string => (2 + Math.min(1, Math.max(0, axis.place(v))) * 96).toFixed(2);
  return markup`<svg class="dots k${look.colour}" width="100%" height="22" aria-hidden="true">${axis.ticks
    .filter(({ label }) => label)
    .map(
      (tick) =>
        markup`<line class="grid" x1="${at(tick.at)}%" x2="${at(tick.at)}%" y1="0" y2="22"/>`,
    )}${
    p99 !== null &&
    markup`<line class="reach" x1="${at(p50)}%" x2="${at(p99)}%" y1="11" y2="11"/><line class="stop" x1="${at(p99)}%" x2="${at(p99)}%" y1="6" y2="16"/>`
  }<svg x="${at(p50)}%" y="11" overflow="visible"><path class="mark" d="${look.marker}"/></svg></svg>`;
}

/** Width of a label where the column is narrowest, as a share of it. */
const LABEL = 0.19;

/** The scale above the rows of a dot plot. */
export function dotScale(axis: Axis): Markup {
  let free = Number.NEGATIVE_INFINITY;
  const labels = axis.ticks.map(({ at, label }) => {
    if (!label) return undefined;
    const place = axis.place(at);
    // Labels at the ends stay inside.
    const anchor = place < LABEL / 2 ? 'start' : place > 1 - LABEL / 2 ? 'end' : 'middle';
    const left = place - { start: 0, middle: LABEL / 2, end: LABEL }[anchor];
    if (left < free) return undefined;
    free = left + LABEL;
    return markup`<text x="${(2 + place * 96).toFixed(2)}%" y="13" text-anchor="${anchor}">${label}</text>`;
  });
  return markup`<svg class="dots" width="100%" height="18" aria-hidden="true">${labels}</svg>`;
}
