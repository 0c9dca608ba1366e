// The life of a system as its owner sees it: boot, run, stop, result. The threads are native, and so is
// the ordered stop on SIGINT and SIGTERM; this side only watches the state and ends when it ends.
import { resolve } from 'node:path';
import { Records } from '../device/record.js';
import { resolveDevices } from '../device/resolve.js';
import { VanityError } from '../errors.js';
import { usableCpus } from '../host/cpus.js';
import { Host } from '../host/host.js';
import { findShardProcess } from '../loader.js';
import { type Plan, resolveCores } from '../manifest/plan.js';
import { encodeManifest, firstManifest } from '../manifest/running.js';
import { type NativeFailure, type NativeSystem, native } from '../native.js';
import { MetricsServer } from '../telemetry/metrics.js';
import { Segment, type Snapshot } from '../telemetry/segment.js';
import { type ApplyOptions, type ApplyReport, applyManifest, readNext } from './apply.js';
import { type ReloadCertificate, type ReloadOptions, reloadProgram } from './reload.js';
import type { TypeScriptShards } from './shards.js';

export interface BootOptions {
  /** Address of the Prometheus endpoint; the manifest's when absent, '' for none. */
  metrics?: string | undefined;
  /** What the plan was read from, for readers of the system: what `loadManifest` gives. */
  manifest?: { readonly file: string; readonly text: string } | undefined;
  /** Warnings found before, to be reported with those of the boot. */
  warnings?: readonly NativeFailure[];
  /** Called for each warning that comes up while it runs. */
  onWarning?: ((warning: NativeFailure) => void) | undefined;
}

/** What remains of a system that has ended. */
export interface RunResult {
  snapshot: Snapshot;
  failures: readonly NativeFailure[];
  warnings: readonly NativeFailure[];
  /** A second signal stopped it at once. */
  interrupted: boolean;
}

// The kernel wakes this side at every change of state, and its handle keeps the process up. A timer costs
// memory, however little, so there is one only to watch over shards of JavaScript.
const LOOK_MS = 250;

/** A system that runs. Let `ended` settle before the process exits: it is what tidies up. */
export class System {
  readonly #native: NativeSystem;
  readonly #plan: Plan;
  readonly #segment: Segment;
  readonly #metrics: MetricsServer | undefined;
  #shards: TypeScriptShards | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #resolve: (result: RunResult) => void;
  readonly #reject: (error: unknown) => void;
  #over = false;
  #last: Snapshot | undefined;
  readonly #given: readonly NativeFailure[];
  readonly #onWarning: BootOptions['onWarning'];
  #told: number;
  readonly ended: Promise<RunResult>;

  /** Internal; use `boot`. */
  constructor(
    plan: Plan,
    handle: NativeSystem,
    segment: Segment,
    warnings: readonly NativeFailure[],
    metrics: MetricsServer | undefined,
    shards: TypeScriptShards | undefined,
    onWarning: BootOptions['onWarning'],
  ) {
    this.#plan = plan;
    this.#native = handle;
    this.#segment = segment;
    this.#metrics = metrics;
    this.#shards = shards;
    this.#given = warnings;
    this.#onWarning = onWarning;
    this.#told = handle.warnings().length;
    const { promise, resolve, reject } = withResolvers<RunResult>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    if (shards) this.#watchOver();
  }

