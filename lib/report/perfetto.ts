// Events of shards in the JSON of Chrome's trace viewer, which Perfetto (https://ui.perfetto.dev) opens: a track a shard,
// turns and waits as slices, the rest as instants, and an arrow from each burst that was sent to where it was received.
import type { ShardEvent } from '../telemetry/events.js';
import { eventText } from './event-lines.js';

/** As "Trace Event Format" has it; times in microseconds. */
export interface TraceEvent {
  ph: 'X' | 'B' | 'i' | 's' | 'f' | 'M';
  name: string;
  pid: number;
  tid: number;
  ts?: number;
  dur?: number;
  cat?: string;
  s?: 't';
  id?: number;
  bp?: 'e';
  args?: Record<string, unknown>;
}

export interface PerfettoTrace {
  displayTimeUnit: 'ns';
  otherData: Record<string, unknown>;
  traceEvents: TraceEvent[];
}

const us = (ns: number): number => ns / 1000;

/** `events` in the order of time; `shards`: names by index. */
export function perfetto(
  system: { name: string; pid: number },
  shards: readonly string[],
  events: readonly ShardEvent[],
  otherData: Record<string, unknown> = {},
): PerfettoTrace {
  const { pid } = system;
  const named = (name: string, tid: number, value: string): TraceEvent => ({
    ph: 'M',
    name,
    pid,
    tid,
    args: { name: value },
  });
  const traceEvents: TraceEvent[] = [named('process_name', 0, system.name)];
  shards.forEach((name, index) => {
    traceEvents.push(named('thread_name', tidOf(index), name), {
      ...named('thread_sort_index', tidOf(index), name),
      args: { sort_index: index },
    });
  });
  // What has begun and not ended, by shard: a slice to the end of the trace.
  const open = new Map<number, ShardEvent[]>();
  for (const event of events) {
    if (event.event === 'sleep' || event.event === 'block') {
      open.set(event.shard, [...(open.get(event.shard) ?? []), event]);
    } else {
      if (event.event === 'wake' || event.event === 'unblock') open.delete(event.shard);
      traceEvents.push(drawn(pid, event));
    }
  }
  for (const event of [...open.values()].flat()) {
    const name = event.event === 'sleep' ? 'wait' : `blocked: ${placeOf(event)}`;
    traceEvents.push({
      ph: 'B',
      name,
      pid,
      tid: tidOf(event.shard),
      ts: us(event.ns),
      cat: 'wait',
    });
  }
  return {
    displayTimeUnit: 'ns',
    otherData,
    traceEvents: [...traceEvents, ...arrows(pid, events)],
  };
}

// 0 would be the process.
const tidOf = (shard: number): number => shard + 1;
const placeOf = (event: ShardEvent): string => event.channel ?? `output ${event.output ?? '?'}`;

function drawn(pid: number, event: ShardEvent): TraceEvent {
  const { ns, shard, event: kind, durationNs, ...rest } = event;
  const args: Record<string, unknown> = { ...rest, what: eventText(event) };
  const at = { pid, tid: tidOf(shard), args };
  const slice = SLICES[kind];
  if (slice !== undefined && durationNs !== undefined) {
    const ts = us(ns - durationNs);
    return { ph: 'X', name: slice(event), cat: kind, ...at, ts, dur: us(durationNs) };
  }
  const name = kind === 'state' ? `${event.state}` : kind;
  return { ph: 'i', s: 't', name, cat: kind, ...at, ts: us(ns) };
}

const SLICES: Record<string, (event: ShardEvent) => string> = {
  turn: () => 'turn',
  wake: ({ spun }) => (spun ? 'spin' : 'sleep'),
  unblock: (event) => `blocked: ${placeOf(event)}`,
};

/** By position in the channel: from each send to the receive that took its first element. */
function arrows(pid: number, events: readonly ShardEvent[]): TraceEvent[] {
  const result: TraceEvent[] = [];
  const byChannel = new Map<number, { sends: ShardEvent[]; receives: ShardEvent[] }>();
  for (const event of events) {
    if (event.channelIndex === undefined || event.position === undefined) continue;
    let both = byChannel.get(event.channelIndex);
    if (both === undefined) {
      both = { sends: [], receives: [] };
      byChannel.set(event.channelIndex, both);
    }
    (event.event === 'send' ? both.sends : both.receives).push(event);
  }
  const first = ({ position = 0, n = 0 }: ShardEvent): number => position - n;
  for (const { sends, receives } of byChannel.values()) {
    let at = 0;
    for (const send of sends) {
      while (at < receives.length && (receives[at]?.position ?? 0) <= first(send)) at++;
      const receive = receives[at];
      if (receive === undefined) break;
      if (first(receive) > first(send)) continue; // its event was written over
      const arrow = { name: send.channel ?? '', cat: 'channel', id: result.length, pid };
      result.push(
        { ph: 's', ...arrow, tid: tidOf(send.shard), ts: us(send.ns) },
        { ph: 'f', bp: 'e', ...arrow, tid: tidOf(receive.shard), ts: us(receive.ns) },
      );
    }
  }
  return result;
}
