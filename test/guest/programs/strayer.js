// Reaches for registers around its grant, of which it has the first 16 bytes of edu's BAR 0, and counts what happens.
let allowed;
let refused;
let wrong;
let turns = 0;

const attempts = (registers) => [
  ['in', () => registers.read32(0)],
  ['in', () => registers.write32(4, 5)],
  ['in', () => registers.read32(12)],
  // Before, behind, across the end, unaligned, and none at all.
  ['out', () => registers.read32(-4)],
  ['out', () => registers.read32(16)],
  ['out', () => registers.write32(0x60, 1)],
  ['out', () => registers.read64(12)],
  ['out', () => registers.read32(2)],
  ['out', () => registers.write8(2 ** 32, 1)],
  ['out', () => registers.read32(Number.NaN)],
];

export default {
  init(shard) {
    allowed = shard.counter('allowed');
    refused = shard.counter('refused');
    wrong = shard.counter('wrong');
    const device = shard.device('edu');
    for (const [name, run] of [
      ['dma', () => device.dma('area')],
      ['vector', () => device.irq(0)],
      ['bar', () => device.mmio(2)],
      ['device', () => shard.device('nic')],
    ]) {
      try {
        run();
        throw new Error(`${name} was not granted`);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
    }
  },
  poll(shard) {
    if (turns++ !== 0) return 0;
    for (const [where, run] of attempts(shard.device('edu').mmio(0))) {
      try {
        run();
        (where === 'in' ? allowed : wrong).add(1);
      } catch (error) {
        (where === 'out' && error.code === 'VANITY_E_VFIO_ACCESS' ? refused : wrong).add(1);
      }
    }
    return 1;
  },
};
