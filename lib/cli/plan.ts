// vanity plan: what it takes to get from one manifest to another. Reads both, starts and asks nothing.
import { type Action, type Changed, type PartChange, planChanges } from '../manifest/difference.js';
import { loadManifest } from '../manifest/plan.js';
import { refusals } from '../manifest/refusals.js';
import { table } from '../text/table.js';
import { print, printJson } from './output.js';

export interface PlanOptions {
  json?: boolean;
  all?: boolean;
}

/** Nothing has to stop for it; something has to. */
const EXIT_DIFFERS = 3;
const EXIT_STOPS = 4;
const STOPS: ReadonlySet<Action> = new Set(['restart', 'remove']);

export function planCommand(oldFile: string, newFile: string, options: PlanOptions): number {
  const old = loadManifest(oldFile);
  const next = loadManifest(newFile);
  const [before, after] = [old.plan, next.plan];
  const changes = planChanges(before, after);
  const differing = changes.filter(({ action }) => action !== 'keep');
  const applies = refusals(changes, old, next).length === 0;
  const commands =
    applies && differing.length > 0 ? [`vanity apply ${before.name} ${newFile}`] : [];
  const stops = differing.some(({ action }) => STOPS.has(action));
  if (options.json) printJson({ system: after.name, changes, commands, stops });
  else print(...lines(options.all ? changes : differing, changes.length, commands));
  return differing.length === 0 ? 0 : stops ? EXIT_STOPS : EXIT_DIFFERS;
}

const shownAs = (text: string): string => (text === '' ? 'none' : text);
export const changedText = ({ key, before, after }: Changed): string =>
  `${key}: ${shownAs(before)} -> ${shownAs(after)}`;

function lines(shown: readonly PartChange[], all: number, commands: readonly string[]): string[] {
  if (shown.length === 0) return [`nothing to do: all ${all} parts are the same`];
  const rows = shown.flatMap(({ part, name, action, changed, because }) => {
    const reasons = [...changed.map(changedText), ...because];
    return [reasons[0] ?? '', ...reasons.slice(1)].map((reason, i) =>
      i === 0 ? [action, part, name, reason] : ['', '', '', reason],
    );
  });
  return [
    ...table([{ title: 'action' }, { title: 'part' }, { title: 'name' }, { title: 'for' }], rows),
    ...(commands.length > 0 ? ['', 'While it runs:', ...commands.map((line) => `  ${line}`)] : []),
  ];
}
