// vanity hold, release, step and restart: words in the shared memory of a system. Neither its kernel nor its JavaScript is
// asked, so they work when both are stuck; what a shard does with a word is read from its counters.
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { count, type Row, text } from '../telemetry/segment.js';
import { chooseSystem, openSystem, shardIndex } from '../telemetry/systems.js';
import { print, printJson } from './output.js';

export interface HoldOptions {
  json?: boolean;
}

/** A shard sleeps for less, unless its manifest says more, and is then asked for that long besides. */
const PATIENCE_MS = 1000;
const LOOK_MS = 1;

export type HoldVerb = 'hold' | 'release' | 'step' | 'restart';

const WORDS = { hold: 'hold', release: 'run', step: 'hold', restart: 'restart' } as const;

export async function holdCommand(
  verb: HoldVerb,
  system: string,
  shard: string,
  turns: number,
  options: HoldOptions,
): Promise<number> {
  const found = chooseSystem(system, verb);
  const segment = openSystem(found);
  const index = shardIndex(segment, shard);
  const row = (): Row => segment.rows('shards')[index] as Row;
  const before = row();
  const began = performance.now();
  const target = count(before, 'steps_taken') + turns;
  // Steps that nobody took would be taken now: they are the operator's before.
  const pending = count(before, 'steps_asked') - count(before, 'steps_taken');
  const steps = verb === 'step' ? Math.max(0, turns - Math.max(0, pending)) : 0;
  native.commandShard(found.path, index, WORDS[verb], steps);
  const done = (now: Row): boolean => {
    const state = text(now, 'state');
    if (verb === 'release') return state !== 'held';
    if (verb === 'restart') return count(now, 'restarts') > count(before, 'restarts');
    return state === 'held' && (verb === 'hold' || count(now, 'steps_taken') >= target);
  };
  let now = row();
  while (!done(now)) {
    if (performance.now() - began > PATIENCE_MS) {
      throw new VanityError('VANITY_E_COMMAND_LATE', {
        system: segment.name,
        shard,
        ms: PATIENCE_MS,
        what: whatOf(now),
      });
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    now = row();
  }
  const ms = performance.now() - began;
  const taken = count(now, 'steps_taken') - count(before, 'steps_taken');
  const report = {
    system: segment.name,
    shard,
    state: text(now, 'state'),
    ms: Number(ms.toFixed(1)),
    polls: count(now, 'polls'),
    steps: taken,
    received: count(now, 'received') - count(before, 'received'),
    sent: count(now, 'sent') - count(before, 'sent'),
  };
  if (options.json) printJson(report);
  else print(sentence(verb, report));
  return 0;
}

function sentence(verb: HoldVerb, report: Record<string, string | number>): string {
  const { shard, ms, steps, received, sent } = report;
  if (verb === 'hold') return `${shard} is held, after ${ms} ms`;
  if (verb === 'release') return `${shard} goes on, after ${ms} ms`;
  if (verb === 'restart') return `${shard} was started anew, after ${ms} ms`;
  return `${shard} took ${steps} ${steps === 1 ? 'turn' : 'turns'}: ${received} received, ${sent} sent`;
}

function whatOf(row: Row): string {
  const state = text(row, 'state');
  if (state === 'stopped' || state === 'failed') return `it has ${state}`;
  if (state === 'draining') return 'the system stops';
  return `its program does not come back from its turn (state ${state}, turn ${count(row, 'polls')})`;
}
