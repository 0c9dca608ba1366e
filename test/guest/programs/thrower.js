// Throws each time that QEMU's edu copies into its memory, and looks when it begins anew what has come of it.
import { setTimeout } from 'node:timers/promises';

const SOURCE = 0x80;
const TARGET = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;
const RUN = 1;
const FROM_DEVICE = 2;
const IN_DEVICE = 0x40000n;
const BYTES = 1024;
const BACK_AT = 2048;

let registers;
let area;
let data;
let step = 'idle';

const copying = () => (registers.read32(COMMAND) & RUN) !== 0;
function copy(from, to, direction) {
  registers.write64(SOURCE, from);
  registers.write64(TARGET, to);
  registers.write64(COUNT, BYTES);
  registers.write32(COMMAND, RUN | direction);
}

export default {
  async init(shard) {
    const device = shard.device('edu');
    registers = device.mmio(0);
    area = device.dma('area');
    data = new Uint8Array(area.buffer);
    const dirty = shard.counter('dirty');
    while (copying()) await setTimeout(10);
    if (data.some((byte) => byte !== 0)) dirty.add(1);
  },
  poll(shard) {
    if (copying()) return 1;
    if (step === 'idle') {
      data.fill(0xa5, 0, BYTES);
      copy(area.address(0), IN_DEVICE, 0);
      step = 'in';
      return 1;
    }
    copy(IN_DEVICE, area.address(BACK_AT), FROM_DEVICE);
    // Once it is seen whole, and then no more.
    if (step === 'in') {
      step = 'back';
      return 1;
    }
    shard.counter('rounds').add(data[BACK_AT + BYTES - 1] === 0xa5 ? 1 : 0);
    throw new Error('the device is at its work');
  },
};
