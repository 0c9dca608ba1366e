// vanity stats: the counters of a running system, once.
import { summarize, summaryLines } from '../report/summary.js';
import { chooseSystem, openSystem } from '../telemetry/systems.js';
import { note, print, printJson } from './output.js';

export function statsCommand(name: string | undefined, options: { json?: boolean }): number {
  const found = chooseSystem(name, 'stats');
  const snapshot = openSystem(found).read();
  if (found.archive) note(`an archive of process ${snapshot.system.pid}`);
  else if (!found.live) note(`stale: process ${snapshot.system.pid} no longer holds ${found.path}`);
  if (options.json) printJson({ ...summarize(snapshot), live: found.live });
  else print(...summaryLines(snapshot));
  return 0;
}
