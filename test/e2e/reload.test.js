// Programs that are replaced under load by the shipping command: the numbers that packets carry are whole and in
// order, and counters before and after agree with the certificate.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { modules, numbered, workspace } from './helpers.js';

const API = new URL('../../dist/index.js', import.meta.url).href;

const manifest = (name, rate) => numbered(name, 'passer_1.so', { rate, more: 'arena = "4KiB"' });

const stats = async (at, name) => JSON.parse((await at.run('stats', name, '--json')).stdout);
const flowing = async (at, name, beyond = 1000) => {
  for (let i = 0; i < 200; i++) {
    const now = await stats(at, name);
    if (now.shards?.end?.user.seq_checked > beyond) return now;
    await sleep(50);
  }
  throw new Error('nothing flows');
};

test.serial(
  'a program is replaced under load, and the certificate says what it cost',
  async (t) => {
    const at = workspace(t);
    modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b', 'passer_2', 'passer_2m');
    const system = at.start('run', at.file('swap.toml', manifest('swap')), '--json', '--quiet');
    const before = await flowing(at, 'swap');
    t.is(before.shards.middle.generation, 1);
    const reload = (program, ...flags) =>
      at.run('reload', 'swap', 'middle', join(at.path, program), ...flags);

    const dry = await reload('passer_1b.so', '--dry-run');
    t.is(dry.code, 0, dry.stderr);
    t.regex(
      dry.stdout,
      /^middle could run passer 1\.1 in place of passer 1\.0; nothing was changed$/m,
    );

    const swap = await reload('passer_1b.so', '--json');
    t.is(swap.code, 0, swap.stdout);
    const one = JSON.parse(swap.stdout);
    t.like(one, { outcome: 'kept', ok: true, error: null, generation: 2, trial_bursts: 64 });
    t.like(one.state, {
      handed: 'restored',
      bytes: 88,
      from_hash: one.state.to_hash,
      difference: [],
    });
    t.true(one.pause_us > 0);
    t.is(one.packets.in, one.packets.out);
    t.like(one.packets, {
      held: 0,
      unaccounted: 0,
      dropped: { channel_full: 0, port_full: 0, fault: 0 },
    });
    const [old, fresh] = one.ranges;
    t.deepEqual([old.generation, fresh.generation], [1, 2]);
    t.true(old.received[0] >= before.shards.middle.received);
    t.is(old.received[1], fresh.received[0]);
    t.is(fresh.received[1] - old.received[0], one.packets.in);
    t.true(fresh.received[1] - fresh.received[0] >= 64);
    t.like(one.sequence, { shard: 'end', missing: 0, reordered: 0 });
    t.true(one.sequence.checked > 0);
    const after = await stats(at, 'swap');
    t.true(after.shards.middle.received >= fresh.received[1]);
    t.like(after.shards.middle, {
      generation: 2,
      reloads: 1,
      reloads_undone: 0,
      program: 'passer_1b.so',
    });

    const refused = await reload('passer_2.so');
    t.is(refused.code, 1);
    t.regex(refused.stdout, /^ {2}! lengths: u64\[8\] at 24 -> u32\[8\] at 24$/m);
    t.regex(refused.stderr, /VANITY_E_RELOAD_STATE/);

    const migrated = await reload('passer_2m.so');
    t.is(migrated.code, 0, migrated.stderr);
    t.regex(migrated.stdout, /^state {6}88 bytes migrated$/m);
    t.regex(migrated.stdout, /^sequence {3}\d+ checked by end, 0 missing, 0 out of order$/m);

    // No shard hands anything on in less than a microsecond... but for a budget of one it has to be over.
    const late = await reload('passer_2.so', '--budget-us', '1', '--json');
    const tight = JSON.parse(late.stdout);
    t.is(tight.outcome, 'kept');
    t.is(late.code, tight.pause_us > 1 ? 1 : 0);
    if (tight.pause_us > 1) t.is(tight.error.code, 'VANITY_E_RELOAD_BUDGET');

    const wrong = await reload('passer_2.so', '--hold', '--drain');
    t.is(wrong.code, 2);
    t.regex((await reload('program.js')).stderr, /VANITY_E_RELOAD.*TypeScript program/);
    t.regex((await reload('not-there.so')).stderr, /VANITY_E_PROGRAM_LOAD.*not-there\.so/);
    t.regex((await at.run('reload', 'swap', 'midle', 'x.so')).stderr, /VANITY_E_SHARD_NONE/);

    system.kill('SIGINT');
    const end = await system.ended;
    t.is(end.code, 0, end.stderr);
    const { lost, shards } = JSON.parse(end.stdout);
    t.is(lost, 0);
    t.is(shards.source.sent, shards.end.user.seq_checked);
    t.is(shards.middle.user.total, shards.middle.received); // counted through four generations
    t.like(shards.end.user, { seq_missing: 0, seq_reordered: 0 });
  },
);