  #watchOver(): void {
    this.#timer = setInterval(() => this.look(), LOOK_MS);
  }

  get name(): string {
    return this.#plan.name;
  }

  /** Path of the segment, for other processes. */
  get segmentPath(): string {
    return this.#native.segmentPath;
  }

  /** URL of the Prometheus endpoint, when there is one. */
  get metricsUrl(): string | undefined {
    return this.#metrics?.url;
  }

  /** What it boots and runs with all the same. */
  get warnings(): readonly NativeFailure[] {
    return [...this.#given, ...this.#native.warnings()];
  }

  /** Every counter as it is now; the last ones after the end. */
  snapshot(): Snapshot {
    if (this.#last) return this.#last;
    return this.#segment.read();
  }

  /**
   * Replaces the program of a shard while packets flow. The certificate says what came of it; this throws only when
   * there is no answer.
   */
  async reload(
    shard: string,
    program: string,
    options: ReloadOptions = {},
  ): Promise<ReloadCertificate> {
    return this.#whileItRuns(
      () => reloadProgram(this.#segment, this.segmentPath, shard, program, options),
      () =>
        new VanityError('VANITY_E_RELOAD', {
          shard,
          problem: 'the system has ended',
          hint: 'Boot it with the new program.',
        }),
    );
  }

  /**
   * Makes the system what another manifest says, while it runs: the path of a TOML file. Changes only what differs,
   * and goes back when a shard is not well afterwards. Throws, before anything is changed, when it cannot be done so.
   */
  async apply(manifest: string, options: ApplyOptions = {}): Promise<ApplyReport> {
    return this.#whileItRuns(
      () => applyManifest(this.#segment, this.segmentPath, readNext(manifest), options),
      () =>
        new VanityError('VANITY_E_APPLY_STATE', {
          system: this.name,
          problem: 'it has ended',
        }),
    );
  }

  // Once it has ended, nothing of the segment can be read any more.
  async #whileItRuns<T>(act: () => Promise<T>, ended: () => VanityError): Promise<T> {
    try {
      if (!this.#over) return await act();
    } catch (error) {
      if (!this.#over) throw error;
    }
    throw ended();
  }

  /** Stops sources, drains, joins; `immediate` leaves out the draining. Returns at once: see `ended`. */
  stop(immediate = false): void {
    if (!this.#over) this.#native.stop(immediate);
  }

  /** Internal; what the kernel's wake-up and the timer both do, and boot once at its end. */
  look(): void {
    if (this.#over) return;
    this.#tell();
    const state = this.#segment.state();
    if (state === 'stopped' || state === 'failed') void this.#end();
    else {
      this.#shards?.look();
      const wanted = this.#native.wanted();
      if (wanted.length > 0) void this.#start(wanted);
    }
  }

  /** TypeScript shards that come while it runs. */
  async #start(wanted: ReturnType<NativeSystem['wanted']>): Promise<void> {
    const { TypeScriptShards } = await import('./shards.js');
    if (this.#over) return; // nobody waits for them
    if (this.#shards === undefined) {
      this.#shards = new TypeScriptShards(this.#native);
      this.#watchOver();
    }
    const shards = this.#shards;
    for (const one of wanted) void shards.come({ system: this.name, ...one });
  }

  #tell(): void {
    if (this.#onWarning === undefined) return;
    const fresh = this.#native.warnings().slice(this.#told);
    this.#told += fresh.length;
    for (const warning of fresh) this.#onWarning(warning);
  }

  async #end(): Promise<void> {
    this.#over = true;
    clearInterval(this.#timer);
    try {
      this.#last = this.#segment.read();
      const failures = this.#native.failures();
      const interrupted = this.#native.interrupted();
      this.#metrics?.close();
      await this.#shards?.close();
      // From here on nothing may read the segment: it is unmapped.
      this.#native.close();
      this.#resolve({ snapshot: this.#last, failures, warnings: this.warnings, interrupted });
    } catch (error) {
      this.#reject(VanityError.from(error));
    }
  }
}

/** Boots a plan and lets it run. Whatever fails before that leaves nothing behind. */
export async function boot(plan: Plan, options: BootOptions = {}): Promise<System> {
  const resolved = resolveCores(resolveDevices(plan, new Host(), Records.here()), usableCpus());
  const { file, text } = options.manifest ?? { file: '', text: '' };
  const address = options.metrics ?? plan.metrics;
  const metrics = address === '' ? undefined : await MetricsServer.listen(address);
  let handle: NativeSystem | undefined;
  const isolated = plan.shards.some(({ isolation }) => isolation === 'process');
  try {
    let system: System | undefined;
    const booted = native.boot(
      isolated ? { ...resolved.plan, process: findShardProcess() } : resolved.plan,
      () => system?.look(),
      encodeManifest(firstManifest(plan, file === '' ? '' : resolve(file), text)),
    );
    handle = booted;
    const segment = new Segment(booted.segment);
    // Loaded only for systems that have such shards.
    const shards = plan.shards.some(({ programKind }) => programKind === 'typescript')
      ? await (await import('./shards.js')).startTypeScriptShards(
          booted,
          resolved.plan,
          () => segment.state() === 'booting',
        )
      : undefined;
    metrics?.attach(segment);
    const warnings = [...(options.warnings ?? []), ...resolved.warnings];
    system = new System(
      resolved.plan,
      booted,
      segment,
      warnings,
      metrics,
      shards,
      options.onWarning,
    );
    booted.start();
    // A change before there was anybody to tell.
    system.look();
    return system;
  } catch (error) {
    metrics?.close();
    handle?.close();
    throw VanityError.from(error);
  }
}

// Promise.withResolvers, which Node 20 has not.
function withResolvers<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
