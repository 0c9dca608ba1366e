// Runs suites one after another and adds them up: `test.js native|asan|tsan|lib|e2e|package ...`.
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, Tally } from './suite.js';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const tally = new Tally();

// The core needs g++ and make only: no Node, no CMake. One executable a file, each in its process.
async function native(sanitize) {
  const out = join('.cache', 'native', sanitize || 'release');
  const make = ['--no-print-directory', '-s', '-f', 'test/native/Makefile'];
  make.push(`SANITIZE=${sanitize}`, `OUT=${out}`, `-j${availableParallelism()}`, '-k');
  console.log(`Building the native tests${sanitize && ` (${sanitize} sanitizer)`} ...`);
  const built = await run('make', make, { show: true, seconds: 1500 });
  if (!built.ok) {
    console.log(`make: ${built.end}`);
    tally.add(0, 1);
  }
  const env = {
    ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    TSAN_OPTIONS: 'halt_on_error=1:second_deadlock_stack=1',
  };
  // TSan of gcc 12 gives up on the address layouts that newer kernels draw.
  const fixed = sanitize === 'thread' && (await run('setarch', ['-R', 'true'])).ok;
  // TSan takes a thread that left a handler by a jump, as a contained fault does, to be in it still.
  const without = sanitize === 'thread' ? ['fault_test'] : [];
  for (const source of readdirSync('test/native').sort()) {
    if (!source.endsWith('_test.cpp')) continue;
    const name = source.replace('.cpp', '');
    if (without.includes(name)) {
      console.log(`- ${name}: not under this sanitizer`);
      continue;
    }
    const path = join(out, name);
    if (!existsSync(path)) {
      console.log(`✘ ${name}: did not build`);
      tally.add(0, 1);
      continue;
    }
    const start = Date.now();
    const test = fixed ? await run('setarch', ['-R', path], { env }) : await run(path, [], { env });
    const [, passed = 0, failed = 0] = test.output.match(/^(\d+) passed, (\d+) failed$/m) ?? [];
    const bad = test.ok && Number(passed) > 0 ? Number(failed) : Math.max(1, Number(failed));
    tally.add(Number(passed), bad);
    const seconds = ((Date.now() - start) / 1000).toFixed(1);
    console.log(`${bad ? '✘' : '✔'} ${name}: ${passed} passed, ${bad} failed (${seconds} s)`);
    if (bad) console.log(`${test.output.slice(-20000)}\n${name}: ${test.end}`);
  }
}

async function ava(folder, seconds) {
  const build = await run(process.execPath, ['scripts/build.js'], { show: true, seconds: 1500 });
  if (!build.ok) return tally.add(0, 1);
  if (!readdirSync(join('test', folder), { recursive: true }).some((f) => f.endsWith('.test.js'))) {
    console.log(`test/${folder} has no tests`);
    return tally.add(0, 1);
  }
  const color = process.stdout.isTTY ? ['--color'] : ['--no-color'];
  const test = await run('node_modules/.bin/ava', [...color, `test/${folder}/**/*.test.js`], {
    show: true,
    seconds,
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal
  const plain = test.output.replace(/\x1b\[[0-9;]*m/g, '');
  // The summary counts what passed only when all did; the lines of the tests always tell.
  const passed = [...plain.matchAll(/^\s+✔ /gm)].length;
  const bad = /^\s*(\d+) (?:(?:tests?|hooks?) failed|u\w+ (?:exception|rejection)s?)/gm;
  const failed = [...plain.matchAll(bad)].reduce((sum, [, n]) => sum + Number(n), 0);
  tally.add(passed, test.ok ? failed : Math.max(1, failed));
  if (!test.ok) console.log(`ava: ${test.end}`);
}

const suites = {
  native: () => native(''),
  asan: () => native('address'),
  tsan: () => native('thread'),
  lib: () => ava('lib', 600),
  e2e: () => ava('e2e', 900),
  package: () => ava('package', 1200),
};

for (const name of process.argv.slice(2)) {
  if (!suites[name]) {
    console.error(`test.js: no suite "${name}"; there are: ${Object.keys(suites).join(', ')}`);
    process.exit(2);
  }
  await suites[name]();
}
tally.finish();
