// What a test says of the counters of shards, at the end of a run: `a.sent + b.sent = c.received`.
import { VanityError } from '../errors.js';

interface Term {
  readonly factor: number;
  readonly shard: string;
  readonly counter: string;
}

/** The sum of the terms, held against a constant. */
export interface Claim {
  readonly text: string;
  readonly relation: Relation;
  readonly constant: number;
  readonly terms: readonly Term[];
}

const RELATIONS = {
  '=': (a: number, b: number) => a === b,
  '!=': (a: number, b: number) => a !== b,
  '<': (a: number, b: number) => a < b,
  '<=': (a: number, b: number) => a <= b,
  '>': (a: number, b: number) => a > b,
  '>=': (a: number, b: number) => a >= b,
} as const;
type Relation = keyof typeof RELATIONS;

/** Words between spaces: sums of `shard.counter`, numbers, and `n * shard.counter`. Throws VANITY_E_USAGE. */
export function parseClaim(text: string, shards: readonly string[]): Claim {
  const refuse = (problem: string) =>
    new VanityError('VANITY_E_USAGE', { problem: `the claim "${text}": ${problem}` });
  const words = text.trim().split(/\s+/);
  const at = words.findIndex((word) => word in RELATIONS);
  if (at < 0) throw refuse(`it needs one of ${Object.keys(RELATIONS).join(' ')} between its sides`);
  const terms: Term[] = [];
  let constant = 0;
  const side = (sum: readonly string[], sign: number) => {
    const signed = sum[0] === '+' || sum[0] === '-' ? sum : ['+', ...sum];
    for (let i = 0; i < signed.length; ) {
      if (signed[i] !== '+' && signed[i] !== '-') throw refuse(`a + or - before "${signed[i]}"`);
      let factor = signed[i] === '-' ? -sign : sign;
      let word = signed[i + 1] ?? '';
      i += 2;
      if (/^\d+$/.test(word)) {
        factor *= Number(word);
        if (signed[i] !== '*') {
          constant -= factor;
          continue;
        }
        word = signed[i + 1] ?? '';
        i += 2;
      }
      const [, shard = '', counter = ''] = /^([^.]+)\.([^.\s]+)$/.exec(word) ?? [];
      if (counter === '') throw refuse(`"${word}" is neither a number nor SHARD.COUNTER`);
      if (!shards.includes(shard)) throw refuse(`there is no shard "${shard}"`);
      terms.push({ factor, shard, counter });
    }
  };
  side(words.slice(0, at), 1);
  side(words.slice(at + 1), -1);
  return { text: words.join(' '), relation: words[at] as Relation, constant, terms };
}

/** A line of the system in text: native/sim/system/plan.cpp is the other side. */
export function claimLine(claim: Claim, shards: readonly string[]): string {
  const terms = claim.terms.map(
    ({ factor, shard, counter }) => `${factor} ${shards.indexOf(shard)} ${counter}`,
  );
  const { relation, constant, text } = claim;
  return ['claim', relation, constant, terms.length, ...terms, text].join(' ');
}

/** Undefined: it holds. `read` gives undefined for a counter that the shard does not have. */
export function brokenClaim(
  { text, relation, constant, terms }: Claim,
  read: (shard: string, counter: string) => number | undefined,
): string | undefined {
  const values = terms.map(({ shard, counter }) => read(shard, counter));
  const missing = terms[values.indexOf(undefined)];
  if (missing !== undefined)
    return `"${text}": ${missing.shard} has no counter "${missing.counter}"`;
  const sum = terms.reduce((all, { factor }, i) => all + factor * (values[i] ?? 0), 0);
  if (RELATIONS[relation](sum, constant)) return undefined;
  const found = terms.map(({ shard, counter }, i) => `${shard}.${counter} is ${values[i]}`);
  return `"${text}" does not hold: ${found.join(', ')}`;
}
