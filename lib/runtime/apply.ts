// Makes a running system what another manifest says: what differs is changed, shard by shard, each on trial, and all of
// it goes back when one is not kept or a shard is worse afterwards. Asked for by words of the segment, like a reload.
import { resolve } from 'node:path';
import { VanityError } from '../errors.js';
import { usableCpus } from '../host/cpus.js';
import { resolveCores } from '../manifest/cores.js';
import { isCore, otherStage, type PartChange, planChanges } from '../manifest/difference.js';
import { loadManifest, ManifestErrors, type Plan, type ShardPlan } from '../manifest/plan.js';
import { refusals } from '../manifest/refusals.js';
import { type ManifestGeneration, type RunningManifest, withShard } from '../manifest/running.js';
import type { NativeFailure } from '../native.js';
import { count, type Segment, text } from '../telemetry/segment.js';
import {
  backwards,
  consumersFirst,
  endsOf,
  type Growth,
  grown,
  growthOf,
  leavingInputs,
  makingRoom,
  newParts,
  type Renames,
  renamed,
  shrunk,
} from './growth.js';
import { Health, type Worse } from './health.js';
import {
  alone,
  changeParts,
  changeShard,
  type ReloadCertificate,
  runningManifest,
  setFigures,
} from './reload.js';

export interface ApplyOptions {
  /** How long no shard may get worse before the new manifest is the good one, in seconds; 5. */
  confirm?: number;
  /** Everything up to the first switch. */
  dryRun?: boolean;
  /** No shard is switched before its inputs are empty. */
  drain?: boolean;
  /** Bursts that each new program is on trial for; 64. */
  bursts?: number;
  /** Brings it back, while it is not confirmed. */
  signal?: AbortSignal;
}

/** One change, and what came of it. */
export interface ApplyStep {
  part: 'system' | 'shard' | 'channel' | 'port';
  name: string;
  action: 'add' | 'remove' | 'set' | 'reload' | 'move' | 'restart';
  /** `back`: it is as it was before; `stuck`: it could not be brought back. */
  outcome: 'done' | 'refused' | 'back' | 'stuck';
  /** Of another program, stage or channels; the last one is that of the way back. */
  certificates: ReloadCertificate[];
}

export interface ApplyReport {
  system: string;
  /**
   * `refused`: nothing was changed. `undone`: what was changed is as it was before. `stuck`: not all of it is, see the
   * steps.
   */
  outcome: 'nothing' | 'rehearsed' | 'applied' | 'refused' | 'undone' | 'stuck';
  ok: boolean;
  error: NativeFailure | null;
  /** Of the manifest that is in force now. */
  generation: number;
  /** What differed. */
  changes: PartChange[];
  /** In the order in which they were done. */
  steps: ApplyStep[];
  /** Within how many seconds a shard would have brought it back, and those that were worse. */
  confirm: { seconds: number; waited_ms: number; worse: Worse[] };
}

/** What is to be applied: a manifest, not yet of any generation. */
export type NextManifest = Omit<ManifestGeneration, 'generation'>;

/** What is there as soon as anything has changed, and what comes or goes at all. */
const BORN: ReadonlySet<string> = new Set(['add', 'restart']);
const COMES: ReadonlySet<string> = new Set(['add', 'remove', 'restart']);
const NOBODY: Renames = { shards: new Map(), channels: new Map() };
const NOTHING: Growth = {
  shards: [],
  channels: [],
  ports: [],
  goneShards: [],
  goneChannels: [],
  gonePorts: [],
};
const CONFIRM_S = 5;
const LOOK_MS = 20;
const NOT_PINNED = 0xffffffff;
const BACK_MS = 10_000;
const AGAIN = new Set(['VANITY_E_RELOAD', 'VANITY_E_RELOAD_LATE', 'VANITY_E_RELOAD_UNDONE']);

export function readNext(file: string, set: readonly string[] = []): NextManifest {
  const { plan, text } = loadManifest(file, { set });
  return { plan, text, file: resolve(file) };
}

