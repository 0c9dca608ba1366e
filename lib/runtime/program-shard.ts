// A shard as its TypeScript program sees it: channels, packets, counters. Elements move through shared
// memory by ring.ts; native code is called once a burst, and only for what it must do itself: a port's
// queue, a sleeper's wake-up, buffers on their way home.
import type {
  NativeChannel,
  NativeLayout,
  NativeOutput,
  NativePool,
  NativeShard,
} from '../native.js';
import { Device } from './device.js';
import { RingReader, RingWriter } from './ring.js';

// Words of the ledger, as native/addon/shard.cpp draws it.
const RECEIVED = 0;
const SENT = 1;
const BYTES = 2;
const INPUT_WORDS = 2;
const OUTPUT_WORDS = 6;

/** What the kernel wants, in the order of the native enum `Control`. */
export const CONTROL = { wait: 0, run: 1, drain: 2, finish: 3, stopNow: 4 } as const;

/** The reading end of a channel. */
export class InputChannel extends RingReader {
  readonly name: string;
  readonly packets: boolean;
  /** @internal Position among the shard's inputs. */
  readonly index: number;
  readonly #ledger: Float64Array;
  readonly #word: number;

  /** @internal */
  constructor(channel: NativeChannel, index: number, ledger: Float64Array, word: number) {
    super(channel.memory);
    this.index = index;
    this.name = channel.name;
    this.packets = channel.packets;
    this.#ledger = ledger;
    this.#word = word;
  }

  override release(n: number): void {
    super.release(n);
    const ledger = this.#ledger;
    const word = this.#word;
    ledger[word] = (ledger[word] as number) + n;
    ledger[RECEIVED] = (ledger[RECEIVED] as number) + n;
    const depth = n + this.depth();
    if (depth > (ledger[word + 1] as number)) ledger[word + 1] = depth;
  }
}

/** The writing end of a channel. */
export class OutputChannel extends RingWriter {
  readonly name: string;
  readonly packets: boolean;
  readonly overflow: 'drop' | 'block' | 'program';
  /** Position among the shard's outputs. */
  readonly index: number;
  /** @internal Called when the depth crosses a watermark. */
  onWatermark: ((output: OutputChannel, high: boolean) => void) | undefined;
  readonly #native: NativeShard;
  readonly #ledger: Float64Array;
  readonly #word: number;
  readonly #bell: Uint8Array;
  readonly #bellByte: number;
  readonly #bellBits: number;
  readonly #sleeper: Int32Array;
  readonly #high: number;
  readonly #low: number;
  #above = false;

  /** @internal */
  constructor(
    native: NativeShard,
    layout: NativeLayout,
    channel: NativeOutput,
    index: number,
    ledger: Float64Array,
    word: number,
  ) {
    super(channel.memory);
    this.name = channel.name;
    this.packets = channel.packets;
    this.overflow = channel.overflow;
    this.index = index;
    this.#native = native;
    this.#ledger = ledger;
    this.#word = word;
    this.#bell = new Uint8Array(channel.line, layout.bell, 64);
    this.#bellByte = channel.bellByte;
    this.#bellBits = channel.bellBits;
    this.#sleeper = new Int32Array(channel.sleeper);
    this.#high = channel.highWatermark;
    this.#low = channel.lowWatermark;
  }

