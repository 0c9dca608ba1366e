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
  live(start, program, shard, attached);
}

async function begin(program: Program, shard: ProgramShard): Promise<void> {
  const watermark = program.watermark?.bind(program);
  for (const output of shard.outputs) {
    output.onWatermark = watermark && ((channel, high) => watermark(shard, channel, high));
  }
  await program.init?.(shard);
}

type Attached = ReturnType<typeof native.attachShard>;

// One program after the other: what throws is left, with what it held, and a new copy of its module takes its
// place when the kernel says so.
function live(start: WorkerStart, first: Program, shard: ProgramShard, attached: Attached): void {
  let starts = 0;
  let life = 0; // of which program; 0: there is none
  const leave = (error: unknown) => {
    life = 0;
    shard.flush();
    const threw = error !== ANEW;
    const running = shard.control() === CONTROL.run;
    if (running && attached.left(threw, threw ? reasonOf(error) : '')) void anew();
    else {
      attached.failed(
        'VANITY_E_PROGRAM_THREW',
        `shard ${start.name}: its program threw: ${reasonOf(error)}`,
        'The stack above says where; poll() must not throw.',
      );
    }
  };
  const anew = async () => {
    const devices = watchDevices({ poll: () => 0 }, shard, attached); // which are let go of meanwhile
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = attached.next();
      devices?.all();
      if (next === 'wait') continue;
      if (next === 'end') return attached.ended();
      try {
        starts += 1;
        const program = await loadProgram(start.program, starts);
        await begin(program, shard);
        attached.restarted();
        return go(program);
      } catch (error) {
        attached.left(true, `started anew, ${reasonOf(error)}`);
      }
    }
  };
  const go = (program: Program) => {
    const mine = starts + 1;
    life = mine;
    run(program, shard, attached, () => life === mine, leave);
  };
  // Of timers and promises that the program has left running; also of one that is gone.
  process.on('uncaughtException', (error) => {
    if (life !== 0) leave(error);
  });
  go(first);
}

const ANEW = Symbol('an operator wants the program started anew');

function run(
  program: Program,
  shard: ProgramShard,
  attached: Attached,
  lives: () => boolean,
  leave: (error: unknown) => void,
): void {
  const { ledger } = shard;
  const firstSample = attached.ledger.samples;
  let samples = 0;
  let state: number = CONTROL.wait;
  const devices = watchDevices(program, shard, attached);

  const end = () => {
    program.fini?.(shard);
    shard.flush();
    attached.stopped(samples);
  };
  // True: it goes on.
  const slice = (): boolean => {
    let last = performance.now();
    const until = last + SLICE_MS;
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
      if (shard.commanded() && state === CONTROL.run) {
        shard.flush();
        const anew = attached.obey(samples);
        if (anew) throw ANEW;
        devices?.all();
        samples = 0;
        last = performance.now();
        // The order to end may be what it came back for.
        if (shard.control() !== state) continue;
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
  const turn = () => {
    if (!lives()) return; // a timer of its own threw
    try {
      if (slice()) setImmediate(turn);
      else end();
    } catch (error) {
      leave(error);
    }
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
