// From what is wanted and what time there is to rounds of visits: a pure function. Each round visits every
// cell once, in an order of its own: block by block, a block being all mechanisms on one pair at one idle
// time. What is compared is measured within the same tenths of a second, over and over.
import { wakeDefaults, wakeLimits } from './limits.js';
import { nearest } from './nearest.js';
import type { WakeChoice } from './options.js';
import { type Random, random, shuffled } from './random.js';
import type { MechanismKind, Relation, WakePair } from './result.js';
import { type Processor, RELATIONS, relationOf } from './topology.js';

export interface PlannedMechanism {
  name: string;
  kind: MechanismKind;
  sleeps: boolean;
  /** Runs in JavaScript, on worker threads. */
  script: boolean;
}

export type VisitMode = 'oneway' | 'roundtrip' | 'signal' | Floor;

/** Between bare loops: a line each way, or one line for both. */
export type Floor = 'floor' | 'line';
export const FLOORS: readonly Floor[] = ['floor', 'line'];

export interface PlannedVisit {
  /** Empty for a floor. */
  mechanism: string;
  script: boolean;
  mode: VisitMode;
  from: number;
  to: number;
  idleNs: number;
  samples: number;
  /** What it should take. */
  expectedNs: number;
}

export interface WakePlan {
  pairs: WakePair[];
  /** How often the clocks of each pair are compared, before the first round or before every one. */
  skews: number;
  skewsEveryRound: boolean;
  rounds: PlannedVisit[][];
  expectedS: number;
  notes: string[];
}

export interface WakePlanInput {
  processors: readonly Processor[];
  mechanisms: readonly PlannedMechanism[];
  choice: Pick<WakeChoice, 'quick' | 'pairs' | 'idlesNs' | 'samples' | 'rounds' | 'seed'>;
  /** For visits. */
  budgetS: number;
}

// What a visit takes beside its idle times, in ns: threads that start and are pinned, the first wakes,
// which do not count, and for each sample the wake itself. Only the estimate rests on these.
const COST = {
  visit: { native: 1_300_000, script: 1_000_000 },
  first: { native: { wakes: 16, idleNsMax: 100_000 }, script: { wakes: 20, idleNsMax: 200_000 } },
  wake: { spins: 700, sleeps: 20_000, script: 40_000 },
  /** One sample of the mode `signal` is many signals; a system call each, where it sleeps. */
  signals: { spins: 1_000, sleeps: 80_000 },
  /** Clocks of two processors compared once. */
  skew: 3_000_000,
} as const;

/** Comparisons of two clocks before each round; one before the first has to do where there are many pairs. */
const SKEWS = { few: 5, many: 1, manyPairs: 16 } as const;

/** Samples that a visit has at least: when there is time, and when there is less and less. */
const LEAST: Readonly<Record<'quick' | 'full', readonly number[]>> = {
  quick: [5, 4, 3, 2],
  full: [13, 8, 4, 2],
};
const MOST = 20_000;
/** The cost of a signal varies little. */
const MOST_SIGNALS = 200;

interface Cell {
  mechanism: PlannedMechanism | null;
  mode: VisitMode;
  from: number;
  to: number;
  idleNs: number;
}

