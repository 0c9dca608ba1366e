// vanity trace: what shards did, event by event, from shared memory: of a system that runs or is stuck, of one that was
// killed and has left its segment, or from an archive.
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { eventLine } from '../report/event-lines.js';
import { perfetto } from '../report/perfetto.js';
import { EventReader, type ShardEvent, tracesEvents } from '../telemetry/events.js';
import type { Segment } from '../telemetry/segment.js';
import {
  chooseLeft,
  chooseSystem,
  type FoundSystem,
  openSystem,
  shardIndex,
  shardNames,
} from '../telemetry/systems.js';
import { json, parseDuration, whole } from '../text/format.js';
import { checkWritable, writeWhole } from './files.js';
import { untilEnded } from './look.js';
import { note, print, printJson } from './output.js';

export interface TraceOptions {
  on?: boolean;
  off?: boolean;
  follow?: boolean;
  duration?: string;
  fault?: boolean;
  last?: number;
  perfetto?: string;
  packets?: boolean;
  sample?: number;
  pcapng?: string;
  json?: boolean;
}

/** Above this many, a trace is for no viewer. */
const EVENTS_MAX = 2_000_000;

export async function traceCommand(
  system: string,
  shards: readonly string[],
  options: TraceOptions,
): Promise<number> {
  check(options);
  if (options.packets || options.sample !== undefined || options.pcapng !== undefined) {
    return (await import('./trace-packets.js')).tracePacketsCommand(system, shards, options);
  }
  const duration =
    options.duration === undefined ? undefined : parseDuration(options.duration, '--duration');
  if (options.perfetto !== undefined) checkWritable('--perfetto', options.perfetto);
  if (options.on || options.off) return switchTracing(system, shards, options);
  const live = options.follow === true || duration !== undefined;
  const found = live ? chooseSystem(system, 'trace') : chooseLeft(system, 'trace');
  const segment = openSystem(found);
  const names = shardNames(segment);
  const chosen = chooseShards(segment, names, shards);
  const reader = new EventReader(segment, chosen, options.fault ? 'fault_events' : 'events');
  if (!reader.any) {
    throw new VanityError('VANITY_E_TRACE', {
      problem: `${segment.name} was started by a version that keeps no events`,
      hint: 'Start it with this version.',
    });
  }
  const output = new Output(segment, names, chosen, reader, options);
  if (!live) return output.end(reader.read(), found);
  if (found.archive || !found.live) {
    throw new VanityError('VANITY_E_TRACE', {
      problem: `${found.path} does not run, so there is nothing to follow`,
      hint: `Type: vanity trace ${system}`,
    });
  }
  return follow(found, segment, chosen, reader, output, duration);
}

function check(options: TraceOptions): void {
  const refuse = (problem: string): never => {
    throw new VanityError('VANITY_E_USAGE', { problem });
  };
  const { on, off, follow: live, duration, fault, last, perfetto: out } = options;
  if (options.packets || options.sample !== undefined || options.pcapng !== undefined) {
    if (fault || out) refuse('--packets goes with neither --fault nor --perfetto');
    if (options.pcapng !== undefined && (on || off)) {
      refuse('--on and --off only switch; leave the other flags out');
    }
    if (options.sample !== undefined && !(on || live || duration)) {
      refuse('--sample is for what comes: give --duration, --follow or --on');
    }
  }
  if (on && off) refuse('--on and --off: it is one of the two');
  if ((on || off) && (live || duration || fault || last || out)) {
    refuse('--on and --off only switch; leave the other flags out');
  }
  if (live && duration) refuse('--follow and --duration: it is one of the two');
  if (fault && (live || duration)) refuse('--fault shows what was kept, and nothing more comes');
  if (last && (live || duration)) refuse('--last is of what there is, not of what comes');
}

function chooseShards(segment: Segment, names: string[], wanted: readonly string[]): number[] {
  if (wanted.length === 0) return names.map((_, index) => index);
  return [...new Set(wanted)].map((shard) => shardIndex(segment, shard));
}

function switchTracing(system: string, shards: readonly string[], options: TraceOptions): number {
  const found = chooseSystem(system, 'trace');
  const segment = openSystem(found);
  const names = shardNames(segment);
  const chosen = chooseShards(segment, names, shards);
  for (const index of chosen) native.traceShard(found.path, index, options.on === true);
  const report = { system: segment.name, tracing: options.on === true };
  const which = chosen.map((index) => names[index] ?? '');
  if (options.json) printJson({ ...report, shards: which });
  else print(`${which.join(', ')}: events are ${options.on ? 'on' : 'off'}`);
  return 0;
}

