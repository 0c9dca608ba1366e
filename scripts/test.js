// Runs suites one after another and adds them up: `test.js native|asan|tsan|lib|e2e|package ...`.
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, Tally } from './suite.js';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const tally = new Tally();
// Set by CI, whose machines stall any test that has a clock: what failed runs once more, alone, and it is said that it did.
const again = Boolean(process.env.VANITY_AGAIN);
const unsteady = (name) => console.log(`# unsteady: ${name} failed, then passed`);

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
  const seconds = process.env.VANITY_FULL ? 700 : 240;
  // TSan takes a thread that left a handler by a jump, as a contained fault does, to be in it still; and of what two
  // threads say to each other by way of another process it sees nothing.
  const without = sanitize === 'thread' ? ['fault_test', 'process_test'] : [];
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
    const once = async () => {
      const start = Date.now();
      const command = fixed ? ['setarch', '-R', path] : [path];
      const test = await run(command[0], command.slice(1), { env, seconds });
      const [, passed = 0, failed = 0] = test.output.match(/^(\d+) passed, (\d+) failed$/m) ?? [];
      const bad = test.ok && Number(passed) > 0 ? Number(failed) : Math.max(1, Number(failed));
      const took = ((Date.now() - start) / 1000).toFixed(1);
      console.log(`${bad ? '✘' : '✔'} ${name}: ${passed} passed, ${bad} failed (${took} s)`);
      if (bad) console.log(`${test.output.slice(-20000)}\n${name}: ${test.end}`);
      return [Number(passed), bad];
    };
    let result = await once();
    if (result[1] !== 0 && again) {
      result = await once();
      if (result[1] === 0) unsteady(name);
    }
    tally.add(...result);
  }
}

async function ava(folder, seconds, ...flags) {
  const build = await run(process.execPath, ['scripts/build.js'], { show: true, seconds: 1500 });
  if (!build.ok) return tally.add(0, 1);
  if (!readdirSync(join('test', folder), { recursive: true }).some((f) => f.endsWith('.test.js'))) {
    console.log(`test/${folder} has no tests`);
    return tally.add(0, 1);
  }
  const all = await runAva([...flags, `test/${folder}/**/*.test.js`], seconds);
  const count = Object.values(all.files).reduce((sum, n) => sum + n, 0);
  // Only what says itself what failed: a file that died, or a run that did not end, names nothing.
  if (!again || count !== all.failed) return tally.add(all.passed, all.failed);
  const paths = readdirSync(join('test', folder), { recursive: true });
  for (const [file, failed] of Object.entries(all.files)) {
    const path = paths.find((p) => basename(p) === `${file}.test.js`);
    if (path === undefined) continue; // one file alone has no name in its lines
    const once = await runAva([...flags, join('test', folder, path)], seconds);
    if (once.failed !== 0 || once.passed === 0) continue;
    unsteady(path);
    all.passed += failed;
    all.failed -= failed;
  }
  tally.add(all.passed, all.failed);
}

async function runAva(args, seconds) {
  const color = process.stdout.isTTY ? ['--color'] : ['--no-color'];
  const test = await run('node_modules/.bin/ava', [...color, ...args], { show: true, seconds });
  if (!test.ok) console.log(`ava: ${test.end}`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal
  const plain = test.output.replace(/\x1b\[[0-9;]*m/g, '');
  // The summary counts what passed only when all did; the lines of the tests always tell.
  const passed = [...plain.matchAll(/^\s+✔ /gm)].length;
  const bad =
    /^\s*(\d+) (?:(?:tests?|hooks?) failed|tests? were pending|u\w+ (?:exception|rejection)s?)/gm;
  const failed = [...plain.matchAll(bad)].reduce((sum, [, n]) => sum + Number(n), 0);
  const files = {};
  for (const [, file] of plain.matchAll(/^\s+✘ \[fail\]: (\S+) › /gm))
    files[file] = (files[file] ?? 0) + 1;
  return { passed, failed: test.ok ? failed : Math.max(1, failed), files };
}

const suites = {
  native: () => native(''),
  asan: () => native('address'),
  tsan: () => native('thread'),
  lib: () => ava('lib', 600),
  e2e: () => ava('e2e', 1500),
  // Its builds say nothing for minutes, and ava takes silence for the end.
  package: () => ava('package', 1400, '--timeout=15m'),
};

for (const name of process.argv.slice(2)) {
  if (!suites[name]) {
    console.error(`test.js: no suite "${name}"; there are: ${Object.keys(suites).join(', ')}`);
    process.exit(2);
  }
  await suites[name]();
}
tally.finish();