export function planWake(input: WakePlanInput): WakePlan {
  const { choice } = input;
  const next = random(choice.seed);
  const notes: string[] = [];
  const candidates = candidatePairs(input, next);
  const all = candidates.pairs;
  if (candidates.note) notes.push(candidates.note);

  const skewsEveryRound = all.length <= SKEWS.manyPairs;
  const skews = skewsEveryRound ? SKEWS.few : SKEWS.many;
  // One comparison serves both directions.
  const skewNs = (some: readonly WakePair[]): number =>
    (some.length / 2) * skews * COST.skew * (skewsEveryRound ? choice.rounds : 1);
  const perRoundNs = (input.budgetS * 1e9) / choice.rounds;
  const cost = (cells: readonly Cell[], some: readonly WakePair[], samples: number): number =>
    cells.reduce((sum, cell) => sum + visitNs(cell, samples), skewNs(some) / choice.rounds);

  const tiers = LEAST[choice.quick ? 'quick' : 'full'];
  let pairs = all;
  let cells = all.flatMap((pair) => sweep(pair, input));
  let least = tiers.slice(0, 2).find((n) => cost(cells, all, n) <= perRoundNs) ?? 0;
  if (least === 0) {
    const chosen = representatives(all, input.processors);
    const swept = chosen.flatMap((pair) => sweep(pair, input));
    const others = all.filter((pair) => !chosen.includes(pair));
    least =
      tiers.find((n) => cost(swept, chosen, n) <= perRoundNs * 0.7) ?? (tiers.at(-1) as number);
    let kept = others;
    if (choice.pairs === null && others.length > 0) {
      const [other] = others as [WakePair];
      const one = cost(glance(other, input), [other], least);
      const room = Math.max(0, perRoundNs - cost(swept, chosen, least));
      // There and back stand together.
      kept = others.slice(0, 2 * Math.floor(room / one / 2));
    }
    cells = [...swept, ...kept.flatMap((pair) => glance(pair, input))];
    pairs = all.filter((pair) => chosen.includes(pair) || kept.includes(pair));
    if (others.length > 0) {
      notes.push(
        `Every idle time is measured between ${chosen.map((p) => `${p.from}-${p.to}`).join(', ')}, a pair of each relation; ` +
          `the ${kept.length} other pairs have one idle time, so that it ends in time.`,
      );
    }
    if (kept.length < others.length) {
      notes.push(
        `${others.length - kept.length} of ${all.length} pairs are left out, so that it ends in time; --pairs names those you want.`,
      );
    }
  }
  const alone = input.mechanisms.filter((m) => !m.sleeps);
  if (alone.length > 0 && pairs.some((p) => p.relation === 'same')) {
    const names = alone.map((m) => m.name).join(', ');
    notes.push(
      `Not measured on one and the same processor: ${names}. They wait without giving it up, so the signaller could not run.`,
    );
  }

  const asked = choice.samples === null ? null : Math.ceil(choice.samples / choice.rounds);
  const skewsNs = skewNs(pairs);
  const share =
    asked === null ? timeOfVisit(cells, perRoundNs - skewsNs / choice.rounds, least) : 0;
  const planned = (cell: Cell): PlannedVisit => {
    const samples = asked ?? samplesIn(cell, share, least);
    return {
      mechanism: cell.mechanism?.name ?? '',
      script: cell.mechanism?.script === true,
      mode: cell.mode,
      from: cell.from,
      to: cell.to,
      idleNs: cell.idleNs,
      samples,
      expectedNs: visitNs(cell, samples),
    };
  };
  const blocks = new Map<string, PlannedVisit[]>();
  for (const cell of cells) {
    // A floor is what waits without idle time are held against.
    const mode = cell.mechanism === null ? 'oneway' : cell.mode;
    const key = [cell.from, cell.to, mode, cell.idleNs].join();
    blocks.set(key, [...(blocks.get(key) ?? []), planned(cell)]);
  }
  const rounds = Array.from({ length: choice.rounds }, () =>
    shuffled([...blocks.values()], next).flatMap((block) => shuffled(block, next)),
  );
  const oneRoundNs = [...blocks.values()].flat().reduce((sum, visit) => sum + visit.expectedNs, 0);
  return {
    pairs,
    skews,
    skewsEveryRound,
    rounds,
    expectedS: (oneRoundNs * choice.rounds + skewsNs) / 1e9,
    notes,
  };
}

/** Ordered pairs to choose from: those asked for, all of them, or a sample over the relations. */
function candidatePairs(
  { processors, choice }: WakePlanInput,
  next: Random,
): { pairs: WakePair[]; note?: string } {
  const byId = new Map(processors.map((p) => [p.id, p]));
  const pairOf = (from: number, to: number): WakePair => ({
    from,
    to,
    relation: relationOf(byId.get(from) as Processor, byId.get(to) as Processor),
  });
  if (choice.pairs) return { pairs: choice.pairs.map(([from, to]) => pairOf(from, to)) };
  const usable = processors.filter((p) => p.usable).map((p) => p.id);
  if (usable.length === 1) return { pairs: [pairOf(usable[0] as number, usable[0] as number)] };
  const forth = usable.flatMap((from, i) => usable.slice(i + 1).map((to) => pairOf(from, to)));
  const both = (some: WakePair[]): WakePair[] =>
    some.flatMap((p) => [p, { from: p.to, to: p.from, relation: p.relation }]);
  if (usable.length <= wakeLimits.allPairsCpus) {
    return { pairs: both(inTurn(forth, next)) };
  }
  const most = wakeLimits.allPairsCpus * (wakeLimits.allPairsCpus - 1);
  const sample = both(inTurn(forth, next).slice(0, most / 2));
  return {
    pairs: sample,
    note: `With ${usable.length} processors, ${sample.length} of ${forth.length * 2} pairs are candidates: some of each relation, chosen by the seed.`,
  };
}

