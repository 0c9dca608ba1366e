// Devices as TypeScript programs see them, over memory in place of a device: what is checked before anything is
// touched. Real devices: test/guest/jobs/accelerator.sh.
import test from 'ava';
import { native } from '../../dist/native.js';
import { Device, DeviceWatch } from '../../dist/runtime/device.js';

const BYTES = 64;
// As vanity_device_state in program.h.
const NEWS = { granted: 0, wanted: 1, lost: 2, returned: 3 };

/** A device made of memory, and what its parts were asked. */
function bench({ offset = 0x1000, grants } = {}) {
  const memory = new ArrayBuffer(BYTES);
  const asked = { taken: [0, 0], done: [0, 0], news: NEWS.granted, followed: [] };
  const irq = (vector, trigger, eoi) => ({
    vector,
    trigger,
    eoi,
    take: () => asked.taken.splice(vector, 1, 0)[0],
    done: () => {
      asked.done[vector] += 1;
    },
  });
  const mmio = (grants ?? [{ bar: 0, offset }]).map((grant) => ({
    ...grant,
    registers: native.testRegisters(memory),
  }));
  const device = new Device({
    name: 'edu',
    mmio,
    irqs: [irq(0, 'level', 'delayed'), irq(1, 'msix', 'immediate')],
    dma: [
      {
        name: 'area',
        memory: new ArrayBuffer(8192),
        contiguous: 4096,
        // As without an IOMMU: pages lie anywhere.
        address: (at) => (at < 4096 ? 0x5000n : 0x1000n) + BigInt(at % 4096),
      },
    ],
    news: () => asked.news,
    follow: (news) => asked.followed.push(news),
  });
  return { device, asked, view: new DataView(memory) };
}

const refused = (t, run, ...parts) => {
  const error = t.throws(run, { code: 'VANITY_E_VFIO_ACCESS' });
  for (const part of parts) t.true(error.message.includes(part), `${error.message}: ${part}`);
};

test('registers are read and written in their own width, little-endian', (t) => {
  const { device, view } = bench();
  const registers = device.mmio(0);
  t.is(registers.bytes, BYTES);
  for (const [width, value] of [
    [8, 0xfe],
    [16, 0xfedc],
    [32, 0xfedcba98],
    [64, 0xfedcba9876543210n],
  ]) {
    for (const offset of [0, BYTES - width / 8]) {
      registers[`write${width}`](offset, value);
      t.is(registers[`read${width}`](offset), value);
    }
  }
  registers.write32(8, 0x01020304);
  t.is(view.getUint32(8, true), 0x01020304);
  t.is(view.getUint32(12, true), 0, 'its neighbour is not written');
  registers.write64(16, 5);
  t.is(view.getBigUint64(16, true), 5n);
});

test('an access outside the grant, or across it, or unaligned, is refused by name', (t) => {
  const { device, view } = bench();
  const registers = device.mmio(0);
  for (const offset of [BYTES, BYTES - 2, 2, -4, 1.5, Number.NaN, 2 ** 53, Infinity]) {
    refused(t, () => registers.read32(offset), 'device edu', '4 bytes', '0x40 bytes at 0x1000');
    refused(t, () => registers.write32(offset, 1), 'BAR 0');
  }
  refused(t, () => registers.read8(BYTES), 'offset 0x40');
  refused(t, () => registers.read16(1), 'offset 0x1');
  refused(t, () => registers.read64(BYTES - 4), 'offset 0x3c', '8 bytes');
  refused(t, () => registers.write64(4, 1n), 'offset 0x4');
  refused(t, () => registers.read32(undefined), 'offset undefined');
  for (let i = 0; i < BYTES; i += 8) t.is(view.getBigUint64(i), 0n, 'nothing was written');
});

test('what a grant begins with decides what is aligned', (t) => {
  const { device } = bench({ offset: 4 });
  const registers = device.mmio(0);
  // The memory of the bench is aligned as offset 0 would be: the first check alone must refuse.
  refused(t, () => registers.read64(0));
  t.is(registers.read32(0), 0);
});

test('the native side refuses what its caller let through', (t) => {
  const registers = native.testRegisters(new ArrayBuffer(8));
  t.is(registers.bytes, 8);
  for (const offset of [8, 6, -1, 2 ** 40]) {
    refused(t, () => registers.read32(offset));
    refused(t, () => registers.write32(offset, 1));
  }
});

