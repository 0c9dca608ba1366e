// The policy build of a native module: the same source, compiled for the simulator, in a file beside
// the module.
import { existsSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VanityError } from '../errors.js';
import type { ShardPlan } from '../manifest/plan.js';

const SOURCES = ['.c', '.cpp', '.cc', '.cxx'];
const native = fileURLToPath(new URL('../../native', import.meta.url));

/** `count.sim.so` of `count.so`. A manifest may name the former itself. */
function pathOf(program: string): string {
  return program.endsWith('.sim.so') ? program : program.replace(/\.so$/, '.sim.so');
}

/** Throws VANITY_E_SIM_MODULE, with what to type, when it is not there. */
export function policyBuildOf({ name, program }: ShardPlan): string {
  const file = pathOf(program);
  if (!existsSync(file)) throw noPolicyBuild(name, file, 'it is not there');
  return file;
}

/** `hint`: what helps where compiling it does not. */
export function noPolicyBuild(
  shard: string,
  file: string,
  problem: string,
  hint = `Compile it for the simulator: ${commandFor(file)}`,
): VanityError {
  return new VanityError('VANITY_E_SIM_MODULE', { shard, file, problem, hint });
}

/** What makes it, of the source that lies beside it, or of one with its name. */
function commandFor(file: string): string {
  const name = basename(file, '.sim.so');
  const found = SOURCES.find((ending) => existsSync(join(dirname(file), name + ending)));
  const source = join(dirname(file), name + (found ?? '.c'));
  const [compiler, more] =
    (found ?? '.c') === '.c' ? ['cc', ''] : ['c++ -std=c++20', ` -I ${shown(native)}`];
  const include = shown(join(native, 'include'));
  return `${compiler} -DVANITY_SIM -shared -fPIC -O2 -g -I ${include}${more} -o ${shown(file)} ${shown(source)}`;
}

/** As it is typed here. */
function shown(path: string): string {
  const here = relative(process.cwd(), path);
  const text = here.startsWith('../../..') ? path : here;
  return /^[\w./@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
