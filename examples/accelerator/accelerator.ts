// Drives the device: takes a request, starts it, answers when the interrupt says that it is done. One at a time,
// as the device has it; the others wait in the channel. The shard sleeps while the device works.
import { setTimeout } from 'node:timers/promises';
import {
  type DeviceMemory,
  defineProgram,
  type InputChannel,
  type OutputChannel,
} from 'vanity/program';
import { COPY_DONE, Edu, FACTORIAL_DONE, LARGEST } from './edu.ts';
import {
  BYTES,
  COPY,
  DATA_AT,
  DATA_BYTES,
  FACTORIAL,
  ID,
  OPERATION,
  REFUSED,
  VALUE,
} from './message.ts';

const BACK_AT = 2048; // in the region: where a copy comes back to

let requests: InputChannel;
let answers: OutputChannel;
let edu: Edu;
let area: DeviceMemory;
let data: Uint8Array;

// The request under way. It has left its channel, in which it would keep the shard awake.
let step: 'idle' | 'refuse' | 'factorial' | 'in' | 'out' = 'idle';
let id = 0;
let bytes = 0;
let done = 0; // causes of interrupts that came since the step began
let gone = false;

export default defineProgram({
  async init(shard) {
    requests = shard.input('requests');
    answers = shard.output('answers');
    const device = shard.device('edu');
    area = device.dma('area');
    data = new Uint8Array(area.buffer);
    edu = new Edu(device.mmio(0));
    while (!edu.settle()) await setTimeout(10);
  },

  interrupt(_shard, irq) {
    done |= edu.acknowledge(); // first the device, which lets go of the line
    irq.done(); // then the line, which may rise again
  },

  // Linux wants the device back, or it failed: what is under way will not be done, and nothing after it.
  deviceEvent() {
    gone = true;
    bytes = 0;
    if (step !== 'idle') step = 'refuse';
  },

  poll() {
    switch (step) {
      case 'idle':
        return requests.peek(1) === 0 ? 0 : begin();
      case 'refuse':
        return answer(REFUSED, 0);
      case 'factorial':
        return (done & FACTORIAL_DONE) === 0 ? 0 : answer(FACTORIAL, edu.result());
      case 'in':
        if ((done & COPY_DONE) === 0) return 0;
        step = 'out';
        done = 0;
        edu.copyOut(0, area.address(BACK_AT), bytes);
        return 1;
      case 'out':
        return (done & COPY_DONE) === 0 ? 0 : answer(COPY, 0);
    }
  },
});

function begin(): number {
  const at = requests.offset / 4;
  const operation = requests.u32[at + OPERATION];
  const value = requests.u32[at + VALUE] as number;
  id = requests.u32[at + ID] as number;
  bytes = requests.u32[at + BYTES] as number;
  done = 0;
  if (!gone && operation === FACTORIAL && value <= LARGEST) {
    step = 'factorial';
    bytes = 0;
    edu.factorial(value);
  } else if (!gone && operation === COPY && bytes > 0 && bytes <= DATA_BYTES) {
    step = 'in';
    const from = requests.offset + DATA_AT;
    for (let i = 0; i < bytes; ++i) data[i] = requests.bytes[from + i] as number;
    edu.copyIn(area.address(0), 0, bytes);
  } else {
    step = 'refuse';
    bytes = 0;
  }
  requests.release(1);
  return 1;
}

function answer(operation: number, value: number): number {
  if (answers.claim(1) === 0) return 1; // full: try again, nobody wakes a producer
  const to = answers.offset / 4;
  answers.u32[to + OPERATION] = operation;
  answers.u32[to + ID] = id;
  answers.u32[to + VALUE] = value;
  answers.u32[to + BYTES] = bytes;
  const into = answers.offset + DATA_AT;
  for (let i = 0; i < bytes; ++i) answers.bytes[into + i] = data[BACK_AT + i] as number;
  answers.commit(1);
  step = 'idle';
  return 1;
}
