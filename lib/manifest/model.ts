import { existsSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import type * as z from 'zod';
import {
  type ErrorCode,
  type Location,
  type Parameters,
  type Related,
  VanityError,
  type Warning,
  type WarningCode,
  warn,
} from '../errors.js';
import { type ManifestSource, type Path, pathText, type Table } from './parse.js';
import {
  type ChannelEntry,
  channelSchema,
  choicesAt,
  type DeviceEntry,
  deviceSchema,
  expectationAt,
  kernelSchema,
  keysAt,
  manifestSchema,
  type PortEntry,
  portSchema,
  type ShardEntry,
  shardSchema,
  systemSchema,
} from './schema.js';
import { list, nearest } from './suggest.js';

/** One `[section.name]`; without a value when the schema refused it. */
export interface Entry<T> {
  readonly name: string;
  readonly path: Path;
  readonly value: T | undefined;
}

type Entries<T> = ReadonlyMap<string, Entry<T>>;

export const sections = ['shards', 'channels', 'ports', 'devices'] as const;
export type Section = (typeof sections)[number];

/**
 * A manifest after the schema: what is well-formed of it, and the errors so far. The rules work on what
 * is left, so that one mistake neither hides the others nor is reported twice.
 */
export class Model {
  readonly errors: VanityError[] = [];
  readonly warnings: Warning[] = [];
  readonly system: z.output<typeof systemSchema> | undefined;
  readonly kernel: z.output<typeof kernelSchema> | undefined;
  readonly shards: Entries<ShardEntry>;
  readonly channels: Entries<ChannelEntry>;
  readonly ports: Entries<PortEntry>;
  readonly devices: Entries<DeviceEntry>;

  // Places of values that the schema refused: something stands in for them, and no rule speaks of it.
  readonly #refused = new Set<Location>();
  /** Set when some channel or port names what isn't there: then nothing is known about who lacks one. */
  joinsRefused = false;

  constructor(readonly source: ManifestSource) {
    const clean = structuredCloneTable(source.value) as Table;
    const whole = manifestSchema.safeParse(clean);
    if (!whole.success) {
      for (const issue of whole.error.issues) this.#issue(issue, clean);
    }
    this.system = parsed(systemSchema, clean.system);
    this.kernel = parsed(kernelSchema, clean.kernel ?? {});
    this.shards = entries(clean, 'shards', shardSchema);
    this.channels = entries(clean, 'channels', channelSchema);
    this.ports = entries(clean, 'ports', portSchema);
    this.devices = entries(clean, 'devices', deviceSchema);
  }

  /** Whether every channel and port is well-formed, so that counting them means something. */
  get joinsKnown(): boolean {
    const joins = [...this.channels.values(), ...this.ports.values()];
    return !this.joinsRefused && joins.every((entry) => entry.value);
  }

  at(path: Path, what: 'key' | 'value' = 'value'): Location {
    return this.source.locate(path, what);
  }

  report(
    code: ErrorCode,
    parameters: Parameters,
    path: Path | Location,
    related: readonly Related[] = [],
  ): void {
    const location = Array.isArray(path) ? this.at(path as Path) : (path as Location);
    const places = [location, ...related.map((other) => other.location)];
    if (places.some((place) => this.#refused.has(place))) return;
    this.errors.push(new VanityError(code, parameters, { location, related }));
  }

  warn(code: WarningCode, parameters: Parameters, path?: Path): void {
    this.warnings.push(warn(code, parameters, path && this.at(path)));
  }

  /** The absolute path of a file the manifest names. */
  file(path: Path, name: string): string {
    if (isAbsolute(name)) return name;
    const beside = resolve(dirname(this.source.file), name);
    // Who types --set stands in a folder of their own; what is not there may be beside the manifest.
    if (this.source.setOf(path) === undefined) return beside;
    const here = resolve(name);
    return existsSync(here) || !existsSync(beside) ? here : beside;
  }

  #issue(issue: z.core.$ZodIssue, clean: Table): void {
    const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
    if (issue.code === 'unrecognized_keys') {
      const container = inside(clean, path);
      const written = new Set(Object.keys(container));
      const missing = keysAt(path).filter((key) => !written.has(key));
      for (const key of issue.keys) {
        const meant = nearest(key, missing) ?? nearest(key, keysAt(path));
        const at = [...path, key];
        this.report(
          'VANITY_E_KEY_UNKNOWN',
          {
            key,
            where: whereText(path),
            hint: keyHint(path, meant, container[key]),
          },
          this.at(at, 'key'),
        );
        // The misspelled key stands for the one it means, so that it isn't reported missing as well.
        if (meant !== undefined && !written.has(meant)) container[meant] = container[key];
        delete container[key];
      }
      return;
    }
    const key = String(path.at(-1) ?? '');
    const parent = path.slice(0, -1);
    const found = valueAt(this.source.value, path);
    if (found === undefined) {
      if (this.#misspelled(parent, key)) return;
      const section = path.length === 1 ? topLevel[key] : undefined;
      const expectation = expectationAt(path);
      this.report(
        'VANITY_E_KEY_MISSING',
        {
          where: whereText(parent),
          key,
          expects: section?.expects ?? expectation?.expects ?? 'a table',
          line: section?.line ?? `${key} = ${expectation?.example ?? '…'}`,
        },
        this.at(parent, 'key'),
      );
      return;
    }
    const expectation = expectationAt(path);
    // A value can break two conditions of the schema at once.
    if (this.#refused.has(this.at(path))) return;
    this.report(
      'VANITY_E_VALUE',
      {
        path: pathText(path) || 'the manifest',
        expects:
          expectation?.expects ??
          (keysAt(path).length > 0 || path.length < 3 ? 'a table' : 'a list or table'),
        found: foundText(found),
        hint: valueHint(path, key, found, expectation?.example),
      },
      path,
    );
    for (const place of this.source.placesWithin(path)) this.#refused.add(place);
    if ((path[0] === 'channels' || path[0] === 'ports') && joinKeys.has(String(path[2] ?? ''))) {
      this.joinsRefused = true;
    }
    const choices = choicesAt(path);
    const word = typeof found === 'string' ? found : '';
    const standIn = choices.length > 0 ? nearest(word, choices) : example(expectation?.example);
    if (standIn !== undefined) inside(clean, parent)[key] = standIn;
  }

  #misspelled(parent: Path, key: string): boolean {
    const container = valueAt(this.source.value, parent);
    if (typeof container !== 'object' || container === null) return false;
    const known = keysAt(parent);
    return Object.keys(container).some(
      (word) => !known.includes(word) && nearest(word, known) === key,
    );
  }
}

const joinKeys = new Set(['from', 'to', 'rx', 'tx', '']);

const example = (text: string | undefined): unknown =>
  text === undefined ? undefined : JSON.parse(text);

const topLevel: Record<string, { expects: string; line: string }> = {
  system: {
    expects: 'the name of the system',
    line: 'the section [system] with name = "my-system"',
  },
  shards: {
    expects: 'at least one shard',
    line: 'a section such as [shards.worker] with program = "count"',
  },
};

function keyHint(path: Path, meant: string | undefined, value: unknown): string {
  if (meant === undefined) return `Known here: ${list(keysAt(path), 'and', 20)}.`;
  if (path.length === 0) return `Did you mean "${meant}"? Type: [${meant}${sectionSuffix(meant)}]`;
  const scalar = typeof value === 'object' ? '' : ` Type: ${meant} = ${foundText(value)}`;
  return `Did you mean "${meant}"?${scalar}`;
}

const sectionSuffix = (section: string) =>
  (sections as readonly string[]).includes(section) ? '.NAME' : '';

function valueHint(path: Path, key: string, found: unknown, example: string | undefined): string {
  const choices = choicesAt(path);
  const meant = typeof found === 'string' ? nearest(found, choices) : undefined;
  if (meant !== undefined) return `Did you mean "${meant}"? Type: ${key} = "${meant}"`;
  if (example !== undefined) return `Type, for example: ${key} = ${example}`;
  return path.length === 1 ? `Type: [${key}${sectionSuffix(key)}]` : `Type: [${pathText(path)}]`;
}

export function whereText(path: Path): string {
  return path.length === 0 ? 'the manifest' : `[${pathText(path)}]`;
}

/** How a message shows a value that was found. */
export function foundText(value: unknown): string {
  if (value instanceof Date) return 'a date';
  if (Array.isArray(value))
    return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a table';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value);
}

function valueAt(from: unknown, path: Path): unknown {
  let current = from;
  for (const part of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, part))
      return undefined;
    current = (current as Table)[part];
  }
  return current;
}

function inside(from: Table, path: Path): Table {
  return valueAt(from, path) as Table;
}

function parsed<T extends z.ZodType>(schema: T, value: unknown): z.output<T> | undefined {
  return schema.safeParse(value).data;
}

function entries<T extends z.ZodType>(
  clean: Table,
  section: Section,
  schema: T,
): Entries<z.output<T>> {
  const result = new Map<string, Entry<z.output<T>>>();
  const all = clean[section];
  if (typeof all !== 'object' || all === null || Array.isArray(all)) return result;
  for (const [name, value] of Object.entries(all)) {
    result.set(name, { name, path: [section, name], value: parsed(schema, value) });
  }
  return result;
}

function structuredCloneTable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(structuredCloneTable);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  const copy = Object.create(null) as Table;
  for (const [key, inner] of Object.entries(value)) copy[key] = structuredCloneTable(inner);
  return copy;
}
