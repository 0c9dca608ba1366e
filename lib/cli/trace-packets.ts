// vanity trace --packets: the ways of sampled packets, from shared memory: where each waited, and what for.
import { VanityError } from '../errors.js';
import { limits } from '../manifest/limits.js';
import { native } from '../native.js';
import { channelLines, wayLines } from '../report/packet-lines.js';
import { pcapng } from '../report/pcapng.js';
import { tracesPackets } from '../telemetry/events.js';
import {
  channelWaits,
  PacketReader,
  type PacketStep,
  type PacketWait,
  type PacketWay,
} from '../telemetry/packets.js';
import { count, type Segment, text } from '../telemetry/segment.js';
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
import type { TraceOptions } from './trace.js';

const SAMPLE = 1000;
/** Of all packets together: some hundred thousand ways. */
const EVENTS_MAX = 2_000_000;

export async function tracePacketsCommand(
  system: string,
  shards: readonly string[],
  options: TraceOptions,
): Promise<number> {
  if (options.pcapng !== undefined) checkWritable('--pcapng', options.pcapng);
  const every = options.sample ?? SAMPLE;
  const duration =
    options.duration === undefined ? undefined : parseDuration(options.duration, '--duration');
  const looks = options.follow === true || duration !== undefined;
  const running = options.on || options.off || looks;
  const found = running ? chooseSystem(system, 'trace') : chooseLeft(system, 'trace');
  const segment = openSystem(found);
  // Named shards are those that a packet is to pass; the others have a part in its way, too.
  const wanted = shards.map((shard) => shardIndex(segment, shard));
  const reader = new PacketReader(segment);
  if (!reader.any) {
    throw new VanityError('VANITY_E_TRACE', {
      problem: `${segment.name} was started by a version that samples no packets`,
      hint: 'Start it with this version.',
    });
  }
  if (running && (found.archive || !found.live)) {
    throw new VanityError('VANITY_E_TRACE', {
      problem: `${found.path} does not run, so no packet is to come`,
      hint: `Type: vanity trace ${system} --packets`,
    });
  }
  if (options.on || options.off) {
    const to = options.on ? every : 0;
    sampleAll(
      found,
      shardNames(segment).map(() => to),
    );
    if (options.json) printJson({ system: segment.name, sample: to });
    else print(to === 0 ? 'packets are not sampled' : `one of ${whole(to)} packets is sampled`);
    return 0;
  }
  if (!looks) {
    reader.read();
    return tell(found, segment, reader, wanted, options);
  }
  const before = segment
    .rows('shards')
    .map((row) => (tracesPackets(row) ? count(row, 'sample_every') : 0));
  reader.skip();
  sampleAll(
    found,
    before.map((was) => (was === 0 || options.sample !== undefined ? every : was)),
  );
  // A file has them all, and is written at the end.
  const streams = options.follow === true && options.pcapng === undefined;
  const stream = (ways: readonly PacketWay[]): void => {
    for (const way of ways.filter((one) => passes(one, wanted))) {
      print(...(options.json ? [json(named(way), 0)] : wayLines(way)));
    }
  };
  return untilEnded(segment, {
    duration,
    turn: () => {
      reader.read();
      if (streams) stream(reader.settled());
      return reader.events < EVENTS_MAX;
    },
    end: () => {
      sampleAll(found, before);
      reader.read();
      if (!streams) return tell(found, segment, reader, wanted, options);
      stream(reader.ways());
      tellLost(reader);
      return 0;
    },
  });
}

const passes = ({ steps }: PacketWay, wanted: readonly number[]): boolean =>
  wanted.every((shard) => steps.some(({ shardIndex }) => shardIndex === shard));

function lostOf(reader: PacketReader): number {
  return reader.sources().reduce((sum, source) => sum + source.lost, 0);
}

function tellLost(reader: PacketReader): void {
  const lost = lostOf(reader);
  if (lost > 0) note(`${whole(lost)} events were written over unread`);
}

function sampleAll(found: FoundSystem, every: readonly number[]): void {
  for (const [index, n] of every.entries()) native.samplePackets(found.path, index, n);
}

function tell(
  found: FoundSystem,
  segment: Segment,
  reader: PacketReader,
  wanted: readonly number[],
  { json: asJson, last, pcapng: out, duration, follow }: TraceOptions,
): number {
  const passing = reader.ways().filter((way) => passes(way, wanted));
  const ways = last === undefined ? passing : passing.slice(-last);
  const sources = reader.sources();
  if (found.archive) note(`an archive of process ${segment.pid}`);
  else if (!found.live) note(`process ${segment.pid} is gone; this is what it left`);
  else if (duration === undefined && !follow && !sources.some(({ tracing }) => tracing)) {
    note(
      `packets are not sampled; to see some: vanity trace ${segment.name} --packets --duration 1s`,
    );
  }
  if (out !== undefined) {
    const shards = segment
      .rows('shards')
      .map((row) => ({ name: text(row, 'name'), program: text(row, 'program') }));
    const about = {
      version: native.version,
      startedNs: BigInt(segment.startedRealtimeNs),
      bytesMax: limits.packetBytes,
    };
    writeWhole('--pcapng', out, pcapng(about, shards, ways));
    if (asJson) printJson({ file: out, packets: ways.length, lost: lostOf(reader) });
    else
      print(
        `${out}: ${whole(ways.length)} packets, each at every shard that had it; open it with Wireshark`,
      );
    return 0;
  }
  const channels = channelWaits(ways);
  if (asJson) {
    printJson({
      system: segment.name,
      live: found.live,
      shards: sources,
      channels: channels.map(({ channel, packets, medianNs, maxNs, waitedFor }) => ({
        channel,
        packets,
        median_ns: medianNs,
        max_ns: maxNs,
        waited_for: waitedFor,
      })),
      packets: ways.map(named),
    });
    return 0;
  }
  if (ways.length === 0) note('no packets');
  else print([...ways.flatMap(wayLines), '', ...channelLines(channels)].join('\n'));
  tellLost(reader);
  return 0;
}

function named(way: PacketWay): Record<string, unknown> {
  return {
    packet: way.packet,
    number: way.number,
    time_ns: way.ns,
    bytes: way.bytes,
    wire_bytes: way.wireBytes,
    timestamp_ns: way.timestampNs,
    data: Buffer.from(way.data).toString('hex'),
    total_ns: way.totalNs,
    whole: way.whole,
    steps: way.steps.map(namedStep),
  };
}

function namedStep(step: PacketStep): Record<string, unknown> {
  const timed = (name: string, ns: number | undefined, waits: PacketWait[] | undefined) =>
    ns === undefined ? {} : { [`${name}_ns`]: ns, [`${name}_for`]: waits ?? [] };
  return {
    shard: step.shard,
    time_ns: step.ns,
    ...(step.from === undefined ? {} : { from: step.from }),
    ...timed('waited', step.waitedNs, step.waitedFor),
    ...timed('served', step.servedNs, step.servedFor),
    to: step.to,
    ...(step.ended === undefined ? {} : { ended: step.ended }),
  };
}
