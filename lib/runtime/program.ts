// What a TypeScript program is, and what it works with. Import this as "vanity/program": it is all that a
// program needs, and loads nothing else.
import type { Device, DeviceInterrupt } from './device.js';
import type { OutputChannel, ProgramShard } from './program-shard.js';
import type { State, StateDescription } from './program-state.js';

export type {
  Device,
  DeviceInterrupt,
  DeviceMemory,
  DeviceRegisters,
  DeviceState,
} from './device.js';
export type {
  InputChannel,
  OutputChannel,
  PacketBurst,
  ProgramCounter,
  ProgramShard,
} from './program-shard.js';
export type { State, StateDescription, StateNumber, StateType } from './program-state.js';

/** A program of one shard. Its functions run on the shard's own thread, pinned to the shard's core. */
export interface Program {
  /** Once, before traffic: find channels, make bursts and counters. May be asynchronous. */
  init?(shard: ProgramShard): void | Promise<void>;
  /**
   * Again and again: take a burst, do the work, return how many elements were handled. 0 means that there was
   * nothing to do, and the shard may sleep. It must return soon and must not throw.
   */
  poll(shard: ProgramShard): number;
  /** Once, after the last poll. */
  fini?(shard: ProgramShard): void;
  /** The depth of `output` crossed a watermark of the manifest; `high` on the way up. */
  watermark?(shard: ProgramShard, output: OutputChannel, high: boolean): void;
  /**
   * A vector of the shard's devices fired, `count` times since the last call; the next poll follows. Serve the
   * device, so that it lets go of its line, and then say `irq.done()`. Without this function, the program asks
   * `irq.take()` in its poll.
   */
  interrupt?(shard: ProgramShard, irq: DeviceInterrupt, count: number): void;
  /**
   * A device is wanted back, lost or returned; see `device.state`. Stop what is under way: when this returns,
   * the device is not the shard's any more.
   */
  deviceEvent?(shard: ProgramShard, device: Device): void;
  /**
   * What it hands on to a program that takes its place while it runs (`vanity reload`); with it go `save` and
   * `restore`. Without it, its successor begins with nothing.
   */
  readonly state?: StateDescription;
  /** Between two polls: a value for each field of `state`. It changes nothing, since the program may go on. */
  save?(): State;
  /** After `init`, before the first poll: takes over what a program with the same `state` saved. Throws to refuse it. */
  restore?(state: State): void;
  /** The same for what a program with another `state` saved, which `from` describes. */
  migrate?(from: StateDescription, state: State): void;
  /**
   * On trial, after each burst: is it well? `false`, or a text that says what is wrong, brings the program
   * before it back.
   */
  healthy?(shard: ProgramShard): boolean | string;
}

/** Gives a program its type: `export default defineProgram({ poll(shard) { ... } })`. */
export function defineProgram(program: Program): Program {
  return program;
}
