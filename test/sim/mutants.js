// Each mutant is the shipping code with one thing wrong: a header is copied, changed, compiled into
// the checks of its subject, and run. It must be found. Prints after how many schedules, and
// "N passed, N failed": mutants.js [PART OF A NAME]
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadManifest } from '../../dist/manifest/plan.js';
import { SCALE, systemText } from '../../dist/planning/sim-system.js';
import { MUTANTS } from './mutants-list.js';
import { buildWith, changed } from './policy-build.js';

process.chdir(new URL('../..', import.meta.url).pathname);
const OUT = '.cache/sim/native';

function run(command, args, seconds) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000);
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, output });
    });
  });
}

const SYSTEM_SCHEDULES = 10_000;
const SYSTEMS = ['split', 'buffers', 'nic'].map((name) => `test/sim/systems/${name}.toml`);

/** One of a source file of the runtime: in its place in the policy build, under whole systems. */
async function outcomeOfSystem(mutant) {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-mutant-'));
  try {
    const program = await buildWith(mutant, folder, run);
    for (const manifest of SYSTEMS) {
      const system = join(folder, 'system');
      writeFileSync(system, systemText(loadManifest(manifest).plan, SCALE));
      const args = [system, '--seed', '1', '--schedules', `${SYSTEM_SCHEDULES}`, '--shrink', '0'];
      const { code, signal, output } = await run(program, args, 200);
      const said = output
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
        .at(-1);
      if (said.state === 'failed')
        return { found: `${said.verdict}, ${said.what}; schedule ${said.schedule}` };
      if (code !== 0) return { problem: `ended by ${signal ?? code}: ${output.slice(-500)}` };
    }
    return { problem: 'survives' };
  } catch (error) {
    return { problem: error.message };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What became of it: {found: text} or {problem: text}. */
async function outcome(mutant) {
  if (mutant.check === 'system') return outcomeOfSystem(mutant);
  const { check, file, changes } = mutant;
  const folder = mkdtempSync(join(tmpdir(), 'vanity-mutant-'));
  try {
    const text = changed(file, changes);
    // A header's neighbours are found first beside itself, so all of them go along.
    cpSync('native', folder, { recursive: true, filter: (path) => !path.endsWith('.cpp') });
    writeFileSync(join(folder, file), text);
    const program = join(folder, 'check');
    const include = [`-I${folder}/include`, `-I${folder}`, '-Itest/sim'];
    const parts = ['apart', 'fiber', 'hunt', 'memory', 'search', 'trace', 'world'].map(
      (p) => `${OUT}/${p}.o`,
    );
    const source = `test/sim/${check}.cpp`;
    const flags = ['-std=c++20', '-O1', '-w', ...include];
    const built = await run('g++', [...flags, source, ...parts, '-o', program], 120);
    if (built.code !== 0) return { problem: `does not compile: ${built.output.slice(0, 2000)}` };
    const { code, signal, output } = await run(program, ['--quick', '--keep', folder], 200);
    const line = /^not ok - (.*)$/m.exec(output);
    if (line !== null)
      return { found: `${line[1]}; ${/(\d+) schedules in all/.exec(output)?.[1]} in all` };
    if (signal !== null) return { problem: `ended by ${signal}` };
    return { problem: code === 0 ? 'survives' : `exit code ${code}: ${output.slice(-500)}` };
  } catch (error) {
    return { problem: error.message };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

let passed = 0;
let failed = 0;
const built = await run('make', ['-s', '-f', 'test/sim/Makefile', `OUT=${OUT}`, 'parts'], 200);
if (built.code !== 0) {
  console.log(built.output);
  failed++;
}
const wanted = process.argv[2] ?? '';
// The code as it is goes through the same and must not be found.
const checks = [...new Set(MUTANTS.map(({ check }) => check))];
const controls = checks.map((check) => ({
  check,
  name: 'unchanged',
  file: check === 'system' ? 'shard/shard.cpp' : 'README.md',
  changes: [],
}));
const queue = [...MUTANTS, ...controls].filter(({ name, check }) =>
  `${check}: ${name}`.includes(wanted),
);
async function worker() {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const { found, problem } = await outcome(mutant);
    const good = mutant.changes.length === 0 ? problem === 'survives' : found !== undefined;
    if (good) passed++;
    else failed++;
    const what = found !== undefined ? `found by ${found}` : problem;
    console.log(`${good ? 'ok' : 'not ok'} - ${mutant.check}: ${mutant.name}: ${what}`);
  }
}
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