/** The last manifest that was in force before this one, and well. */
export function previousManifest(segment: Segment): NextManifest {
  const previous = manifestOf(segment).previous;
  if (previous !== null) return previous;
  const problem = 'there was no manifest before this one';
  throw new VanityError('VANITY_E_APPLY_STATE', { system: segment.name, problem });
}

function manifestOf(segment: Segment): RunningManifest {
  const running = runningManifest(segment);
  if (running) return running;
  const problem = 'it has not written down what manifest it runs';
  throw new VanityError('VANITY_E_APPLY_STATE', { system: segment.name, problem });
}

/** Throws ManifestErrors when a running system can't do it, before anything is changed. */
export async function applyManifest(
  segment: Segment,
  path: string,
  next: NextManifest,
  options: ApplyOptions = {},
): Promise<ApplyReport> {
  return alone(path, () => new Apply(segment, path, next, options).run());
}

class Apply {
  readonly #segment: Segment;
  readonly #path: string;
  readonly #next: NextManifest;
  readonly #options: ApplyOptions;
  readonly #before: RunningManifest;
  readonly #health: Health;
  /** Of what is made anew. */
  readonly #room: Renames;
  /** Where each shard was, whatever its manifest said. */
  readonly #cores: ReadonlyMap<string, number>;
  /** What is in force. */
  #now: RunningManifest;
  readonly #report: ApplyReport;

