// Is any shard of a system worse than it was? By what the segment says of faults, stalls and states.
import { count, type Row, type Segment, text } from '../telemetry/segment.js';

export interface Worse {
  shard: string;
  /** A counter that has grown, or `state`. */
  what: string;
  before: number | string;
  after: number | string;
}

const COUNTERS = ['faults', 'restarts', 'stalls', 'starved'] as const;
const UNWELL = new Set(['faulted', 'failed', 'stalled']);

export class Health {
  readonly #segment: Segment;
  readonly #before: Row[];

  /** As it is now. */
  constructor(segment: Segment) {
    this.#segment = segment;
    this.#before = segment.rows('shards');
  }

  worse(): Worse[] {
    return this.#segment.rows('shards').flatMap((now, index) => {
      const was = this.#before[index];
      const shard = text(now, 'name');
      const found: Worse[] = COUNTERS.map((what) => ({
        shard,
        what,
        before: count(was, what),
        after: count(now, what),
      })).filter(({ before, after }) => after > before);
      const [before, after] = [text(was, 'state'), text(now, 'state')];
      if (UNWELL.has(after) && before !== after)
        found.push({ shard, what: 'state', before, after });
      return found;
    });
  }
}
