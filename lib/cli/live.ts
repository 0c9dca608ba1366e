// The live figures of `vanity run`: a few lines in place on a terminal, one line an interval elsewhere.

import { rates } from '../telemetry/rates.js';
import type { Snapshot } from '../telemetry/segment.js';
import { percent, quantity, si, time } from '../text/format.js';
import { render } from './top-view.js';

/** One line for logs: what goes in and out, what is lost, how busy each shard is. */
export function liveLine(previous: Snapshot | undefined, current: Snapshot): string {
  const { shards, ports } = rates(previous, current);
  const rx = ports.reduce((sum, port) => sum + port.rxPerSecond, 0);
  const tx = ports.reduce((sum, port) => sum + port.txPerSecond, 0);
  const dropped =
    shards.reduce((sum, shard) => sum + shard.droppedPerSecond, 0) +
    ports.reduce((sum, port) => sum + port.droppedPerSecond, 0);
  const busy = shards
    .map((shard) => `${shard.name} ${percent(shard.busy)} ${si(shard.perSecond)}/s`)
    .join('  ');
  return (
    `${time(Number(current.system.uptimeNs))}  ${current.system.state}  in ${quantity(rx, 'pps')}  ` +
    `out ${quantity(tx, 'pps')}  dropped ${si(dropped)}/s  | ${busy}`
  );
}

/** Follows a system until `stop`; `read` gives its counters. */
export function follow(
  read: () => Snapshot,
  stream: NodeJS.WriteStream,
  intervalMs: number,
  color: boolean,
): { stop(): void } {
  let previous: Snapshot | undefined;
  let drawn = 0;
  const inPlace = stream.isTTY === true && process.env.TERM !== 'dumb';
  // Back over what the last turn drew, and away with it.
  const erase = (): string => (drawn > 0 ? `\u001b[${drawn}A\r\u001b[J` : '');
  const turn = (): void => {
    const current = read();
    if (inPlace) {
      const size = { columns: stream.columns ?? 80, rows: Math.min((stream.rows ?? 24) - 1, 20) };
      const lines = render(previous, current, size, { sort: 'name', color });
      stream.write(`${erase()}${lines.join('\n')}\n`);
      drawn = lines.length;
    } else {
      stream.write(`${liveLine(previous, current)}\n`);
    }
    previous = current;
  };
  const timer = setInterval(turn, intervalMs);
  return {
    stop() {
      clearInterval(timer);
      // The final table says it all again.
      if (inPlace) stream.write(erase());
      drawn = 0;
    },
  };
}