  override commit(n: number): void {
    if (n === 0) return;
    super.commit(n);
    const ledger = this.#ledger;
    const word = this.#word;
    ledger[word] = (ledger[word] as number) + n;
    ledger[word + 1] = (ledger[word + 1] as number) + 1;
    ledger[SENT] = (ledger[SENT] as number) + n;
    // After the elements are published. Pairs with take() in the consumer's search for work.
    if (this.#bellByte >= 0) {
      if (this.#bellBits !== 0) Atomics.or(this.#bell, this.#bellByte, this.#bellBits);
      else Atomics.store(this.#bell, this.#bellByte, 1);
    }
    // Sequentially consistent after a sequentially consistent store: the fence of signal() is in it.
    // Pairs with the store of 1 in the consumer's Waiter.
    if (Atomics.load(this.#sleeper, 0) !== 0) this.#native.wake(this.index);
    if (this.#high !== 0) this.#watchDepth();
  }

  override send(from: Uint8Array, n: number): number {
    const sent = super.send(from, n);
    const ledger = this.#ledger;
    // The program decides about messages, whatever the policy: they hold no buffers.
    if (sent < n && this.overflow === 'drop') {
      ledger[this.#word + 2] = (ledger[this.#word + 2] as number) + n - sent;
    } else if (sent < n) {
      ledger[this.#word + 3] = (ledger[this.#word + 3] as number) + 1;
    }
    return sent;
  }

  /** @internal Copies descriptors in; returns how many. */
  sendPackets(words: Uint32Array, first: number, n: number): number {
    let done = 0;
    while (done < n) {
      const got = this.claim(n - done);
      if (got === 0) break;
      copyPackets(this.u32, this.offset / 4, this.stride / 4, words, (first + done) * 4, 4, got);
      this.commit(got);
      done += got;
    }
    return done;
  }

  /** @internal */
  countDropped(n: number): void {
    this.#ledger[this.#word + 2] = (this.#ledger[this.#word + 2] as number) + n;
  }
  /** @internal */
  countBlocked(): void {
    this.#ledger[this.#word + 3] = (this.#ledger[this.#word + 3] as number) + 1;
  }

  /** @internal Between the high watermark and the low one, on the way down. */
  get above(): boolean {
    return this.#above;
  }

  #watchDepth(): void {
    const depth = this.depth();
    const high = !this.#above && depth >= this.#high;
    if (!high && !(this.#above && depth <= this.#low)) return;
    this.#above = high;
    const word = this.#word + (high ? 4 : 5);
    this.#ledger[word] = (this.#ledger[word] as number) + 1;
    this.onWatermark?.(this, high);
  }
}

function copyPackets(
  to: Uint32Array,
  at: number,
  toStride: number,
  from: Uint32Array,
  start: number,
  fromStride: number,
  n: number,
): void {
  let t = at;
  let f = start;
  for (let i = 0; i < n; ++i) {
    to[t] = from[f] as number;
    to[t + 1] = from[f + 1] as number;
    to[t + 2] = from[f + 2] as number;
    to[t + 3] = from[f + 3] as number;
    t += toStride;
    f += fromStride;
  }
}

interface Pool {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
  readonly stride: number;
  readonly bufferBytes: number;
  readonly held: Uint16Array;
}

/** Where the bytes behind the descriptors are. */
export class Pools {
  readonly #pools: (Pool | undefined)[] = [];
  readonly #shift: number;
  readonly #mask: number;
  readonly #meta: number;
  readonly #packetShared: number;
  readonly #heldShared: number;

  /** @internal */
  constructor(pools: readonly NativePool[], layout: NativeLayout) {
    this.#packetShared = layout.packetShared << 16;
    this.#heldShared = layout.heldShared;
    this.#shift = layout.poolShift;
    this.#mask = 2 ** layout.poolShift - 1;
    this.#meta = layout.headroomBytes;
    for (const { index, memory, strideBytes, bufferBytes, held } of pools) {
      const bytes = new Uint8Array(memory);
      this.#pools[index] = {
        bytes,
        u32: new Uint32Array(memory),
        stride: strideBytes,
        bufferBytes,
        held: new Uint16Array(held),
      };
    }
  }

  /** @internal The program holds these descriptors, four words each, from now on. */
  hold(words: Uint32Array, first: number, n: number): void {
    for (let i = first; i < first + n; ++i) {
      const buffer = words[i * 4] as number;
      const { held } = this.of(buffer);
      const at = buffer & this.#mask;
      held[at] = (held[at] as number) + 1;
      if (((words[i * 4 + 3] as number) & this.#packetShared) !== 0) {
        held[at] = (held[at] as number) | this.#heldShared;
      }
    }
  }
  /** @internal The program gives them away. Throws, with nothing given, for one that it does not hold. */
  take(words: Uint32Array, first: number, n: number): void {
    for (let i = first; i < first + n; ++i) {
      const buffer = words[i * 4] as number;
      const held = this.#pools[buffer >>> this.#shift]?.held;
      const at = buffer & this.#mask;
      const left = held?.[at] ?? 0;
      if (held === undefined || (left & ~this.#heldShared) === 0) {
        this.hold(words, first, i - first);
        throw new RangeError(
          `packet ${i - first} of these is not held: it was sent or freed before`,
        );
      }
      held[at] = (left & ~this.#heldShared) === 1 ? 0 : left - 1;
    }
  }

  /** @internal */
  of(buffer: number): Pool {
    const pool = this.#pools[buffer >>> this.#shift];
    if (pool === undefined) throw new RangeError(`no buffer ${buffer} may be held here`);
    return pool;
  }
  /** @internal First byte of the buffer in the pool's memory. */
  start(pool: Pool, buffer: number): number {
    return (buffer & this.#mask) * pool.stride;
  }
  /** @internal Word of the packet's meta data in the pool's memory. */
  meta(pool: Pool, buffer: number): number {
    return (this.start(pool, buffer) + this.#meta) / 4;
  }
}

/**
 * Some packets, as descriptors: `i` is a position below `count`. Whoever holds a packet owns its buffer, until
 * it is sent, freed or discarded; what is read through `bytes` is the buffer itself, not a copy.
 */
export class PacketBurst {
  readonly capacity: number;
  /** Packets held. */
  count = 0;
  /** Four words a packet, as `vanity_packet` in packet.h. */
  readonly words: Uint32Array;
  readonly #pools: Pools;

  /** @internal Use `shard.makeBurst()`. */
  constructor(capacity: number, pools: Pools) {
    this.capacity = capacity;
    this.words = new Uint32Array(capacity * 4);
    this.#pools = pools;
  }

  /** Memory that holds the frame; its first byte is at `start(i)`, and it has `length(i)` bytes. */
  bytes(i: number): Uint8Array {
    return this.#pools.of(this.#word(i, 0)).bytes;
  }
  start(i: number): number {
    const buffer = this.#word(i, 0);
    return this.#pools.start(this.#pools.of(buffer), buffer) + (this.#word(i, 2) & 0xffff);
  }
  length(i: number): number {
    return this.#word(i, 2) >>> 16;
  }
  /** The frame as a view of its own: comfortable, but makes an object. */
  data(i: number): Uint8Array {
    const start = this.start(i);
    return this.bytes(i).subarray(start, start + this.length(i));
  }
  /** Flow hash; 0 when nobody computed it. */
  hash(i: number): number {
    return this.#word(i, 1);
  }
  /** The port that it came in by, in manifest order. */
  port(i: number): number {
    return this.#word(i, 3) & 0xffff;
  }
  /** Bytes on the wire: more than `length` when the capture cut the packet. */
  wireLength(i: number): number {
    const buffer = this.#word(i, 0);
    const pool = this.#pools.of(buffer);
    return Math.max(this.length(i), pool.u32[this.#pools.meta(pool, buffer) + 2] as number);
  }
  /** When it was captured, in seconds since 1970; 0 when that is not known. */
  timestamp(i: number): number {
    const buffer = this.#word(i, 0);
    const pool = this.#pools.of(buffer);
    const word = this.#pools.meta(pool, buffer);
    return ((pool.u32[word + 1] as number) * 2 ** 32 + (pool.u32[word] as number)) / 1e9;
  }
  /** Bytes from the frame's first to the end of its buffer: the longest it may become. */
  room(i: number): number {
    return this.#pools.of(this.#word(i, 0)).bufferBytes - (this.#word(i, 2) & 0xffff);
  }

  setHash(i: number, hash: number): void {
    this.words[i * 4 + 1] = hash;
  }
  setLength(i: number, length: number): void {
    if (length > 0xffff || length > this.room(i)) {
      throw new RangeError(
        `a frame of ${length} bytes does not fit: there is room for ${this.room(i)}`,
      );
    }
    this.words[i * 4 + 2] = (this.#word(i, 2) & 0xffff) | (length << 16);
  }

  /** Takes over packet `i` of another burst. */
  push(from: PacketBurst, i: number): void {
    if (this.count === this.capacity)
      throw new RangeError(`the burst is full: ${this.capacity} packets`);
    copyPackets(this.words, this.count * 4, 4, from.words, i * 4, 4, 1);
    this.count += 1;
  }
  /** Forgets its packets, which have been sent, freed or pushed elsewhere. */
  clear(): void {
    this.count = 0;
  }

  #word(i: number, word: number): number {
    return this.words[i * 4 + word] as number;
  }
}

/** A counter of the program's own, in the segment under the shard. */
export class ProgramCounter {
  readonly #ledger: Float64Array;
  readonly #word: number;

  /** @internal */
  constructor(ledger: Float64Array, word: number) {
    this.#ledger = ledger;
    this.#word = word;
  }

  add(n: number): void {
    this.#ledger[this.#word] = (this.#ledger[this.#word] as number) + n;
  }
}

/** What a shard looks at in each receive while one program takes another's place. */
interface Attention {
  /** `away`: the shard is another program's. `trial`: what comes is noted down. `again`: what came comes once more. */
  readonly mode: 'away' | 'trial' | 'again';
  /** Descriptors noted down, four words each. */
  readonly words: Uint32Array;
  /** Packets noted down, or still to come again. */
  count: number;
}

const NOTHING = new Uint32Array(0);
const BURST_MAX = 256;

/** The shard that a program runs on. */
export class ProgramShard {
  readonly index: number;
  readonly name: string;
  /** The manifest's options, as text. */
  readonly options: Readonly<Record<string, string>>;
  /** Elements to take at a time, as the manifest says. */
  readonly burst: number;
  /** Channels into the shard, in manifest order. */
  readonly inputs: readonly InputChannel[];
  /** Channels out of the shard, in manifest order. */
  readonly outputs: readonly OutputChannel[];
  /** Outputs that packets may be sent to: channels first, then ports. */
  readonly outputCount: number;
  /** Devices of which the shard has been granted something, in manifest order. */
  readonly devices: readonly Device[];
  /** @internal */
  readonly ledger: Float64Array;
  /** @internal */
  readonly line: Int32Array;
  readonly #native: NativeShard;
  readonly #pools: Pools;
  readonly #control: number;
  readonly #command: Int32Array;
  readonly #tracing: Int32Array;
  readonly #tracePackets: number;
  readonly #own: PacketBurst;
  readonly #packetInputs: InputChannel[];
  readonly #fromPorts: boolean;
  readonly #layout: NativeLayout;
  readonly #wishes: number;
  #turn = 0;
  #attention: Attention | undefined;

  /** @internal `beside`: the same shard as the program before sees it, which has its channels' ends. */
  constructor(
    native: NativeShard,
    layout: NativeLayout,
    options: Readonly<Record<string, string>> = native.options,
    beside?: ProgramShard,
  ) {
    this.#native = native;
    this.#layout = layout;
    this.#wishes = layout.wishes / 4;
    this.index = native.index;
    this.name = native.name;
    this.options = options;
    this.burst = native.burst;
    const { memory, inputs, outputs } = native.ledger;
    const ledger = new Float64Array(memory);
    this.ledger = ledger;
    this.inputs =
      beside?.inputs ??
      native.inputs.map(
        (channel, i) => new InputChannel(channel, i, ledger, inputs + i * INPUT_WORDS),
      );
    this.outputs =
      beside?.outputs ??
      native.outputs.map(
        (channel, i) =>
          new OutputChannel(native, layout, channel, i, ledger, outputs + i * OUTPUT_WORDS),
      );
    this.outputCount = this.outputs.length + native.portOutputs;
    this.devices = beside?.devices ?? native.devices.map((device) => new Device(device));
    this.line = new Int32Array(native.line);
    this.#control = layout.control / 4;
    this.#command = new Int32Array(native.command);
    this.#tracing = new Int32Array(native.tracing);
    this.#tracePackets = layout.tracePackets;
    this.#pools = new Pools(native.pools, layout);
    this.#own = this.makeBurst(256);
    this.#packetInputs = this.inputs.filter(({ packets }) => packets);
    this.#fromPorts = native.receivesFromPorts;
  }

  /** The channel of that name into the shard. */
  input(name: string): InputChannel {
    return this.#named(this.inputs, name, 'into');
  }
  /** The channel of that name out of the shard. */
  output(name: string): OutputChannel {
    return this.#named(this.outputs, name, 'out of');
  }
  /** The device of that name, of which the manifest grants this shard something. */
  device(name: string): Device {
    const found = this.devices.find((one) => one.name === name);
    if (found !== undefined) return found;
    const names = this.devices.map((one) => one.name).join(', ');
    throw new RangeError(
      `shard ${this.name} has been granted nothing of a device "${name}"; there ${names === '' ? 'is none' : `is: ${names}`}`,
    );
  }
  /** The system is stopping: nothing new may be made. */
  get stopping(): boolean {
    return this.control() !== CONTROL.run;
  }

  /** A counter of the program's own; at most eight, in `init` only. */
  counter(name: string): ProgramCounter {
    return new ProgramCounter(this.ledger, this.#native.counter(name));
  }
  /** An empty burst, to collect packets for an output. In `init` only: it allocates. */
  makeBurst(capacity: number = this.burst): PacketBurst {
    return new PacketBurst(capacity, this.#pools);
  }

  /** Up to `n` packets (at most 256) of all inputs. The burst is the shard's own, overwritten by the next call. */
  receive(n: number = this.burst): PacketBurst {
    return this.#attention === undefined ? this.#receive(n) : this.#attend(n, this.#attention);
  }

  #receive(n: number): PacketBurst {
    const burst = this.#own;
    const inputs = this.#packetInputs;
    const limit = Math.min(n, burst.capacity);
    let got = 0;
    if (this.#fromPorts) {
      // Half for the ports when there are channels too, so that neither starves the other.
      const share = inputs.length === 0 ? limit : (limit + 1) >>> 1;
      got = this.#native.receivePorts(burst.words, 0, share);
    }
    const words = burst.words;
    const sampled = this.#sampled();
    const fromPorts = got;
    let bytes = 0;
    for (let k = 0; k < inputs.length && got < limit; ++k) {
      const input = inputs[this.#turn] as InputChannel;
      this.#turn = this.#turn + 1 === inputs.length ? 0 : this.#turn + 1;
      while (got < limit) {
        const there = input.peek(limit - got);
        if (there === 0) break;
        copyPackets(words, got * 4, 4, input.u32, input.offset / 4, input.stride / 4, there);
        input.release(there);
        if (sampled) this.#native.took(words, got, there, input.index);
        for (let i = 0; i < there; ++i) bytes += (words[(got + i) * 4 + 2] as number) >>> 16;
        got += there;
      }
    }
    this.#pools.hold(words, fromPorts, got - fromPorts); // those of ports are in the book
    this.ledger[BYTES] = (this.ledger[BYTES] as number) + bytes;
    burst.count = got;
    return burst;
  }

  /**
   * Hands `n` packets to an output, by its position: channels first, then ports. Takes all of them: what the
   * overflow policy refuses is freed and counted. Returns how many went; with overflow = "program" the
   * refused ones stay the caller's, the last `n` less the result.
   */
  send(output: number, burst: PacketBurst, first = 0, n: number = burst.count - first): number {
    if (n === 0) return 0;
    const channel = this.outputs[output];
    if (channel === undefined) {
      if (output >= this.outputCount) {
        throw new RangeError(
          `shard ${this.name} has ${this.outputCount} outputs; there is no ${output}`,
        );
      }
      return this.#native.transmit(burst.words, first, n, output);
    }
    this.#pools.take(burst.words, first, n);
    const sampled = this.#sampled();
    if (sampled) this.#native.gives(burst.words, first, n);
    let sent = channel.sendPackets(burst.words, first, n);
    if (sampled) this.#native.gave(burst.words, first, sent, output);
    if (sent === n) return sent;
    if (channel.overflow === 'program') {
      this.#pools.hold(burst.words, first + sent, n - sent);
      return sent;
    }
    if (channel.overflow === 'block') {
      channel.countBlocked();
      if (sampled) this.#native.blocked(output, true);
      while (sent < n && this.control() !== CONTROL.stopNow) {
        if (sampled) this.#native.gives(burst.words, first + sent, n - sent);
        const more = channel.sendPackets(burst.words, first + sent, n - sent);
        if (more === 0) this.#native.pause();
        else if (sampled) {
          this.#native.blocked(output, false);
          this.#native.gave(burst.words, first + sent, more, output);
        }
        sent += more;
      }
    }
    if (sent < n) {
      channel.countDropped(n - sent);
      this.#native.refuse(burst.words, first + sent, n - sent);
    }
    return sent;
  }

  /** The journey of these packets ends here, as it should. */
  free(burst: PacketBurst, first = 0, n: number = burst.count - first): void {
    if (n !== 0) this.#native.consume(burst.words, first, n);
  }
  /** As `free`, but counted as discarded by decision. */
  discard(burst: PacketBurst, first = 0, n: number = burst.count - first): void {
    if (n !== 0) this.#native.discard(burst.words, first, n);
  }
  /**
   * Up to `n` empty packets of the shard's own pool (options.buffers in the manifest, or a port's), behind
   * those that `burst` holds; returns how many.
   */
  allocate(burst: PacketBurst, n: number = burst.capacity - burst.count): number {
    const room = burst.capacity - burst.count;
    const got = this.#native.allocate(burst.words, burst.count, Math.min(n, room));
    burst.count += got;
    return got;
  }

  /** @internal */
  control(): number {
    return Atomics.load(this.line, this.#control); // pairs with control(Control) in the kernel
  }
  // Looked at for each burst; carries nothing with it.
  #sampled(): boolean {
    return ((this.#tracing[0] as number) & this.#tracePackets) !== 0;
  }
  /** @internal Does an operator want something of it? */
  commanded(): boolean {
    return Atomics.load(this.#command, 0) !== 0; // carries nothing with it
  }
  /** @internal Is a reload under way? What is wished, `attend` says. */
  wished(): boolean {
    return Atomics.load(this.line, this.#wishes) !== 0; // carries nothing with it
  }

  /** @internal The same shard for a program that is to take this one's place. */
  understudy(options: Readonly<Record<string, string>>): ProgramShard {
    const shard = new ProgramShard(this.#native, this.#layout, options, this);
    shard.leaveStage();
    return shard;
  }
  /** @internal Its program must not receive: another one has the shard. */
  leaveStage(): void {
    this.#attention = { mode: 'away', words: NOTHING, count: 0 };
  }
  /** @internal Its program is on trial for so many bursts: what it receives is noted down. */
  takeStage(bursts: number): void {
    this.#attention = {
      mode: 'trial',
      words: new Uint32Array((bursts + 1) * BURST_MAX * 4),
      count: 0,
    };
  }
  /** @internal It is on stage, and `again` packets come to it once more. */
  settle(again: number): void {
    this.#attention = again === 0 ? undefined : { mode: 'again', words: NOTHING, count: again };
  }
  /** @internal What came while it was on trial; `full`: there is no room for another burst. */
  noted(): { words: Uint32Array; count: number; full: boolean } {
    const { words, count } = this.#attention ?? { words: NOTHING, count: 0 };
    return { words, count, full: words.length / 4 - count < BURST_MAX };
  }

  #attend(n: number, attention: Attention): PacketBurst {
    if (attention.mode === 'away') {
      throw new Error(`another program has shard ${this.name}, and receives`);
    }
    const burst = this.#own;
    if (attention.mode === 'again') {
      burst.count = this.#native.handover.again(burst.words, Math.min(n, burst.capacity));
      attention.count -= burst.count;
      if (attention.count <= 0) this.#attention = undefined;
      return burst;
    }
    const room = attention.words.length / 4 - attention.count;
    this.#receive(Math.min(n, room));
    attention.words.set(burst.words.subarray(0, burst.count * 4), attention.count * 4);
    attention.count += burst.count;
    return burst;
  }

  /** @internal Publishes what the halves of the rings still hold back. */
  flush(): void {
    for (const input of this.inputs) input.flush();
  }
  /** @internal */
  inputsEmpty(): boolean {
    if (this.#attention?.mode === 'again') return false;
    for (const input of this.inputs) if (input.ready()) return false;
    return true;
  }

  #named<T extends { name: string }>(all: readonly T[], name: string, where: string): T {
    const found = all.find((one) => one.name === name);
    if (found !== undefined) return found;
    const names = all.map((one) => one.name).join(', ');
    throw new RangeError(
      `no channel "${name}" leads ${where} shard ${this.name}; there ${names === '' ? 'is none' : `is: ${names}`}`,
    );
  }
}
