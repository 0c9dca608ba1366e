import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { install, nodes, pack, run } from './stage.js';

const manifest = `
[system]
name = "packed"
oversubscribe = true
[shards.source]
program = "generate"
options = { count = 1000 }
[shards.drain]
program = "sink"
[channels.all]
from = "source"
to = "drain"
`;
let packed;
let installed;

test.before((t) => {
  t.timeout(900_000);
  packed = pack();
  installed = install(packed.tarball);
  writeFileSync(join(installed.project, 'vanity.toml'), manifest);
});

const cli = 'node_modules/vanity/dist/cli/main.js';
const inProject = (command, ...args) =>
  run(command, args, { cwd: installed.project, env: installed.env, timeout: 60_000 });

test('the tarball holds what a user needs and nothing else', (t) => {
  const globs = readFileSync('test/package/files.txt', 'utf8')
    .split('\n')
    .filter((line) => line && !line.startsWith('#'));
  const matched = (path, glob) => pattern(glob).test(path);
  t.deepEqual(
    packed.files.filter((path) => !globs.some((glob) => matched(path, glob))),
    [],
  );
  t.deepEqual(
    globs.filter((glob) => !packed.files.some((path) => matched(path, glob))),
    [],
  );
});

test('the tarball is sound', (t) => {
  run('node_modules/.bin/publint', ['run', packed.stage, '--strict']);
  t.pass();
});

test('the prebuild needs no newer glibc than 2.34, and no library but those of Node', (t) => {
  const prebuild = join(packed.stage, `prebuilds/linux-${process.arch}/vanity.node`);
  const versions = [...run('readelf', ['-V', '-W', prebuild]).matchAll(/GLIBC_2\.(\d+)/g)];
  t.true(versions.length > 0);
  t.true(Math.max(...versions.map(([, minor]) => Number(minor))) <= 34);
  t.notRegex(run('readelf', ['-d', prebuild]), /libstdc\+\+/);
});

test('a user of the types compiles', (t) => {
  for (const file of ['consumer.ts', 'tsconfig.json']) {
    cpSync(join('test/package/types', file), join(installed.project, file));
  }
  run('node_modules/.bin/tsc', ['-p', installed.project]);
  t.pass();
});

test('npx vanity works in an empty project without a compiler', (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  t.is(inProject('npx', 'vanity', '--version').trim(), version);
  t.regex(inProject('npx', 'vanity', 'check', 'vanity.toml'), /./);
  t.notThrows(() => JSON.parse(inProject('npx', 'vanity', 'doctor', '--json')));
});

test('the prebuild runs a system on every supported Node', (t) => {
  t.timeout(600_000);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  for (const node of nodes()) {
    t.is(inProject(node.path, cli, '--version').trim(), version, node.version);
    t.notThrows(() => JSON.parse(inProject(node.path, cli, 'doctor', '--json')), node.version);
    const report = inProject(node.path, cli, 'run', 'vanity.toml', '--duration', '1s', '--json');
    t.is(JSON.parse(report.trim().split('\n').at(-1)).lost, 0, node.version);
    t.log(`${node.version}: loads and runs`);
  }
});

/** `**` crosses folders, `*` does not. */
function pattern(glob) {
  const source = glob
    .replace(/[.+]/g, '\\$&')
    .replace(/\*\*\/|\*/g, (star) => (star === '*' ? '[^/]*' : '(?:.*/)?'));
  return new RegExp(`^${source}$`);
}
