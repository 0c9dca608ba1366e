// What the thread that asks for a visit and its two workers share.
import type { MessagePort } from 'node:worker_threads';

export interface ScriptVisit {
  mechanism: 'atomics' | 'message-port';
  mode: 'oneway' | 'roundtrip';
  role: 'signaller' | 'waiter';
  idleNs: number;
  /** Those before the first counted one. */
  warm: number;
  /** All of them, `warm` included. */
  samples: number;
  maxNs: number;
  /** Signaller and waiter share a processor: neither may spin. */
  shared: boolean;
  memory: SharedArrayBuffer;
  /** message-port only. */
  port?: MessagePort;
}

export interface ScriptDone {
  /** Time and processor time between the first and the last counted sample. */
  wallNs: number;
  cpuNs: number;
  involuntary: number;
  /** Samples that there are, `warm` included. */
  samples: number;
  overrun: number;
  error?: string;
}

// Words that two threads write lie two lines apart.
const STRIDE = 32;
export const MAIL = 0;
/** The waiter has come back from all before this one, and waits for it. */
export const ARMED = STRIDE;
export const BACK = 2 * STRIDE;
export const STOP = 3 * STRIDE;
/** Nobody ever writes it: to sleep on for a time. */
export const NEVER = 4 * STRIDE;
const WORDS = 5 * STRIDE;

/** Words that the threads meet by, and a row of times for each sample. */
export class VisitMemory {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly sent: Float64Array<SharedArrayBuffer>;
  readonly woke: Float64Array<SharedArrayBuffer>;
  readonly armed: Float64Array<SharedArrayBuffer>;
  readonly signal: Float64Array<SharedArrayBuffer>;
  /** Marks of the waiter and of the signaller. */
  readonly marks: [Uint8Array<SharedArrayBuffer>, Uint8Array<SharedArrayBuffer>];

  constructor(samples: number, buffer?: SharedArrayBuffer) {
    const row = (index: number): number => WORDS * 4 + index * samples * 8;
    this.buffer = buffer ?? new SharedArrayBuffer(row(4) + 2 * samples);
    this.words = new Int32Array(this.buffer, 0, WORDS);
    const times = (index: number) => new Float64Array(this.buffer, row(index), samples);
    this.sent = times(0);
    this.woke = times(1);
    this.armed = times(2);
    this.signal = times(3);
    const marks = (index: number) => new Uint8Array(this.buffer, row(4) + index * samples, samples);
    this.marks = [marks(0), marks(1)];
  }
}
