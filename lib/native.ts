// The only file that knows the addon's shape, and how it is found.
import { loadAddon } from './loader.js';
import type { ChannelPlan, Plan, PortPlan, ShardPlan, WatchPlan } from './manifest/plan.js';

export interface BackendReport {
  name: string;
  usable: boolean;
  /** What it offers here, or why it can't be used. */
  reason: string;
  /** Of the trial: about 1 when a monitor arms, hundreds when it only spins; 0 when there was none. */
  waitsPerWake: number;
}

/** Whether shards with isolation = "pkey" can run here: tried, where the processor has the keys. */
export interface KeyReport {
  usable: boolean;
  /** What it offers here, or why it can't be used. */
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
  /** Lets the shards run; TypeScript shards must have been attached by then or soon after. */
  start(): void;
  /** Stops sources, drains, joins; or at once. Returns immediately; the callback of boot tells. */
  stop(immediate: boolean): void;
  /** TypeScript shards that come while it runs, each once: they wait for a worker. */
  wanted(): { readonly index: number; readonly name: string; readonly program: string }[];
  /** There is no worker for such a shard. */
  refused(index: number, code: string, message: string, hint: string): void;
  /** TypeScript shards that were told to stop at once and still run, or have gone with a worker that goes on. */
  overdue(): number[];
  /** What went wrong while running: failed shards, ports that ended with an error. */
  failures(): NativeFailure[];
  /** What it boots and runs with all the same: a core not isolated, a line that storms, a device that Linux wanted. */
  warnings(): NativeFailure[];
  /** True when a second signal came before the stop was done. */
  interrupted(): boolean;
  /** Joins everything, unmaps, unlinks the segment, drops the locks. Idempotent. */
  close(): void;
}

/**
 * What a worker thread gets when it becomes a shard. The calls are made once a burst or once an idle turn;
 * packets are given as descriptors in a Uint32Array, `first` and `count` in packets.
 */
export interface NativeShard {
  readonly index: number;
  readonly name: string;
  readonly options: Record<string, string>;
  readonly burst: number;
  readonly inputs: NativeChannel[];
  readonly outputs: NativeOutput[];
  /** How many ports it transmits to; their outputs follow those of the channels. */
  readonly portOutputs: number;
  readonly receivesFromPorts: boolean;
  /** Pools whose buffers may arrive here. */
  readonly pools: NativePool[];
  /** Devices of which it has been granted something. */
  readonly devices: NativeDevice[];
  /** The shard's own line: doorbell, sleeper, control word. */
  readonly line: ArrayBuffer;
  /** The word by which an operator holds it; 0: nothing is asked. */
  readonly command: ArrayBuffer;
  /** The word that says what is noted of it. */
  readonly tracing: ArrayBuffer;
  readonly ledger: NativeLedger;
  ready(): void;
  running(): void;
  draining(): void;
  /** Adds the ledger, with that many samples, to the segment's counters and clears it. */
  flush(samples: number): void;
  /** Flushes; then spins and sleeps until an input may have work or the manifest's bound passes. */
  wait(samples: number): void;
  /**
   * Stays until the operator lets the shard go on, or take a step. `anew`: the program is to be left and started
   * anew; `held`: it is held, but a reload is to be attended to.
   */
  obey(samples: number): 'run' | 'anew' | 'held';
  /** A breath while a full channel blocks. */
  pause(): void;
  /** Wakes the consumer of output `index`, which said that it sleeps. */
  wake(index: number): void;
  receivePorts(packets: Uint32Array, first: number, count: number): number;
  transmit(packets: Uint32Array, first: number, count: number, output: number): number;
  allocate(packets: Uint32Array, first: number, count: number): number;
  /** Frees packets: their journey ends by design, by decision, or for want of room. */
  consume(packets: Uint32Array, first: number, count: number): void;
  discard(packets: Uint32Array, first: number, count: number): void;
  refuse(packets: Uint32Array, first: number, count: number): void;
  /** What became of sampled packets, while they are sampled: taken from an input, about to be given away, given to an output. */
  took(words: Uint32Array, first: number, n: number, input: number): void;
  gives(words: Uint32Array, first: number, n: number): void;
  gave(words: Uint32Array, first: number, n: number, output: number): void;
  /** An output has no room, from now on or no more. */
  blocked(output: number, begins: boolean): void;
  /** The word of the ledger where a counter of the program is kept. */
  counter(name: string): number;
  stopped(samples: number): void;
  /** Notes the failure, then drops what still comes until the shard may end. */
  failed(code: string, message: string, hint: string): void;
  /** The program threw, or an operator wants it anew: drops what it held. False: its faults are not contained. */
  left(threw: boolean, what: string): boolean;
  /** What the kernel says of a program that was left; waits a moment. */
  next(): 'wait' | 'restart' | 'end';
  restarted(): void;
  /** The system ends while there is no program: drops what still comes until the shard may end. */
  ended(): void;
  readonly handover: NativeHandover;
}

