// One TypeScript program in another's place, on the shard's own thread: the new one is loaded and begins beside the old
// one, takes over between two turns, and goes again when it is not well. When to do what, the native side says: its half
// is native/shard/script.cpp, and who asks is native/kernel/reload.cpp.
import { basename } from 'node:path';
import { performance } from 'node:perf_hooks';
import { VanityError } from '../errors.js';
import type { NativeFailure, NativeHandover } from '../native.js';
import type { Program } from './program.js';
import { reasonOf } from './program-load.js';
import type { ProgramShard } from './program-shard.js';
import { copyState, stateDifference, stateHash } from './program-state.js';

/** A program, the file that it came from, and the shard as it sees it. */
export interface Staged {
  readonly program: Program;
  readonly file: string;
  readonly shard: ProgramShard;
}

interface Candidate {
  readonly staged: Staged;
  readonly migrates: boolean;
  readonly bursts: number;
}

/** Loads a copy of its own of a module, and says by which words a stack names it. */
type Load = (file: string, named: (copy: string) => void) => Promise<Program>;

interface Trial {
  readonly old: Staged;
  readonly fresh: Staged;
  /** Outputs that were above their watermark at the switch. */
  readonly above: readonly boolean[];
}

/** What the outputs of the shard tell, they tell this program. */
export function tellWatermarks({ program, shard }: Pick<Staged, 'program' | 'shard'>): void {
  const watermark = program.watermark?.bind(program);
  for (const output of shard.outputs) {
    output.onWatermark = watermark && ((channel, high) => watermark(shard, channel, high));
  }
}

/** The reloads of one shard, one after the other. */
export class ProgramReload {
  readonly #handover: NativeHandover;
  readonly #load: Load;
  #number = 0; // of the last one that began, or was given up: a module that comes late is for nobody
  #preparing = false;
  #stoodMs = 0;
  #next: Candidate | undefined;
  #copy = ''; // by which frames of its module are known
  #spoiled: { error: unknown } | undefined; // a timer or promise of it threw
  #trial: Trial | undefined;
  #changed: readonly boolean[] | undefined; // outputs above their watermark when the old one was left

  constructor(handover: NativeHandover, load: Load) {
    this.#handover = handover;
    this.#load = load;
  }

