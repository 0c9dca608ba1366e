// Visits of the references that live in JavaScript, in the shape of the native ones.
import { MessageChannel, Worker } from 'node:worker_threads';
import { VanityError } from '../../errors.js';
import type { NativeWakeMechanism, NativeWakeSpec, NativeWakeVisit } from '../../native.js';
import { type ScriptDone, type ScriptVisit, STOP, VisitMemory } from './shared.js';

export const SCRIPT_MECHANISMS: readonly NativeWakeMechanism[] = [
  {
    name: 'atomics',
    about: 'Atomics.wait and Atomics.notify between two workers',
  },
  {
    name: 'message-port',
    about: 'a message through a MessagePort between two workers',
  },
].map((mechanism) => ({
  ...mechanism,
  kind: 'reference',
  usable: true,
  reason: `Node ${process.version}`,
  sleeps: true,
}));

/** Until the code is compiled. */
const WARM_VISIT = 2000;
/** Of each visit, before the samples: many, or one when each takes long. */
const WARM = 20;
const WARM_IDLE_NS = 200_000;
/** How long after its end a visit may still be on its way. */
const GRACE_MS = 5000;
/** Workers that are kept; an engine each, so not one for every processor of a large machine. */
const KEPT = 8;

interface Pinned {
  worker: Worker;
  cpu: number;
}

export class ScriptReferences {
  // In the order of use, the least recent first. The role is part of the key: both may be on one processor.
  #workers = new Map<string, Pinned>();
  #warmed = new Set<string>();
  #memory: VisitMemory | undefined;
  #aborted = false;

  /** Never runs two visits at once. Modes `oneway` and `roundtrip` only. */
  async visit(spec: NativeWakeSpec): Promise<NativeWakeVisit> {
    const key = [spec.mechanism, spec.mode, spec.from, spec.to].join();
    if (!this.#warmed.has(key)) {
      await this.#visit({ ...spec, idleNs: 0, samples: WARM_VISIT, maxNs: 300e6 });
      this.#warmed.add(key);
    }
    return this.#visit(spec);
  }

  /** Ends the visit that runs; it resolves with what it has. So do all later ones. */
  abort(): void {
    this.#aborted = true;
    if (this.#memory) Atomics.store(this.#memory.words, STOP, 1);
  }

  async close(): Promise<void> {
    const workers = [...this.#workers.values()];
    this.#workers.clear();
    this.#warmed.clear();
    await Promise.all(workers.map(({ worker }) => worker.terminate()));
  }

  async #visit(spec: NativeWakeSpec): Promise<NativeWakeVisit> {
    const warm = spec.idleNs > WARM_IDLE_NS ? 1 : WARM;
    const samples = warm + spec.samples;
    const memory = new VisitMemory(samples);
    this.#memory = memory;
    if (this.#aborted) Atomics.store(memory.words, STOP, 1);
    const { port1, port2 } = new MessageChannel();
    const common = {
      mechanism: spec.mechanism as ScriptVisit['mechanism'],
      mode: spec.mode as ScriptVisit['mode'],
      idleNs: spec.idleNs,
      warm,
      samples,
      maxNs: spec.maxNs,
      shared: spec.from === spec.to,
      memory: memory.buffer,
    };
    try {
      // The waiter first: it has to be there when the signaller begins.
      const [waiter, signaller] = await Promise.all([
        this.#run('waiter', spec, { ...common, role: 'waiter', port: port2 }),
        this.#run('signaller', spec, { ...common, role: 'signaller', port: port1 }),
      ]);
      return assemble(spec, memory, warm, signaller, waiter);
    } catch (error) {
      // Whoever did not come back must not be asked again.
      await this.close();
      throw error;
    } finally {
      this.#memory = undefined;
    }
  }

  async #run(role: string, spec: NativeWakeSpec, visit: ScriptVisit): Promise<ScriptDone> {
    const cpu = role === 'waiter' ? spec.to : spec.from;
    const { worker } = await this.#pinned(role, cpu);
    const fail = (problem: string): VanityError =>
      new VanityError('VANITY_E_WAKE_WORKER', { mechanism: spec.mechanism, problem });
    const done = await new Promise<ScriptDone>((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        act();
      };
      const onMessage = (message: ScriptDone): void => settle(() => resolve(message));
      const onError = (error: Error): void => settle(() => reject(fail(error.message)));
      const onExit = (): void => settle(() => reject(fail('a worker ended')));
      const timer = setTimeout(
        () => settle(() => reject(fail('a worker did not come back'))),
        visit.maxNs / 1e6 + GRACE_MS,
      );
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      worker.postMessage(visit, visit.port ? [visit.port] : []);
    });
    if (done.error !== undefined) throw fail(done.error);
    return done;
  }

  async #pinned(role: string, cpu: number): Promise<Pinned> {
    const key = `${role} ${cpu}`;
    let pinned = this.#workers.get(key);
    this.#workers.delete(key);
    if (!pinned) {
      const worker = new Worker(new URL('worker.js', import.meta.url), { workerData: { cpu } });
      worker.setMaxListeners(0);
      pinned = { worker, cpu };
    }
    this.#workers.set(key, pinned);
    for (const [old, { worker, cpu: oldCpu }] of this.#workers) {
      if (this.#workers.size <= KEPT) break;
      this.#workers.delete(old);
      for (const warm of this.#warmed) {
        if (warm.split(',').slice(2).includes(String(oldCpu))) this.#warmed.delete(warm);
      }
      await worker.terminate();
    }
    return pinned;
  }
}

function assemble(
  spec: NativeWakeSpec,
  memory: VisitMemory,
  warm: number,
  signaller: ScriptDone,
  waiter: ScriptDone,
): NativeWakeVisit {
  const count = Math.max(0, Math.min(signaller.samples, waiter.samples) - warm);
  const oneway = spec.mode === 'oneway';
  const latencyNs = new Float64Array(count);
  const signalNs = new Float64Array(oneway ? count : 0);
  const marks = new Uint8Array(count);
  const idled = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const index = warm + i;
    const sent = memory.sent[index] as number;
    latencyNs[i] = (memory.woke[index] as number) - sent - (oneway ? spec.offsetNs : 0);
    if (oneway) signalNs[i] = memory.signal[index] as number;
    idled[i] = sent - (memory.armed[index] as number);
    marks[i] = (memory.marks[0][index] as number) | (memory.marks[1][index] as number);
  }
  return {
    latencyNs,
    signalNs,
    marks,
    // There and back nobody notes when the other goes to wait.
    idledNs: oneway && count > 0 ? Math.max(0, idled.sort()[count >> 1] as number) : Number.NaN,
    overrun: signaller.overrun,
    wallNs: waiter.wallNs,
    cpuNs: waiter.cpuNs,
    // What Node's own waits end by is not to be seen from outside.
    waits: 0,
    signalled: 0,
    deadline: 0,
    osLimit: 0,
    spurious: 0,
    lateFoundWork: 0,
    involuntary: [signaller.involuntary, waiter.involuntary],
  };
}