/** One program in another's place, as the native side conducts it. */
export interface NativeHandover {
  /** Between two turns, while anything is wished: what is to be done now. Flushes, with that many samples. */
  attend(samples: number): 'none' | 'prepare' | 'change' | 'judge' | 'undo' | 'forget';
  /** Undefined: it was given up meanwhile. */
  request():
    | {
        readonly program: string;
        readonly options: Record<string, string>;
        readonly bursts: number;
      }
    | undefined;
  /** The answer to `prepare`. */
  prepared(found: {
    readonly from: string;
    readonly to: string;
    readonly fromHash: bigint;
    readonly toHash: bigint;
    readonly difference: string;
    readonly migrates: boolean;
    readonly stoodMs: number;
    readonly failure: NativeFailure | undefined;
  }): void;
  /** The answers to `change`: the old one goes on, or the new one is on trial. */
  refused(failure: NativeFailure): void;
  switched(stateBytes: number): void;
  /** The answer to `judge`, when it is well. True: it is kept. `full`: no more packets can be noted down. */
  well(full: boolean): boolean;
  /** The new one goes; of `count` packets that it received, the old one gets those again that it holds. Returns how many. */
  undone(received: Uint32Array, count: number, failure: NativeFailure | undefined): number;
  /** Some of these; returns how many. */
  again(packets: Uint32Array, count: number): number;
}

export interface NativeChannel {
  readonly name: string;
  /** Channel memory as include/vanity/channel.hpp draws it. */
  readonly memory: ArrayBuffer;
  readonly packets: boolean;
}

export interface NativeOutput extends NativeChannel {
  readonly overflow: 'drop' | 'block' | 'program';
  readonly highWatermark: number;
  readonly lowWatermark: number;
  /** The consumer's line. */
  readonly line: ArrayBuffer;
  /** The word that says whether its thread sleeps. */
  readonly sleeper: ArrayBuffer;
  /** Byte of the doorbell to mark after a commit; -1: its consumer watches the channel itself. */
  readonly bellByte: number;
  /** Bits to set when other channels share the byte; 0: the byte is this channel's own. */
  readonly bellBits: number;
}

/** Doubles that JavaScript counts in and native code empties; where each part begins, in words. */
export interface NativeLedger {
  readonly memory: ArrayBuffer;
  readonly inputs: number;
  readonly outputs: number;
  readonly samples: number;
}

export interface NativePool {
  readonly index: number;
  readonly memory: ArrayBuffer;
  readonly strideBytes: number;
  readonly bufferBytes: number;
  /** Uint16 a buffer: how often the program holds it, as native/shard/held.hpp counts. */
  readonly held: ArrayBuffer;
}

/** What a shard has been granted of one device. */
export interface NativeDevice {
  readonly name: string;
  readonly mmio: {
    readonly bar: number;
    readonly offset: number;
    readonly registers: NativeRegisters;
  }[];
  readonly irqs: NativeInterrupt[];
  readonly dma: NativeDeviceMemory[];
  /** What the kernel says, as vanity_device_state. */
  news(): number;
  /** The program has been told. */
  follow(news: number): void;
}

/** Checked once more here: a wrong offset throws VANITY_E_VFIO_ACCESS whoever let it through. */
export interface NativeRegisters {
  readonly bytes: number;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
  read64(offset: number): bigint;
  write8(offset: number, value: number): void;
  write16(offset: number, value: number): void;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
  /** Counts an access that JavaScript refused. */
  refused(): void;
}

