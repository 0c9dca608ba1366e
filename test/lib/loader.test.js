import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { findSimulator, loadAddon } from '../../dist/loader.js';

const built = ['build/Release', `prebuilds/linux-${process.arch}`]
  .map((folder) => join(folder, 'vanity.node'))
  .find(existsSync);

/** An installed package with these files in it, besides its package.json. */
function packageWith(t, files = {}) {
  const root = mkdtempSync(join(tmpdir(), 'vanity-loader-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  writeFileSync(join(root, 'package.json'), '{ "version": "1.2.3" }');
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    if (content === built) copyFileSync(built, join(root, path));
    else writeFileSync(join(root, path), content);
  }
  return root;
}

const prebuild = `prebuilds/linux-${process.arch}/vanity.node`;
const local = 'build/Release/vanity.node';
const glibc = { platform: 'linux', arch: process.arch, libc: 'glibc 2.36', node: '22.1.0' };
const failure = (t, ...args) => {
  const error = t.throws(() => loadAddon(...args), { code: 'VANITY_E_NATIVE_LOAD' });
  return { message: error.message, hint: error.hint };
};

test('with no addon at all, it says where it looked, where this is and what to type', (t) => {
  const root = packageWith(t);
  const { message, hint } = failure(t, root);
  t.regex(message, /no prebuild and no local build for linux-/);
  t.true(message.includes(`${join(root, prebuild)}: not there`), message);
  t.regex(message, /no local build under .*: .*build\/Release\/vanity\.node/);
  t.regex(message, /vanity 1\.2\.3 on linux-\w+, (glibc [\d.]+|musl), Node [\d.]+$/);
  t.true(hint.includes(`(cd ${root} && npx node-gyp rebuild)`), hint);
});

test('in a checkout, the hint is the build command', (t) => {
  const { hint } = failure(t, packageWith(t, { 'scripts/build.js': '' }));
  t.is(hint, 'Type: npm run build');
});

test('a damaged prebuild is named with the words of the dynamic loader', (t) => {
  const root = packageWith(t, {
    [prebuild]: 'not an ELF file, but long enough to look at\n'.repeat(9),
  });
  const { message, hint } = failure(t, root);
  t.regex(message, /a file was found, but it does not load/);
  t.true(message.includes(`${join(root, prebuild)}: invalid ELF header`), message);
  t.regex(message, /no local build under .*: .*build\/Release\/vanity\.node/);
  t.regex(hint, /Install the package anew/);
});

test('a truncated local build is named too', (t) => {
  const { message } = failure(t, packageWith(t, { [local]: '' }));
  t.regex(message, /vanity\.node: file too short/);
});

test('musl, another processor, another system and an old Node are named as the reason', (t) => {
  const root = packageWith(t);
  t.regex(failure(t, root, { ...glibc, libc: 'musl' }).message, /prebuilds need glibc/);
  t.regex(failure(t, root, { ...glibc, arch: 'riscv64' }).message, /local build for linux-riscv64/);
  t.regex(failure(t, root, { ...glibc, platform: 'darwin' }).message, /this is darwin, not Linux/);
  t.is(failure(t, root, { ...glibc, platform: 'darwin' }).hint, 'Vanity runs on Linux only.');
  for (const node of ['18.20.4', '20.18.3']) {
    t.regex(failure(t, root, { ...glibc, node }).message, /is too old, 20\.19 is the oldest/);
  }
  t.notRegex(failure(t, root, { ...glibc, node: '20.19.0' }).message, /too old/);
});

test('a prebuild loads; a damaged one gives way to a local build', (t) => {
  t.truthy(built, 'the addon is not built: npm run build');
  t.is(typeof loadAddon(packageWith(t, { [prebuild]: built })).version, 'string');
  t.is(typeof loadAddon(packageWith(t, { [prebuild]: '', [local]: built })).version, 'string');
});

test('without the policy build, it says what to compile', (t) => {
  const places = ['build/Release', `prebuilds/linux-${process.arch}`].map((folder) =>
    join(folder, 'vanity-sim'),
  );
  const root = packageWith(t);
  const absent = t.throws(() => findSimulator(root), { code: 'VANITY_E_SIM_BUILD' });
  for (const place of places) t.true(absent.message.includes(join(root, place)), absent.message);
  t.regex(absent.hint, /target vanity-sim of binding\.gyp: \(cd .* && npx node-gyp rebuild\)/);
  const checkout = packageWith(t, { 'scripts/build.js': '' });
  const { hint } = t.throws(() => findSimulator(checkout), { code: 'VANITY_E_SIM_BUILD' });
  t.is(hint, 'Type: npm run build:native');
  for (const place of places)
    t.is(findSimulator(packageWith(t, { [place]: '' })).slice(-place.length), place);
});