  constructor(segment: Segment, path: string, next: NextManifest, options: ApplyOptions) {
    this.#segment = segment;
    this.#path = path;
    this.#next = next;
    this.#options = options;
    this.#before = manifestOf(segment);
    this.#now = this.#before;
    this.#health = new Health(segment);
    this.#cores = new Map(
      segment.rows('shards').map((row) => {
        const core = count(row, 'core');
        return [text(row, 'name'), core === NOT_PINNED ? -1 : core];
      }),
    );
    this.#report = {
      system: segment.name,
      outcome: 'nothing',
      ok: true,
      error: null,
      generation: this.#before.generation,
      changes: planChanges(this.#before.plan, next.plan).filter(({ action }) => action !== 'keep'),
      steps: [],
      confirm: { seconds: options.confirm ?? CONFIRM_S, waited_ms: 0, worse: [] },
    };
    this.#room = makingRoom(this.#report.changes);
  }

  async run(): Promise<ApplyReport> {
    const report = this.#report;
    const state = this.#segment.state();
    if (state !== 'running') {
      const problem = `it is ${state}`;
      throw new VanityError('VANITY_E_APPLY_STATE', { system: report.system, problem });
    }
    const errors = refusals(report.changes, this.#before, this.#next);
    if (errors.length > 0) throw new ManifestErrors(errors);
    if (!(await this.#rehearse())) return report;
    if (report.changes.length === 0) {
      // The same system by other words: a comment, another file.
      if (!this.#options.dryRun) await this.#settle();
      return report;
    }
    if (this.#options.dryRun) {
      report.outcome = 'rehearsed';
      return report;
    }
    const error = await this.#tried();
    if (error === undefined) {
      await this.#settle();
      report.outcome = 'applied';
    } else {
      await this.#undo();
      report.ok = false;
      report.error ??= error;
    }
    return report;
  }

  /** What goes wrong on the way, whoever says so, is why it goes back. */
  async #tried(): Promise<NativeFailure | undefined> {
    try {
      return (await this.#change()) ?? (await this.#confirm());
    } catch (error) {
      // Where nothing runs any more there is nothing to bring back.
      if (!(error instanceof VanityError) || this.#segment.state() !== 'running') throw error;
      return plain(error);
    }
  }

  /** Each new program, before the first is switched: false when one would be refused. */
  async #rehearse(): Promise<boolean> {
    for (const { part, name, action, because } of this.#report.changes) {
      if (part !== 'shard' || (action !== 'reload' && action !== 'set')) continue;
      const stage = this.#otherStage(name, this.#next.plan);
      // One whose channels are others is rehearsed when those are there.
      if (!stage && (action === 'set' || because.length > 0)) continue;
      const certificate = await this.#reload(name, this.#next.plan, true);
      if (!certificate.ok) {
        this.#step('shard', name, action, 'refused').certificates.push(certificate);
        this.#report.outcome = 'refused';
        this.#report.ok = false;
        this.#report.error = certificate.error;
        return false;
      }
      if (this.#options.dryRun) {
        this.#step('shard', name, action, 'done').certificates.push(certificate);
      }
    }
    return true;
  }

  #otherStage(name: string, plan: Plan): boolean {
    const { shards } = this.#now.plan;
    const now = shards.find((shard) => shard.name === name);
    return now !== undefined && otherStage(now, shardOf(plan, name));
  }

  async #change(): Promise<NativeFailure | undefined> {
    this.#now = { ...this.#now, settled: false };
    const { plan } = this.#next;
    const before = renamed(this.#before.plan, this.#room);
    const growth = growthOf(before, plan);
    for (const { part, name } of this.#report.changes) {
      if (part !== 'system') continue;
      await this.#setSystem(plan);
      this.#step('system', name, 'set', 'done');
    }
    const refused = await this.#grow(plan, growth, this.#room);
    if (refused) return refused;
    for (const { part, name, action, changed, because } of this.#inOrder(growth)) {
      if (this.#options.signal?.aborted) return interrupted();
      if (BORN.has(action)) {
        // It is there already.
      } else if (part === 'shard' && because.length > 0) {
        const error = await this.#changeChannels(name, plan, before);
        if (error) return error;
      } else if (part === 'shard' && action === 'set' && !this.#otherStage(name, plan)) {
        await this.#setShard(name, plan);
        this.#step('shard', name, 'set', 'done');
      } else if (part === 'shard' && action === 'move') {
        const error = await this.#move(name);
        this.#step('shard', name, 'move', error ? 'refused' : 'done');
        if (error) return error;
      } else if (part === 'shard' && (action === 'reload' || action === 'set')) {
        const certificate = await this.#reload(name, this.#next.plan, false);
        const kept = certificate.outcome === 'kept';
        const step = this.#step('shard', name, action, kept ? 'done' : 'refused');
        step.certificates.push(certificate);
        if (!kept) return certificate.error as NativeFailure;
      }
      const moves = (action === 'reload' || action === 'set') && changed.some(isCore);
      const error = (moves ? await this.#move(name) : undefined) ?? this.#look();
      if (error) return error;
    }
    return this.#shrink(plan, growth);
  }

  /** Those whose channels are others: whoever takes is ready before anybody sends. */
  #inOrder({ channels, goneChannels }: Growth): PartChange[] {
    const { changes } = this.#report;
    if (channels.length === 0 && goneChannels.length === 0) return changes;
    const order = consumersFirst(
      this.#next.plan,
      changes.flatMap(({ part, name }) => (part === 'shard' ? [name] : [])),
    );
    const place = ({ name }: PartChange): number => order.indexOf(name);
    return changes.filter(({ part }) => part === 'shard').sort((a, b) => place(a) - place(b));
  }

  /** New shards run afterwards, and nobody sends to them yet. */
  async #grow(
    plan: Plan,
    growth: Growth,
    room: Renames = NOBODY,
  ): Promise<NativeFailure | undefined> {
    const { shards, channels, ports } = growth;
    if (shards.length + channels.length + room.shards.size + room.channels.size === 0)
      return undefined;
    const manifest = { ...this.#now, plan: grown(renamed(this.#now.plan, room), plan, growth) };
    const grow = newParts(plan, growth, this.#coresFor(shards, room), room);
    const error = await changeParts(this.#segment, this.#path, { grow }, manifest);
    const outcome = error ? 'refused' : 'done';
    for (const { name } of shards)
      this.#step('shard', name, room.shards.has(name) ? 'restart' : 'add', outcome);
    for (const { name } of channels.map(({ channel }) => channel))
      this.#step('channel', name, room.channels.has(name) ? 'restart' : 'add', outcome);
    for (const { port } of ports) this.#step('port', port.name, 'add', outcome);
    if (error === undefined) this.#now = manifest;
    return error;
  }

  /** A core for each that has none of its own: one that no shard has, while there are such, or that of the one before it. */
  #coresFor(all: readonly ShardPlan[], room: Renames): Map<string, number> {
    const now = this.#segment.rows('shards').filter((row) => {
      const name = text(row, 'name');
      return name !== '' && !room.shards.has(name);
    });
    const shards = all.map((shard) => {
      const before = room.shards.has(shard.name) ? this.#cores.get(shard.name) : undefined;
      return shard.core === 'auto' && before !== undefined ? { ...shard, core: before } : shard;
    });
    const taken = now.map((row) => ({
      ...(shards[0] as ShardPlan),
      name: `${text(row, 'name')}`,
      core: count(row, 'core') === NOT_PINNED ? -1 : count(row, 'core'),
    }));
    const { plan } = resolveCores(
      { ...this.#next.plan, shards: [...taken, ...shards] },
      usableCpus(),
    );
    return new Map(plan.shards.slice(taken.length).map(({ name, core }) => [name, core]));
  }

  /** Its channels as `plan` has them, and inputs of `before` for as long as somebody sends. */
  async #changeChannels(
    name: string,
    plan: Plan,
    before: Plan,
    last = false,
  ): Promise<NativeFailure | undefined> {
    const leaving = last ? [] : leavingInputs(before, plan, name);
    const ends = [...endsOf(plan, name), ...leaving];
    const reload = shardOf(plan, name).programKind === 'native';
    const certificate = await this.#reload(name, plan, false, ends);
    const kept = certificate.outcome === 'kept';
    const known = this.#report.steps.find((step) => step.part === 'shard' && step.name === name);
    const step = known ?? this.#step('shard', name, reload ? 'reload' : 'set', 'done');
    step.certificates.push(certificate);
    if (kept) return undefined;
    if (!known) step.outcome = 'refused';
    return certificate.error as NativeFailure;
  }

  /** What nobody sends to any more is processed, then it ends, and all that it had is free. */
  async #shrink(plan: Plan, growth: Growth): Promise<NativeFailure | undefined> {
    const { goneShards, goneChannels, gonePorts } = growth;
    if (goneShards.length + goneChannels.length === 0) return undefined;
    const old = this.#now.plan;
    const end = { shards: goneShards, channels: [] as const };
    const free = { shards: goneShards, channels: goneChannels };
    const ask = (parts: Parameters<typeof changeParts>[2], manifest?: RunningManifest) =>
      changeParts(this.#segment, this.#path, parts, manifest);
    if (goneShards.length > 0) {
      const error = await ask({ end });
      if (error) return error;
    }
    for (const { name } of plan.shards) {
      if (leavingInputs(old, plan, name).length === 0) continue;
      const error = await this.#changeChannels(name, plan, old, true);
      if (error) return error;
    }
    const manifest = { ...this.#now, plan: shrunk(this.#now.plan, growth) };
    const error = await ask({ free }, manifest);
    const outcome = error ? 'stuck' : 'done';
    const { shards, channels } = backwards(this.#room);
    // What has made room was made anew, and that is a step already.
    for (const name of goneShards)
      if (!shards.has(name)) this.#step('shard', name, 'remove', outcome);
    for (const name of goneChannels)
      if (!channels.has(name)) this.#step('channel', name, 'remove', outcome);
    for (const name of gonePorts) this.#step('port', name, 'remove', outcome);
    if (error === undefined) this.#now = manifest;
    return error ?? this.#look();
  }

  async #confirm(): Promise<NativeFailure | undefined> {
    const { confirm } = this.#report;
    const began = performance.now();
    for (;;) {
      confirm.waited_ms = Math.round(performance.now() - began);
      if (this.#options.signal?.aborted) return interrupted();
      const error = this.#look();
      if (error) return error;
      if (confirm.waited_ms >= confirm.seconds * 1000) return undefined;
      await sleep(Math.min(LOOK_MS, confirm.seconds * 1000));
    }
  }

  #look(): NativeFailure | undefined {
    const worse = this.#health.worse();
    const [first] = worse;
    if (first === undefined) return undefined;
    this.#report.confirm.worse = worse;
    const { shard, what, before, after } = first;
    return plain(new VanityError('VANITY_E_APPLY_UNWELL', { shard, what, before, after }));
  }

  /** The new one is in force, and the one before is kept. */
  async #settle(): Promise<void> {
    const { generation, file, text, plan, settled, previous } = this.#before;
    const changed = this.#report.changes.length > 0;
    this.#now = {
      ...this.#next,
      generation: generation + (changed ? 1 : 0),
      settled: true,
      previous: changed && settled ? { generation, file, text, plan } : previous,
    };
    await this.#writeManifest();
  }

  async #undo(): Promise<void> {
    const report = this.#report;
    const steps = report.steps.filter(({ outcome }) => outcome === 'done').reverse();
    // What was made anew goes, and what made room for it is still there; or that is made anew as well.
    const names = [...this.#room.shards.values(), ...this.#room.channels.values()];
    const waits = [...this.#now.plan.shards, ...this.#now.plan.channels].some(({ name }) =>
      names.includes(name),
    );
    const room = !waits && steps.some(({ action }) => action === 'restart') ? this.#room : NOBODY;
    const plan = waits ? renamed(this.#before.plan, this.#room) : this.#before.plan;
    const there = renamed(this.#now.plan, room);
    const growth = growthOf(there, plan);
    const problem = await this.#grow(plan, growth, room);
    const channels = new Set(
      report.changes.flatMap(({ part, name, because }) =>
        part === 'shard' && because.length > 0 ? [name] : [],
      ),
    );
    const order = consumersFirst(plan, [...channels]);
    for (const name of problem ? [] : order) {
      const step = steps.find((one) => one.part === 'shard' && one.name === name);
      if (step === undefined || COMES.has(step.action)) continue;
      const back = (await this.#channelsBack(name, plan, there)) && (await this.#alsoBack(name));
      step.outcome = back ? 'back' : 'stuck';
    }
    for (const step of steps) {
      if (COMES.has(step.action)) continue;
      if (step.part === 'shard' && channels.has(step.name)) continue;
      if (step.part === 'system') {
        await this.#setSystem(this.#before.plan);
        step.outcome = 'back';
      } else if (step.action === 'set' && step.certificates.length === 0) {
        await this.#setShard(step.name, this.#before.plan);
        step.outcome = 'back';
      } else if (step.action === 'move') {
        step.outcome = (await this.#moveBack(step.name)) ? 'back' : 'stuck';
      } else {
        const back = (await this.#reloadBack(step)) && (await this.#alsoBack(step.name));
        step.outcome = back ? 'back' : 'stuck';
      }
    }
    const left =
      problem ??
      (await this.#shrink(plan, growth)) ??
      (waits ? await this.#grow(plan, NOTHING, backwards(this.#room)) : undefined);
    for (const step of steps) if (COMES.has(step.action)) step.outcome = left ? 'stuck' : 'back';
    // What was asked for on the way back is no step of its own.
    report.steps.splice(
      0,
      report.steps.length,
      ...report.steps.filter(({ outcome }) => outcome !== 'done'),
    );
    const stuck = report.steps.filter(({ outcome }) => outcome === 'stuck');
    report.outcome = stuck.length === 0 ? 'undone' : 'stuck';
    if (stuck.length === 0) {
      this.#now = this.#before;
      await this.#writeManifest();
      return;
    }
    const [one] = stuck as [ApplyStep];
    const why = one.certificates.at(-1)?.error?.message ?? left?.message ?? 'it does not run';
    report.error = plain(
      new VanityError('VANITY_E_APPLY_STUCK', { shard: one.name, problem: why }),
    );
  }

  async #channelsBack(name: string, plan: Plan, there: Plan): Promise<boolean> {
    const began = performance.now();
    for (;;) {
      const error = await this.#changeChannels(name, plan, there);
      if (error === undefined) return true;
      if (performance.now() - began > BACK_MS || !AGAIN.has(error.code)) return false;
      await sleep(LOOK_MS);
    }
  }

  async #reloadBack(step: ApplyStep): Promise<boolean> {
    const began = performance.now();
    for (;;) {
      const certificate = await this.#reload(step.name, this.#before.plan, false);
      // Whoever faults while it is asked can be asked again.
      const again = performance.now() - began < BACK_MS && AGAIN.has(certificate.error?.code ?? '');
      if (certificate.outcome === 'kept' || !again) {
        step.certificates.push(certificate);
        return certificate.outcome === 'kept';
      }
      await sleep(LOOK_MS);
    }
  }

  #step(
    part: ApplyStep['part'],
    name: string,
    action: ApplyStep['action'],
    outcome: ApplyStep['outcome'],
  ): ApplyStep {
    const step = { part, name, action, outcome, certificates: [] };
    this.#report.steps.push(step);
    return step;
  }

  async #reload(
    name: string,
    plan: Plan,
    dryRun: boolean,
    ends?: readonly string[],
  ): Promise<ReloadCertificate> {
    const { program, programKind, options, watch } = shardOf(plan, name);
    const { drain, bursts } = this.#options;
    const manifest = withShard(this.#now, name, { program, options, watch });
    const certificate = await changeShard(
      this.#segment,
      this.#path,
      name,
      {
        program: programKind === 'builtin' && !this.#otherStage(name, plan) ? '' : program,
        options,
        watch,
        ends,
        manifest: dryRun ? undefined : manifest,
      },
      { dryRun, drain: drain === true, ...(bursts === undefined ? {} : { bursts }) },
    );
    if (certificate.outcome === 'kept') this.#now = manifest;
    return certificate;
  }

  async #move(name: string): Promise<NativeFailure | undefined> {
    const { core } = shardOf(this.#next.plan, name);
    // It is on one already, and any will do.
    return this.#setShard(name, this.#next.plan, core === 'auto' ? undefined : core);
  }

  /** To the core where it was, whether it has left it or not. */
  async #moveBack(name: string): Promise<boolean> {
    const core = this.#cores.get(name);
    return (await this.#setShard(name, this.#before.plan, core)) === undefined;
  }

  /** Of what was reloaded or set: by its program or channels it is what it was. */
  async #alsoBack(name: string): Promise<boolean> {
    const change = this.#report.changes.find((one) => one.part === 'shard' && one.name === name);
    return change?.changed.some(isCore) ? this.#moveBack(name) : true;
  }

  async #setShard(name: string, plan: Plan, to?: number): Promise<NativeFailure | undefined> {
    const { watch, core } = shardOf(plan, name);
    const manifest = withShard(this.#now, name, { watch, core });
    const figures = { shard: name, watch, core: to, manifest };
    const error = await setFigures(this.#segment, this.#path, figures);
    if (error === undefined) this.#now = manifest;
    return error;
  }

  async #setSystem({ stallNs, drainNs }: Plan): Promise<void> {
    this.#now = { ...this.#now, plan: { ...this.#now.plan, stallNs, drainNs } };
    const manifest = this.#now;
    await setFigures(this.#segment, this.#path, { kernel: { stallNs, drainNs }, manifest });
  }

  async #writeManifest(): Promise<void> {
    await setFigures(this.#segment, this.#path, { manifest: this.#now });
    this.#report.generation = this.#now.generation;
  }
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

const plain = ({ code, message, hint }: VanityError): NativeFailure => ({ code, message, hint });

const interrupted = (): NativeFailure => plain(new VanityError('VANITY_E_APPLY_INTERRUPTED'));

function shardOf(plan: Plan, name: string): ShardPlan {
  const found = plan.shards.find((shard) => shard.name === name);
  if (found) return found;
  throw new VanityError('VANITY_E_INTERNAL', { problem: `a plan without its shard ${name}` });
}
