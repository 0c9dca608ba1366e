// The sections of the page that say how far its figures can be trusted: targets, host, clock, noise.
import { type Content, markup } from './markup.js';
import { byTopology } from './measured.js';
import { facts, type Section, table } from './parts.js';
import { NONE, ns, pairName, seconds, share, short, times, whole } from './units.js';
import type { View } from './view.js';

export function figuresSection({ report }: View): Section | undefined {
  if (report.figures.length === 0) return undefined;
  const verdict = (met: boolean | null): Content =>
    met === null
      ? NONE
      : met
        ? markup`<span class="chip good">met</span>`
        : markup`<span class="chip bad">missed</span>`;
  return {
    id: 'figures',
    title: 'Figures and targets',
    short: 'Targets',
    body: table(
      '',
      [
        { title: 'figure' },
        { title: 'value' },
        { title: 'target' },
        { title: 'reached', kind: 'text' },
      ],
      [
        {
          rows: report.figures.map(({ name, value, unit, target, met }) => ({
            cells: [name, figure(value, unit), target ?? NONE, verdict(met)],
          })),
        },
      ],
      'Figures and targets',
    ),
  };
}

function figure(value: number, unit: string): string {
  if (unit === 'ns') return ns(value);
  if (unit === 'x' || unit === '×') return times(value);
  const text = Number.isInteger(value) || Math.abs(value) >= 1000 ? whole(value) : value.toFixed(2);
  return `${text}\u00a0${unit}`;
}

export function adviceSection({ report }: View): Section | undefined {
  const rows = report.host.advice.filter(({ status }) => status !== 'ok');
  const fine = report.host.advice.filter(({ status }) => status === 'ok');
  if (rows.length + fine.length === 0) return undefined;
  return {
    id: 'advice',
    title: 'What would make the figures better',
    short: 'Advice',
    body: markup`${
      rows.length === 0
        ? markup`<p>Nothing that <code>vanity doctor</code> knows of.</p>`
        : markup`<ul class="advice">${rows.map(
            ({ name, status, found, why, fix }) =>
              markup`<li><strong>${name}</strong> <span class="chip${status === 'missing' && ' bad'}">${status}</span> ${found}<p class="note">${why}</p>${
                fix !== null && markup`<pre><code>${fix}</code></pre>`
              }</li>`,
          )}</ul>`
    }${
      fine.length > 0 &&
      markup`<p class="note">In order: ${fine.map(({ name, found }) => `${name} (${found})`).join(', ')}.</p>`
    }`,
  };
}

export function clockSection({ report }: View): Section {
  const { clock } = report;
  const skews = table(
    'Clock of the waiter minus clock of the signaller, as subtracted from one-way figures',
    [{ title: 'processors' }, { title: 'offset' }, { title: 'error' }],
    [
      {
        rows: clock.skews.map((skew) => ({
          cells: [pairName(skew), ns(skew.offset_ns), `±${ns(skew.error_ns)}`],
        })),
      },
    ],
    'Skew',
  );
  return {
    id: 'clock',
    title: 'Clock',
    body: markup`${facts([
      ['source', clock.source],
      [
        'calibration',
        `±${clock.error_ppm.toPrecision(2)} ppm against CLOCK_MONOTONIC_RAW (one standard error)`,
      ],
      [
        'invariant',
        clock.invariant
          ? 'yes'
          : markup`<span class="bad">no</span>: it may change its rate, or stop`,
      ],
      ['one tick', ns(clock.tick_ns)],
      ['one reading', ns(clock.read_ns)],
    ])}${
      clock.skews.length > 8
        ? markup`<details><summary>Skew of ${whole(clock.skews.length)} pairs</summary>${skews}</details>`
        : clock.skews.length > 0 && skews
    }`,
  };
}

