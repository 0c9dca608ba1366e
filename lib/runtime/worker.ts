// A TypeScript shard's thread: loads the program, becomes the shard, polls until it is told to end.
//
// The loop gives the event loop a turn every few milliseconds, so that console output, timers and promises
// of the program go on; whatever they do is time that the shard does not poll.
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { VanityError } from '../errors.js';
import { native } from '../native.js';
import { DeviceWatch } from './device.js';
import type { Program } from './program.js';
import { loadProgram, reasonOf } from './program-load.js';
import { ProgramReload, type Staged, tellWatermarks } from './program-reload.js';
import { CONTROL, ProgramShard } from './program-shard.js';

/** What the main thread hands over. */
export interface WorkerStart {
  readonly system: string;
  readonly index: number;
  readonly name: string;
  readonly program: string;
}

/** What it hears back, once. */
export type WorkerReport =
  | { readonly ready: true }
  | {
      readonly ready: false;
      readonly code: string;
      readonly message: string;
      readonly hint: string;
    };

const SLICE_MS = 10;
const PREPARING_MS = 1; // while a module is loaded, which takes turns of the event loop
const SAMPLES = 64; // as Ledger::kSamples

async function main(start: WorkerStart): Promise<void> {
  // Before the thread is pinned: threads that loading starts must not inherit the shard's core.
  const program = await loadProgram(start.program);
  const attached = native.attachShard(start.system, start.index);
  const shard = new ProgramShard(attached, native.layout);
  try {
    await begin(program, shard);
  } catch (error) {
    const message = `shard ${start.name}: init threw: ${reasonOf(error)}`;
    attached.failed('VANITY_E_PROGRAM_INIT', message, '');
    throw VanityError.from({ code: 'VANITY_E_PROGRAM_INIT', message });
  }
  attached.ready();
  parentPort?.postMessage({ ready: true } satisfies WorkerReport);
  live(start, { program, shard, file: start.program }, attached);
}

async function begin(program: Program, shard: ProgramShard): Promise<void> {
  tellWatermarks({ program, shard });
  await program.init?.(shard);
}

type Attached = ReturnType<typeof native.attachShard>;

// One program after the other: what throws is left, with what it held, and a new copy of its module takes its
// place when the kernel says so; or another one takes its place while it runs.
function live(start: WorkerStart, first: Staged, attached: Attached): void {
  let staged = first;
  let starts = 0; // copies of modules
  let lives = 0; // since it was started or started anew
  let life = 0; // which of those; 0: there is none
  const load = (file: string, named?: (copy: string) => void) => {
    starts += 1;
    named?.(`?start=${starts}:`); // the line follows
    return loadProgram(file, starts);
  };
  const reload = new ProgramReload(attached.handover, load);
  const leave = (error: unknown) => {
    if (reload.onTrial) {
      staged = reload.threw(error);
      return true;
    }
    life = 0;
    const { shard } = staged;
    shard.flush();
    const threw = error !== ANEW;
    reload.forget();
    const running = shard.control() === CONTROL.run;
    if (running && attached.left(threw, threw ? reasonOf(error) : '')) void anew();
    else {
      attached.failed(
        'VANITY_E_PROGRAM_THREW',
        `shard ${start.name}: its program threw: ${reasonOf(error)}`,
        'The stack above says where; poll() must not throw.',
      );
    }
    return false;
  };
  const anew = async () => {
    const { shard, file } = staged;
    const devices = watchDevices({ poll: () => 0 }, shard, attached); // which are let go of meanwhile
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = attached.next();
      devices?.all();
      if (next === 'wait') continue;
      if (next === 'end') return attached.ended();
      try {
        const program = await load(file);
        await begin(program, shard);
        attached.restarted();
        staged = { program, shard, file };
        return go();
      } catch (error) {
        attached.left(true, `started anew, ${reasonOf(error)}`);
      }
    }
  };
  const go = () => {
    lives += 1;
    const mine = lives;
    life = mine;
    const stage = {
      lives: () => life === mine,
      staged: () => staged,
      attend: (samples: number) => {
        staged = reload.attend(staged, samples);
        return staged;
      },
    };
    run(stage, reload, attached, leave);
  };
  // Of timers and promises that the program has left running; also of one that is gone.
  process.on('uncaughtException', (error) => {
    if (life !== 0 && !reload.disowns(error)) leave(error);
  });
  go();
}

