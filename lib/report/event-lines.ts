// Events of shards as people read them, one line each.
import type { ShardEvent } from '../telemetry/events.js';
import { time, whole } from '../text/format.js';

const many = (n: number, one: string): string => `${whole(n)} ${one}${n === 1 ? '' : 's'}`;

/** Seconds since the system booted, to the nanosecond. */
export function eventTime(ns: number): string {
  const rest = Math.abs(ns % 1e9);
  return `${ns < 0 ? '-' : ''}${Math.floor(Math.abs(ns) / 1e9)}.${String(rest).padStart(9, '0')}`;
}

/** "    1.000012345  split  sent 32 to to-left". `width`: of the longest name. */
export function eventLine(event: ShardEvent, shard: string, width: number): string {
  return `${eventTime(event.ns).padStart(16)}  ${shard.padEnd(width)}  ${eventText(event)}`;
}

export function eventText(event: ShardEvent): string {
  const { n = 0 } = event;
  const took = event.durationNs === undefined ? '' : ` for ${time(event.durationNs)}`;
  const where = event.channel ?? (event.output === undefined ? '' : `output ${event.output}`);
  switch (event.event) {
    case 'state':
      return `is ${event.state}`;
    case 'step':
      return `takes step ${whole(n)}`;
    case 'fault':
      if (event.fault === 'asked') return 'its program was left when asked to';
      return `FAULT: ${event.signal ?? event.fault}${event.address ? ` at ${event.address}` : ''}${
        event.at ? `, in the instruction at ${event.at}` : ''
      }`;
    case 'restart':
      return `its program was started anew, for the ${whole(n)}. time`;
    case 'reload':
      return `reload: ${event.change}, generation ${whole(n)}`;
    case 'turn':
      return `turn of ${time(event.durationNs ?? 0)}: ${many(n, 'element')}`;
    case 'receive':
      return `received ${whole(n)}${where || event.port ? ` from ${where || event.port}` : ' that it made'}`;
    case 'send':
      return `sent ${whole(n)} to ${where}`;
    case 'drop':
      return `dropped ${whole(n)}`;
    case 'sleep':
      return 'waits';
    case 'wake':
      return `${event.spun ? 'spun' : 'slept'}${took}: ${wakeText(event)}`;
    case 'block':
      return `is blocked: ${whole(n)} have no room in ${where}`;
    case 'unblock':
      return `was blocked${took} by ${where}${n === 0 ? '' : `, and gave up with ${whole(n)} left`}`;
    case 'watermark':
      return `${where} is ${event.above ? 'above its high' : 'below its low'} watermark: ${whole(n)}`;
    default:
      return event.event;
  }
}

function wakeText({ how, by = [] }: ShardEvent): string {
  const names = by.length > 0 ? `work in ${by.join(', ')}` : '';
  if (how === 'signalled') return names || 'a signal, without work';
  return `its bound passed${names ? `, ${names}` : ''}`;
}
