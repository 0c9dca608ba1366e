// Replaces the program of a shard while it runs. It is asked for by words of the segment, and so is the
// answer: this process may be another than the one that runs the system.
import { closeSync } from 'node:fs';
import { resolve } from 'node:path';
import { VanityError } from '../errors.js';
import { limits } from '../manifest/limits.js';
import type { WatchPlan } from '../manifest/plan.js';
import {
  decodeManifest,
  encodeManifest,
  type RunningManifest,
  withShard,
} from '../manifest/running.js';
import { type NativeFailure, type NativeReload, native } from '../native.js';
import { type Count, count, type Row, type Segment, text } from '../telemetry/segment.js';
import { shardIndex, shardNames } from '../telemetry/systems.js';

export interface ReloadOptions {
  /** Not before the shard's inputs are empty; otherwise what waits in them is the new program's. */
  drain?: boolean;
  /** Everything up to the switch. */
  dryRun?: boolean;
  /** How long the shard may stand still. A longer pause is an error of the certificate; nothing is undone for it. */
  budgetUs?: number;
  /** Bursts that the new program is on trial for; 64. */
  bursts?: number;
}

/** What a program took over at which count of the shard. */
export interface ReloadRange {
  generation: number;
  received: [number, number];
  sent: [number, number];
}

/** What came of a reload, as it was measured. */
export interface ReloadCertificate {
  system: string;
  shard: string;
  /** `kept`: the new program runs. `undone`: it was on trial, and the old one is back. `refused`: the old one never stopped for it. */
  outcome: 'kept' | 'undone' | 'refused' | 'rehearsed';
  /** Kept, or rehearsed; within its budget, and every packet accounted for. */
  ok: boolean;
  error: NativeFailure | null;
  from: { program: string; version: string };
  to: { program: string; version: string; file: string };
  /** Of the program that runs now. */
  generation: number;
  state: {
    handed: 'nothing' | 'restored' | 'migrated';
    bytes: number;
    from_hash: string;
    to_hash: string;
    difference: string[];
  };
  /**
   * From the end of the old one's last turn to the beginning of the new one's first. Where both are TypeScript, the
   * longest time without a turn while the new one was loaded, if that was longer: it is loaded in the shard's thread.
   */
  pause_us: number;
  budget_us: number | null;
  first_turn_us: number;
  back_us: number;
  prepare_ms: number;
  trial_ms: number;
  rehearsed_bursts: number;
  trial_bursts: number;
  /** Of this shard, from when it heard of the reload to the end of the trial. */
  packets: {
    held_before: number;
    in: number;
    made: number;
    out: number;
    consumed: number;
    filtered: number;
    dropped: { channel_full: number; port_full: number; fault: number };
    held: number;
    /** Of those held, what the old one is given once more. */
    again: number;
    /** Null where messages are counted along. */
    unaccounted: number | null;
  };
  ranges: ReloadRange[];
  /** Of a program that counts `seq_checked`, `seq_missing` and `seq_reordered`, in the meantime. */
  sequence: { shard: string; checked: number; missing: number; reordered: number } | null;
}

const LOOK_MS = 1;
const PATIENCE_MS = 60_000;
const STOP_MS = 2000;
const BURSTS = 64;

/** Asks, waits for the answer, and reads it. Throws when there is none; what was refused is in the certificate. */
export async function reloadProgram(
  segment: Segment,
  path: string,
  shard: string,
  program: string,
  options: ReloadOptions = {},
): Promise<ReloadCertificate> {
  shardIndex(segment, shard);
  return alone(path, () => {
    const file = resolve(program);
    const running = runningManifest(segment);
    const manifest = running && withShard(running, shard, { program: file });
    return changeShard(segment, path, shard, { program: file, manifest }, options);
  });
}

/** Nobody else changes the system meanwhile. Throws VANITY_E_RELOAD_BUSY when somebody does. */
export async function alone<T>(path: string, act: () => Promise<T>): Promise<T> {
  let claim: number;
  try {
    claim = native.claimSystem(path);
  } catch (error) {
    throw VanityError.from(error);
  }
  if (claim < 0) throw new VanityError('VANITY_E_RELOAD_BUSY');
  try {
    return await act();
  } finally {
    closeSync(claim);
  }
}

/** The manifest in force; undefined in the segment of a build that wrote none down. */
export function runningManifest(segment: Segment): RunningManifest | undefined {
  const found = segment.manifest();
  return found && decodeManifest(found.text);
}

