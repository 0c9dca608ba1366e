// The moment that top and stats show: the present, or one of those that the segment has kept.
import { VanityError } from '../errors.js';
import type { Look, Segment, Snapshot } from '../telemetry/segment.js';
import { parseDuration, time } from '../text/format.js';

/** Two looks, since rates need two. */
export interface Moment {
  previous: Snapshot | undefined;
  current: Snapshot;
  /** Of the look; undefined in the present. */
  number?: number;
}

/**
 * What was at the time that `--at` says, as far as it is known: the last look that is not later. -30s is so long ago, 90s so
 * long after the start. Throws VANITY_E_USAGE.
 */
export function momentAt(segment: Segment, at: string): Moment {
  const ns = parseDuration(at.replace(/^-/, ''), '--at') * 1e6;
  const wanted = at.startsWith('-') ? Number(segment.read().system.uptimeNs) - ns : ns;
  const looks = segment.looks();
  const found = looks.filter((look) => look.uptimeNs <= wanted).at(-1);
  const moment = found && momentOf(segment, looks, found);
  if (moment) return moment;
  const [oldest] = looks;
  throw new VanityError('VANITY_E_USAGE', {
    problem: oldest
      ? `--at ${at}: what is known of ${segment.name} begins ${time(oldest.uptimeNs)} after its start`
      : `--at ${at}: nothing is known of the past of ${segment.name}`,
  });
}

/** The look that is `steps` away from a moment, or the present where there is none later. */
export function step(segment: Segment, from: Moment, steps: number): Moment | undefined {
  const looks = segment.looks();
  // The present is behind the last look.
  const at = looks.findIndex((look) => look.number === from.number);
  const wanted = (from.number === undefined ? looks.length : Math.max(0, at)) + steps;
  if (wanted >= looks.length) return undefined;
  const look = looks[Math.max(0, wanted)];
  return look && momentOf(segment, looks, look);
}

function momentOf(segment: Segment, looks: readonly Look[], look: Look): Moment | undefined {
  const current = segment.at(look)?.read();
  if (!current) return undefined;
  const before = looks.find(({ number }) => number === look.number - 1);
  return { previous: before && segment.at(before)?.read(), current, number: look.number };
}