export interface NativeInterrupt {
  readonly vector: number;
  readonly trigger: 'level' | 'edge' | 'msi' | 'msix';
  readonly eoi: 'immediate' | 'delayed';
  take(): number;
  done(): void;
}

export interface NativeDeviceMemory {
  readonly name: string;
  readonly memory: ArrayBuffer;
  readonly contiguous: number;
  address(offset: number): bigint;
}

/** Offsets and numbers of native headers that JavaScript works with. */
export interface NativeLayout {
  readonly magic: number;
  readonly version: number;
  readonly capacity: number;
  readonly elementBytes: number;
  readonly slotBytes: number;
  readonly layout: number;
  readonly slotsOffset: number;
  readonly tail: number;
  readonly head: number;
  readonly bell: number;
  /** The doorbell's byte for interrupts. */
  readonly bellIrq: number;
  readonly control: number;
  readonly wishes: number;
  readonly packetBytes: number;
  readonly poolShift: number;
  /** The flag of a descriptor whose buffer has several owners, and the one of the book of what is held. */
  readonly packetShared: number;
  readonly tracePackets: number;
  readonly heldShared: number;
  readonly headroomBytes: number;
  readonly frameOffset: number;
}

/** A channel by itself, to hold the ring of JavaScript against the native one. */
export interface NativeRing {
  readonly memory: ArrayBuffer;
  send(elements: Uint8Array): number;
  receive(elements: Uint8Array): number;
}

/** What one visit of a cell measures. Processors are pinned; the same one twice is allowed for mechanisms that sleep. */
export interface NativeWakeSpec {
  mechanism: string;
  /** oneway, roundtrip; signal: the cost to a producer whose consumer is awake; floor: a line each way between bare loops; line: one line for both ways. */
  mode: 'oneway' | 'roundtrip' | 'signal' | 'floor' | 'line';
  from: number;
  to: number;
  idleNs: number;
  /** The visit ends with this many samples, or after maxNs. */
  samples: number;
  maxNs: number;
  /** Window of `adaptive`. */
  spinNs: number;
  /** Clock of `to` minus clock of `from`: taken off each one-way latency. */
  offsetNs: number;
  seed: number;
}

/** One entry a sample; with mode signal, `latencyNs` holds the plain stores and `signalNs` the signalled ones. */
export interface NativeWakeVisit {
  latencyNs: Float64Array;
  signalNs: Float64Array;
  /** Bits: 1 preempted, 2 migrated, 4 stolen, 8 the signaller was disturbed. */
  marks: Uint8Array;
  idledNs: number;
  overrun: number;
  wallNs: number;
  /** Of the waiter, while it waited. */
  cpuNs: number;
  waits: number;
  signalled: number;
  deadline: number;
  osLimit: number;
  spurious: number;
  lateFoundWork: number;
  /** Involuntary switches of the signaller and the waiter. */
  involuntary: [number, number];
}

export interface NativeWakeMechanism {
  name: string;
  kind: 'backend' | 'path' | 'reference';
  about: string;
  usable: boolean;
  reason: string;
  /** It sleeps in the kernel, so two of it may share a processor. */
  sleeps: boolean;
}

export interface NativeWake {
  /** Native ones only; best first, references last. */
  mechanisms(): NativeWakeMechanism[];
  /** Takes about 100 ms. */
  clock(): Promise<{
    source: string;
    ticksPerSecond: number;
    errorPpm: number;
    invariant: boolean;
    tickNs: number;
    readNs: number;
  }>;
  skew(from: number, to: number): Promise<{ offsetNs: number; errorNs: number }>;
  /** On two native threads; JavaScript sleeps meanwhile. Rejects with VANITY_E_CORE_PIN and the like. */
  visit(spec: NativeWakeSpec): Promise<NativeWakeVisit>;
  /** Ends the visit that runs; it resolves with what it has. */
  abort(): void;
  /** Pins the calling thread, for references that live in JavaScript. */
  pin(cpu: number): void;
  /** Nanoseconds since the addon was loaded, by the same ticks as every visit. */
  nowNs(): number;
  /** Of the calling thread. */
  threadUsage(): { cpuNs: number; involuntary: number };
}