  /** A module is being loaded: the event loop needs its turns. */
  get preparing(): boolean {
    return this.#preparing;
  }
  get onTrial(): boolean {
    return this.#trial !== undefined;
  }
  /** So long the shard had no turn. */
  stood(ms: number): void {
    if (this.#preparing && ms > this.#stoodMs) this.#stoodMs = ms;
  }

  /** Once a turn while anything is wished. Returns who polls from here on; throws what the new one throws. */
  attend(staged: Staged, samples: number): Staged {
    staged.shard.flush();
    switch (this.#handover.attend(samples)) {
      case 'prepare': {
        const began = performance.now();
        void this.#prepare(staged);
        this.stood(performance.now() - began);
        return staged;
      }
      case 'change':
        return this.#change(staged);
      case 'judge':
        return this.#judge(staged);
      case 'undo':
        return this.#undo();
      case 'forget':
        this.forget();
    }
    return staged;
  }

  /** What was prepared is not wanted any more. */
  forget(): void {
    this.#number += 1;
    this.#preparing = false;
    if (this.#next) dismiss(this.#next.staged);
    this.#next = undefined;
  }

  /** Something threw outside of a program's functions. True: it was the one that is being prepared, which is refused for it. */
  disowns(error: unknown): boolean {
    const theirs = String((error as Error | undefined)?.stack ?? '').includes(this.#copy);
    if (this.#trial !== undefined || !(this.#preparing || this.#next) || !theirs) return false;
    this.#spoiled ??= { error };
    return true;
  }

  /** The new one threw on trial. */
  threw(error: unknown): Staged {
    return this.#undo(`the new program threw: ${reasonOf(error)}`);
  }

  /** What became of the outputs while the program was away, if it was. Throws what it throws. */
  tellChanged({ program, shard }: Pick<Staged, 'program' | 'shard'>): void {
    const above = this.#changed;
    if (above === undefined) return;
    this.#changed = undefined;
    for (const [i, output] of shard.outputs.entries()) {
      if (output.above !== above[i]) program.watermark?.(shard, output, output.above);
    }
  }

  async #prepare(staged: Staged): Promise<void> {
    this.#number += 1;
    const number = this.#number;
    const request = this.#handover.request();
    if (request === undefined) return;
    this.#preparing = true;
    this.#stoodMs = 0;
    this.#spoiled = undefined;
    const { program: file, options, bursts } = request;
    const was = staged.program.state;
    let toHash = 0n;
    let difference: string[] = [];
    let failure: NativeFailure | undefined;
    let fresh: Staged | undefined;
    try {
      const program = await this.#load(file, (copy) => {
        this.#copy = copy;
      });
      difference = stateDifference(was, program.state);
      toHash = stateHash(program.state);
      if (difference.length > 0 && program.migrate === undefined) {
        throw new VanityError('VANITY_E_RELOAD_STATE', { difference: difference.join('; ') });
      }
      fresh = { program, file, shard: staged.shard.understudy(options) };
      await begin(fresh);
      this.#complain();
    } catch (error) {
      failure = failureOf(staged.shard.name, error);
    }
    if (number !== this.#number) {
      if (fresh && !failure) dismiss(fresh);
      return;
    }
    this.#preparing = false;
    if (fresh && !failure) {
      this.#next = { staged: fresh, migrates: difference.length > 0, bursts };
    }
    this.#handover.prepared({
      from: basename(staged.file),
      to: basename(file),
      fromHash: stateHash(was),
      toHash,
      difference: difference.join('; '),
      migrates: difference.length > 0,
      stoodMs: this.#stoodMs,
      failure,
    });
  }

  #complain(): void {
    if (this.#spoiled === undefined) return;
    const problem = `outside of its functions: ${reasonOf(this.#spoiled.error)}`;
    throw new VanityError('VANITY_E_RELOAD_FAULT', { problem });
  }

  #change(old: Staged): Staged {
    const { staged: fresh, migrates, bursts } = this.#next as Candidate;
    this.#next = undefined;
    const { state: was } = old.program;
    let bytes = 0;
    let act = 'save() of the old program';
    try {
      this.#complain();
      if (was !== undefined) {
        const saved = copyState(was, old.program.save?.());
        bytes = saved.bytes;
        act = `${migrates ? 'migrate' : 'restore'}() of the new program`;
        if (migrates) fresh.program.migrate?.(was, saved.copy);
        else fresh.program.restore?.(saved.copy);
      }
    } catch (error) {
      this.#handover.refused(
        this.#spoiled
          ? failureOf(old.shard.name, error)
          : {
              code: 'VANITY_E_RELOAD_STATE',
              message: `shard ${old.shard.name}: ${act} failed: ${reasonOf(error)}`,
              hint: 'The old one goes on with its state.',
            },
      );
      dismiss(fresh);
      return old;
    }
    const above = old.shard.outputs.map((output) => output.above);
    this.#trial = { old, fresh, above };
    old.shard.leaveStage();
    fresh.shard.takeStage(bursts);
    tellWatermarks(fresh);
    this.#handover.switched(bytes);
    // It was told of none so far.
    this.#changed = above.map(() => false);
    return fresh;
  }

  #judge(staged: Staged): Staged {
    const { old, fresh } = this.#trial as Trial;
    const said = fresh.program.healthy?.(fresh.shard) ?? true;
    if (said !== true) return this.#undo(`healthy() of the new program returned ${said}`);
    if (this.#handover.well(fresh.shard.noted().full)) {
      this.#trial = undefined;
      fresh.shard.settle(0);
      dismiss(old);
    }
    return staged;
  }

  // The old one is back, with its state, and gets the packets that the new one holds. Without a reason, whoever
  // wished it has one.
  #undo(why?: string): Staged {
    const { old, fresh, above } = this.#trial as Trial;
    this.#trial = undefined;
    old.shard.flush();
    const { words, count } = fresh.shard.noted();
    const failure =
      why === undefined
        ? undefined
        : {
            code: 'VANITY_E_RELOAD_UNDONE',
            message: `shard ${old.shard.name}: ${why}`,
            hint: 'The old one goes on with its state; mend the new one.',
          };
    const again = this.#handover.undone(words, count, failure);
    dismiss(fresh);
    old.shard.settle(again);
    tellWatermarks(old);
    this.#changed = above;
    return old;
  }
}

async function begin({ program, shard }: Staged): Promise<void> {
  try {
    await program.init?.(shard);
  } catch (error) {
    throw new VanityError('VANITY_E_RELOAD_FAULT', { problem: `init threw: ${reasonOf(error)}` });
  }
}

// Whoever has gone. What it throws now harms nobody, but somebody may want to know.
function dismiss({ program, shard }: Staged): void {
  shard.leaveStage();
  try {
    program.fini?.(shard);
  } catch (error) {
    process.emitWarning(`shard ${shard.name}: fini() threw: ${reasonOf(error)}`);
  }
}

function failureOf(shard: string, error: unknown): NativeFailure {
  const { code, message, hint } = VanityError.from(error);
  return { code, message: `shard ${shard}: ${message}`, hint };
}