const written = (manifest: RunningManifest): { generation: number; text: string } => ({
  generation: manifest.generation,
  text: encodeManifest(manifest),
});

export interface ShardChange {
  /** '': only other channels. */
  program: string;
  /** Names of its channels from then on. */
  ends?: readonly string[] | undefined;
  /** Those that it has, otherwise. */
  options?: Readonly<Record<string, string>> | undefined;
  watch?: WatchPlan | undefined;
  /** In force once the program was kept. */
  manifest: RunningManifest | undefined;
}

/** Figures of a shard or of the kernel, or a shard's core, in force at once with the manifest; why not, otherwise. */
export async function setFigures(
  segment: Segment,
  path: string,
  figures: {
    shard?: string;
    watch?: WatchPlan | undefined;
    /** -1: not pinned. */
    core?: number | undefined;
    kernel?: { stallNs: number; drainNs: number };
    manifest: RunningManifest;
  },
): Promise<NativeFailure | undefined> {
  const { shard, watch, core, kernel, manifest } = figures;
  const number = ask(path, {
    shard: shard === undefined ? 0 : shardIndex(segment, shard),
    program: '',
    drain: false,
    dryRun: false,
    bursts: 1,
    ...(watch && { watch }),
    ...(kernel && { kernel }),
    ...(core !== undefined && { core }),
    manifest: written(manifest),
  });
  return failureOf(await answered(segment, shard ?? '', number));
}

/** What comes, ends or is freed, in force at once with the manifest; why not, otherwise. */
export async function changeParts(
  segment: Segment,
  path: string,
  parts: Pick<NativeReload, 'grow' | 'end' | 'free'>,
  manifest: RunningManifest | undefined,
): Promise<NativeFailure | undefined> {
  const number = ask(path, {
    shard: 0,
    program: '',
    drain: false,
    dryRun: false,
    bursts: 1,
    ...parts,
    ...(manifest && { manifest: written(manifest) }),
  });
  return failureOf(await answered(segment, '', number));
}

function failureOf(answer: Row): NativeFailure | undefined {
  const code = text(answer, 'code');
  return code === ''
    ? undefined
    : { code, message: text(answer, 'message'), hint: text(answer, 'hint') };
}

function ask(path: string, request: NativeReload): number {
  try {
    return native.askReload(path, request);
  } catch (error) {
    throw VanityError.from(error);
  }
}

/** As `reloadProgram`, with what goes along, for whoever is `alone`. */
export async function changeShard(
  segment: Segment,
  path: string,
  shard: string,
  change: ShardChange,
  options: ReloadOptions,
): Promise<ReloadCertificate> {
  const names = shardNames(segment);
  const bursts = options.bursts ?? BURSTS;
  if (!Number.isInteger(bursts) || bursts < 1 || bursts > limits.reloadBursts) {
    throw new VanityError('VANITY_E_LIMIT', {
      what: 'bursts on trial',
      count: bursts,
      limit: limits.reloadBursts,
      hint: `Type a whole number from 1 to ${limits.reloadBursts}.`,
    });
  }
  const before = sequences(segment, names);
  const { program, ends, options: settings, watch, manifest } = change;
  const number = ask(path, {
    shard: shardIndex(segment, shard),
    program,
    drain: options.drain === true,
    dryRun: options.dryRun === true,
    bursts,
    ...(settings && { options: settings }),
    ...(watch && { watch }),
    ...(ends && { ends }),
    ...(manifest && { manifest: written(manifest) }),
  });
  const answer = await answered(segment, shard, number);
  return certificate(
    segment,
    shard,
    answer,
    options,
    difference(before, sequences(segment, names)),
  );
}