test.serial('bench reload loses and reorders nothing', async (t) => {
  const at = workspace(t);
  const { code, stdout, stderr } = await at.run('bench', 'reload', '--reloads', '6', '--json');
  t.is(code, 0, stderr);
  const { figures, pauses_us } = JSON.parse(stdout);
  const zero = figures.filter(({ target }) => target === '= 0');
  t.deepEqual(
    zero.map(({ value }) => value),
    [0, 0, 0],
  );
  t.is(pauses_us.length, 6);
  t.is((await at.run('bench', 'flow-split', '--reloads', '6')).code, 2);
});

test.serial('reload() of the API; a new program that faults goes again', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
  const script = at.file(
    'reload.mjs',
    `import { boot, loadManifest } from ${JSON.stringify(API)};
     const system = await boot(loadManifest(${JSON.stringify(at.file('api.toml', manifest('api')))}).plan);
     const next = ${JSON.stringify(join(at.path, 'passer_1b.so'))};
     await new Promise((go) => setTimeout(go, 300));
     process.env.VANITY_TEST_PASSER = 'late-fault';
     const undone = await system.reload('middle', next);
     process.env.VANITY_TEST_PASSER = '';
     const kept = await system.reload('middle', next, { bursts: 10, budgetUs: 1e6 });
     const wrong = (await system.reload('middle', 'x.ts')).error.code;
     await new Promise((go) => setTimeout(go, 300));
     system.stop();
     const { snapshot, failures, warnings } = await system.ended;
     const late = await system.reload('middle', next).catch(({ code, message }) => code + ' ' + message);
     process.stdout.write(JSON.stringify({ undone, kept, wrong, late, failures, warnings,
       shards: snapshot.shards.map(({ received, dropped, user }) => ({ received, dropped, user })) }));`,
  );
  const { code, stdout, stderr } = await at.spawn(process.execPath, [script], 'stderr').ended;
  t.is(code, 0, stderr);
  const end = JSON.parse(stdout);
  t.is(end.undone.outcome, 'undone');
  t.is(end.undone.error.code, 'VANITY_E_RELOAD_UNDONE');
  t.regex(end.undone.error.message, /SIGSEGV at address 0x0, in .*\(passer_1b\.so\)/);
  t.true(end.undone.packets.again > 0);
  t.is(end.undone.packets.unaccounted, 0);
  t.is(end.undone.generation, 1);
  t.like(end.kept, { outcome: 'kept', ok: true, trial_bursts: 10, budget_us: 1e6, generation: 2 });
  t.is(end.wrong, 'VANITY_E_RELOAD');
  t.is(end.late, 'VANITY_E_RELOAD shard "middle": the system has ended');
  t.true(end.warnings.some(({ code }) => code === 'VANITY_W_RELOAD_UNDONE'));
  t.deepEqual(end.failures, []);
  const [source, middle, sink] = end.shards;
  t.is(source.received, 0);
  t.like(sink.user, { seq_missing: 0, seq_reordered: 0, seq_checked: middle.received });
  t.is(middle.dropped, 0);
});
