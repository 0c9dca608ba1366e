// The worker threads of a system's TypeScript shards, as the main thread sees them: started before the
// system runs, or for a shard that comes while it does; terminated when one of them does not stop.
import { Worker } from 'node:worker_threads';
import { VanityError } from '../errors.js';
import type { ResolvedPlan } from '../manifest/plan.js';
import type { NativeSystem } from '../native.js';
import type { WorkerReport, WorkerStart } from './worker.js';

// Below the kernel's own patience with an immediate stop, which is one second.
const OVERDUE_MS = 300;
const LOOK_MS = 50;
const READY_MS = 30_000;
// What a program that has ended gets for its last output.
const GOODBYE_MS = 500;

/** The workers of a system. */
export class TypeScriptShards {
  readonly #system: NativeSystem;
  readonly #workers = new Map<number, Worker>();
  readonly #ended = new Map<number, Promise<void>>();
  readonly #terminated = new Set<number>();

  constructor(system: NativeSystem) {
    this.#system = system;
  }

  /** @internal A shard that comes while the system runs. Whatever becomes of its worker, the native side hears of it. */
  async come(start: WorkerStart): Promise<void> {
    const { index } = start;
    // Of one that was given up in the same place, and has not noticed.
    await this.#end(index);
    const timer = setTimeout(() => this.#end(index), READY_MS);
    try {
      await this.start(start);
    } catch (error) {
      const { code, message, hint } = VanityError.from(error);
      this.#system.refused(index, code, message, hint);
      await this.#end(index);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @internal Resolves when the shard is ready. */
  start(start: WorkerStart): Promise<void> {
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      name: start.name,
      workerData: start,
    });
    this.#workers.set(start.index, worker);
    return new Promise((resolve, reject) => {
      worker.once('message', (report: WorkerReport) => {
        if (report.ready) resolve();
        else reject(VanityError.from(report));
      });
      // What it threw outside of the program's functions; its shard is marked failed as it ends.
      worker.on('error', reject);
      const ended = new Promise<void>((done) => {
        worker.once('exit', () => {
          if (this.#workers.get(start.index) === worker) this.#workers.delete(start.index);
          this.#terminated.delete(start.index);
          const reason = `shard ${start.name}: its worker thread ended before it was ready`;
          reject(VanityError.from({ code: 'VANITY_E_PROGRAM_INIT', message: reason }));
          done();
        });
      });
      this.#ended.set(start.index, ended);
    });
  }

  /** To be called when the system changes state, and now and then: ends what does not stop. */
  look(): void {
    for (const index of this.#system.overdue()) {
      const worker = this.#workers.get(index);
      if (worker === undefined || this.#terminated.has(index)) continue;
      this.#terminated.add(index);
      setTimeout(() => {
        // An endless loop ends here; the native side marks the shard as its environment goes.
        void worker.terminate();
      }, OVERDUE_MS).unref();
    }
  }

  /** Waits for the workers of a system that has ended; those that go on for reasons of their own end now. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#terminate(), GOODBYE_MS);
    await Promise.all(this.#ended.values());
    clearTimeout(timer);
  }

  /** @internal Ends every worker at once. */
  async abort(): Promise<void> {
    this.#terminate();
    await Promise.all(this.#ended.values());
  }

  async #end(index: number): Promise<void> {
    await this.#workers.get(index)?.terminate();
  }

  #terminate(): void {
    for (const worker of this.#workers.values()) void worker.terminate();
  }
}

/**
 * Starts the workers of a booted system and waits until each is ready, or until the system is stopped before
 * that (`booting` turns false). Throws what the first of them reports, with every worker ended.
 */
export async function startTypeScriptShards(
  system: NativeSystem,
  plan: ResolvedPlan,
  booting: () => boolean,
): Promise<TypeScriptShards> {
  const shards = new TypeScriptShards(system);
  const starting = plan.shards.flatMap(({ name, program, programKind }, index) =>
    programKind === 'typescript' ? [{ system: plan.name, index, name, program }] : [],
  );
  const waiting = new Set(starting.map(({ name }) => name));
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve, reject) => {
    const until = Date.now() + READY_MS;
    let looks = 0; // since the stop: what a shard that failed has to report is on its way
    timer = setInterval(() => {
      shards.look();
      if (!booting() && looks++ > 0) resolve();
      else if (Date.now() > until) {
        reject(new VanityError('VANITY_E_BOOT_TIMEOUT', { shards: [...waiting].join(', ') }));
      }
    }, LOOK_MS);
  });
  try {
    const ready = starting.map((start) =>
      shards.start(start).then(() => {
        waiting.delete(start.name);
      }),
    );
    await Promise.race([Promise.all(ready), over]);
    return shards;
  } catch (error) {
    await shards.abort();
    throw error;
  } finally {
    clearInterval(timer);
  }
}
