import { styleText } from 'node:util';
import type { Location, Related, VanityError, Warning } from '../errors.js';

type Style = Parameters<typeof styleText>[0];
type Paint = (style: Style, text: string) => string;

const painter =
  (color: boolean): Paint =>
  (style, text) =>
    color ? styleText(style, text, { validateStream: false }) : text;

/** `vanity.toml:12:8`, or the `--set` that took its place. */
export function placeText(location: Location): string {
  return location.set === undefined
    ? `${location.file}:${location.line}:${location.column}`
    : `--set ${location.set}`;
}

// A line as a terminal can show it, and where the marks go below it.
function excerpt(location: Location, style: Style, paint: Paint): string[] {
  if (location.set !== undefined || location.source.trim() === '') return [];
  const line = location.source.replace(/\t/g, ' ').replace(/[\p{Cc}]/gu, '?');
  const start = location.column - 1;
  const to = location.endLine > location.line ? line.length : location.endColumn - 1;
  const from = Math.max(0, start - 60);
  const shown = line.slice(from, from + 100);
  const marks = '^'.repeat(Math.max(1, Math.min(to - start, from + 100 - start)));
  const number = String(location.line);
  const margin = ' '.repeat(number.length);
  return [
    paint('blue', `${margin} |`),
    `${paint('blue', `${number} |`)} ${from > 0 ? `…${shown.slice(1)}` : shown}`,
    `${paint('blue', `${margin} |`)} ${' '.repeat(start - from)}${paint(style, marks)}`,
  ];
}

function renderOne(
  kind: 'error' | 'warning',
  item: { code: string; message: string; hint: string; location?: Location | undefined },
  related: readonly Related[],
  paint: Paint,
): string {
  const style: Style = kind === 'error' ? 'red' : 'yellow';
  const out = [`${paint(style, `${kind}[${item.code}]`)}: ${paint('bold', item.message)}`];
  if (item.location) {
    out.push(`${paint('blue', '-->')} ${placeText(item.location)}`);
    out.push(...excerpt(item.location, style, paint));
  }
  for (const { message, location } of related) {
    out.push(`${paint('blue', ':::')} ${placeText(location)}: ${message}`);
    out.push(...excerpt(location, 'blue', paint));
  }
  if (item.hint !== '') out.push(`${paint('cyan', 'hint')}: ${item.hint}`);
  return out.join('\n');
}

/** An error as text: message, place, excerpt, the other place, hint. */
export function renderError(error: VanityError, color = false): string {
  return renderOne('error', error, error.related, painter(color));
}

export function renderWarning(warning: Warning, color = false): string {
  return renderOne('warning', warning, [], painter(color));
}

interface PlaceJson {
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
}

export interface ErrorJson extends PlaceJson {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly related: readonly ({ readonly message: string } & PlaceJson)[];
}

function placeJson(location: Location | undefined): PlaceJson {
  if (!location) return {};
  if (location.set !== undefined)
    return { file: `--set ${location.set}`, line: 1, column: location.column };
  return { file: location.file, line: location.line, column: location.column };
}

/** An error as `--json` prints it. */
export function errorJson(error: VanityError): ErrorJson {
  const { code, message, hint } = error;
  const related = error.related.map((other) => ({
    message: other.message,
    ...placeJson(other.location),
  }));
  return { code, message, hint, ...placeJson(error.location), related };
}

export function warningJson({ code, message, hint, location }: Warning): ErrorJson {
  return { code, message, hint, ...placeJson(location), related: [] };
}
