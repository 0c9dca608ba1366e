// Reads a report that --json wrote, and says precisely what is wrong with anything else.
import { VanityError } from '../errors.js';
import { WAKE_FORMAT, WAKE_VERSION, type WakeReport } from './result.js';
import { wakeReportSchema } from './schema.js';

const WRITE_ONE = 'Write one: vanity bench wake --json > wake.json';

/** The report in `text`; `path` is how messages call it. */
export function readWakeReport(text: string, path: string): WakeReport {
  const fail = (problem: string, hint = WRITE_ONE): never => {
    throw new VanityError('VANITY_E_WAKE_REPORT', { path, problem, hint });
  };
  if (text.trim() === '') return fail('it is empty');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(
      `not JSON: ${place(text, error as Error)}`,
      `The file may be cut short. ${WRITE_ONE}`,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return fail(`it is JSON, but no object`);
  }
  const { format, version, error } = value as Record<string, unknown>;
  if (format !== WAKE_FORMAT) {
    const failed = (error as { message?: unknown } | undefined)?.message;
    return fail(
      typeof failed === 'string'
        ? `it holds the error that ended the run: ${failed}`
        : `its "format" must be "${WAKE_FORMAT}"; it is ${shown(format)}`,
    );
  }
  if (version !== WAKE_VERSION) {
    const newer = typeof version === 'number' && version > WAKE_VERSION;
    return fail(
      `it is of version ${shown(version)}; this Vanity reads version ${WAKE_VERSION}`,
      newer
        ? 'Read it with the Vanity that wrote it, or a later one.'
        : `Measure again with this one: vanity bench wake --json > wake.json`,
    );
  }
  const result = wakeReportSchema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const first = issues[0];
  const where = first && first.path.length > 0 ? `${first.path.map(String).join('.')}: ` : '';
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return fail(`${where}${first?.message ?? 'another shape'}${more}`);
}

function shown(value: unknown): string {
  return value === undefined ? 'missing' : (JSON.stringify(value)?.slice(0, 40) ?? 'unknown');
}

// "line 3, column 7: what is wrong there". V8 gives the offset in most of its messages only.
function place(text: string, error: Error): string {
  const known = /at position (\d+)/.exec(error.message)?.[1];
  const offset = known === undefined ? failsAt(text) : Number(known);
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  const problem = offset >= text.trimEnd().length ? 'it ends too soon' : plain(error.message);
  return `line ${line}, column ${column}: ${problem}`;
}

function plain(message: string): string {
  return message.replace(/,? (in JSON )?at position.*$/, '').replace(/, .* is not valid JSON$/, '');
}

// A beginning of JSON only wants more; the shortest one that is refused for another reason ends in the fault.
function failsAt(text: string): number {
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (wantsMore(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return bad > text.length ? text.length : bad - 1;
}

function wantsMore(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    const offset = /at position (\d+)/.exec(message)?.[1];
    return (
      /end of JSON input|Unterminated/.test(message) ||
      (offset !== undefined && Number(offset) >= text.length)
    );
  }
}