const tracing = (segment: Segment, index: number): boolean =>
  tracesEvents(segment.rows('shards')[index]);

// Traces for as long as it looks what was not traced before.
function follow(
  found: FoundSystem,
  segment: Segment,
  chosen: readonly number[],
  reader: EventReader,
  output: Output,
  duration: number | undefined,
): Promise<number> {
  const switched = chosen.filter((index) => !tracing(segment, index));
  reader.skip();
  for (const index of switched) native.traceShard(found.path, index, true);
  return untilEnded(segment, {
    duration,
    turn: () => {
      output.more(reader.readInOrder());
      return !output.full;
    },
    end: () => {
      for (const index of switched) native.traceShard(found.path, index, false);
      return output.end(reader.read(), found);
    },
  });
}

/** Events as they were asked for: lines, JSON, a file for Perfetto. */
class Output {
  readonly #segment: Segment;
  readonly #names: readonly string[];
  readonly #reader: EventReader;
  readonly #options: TraceOptions;
  readonly #width: number;
  readonly #kept: ShardEvent[] = [];
  #lost = 0;
  #printed = 0;

  constructor(
    segment: Segment,
    names: readonly string[],
    chosen: readonly number[],
    reader: EventReader,
    options: TraceOptions,
  ) {
    this.#segment = segment;
    this.#names = names;
    this.#reader = reader;
    this.#options = options;
    this.#width = Math.max(...chosen.map((index) => names[index]?.length ?? 0));
  }

  get full(): boolean {
    return this.#kept.length >= EVENTS_MAX;
  }

  /** Some of those that are followed. */
  more(events: readonly ShardEvent[]): void {
    if (this.#options.perfetto !== undefined) {
      for (const event of events) this.#kept.push(event);
      return;
    }
    if (events.length > 0) this.#print(events);
    const lost = this.#reader.sources().reduce((sum, source) => sum + source.lost, 0);
    if (lost > this.#lost && !this.#options.json) {
      print(`${''.padStart(16)}  ... ${whole(lost - this.#lost)} were written over unread`);
    }
    this.#lost = lost;
  }

  /** The last of them, and what is written at the end; the exit code. */
  end(events: readonly ShardEvent[], found: FoundSystem): number {
    const { perfetto: out, json: asJson, last, follow: live, duration } = this.#options;
    const streamed = live || duration !== undefined;
    const shown = last === undefined ? events : events.slice(-last);
    this.#remarks(found, streamed === true);
    if (out !== undefined) {
      this.more(shown);
      this.#write(out);
    } else if (asJson && !streamed) {
      printJson({
        system: this.#segment.name,
        live: found.live,
        shards: this.#reader.sources(),
        events: shown.map((event) => this.#named(event)),
      });
    } else {
      this.more(shown);
      if (this.#printed === 0 && !asJson) note('no events');
    }
    return 0;
  }

  #remarks(found: FoundSystem, streamed: boolean): void {
    if (found.archive) note(`an archive of process ${this.#segment.pid}`);
    else if (!found.live) note(`process ${this.#segment.pid} is gone; this is what it left`);
    const off = this.#reader.sources().filter((source) => !source.tracing);
    if (streamed || !found.live || this.#options.fault || off.length === 0) return;
    const names = off.map((source) => source.shard).join(' ');
    note(
      `bursts and waits are not noted by ${names}; to see them: vanity trace ${this.#segment.name} --duration 1s`,
    );
  }

  #named(event: ShardEvent): Record<string, unknown> {
    const { ns, shard, channelIndex: _, durationNs, ...rest } = event;
    return {
      time_ns: ns,
      shard: this.#names[shard] ?? '',
      ...rest,
      ...(durationNs === undefined ? {} : { duration_ns: durationNs }),
    };
  }

  #print(events: readonly ShardEvent[]): void {
    this.#printed += events.length;
    print(
      events
        .map((event) =>
          this.#options.json
            ? JSON.stringify(this.#named(event)) // one line each, whatever reads them
            : eventLine(event, this.#names[event.shard] ?? '', this.#width),
        )
        .join('\n'),
    );
  }

  #write(out: string): void {
    const { name, pid } = this.#segment;
    const sources = this.#reader.sources();
    const trace = perfetto({ name, pid }, this.#names, this.#kept, { shards: sources });
    writeWhole('--perfetto', out, json(trace));
    const lost = sources.reduce((sum, source) => sum + source.lost, 0);
    const report = { file: out, events: this.#kept.length, lost };
    if (this.#options.json) printJson(report);
    else {
      print(
        `${out}: ${whole(report.events)} events${lost > 0 ? `, ${whole(lost)} written over unread` : ''}; open it at https://ui.perfetto.dev`,
      );
    }
  }
}
