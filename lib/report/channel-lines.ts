// What is in a channel, as people read it.
import type { ChannelContents, QueuedElement } from '../telemetry/contents.js';
import { whole } from '../text/format.js';

/** Bytes of an element in a line. */
const SHOWN = 32;

/** A line for the channel, and one for each element that was copied. */
export function channelText(contents: ChannelContents): string {
  const { channel, from, to, depth, capacity, elements, movedOn, leftOut } = contents;
  const remarks = [
    ...(movedOn > 0 ? [`${whole(movedOn)} were taken while they were copied`] : []),
    ...(leftOut > 0 ? [`${whole(leftOut)} more`] : []),
  ];
  const width = Math.max(0, ...elements.map(({ position }) => String(position).length));
  return [
    `${channel}  ${from} > ${to}: ${whole(depth)} of ${whole(capacity)}${remarks.length > 0 ? `; ${remarks.join(', ')}` : ''}`,
    ...elements.map(
      (element) => `  ${String(element.position).padStart(width)}  ${elementText(element)}`,
    ),
  ].join('\n');
}

function elementText({ data, packet }: QueuedElement): string {
  if (packet === undefined) return hex(data);
  const { length, buffer, bytes } = packet;
  const what = `${whole(length)} bytes in buffer ${buffer >>> 24}:${buffer & 0xffffff}`;
  return `${what}${bytes === undefined ? '' : `: ${hex(bytes)}`}`;
}

/** "02 00 5e .." */
function hex(text: string): string {
  const pairs = text.match(/../g) ?? [];
  return `${pairs.slice(0, SHOWN).join(' ')}${pairs.length > SHOWN ? ' ..' : ''}`;
}
