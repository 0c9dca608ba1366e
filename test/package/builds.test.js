// What ships is built by node-gyp, what developers use by CMake: both must be the same thing.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';

const out = resolve('.cache/cmake-js');
const addons = {
  'node-gyp': 'build/Release/vanity.node',
  'cmake-js': join(out, 'Release/vanity.node'),
};
const node = (...args) => execFileSync(process.execPath, args, { encoding: 'utf8' });
const lines = (tool, ...args) =>
  execFileSync(tool, args, { encoding: 'utf8' }).split('\n').filter(Boolean);

test.before(async (t) => {
  t.timeout(900_000);
  // Not by execFileSync, which would keep the line above from whoever measures the time.
  const build = (...args) => promisify(execFile)(process.execPath, args);
  await build('scripts/build.js', 'native');
  mkdirSync(out, { recursive: true });
  // As in scripts/build.js: the headers beside this Node, when there are any.
  const prefix = resolve(process.execPath, '../..');
  if (existsSync(join(prefix, 'include/node/node.h'))) process.env.npm_config_nodedir ??= prefix;
  // Away from where both put their results by default: neither must see what the other built.
  await build('node_modules/cmake-js/bin/cmake-js', 'build', '--out', out, '--log-level', 'error');
});

/** Everything that can be seen of an addon, told by a process of its own. */
const describe = (path) =>
  JSON.parse(
    node(
      '-e',
      `const addon = require(${JSON.stringify(resolve(path))});
       const shape = (value) => typeof value !== 'function' ? typeof value : {
         length: value.length, methods: Object.getOwnPropertyNames(value.prototype ?? {}).sort() };
       console.log(JSON.stringify({
         keys: Object.keys(addon).sort().map((key) => [key, shape(addon[key])]),
         version: addon.version, abiVersion: addon.abiVersion, fields: addon.fields(),
         backends: addon.waitBackends() }));`,
    ),
  );

test('both builds export the same, with the version of package.json', (t) => {
  const [gyp, cmake] = Object.values(addons).map(describe);
  t.deepEqual(gyp, cmake);
  t.is(gyp.version, JSON.parse(readFileSync('package.json', 'utf8')).version);
  t.true(gyp.keys.length > 0 && gyp.fields.length > 0);
});

for (const [build, path] of Object.entries(addons)) {
  test(`${build}: stays loaded when a worker ends`, (t) => {
    t.regex(execFileSync('readelf', ['-d', path], { encoding: 'utf8' }), /Flags:.*NODELETE/);
  });

  test(`${build}: shows the symbols of Node-API and no other`, (t) => {
    const symbols = lines('nm', '-D', '--defined-only', path).map((line) => line.split(' ').at(-1));
    t.deepEqual(symbols.sort(), ['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
  });

  test(`${build}: brings its own C++ library`, (t) => {
    const needed = lines('readelf', '-d', path).filter((line) => line.includes('(NEEDED)'));
    t.true(needed.length > 0);
    for (const line of needed) t.regex(line, /\[(lib(c|m|dl|pthread|gcc_s)\.so\.\d|ld-linux.*)\]/);
  });
}

test('both builds read every line of the source lists', (t) => {
  const makes = (target, paths) => {
    const words = new Set(readFileSync(`build/${target}.target.mk`, 'utf8').split(/\s+/));
    for (const path of paths) {
      const object = `$(obj).target/$(TARGET)/${path.replace(/\.cpp$/, '.o')}`;
      t.true(words.has(object), `${path} of ${target}`);
    }
  };
  const ships = lines('grep', '^native/', 'native/sources.txt');
  const simulated = lines('grep', '^native/', 'native/sim/system/sources.txt');
  const main = 'native/process/main.cpp';
  const isAddon = (path) => path.startsWith('native/addon/');
  makes('vanity', ships.filter(isAddon));
  makes(
    'vanity_core',
    ships.filter((path) => !isAddon(path)),
  );
  makes('vanity-sim', simulated);
  makes('vanity-shard', [main]);
  const all = new Set([...ships, ...simulated, main]);
  const own = lines('git', 'ls-files', '-co', '--exclude-standard', 'native/**/*.cpp');
  t.deepEqual([...all].sort(), own.sort(), 'the lists of sources and the folder native/ differ');
});
