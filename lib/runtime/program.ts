// What a TypeScript program is, and what it works with. Import this as "vanity/program": it is all that a
// program needs, and loads nothing else.
import type { Device, DeviceInterrupt } from './device.js';
import type { OutputChannel, ProgramShard } from './program-shard.js';

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
}

/** Gives a program its type: `export default defineProgram({ poll(shard) { ... } })`. */
export function defineProgram(program: Program): Program {
  return program;
}