/** What follows the bursts is in force once the program was kept; at once where there is no program. */
export interface NativeReload {
  shard: number;
  /** Absolute path; '' for none. */
  program: string;
  drain: boolean;
  dryRun: boolean;
  bursts: number;
  options?: Readonly<Record<string, string>>;
  watch?: WatchPlan;
  kernel?: { stallNs: number; drainNs: number };
  /** That the shard moves to, where there is no program; -1: it is not pinned any more. */
  core?: number;
  /** Names of the channels that the shard has from then on, in the order of the manifest. */
  ends?: readonly string[];
  /** Instead of all that: what comes. */
  grow?: {
    shards: readonly (Omit<ShardPlan, 'core'> & { core: number; primaryName: string })[];
    channels: readonly (ChannelPlan & { fromName: string; toName: string })[];
    /** With all of their queues at those shards. */
    ports: readonly (PortPlan & { rxNames: readonly string[]; txNames: readonly string[] })[];
    /** What makes room by its name for one of those, or has it again. */
    shardNames: readonly { from: string; to: string }[];
    channelNames: readonly { from: string; to: string }[];
  };
  /** Or shards that drain and end, in this order, and their ports with them. */
  end?: { shards: readonly string[]; channels: readonly [] };
  /** Or what those had, and channels that nobody uses any more. */
  free?: { shards: readonly string[]; channels: readonly string[] };
  /** The text that readers see as the manifest. */
  manifest?: { generation: number; text: string };
}

export interface Native {
  readonly version: string;
  readonly abiVersion: number;
  /** Names of everything exported; both builds must agree on it. */
  waitBackends(): BackendReport[];
  /** Whether producers may wake futex sleepers without a fence of their own. */
  membarrier(): boolean;
  protectionKeys(): KeyReport;
  fields(): FieldDescription[];
  /** Creates the system of the plan; `onEvent` runs on the JavaScript thread at every change of state. */
  /** `process`: what shards run in that are processes of their own. */
  boot(
    plan: Plan & { readonly process?: string },
    onEvent: () => void,
    manifest: string,
  ): NativeSystem;
  /** In the environment and on the thread of a worker, which from here on is that shard. */
  attachShard(system: string, index: number): NativeShard;
  readonly layout: NativeLayout;
  readonly NativeRing: new (
    capacity: number,
    elementBytes: number,
    layout: 'bulk' | 'latency',
    first: number,
  ) => NativeRing;
  /** Ordinary memory in place of a device, to hold the register views against. */
  testRegisters(memory: ArrayBuffer): NativeRegisters;
  /** Maps another process's segment read-only. */
  openSegment(path: string): ArrayBuffer;
  /** Writes the words by which a shard is held, into another process's segment, and wakes who waits there. */
  commandShard(
    path: string,
    shard: number,
    command: 'run' | 'hold' | 'restart',
    steps: number,
  ): void;
  /** Turns the events of bursts and waits of a shard of another process on or off. */
  traceShard(path: string, shard: number, on: boolean): void;
  /** One of `every` packets that come into a shard of another process is sampled from now on; 0: no more. */
  samplePackets(path: string, shard: number, every: number): void;
  /**
   * The events of a ring in a segment, from number `from` on, four words each. Those that were written over
   * meanwhile are not among them: `first` tells.
   */
  copyEvents(
    segment: ArrayBuffer,
    written: number,
    ring: number,
    slots: number,
    from: number,
  ): { first: number; count: number; words: ArrayBuffer };
  /** Asks a system, by its segment, to replace the program of a shard; returns the number of the request. */
  askReload(path: string, request: NativeReload): number;
  /** The descriptor by which this process alone changes that system, until it is closed; -1: another one does. */
  claimSystem(path: string): number;
  /** Removes segments and locks whose process is gone; returns what was removed. */
  sweep(): string[];
  runtimeDirectory(): string;
  /** The descriptor of a file that is locked until it is closed; -1 while another process has the lock. */
  tryLock(path: string): number;
  readonly wake: NativeWake;
}

let addon: Native | undefined;

/** The addon, loaded when first used: checking a manifest or asking for help must work without it. */
export const native: Native = new Proxy({} as Native, {
  get(_, key) {
    addon ??= loadAddon() as Native;
    return Reflect.get(addon, key);
  },
});
