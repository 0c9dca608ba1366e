// Two logs of the same schedules, by two processes: where they part, and whose doing that is.

/** Where two runs of one seed did not do the same. */
export interface Divergence {
  readonly schedule: number;
  /** From 1; of what was counted at the end, one more than there were. */
  readonly step: number;
  /** What the first and the second did there. */
  readonly lines: readonly [string, string];
  /** Whose programs that may be: mostly one. */
  readonly shards: readonly string[];
}

/**
 * `asked` are the shards that run programs of the user's: what ships decides nothing by itself.
 * Undefined: the logs are the same.
 */
export function divergence(
  first: string,
  second: string,
  asked: readonly string[],
): Divergence | undefined {
  if (first === second) return undefined;
  const [a, b] = [first.split('\n'), second.split('\n')];
  let at = 0;
  let begin = 0;
  let schedule = 0;
  for (; a[at] === b[at] && at < a.length; at++) {
    const head = /^schedule (\d+)$/.exec(a[at] ?? '');
    if (head === null) continue;
    begin = at;
    schedule = Number(head[1]);
  }
  const lines = [a[at] ?? 'nothing more', b[at] ?? 'nothing more'] as const;
  return { schedule, step: at - begin, lines, shards: culprits(a, b, at, asked) };
}

// What each thread was about to do where the logs part, it had decided before: who then does
// something else was the first to know of a difference.
function culprits(
  a: readonly string[],
  b: readonly string[],
  at: number,
  asked: readonly string[],
): readonly string[] {
  const others = asked.filter((shard) => next(a, at, shard) !== next(b, at, shard));
  const here = [a[at], b[at]].map((line) => shardOf(line ?? ''));
  const both = (others.length > 0 ? others : asked).filter((shard) => here.includes(shard));
  if (both.length > 0) return both;
  return others.length > 0 ? others : asked;
}

function shardOf(line: string): string {
  return /^(?:\d+ )?(\S+) /.exec(line)?.[1] ?? '';
}

/** The next thing that the shard does in this schedule, without the values that it finds. */
function next(lines: readonly string[], at: number, shard: string): string {
  for (let i = at; i < lines.length; i++) {
    const line = lines[i] ?? '';
    if (line.startsWith('schedule ')) break;
    if (shardOf(line) !== shard) continue;
    return line.replace(/^\d+ /, '').replace(/(?: (?:=|is|was) \d+|: \d+).*$/, '');
  }
  return '';
}
