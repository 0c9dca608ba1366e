// One side of a visit, on a worker thread that is pinned to its processor. Sequence numbers begin with 1;
// sample n is at index n - 1.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { native } from '../../native.js';
import {
  ARMED,
  BACK,
  MAIL,
  NEVER,
  type ScriptDone,
  type ScriptVisit,
  STOP,
  VisitMemory,
} from './shared.js';

const PREEMPTED = 1;
const SIGNALLER = 8;
/** A sleeper looks whether it is to stop. */
const LOOK_MS = 100;
/** Work for less time than a core takes to see the other's store is no pause. */
const BREATH_MS = 0.02;

const { wake } = native;
wake.pin((workerData as { cpu: number }).cpu);

class Side {
  readonly visit: ScriptVisit;
  readonly memory: VisitMemory;
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly until: number;
  overrun = 0;
  #switches = 0;
  #began = { at: 0, cpuNs: 0, involuntary: 0 };

  constructor(visit: ScriptVisit) {
    this.visit = visit;
    this.memory = new VisitMemory(visit.samples, visit.memory);
    this.words = this.memory.words;
    this.until = wake.nowNs() + visit.maxNs;
    this.begin();
  }

  /** Called again where the samples begin to count. */
  begin(): void {
    const { cpuNs, involuntary } = wake.threadUsage();
    this.#switches = involuntary;
    this.#began = { at: wake.nowNs(), cpuNs, involuntary };
  }

  get stopped(): boolean {
    return Atomics.load(this.words, STOP) !== 0;
  }

  /** Whoever finds that it is over says so to the other. */
  stop(): void {
    Atomics.store(this.words, STOP, 1);
    for (const word of [MAIL, BACK]) Atomics.notify(this.words, word);
  }

  breathe(): void {
    if (this.visit.shared) Atomics.wait(this.words, NEVER, 0, BREATH_MS);
  }

  /** Was this thread's processor taken away since the last look? */
  mark(index: number): void {
    const { involuntary } = wake.threadUsage();
    const [waiter, signaller] = this.memory.marks;
    if (involuntary !== this.#switches) {
      if (this.visit.role === 'waiter') waiter[index] = PREEMPTED;
      else signaller[index] = SIGNALLER;
    }
    this.#switches = involuntary;
  }

  done(samples: number): ScriptDone {
    const { cpuNs, involuntary } = wake.threadUsage();
    return {
      wallNs: wake.nowNs() - this.#began.at,
      cpuNs: cpuNs - this.#began.cpuNs,
      involuntary: involuntary - this.#began.involuntary,
      samples,
      overrun: this.overrun,
    };
  }
}

// -- one way: the signals are due by the clock, whether or not the waiter is back

function signalOneWay(side: Side, send: (sequence: number) => void): ScriptDone {
  const { visit, memory, words } = side;
  const { sent, signal, armed, woke } = memory;
  let due = wake.nowNs();
  let spent = 0;
  for (let sequence = 1; sequence <= visit.samples; sequence++) {
    const index = sequence - 1;
    // The waiter of the first ones, and of an idle time of 0, is waited for.
    if (visit.idleNs === 0 || index < visit.warm) {
      while (Atomics.load(words, ARMED) < sequence) {
        if (side.stopped || wake.nowNs() > side.until) return finish(side, index);
        side.breathe();
      }
      due = wake.nowNs() + visit.idleNs;
    } else {
      // What the waiter usually needs to be back comes on top of the idle time.
      due += visit.idleNs + spent;
    }
    for (let now = wake.nowNs(); now < due; now = wake.nowNs()) {
      if (now > side.until || side.stopped) return finish(side, index);
      if (!visit.shared) continue;
      Atomics.wait(words, NEVER, 0, (due - now) / 1e6);
    }
    if (index >= visit.warm && Atomics.load(words, ARMED) < sequence) side.overrun++;
    const at = wake.nowNs();
    sent[index] = at;
    send(sequence);
    signal[index] = wake.nowNs() - at;
    side.mark(index);
    if (index > 0 && Atomics.load(words, ARMED) >= sequence) {
      const took = (armed[index] as number) - (sent[index - 1] as number);
      if (took > 0 && (woke[index - 1] as number) > 0) spent += (took - spent) / 8;
    }
    if (at > side.until || side.stopped) return finish(side, sequence);
  }
  return finish(side, visit.samples);
}

function finish(side: Side, sent: number): ScriptDone {
  // The last wakes are on their way.
  const until = wake.nowNs() + 100e6;
  while (Atomics.load(side.words, ARMED) <= sent && wake.nowNs() < until && !side.stopped) {
    side.breathe();
  }
  side.stop();
  return side.done(sent);
}

/** Notes that everything up to `sequence` was seen now; true when that was the last. */
function arrived(side: Side, seen: number, sequence: number, at: number): boolean {
  const { memory, visit } = side;
  for (let index = seen; index < sequence; index++) memory.woke[index] = at;
  side.mark(sequence - 1);
  if (seen < visit.warm && sequence >= visit.warm) side.begin();
  return sequence >= visit.samples;
}

