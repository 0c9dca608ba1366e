import { closeSync, openSync, readSync } from 'node:fs';
import { type AST, ParseError, parseTOML } from 'toml-eslint-parser';
import { type Location, type Related, VanityError } from '../errors.js';
import { limits } from './limits.js';

export type Path = readonly (string | number)[];
export type Table = { [key: string]: unknown };

interface Place {
  readonly key: Location;
  readonly value: Location;
}

/** `shards.rx.core`, quoted where TOML would quote. */
export function pathText(path: Path): string {
  return path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`;
      const text = /^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part);
      return index === 0 ? text : `.${text}`;
    })
    .join('');
}

/** What a manifest says, and where it says it. */
export class ManifestSource {
  readonly value: Table = table();
  readonly #places = new Map<string, Place>();
  readonly #lines: readonly string[];

  constructor(
    readonly file: string,
    readonly text: string,
  ) {
    this.#lines = text.split(/\r\n|\r|\n/);
  }

  /** An object that stands for a file; its places are its paths only. */
  static of(file: string, value: object): ManifestSource {
    const source = new ManifestSource(file, '');
    Object.assign(source.value, value);
    return source;
  }

  /** The place of a value or key; of the nearest thing around it when it isn't written anywhere. */
  locate(path: Path, what: 'key' | 'value' = 'value'): Location {
    for (let length = path.length; length > 0; length--) {
      const place = this.#places.get(JSON.stringify(path.slice(0, length)));
      if (place) return length === path.length ? place[what] : place.key;
    }
    return this.#at({ start: { line: 1, column: 0 }, end: { line: 1, column: 0 } });
  }

  /** The `--set` that gave this value, if one did. */
  setOf(path: Path): string | undefined {
    return this.locate(path).set;
  }

  /** Whether the file or a `--set` wrote this. */
  has(path: Path): boolean {
    return this.#places.has(JSON.stringify(path));
  }

  /** @internal */
  read(program: AST.TOMLProgram): void {
    for (const node of program.body[0].body) {
      if (node.type === 'TOMLKeyValue') {
        this.#keyValue(this.value, [], node);
        continue;
      }
      const path = node.resolvedKey;
      const place = this.#at(node.key.loc);
      for (let length = 1; length <= path.length; length++)
        this.#note(path.slice(0, length), place);
      const target = descend(this.value, path);
      for (const child of node.body) this.#keyValue(target, path, child);
    }
  }

  /** Applies one `--set key.path=value`. */
  set(argument: string): void {
    const refusal = (problem: string) =>
      new VanityError('VANITY_E_SET', { text: argument, problem });
    const parsed = parseSet(argument);
    if (!parsed) throw refusal('not of the form key.path=value');
    const { keys, value } = parsed;
    let target: unknown = this.value;
    const path: (string | number)[] = [];
    for (const [index, key] of keys.entries()) {
      let part: string | number = key;
      if (Array.isArray(target)) {
        part = Number(key);
        if (!/^\d+$/.test(key) || part >= target.length) {
          throw refusal(`${pathText(path)} is a list of ${target.length}; "${key}" is not in it`);
        }
      } else if (typeof target !== 'object' || target === null) {
        throw refusal(`${pathText(path)} is a value, not a table`);
      }
      path.push(part);
      const container = target as Table;
      if (index === keys.length - 1) {
        container[part] = value;
      } else {
        if (!Object.hasOwn(container, part)) container[part] = table();
        target = container[part];
      }
    }
    // What the old value had inside is gone.
    const prefix = JSON.stringify(path).slice(0, -1);
    for (const known of this.#places.keys())
      if (known.startsWith(`${prefix},`)) this.#places.delete(known);
    const start = argument.indexOf('=') + 2;
    const place: Location = {
      file: this.file,
      line: 1,
      column: start,
      endLine: 1,
      endColumn: Math.max(start, argument.length + 1),
      source: argument,
      set: argument,
    };
    for (let length = 1; length < path.length; length++) {
      const at = JSON.stringify(path.slice(0, length));
      if (!this.#places.has(at)) this.#places.set(at, { key: place, value: place });
    }
    this.#places.set(JSON.stringify(path), { key: place, value: place });
  }

  /** The places of a value, its key and everything inside it. */
  placesWithin(path: Path): Location[] {
    const prefix = JSON.stringify(path).slice(0, -1);
    const own = [this.locate(path), this.locate(path, 'key')];
    const inner = [...this.#places].filter(([at]) => at.startsWith(`${prefix},`));
    return [...own, ...inner.flatMap(([, { key, value }]) => [key, value])];
  }

  position(line: number, column: number, length = 1): Location {
    return this.#at({ start: { line, column }, end: { line, column: column + length } });
  }

  #note(path: Path, key: Location, value: Location = key): void {
    const at = JSON.stringify(path);
    if (!this.#places.has(at)) this.#places.set(at, { key, value });
  }

  #keyValue(target: Table, path: Path, node: AST.TOMLKeyValue): void {
    const keys = node.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value));
    const full = [...path, ...keys];
    const key = this.#at(node.key.loc);
    for (let length = path.length + 1; length < full.length; length++)
      this.#note(full.slice(0, length), key);
    this.#note(full, key, this.#at(node.value.loc));
    descend(target, keys.slice(0, -1))[keys.at(-1) as string] = this.#content(full, node.value);
  }

  #content(path: Path, node: AST.TOMLContentNode): unknown {
    if (node.type === 'TOMLArray') {
      return node.elements.map((element, index) => {
        this.#note([...path, index], this.#at(element.loc));
        return this.#content([...path, index], element);
      });
    }
    if (node.type === 'TOMLInlineTable') {
      const result = table();
      for (const child of node.body) this.#keyValue(result, path, child);
      return result;
    }
    return node.value;
  }

  #at(loc: AST.SourceLocation): Location {
    return {
      file: this.file,
      line: loc.start.line,
      column: loc.start.column + 1,
      endLine: loc.end.line,
      endColumn: loc.end.column + 1,
      source: this.#lines[loc.start.line - 1] ?? '',
    };
  }
}

// Without a prototype, so that a key named __proto__ is a key like any other.
function table(): Table {
  return Object.create(null) as Table;
}

function descend(from: Table, path: Path): Table {
  let target: Table = from;
  for (const [index, key] of path.entries()) {
    if (!Object.hasOwn(target, key))
      target[key] = typeof path[index + 1] === 'number' ? [] : table();
    target = target[key] as Table;
  }
  return target;
}

function parseSet(argument: string): { keys: string[]; value: unknown } | undefined {
  const equals = argument.indexOf('=');
  if (equals <= 0) return undefined;
  const one = (text: string): { keys: string[]; value: unknown } | undefined => {
    try {
      const source = new ManifestSource('--set', text);
      const program = parseTOML(text, { tomlVersion: '1.0' });
      const [node, ...rest] = program.body[0].body;
      if (node?.type !== 'TOMLKeyValue' || rest.length > 0) return undefined;
      source.read(program);
      const keys = node.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value));
      let value: unknown = source.value;
      for (const key of keys) value = (value as Table)[key];
      return value instanceof Date ? undefined : { keys, value };
    } catch {
      return undefined;
    }
  };
  const whole = one(argument);
  if (whole) return whole;
  const bare = one(`${argument.slice(0, equals)}=0`);
  return bare && { keys: bare.keys, value: argument.slice(equals + 1) };
}

/** Reads the file, no further than the limit. */
export function readManifest(file: string): string {
  if (/\.(ts|mts|js|mjs)$/.test(file)) throw new VanityError('VANITY_E_MANIFEST_KIND', { file });
  const limit = limits.manifestBytes;
  const content = Buffer.alloc(limit + 1);
  let bytes = 0;
  try {
    const fd = openSync(file, 'r');
    try {
      // A device or a pipe has no size to ask for, and may have no end.
      for (let got = -1; got !== 0 && bytes <= limit; bytes += got) {
        got = readSync(fd, content, bytes, content.length - bytes, null);
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const reason = reasonOf(error);
    throw new VanityError('VANITY_E_MANIFEST_READ', { file, reason }, { cause: error });
  }
  if (bytes > limit) throw new VanityError('VANITY_E_MANIFEST_SIZE', { file, limit });
  return content.toString('utf8', 0, bytes);
}

function reasonOf(error: unknown): string {
  const code = (error as { code?: string }).code;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EACCES') return 'permission denied';
  return error instanceof Error ? error.message : String(error);
}

/** Parses the text of a manifest and lays the overrides over it; throws the first syntax error. */
export function parseManifest(
  file: string,
  text: string,
  set: readonly string[] = [],
): ManifestSource {
  const source = new ManifestSource(file, text.replace(/^\uFEFF/, ''));
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(source.text, { tomlVersion: '1.0' });
  } catch (error) {
    if (error instanceof ParseError) throw syntaxError(source, error);
    if (error instanceof RangeError) {
      // Thousands of nested brackets: the parser descends once for each.
      throw new VanityError(
        'VANITY_E_TOML',
        { problem: 'nested too deeply', hint: 'Flatten it.' },
        {
          location: source.position(1, 0),
        },
      );
    }
    throw error;
  }
  source.read(program);
  for (const argument of set) source.set(argument);
  return source;
}

const syntaxHints: readonly [RegExp, string][] = [
  [
    /Unspecified values|Unexpected character/,
    'Type: key = value; text stands in double quotes: key = "text"',
  ],
  [/Unterminated string/, 'Close the string with " on the same line.'],
  [/Unterminated (array|inline)/, 'Close it with ] or }; an inline table stands on one line.'],
  [/equal/i, 'Type: key = value'],
  [/comma/i, 'Separate elements with commas: [1, 2, 3]'],
  [/newline/i, 'Put every key on a line of its own.'],
];

function syntaxError(source: ManifestSource, error: ParseError): VanityError {
  const location = source.position(error.lineNumber, error.column);
  if (error.message.startsWith('Defining a key multiple times')) {
    const found = firstDefinition(source, error);
    return new VanityError(
      'VANITY_E_DUPLICATE',
      { key: found?.key ?? keyAt(location) },
      { location: found?.second ?? location, related: found?.related ?? [] },
    );
  }
  const problem = error.message.charAt(0).toLowerCase() + error.message.slice(1);
  const hint = syntaxHints.find(([pattern]) => pattern.test(error.message))?.[1];
  return new VanityError(
    'VANITY_E_TOML',
    { problem, hint: hint ?? 'See https://toml.io/en/v1.0.0 for the syntax.' },
    { location },
  );
}

// The parser says where the second definition stands; what comes before it parses, and has the first.
function firstDefinition(
  source: ManifestSource,
  error: ParseError,
): { key: string; second: Location; related: Related[] } | undefined {
  try {
    const lines = source.text.split(/\r\n|\r|\n/);
    const before = lines.slice(0, error.lineNumber - 1).join('\n');
    const earlier = parseTOML(before, { tomlVersion: '1.0' });
    const known = new ManifestSource(source.file, source.text);
    known.read(earlier);
    const line = lines[error.lineNumber - 1] ?? '';
    const here = parseTOML(line, { tomlVersion: '1.0' }).body[0].body[0];
    if (!here) return undefined;
    const keys = here.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value));
    const last = earlier.body[0].body.at(-1);
    const base = here.type === 'TOMLKeyValue' && last?.type === 'TOMLTable' ? last.resolvedKey : [];
    const path = [...base, ...keys];
    const second = source.position(
      error.lineNumber,
      here.key.loc.start.column,
      width(here.key.loc),
    );
    const related = known.has(path)
      ? [{ message: 'first defined here', location: known.locate(path, 'key') }]
      : [];
    return { key: pathText(path), second, related };
  } catch {
    return undefined;
  }
}

function width(loc: AST.SourceLocation): number {
  return Math.max(1, loc.end.column - loc.start.column);
}

function keyAt(location: Location): string {
  const word = /^[\w.-]+/.exec(location.source.slice(location.column - 1))?.[0];
  return word === undefined ? 'a key' : `the key "${word}"`;
}
