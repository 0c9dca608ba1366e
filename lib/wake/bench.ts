// A whole run: from flags to report. What can be wrong with the flags is found by prepareWake(), before anything
// is measured.
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { VanityError } from '../errors.js';
import { type NativeWake, native } from '../native.js';
import { figuresOf } from './figures.js';
import { describeHost } from './host.js';
import { wakeDefaults } from './limits.js';
import { type Measured, measureWake, type Progress } from './measure.js';
import { SCRIPT_MECHANISMS, ScriptReferences } from './node/references.js';
import { chooseWake, type WakeChoice, type WakeFlags } from './options.js';
import { planWake, type WakePlan } from './plan.js';
import { WAKE_FORMAT, WAKE_VERSION, type WakeCell, type WakeReport } from './result.js';
import { type Processor, readProcessors } from './topology.js';

/** Load of a processor above which others are in the way. */
const BUSY = 0.5;

export interface WakeBench {
  processors: readonly Processor[];
  mechanisms: WakeReport['mechanisms'];
  choice: WakeChoice;
  plan: WakePlan;
  /** What it should take in all, in seconds. */
  estimateS: number;
  run(options: {
    signal: AbortSignal;
    onProgress: (progress: Progress) => void;
  }): Promise<WakeReport>;
}

/** `beganMs`: when the command began, by performance.now(); the budget counts from there. */
export function prepareWake(flags: WakeFlags, beganMs = performance.now()): WakeBench {
  const processors = readProcessors();
  const all = [...native.wake.mechanisms(), ...SCRIPT_MECHANISMS];
  const choice = chooseWake(flags, { processors, mechanisms: all });
  const usable = processors.filter((p) => p.usable);
  const pace = choice.quick ? 'quick' : 'full';
  const budgetS = wakeDefaults.budgetS[pace];
  const scripts = new Set(SCRIPT_MECHANISMS.map((m) => m.name));
  const plan = planWake({
    processors,
    mechanisms: choice.mechanisms.map((m) => ({ ...m, script: scripts.has(m.name) })),
    choice,
    budgetS: budgetS - wakeDefaults.reserveS[pace],
  });
  if (plan.rounds.every((round) => round.length === 0)) {
    const sleeping = all.filter((m) => m.usable && m.sleeps).map((m) => m.name);
    throw new VanityError('VANITY_E_WAKE_NOTHING', {
      problem: `who waits by ${choice.mechanisms.map((m) => m.name).join(', ')} keeps the processor, so signaller and waiter can't share it`,
      hint: `Type: --mechanisms ${sleeping.join(',')} (these sleep), or give the process two processors.`,
    });
  }
  const mechanisms = all.map(({ name, kind, about, usable: has, reason }) => ({
    name,
    kind,
    about,
    usable: has,
    reason,
  }));
  const startS =
    choice.samples === null ? wakeDefaults.reserveS[pace] : wakeDefaults.reserveS.quick;
  const estimateS = plan.expectedS + startS;

  const bench = { processors, mechanisms, choice, plan, estimateS };
  return {
    ...bench,
    async run({ signal, onProgress }) {
      const script = new ScriptReferences();
      const [load = 0] = loadavg();
      const secondsIn = (): number => (performance.now() - beganMs) / 1000;
      try {
        const clock = await native.wake.clock();
        // What is left for writing it all down.
        const lastS = wakeDefaults.reserveS[pace] / 2;
        const endless = choice.samples !== null || plan.expectedS > budgetS;
        const measured = await measureWake({
          wake: native.wake,
          script,
          plan,
          budgetS: endless ? null : budgetS - secondsIn() - lastS,
          seed: choice.seed,
          signal,
          onProgress,
        });
        const parts = assemble(bench, clock, measured, secondsIn());
        const { figures, notes } = figuresOf(parts);
        const doubts = doubtsOf(clock.invariant, load, usable);
        return {
          ...parts,
          figures,
          notes: [...doubts, ...plan.notes, ...measured.notes, ...notes],
        };
      } finally {
        await script.close();
      }
    },
  };
}

function assemble(
  { processors, mechanisms, choice, plan, estimateS }: Omit<WakeBench, 'run'>,
  clock: Awaited<ReturnType<NativeWake['clock']>>,
  measured: Measured,
  elapsedS: number,
): Omit<WakeReport, 'figures' | 'notes'> {
  return {
    format: WAKE_FORMAT,
    version: WAKE_VERSION,
    created: new Date().toISOString(),
    vanity: version(),
    complete: measured.complete,
    elapsed_s: elapsedS,
    options: {
      quick: choice.quick,
      rounds: choice.rounds,
      seed: choice.seed,
      idles_ns: choice.idlesNs,
      mechanisms: choice.mechanisms.map((m) => m.name),
      pairs: plan.pairs.map(({ from, to }): [number, number] => [from, to]),
      samples: choice.samples,
      budget_s: estimateS,
    },
    host: describeHost(processors, {
      backends: native.waitBackends(),
      membarrier: native.membarrier(),
    }),
    clock: {
      source: clock.source,
      ticks_per_second: clock.ticksPerSecond,
      error_ppm: clock.errorPpm,
      invariant: clock.invariant,
      tick_ns: clock.tickNs,
      read_ns: clock.readNs,
      skews: measured.skews,
    },
    mechanisms,
    pairs: plan.pairs,
    cells: inOrder(
      measured.cells,
      mechanisms.map((m) => m.name),
    ),
    signals: measured.signals,
    floors: measured.floors,
    noise: measured.noise,
    energy: measured.energy,
  };
}

/** What makes all figures doubtful, whatever they are. */
function doubtsOf(invariant: boolean, load: number, usable: readonly Processor[]): string[] {
  const doubts: string[] = [];
  if (!invariant) {
    doubts.push('The clock is not invariant: it may change its rate, and every figure with it.');
  }
  if (load > BUSY * usable.length) {
    doubts.push(
      `Others were running when it began (load average ${load.toFixed(1)} on ${usable.length} processors): they delay wakes, by milliseconds in the tails.`,
    );
  }
  if (usable.length === 1) {
    doubts.push(
      `This process may use one processor only (${usable[0]?.id}): signaller and waiter share it, so a wake includes the switch between them.`,
    );
  }
  return doubts;
}

// As the visits were shuffled, so are the cells.
function inOrder(cells: readonly WakeCell[], mechanisms: readonly string[]): WakeCell[] {
  const rank = (cell: WakeCell): number[] => [
    mechanisms.indexOf(cell.mechanism),
    cell.mode === 'oneway' ? 0 : 1,
    cell.from,
    cell.to,
    cell.idle_ns,
  ];
  return [...cells].sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    const i = left.findIndex((value, at) => value !== right[at]);
    return i < 0 ? 0 : (left[i] as number) - (right[i] as number);
  });
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
