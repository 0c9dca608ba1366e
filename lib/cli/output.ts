// What commands print, and how they end. Results go to stdout, everything else to stderr, so that
// output can be piped; a reader that goes away early is no error.
import { VanityError, type Warning } from '../errors.js';
import { ManifestErrors } from '../manifest/plan.js';
import { errorJson, renderError, renderWarning, warningJson } from '../manifest/render.js';
import type { NativeFailure } from '../native.js';
import { json } from '../text/format.js';

/** Results; each line ends with a newline. */
export function print(...lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

export function printJson(value: unknown): void {
  print(json(value));
}

/** Everything that is not the result. */
export function note(...lines: string[]): void {
  process.stderr.write(`${lines.join('\n')}\n`);
}

export function wantsColor(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

/** Prints a warning or a failure of a system that runs on, or has run. */
export function notice(kind: 'warning' | 'error', item: NativeFailure): void {
  const paint = wantsColor(process.stderr);
  if (kind === 'warning') note(renderWarning(item as Warning, paint));
  else note(renderError({ ...item, related: [] } as unknown as VanityError, paint));
}

/** Prints what went wrong, once, in the form the user asked for; returns the exit code. */
export function fail(error: unknown, asJson: boolean): number {
  const paint = wantsColor(process.stderr);
  if (error instanceof ManifestErrors) {
    if (asJson) {
      const errors = error.errors.map(errorJson);
      printJson({ error: errors[0], errors, warnings: error.warnings.map(warningJson) });
    } else {
      for (const warning of error.warnings) note(renderWarning(warning, paint), '');
      note(error.errors.map((one) => renderError(one, paint)).join('\n\n'));
    }
    return error.exitCode;
  }
  const known = VanityError.from(error);
  if (asJson) printJson({ error: errorJson(known) });
  else note(renderError(known, paint));
  if (process.env.VANITY_DEBUG) {
    const cause = known.cause ?? known;
    note(cause instanceof Error ? (cause.stack ?? String(cause)) : String(cause));
  }
  return known.exitCode;
}

/** `vanity stats | head -1` ends quietly, and a closed terminal never stops packets. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
}
