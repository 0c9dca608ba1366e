// The ways of sampled packets as people read them.
import type {
  ChannelWaits,
  PacketPlace,
  PacketStep,
  PacketWait,
  PacketWay,
} from '../telemetry/packets.js';
import { percent, time, whole } from '../text/format.js';
import { eventTime } from './event-lines.js';

const place = (where: PacketPlace): string =>
  'channel' in where ? where.channel : 'port' in where ? where.port : 'itself';

/** "asleep 11.9 us, busy 200 ns" */
export function waitText(waits: readonly PacketWait[]): string {
  return waits
    .map((wait) => `${wait.for}${wait.in === undefined ? '' : ` by ${wait.in}`} ${time(wait.ns)}`)
    .join(', ');
}

/** "waited 12.1 us in to-left: left was asleep 11.9 us, busy 200 ns; served in 400 ns, to left-out" */
export function stepText(step: PacketStep): string {
  const { from, waitedNs, waitedFor = [], servedNs, servedFor = [], to, ended, shard } = step;
  const came =
    from === undefined
      ? 'from where it was not seen'
      : 'made' in from
        ? 'made here'
        : waitedNs === undefined
          ? `from ${place(from)}`
          : `waited ${time(waitedNs)} in ${place(from)}${waitedFor.length > 0 ? `: ${shard} was ${waitText(waitedFor)}` : ''}`;
  const served =
    servedNs === undefined
      ? []
      : [`served in ${time(servedNs)}${servedFor.length > 0 ? ` (${waitText(servedFor)})` : ''}`];
  const went = [
    ...(to.length > 0 ? [`to ${to.map(place).join(' and ')}`] : []),
    ...(ended === undefined ? [] : [ended]),
  ];
  return [came, [...served, ...(went.length > 0 ? went : ['not seen to leave'])].join(', ')].join(
    '; ',
  );
}

/** The lines of a way: what it is, and one a shard. */
export function wayLines(way: PacketWay): string[] {
  const width = Math.max(...way.steps.map(({ shard }) => shard.length));
  const size = `${whole(way.wireBytes)} bytes`;
  return [
    `${eventTime(way.ns).padStart(16)}  packet ${way.packet}: ${size}, ${time(way.totalNs)} in all${way.whole ? '' : ', not seen to its end'}`,
    ...way.steps.map((step) => `${''.padStart(18)}${step.shard.padEnd(width)}  ${stepText(step)}`),
  ];
}

/** One line a channel: how long packets waited in it, and what for. */
export function channelLines(channels: readonly ChannelWaits[]): string[] {
  const width = Math.max(0, ...channels.map(({ channel }) => channel.length));
  return channels.map(({ channel, packets, medianNs, maxNs, waitedFor }) => {
    const sum = waitedFor.reduce((all, { ns }) => all + ns, 0);
    const shares = waitedFor.map(
      (wait) =>
        `${wait.for}${wait.in === undefined ? '' : ` by ${wait.in}`} ${percent(wait.ns / sum)}`,
    );
    return `${channel.padEnd(width)}  ${whole(packets)} packets waited ${time(medianNs)} in the median, ${time(maxNs)} at most${shares.length > 0 ? `: its reader was ${shares.join(', ')}` : ''}`;
  });
}
