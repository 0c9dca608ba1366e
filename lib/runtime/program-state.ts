// The state that a program hands on to the one that takes its place: its description, how two of them differ, and the
// copy that travels. As native/shard/state.cpp does it for native modules, but for places in memory.
import { deserialize, serialize } from 'node:v8';
import { limits } from '../manifest/limits.js';

/** A number of that width. 64-bit integers are bigints. */
export type StateNumber =
  | 'u8'
  | 'u16'
  | 'u32'
  | 'u64'
  | 'i8'
  | 'i16'
  | 'i32'
  | 'i64'
  | 'f32'
  | 'f64';

/**
 * What a field holds: a number, so many of them (`u64[8]`: an array, or a typed one), a boolean, a string, a
 * Uint8Array of any length, or any `value` that Node's `v8.serialize` copies: objects, arrays, maps, sets.
 */
export type StateType =
  | StateNumber
  | `${StateNumber}[${number}]`
  | 'bool'
  | 'text'
  | 'bytes'
  | 'value';

/** The type of a state, by which two programs know whether they mean the same. */
export interface StateDescription {
  readonly name: string;
  /** Another one where fields of the same type have come to mean something else. */
  readonly version: number;
  readonly fields: Readonly<Record<string, StateType>>;
}

/** A value for each field of a description. */
export type State = Readonly<Record<string, unknown>>;

const INTEGERS: Readonly<Record<string, readonly [bigint, bigint]>> = Object.fromEntries(
  [8n, 16n, 32n, 64n].flatMap((bits) => [
    [`u${bits}`, [0n, 2n ** bits - 1n]],
    [`i${bits}`, [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n]],
  ]),
);
const NUMBERS = [...Object.keys(INTEGERS), 'f32', 'f64'];
const OTHERS = ['bool', 'text', 'bytes', 'value'];

/** What is wrong with a description; undefined: nothing. */
export function stateProblem(state: unknown): string | undefined {
  if (typeof state !== 'object' || state === null) return 'it is no object';
  const { name, version, fields } = state as Partial<StateDescription>;
  if (typeof name !== 'string' || name === '') return 'it has no name';
  if (!Number.isSafeInteger(version) || (version as number) < 0) {
    return 'its version is no whole number';
  }
  const all = typeof fields === 'object' && fields !== null ? Object.entries(fields) : [];
  if (all.length === 0) return 'it has no fields';
  if (all.length > limits.stateFields) {
    return `it has ${all.length} fields, at most ${limits.stateFields} are possible`;
  }
  for (const [index, [field, type]] of all.entries()) {
    const bytes = Buffer.byteLength(field);
    if (bytes === 0 || bytes > limits.nameBytes) {
      return `field ${index} has no name of 1 to ${limits.nameBytes} bytes`;
    }
    if (typeof type !== 'string' || !parse(type)) return `field ${field} has no known type`;
    if (parse(type)?.count === 0) return `field ${field} has no elements`;
  }
  return undefined;
}

/** By which two descriptions are the same; 0: there is none. FNV-1a, as for native states. */
export function stateHash(state: StateDescription | undefined): bigint {
  if (state === undefined) return 0n;
  const words = [state.name, String(state.version), ...Object.entries(state.fields).sort().flat()];
  let hash = 14695981039346656037n;
  for (const byte of Buffer.from(words.map((word) => `${word}\0`).join(''))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 1099511628211n);
  }
  return hash;
}

/** Field by field, what `now` has of another type, has not, or has besides; empty: it can take over. */
export function stateDifference(
  was: StateDescription | undefined,
  now: StateDescription | undefined,
): string[] {
  if (was === undefined) return []; // nothing is handed on, whatever the new one could take
  const lines: string[] = [];
  if (now !== undefined && was.name !== now.name) lines.push(`! name: ${was.name} -> ${now.name}`);
  if (now !== undefined && was.version !== now.version) {
    lines.push(`! version: ${was.version} -> ${now.version}`);
  }
  const of = (state: StateDescription | undefined, field: string): StateType | undefined =>
    state !== undefined && Object.hasOwn(state.fields, field) ? state.fields[field] : undefined;
  for (const [field, type] of Object.entries(was.fields)) {
    const after = of(now, field);
    if (after === undefined) lines.push(`- ${field}: ${type}`);
    else if (after !== type) lines.push(`! ${field}: ${type} -> ${after}`);
  }
  for (const [field, type] of Object.entries(now?.fields ?? {})) {
    if (of(was, field) === undefined) lines.push(`+ ${field}: ${type}`);
  }
  return lines;
}

/** Why these values are not what the description says; undefined: they are. */
export function valuesProblem(state: StateDescription, values: unknown): string | undefined {
  if (typeof values !== 'object' || values === null) return 'no object';
  for (const [field, type] of Object.entries(state.fields)) {
    if (!Object.hasOwn(values, field)) return `no ${field}`;
    if (!holds(type, (values as State)[field])) return `a ${field} that is no ${type}`;
  }
  const other = Object.keys(values).find((field) => !Object.hasOwn(state.fields, field));
  return other === undefined ? undefined : `${other}, which is not described`;
}

/** A copy that shares nothing with the program that goes on owning the values, and its size. Throws what is wrong with them. */
export function copyState(
  state: StateDescription,
  values: unknown,
): { copy: State; bytes: number } {
  const problem = valuesProblem(state, values);
  if (problem !== undefined) throw new TypeError(`it gave ${problem}`);
  const written = serialize(values);
  if (written.byteLength > limits.stateBytes) {
    throw new RangeError(
      `it gave ${written.byteLength} bytes, at most ${limits.stateBytes} are possible`,
    );
  }
  return { copy: deserialize(written) as State, bytes: written.byteLength };
}

// Of numbers, `count` is undefined for a single one.
function parse(type: string): { element: string; count: number | undefined } | undefined {
  if (OTHERS.includes(type)) return { element: type, count: undefined };
  const found = /^([a-z]\d+)(?:\[(\d{1,9})\])?$/.exec(type);
  const [, element, count] = found ?? [];
  if (element === undefined || !NUMBERS.includes(element)) return undefined;
  return { element, count: count === undefined ? undefined : Number(count) };
}

function holds(type: StateType, value: unknown): boolean {
  const { element, count } = parse(type) as { element: string; count: number | undefined };
  if (count === undefined) return holdsOne(element, value);
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && !(value instanceof DataView))) {
    return false;
  }
  const all = value as ArrayLike<unknown>;
  if (all.length !== count) return false;
  for (let i = 0; i < count; ++i) if (!holdsOne(element, all[i])) return false;
  return true;
}

function holdsOne(element: string, value: unknown): boolean {
  switch (element) {
    case 'value':
      return true;
    case 'bool':
      return typeof value === 'boolean';
    case 'text':
      return typeof value === 'string';
    case 'bytes':
      return value instanceof Uint8Array;
    case 'f32':
    case 'f64':
      return typeof value === 'number';
  }
  const wide = element.endsWith('64');
  if (wide ? typeof value !== 'bigint' : !Number.isSafeInteger(value)) return false;
  const [least, most] = INTEGERS[element] as readonly [bigint, bigint];
  const whole = BigInt(value as number | bigint);
  return whole >= least && whole <= most;
}
