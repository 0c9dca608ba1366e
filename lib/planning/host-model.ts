// A machine as planning sees it: cores, what a cache line takes from one to another, how long a wake takes, and what a
// packet costs each program. Every number of it names its source, or says "assumed".
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { VanityError } from '../errors.js';
import { type ManifestSource, parseManifest, pathText, readManifest } from '../manifest/parse.js';

const figure = (min: number, max: number, what: string) =>
  z.strictObject({
    value: z.number({ error: what }).min(min, { error: what }).max(max, { error: what }),
    source: z.string({ error: SOURCE }).min(1, { error: SOURCE }),
  });
const SOURCE = 'text that says where the number is from, or "assumed"';
const ns = (what: string) => figure(0, 1e9, `nanoseconds, ${what}`);

const programSchema = z.strictObject({
  /** A burst with its input in the core's own cache: once, and for each packet, on a core of speed 1. */
  burst_ns: ns('from 0 to 1e9'),
  packet_ns: ns('from 0 to 1e9'),
  /** Cache lines that a packet waits for when it comes from, or goes to, another core. */
  lines_in: figure(0, 1000, 'cache lines, from 0 to 1000'),
  lines_out: figure(0, 1000, 'cache lines, from 0 to 1000'),
});

const hostSchema = z.strictObject({
  title: z.string().min(1),
  cores: z.strictObject({
    count: figure(1, 1024, 'a number of cores from 1 to 1024'),
    per_socket: figure(1, 1024, 'a number of cores from 1 to 1024'),
    speed: figure(0.01, 100, 'a factor from 0.01 to 100: a core of the costs is 1'),
  }),
  line_ns: z.strictObject({ socket: ns('from 0 to 1e9'), across: ns('from 0 to 1e9') }),
  wake_ns: ns('from 0 to 1e9: from the signal to the first instruction'),
  switch_ns: ns('from 0 to 1e9: from one shard to another on one core'),
  programs: z.record(z.string(), programSchema),
  /** What a packet costs the shard that takes it from a port, by what stands behind the port. */
  receive: z.strictObject({
    capture: ns('from 0 to 1e9'),
    device: ns('from 0 to 1e9'),
    socket: ns('from 0 to 1e9'),
  }),
});

export type HostModel = z.output<typeof hostSchema>;
export type ProgramCost = z.output<typeof programSchema>;

const FOLDER = fileURLToPath(new URL('../../hosts/', import.meta.url));

/** The models that come with the package. */
export function modelNames(): string[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith('.toml') && name !== 'programs.toml')
    .map((name) => name.slice(0, -5))
    .sort();
}

/** Reads a model by its path, or by the name of one that comes with the package. Costs that it has not are those of hosts/programs.toml. */
export function readHostModel(name: string): HostModel {
  const shipped = `${FOLDER}${name}.toml`;
  const file = !name.includes('/') && existsSync(shipped) ? shipped : name;
  if (!existsSync(file))
    throw new VanityError('VANITY_E_HOST_MODEL_READ', { name, names: modelNames().join(', ') });
  const common = parseManifest('programs.toml', readManifest(`${FOLDER}programs.toml`));
  const source = parseManifest(file, readManifest(file));
  const joined = (key: string) => ({
    ...(common.value[key] as object),
    ...((source.value[key] ?? {}) as object),
  });
  const whole = { ...source.value, programs: joined('programs'), receive: joined('receive') };
  const parsed = hostSchema.safeParse(whole);
  if (parsed.success) return parsed.data;
  throw errorOf(source, parsed.error.issues[0]);
}

function errorOf(source: ManifestSource, issue: z.core.$ZodIssue | undefined): VanityError {
  const path = (issue?.path ?? []).map((part) => (typeof part === 'number' ? part : String(part)));
  if (issue?.code === 'unrecognized_keys') {
    const key = [...path, issue.keys[0] ?? ''];
    const problem = `${pathText(key)} is no key of a host model`;
    return new VanityError(
      'VANITY_E_HOST_MODEL',
      { problem },
      { location: source.locate(key, 'key') },
    );
  }
  const problem = `${pathText(path)} must be ${issue?.message ?? 'something else'}`;
  return new VanityError('VANITY_E_HOST_MODEL', { problem }, { location: source.locate(path) });
}