function arm(side: Side, sequence: number): void {
  if (sequence <= side.visit.samples) side.memory.armed[sequence - 1] = wake.nowNs();
  Atomics.store(side.words, ARMED, sequence);
}

function waitOneWayAtomics(side: Side): ScriptDone {
  const { words } = side;
  for (let seen = 0; ; ) {
    arm(side, seen + 1);
    let found = Atomics.load(words, MAIL);
    while (found === seen) {
      Atomics.wait(words, MAIL, seen, LOOK_MS);
      found = Atomics.load(words, MAIL);
      if (found === seen && side.stopped) return side.done(seen);
    }
    const last = arrived(side, seen, found, wake.nowNs());
    seen = found;
    if (last) {
      const done = side.done(seen);
      arm(side, seen + 1);
      return done;
    }
  }
}

/** Runs `take` on each message until it returns a result, or the visit is stopped. */
function onMessages(
  side: Side,
  port: MessagePort,
  take: (sequence: number, at: number) => ScriptDone | undefined,
  stopped: () => ScriptDone,
): Promise<ScriptDone> {
  return new Promise((resolve) => {
    const end = (done: ScriptDone): void => {
      clearInterval(timer);
      port.close();
      resolve(done);
    };
    const timer = setInterval(() => {
      if (side.stopped || wake.nowNs() > side.until) {
        side.stop();
        end(stopped());
      }
    }, LOOK_MS);
    port.on('message', (sequence: number) => {
      const done = take(sequence, wake.nowNs());
      if (done) end(done);
    });
  });
}

function waitOneWayPort(side: Side, port: MessagePort): Promise<ScriptDone> {
  let seen = 0;
  const result = onMessages(
    side,
    port,
    (sequence, at) => {
      const last = arrived(side, seen, sequence, at);
      seen = sequence;
      const done = last ? side.done(seen) : undefined;
      arm(side, seen + 1);
      return done;
    },
    () => side.done(seen),
  );
  arm(side, 1);
  return result;
}

// -- round trips: each answers when it was woken, and waits again

function roundTripAtomics(side: Side): ScriptDone {
  const { visit, words, memory } = side;
  const [mine, theirs] = visit.role === 'signaller' ? [MAIL, BACK] : [BACK, MAIL];
  const send = (sequence: number): void => {
    Atomics.store(words, mine, sequence);
    Atomics.notify(words, mine, 1);
  };
  const receive = (sequence: number): boolean => {
    while (Atomics.load(words, theirs) < sequence) {
      if (side.stopped || wake.nowNs() > side.until) return false;
      Atomics.wait(words, theirs, sequence - 1, LOOK_MS);
    }
    return true;
  };
  let count = 0;
  for (let sequence = 1; sequence <= visit.samples; sequence++) {
    if (visit.role === 'signaller') {
      memory.sent[sequence - 1] = wake.nowNs();
      send(sequence);
      if (!receive(sequence)) break;
      memory.woke[sequence - 1] = wake.nowNs();
    } else {
      if (!receive(sequence)) break;
      send(sequence);
    }
    side.mark(sequence - 1);
    if (sequence === visit.warm) side.begin();
    count = sequence;
  }
  const done = side.done(count);
  if (count < visit.samples) side.stop();
  return done;
}

function roundTripPort(side: Side, port: MessagePort): Promise<ScriptDone> {
  const { visit, memory } = side;
  let count = 0;
  const send = (sequence: number): void => {
    memory.sent[sequence - 1] = wake.nowNs();
    port.postMessage(sequence);
  };
  const result = onMessages(
    side,
    port,
    (sequence, at) => {
      if (visit.role === 'waiter') port.postMessage(sequence);
      else memory.woke[sequence - 1] = at;
      side.mark(sequence - 1);
      if (sequence === visit.warm) side.begin();
      count = sequence;
      if (sequence >= visit.samples || at > side.until) {
        if (sequence < visit.samples) side.stop();
        return side.done(count);
      }
      if (visit.role === 'signaller') send(sequence + 1);
      return undefined;
    },
    () => side.done(count),
  );
  if (visit.role === 'signaller') send(1);
  return result;
}

function run(visit: ScriptVisit): ScriptDone | Promise<ScriptDone> {
  const side = new Side(visit);
  const { port } = visit;
  if (visit.mechanism === 'atomics') {
    if (visit.mode === 'roundtrip') return roundTripAtomics(side);
    if (visit.role === 'waiter') return waitOneWayAtomics(side);
    return signalOneWay(side, (sequence) => {
      Atomics.store(side.words, MAIL, sequence);
      Atomics.notify(side.words, MAIL, 1);
    });
  }
  if (!port) throw new Error('a port is missing');
  if (visit.mode === 'roundtrip') return roundTripPort(side, port);
  if (visit.role === 'waiter') return waitOneWayPort(side, port);
  const done = signalOneWay(side, (sequence) => port.postMessage(sequence));
  port.close();
  return done;
}

parentPort?.on('message', async (visit: ScriptVisit) => {
  try {
    parentPort?.postMessage(await run(visit));
  } catch (error) {
    parentPort?.postMessage({ error: String(error) });
  }
});
