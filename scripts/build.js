// Builds what is missing or older than its sources, and nothing else: `build.js [native] [ts]`.
// A stamp is the hash of every input, so a fresh clone, a branch switch and `touch` all do right.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

function files(path) {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function hash(paths) {
  const sum = createHash('sha256').update(process.version);
  for (const path of paths.sort()) sum.update(path).update(readFileSync(path));
  return sum.digest('hex');
}

// Node's own headers lie beside most Nodes; node-gyp downloads them where it isn't told so.
const prefix = resolve(process.execPath, '..', '..');
if (existsSync(join(prefix, 'include', 'node', 'node.h')))
  process.env.npm_config_nodedir ??= prefix;

function run(tool, args) {
  const { status, signal } = spawnSync(join('node_modules', '.bin', tool), args, {
    stdio: 'inherit',
  });
  if (status !== 0) {
    console.error(`${tool} ${args.join(' ')}: ${signal ?? `exit code ${status}`}`);
    process.exit(1);
  }
}

const targets = {
  native: {
    what: 'the native addon',
    results: [
      'build/Release/vanity.node',
      'build/Release/vanity-shard',
      'build/Release/vanity-sim',
    ],
    inputs: () => [...files('native'), 'binding.gyp', 'package.json'],
    build() {
      // A prebuild wins over a local build when the addon is loaded: an old one must not hide this.
      rmSync('prebuilds', { recursive: true, force: true });
      run('node-gyp', ['configure', '--loglevel=error']);
      run('node-gyp', ['build', '--loglevel=error', '-j', 'max']);
    },
  },
  ts: {
    what: 'the TypeScript',
    results: ['dist/index.js'],
    inputs: () => [...files('lib'), 'tsconfig.json', 'package-lock.json'],
    build() {
      // Aside first: who runs what is there goes on meanwhile, and a failure leaves it.
      const aside = join('build', `ts-${process.pid}`);
      rmSync(aside, { recursive: true, force: true });
      run('tsc', ['-p', 'tsconfig.json', '--outDir', aside]);
      rmSync('dist', { recursive: true, force: true });
      chmodSync(join(aside, 'cli', 'main.js'), 0o755); // `npx vanity` runs it
      renameSync(aside, 'dist');
    },
  },
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !(name in targets));
if (unknown) {
  console.error(`build.js: no target "${unknown}"; there are: ${Object.keys(targets).join(', ')}`);
  process.exit(2);
}
for (const name of asked.length > 0 ? asked : Object.keys(targets)) {
  const { what, results, inputs, build } = targets[name];
  const stamp = join('.cache', 'stamps', name);
  const now = hash(inputs());
  if (
    results.every((path) => existsSync(path)) &&
    existsSync(stamp) &&
    readFileSync(stamp, 'utf8') === now
  )
    continue;
  const start = Date.now();
  console.log(`Building ${what} ...`);
  rmSync(stamp, { force: true });
  build();
  mkdirSync(join('.cache', 'stamps'), { recursive: true });
  writeFileSync(stamp, now);
  console.log(`Built ${what} in ${((Date.now() - start) / 1000).toFixed(1)} s`);
}
