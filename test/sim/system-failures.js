// What a whole system leaves when it goes wrong, by a shard that tells nobody of what it sent late:
// found, made short, kept, replayed, and not there in the code as it is. "N passed, N failed".
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildWith } from './policy-build.js';

process.chdir(new URL('../..', import.meta.url).pathname);
const MUTANT = {
  file: 'shard/packets.cpp',
  changes: [
    [
      'channel.record->sent.add(more);\n        notify(channel);',
      'channel.record->sent.add(more);',
    ],
  ],
};
const SHIPPING = 'build/Release/vanity-sim';

let passed = 0;
let failed = 0;
function check(name, good, shown = '') {
  if (good) passed++;
  else failed++;
  console.log(`${good ? 'ok' : 'not ok'} - ${name}${good ? '' : `\n${shown}`}`);
}
function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return { code: status, output: stdout + stderr };
}
const last = (output) => JSON.parse(output.trim().split('\n').at(-1));

const folder = mkdtempSync(join(tmpdir(), 'vanity-system-'));
try {
  const program = await buildWith(MUTANT, folder, run);
  const system = join(folder, 'system');
  const manifest = 'test/sim/systems/split.toml';
  writeFileSync(
    system,
    execFileSync(process.execPath, ['test/sim/system-text.js', manifest], { encoding: 'utf8' }),
  );
  const repro = join(folder, 'kept.repro');
  const hunt = (...more) => run(program, [system, '--seed', '1', '--shrink', '0', ...more]);
  const long = last(hunt('--keep', repro).output);
  const found = run(program, [system, '--seed', '1', '--shrink', '5', '--keep', repro]);
  const short = last(found.output);
  check(
    'a lost wake is found, and who lost it',
    found.code === 1 && short.verdict === 'lost wake' && /sleeps since .* input/.test(short.what),
    found.output,
  );
  check(
    `it is made short: ${long.steps} steps, then ${short.steps}`,
    short.steps < long.steps / 2,
    found.output,
  );
  const trace = join(folder, 'trace.json');
  const again = run(program, ['--replay', repro, '--perfetto', trace]);
  check(
    'replayed, it is the same',
    again.code === 1 && last(again.output).what === short.what,
    again.output,
  );
  const events = JSON.parse(readFileSync(trace, 'utf8')).traceEvents;
  check(
    `its trace has ${events.length} events, and every thread's name`,
    events.length > short.steps &&
      ['split', 'out', 'kernel', 'operator'].every((name) =>
        events.some((event) => event.name === 'thread_name' && event.args.name === name),
      ),
  );
  const shipping = run(SHIPPING, ['--replay', repro]);
  check('the code as it is goes through it', shipping.code === 0, shipping.output);
  writeFileSync(repro, 'vanity-repro 1\nscenario ring\ndecisions 1\n');
  const other = run(SHIPPING, ['--replay', repro]);
  check(
    'one of a small case is refused',
    other.code === 2 && last(other.output).code === 'VANITY_E_SIM_REPRO',
    other.output,
  );
  const row = (shards) => {
    const shard = (s) =>
      `shard s${s} builtin doorbell - auto 4 0 10000000 ${s === 0 ? 'forward' : s + 1 === shards ? 'sink' : 'count'}`;
    const all = Array.from({ length: shards }, (_, s) => shard(s));
    const between = all.slice(1).map((_, s) => `channel c${s} ${s} ${s + 1} 2 16 1 bulk block 0 0`);
    writeFileSync(
      system,
      ['name row', 'arrivals 4', 'drain_ns 2000000000', ...all, ...between].join('\n') +
        '\nport in drop 8 2048 1 0 0\n',
    );
    return run(SHIPPING, [system, '--schedules', '8', '--shrink', '0']);
  };
  const largest = row(20);
  check('as many shards as there is room for', largest.code === 0, largest.output);
  const larger = row(21);
  check(
    'one more is refused, and what to do',
    larger.code === 2 &&
      last(larger.output).code === 'VANITY_E_LIMIT' &&
      /21 shards: the simulator has room for 20/.test(last(larger.output).message) &&
      last(larger.output).hint.includes('vanity run --sim pool'),
    larger.output,
  );
} catch (error) {
  check('it can be built', false, error.message);
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
