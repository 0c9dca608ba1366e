// The only file that knows the addon's shape, and how it is found.
import { loadAddon } from './loader.js';
import type { Plan } from './manifest/plan.js';

export interface BackendReport {
  name: string;
  usable: boolean;
  /** Why it can't be used here; empty when it can. */
  reason: string;
}

/** A counter table as the segment describes it; the reference of counters is generated from this. */
export interface FieldDescription {
  table: string;
  name: string;
  unit: string;
  type: string;
  text: string;
}

export interface NativeFailure {
  code: string;
  message: string;
  hint: string;
}

/** One running system. Its threads are native; this handle only starts, stops and reads them. */
export interface NativeSystem {
  /** The whole segment, mapped; valid until `close`. */
  readonly segment: ArrayBuffer;
  readonly segmentPath: string;
  /** Warnings found while booting: core not isolated, huge pages missing, ... */
  readonly warnings: NativeFailure[];
  /** Lets the shards run; TypeScript shards must have been attached by then or soon after. */
  start(): void;
  /** Stops sources, drains, joins; or at once. Returns immediately; the callback of boot tells. */
  stop(immediate: boolean): void;
  /** What went wrong while running: failed shards, ports that ended with an error. */
  failures(): NativeFailure[];
  /** Joins everything, unmaps, unlinks the segment, drops the locks. Idempotent. */
  close(): void;
}

/** What a worker thread gets when it becomes a shard. */
export interface NativeShard {
  readonly index: number;
  readonly name: string;
  readonly options: Record<string, string>;
  readonly burst: number;
  readonly inputs: NativeChannel[];
  readonly outputs: NativeChannel[];
  /** Pools by index: buffers of packets that may arrive here. */
  readonly pools: NativePool[];
  /** The shard's record in the segment (ShardRecord), writable. */
  readonly record: ArrayBuffer;
  /** Word 0: 1 = stop when drained, 2 = stop now. Native writes it, the shard reads it. */
  readonly control: ArrayBuffer;
  ready(): void;
  /** Spin, then sleep until an input may have work or the bound of the manifest passes. */
  wait(): void;
  /** Marks the doorbell of, and wakes, the consumer of output `index` after a commit. */
  ring(index: number): void;
  /** Gives packet buffers back to their pools; ids in the first n words. */
  give(ids: Uint32Array, n: number): void;
  failed(message: string): void;
  stopped(): void;
}

export interface NativeChannel {
  readonly name: string;
  /** Channel memory as include/vanity/channel.hpp draws it. */
  readonly memory: ArrayBuffer;
  readonly record: ArrayBuffer;
  readonly capacity: number;
  readonly elementBytes: number;
  readonly slotBytes: number;
  readonly layout: 'bulk' | 'latency';
  readonly packets: boolean;
  readonly overflow: 'drop' | 'block' | 'program';
  /** True when the consumer must be told by `ring` even while it is awake (doorbell strategy). */
  readonly doorbell: boolean;
}

export interface NativePool {
  readonly index: number;
  readonly memory: ArrayBuffer;
  readonly strideBytes: number;
}

export interface Native {
  readonly version: string;
  readonly abiVersion: number;
  /** Names of everything exported; both builds must agree on it. */
  waitBackends(): BackendReport[];
  /** Whether producers may wake futex sleepers without a fence of their own. */
  membarrier(): boolean;
  fields(): FieldDescription[];
  /** Creates the system of the plan; `onEvent` runs on the JavaScript thread at every change of state. */
  boot(plan: Plan, onEvent: () => void): NativeSystem;
  attachShard(system: string, index: number): NativeShard;
  /** Maps another process's segment read-only. */
  openSegment(path: string): ArrayBuffer;
  /** Removes segments and locks whose process is gone; returns what was removed. */
  sweep(): string[];
  runtimeDirectory(): string;
}

let addon: Native | undefined;

/** The addon, loaded when first used: checking a manifest or asking for help must work without it. */
export const native: Native = new Proxy({} as Native, {
  get(_, key) {
    addon ??= loadAddon() as Native;
    return Reflect.get(addon, key);
  },
});
