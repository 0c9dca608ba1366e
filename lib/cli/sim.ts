// vanity sim: what a manifest would do on a machine that is not here.
import { VanityError } from '../errors.js';
import { loadManifest } from '../manifest/plan.js';
import { type Forecast, forecast, type QueueForecast } from '../planning/forecast.js';
import { readHostModel } from '../planning/host-model.js';
import { parseDuration, percent, quantity, time, whole } from '../text/format.js';
import { type Column, table } from '../text/table.js';
import { fail, print, printJson } from './output.js';

export interface SimOptions {
  readonly model?: string;
  readonly time?: string;
  readonly seed?: string;
  readonly arrivals?: readonly string[];
  readonly cost?: readonly string[];
  readonly set?: readonly string[];
  readonly json?: boolean;
  // Of a whole system, sim-system.ts:
  readonly schedules?: number;
  readonly jobs?: number;
  readonly packets?: number;
  readonly capacity?: number;
  readonly burst?: number;
  readonly buffers?: number;
  readonly keep?: string;
  readonly holds?: readonly string[];
  readonly log?: string;
  readonly replay?: string;
  readonly perfetto?: string;
}

/** Rows of a table; JSON has all of them. */
const ROWS_MAX = 20;
const TIME_MS_MAX = 10_000;
/** Preamble, start of frame and the gap after it (IEEE 802.3). */
const WIRE_BYTES = 20;
const SUFFIX: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

export function simCommand(file: string, options: SimOptions & { model: string }): number {
  try {
    const timeMs = parseDuration(options.time ?? '10ms', '--time');
    if (timeMs > TIME_MS_MAX) throw usage(`--time is at most 10s; it is "${options.time}"`);
    const { plan } = loadManifest(file, { set: options.set ?? [] });
    const arrivals = new Map(
      (options.arrivals ?? []).map((text) => pair('--arrivals', text, rateOf)),
    );
    for (const name of arrivals.keys()) {
      if (!plan.ports.some((port) => port.name === name))
        throw usage(`--arrivals ${name}: the manifest has no such port`);
    }
    const costs = new Map((options.cost ?? []).map((text) => pair('--cost', text, costOf)));
    for (const name of costs.keys()) {
      if (!plan.shards.some((shard) => shard.name === name || shard.program === name))
        throw usage(`--cost ${name}: the manifest has no such shard or program`);
    }
    const told = forecast(plan, readHostModel(options.model), {
      timeNs: timeMs * 1e6,
      seed: seedOf(options.seed ?? '1'),
      arrivals,
      costs,
    });
    if (options.json) printJson(jsonOf(told));
    else print(...lines(told));
    return 0;
  } catch (error) {
    return fail(error, options.json ?? false);
  }
}

function usage(problem: string): VanityError {
  return new VanityError('VANITY_E_USAGE', { problem });
}

function pair<T>(
  option: string,
  text: string,
  parse: (text: string) => T | undefined,
): [string, T] {
  const at = text.lastIndexOf('=');
  const value = at > 0 ? parse(text.slice(at + 1)) : undefined;
  const example = option === '--cost' ? 'router=42' : 'net=14.88M or net=100Gbps@64';
  if (value === undefined) throw usage(`${option} is written like ${example}; it is "${text}"`);
  return [text.slice(0, at), value];
}

/** Packets a second of "14.88M" or "100Gbps@64". */
function rateOf(text: string): number | undefined {
  const [, digits, suffix = '', , frame] =
    /^(\d+(?:\.\d+)?)([kMGT]?)(bps@(\d+))?$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const rate = Number(digits) * (SUFFIX[suffix] ?? 1);
  if (frame === undefined) return rate <= 1e12 ? rate : undefined;
  const bytes = Number(frame);
  return bytes >= 60 && bytes <= 65536 ? rate / 8 / (bytes + WIRE_BYTES) : undefined;
}

function costOf(text: string): number | undefined {
  const ns = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  return ns <= 1e9 ? ns : undefined;
}

function seedOf(text: string): number {
  const seed = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(seed < 2 ** 32)) throw usage(`--seed is a whole number below 2^32; it is "${text}"`);
  return seed;
}

function jsonOf({ timeNs, latencyNs, firstFull, channels, ports, ...rest }: Forecast): unknown {
  const queue = ({ depthMax, fullNs, blockedNs, ...same }: QueueForecast) => ({
    ...same,
    depth_max: depthMax,
    full_ns: fullNs,
    blocked_ns: blockedNs,
  });
  return {
    ...rest,
    time_ns: timeNs,
    latency_ns: latencyNs,
    first_full: firstFull,
    channels: channels.map(queue),
    ports: ports.map(queue),
  };
}

function lines(told: Forecast): string[] {
  const { p50, p99, p999 } = told.latencyNs;
  const latency = [p50, p99, p999].map((ns) => (ns === undefined ? '-' : time(ns)));
  const first = [...told.channels, ...told.ports].find(({ name }) => name === told.firstFull);
  return [
    `${told.title}: ${time(told.timeNs)} of virtual time, seed ${told.seed}. A forecast, not a measurement.`,
    '',
    `Through it    ${quantity(told.pps, 'pps')}, ${whole(told.dropped)} dropped`,
    `In it         p50 ${latency[0]}, p99 ${latency[1]}, p99.9 ${latency[2]}`,
    `Nearest to its limit: shard ${told.busiest}, ${percent(told.shards.find(({ name }) => name === told.busiest)?.busy ?? 0)} of the time at work`,
    `Full first: ${first === undefined ? 'nothing' : `${first.name}, after ${time(first.fullNs ?? 0)}`}`,
    '',
    ...most(
      [
        { title: 'shard' },
        { title: 'program' },
        { title: 'core', right: true },
        { title: 'packets', right: true },
        { title: 'at work', right: true },
      ],
      told.shards.map(({ name, program, core, pps, busy }) => [
        name,
        program,
        String(core),
        quantity(pps, 'pps'),
        percent(busy),
      ]),
    ),
    ...queueLines('channel', told.channels, told.timeNs),
    ...queueLines('comes in', told.ports, told.timeNs),
    '',
    told.assumed.length === 0
      ? 'Every number has a source.'
      : `Assumed, with no source behind it: ${told.assumed.join(', ')}`,
  ];
}

function most(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const shown = table(columns, rows.slice(0, ROWS_MAX));
  const more = rows.length - ROWS_MAX;
  return more > 0 ? [...shown, `and ${more} more, which --json has`] : shown;
}

function queueLines(title: string, queues: readonly QueueForecast[], timeNs: number): string[] {
  if (queues.length === 0) return [];
  return [
    '',
    ...most(
      [
        { title },
        { title: 'packets', right: true },
        { title: 'most in it', right: true },
        { title: 'dropped', right: true },
        { title: 'waited for room', right: true },
      ],
      queues.map(({ name, pps, depthMax, capacity, dropped, blockedNs }) => [
        name,
        quantity(pps, 'pps'),
        depthMax === 0 ? '-' : `${depthMax} of ${capacity}`,
        whole(dropped),
        percent(blockedNs / timeNs),
      ]),
    ),
  ];
}
