// A granted device as a TypeScript program sees it: registers, memory for DMA, interrupts. Registers are
// read and written by native code, for an access must be one load or store of the register's own width and
// ordered against the memory that the device shares; memory is memory.
import { VanityError } from '../errors.js';
import type {
  NativeDevice,
  NativeDeviceMemory,
  NativeInterrupt,
  NativeRegisters,
} from '../native.js';

/**
 * `granted`: the shard works with it. `wanted`: Linux asks for it back. `lost`: it failed, or was pulled out.
 * `returned`: it is stopped and closed, and its memory is ordinary memory. Once it is wanted or lost, the
 * grants end with the return of `deviceEvent()`: registers then read as all ones, and writes go nowhere.
 */
export type DeviceState = 'granted' | 'wanted' | 'lost' | 'returned';

// In the order of vanity_device_state in program.h.
const STATES = ['granted', 'wanted', 'lost', 'returned'] as const;

type Width = 1 | 2 | 4 | 8;
const LARGEST = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

/**
 * One granted range of registers. `offset` counts from the first byte of the grant and is a multiple of
 * the width. What lies outside throws VANITY_E_VFIO_ACCESS and never reaches the device.
 *
 * Everything stored into DMA memory before a write is visible to the device before the write is; everything
 * that the device stored before what a read tells of is visible after the read.
 */
export class DeviceRegisters {
  /** The device's name in the manifest. */
  readonly device: string;
  readonly bar: number;
  /** Where the grant begins in the BAR. */
  readonly offset: number;
  /** How long it is. */
  readonly bytes: number;
  readonly #native: NativeRegisters;

  /** @internal Use `device.mmio()`. */
  constructor(device: string, bar: number, offset: number, native: NativeRegisters) {
    this.device = device;
    this.bar = bar;
    this.offset = offset;
    this.bytes = native.bytes;
    this.#native = native;
  }

  read8(offset: number): number {
    this.#check(offset, 1);
    return this.#native.read8(offset);
  }
  read16(offset: number): number {
    this.#check(offset, 2);
    return this.#native.read16(offset);
  }
  read32(offset: number): number {
    this.#check(offset, 4);
    return this.#native.read32(offset);
  }
  read64(offset: number): bigint {
    this.#check(offset, 8);
    return this.#native.read64(offset);
  }
  write8(offset: number, value: number): void {
    this.#check(offset, 1);
    this.#native.write8(offset, fits(value, 1));
  }
  write16(offset: number, value: number): void {
    this.#check(offset, 2);
    this.#native.write16(offset, fits(value, 2));
  }
  write32(offset: number, value: number): void {
    this.#check(offset, 4);
    this.#native.write32(offset, fits(value, 4));
  }
  write64(offset: number, value: bigint | number): void {
    this.#check(offset, 8);
    if (typeof value === 'number' && !Number.isSafeInteger(value)) {
      throw new RangeError(`a register of 8 bytes cannot hold ${value}; give a bigint`);
    }
    const wide = BigInt(value);
    if (wide !== BigInt.asUintN(64, wide)) {
      throw new RangeError(`a register of 8 bytes cannot hold ${value}`);
    }
    this.#native.write64(offset, wide);
  }

  #check(offset: number, width: Width): void {
    const at = offset + this.offset;
    if (offset >= 0 && offset + width <= this.bytes && at % width === 0) return;
    this.#native.refused();
    const where = Number.isInteger(offset) ? `offset 0x${hex(offset)}` : `offset ${offset}`;
    const grant = `0x${hex(this.bytes)} bytes at 0x${hex(this.offset)} of BAR ${this.bar}`;
    throw VanityError.from({
      code: 'VANITY_E_VFIO_ACCESS',
      message: `device ${this.device}: an access to ${width} bytes at ${where} is not aligned, or not inside the grant of ${grant}`,
      hint: `Grant the range in the manifest (mmio of [devices.${this.device}]), or correct the program.`,
    });
  }
}

function hex(value: number): string {
  return value < 0 ? `-${(-value).toString(16)}` : value.toString(16);
}

function fits(value: number, width: 1 | 2 | 4): number {
  if (Number.isInteger(value) && value >= 0 && value <= LARGEST[width]) return value;
  throw new RangeError(`a register of ${width} bytes cannot hold ${value}`);
}

/** A region that both the program and the device read and write. */
export class DeviceMemory {
  readonly name: string;
  /** The region itself, zeroed at the start; make views of any kind. Empty once the shard has ended. */
  readonly buffer: ArrayBuffer;
  readonly bytes: number;
  /** What the device is told for the region's first byte. */
  readonly iova: bigint;
  /**
   * Neighbours are neighbours for the device too up to every multiple of this: Infinity behind an IOMMU, the
   * size of a page without one.
   */
  readonly contiguous: number;
  readonly #native: NativeDeviceMemory;

  /** @internal Use `device.dma()`. */
  constructor(native: NativeDeviceMemory) {
    this.name = native.name;
    this.buffer = native.memory;
    this.bytes = native.memory.byteLength;
    this.iova = native.address(0);
    this.contiguous = native.contiguous;
    this.#native = native;
  }

  /** What the device is told for that byte of the region. */
  address(offset: number): bigint {
    if (!Number.isInteger(offset) || offset < 0 || offset >= this.bytes) {
      throw new RangeError(
        `dma region ${this.name} has ${this.bytes} bytes; there is no ${offset}`,
      );
    }
    return this.#native.address(offset);
  }
}