const ANEW = Symbol('an operator wants the program started anew');

/** Who is on it. */
interface Stage {
  /** False: it was left, and another one's loop goes on. */
  lives(): boolean;
  staged(): Staged;
  /** A reload is under way; returns who polls from here on. */
  attend(samples: number): Staged;
}

function run(
  stage: Stage,
  reload: ProgramReload,
  attached: Attached,
  leave: (error: unknown) => boolean,
): void {
  let { program, shard } = stage.staged();
  const { ledger } = shard;
  const firstSample = attached.ledger.samples;
  let samples = 0;
  let state: number = CONTROL.wait;
  let held = false;
  // A shard that has devices keeps its program.
  const devices = watchDevices(program, shard, attached);

  const end = () => {
    program.fini?.(shard);
    shard.flush();
    attached.stopped(samples);
  };
  // True: it goes on.
  const slice = (): boolean => {
    let last = performance.now();
    const until = last + (reload.preparing ? PREPARING_MS : SLICE_MS);
    ({ program, shard } = stage.staged());
    reload.tellChanged({ program, shard });
    for (;;) {
      const control = shard.control();
      if (control !== state) {
        state = control;
        if (control === CONTROL.run) attached.running();
        else if (control === CONTROL.drain || control === CONTROL.finish) attached.draining();
        else if (control === CONTROL.stopNow) return false;
      }
      if (state === CONTROL.wait) {
        attached.wait(0);
        return true;
      }
      if (state === CONTROL.finish && shard.inputsEmpty()) return false;
      if (held || (shard.commanded() && state === CONTROL.run)) {
        shard.flush();
        const now = attached.obey(samples);
        if (now === 'anew') throw ANEW;
        held = now === 'held';
        devices?.all();
        samples = 0;
        last = performance.now();
        // The order to end may be what it came back for.
        if (shard.control() !== state) continue;
      }
      if (shard.wished()) {
        ({ program, shard } = stage.attend(samples));
        reload.tellChanged({ program, shard });
        samples = 0;
        last = performance.now();
      }
      if (held) {
        if (last > until) return true;
        continue;
      }
      devices?.look();
      const work = program.poll(shard);
      if (!(work >= 0)) {
        throw new TypeError(`poll returned ${work}; it returns how many elements it handled`);
      }
      const now = performance.now();
      const word = firstSample + samples * 2;
      ledger[word] = work;
      ledger[word + 1] = now - last;
      last = now;
      ++samples;
      if (work === 0) {
        shard.flush();
        attached.wait(samples);
        devices?.all();
        samples = 0;
        last = performance.now();
        if (last > until) return true;
      } else if (samples === SAMPLES) {
        attached.flush(samples);
        devices?.all();
        samples = 0;
        if (last > until) return true;
      }
    }
  };
  let since = performance.now(); // the end of the last slice
  const turn = () => {
    if (!stage.lives()) return; // a timer of its own threw
    reload.stood(performance.now() - since);
    try {
      if (!slice()) return end();
    } catch (error) {
      if (!leave(error)) return;
      samples = 0;
      held = false;
    }
    since = performance.now();
    setImmediate(turn);
  };
  turn();
}

function watchDevices(
  program: Program,
  shard: ProgramShard,
  attached: Attached,
): DeviceWatch | undefined {
  if (shard.devices.length === 0) return undefined;
  const interrupt = program.interrupt?.bind(program, shard);
  const deviceEvent = program.deviceEvent?.bind(program, shard);
  const bell = new Uint8Array(attached.line, native.layout.bellIrq, 1);
  return new DeviceWatch(shard.devices, { interrupt, deviceEvent }, bell);
}

main(workerData as WorkerStart).catch((error: unknown) => {
  const { code, message, hint } = VanityError.from(error);
  parentPort?.postMessage({ ready: false, code, message, hint } satisfies WorkerReport);
});