export function noiseSection({ report }: View): Section | undefined {
  const { cpus } = report.noise;
  if (cpus.length === 0) return undefined;
  const or = (value: number | null, text: (v: number) => string): string =>
    value === null ? NONE : text(value);
  const rows = cpus.map((c) => ({
    cells: [
      String(c.cpu),
      whole(c.involuntary_switches),
      or(c.steal_ms, (v) => ns(v * 1e6)),
      or(c.interrupts, whole),
      or(c.smi, whole),
      or(c.frequency_mhz, (v) => `${whole(v)}\u00a0MHz`),
      c.residency === null
        ? NONE
        : Object.entries(c.residency)
            .map(([state, part]) => `${state} ${share(part)}`)
            .join(', '),
    ],
  }));
  const body = table(
    '',
    [
      { title: 'processor' },
      { title: 'involuntary switches' },
      { title: 'stolen' },
      { title: 'interrupts' },
      { title: 'SMIs' },
      { title: 'frequency' },
      { title: 'C-states', kind: 'text' },
    ],
    [{ rows }],
    'Noise',
  );
  return {
    id: 'noise',
    title: 'Noise of the machine',
    short: 'Noise',
    body: markup`<p class="sub">Over the whole run, on the measured processors. ${NONE}: not readable here.</p>${
      rows.length > 16
        ? markup`<details><summary>${whole(rows.length)} processors</summary>${body}</details>`
        : body
    }`,
  };
}

export function mechanismsSection({ report }: View): Section | undefined {
  if (report.mechanisms.length === 0) return undefined;
  const group = (kind: string, title: string) => ({
    title,
    rows: report.mechanisms
      .filter((m) => m.kind === kind)
      .map(({ name, about, usable, reason }) => ({
        cells: [
          name,
          about,
          usable
            ? markup`<span class="chip good">usable</span>`
            : markup`<span class="chip">not here</span>`,
          reason,
        ],
      })),
  });
  return {
    id: 'mechanisms',
    title: 'Mechanisms',
    body: table(
      '',
      [
        { title: 'name' },
        { title: 'what it is', kind: 'prose' },
        { title: '', kind: 'text' },
        { title: 'because', kind: 'prose' },
      ],
      [
        group('backend', "Vanity's own"),
        group('path', 'Through several parts'),
        group('reference', 'References'),
      ].filter(({ rows }) => rows.length > 0),
      'Mechanisms',
    ),
  };
}

export function hostSection(view: View): Section {
  const { host, options } = view.report;
  const cpus = new Map(host.cpus.map((cpu) => [cpu.id, cpu]));
  const topology = table(
    '',
    [
      { title: 'processor' },
      { title: 'core' },
      { title: 'package' },
      { title: 'node' },
      { title: 'siblings' },
      { title: 'isolated', kind: 'text' },
    ],
    [
      {
        rows: byTopology(view, cpus.keys()).map((id) => {
          const cpu = cpus.get(id);
          return {
            cells: [
              String(id),
              cpu?.core,
              cpu?.package,
              cpu?.node,
              cpu?.siblings.join(', '),
              cpu?.isolated ? 'yes' : 'no',
            ],
          };
        }),
      },
    ],
    'Processors',
  );
  return {
    id: 'host',
    title: 'Host and run',
    short: 'Host',
    body: markup`${facts([
      ['host', host.name],
      ['processor', host.processor],
      ['architecture', host.architecture],
      ['kernel', `Linux ${host.kernel}`],
      ['hypervisor', host.hypervisor ?? 'none'],
      ['Node', host.node],
      ['rounds', `${options.rounds}, interleaved; seed ${options.seed}`],
      ['idle times', options.idles_ns.map(short).join(', ')],
      [
        'samples',
        options.samples === null
          ? 'as many as the time allowed'
          : `${whole(options.samples)} a cell`,
      ],
      ['planned for', seconds(options.budget_s)],
    ])}${
      host.cpus.length > 8
        ? markup`<details><summary>${whole(host.cpus.length)} processors</summary>${topology}</details>`
        : topology
    }`,
  };
}

export function notesSection({ report }: View): Section | undefined {
  if (report.notes.length === 0) return undefined;
  return {
    id: 'notes',
    title: 'Notes',
    body: markup`<ul class="notes">${report.notes.map((note) => markup`<li>${note}</li>`)}</ul>`,
  };
}
