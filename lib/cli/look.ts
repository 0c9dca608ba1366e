// Looking at the rings of a running system until it ends, the time is up, or Ctrl-C.
import type { Segment } from '../telemetry/segment.js';
import { processLives } from '../telemetry/systems.js';

/** A ring holds a millisecond of a shard at full speed: what is read too late is written over. */
const LOOK_MS = 2;

/** `turn`: false when it has enough; `end`: puts back what was switched, and returns the exit code. */
export function untilEnded(
  segment: Segment,
  { duration, turn, end }: { duration: number | undefined; turn: () => boolean; end: () => number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    let over = false;
    const finish = (): void => {
      if (over) return;
      over = true;
      clearInterval(timer);
      clearTimeout(timeout);
      process.stdout.off('error', finish);
      for (const signal of signals) process.off(signal, finish);
      try {
        resolve(end());
      } catch (error) {
        reject(error);
      }
    };
    const look = (): void => {
      const more = turn();
      const state = segment.state();
      if (!more || state === 'stopped' || state === 'failed' || !processLives(segment.pid))
        finish();
    };
    const timer = setInterval(look, LOOK_MS);
    const timeout = duration === undefined ? undefined : setTimeout(finish, duration);
    for (const signal of signals) process.on(signal, finish);
    // `vanity trace --follow | head`.
    process.stdout.on('error', finish);
  });
}