async function answered(segment: Segment, shard: string, number: number): Promise<Row> {
  const began = performance.now();
  for (;;) {
    const [row] = segment.rows('reloads') as [Row];
    if (count(row, 'answered') >= number && text(row, 'state') !== 'working') {
      // Its words were there before that; these are read after it.
      const [last] = segment.rows('reloads') as [Row];
      if (count(last, 'answered') === number) return last;
      throw new VanityError('VANITY_E_RELOAD_BUSY');
    }
    const waited = performance.now() - began;
    const over = segment.state() !== 'running' && segment.state() !== 'booting';
    if (waited > (over ? STOP_MS : PATIENCE_MS)) {
      throw new VanityError('VANITY_E_COMMAND_LATE', {
        system: segment.name,
        shard,
        ms: Math.round(waited),
        what: over ? 'the system stops' : 'the reload is still under way',
      });
    }
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

function certificate(
  segment: Segment,
  shard: string,
  row: Row,
  options: ReloadOptions,
  sequence: ReloadCertificate['sequence'],
): ReloadCertificate {
  const of = (field: string): number => count(row, field);
  const us = (field: string): number => Math.round(of(field) / 10) / 100;
  const ms = (field: string): number => Math.round(of(field) / 10_000) / 100;
  const outcome = text(row, 'outcome') as ReloadCertificate['outcome'];
  const switched = outcome === 'kept' || outcome === 'undone';
  const unaccounted = of('balanced') === 1 ? of('unaccounted') : null;
  const pause_us = us('pause_ns');
  const code = text(row, 'code');
  let error: NativeFailure | null =
    code === '' ? null : { code, message: text(row, 'message'), hint: text(row, 'hint') };
  if (error === null && options.budgetUs !== undefined && pause_us > options.budgetUs) {
    const { code, message, hint } = new VanityError('VANITY_E_RELOAD_BUDGET', {
      shard,
      pause: pause_us,
      budget: options.budgetUs,
      example: Math.ceil(pause_us * 2),
    });
    error = { code, message, hint };
  }
  return {
    system: segment.name,
    shard,
    outcome,
    ok: error === null && (unaccounted ?? 0) === 0,
    error,
    from: { program: text(row, 'old_name'), version: text(row, 'old_version') },
    to: {
      program: text(row, 'new_name'),
      version: text(row, 'new_version'),
      file: text(row, 'path'),
    },
    generation: of('generation'),
    state: {
      handed: switched ? (text(row, 'handed') as 'restored') : 'nothing',
      bytes: of('state_bytes'),
      from_hash: hex(row.old_hash as Count),
      to_hash: hex(row.new_hash as Count),
      difference: text(row, 'difference').split('; ').filter(Boolean),
    },
    pause_us,
    budget_us: options.budgetUs ?? null,
    first_turn_us: us('first_turn_ns'),
    back_us: us('back_ns'),
    prepare_ms: ms('prepare_ns'),
    trial_ms: ms('trial_ns'),
    rehearsed_bursts: of('warm_bursts'),
    trial_bursts: of('trial_bursts'),
    packets: {
      held_before: of('held_before'),
      in: of('end_received') - of('began_received'),
      made: of('allocated'),
      out: of('end_sent') - of('began_sent'),
      consumed: of('consumed'),
      filtered: of('filtered'),
      dropped: {
        channel_full: of('dropped_full'),
        port_full: of('dropped_port'),
        fault: of('dropped_fault'),
      },
      held: of('held'),
      again: of('again'),
      unaccounted,
    },
    ranges: switched ? ranges(row, outcome) : [],
    sequence,
  };
}

// The old program up to the switch; the new one from there on, up to where it was kept or undone.
function ranges(row: Row, outcome: ReloadCertificate['outcome']): ReloadRange[] {
  const fresh = count(row, 'generation') + (outcome === 'undone' ? 1 : 0);
  const range = (generation: number, from: string, to: string): ReloadRange => ({
    generation,
    received: [count(row, `${from}_received`), count(row, `${to}_received`)],
    sent: [count(row, `${from}_sent`), count(row, `${to}_sent`)],
  });
  return [range(fresh - 1, 'began', 'switch'), range(fresh, 'switch', 'end')];
}

const hex = (value: Count): string => `0x${BigInt(value).toString(16).padStart(16, '0')}`;

type Sequence = NonNullable<ReloadCertificate['sequence']>;

function sequences(segment: Segment, names: readonly string[]): Sequence | null {
  const rows = segment.rows('shards');
  for (const [index, shard] of names.entries()) {
    const user = rows[index]?.user as Row | undefined;
    if (user === undefined || !Object.hasOwn(user, 'seq_checked')) continue;
    const [checked, missing, reordered] = ['checked', 'missing', 'reordered'].map((name) =>
      count(user, `seq_${name}`),
    ) as [number, number, number];
    return { shard, checked, missing, reordered };
  }
  return null;
}

function difference(before: Sequence | null, after: Sequence | null): Sequence | null {
  if (before === null || after === null) return after;
  return {
    shard: after.shard,
    checked: after.checked - before.checked,
    missing: after.missing - before.missing,
    reordered: after.reordered - before.reordered,
  };
}
