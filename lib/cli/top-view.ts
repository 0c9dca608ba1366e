// What `vanity top` shows, as a pure function: two snapshots and a size in, lines out.

import { rates } from '../telemetry/rates.js';
import type { Snapshot } from '../telemetry/segment.js';
import { percent, quantity, si, time } from '../text/format.js';

export type SortKey = 'pps' | 'busy' | 'name';

export interface ViewOptions {
  sort: SortKey;
  color: boolean;
  /** Set when the kernel's heartbeat is old: the process may be gone or stopped. */
  silentNs?: number | undefined;
  /** When it was, of a view of the past. */
  past?: string | undefined;
  /** The line that names the keys; not for --once. */
  keys?: boolean;
  /** The view stays as it is until a key says otherwise. */
  paused?: boolean;
}

export interface Size {
  columns: number;
  rows: number;
}

type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan';
/** A piece of a line; widths are counted on text alone, so styles never disturb the columns. */
type Piece = string | readonly [string, Style];
type Line = readonly Piece[];

const CODES: Record<Style, number> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 };
const BAR = 20;

interface Section {
  title: readonly string[];
  rows: readonly (readonly Piece[])[];
  /** Columns that read best to the right. */
  right: readonly number[];
}

export function render(
  previous: Snapshot | undefined,
  current: Snapshot,
  size: Size,
  options: ViewOptions,
): string[] {
  const now = rates(previous, current);
  const { system } = current;
  const state: Piece = [system.state, stateStyle(system.state)];
  const head: Line[] = [
    [
      ['vanity top', 'bold'],
      '  ',
      [system.name, 'cyan'],
      '  ',
      state,
      `  up ${time(Number(system.uptimeNs))}  pid ${system.pid}`,
    ],
  ];
  const sum = (of: (port: (typeof now.ports)[number]) => number): number =>
    now.ports.reduce((all, port) => all + of(port), 0);
  const drops =
    now.shards.reduce((all, shard) => all + shard.droppedPerSecond, 0) +
    sum((port) => port.droppedPerSecond);
  head.push([
    `in ${quantity(
      sum((p) => p.rxPerSecond),
      'pps',
    )} ${quantity(
      sum((p) => p.rxBitsPerSecond),
      'bit/s',
    )}`,
    `  out ${quantity(
      sum((p) => p.txPerSecond),
      'pps',
    )} ${quantity(
      sum((p) => p.txBitsPerSecond),
      'bit/s',
    )}  `,
    loss(drops, `dropped ${si(drops)}/s`),
  ]);
  if (options.silentNs !== undefined) {
    head.push([[`no sign of life from its kernel for ${time(options.silentNs)}`, 'red']]);
  }
  if (options.past !== undefined) {
    head.push([[`as it was ${options.past}`, 'yellow']]);
  } else if (options.paused) {
    head.push([['paused', 'yellow']]);
  }
  if (options.keys) {
    head.push([
      [
        `q quit   sort: p pps  b busy  n name   (by ${options.sort})   space ${options.paused ? 'goes on' : 'pauses'}   ` +
          'left/right a second, down/up ten   l the present',
        'dim',
      ],
    ]);
  }

  const by = <T extends { name: string }>(
    rows: readonly T[],
    busy: (row: T) => number,
    pps: (row: T) => number,
  ): T[] => {
    const weight = options.sort === 'busy' ? busy : pps;
    return [...rows].sort((a, b) =>
      options.sort === 'name'
        ? compare(a.name, b.name)
        : weight(b) - weight(a) || compare(a.name, b.name),
    );
  };

  const sections: Section[] = [
    {
      title: [
        'SHARD',
        'PROGRAM',
        'STATE',
        `${'BUSY #'} IDLE - WAIT .`.padEnd(BAR),
        'BUSY',
        'IDLE',
        'WAIT',
        'PER S',
        'NS/PKT',
        'DROPPED/S',
      ],
      right: [4, 5, 6, 7, 8, 9],
      rows: by(
        now.shards,
        (s) => s.busy,
        (s) => s.perSecond,
      ).map((shard) => [
        shard.name,
        shard.program.slice(shard.program.lastIndexOf('/') + 1),
        [shard.state, stateStyle(shard.state)],
        usage(shard.busy, shard.idle, shard.wait),
        percent(shard.busy),
        percent(shard.idle),
        percent(shard.wait),
        si(shard.perSecond),
        shard.nsPerElement === undefined ? '-' : shard.nsPerElement.toFixed(1),
        loss(shard.droppedPerSecond, si(shard.droppedPerSecond)),
      ]),
    },
    {
      title: [
        'CHANNEL',
        'FROM > TO',
        'FILL'.padEnd(BAR),
        'DEPTH',
        'CAPACITY',
        'PER S',
        'DROPPED/S',
      ],
      right: [3, 4, 5, 6],
      rows: by(
        now.channels,
        (c) => c.depth / c.capacity,
        (c) => c.perSecond,
      ).map((channel) => [
        channel.name,
        `${channel.from} > ${channel.to}`,
        fill(channel.capacity > 0 ? channel.depth / channel.capacity : 0),
        String(channel.depth),
        String(channel.capacity),
        si(channel.perSecond),
        loss(channel.droppedPerSecond, si(channel.droppedPerSecond)),
      ]),
    },
    {
      title: ['PORT', 'DRIVER', 'STATE', 'RX PPS', 'RX BIT/S', 'TX PPS', 'TX BIT/S', 'LOST/S'],
      right: [3, 4, 5, 6, 7],
      rows: by(
        now.ports,
        (p) => p.rxBitsPerSecond + p.txBitsPerSecond,
        (p) => p.rxPerSecond + p.txPerSecond,
      ).map((port) => [
        port.name,
        port.driver,
        [port.state, stateStyle(port.state)],
        si(port.rxPerSecond),
        si(port.rxBitsPerSecond),
        si(port.txPerSecond),
        si(port.txBitsPerSecond),
        loss(port.droppedPerSecond, si(port.droppedPerSecond)),
      ]),
    },
    {
      title: ['DEVICE', 'ADDRESS', 'DRIVER', 'BACKEND', 'STATE', 'VECTORS'],
      right: [5],
      rows: now.devices.map((device) => [
        device.name,
        device.address,
        device.driver,
        device.backend,
        [device.state, stateStyle(device.state)],
        String(device.vectors),
      ]),
    },
    {
      title: ['VECTOR', 'TO', 'TRIGGER', 'PER S', 'P50', 'P99', 'MAX', 'HELD BACK/S'],
      right: [3, 4, 5, 6, 7],
      rows: by(
        now.vectors,
        (v) => v.perSecond,
        (v) => v.perSecond,
      ).map((vector) => [
        vector.name,
        vector.to,
        vector.trigger,
        si(vector.perSecond),
        latency(vector.p50Ns),
        latency(vector.p99Ns),
        latency(vector.maxNs),
        loss(vector.suppressedPerSecond, si(vector.suppressedPerSecond)),
      ]),
    },
  ].filter((section) => section.rows.length > 0) as Section[];

  const shown = share(
    sections.map((section) => section.rows.length),
    // A blank line and a title each.
    size.rows - head.length - 2 * sections.length,
  );
  const lines: Line[] = [...head];
  sections.forEach((section, i) => {
    const visible = shown[i] ?? 0;
    lines.push([], ...columns(section, visible));
  });
  return lines
    .slice(0, Math.max(0, size.rows))
    .map((line) => paint(clip(line, size.columns), options.color));
}

