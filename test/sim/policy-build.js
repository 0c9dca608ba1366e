// The policy build that scripts/build.js leaves, with one source of it changed.
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const OBJECTS = 'build/Release/obj.target/vanity-sim/native';

/** A file's text with the changes made, each of a text that stands in it once. */
export function changed(file, changes) {
  let text = readFileSync(join('native', file), 'utf8');
  for (const [from, to] of changes) {
    const count = text.split(from).length - 1;
    if (count !== 1) throw new Error(`stands ${count} times in ${file}: ${from}`);
    text = text.replace(from, () => to);
  }
  return text;
}

/** Compiles that one and links it with the others: the path of the program. `run` as in mutants.js. */
export async function buildWith({ file, changes }, folder, run) {
  const source = join(folder, basename(file));
  writeFileSync(source, changed(file, changes));
  const flags = ['-std=c++20', '-O2', '-w', '-DVANITY_SIM', '-Inative/include', '-Inative'];
  const object = `${source}.o`;
  const compiled = await run('g++', [...flags, '-c', source, '-o', object], 120);
  if (compiled.code !== 0) throw new Error(`does not compile: ${compiled.output.slice(0, 2000)}`);
  const replaced = join(OBJECTS, file.replace(/\.cpp$/, '.o'));
  const others = readFileSync('native/sim/system/sources.txt', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('native/'))
    .map((line) => join(OBJECTS, line.slice('native/'.length).replace(/\.cpp$/, '.o')))
    .filter((path) => path !== replaced);
  const program = join(folder, 'vanity-sim');
  const libraries = ['-ldl', '-lpthread', '-Wl,--build-id'];
  const linked = await run('g++', [...others, object, '-o', program, ...libraries], 120);
  if (linked.code !== 0) throw new Error(`does not link: ${linked.output.slice(0, 2000)}`);
  return program;
}
