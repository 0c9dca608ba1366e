// A native module that faults under load, while JavaScript is stuck and cannot help.
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { generator, modules, workspace } from './helpers.js';

const root = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const API = new URL('../../dist/index.js', import.meta.url).href;

test.serial('a module that faults is started anew while JavaScript is blocked', async (t) => {
  const at = workspace(t);
  modules(at, 'crasher');
  const text = generator({ name: 'faults', middle: 'crasher.so' }).replace(
    'program = "crasher.so"',
    `program = "crasher.so"
options = { how = "segv", after = 10000 }
watchdog = { backoff_ms = 1, max_restarts = 1000, window_ms = 1000 }`,
  );
  const manifest = at.file('faults.toml', text);
  const script = at.file(
    'stuck.mjs',
    `import { boot, loadManifest } from ${JSON.stringify(API)};
     const system = await boot(loadManifest(${JSON.stringify(manifest)}).plan);
     process.stderr.write('blocking\\n');
     const until = Date.now() + 5000;
     while (Date.now() < until);
     const during = system.snapshot().shards[1].restarts;
     system.stop();
     const { snapshot, failures, warnings } = await system.ended;
     process.stdout.write(JSON.stringify({ during, state: snapshot.system.state, failures, warnings,
       shards: snapshot.shards.map(({ received, consumed, dropped, dropped_fault, faults }) =>
         ({ received, consumed, dropped, dropped_fault, faults })) }));`,
  );
  const { code, stdout, stderr } = await at.spawn(process.execPath, [script], 'stderr').ended;
  t.is(code, 0, stderr);
  const end = JSON.parse(stdout);
  t.is(end.state, 'stopped', JSON.stringify(end.failures));
  t.true(end.during >= 3);
  const [source, middle, sink] = end.shards;
  t.true(middle.faults > 0);
  // A stop between a fault and the new start drops what waits in its channel too.
  const more = middle.dropped - middle.dropped_fault;
  t.true(more >= 0 && more <= 1024 + 32, `${more} dropped besides`);
  t.is(source.received, sink.consumed + middle.dropped + source.dropped);
  const told = end.warnings.find(({ code }) => code === 'VANITY_W_SHARD_FAULT');
  t.regex(told.message, /SIGSEGV at address 0x0, in misbehave\+0x[0-9a-f]+ \(crasher\.so\)/);
});

test.serial('vanity restart starts a module anew', async (t) => {
  const at = workspace(t);
  modules(at, 'crasher');
  const text = generator({ name: 'anew', middle: 'crasher.so' });
  const system = at.start('run', at.file('anew.toml', text), '--json');
  await system.said(/anew/);
  await sleep(300);
  const { code, stdout, stderr } = await at.run('restart', 'anew', 'middle');
  t.is(code, 0, stderr);
  t.regex(stdout, /^middle was started anew, after [\d.]+ ms$/m);
  const late = await at.run('restart', 'anew', 'end');
  t.is(late.code, 1); // a built-in
  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  const { shards } = JSON.parse(end.stdout);
  t.is(shards.middle.restarts, 1);
  t.is(shards.middle.user.starts, 2);
  t.is(shards.middle.dropped, shards.middle.dropped_fault);
});

test.serial('vanity restart starts a TypeScript program anew', async (t) => {
  const at = workspace(t);
  const middle = root('test/fixtures/programs/fragile.js');
  const extra = '[shards.middle.options]\nhow = "never"\n';
  const system = at.start(
    'run',
    at.file('script.toml', generator({ name: 'script', middle, extra })),
    '--json',
  );
  await system.said(/script/);
  await sleep(300);
  for (const times of [1, 2]) {
    const { code, stdout, stderr } = await at.run('restart', 'script', 'middle');
    t.is(code, 0, stderr);
    t.regex(stdout, /^middle was started anew, after [\d.]+ ms$/m, `${times}`);
  }
  const { stdout: traced } = await at.run('trace', 'script', 'middle');
  t.regex(traced, /left when asked to[\s\S]*started anew, for the 2\. time/);
  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  const { shards } = JSON.parse(end.stdout);
  t.is(shards.middle.restarts, 2);
  t.is(shards.middle.faults, 0);
  t.is(shards.middle.user.starts, 3);
  t.is(shards.source.received, shards.end.consumed + shards.middle.dropped);
});
