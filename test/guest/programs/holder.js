// Raises edu's line by hand, and leaves out first the EOI and then the acknowledgement: what a delayed EOI is for.
import { performance } from 'node:perf_hooks';

const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;
const QUIET_MS = 200;

let registers;
let irq;
let right;
let wrong;
let step = 0;
let until = 0;

const judge = (good) => (good ? right : wrong).add(1);
/** A step that waits for the interrupt, or for its absence. */
const fires = () => irq.take() > 0;
const quiet = () => {
  if (until === 0) until = performance.now() + QUIET_MS;
  if (performance.now() < until) return false;
  until = 0;
  judge(irq.take() === 0);
  return true;
};

const STEPS = [
  () => registers.write32(RAISE, 1) ?? true,
  fires,
  // The line is high still, and masked.
  quiet,
  // Unmasked without an acknowledgement, it comes again at once.
  () => irq.done() ?? true,
  fires,
  // Acknowledged and unmasked: over.
  () => registers.write32(ACKNOWLEDGE, 1) ?? true,
  () => irq.done() ?? true,
  quiet,
  // A second EOI is nobody's.
  () => irq.done() ?? true,
  () => registers.write32(RAISE, 2) ?? true,
  fires,
  () => registers.write32(ACKNOWLEDGE, 2) ?? true,
  () => irq.done() ?? true,
];

export default {
  init(shard) {
    const device = shard.device('edu');
    registers = device.mmio(0);
    irq = device.irq(0);
    registers.write32(ACKNOWLEDGE, 0xffffffff);
    right = shard.counter('right');
    wrong = shard.counter('wrong');
    judge(device.state === 'granted' && irq.trigger === 'level' && irq.eoi === 'delayed');
  },
  poll() {
    if (step === STEPS.length) return 0;
    if (!STEPS[step]()) return until === 0 ? 0 : 1; // asleep until it fires
    step += 1;
    if (step === STEPS.length) judge(true);
    return 1;
  },
};
