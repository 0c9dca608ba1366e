// vanity bench wake: progress on stderr, the report on stdout and in files.
import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { VanityError } from '../errors.js';
import { wakeCsv } from '../report/wake/csv.js';
import { wakeHtml } from '../report/wake/html.js';
import { type Drawn, liveLines, progressLine, wakeLines } from '../report/wake/terminal.js';
import { time } from '../text/format.js';
import { prepareWake, type WakeBench } from '../wake/bench.js';
import type { Progress } from '../wake/measure.js';
import type { WakeFlags } from '../wake/options.js';
import { checkWritable, writeWhole } from './files.js';
import { note, print, printJson, wantsColor } from './output.js';

export interface BenchWakeOptions extends WakeFlags {
  json?: boolean;
  csv?: string;
  html?: string;
}

/** Between two lines of progress where there is no terminal. */
const LINE_EVERY_S = 2;
/** Between two drawings of the tables, at least. */
const TABLES_EVERY_S = 1;
const INTERRUPTED = 130;

export async function benchWakeCommand(options: BenchWakeOptions): Promise<number> {
  const files = outputs(options);
  // The command began with the process.
  const bench = prepareWake(options, 0);
  const { plan, choice } = bench;
  const cells = plan.rounds[0]?.length ?? 0;
  const many = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;
  const about = time(Math.round(bench.estimateS) * 1e9).replace('.0 ', ' ');
  note(
    `wake latency: ${many(choice.mechanisms.length, 'mechanism')}, ${many(plan.pairs.length, 'pair')}, ` +
      `${many(cells, 'cell')} in ${many(choice.rounds, 'round')}, about ${about}; Ctrl-C ends it early, with what there is`,
  );

  const abort = new AbortController();
  const onSignal = (): void => {
    // Threads that measure are native; the second time nobody waits for them.
    if (abort.signal.aborted) process.exit(INTERRUPTED);
    abort.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const display = new Display(process.stderr, bench);
  try {
    const report = await bench.run({
      signal: abort.signal,
      onProgress: (progress) => display.show(progress),
    });
    display.clear();
    for (const { option, path, draw } of files) writeWhole(option, path, draw(report));
    if (options.json) printJson(report);
    else {
      const style = { color: wantsColor(process.stdout), columns: process.stdout.columns ?? 100 };
      print(...wakeLines(report, style));
    }
    for (const { path } of files) note(`written: ${path}`);
    if (!report.complete) note('interrupted: the report covers what was measured until then');
    return report.complete ? 0 : INTERRUPTED;
  } finally {
    display.clear();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

function outputs({ csv, html }: BenchWakeOptions) {
  const files = [
    { option: '--csv', path: csv, draw: wakeCsv },
    { option: '--html', path: html, draw: wakeHtml },
  ].flatMap((file) => (file.path === undefined ? [] : [{ ...file, path: file.path }]));
  for (const { option, path } of files) checkWritable(option, path);
  const [first, second] = files.map(({ path }) => real(path));
  if (first !== undefined && first === second) {
    throw new VanityError('VANITY_E_USAGE', {
      problem: `${files.map(({ option }) => option).join(' and ')} name the same file: ${files[0]?.path}`,
    });
  }
  return files;
}

// The folder exists: that was checked.
function real(path: string): string {
  const whole = resolve(path);
  try {
    return realpathSync(whole);
  } catch {
    return join(realpathSync(dirname(whole)), basename(whole));
  }
}

/** On a terminal tables, a map and one line of progress in place; elsewhere a line now and then. */
class Display {
  readonly #stream: NodeJS.WriteStream;
  readonly #bench: WakeBench;
  readonly #inPlace: boolean;
  #shownS = Number.NEGATIVE_INFINITY;
  #tables: string[] = [];
  #nextTablesS = TABLES_EVERY_S;
  #drawn = 0;

  constructor(stream: NodeJS.WriteStream, bench: WakeBench) {
    this.#stream = stream;
    this.#bench = bench;
    this.#inPlace = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  show(progress: Progress): void {
    const every = this.#inPlace ? 0.2 : LINE_EVERY_S;
    if (progress.elapsedS - this.#shownS < every) return;
    this.#shownS = progress.elapsedS;
    if (!this.#inPlace) {
      this.#stream.write(`${progressLine(progress, Number.POSITIVE_INFINITY)}\n`);
      return;
    }
    if (progress.elapsedS >= this.#nextTablesS) this.#draw(progress);
    const lines = [...this.#tables, progressLine(progress, this.#stream.columns ?? 80)];
    this.#stream.write(`${this.#erase()}${lines.join('\n')}`);
    this.#drawn = lines.length;
  }

  // Between two visits, so it disturbs none, but it takes of their time.
  #draw(progress: Progress): void {
    const began = performance.now();
    const { mechanisms, plan, processors } = this.#bench;
    const soFar: Drawn = {
      ...progress.soFar(),
      mechanisms,
      pairs: plan.pairs,
      host: { cpus: [...processors] },
    };
    const columns = this.#stream.columns ?? 80;
    const style = { color: wantsColor(this.#stream), columns };
    const lines = liveLines(soFar, style, (this.#stream.rows ?? 24) - 2);
    // What a line that wraps takes can't be erased.
    this.#tables = lines.every((line) => line.length < columns || line.includes('\u001b'))
      ? [...lines, '']
      : [];
    const tookS = (performance.now() - began) / 1000;
    this.#nextTablesS = progress.elapsedS + Math.max(TABLES_EVERY_S, tookS * 30);
  }

  // Back over what was drawn, and away with it.
  #erase(): string {
    return this.#drawn > 1 ? `\u001b[${this.#drawn - 1}A\r\u001b[J` : '\r\u001b[K';
  }

  clear(): void {
    if (this.#drawn > 0) this.#stream.write(this.#erase());
    this.#drawn = 0;
  }
}