// Deals lines out evenly, so that many channels don't push the ports off the screen.
function share(wanted: number[], lines: number): number[] {
  const given = wanted.map(() => 0);
  let left = Math.max(0, lines);
  while (left > 0 && given.some((n, i) => n < (wanted[i] ?? 0))) {
    for (let i = 0; i < given.length && left > 0; i++) {
      if ((given[i] ?? 0) < (wanted[i] ?? 0)) {
        given[i] = (given[i] ?? 0) + 1;
        left--;
      }
    }
  }
  return given;
}

function columns(section: Section, visible: number): Line[] {
  const hidden = section.rows.length - visible;
  // The last line says how many there are no lines for.
  const rows = section.rows.slice(0, hidden > 0 ? Math.max(0, visible - 1) : visible);
  const widths = section.title.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => width(row[i] ?? ''))),
  );
  const line = (cells: readonly Piece[]): Line =>
    cells.flatMap((cell, i): Piece[] => {
      const gap = ' '.repeat(Math.max(0, (widths[i] ?? 0) - width(cell)));
      const between = i > 0 ? '  ' : '';
      return section.right.includes(i) ? [between + gap, cell] : [between, cell, gap];
    });
  const lines = [line(section.title.map((title): Piece => [title, 'bold'])), ...rows.map(line)];
  if (hidden > 0 && visible > 0) lines.push([[`... ${hidden + 1} more`, 'dim']]);
  return lines;
}

function usage(busy: number, idle: number, wait: number): Piece {
  const cells = (share: number): number => Math.round(share * BAR);
  const b = busy > 0 ? Math.max(1, cells(busy)) : 0;
  const i = Math.min(BAR - b, cells(idle));
  const w = Math.min(BAR - b - i, cells(wait));
  const text = `${'#'.repeat(b)}${'-'.repeat(i)}${'.'.repeat(w)}`.padEnd(BAR);
  return [text, busy > 0.9 ? 'yellow' : 'green'];
}

function fill(share: number): Piece {
  const cells = share > 0 ? Math.max(1, Math.round(share * BAR)) : 0;
  return ['#'.repeat(cells).padEnd(BAR), share > 0.9 ? 'red' : share > 0.5 ? 'yellow' : 'green'];
}

function loss(value: number, text: string): Piece {
  return value > 0 ? [text, 'red'] : text;
}

function latency(ns: number | undefined): string {
  return ns === undefined ? '-' : time(ns);
}

function stateStyle(state: string): Style {
  if (state === 'running' || state === 'up' || state === 'granted') return 'green';
  if (['failed', 'stalled', 'down', 'lost'].includes(state)) return 'red';
  return 'yellow';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function textOf(piece: Piece): string {
  return typeof piece === 'string' ? piece : piece[0];
}

function width(piece: Piece): number {
  return textOf(piece).length;
}

function clip(line: Line, columns: number): Line {
  const out: Piece[] = [];
  let left = columns;
  for (const piece of line) {
    if (left <= 0) break;
    const text = textOf(piece).slice(0, left);
    left -= text.length;
    out.push(typeof piece === 'string' ? text : [text, piece[1]]);
  }
  return out;
}

function paint(line: Line, color: boolean): string {
  const text = line
    .map((piece) =>
      typeof piece === 'string' || !color || piece[0] === ''
        ? textOf(piece)
        : `\u001b[${CODES[piece[1]]}m${piece[0]}\u001b[0m`,
    )
    .join('');
  return color ? text : text.trimEnd();
}
