// QEMU's edu device by its registers (QEMU's docs/specs/edu), as native/port/edu/edu.hpp has it in C++.
import type { DeviceRegisters } from 'vanity/program';

export const FACTORIAL_DONE = 0x1;
export const COPY_DONE = 0x100;
/** Beyond it the device's 32 bits hold no factorial. */
export const LARGEST = 12;
/** The buffer has 4096 bytes, but a transfer that ends with the last one aborts QEMU 7.2. */
export const BUFFER_BYTES = 4095;

const IDENTIFICATION = 0x00;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const CAUSES = 0x24;
const ACKNOWLEDGE = 0x64;
const SOURCE = 0x80;
const DESTINATION = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;
const BUFFER = 0x40000n; // as the device's own DMA sees it

export class Edu {
  readonly #registers: DeviceRegisters;

  constructor(registers: DeviceRegisters) {
    this.#registers = registers;
    const id = registers.read32(IDENTIFICATION);
    if ((id & 0xffff) !== 0x00ed) throw new Error(`this is no edu: it says 0x${id.toString(16)}`);
  }

  /** It has no reset: what its last owner began goes on. False: still busy, ask again. */
  settle(): boolean {
    if ((this.#registers.read32(STATUS) & 1) !== 0 || this.copying()) return false;
    this.#registers.write32(STATUS, 0);
    this.#registers.write32(ACKNOWLEDGE, 0xffffffff);
    return true;
  }

  /** An interrupt tells when it is done. */
  factorial(n: number): void {
    this.#registers.write32(STATUS, 0x80);
    this.#registers.write32(FACTORIAL, n);
  }
  result(): number {
    return this.#registers.read32(FACTORIAL);
  }

  /** From `address` into the device's buffer; an interrupt tells when it is done. */
  copyIn(address: bigint, offset: number, bytes: number): void {
    this.#copy(address, BUFFER + BigInt(offset), offset, bytes, 0);
  }
  copyOut(offset: number, address: bigint, bytes: number): void {
    this.#copy(BUFFER + BigInt(offset), address, offset, bytes, 2);
  }
  copying(): boolean {
    return (this.#registers.read32(COMMAND) & 1) !== 0;
  }

  /** What the interrupt was for. The device lets go of its line. */
  acknowledge(): number {
    const causes = this.#registers.read32(CAUSES);
    this.#registers.write32(ACKNOWLEDGE, causes);
    return causes;
  }

  #copy(from: bigint, to: bigint, offset: number, bytes: number, direction: 0 | 2): void {
    if (bytes < 1 || offset + bytes > BUFFER_BYTES) {
      throw new RangeError(`${bytes} bytes at ${offset} are not inside the device's buffer`);
    }
    this.#registers.write64(SOURCE, from);
    this.#registers.write64(DESTINATION, to);
    this.#registers.write64(COUNT, bytes);
    this.#registers.write32(COMMAND, 1 | direction | 4);
  }
}
