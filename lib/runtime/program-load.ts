// From a file to a program: JavaScript as it is, TypeScript by Node's own type stripping where it has that
// (22.18 and later) and by the `typescript` package where it has not.
import { createRequire, register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { VanityError } from '../errors.js';
import type { Program } from './program.js';
import { stateProblem } from './program-state.js';

const FUNCTIONS = [
  'init',
  'fini',
  'watermark',
  'interrupt',
  'deviceEvent',
  'save',
  'restore',
  'migrate',
  'healthy',
] as const;

/** Loads the module, its `start`th copy, and checks that it holds a program. Other modules that it imports stay as they are. */
export async function loadProgram(file: string, start = 0): Promise<Program> {
  if (file.endsWith('.ts') && !stripsTypes()) compileTypeScript(file);
  let module: { default?: unknown };
  try {
    const url = pathToFileURL(file);
    if (start !== 0) url.search = `?start=${start}`;
    module = (await import(url.href)) as { default?: unknown };
  } catch (error) {
    throw loadError(file, reasonOf(error), `Run it by itself to see more: node ${file}`);
  }
  const program = module.default as Partial<Program> | null | undefined;
  const hint = 'Type: export default defineProgram({ poll(shard) { ... } })';
  if (program === undefined) throw loadError(file, 'it has no default export', hint);
  if (program === null || typeof program.poll !== 'function') {
    throw loadError(file, 'its default export has no function poll', hint);
  }
  for (const name of FUNCTIONS) {
    if (program[name] !== undefined && typeof program[name] !== 'function') {
      throw loadError(file, `its ${name} is not a function`, hint);
    }
  }
  if (program.state !== undefined) {
    const problem =
      stateProblem(program.state) ??
      (program.save && program.restore ? undefined : 'it needs save() and restore()');
    if (problem !== undefined) {
      const example = "state: { name: 'flows', version: 1, fields: { seen: 'f64' } }";
      throw loadError(
        file,
        `the description of its state is wrong: ${problem}`,
        `Type: ${example}`,
      );
    }
  }
  return program as Program;
}

/** The first lines of what was thrown: message and the frames that are not this runtime's own. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = (error.stack ?? String(error)).split('\n');
  const text = lines.filter((line) => !line.startsWith('    at '));
  const frames = lines.filter(
    (line) => line.startsWith('    at ') && !/\/runtime\/|node:/.test(line),
  );
  return [...text, ...frames.slice(0, 4)].join('\n');
}

function loadError(file: string, reason: string, hint: string): VanityError {
  const error = new VanityError('VANITY_E_PROGRAM_LOAD', { file, reason });
  return VanityError.from({ code: error.code, message: error.message, hint });
}

function stripsTypes(): boolean {
  return Boolean((process.features as { typescript?: unknown }).typescript);
}

let compiles = false;

// The hooks stay: a program may import other .ts files.
function compileTypeScript(file: string): void {
  if (compiles) return;
  const typescript = [file, import.meta.url].map(resolveFrom).find((found) => found !== undefined);
  if (typescript === undefined) {
    throw new VanityError('VANITY_E_TYPESCRIPT', { file, version: process.version });
  }
  register('./program-hooks.js', import.meta.url, {
    data: { typescript: pathToFileURL(typescript).href },
  });
  compiles = true;
}

function resolveFrom(place: string): string | undefined {
  try {
    return createRequire(place).resolve('typescript');
  } catch {
    return undefined;
  }
}