// Relation by relation in turn, so that any beginning of the list has some of each.
function inTurn(pairs: readonly WakePair[], next: Random): WakePair[] {
  const groups = RELATIONS.map((relation) =>
    shuffled(
      pairs.filter((p) => p.relation === relation),
      next,
    ),
  );
  const result: WakePair[] = [];
  for (let i = 0; result.length < pairs.length; i++) {
    for (const group of groups) {
      const pair = group[i];
      if (pair) result.push(pair);
    }
  }
  return result;
}

// Of each relation one pair, there and back; isolated processors first, the one that takes interrupts last.
function representatives(pairs: readonly WakePair[], processors: readonly Processor[]): WakePair[] {
  const isolated = new Set(processors.filter((p) => p.isolated).map((p) => p.id));
  const least = Math.min(...processors.filter((p) => p.usable).map((p) => p.id));
  const rank = ({ from, to }: WakePair): number =>
    [from, to].reduce((sum, cpu) => sum + (isolated.has(cpu) ? 0 : 2) + (cpu === least ? 1 : 0), 0);
  return RELATIONS.flatMap((relation: Relation) => {
    const [first] = pairs
      .filter((p) => p.relation === relation)
      .sort((a, b) => rank(a) - rank(b) || a.from - b.from || a.to - b.to);
    if (!first) return [];
    const back = pairs.find((p) => p.from === first.to && p.to === first.from && p !== first);
    return back ? [first, back] : [first];
  });
}

function possible(pair: WakePair, mechanisms: readonly PlannedMechanism[]): PlannedMechanism[] {
  return mechanisms.filter((m) => pair.relation !== 'same' || m.sleeps);
}

/** Everything about one pair. */
function sweep(pair: WakePair, { mechanisms, choice }: WakePlanInput): Cell[] {
  const { from, to } = pair;
  const cells = possible(pair, mechanisms).flatMap((mechanism): Cell[] => {
    const one = (mode: VisitMode, idleNs: number): Cell => ({ mechanism, mode, from, to, idleNs });
    const awake = !mechanism.script && pair.relation !== 'same' ? [one('signal', 0)] : [];
    return [...choice.idlesNs.map((ns) => one('oneway', ns)), one('roundtrip', 0), ...awake];
  });
  return [...cells, ...floorsOf(pair)];
}

/** What the map of pairs needs: each native mechanism once. */
function glance(pair: WakePair, { mechanisms, choice }: WakePlanInput): Cell[] {
  const idleNs = nearest(choice.idlesNs, wakeDefaults.mapIdleNs) ?? 0;
  const cells = possible(pair, mechanisms)
    .filter((mechanism) => !mechanism.script)
    .map((mechanism): Cell => ({ mechanism, mode: 'oneway', ...pair, idleNs }));
  return [...cells, ...floorsOf(pair)];
}

function floorsOf({ from, to, relation }: WakePair): Cell[] {
  if (relation === 'same') return [];
  return FLOORS.map((mode) => ({ mechanism: null, mode, from, to, idleNs: 0 }));
}

function wakeNs({ mechanism }: Cell): number {
  return mechanism?.script ? COST.wake.script : COST.wake[mechanism?.sleeps ? 'sleeps' : 'spins'];
}

function sampleNs(cell: Cell): number {
  const { mechanism, mode, idleNs } = cell;
  if (mode === 'signal') return COST.signals[mechanism?.sleeps ? 'sleeps' : 'spins'];
  return idleNs + (mode === 'roundtrip' ? 2 * wakeNs(cell) : wakeNs(cell));
}

function visitNs(cell: Cell, samples: number): number {
  const kind = cell.mechanism?.script ? 'script' : 'native';
  const { wakes, idleNsMax } = COST.first[kind];
  const first = wakes * (Math.min(cell.idleNs, idleNsMax) + wakeNs(cell));
  return COST.visit[kind] + first + samples * sampleNs(cell);
}

function samplesIn(cell: Cell, ns: number, least: number): number {
  const most = cell.mode === 'signal' ? MOST_SIGNALS : MOST;
  const fitting = Math.floor((ns - visitNs(cell, 0)) / sampleNs(cell));
  return Math.min(most, Math.max(least, fitting));
}

// The time that each visit may take, so that all together fill the budget: cells that are done
// early, and those that their least samples keep longer, change what is left to the others.
function timeOfVisit(cells: readonly Cell[], budgetNs: number, least: number): number {
  let [low, high] = [0, budgetNs];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    const total = cells.reduce((sum, c) => sum + visitNs(c, samplesIn(c, middle, least)), 0);
    if (total <= budgetNs) low = middle;
    else high = middle;
  }
  return low;
}
