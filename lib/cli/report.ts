// vanity report: draws a report of bench wake again, or compares two.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { VanityError } from '../errors.js';
import { comparisonLines } from '../report/wake/changes.js';
import { compareWake } from '../report/wake/compare.js';
import { wakeCsv } from '../report/wake/csv.js';
import { wakeHtml } from '../report/wake/html.js';
import { wakeLines } from '../report/wake/terminal.js';
import { readWakeReport } from '../wake/read.js';
import type { WakeReport } from '../wake/result.js';
import { checkWritable, writeWhole } from './files.js';
import { note, print, printJson, wantsColor } from './output.js';

export interface ReportOptions {
  html?: string;
  csv?: string;
  json?: boolean;
  failOnSlower?: boolean;
}

const STDIN = '-';

export function reportCommand(
  path: string,
  second: string | undefined,
  options: ReportOptions,
): number {
  const { html, csv } = options;
  const misuse = (problem: string): never => {
    throw new VanityError('VANITY_E_USAGE', { problem });
  };
  if (second === undefined && options.failOnSlower) {
    misuse('--fail-on-slower needs two reports: vanity report before.json after.json');
  }
  if (second !== undefined && csv !== undefined) {
    misuse('--csv writes one report; give one, or take --json for a comparison');
  }
  if (path === STDIN && second === STDIN) misuse('only one of two reports can come from stdin');
  const outputs = [html, csv].filter((file) => file !== undefined).map((file) => resolve(file));
  const inputs = [path, second].filter((file) => file !== undefined).map((file) => resolve(file));
  if (new Set(outputs).size < outputs.length) misuse('--html and --csv name the same file');
  if (outputs.some((file) => inputs.includes(file))) misuse('a report would be overwritten');
  if (html !== undefined) checkWritable('--html', html);
  if (csv !== undefined) checkWritable('--csv', csv);

  const first = read(path);
  const files: { option: string; path: string }[] = [];
  const write = (option: string, file: string | undefined, draw: () => string): void => {
    if (file === undefined) return;
    writeWhole(option, file, draw());
    files.push({ option, path: file });
  };
  const style = { color: wantsColor(process.stdout), columns: process.stdout.columns ?? 100 };

  if (second === undefined) {
    write('--html', html, () => wakeHtml(first));
    write('--csv', csv, () => wakeCsv(first));
    if (options.json) printJson(summary(first));
    else print(...wakeLines(first, style));
    for (const file of files) note(`written: ${file.path}`);
    return 0;
  }
  const latest = read(second);
  const comparison = compareWake(first, latest);
  write('--html', html, () => wakeHtml(latest, first));
  if (options.json) printJson(comparison);
  else print(...comparisonLines(comparison, style));
  for (const file of files) note(`written: ${file.path}`);
  return options.failOnSlower && comparison.figures.slower > 0 ? 1 : 0;
}

/** What a script asks of one report; the cells are in the report itself. */
function summary({ host, created, vanity, complete, figures, notes }: WakeReport) {
  return { host: host.name, processor: host.processor, created, vanity, complete, figures, notes };
}

function read(path: string): WakeReport {
  const name = path === STDIN ? 'stdin' : path;
  let text: string;
  try {
    text = readFileSync(path === STDIN ? 0 : path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const problem =
      code === 'ENOENT'
        ? 'no such file'
        : code === 'EISDIR'
          ? 'it is a folder'
          : code === 'EACCES'
            ? 'you may not read it'
            : message;
    const hint = 'Write one: vanity bench wake --json > wake.json';
    throw new VanityError('VANITY_E_WAKE_REPORT', { path: name, problem, hint });
  }
  // An editor may have put a mark of the byte order before it.
  return readWakeReport(text.replace(/^\ufeff/, ''), name);
}
