// Asks for factorials and copies, and holds every answer against what it must be.
import {
  defineProgram,
  type InputChannel,
  type OutputChannel,
  type ProgramCounter,
} from 'vanity/program';
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

let requests: OutputChannel;
let answers: InputChannel;
let right: ProgramCounter;
let wrong: ProgramCounter;
let factorials = 0;
let total = 0;
let atOnce = 1;
let asked = 0;
let answered = 0;
let mistakes = 0;

export default defineProgram({
  init(shard) {
    requests = shard.output('requests');
    answers = shard.input('answers');
    right = shard.counter('right');
    wrong = shard.counter('wrong');
    factorials = Number(shard.options.factorials);
    atOnce = Number(shard.options.at_once);
    total = factorials + Number(shard.options.copies) + 1; // and one that must be refused
  },

  poll(shard) {
    let work = 0;
    for (; answers.peek(1) !== 0; ++work) {
      const good = check(answered++);
      if (!good) mistakes += 1;
      (good ? right : wrong).add(1);
      answers.release(1);
    }
    for (; asked < total && asked - answered < atOnce && !shard.stopping; ++work) {
      if (requests.claim(1) === 0) return 1; // full: try again, nobody wakes a producer
      ask(asked++);
    }
    return work;
  },

  // To stderr: what is on stdout belongs to `vanity run`.
  fini() {
    console.error(`${answered} of ${total} requests answered, ${mistakes} wrong`);
  },
});

function operation(id: number): number {
  if (id === total - 1) return REFUSED;
  return id < factorials ? FACTORIAL : COPY;
}
function operand(id: number): number {
  return id % 13;
}
function byte(id: number, i: number): number {
  return (id * 31 + i * 7 + 1) & 0xff;
}

function ask(id: number): void {
  const kind = operation(id);
  const to = requests.offset / 4;
  requests.u32[to + OPERATION] = kind === REFUSED ? FACTORIAL : kind;
  requests.u32[to + ID] = id;
  requests.u32[to + VALUE] = kind === REFUSED ? 13 : operand(id); // 13! is beyond 32 bits
  requests.u32[to + BYTES] = kind === COPY ? DATA_BYTES : 0;
  for (let i = 0; i < DATA_BYTES; ++i) requests.bytes[requests.offset + DATA_AT + i] = byte(id, i);
  requests.commit(1);
}

/** Answers come in the order of the requests. */
function check(id: number): boolean {
  const at = answers.offset / 4;
  const kind = operation(id);
  if (answers.u32[at + ID] !== id || answers.u32[at + OPERATION] !== kind) return false;
  if (kind === FACTORIAL) {
    let product = 1;
    for (let n = 2; n <= operand(id); ++n) product *= n;
    return answers.u32[at + VALUE] === product;
  }
  for (let i = 0; kind === COPY && i < DATA_BYTES; ++i) {
    if (answers.bytes[answers.offset + DATA_AT + i] !== byte(id, i)) return false;
  }
  return true;
}