test('a value that the register cannot hold is refused', (t) => {
  const { device, view } = bench();
  const registers = device.mmio(0);
  for (const run of [
    () => registers.write8(0, 256),
    () => registers.write8(0, -1),
    () => registers.write16(0, 65536),
    () => registers.write32(0, 2 ** 32),
    () => registers.write32(0, 0.5),
    () => registers.write32(0, Number.NaN),
    () => registers.write64(0, -1n),
    () => registers.write64(0, 2n ** 64n),
    () => registers.write64(0, 2 ** 53),
  ]) {
    t.throws(run, { instanceOf: RangeError, message: /cannot hold/ });
  }
  t.is(view.getBigUint64(0), 0n);
});

test('grants are found by BAR and offset, and what is not there is named', (t) => {
  const { device } = bench({
    grants: [
      { bar: 0, offset: 0 },
      { bar: 2, offset: 0 },
      { bar: 2, offset: 0x2000 },
    ],
  });
  t.is(device.mmio(0).bar, 0);
  t.is(device.mmio(2, 0x2000).offset, 0x2000);
  t.throws(() => device.mmio(2), { message: /several grants of BAR 2/ });
  t.throws(() => device.mmio(1), { message: /no grant of BAR 1 of device edu.*BAR 2 at 0x2000/ });
  t.throws(() => device.mmio(2, 0x1000), { message: /no grant of BAR 2 at 0x1000/ });
  t.is(device.irq().vector, 0);
  t.is(device.irq(1).trigger, 'msix');
  t.throws(() => device.irq(2), { message: /no vector 2 of device edu; there is: 0, 1/ });
  t.throws(() => device.dma('rings'), { message: /no dma region "rings".*there is: area/ });
});

test('an address for the device is asked for every byte', (t) => {
  const { device } = bench();
  const area = device.dma('area');
  t.is(area.bytes, 8192);
  t.is(area.iova, 0x5000n);
  t.is(area.contiguous, 4096);
  t.is(area.address(4095), 0x5fffn);
  t.is(area.address(4096), 0x1000n);
  for (const offset of [-1, 8192, 0.5, Number.NaN]) {
    t.throws(() => area.address(offset), { instanceOf: RangeError });
  }
});

test('an interrupt reaches the program by the doorbell, once, and after a wait in any case', (t) => {
  const { device, asked } = bench();
  const heard = [];
  const bell = new Uint8Array(1);
  const watch = new DeviceWatch(
    [device],
    {
      interrupt: (irq, count) => heard.push([irq.vector, count]) && irq.done(),
      deviceEvent: undefined,
    },
    bell,
  );
  watch.look();
  t.deepEqual(heard, []);
  asked.taken = [3, 0];
  watch.look();
  t.deepEqual(heard, [], 'no mark, no look');
  bell[0] = 1;
  watch.look();
  t.deepEqual(heard, [[0, 3]]);
  t.is(bell[0], 0);
  t.deepEqual(asked.done, [1, 0]);
  watch.look();
  watch.all();
  t.is(heard.length, 1);
  asked.taken = [1, 2];
  watch.all();
  t.deepEqual(heard.slice(1), [
    [0, 1],
    [1, 2],
  ]);
});

test('a program without interrupt() takes them itself', (t) => {
  const { device, asked } = bench();
  const bell = new Uint8Array([1]);
  asked.taken = [2, 0];
  new DeviceWatch([device], { interrupt: undefined, deviceEvent: undefined }, bell).look();
  t.is(device.irq(0).take(), 2);
  t.is(device.irq(0).take(), 0);
});

test('a device that is wanted is told of once, and let go when the program has heard', (t) => {
  const { device, asked } = bench();
  const heard = [];
  const deviceEvent = (one) => heard.push([one.name, one.state, asked.followed.length]);
  const watch = new DeviceWatch([device], { interrupt: undefined, deviceEvent }, new Uint8Array(1));
  watch.all();
  t.is(device.state, 'granted');
  asked.news = NEWS.wanted;
  watch.all();
  watch.all();
  asked.news = NEWS.returned;
  watch.all();
  t.deepEqual(heard, [
    ['edu', 'wanted', 0],
    ['edu', 'returned', 1],
  ]);
  t.deepEqual(asked.followed, [NEWS.wanted, NEWS.returned]);
});

test('a device is let go also when the program throws, or does not listen', (t) => {
  for (const deviceEvent of [
    undefined,
    () => {
      throw new Error('no');
    },
  ]) {
    const { device, asked } = bench();
    const watch = new DeviceWatch(
      [device],
      { interrupt: undefined, deviceEvent },
      new Uint8Array(1),
    );
    asked.news = NEWS.lost;
    if (deviceEvent) t.throws(() => watch.all(), { message: 'no' });
    else watch.all();
    t.deepEqual(asked.followed, [NEWS.lost]);
    t.is(device.state, 'lost');
  }
});