/** A vector of the device that the manifest gives to this shard. It wakes the shard when it fires. */
export class DeviceInterrupt {
  readonly device: Device;
  readonly vector: number;
  readonly trigger: 'level' | 'edge' | 'msi' | 'msix';
  readonly eoi: 'immediate' | 'delayed';
  readonly #native: NativeInterrupt;

  /** @internal Use `device.irq()`. */
  constructor(device: Device, native: NativeInterrupt) {
    this.device = device;
    this.vector = native.vector;
    this.trigger = native.trigger;
    this.eoi = native.eoi;
    this.#native = native;
  }

  /** How often it fired since the last look, and 0 mostly. A program with `interrupt()` need not ask. */
  take(): number {
    return this.#native.take();
  }
  /**
   * The device has been served and has let go of its line: it may interrupt again. A level line with
   * eoi = "delayed" stays masked until this; for all others it does nothing.
   */
  done(): void {
    this.#native.done();
  }
}

/** A device of which this shard has been granted something. */
export class Device {
  /** What became of it; `Program.deviceEvent` tells of changes. */
  state: DeviceState = 'granted';
  readonly name: string;
  /** The grants of this shard, in manifest order. */
  readonly registers: readonly DeviceRegisters[];
  readonly memory: readonly DeviceMemory[];
  readonly interrupts: readonly DeviceInterrupt[];
  readonly #native: NativeDevice;

  /** @internal Use `shard.device()`. */
  constructor(native: NativeDevice) {
    this.#native = native;
    this.name = native.name;
    this.registers = native.mmio.map(
      ({ bar, offset, registers }) => new DeviceRegisters(native.name, bar, offset, registers),
    );
    this.memory = native.dma.map((region) => new DeviceMemory(region));
    this.interrupts = native.irqs.map((irq) => new DeviceInterrupt(this, irq));
  }

  /** @internal Tells of a change of state, and then lets go where the kernel wants that. */
  follow(tell: ((device: Device) => void) | undefined): void {
    const news = this.#native.news();
    const state = STATES[news] ?? 'lost';
    if (state === this.state) return;
    this.state = state;
    try {
      tell?.(this);
    } finally {
      this.#native.follow(news);
    }
  }

  /** Registers of a BAR: the shard's only grant of it, or the one that begins at `offset`. */
  mmio(bar: number, offset?: number): DeviceRegisters {
    const of = this.registers.filter((grant) => grant.bar === bar);
    const found = offset === undefined ? of : of.filter((grant) => grant.offset === offset);
    if (found.length === 1) return found[0] as DeviceRegisters;
    const asked = offset === undefined ? `BAR ${bar}` : `BAR ${bar} at 0x${hex(offset)}`;
    if (found.length > 1) {
      throw this.#none(`several grants of ${asked}; say at which offset`, of.map(place));
    }
    throw this.#none(`no grant of ${asked}`, this.registers.map(place));
  }
  /** The DMA region of that name. */
  dma(name: string): DeviceMemory {
    const found = this.memory.find((region) => region.name === name);
    if (found !== undefined) return found;
    throw this.#none(
      `no dma region "${name}"`,
      this.memory.map((region) => region.name),
    );
  }
  /** The interrupt of that vector. */
  irq(vector = 0): DeviceInterrupt {
    const found = this.interrupts.find((irq) => irq.vector === vector);
    if (found !== undefined) return found;
    throw this.#none(
      `no vector ${vector}`,
      this.interrupts.map((irq) => `${irq.vector}`),
    );
  }

  #none(what: string, there: readonly string[]): RangeError {
    const list = there.length === 0 ? 'there is none' : `there is: ${there.join(', ')}`;
    return new RangeError(`this shard has ${what} of device ${this.name}; ${list}`);
  }
}

function place({ bar, offset, bytes }: DeviceRegisters): string {
  return `BAR ${bar} at 0x${hex(offset)}, 0x${hex(bytes)} bytes`;
}

/** What a program may want to hear of its devices; see `Program`. */
interface Listener {
  readonly interrupt: ((irq: DeviceInterrupt, count: number) => void) | undefined;
  readonly deviceEvent: ((device: Device) => void) | undefined;
}

/** Tells the program what its devices have to say, between polls. */
export class DeviceWatch {
  readonly #devices: readonly Device[];
  readonly #interrupts: readonly DeviceInterrupt[];
  readonly #listener: Listener;
  readonly #bell: Uint8Array;

  /** @internal `bell`: the byte of the doorbell that the kernel marks after an interrupt. */
  constructor(devices: readonly Device[], listener: Listener, bell: Uint8Array) {
    this.#devices = devices;
    this.#interrupts = listener.interrupt ? devices.flatMap((one) => one.interrupts) : [];
    this.#listener = listener;
    this.#bell = bell;
  }

  /** Before every poll: a look at the mark, which is one load. */
  look(): void {
    if (this.#bell[0] === 0) return;
    // Cleared first, so that what comes later leaves a new one. Pairs with ring() in the kernel.
    Atomics.exchange(this.#bell, 0, 0);
    this.#take();
  }
  /** After a wait, which takes the mark itself, and now and then while there is no wait. */
  all(): void {
    this.#take();
    for (const device of this.#devices) device.follow(this.#listener.deviceEvent);
  }

  #take(): void {
    for (const irq of this.#interrupts) {
      const count = irq.take();
      if (count > 0) this.#listener.interrupt?.(irq, count);
    }
  }
}
