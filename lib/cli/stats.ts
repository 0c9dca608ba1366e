// vanity stats: the counters of a running system, once.
import { summarize, summaryLines } from '../report/summary.js';
import { chooseSystem, openSystem } from '../telemetry/systems.js';
import { momentAt } from './moments.js';
import { note, print, printJson } from './output.js';

export interface StatsOptions {
  json?: boolean;
  at?: string;
}

export function statsCommand(name: string | undefined, options: StatsOptions): number {
  const found = chooseSystem(name, 'stats');
  const segment = openSystem(found);
  const snapshot =
    options.at === undefined ? segment.read() : momentAt(segment, options.at).current;
  if (found.archive) note(`an archive of process ${snapshot.system.pid}`);
  else if (!found.live) note(`stale: process ${snapshot.system.pid} no longer holds ${found.path}`);
  if (options.json) printJson({ ...summarize(snapshot), live: found.live });
  else print(...summaryLines(snapshot));
  return 0;
}
