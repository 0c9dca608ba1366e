// The policy build that scripts/build.js leaves, with one source of it changed.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

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

// Who has a header's code in the policy build, and is compiled anew where it changes.
const USERS = {
  'virtio/split_ring.hpp': ['port/virtio_net/virtio_net_port.cpp'],
  'port/virtio_net/net_queue.hpp': ['port/virtio_net/virtio_net_port.cpp'],
};

/**
 * Compiles that one, or who has a header's code, and links it with the others: the path of the
 * program. `run` as in mutants.js.
 */
export async function buildWith({ file, changes }, folder, run) {
  const path = join(folder, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, changed(file, changes));
  const sources = file.endsWith('.hpp') ? USERS[file].map((user) => join('native', user)) : [path];
  const include = [`-I${folder}`, '-Inative/include', '-Inative'];
  const flags = ['-std=c++20', '-O2', '-w', '-DVANITY_SIM', ...include];
  const objects = [];
  for (const source of sources) {
    const object = join(folder, `${objects.length}.o`);
    const compiled = await run('g++', [...flags, '-c', source, '-o', object], 120);
    if (compiled.code !== 0) throw new Error(`does not compile: ${compiled.output.slice(0, 2000)}`);
    objects.push(object);
  }
  const objectOf = (source) => join(OBJECTS, source.replace(/\.cpp$/, '.o'));
  const replaced = file.endsWith('.hpp') ? USERS[file].map(objectOf) : [objectOf(file)];
  const others = readFileSync('native/sim/system/sources.txt', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('native/'))
    .map((line) => objectOf(line.slice('native/'.length)))
    .filter((path) => !replaced.includes(path));
  const program = join(folder, 'vanity-sim');
  const libraries = ['-ldl', '-lpthread', '-Wl,--build-id'];
  // The changed ones first: of code that several have, the linker takes the first.
  const linked = await run('g++', [...objects, ...others, '-o', program, ...libraries], 120);
  if (linked.code !== 0) throw new Error(`does not link: ${linked.output.slice(0, 2000)}`);
  return program;
}
