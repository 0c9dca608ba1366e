// Running systems that are made what another manifest says, under load, by the shipping command: what was changed, that
// nothing is lost or overtaken by it, and that all of it goes back when a shard is worse afterwards.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { modules, workspace } from './helpers.js';

const API = new URL('../../dist/index.js', import.meta.url).href;

/** numberer > first > second > checker; each word of `left` and `right` is a line of that shard. */
const manifest = ({
  left = ['program = "passer_1.so"'],
  right = ['program = "passer_1.so"'],
  end = ['program = "checker.so"'],
  kernel = [],
  name = 'apply',
} = {}) => `
[system]
name = "${name}"
oversubscribe = true
[kernel]
stall_ms = 5000
${kernel.join('\n')}
[shards.source]
program = "numberer.so"
options = { buffers = 4096, rate = 50000 }
[shards.left]
arena = "4KiB"
${left.join('\n')}
[shards.right]
arena = "4KiB"
${right.join('\n')}
[shards.end]
${end.join('\n')}
[channels.first]
from = "source"
to = "left"
overflow = "block"
[channels.second]
from = "left"
to = "right"
overflow = "block"
[channels.third]
from = "right"
to = "end"
overflow = "block"
`;

const stats = async (at, name = 'apply') =>
  JSON.parse((await at.run('stats', name, '--json')).stdout);
const flowing = async (at, name = 'apply') => {
  const seen = async () => (await stats(at, name)).shards?.end?.user.seq_checked ?? 0;
  const before = await seen();
  for (let i = 0; i < 200; i++) {
    if ((await seen()) > before + 1000) return;
    await sleep(50);
  }
  throw new Error('nothing flows');
};
const apply = async (at, file, ...flags) => {
  const { code, stdout, stderr } = await at.run('apply', 'apply', ...file, ...flags, '--json');
  return { code, stderr, report: JSON.parse(stdout) };
};
const outcomes = ({ steps }) =>
  steps.map(({ part, name, action, outcome }) => `${action} ${part} ${name}: ${outcome}`);

/** Ends the system: everything that was made has arrived, in order, but for what faults have dropped. */
async function endsWhole(t, system, dropped = 0) {
  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  const { lost, shards, pools } = JSON.parse(end.stdout);
  t.is(lost, dropped);
  t.is(shards.source.sent, shards.end.user.seq_checked + dropped);
  t.is(shards.end.user.seq_reordered, 0);
  t.is(shards.end.user.seq_missing, dropped);
  t.is(pools.source.leaked, 0);
  return shards;
}

test.serial('what differs is changed under load, the rest is not touched', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
  const first = at.file('first.toml', manifest());
  const system = at.start('run', first, '--json', '--quiet');
  await flowing(at);
  const { core } = (await stats(at)).shards.left;
  const next = at.file(
    'next.toml',
    manifest({
      left: ['program = "passer_1b.so"', 'options = { how = "well" }'],
      right: ['program = "passer_1.so"', 'watchdog = { max_restarts = 7 }'],
      kernel: ['drain_ms = 3000'],
      end: ['program = "checker.so"', `core = ${core}`],
    }),
  );

  const dry = await apply(at, [next], '--dry-run');
  t.is(dry.code, 0, dry.stderr);
  t.like(dry.report, { outcome: 'rehearsed', generation: 1 });
  t.is((await stats(at)).shards.left.generation, 1);

  const { code, report, stderr } = await apply(at, [next], '--confirm', '1');
  t.is(code, 0, stderr);
  t.like(report, { outcome: 'applied', ok: true, error: null, generation: 2 });
  t.deepEqual(outcomes(report), [
    'set system apply: done',
    'reload shard left: done',
    'set shard right: done',
    'move shard end: done',
  ]);
  const [certificate] = report.steps[1].certificates;
  t.like(certificate, { outcome: 'kept', generation: 2 });
  t.is(certificate.packets.unaccounted, 0);
  t.true(report.confirm.waited_ms >= 1000);
  const { shards } = await stats(at);
  t.is(shards.left.program, 'passer_1b.so');
  t.is(shards.end.core, core);
  const allowed = readFileSync(`/proc/${system.pid}/task/${shards.end.tid}/status`, 'utf8');
  t.regex(allowed, new RegExp(`^Cpus_allowed_list:\\s${core}$`, 'm'));
  for (const shard of ['source', 'right', 'end']) {
    t.like(shards[shard], { generation: 1, reloads: 0, restarts: 0 }, shard);
  }

  // It knows what it runs, by whatever words it was asked for.
  t.like((await apply(at, [next])).report, { outcome: 'nothing', generation: 2 });
  const loaded = await at.run('reload', 'apply', 'right', join(at.path, 'passer_1b.so'));
  t.is(loaded.code, 0, loaded.stderr);
  const again = await apply(at, [next], '--confirm', '0');
  t.deepEqual(outcomes(again.report), ['reload shard right: done']);
  const dump = join(at.path, 'apply.tar');
  t.is((await at.run('dump', 'apply', '--out', dump)).code, 0);
  const member = (name) => spawnSync('tar', ['-xOf', dump, name], { encoding: 'utf8' }).stdout;
  t.regex(member('manifest.toml'), /^options = \{ how = "well" \}$/m);
  const written = JSON.parse(member('manifest.json'));
  t.like(written, { generation: 3, file: next, settled: true });
  t.is(written.plan.shards[1].options.how, 'well');

  // And the one that was in force before.
  const back = await at.run('apply', 'apply', first, '--confirm', '0');
  t.is(back.code, 0, back.stderr);
  t.regex(back.stdout, /^apply runs generation 4 of its manifest, confirmed after 0 s$/m);
  const forth = await apply(at, [], '--back', '--confirm', '0');
  t.is(forth.code, 0, forth.stderr);
  t.like(forth.report, { outcome: 'applied', generation: 5 });
  t.is((await stats(at)).shards.left.program, 'passer_1b.so');

  const ended = await endsWhole(t, system);
  t.is(ended.left.user.total, ended.left.received); // counted through all of them
});

test.serial('what a running system cannot do is refused before anything is touched', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b', 'passer_2');
  const first = at.file('first.toml', manifest());
  const system = at.start('run', first, '--json', '--quiet');
  await flowing(at);
  const more = `${manifest({
    left: ['program = "passer_1b.so"'],
    right: ['program = "passer_1.so"', 'isolation = "process"', 'burst = 64'],
    end: ['program = "checker.so"', 'watchdog = { progress_ms = 9000 }'],
    kernel: ['core = 1'],
  })}
[ports.more]
driver = "capture"
write = "more.pcap"
tx = "end"
`;
  const file = at.file('more.toml', more);
  const { code, stdout } = await at.run('apply', 'apply', file, '--json');
  t.is(code, 1);
  const line = (text) => more.split('\n').indexOf(text) + 1;
  const told = JSON.parse(stdout).errors.map(({ code, message, file, line, column }) => [
    code,
    message,
    file,
    line,
    column,
  ]);
  t.deepEqual(told, [
    [
      'VANITY_E_APPLY',
      'system "apply": a running system cannot change kernel.core from any to 1',
      file,
      line('core = 1'),
      8,
    ],
    [
      'VANITY_E_APPLY',
      'shard "right": a running system cannot change burst from 32 to 64 of a process of its own',
      file,
      line('burst = 64'),
      9,
    ],
    [
      'VANITY_E_APPLY',
      'shard "right": a running system cannot change isolation from thread to process',
      file,
      line('isolation = "process"'),
      13,
    ],
    [
      'VANITY_E_APPLY',
      'port "more": it is new, and the ports of shard "end" are those it began with',
      file,
      line('[ports.more]'),
      2,
    ],
  ]);
  const plain = await at.run('apply', 'apply', file);
  t.regex(plain.stderr, /--> .*more\.toml:\d+:9\n[\s\S]*hint: It takes a new start/);

  // The last of three that cannot take over: the first was rehearsed, and never switched.
  const state = at.file(
    'state.toml',
    manifest({ left: ['program = "passer_1b.so"'], right: ['program = "passer_2.so"'] }),
  );
  const refused = await apply(at, [state]);
  t.is(refused.code, 1);
  t.is(refused.report.outcome, 'refused');
  t.is(refused.report.error.code, 'VANITY_E_RELOAD_STATE');
  t.deepEqual(outcomes(refused.report), ['reload shard right: refused']);

  t.is((await at.run('apply', 'apply')).code, 2);
  t.is((await at.run('apply', 'apply', first, '--back')).code, 2);
  const none = await at.run('apply', 'apply', '--back');
  t.regex(none.stderr, /VANITY_E_APPLY_STATE.*there was no manifest before this one/);
  t.regex((await at.run('apply', 'apply', 'none.toml')).stderr, /VANITY_E_MANIFEST_READ/);
  const { shards } = await stats(at);
  for (const shard of Object.values(shards)) t.like(shard, { generation: 1, reloads_undone: 0 });
  await endsWhole(t, system);
});

test.serial('all of it goes back when a shard gets worse', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
  const first = at.file('first.toml', manifest());
  const system = at.start('run', first, '--json', '--quiet');
  await flowing(at);

  // On trial: the shard's own old program comes back at once, and the other one's is reloaded.
  const worse = (after) =>
    at.file(
      `${after}.toml`,
      manifest({
        left: ['program = "passer_1b.so"'],
        right: ['program = "passer_1b.so"', `options = { how = "late-fault", after = ${after} }`],
        kernel: ['drain_ms = 3000'],
      }),
    );
  const trial = await apply(at, [worse(20)]);
  t.is(trial.code, 3, trial.stderr);
  t.like(trial.report, { outcome: 'undone', ok: false, generation: 1 });
  t.is(trial.report.error.code, 'VANITY_E_RELOAD_UNDONE');
  t.deepEqual(outcomes(trial.report), [
    'set system apply: back',
    'reload shard left: back',
    'reload shard right: refused',
  ]);
  t.is(trial.report.steps[1].certificates.length, 2);
  let { shards } = await stats(at);
  for (const shard of ['left', 'right']) t.is(shards[shard].program, 'passer_1.so');
  t.is(shards.right.dropped, 0);
  await flowing(at);

  // After it, while nothing is confirmed: it is started anew, and then replaced.
  const later = await apply(at, [worse(500)], '--confirm', '20');
  t.is(later.code, 3, later.stderr);
  t.like(later.report, { outcome: 'undone', generation: 1 });
  t.is(later.report.error.code, 'VANITY_E_APPLY_UNWELL');
  t.deepEqual(outcomes(later.report), [
    'set system apply: back',
    'reload shard left: back',
    'reload shard right: back',
  ]);
  t.true(
    later.report.confirm.worse.some(({ shard, what }) => shard === 'right' && what === 'faults'),
  );
  t.true(later.report.confirm.waited_ms < 15_000);
  ({ shards } = await stats(at));
  for (const shard of ['left', 'right']) t.is(shards[shard].program, 'passer_1.so');
  t.true(shards.right.dropped_fault > 0);
  t.is(shards.right.dropped, shards.right.dropped_fault);
  t.like((await apply(at, [first])).report, { outcome: 'nothing', generation: 1 });
  await flowing(at);

  // The same where nobody starts it anew.
  const given = at.file(
    'given.toml',
    manifest({
      right: [
        'program = "passer_1b.so"',
        'options = { how = "late-fault", after = 500 }',
        'watchdog = { on_fault = "hold" }',
      ],
    }),
  );
  const up = await apply(at, [given], '--confirm', '20');
  t.is(up.code, 3, up.stderr);
  t.deepEqual(outcomes(up.report), ['reload shard right: back']);
  ({ shards } = await stats(at));
  t.like(shards.right, { program: 'passer_1.so', state: 'running' });
  const dropped = shards.right.dropped_fault;
  await flowing(at);

  // Whoever waits may have enough of it; and meanwhile nobody else changes anything.
  const next = at.file('next.toml', manifest({ left: ['program = "passer_1b.so"'] }));
  const waiting = at.start('apply', 'apply', next, '--confirm', '60', '--json');
  for (;;) {
    ({ shards } = await stats(at));
    if (shards.left.program === 'passer_1b.so') break;
    await sleep(20);
  }
  const other = await at.run('apply', 'apply', first);
  t.regex(other.stderr, /VANITY_E_RELOAD_BUSY/);
  waiting.kill('SIGINT');
  const interrupted = await waiting.ended;
  t.is(interrupted.code, 3);
  t.is(JSON.parse(interrupted.stdout).error.code, 'VANITY_E_APPLY_INTERRUPTED');
  t.is((await stats(at)).shards.left.program, 'passer_1.so');

  await endsWhole(t, system, dropped);
});

/** As above, with a mirror in the middle and what `more` says. */
const mirrored = (more = '', end = []) =>
  manifest({ left: ['program = "passer_1.so"'], right: ['program = "mirror"'] })
    .replace('[shards.end]\n', `[shards.end]\n${end.join('\n')}\n`)
    .concat(more);
const TAP = `
[shards.tap]
program = "checker.so"
[channels.copies]
from = "right"
to = "tap"
overflow = "block"
`;
const tasks = (pid) => readdirSync(`/proc/${pid}/task`).length;

test.serial('a shard comes and goes under load, and nobody else notices', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
  const without = at.file('without.toml', mirrored());
  const withTap = at.file('with.toml', mirrored(TAP));
  const plan = await at.run('plan', without, withTap, '--json');
  t.deepEqual(
    JSON.parse(plan.stdout)
      .changes.filter(({ action }) => action !== 'keep')
      .map(({ action, part, name, because }) => [action, part, name, because]),
    [
      ['set', 'shard', 'right', ['channel copies is new']],
      ['add', 'shard', 'tap', []],
      ['add', 'channel', 'copies', []],
    ],
  );
  const system = at.start('run', without, '--json', '--quiet');
  await flowing(at);
  const threads = tasks(system.pid);
  for (let round = 0; round < 4; round++) {
    const there = await apply(at, [withTap], '--confirm', '0');
    t.is(there.code, 0, there.stderr);
    t.deepEqual(outcomes(there.report), [
      'add shard tap: done',
      'add channel copies: done',
      'set shard right: done',
    ]);
    t.is(there.report.generation, 2 * round + 2);
    for (let i = 0; i < 100 && !((await stats(at)).shards.tap?.received > 1000); i++)
      await sleep(20);
    const { shards, channels, pools } = await stats(at);
    t.like(shards.tap, { state: 'running', program: 'checker.so' });
    t.true(shards.tap.received > 1000);
    t.is(shards.tap.user.seq_reordered, 0);
    t.like(channels.copies, { from: 'right', to: 'tap', dropped: 0 });
    t.is(pools.tap, undefined);
    t.like((await apply(at, [withTap])).report, { outcome: 'nothing' });

    const gone = round % 2 === 0 ? [without] : [];
    const back = await apply(at, gone, ...(round % 2 === 0 ? [] : ['--back']), '--confirm', '0');
    t.is(back.code, 0, back.stderr);
    t.deepEqual(outcomes(back.report), [
      'set shard right: done',
      'remove shard tap: done',
      'remove channel copies: done',
    ]);
    const after = await stats(at);
    t.deepEqual(Object.keys(after.shards), ['source', 'left', 'right', 'end']);
    t.deepEqual(Object.keys(after.channels), ['first', 'second', 'third']);
    t.is(tasks(system.pid), threads);
  }
  const { shards } = await stats(at);
  for (const shard of Object.values(shards)) {
    t.like(shard, { generation: 1, reloads: 0, restarts: 0, stalls: 0, dropped: 0 });
  }
  await endsWhole(t, system);
});

test.serial(
  'what has come goes again when a shard gets worse, and what has gone comes back',
  async (t) => {
    const at = workspace(t);
    modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
    const first = at.file('first.toml', mirrored(TAP));
    const system = at.start('run', first, '--json', '--quiet');
    await flowing(at);
    // Its tap has gone, another one has come, and that one faults; `end` is on another core by then.
    const { core } = (await stats(at)).shards.end;
    const other = core === 0 ? 1 : 0;
    const faults = at.file(
      'faults.toml',
      mirrored(
        `
[shards.broken]
program = "passer_1b.so"
options = { how = "rehearsal-fault" }
[shards.last]
program = "sink"
[channels.more]
from = "right"
to = "broken"
[channels.on]
from = "broken"
to = "last"
`,
        [`core = ${other}`],
      ),
    );
    const { code, report, stderr } = await apply(at, [faults], '--confirm', '20');
    t.is(code, 3, stderr);
    t.like(report, { outcome: 'undone', generation: 1 });
    t.is(report.error.code, 'VANITY_E_APPLY_UNWELL');
    t.true(
      report.steps.every(({ outcome }) => outcome === 'back'),
      outcomes(report).join('\n'),
    );
    const { shards, channels } = await stats(at);
    t.deepEqual(Object.keys(shards).sort(), ['end', 'left', 'right', 'source', 'tap']);
    t.deepEqual(Object.keys(channels).sort(), ['copies', 'first', 'second', 'third']);
    t.is(shards.end.core, core);
    t.like((await apply(at, [first])).report, { outcome: 'nothing', generation: 1 });
    await flowing(at);
    system.kill('SIGINT');
    const end = await system.ended;
    const done = JSON.parse(end.stdout);
    t.is(done.shards.end.user.seq_missing + done.shards.end.user.seq_reordered, 0);
    t.is(done.shards.source.sent, done.shards.end.user.seq_checked);
  },
);

test.serial(
  'a move goes back when another shard gets worse, alone or after a program',
  async (t) => {
    const at = workspace(t);
    modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
    const first = at.file('first.toml', manifest());
    const system = at.start('run', first, '--json', '--quiet');
    await flowing(at);
    const { core, tid } = (await stats(at)).shards.left;
    const other = core === 0 ? 1 : 0;
    const right = ['program = "passer_1b.so"', 'options = { how = "late-fault", after = 500 }'];
    const on = async (which) => {
      t.is((await stats(at)).shards.left.core, which);
      const allowed = readFileSync(`/proc/${system.pid}/task/${tid}/status`, 'utf8');
      t.regex(allowed, new RegExp(`^Cpus_allowed_list:\\s${which}$`, 'm'));
    };
    for (const [program, action] of [
      ['passer_1', 'move'],
      ['passer_1b', 'reload'],
    ]) {
      const left = [`program = "${program}.so"`, `core = ${other}`];
      const next = at.file('next.toml', manifest({ left, right }));
      const { code, report, stderr } = await apply(at, [next], '--confirm', '20');
      t.is(code, 3, stderr);
      t.deepEqual(outcomes(report), [`${action} shard left: back`, 'reload shard right: back']);
      await on(core);
      t.is((await stats(at)).shards.left.program, 'passer_1.so');
    }
    const { dropped_fault } = (await stats(at)).shards.right;
    await flowing(at);
    const both = manifest({ left: ['program = "passer_1b.so"', `core = ${other}`] });
    const there = await apply(at, [at.file('both.toml', both)], '--confirm', '0');
    t.deepEqual(outcomes(there.report), ['reload shard left: done']);
    await on(other);
    t.is((await stats(at)).shards.left.program, 'passer_1b.so');
    await endsWhole(t, system, dropped_fault);
  },
);

test.serial('a built-in stage gets other options, and another takes its place', async (t) => {
  const at = workspace(t);
  modules(at, 'passer_1');
  // Ports 1024 to 1027 in turn; what the filter lets through, and the rest.
  const line = ({
    middle = 'program = "filter"\noptions = { expression = "src port 1024" }',
    rest = 'program = "sink"',
  }) => `
[system]
name = "apply"
oversubscribe = true
[shards.source]
program = "generate"
options = { rate = 20000, flows = 4 }
[shards.middle]
${middle}
[shards.passed]
program = "count"
[shards.rest]
${rest}
[channels.first]
from = "source"
to = "middle"
overflow = "block"
[channels.passed]
from = "middle"
to = "passed"
overflow = "block"
[channels.rest]
from = "middle"
to = "rest"
overflow = "block"
`;
  const first = at.file('first.toml', line({}));
  const system = at.start('run', first, '--json', '--quiet');
  const sent = async () => (await stats(at)).channels;
  /** What share of the packets is let through, by what has been sent since. */
  const share = async () => {
    const before = await sent();
    await sleep(300);
    const after = await sent();
    const grown = (name) => after[name].sent - before[name].sent;
    return grown('passed') / (grown('passed') + grown('rest'));
  };
  while (((await sent())?.rest?.sent ?? 0) < 1000) await sleep(50);
  t.true(Math.abs((await share()) - 1 / 4) < 0.05);

  const wrong = at.file(
    'wrong.toml',
    line({ middle: 'program = "filter"\noptions = { expression = "src prt 1024" }' }),
  );
  const refused = await apply(at, [wrong]);
  t.is(refused.code, 1);
  t.like(refused.report, { outcome: 'refused', error: { code: 'VANITY_E_FILTER_SYNTAX' } });
  t.regex(refused.report.error.message, /prt/);

  const other = 'program = "filter"\noptions = { expression = "not src port 1024" }';
  const next = at.file('next.toml', line({ middle: other }));
  const dry = await apply(at, [next], '--dry-run');
  t.deepEqual([dry.code, dry.report.outcome], [0, 'rehearsed'], dry.stderr);
  t.true(Math.abs((await share()) - 1 / 4) < 0.05);
  const { code, report, stderr } = await apply(at, [next], '--confirm', '0');
  t.is(code, 0, stderr);
  t.deepEqual(outcomes(report), ['set shard middle: done']);
  t.is(report.steps[0].certificates[0].outcome, 'kept');
  t.true(Math.abs((await share()) - 3 / 4) < 0.05);

  // Another stage and fewer channels at once; then all of it as it was.
  const split = at.file('split.toml', line({ middle: 'program = "flow-split"' }));
  t.deepEqual(outcomes((await apply(at, [split], '--confirm', '0')).report), [
    'set shard middle: done',
  ]);
  t.is((await stats(at)).shards.middle.program, 'flow-split');
  const back = await apply(at, ['--back'], '--confirm', '0');
  t.deepEqual([back.code, back.report.generation], [0, 4], back.stderr);
  t.true(Math.abs((await share()) - 3 / 4) < 0.05);

  // No module takes the place of a stage.
  const asked = await at.run('reload', 'apply', 'rest', join(at.path, 'passer_1.so'));
  t.regex(asked.stderr, /no module takes its place/);

  system.kill('SIGINT');
  const end = await system.ended;
  t.is(end.code, 0, end.stderr);
  const { lost, shards, pools } = JSON.parse(end.stdout);
  t.deepEqual([lost, pools.source.leaked], [0, 0]);
  t.is(shards.source.sent, shards.passed.received + shards.rest.received);
});

/** numberer > in > left > out > checker, with mirrors around the module in the middle. */
const line = ({ left = [], second = [], more = '' } = {}) => `
[system]
name = "apply"
oversubscribe = true
[kernel]
stall_ms = 5000
[shards.source]
program = "numberer.so"
options = { buffers = 4096, rate = 50000 }
[shards.in]
program = "mirror"
[shards.left]
program = "passer_1.so"
${left.join('\n')}
[shards.out]
program = "mirror"
[shards.end]
program = "checker.so"
[channels.first]
from = "source"
to = "in"
overflow = "block"
[channels.second]
from = "in"
to = "left"
overflow = "block"
${second.join('\n')}
[channels.third]
from = "left"
to = "out"
overflow = "block"
[channels.fourth]
from = "out"
to = "end"
overflow = "block"
${more}
`;
const NAMES = [
  ['source', 'in', 'left', 'out', 'end'],
  ['first', 'second', 'third', 'fourth'],
  ['source'],
];
/** Every part is there once, under its own name. */
const complete = (t, { shards, channels, pools }) =>
  t.deepEqual(
    [shards, channels, pools].map((parts) => Object.keys(parts).sort()),
    NAMES.map((names) => [...names].sort()),
  );
/** All that was made arrives, though some of it late: there were two ways for a while. */
async function endsComplete(t, system, dropped = 0) {
  system.kill('SIGINT');
  const { code, stdout, stderr } = await system.ended;
  t.is(code, 0, stderr);
  const { lost, shards, pools } = JSON.parse(stdout);
  t.is(lost, dropped);
  t.is(shards.source.sent, shards.end.user.seq_checked + dropped);
  t.is(shards.end.user.seq_missing - shards.end.user.seq_reordered, dropped);
  t.is(pools.source.leaked, 0);
}

test.serial('what nothing else brings about is made anew under load, in its place', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1');
  const first = at.file('first.toml', line());
  const other = ['strategy = "rotate"', 'arena = "8KiB"'];
  const next = at.file('next.toml', line({ left: other, second: ['capacity = 64'] }));
  const plan = await at.run('plan', first, next);
  t.is(plan.code, 4);
  t.regex(plan.stdout, /^restart {2}channel {2}third {3}shard left is made anew$/m);
  t.regex(plan.stdout, /^set {6}shard {4}out {5}channel third is another one$/m);
  const system = at.start('run', first, '--json', '--quiet');
  await flowing(at);
  const threads = tasks(system.pid);
  const { left } = (await stats(at)).shards;
  for (let round = 0; round < 4; round++) {
    const file = round % 2 === 0 ? [next] : ['--back'];
    const { code, report, stderr } = await apply(at, file, '--confirm', '0');
    t.is(code, 0, stderr + JSON.stringify(report.error));
    t.like(report, { outcome: 'applied', generation: round + 2 });
    t.deepEqual(outcomes(report), [
      'restart shard left: done',
      'restart channel second: done',
      'restart channel third: done',
      'set shard out: done',
      'set shard in: done',
    ]);
    const now = await stats(at);
    complete(t, now);
    t.is(now.channels.second.capacity, round % 2 === 0 ? 64 : 1024);
    t.is(now.shards.left.strategy, round % 2 === 0 ? 'rotate' : 'doorbell');
    t.like(now.shards.left, { core: left.core, generation: 1, state: 'running', faults: 0 });
    t.not(now.shards.left.tid, left.tid);
    t.is(tasks(system.pid), threads);
    for (const name of ['source', 'in', 'out', 'end'])
      t.like(now.shards[name], { restarts: 0, stalls: 0, dropped: 0, reloads: 0 }, name);
    await flowing(at);
  }
  t.like((await apply(at, [first])).report, { outcome: 'nothing' });
  await endsComplete(t, system);
});

test.serial(
  'what was made anew goes back, before it runs and while it is not confirmed',
  async (t) => {
    const at = workspace(t);
    modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
    const first = at.file('first.toml', line());
    const system = at.start('run', first, '--json', '--quiet');
    await flowing(at);
    const threads = tasks(system.pid);
    const left = (how) =>
      at.file(
        `${how}.toml`,
        line({ left: ['strategy = "rotate"', `options = { how = "${how}", after = 500 }`] }),
      );
    const { tid } = (await stats(at)).shards.left;

    const refused = await apply(at, [left('init-number')]);
    t.is(refused.code, 3, refused.stderr);
    t.like(refused.report, { outcome: 'undone', generation: 1 });
    t.deepEqual(outcomes(refused.report), [
      'restart shard left: refused',
      'restart channel second: refused',
      'restart channel third: refused',
    ]);
    let now = await stats(at);
    complete(t, now);
    t.like(now.shards.left, { tid, strategy: 'doorbell' });

    // As soon as it has a packet: the one before it is still there.
    const late = await apply(at, [left('rehearsal-fault')], '--confirm', '30');
    t.is(late.code, 3, late.stderr + JSON.stringify(late.report));
    t.like(late.report, { outcome: 'undone', generation: 1 });
    t.is(late.report.error.code, 'VANITY_E_APPLY_UNWELL');
    t.true(
      late.report.steps.every(({ outcome }) => outcome === 'back'),
      outcomes(late.report).join('\n'),
    );
    now = await stats(at);
    complete(t, now);
    t.like(now.shards.left, { strategy: 'doorbell', state: 'running' });
    t.is(tasks(system.pid), threads);
    t.like((await apply(at, [first])).report, { outcome: 'nothing', generation: 1 });
    await flowing(at);

    // While it is not confirmed: the one before it is gone, and is made anew.
    const other = at.file('other.toml', line({ left: ['strategy = "rotate"'] }));
    const waiting = at.start('apply', 'apply', other, '--confirm', '60', '--json');
    for (;;) {
      now = await stats(at);
      if (now.shards.left.strategy === 'rotate' && Object.keys(now.shards).length === 5) break;
      await sleep(20);
    }
    waiting.kill('SIGINT');
    const interrupted = await waiting.ended;
    t.is(interrupted.code, 3, interrupted.stderr);
    const { steps, error } = JSON.parse(interrupted.stdout);
    t.is(error.code, 'VANITY_E_APPLY_INTERRUPTED');
    t.deepEqual(outcomes({ steps }).sort(), [
      'restart channel second: back',
      'restart channel third: back',
      'restart shard left: back',
      'set shard in: back',
      'set shard out: back',
    ]);
    now = await stats(at);
    complete(t, now);
    t.like(now.shards.left, { strategy: 'doorbell', state: 'running', faults: 0 });
    t.is(tasks(system.pid), threads);
    t.like((await apply(at, [first])).report, { outcome: 'nothing', generation: 1 });
    await flowing(at);
    system.kill('SIGINT');
    const end = await system.ended;
    t.is(end.code, 0, end.stderr);
    const done = JSON.parse(end.stdout);
    t.is(done.pools.source.leaked, 0);
    // Those that the one which faulted held.
    t.is(done.shards.source.sent, done.shards.end.user.seq_checked + done.lost);
  },
);

test.serial(
  'whoever makes packets is made anew, and a module takes the place of a stage',
  async (t) => {
    const at = workspace(t);
    modules(at, 'passer_1');
    const made = ({ rate = 20000, rest = 'count' }) => `
[system]
name = "apply"
oversubscribe = true
[shards.source]
program = "generate"
options = { rate = ${rate}, flows = 4 }
[shards.middle]
program = "${rest}"
[shards.end]
program = "sink"
[channels.first]
from = "source"
to = "middle"
overflow = "block"
[channels.second]
from = "middle"
to = "end"
overflow = "block"
`;
    const system = at.start('run', at.file('first.toml', made({})), '--json', '--quiet');
    const sent = async () => (await stats(at)).shards?.end?.received ?? 0;
    while ((await sent()) < 1000) await sleep(50);
    for (const [change, steps] of [
      [
        { rate: 10000 },
        ['restart shard source: done', 'restart channel first: done', 'set shard middle: done'],
      ],
      [
        { rate: 10000, rest: './passer_1.so' },
        [
          'restart shard middle: done',
          'restart channel first: done',
          'restart channel second: done',
          'set shard source: done',
          'set shard end: done',
        ],
      ],
    ]) {
      const { code, report, stderr } = await apply(
        at,
        [at.file('next.toml', made(change))],
        '--confirm',
        '0',
      );
      t.is(code, 0, stderr + JSON.stringify(report.error));
      t.deepEqual(outcomes(report).sort(), [...steps].sort());
      const { shards, pools } = await stats(at);
      t.deepEqual(Object.keys(shards).sort(), ['end', 'middle', 'source']);
      t.deepEqual(Object.keys(pools), ['source']);
      const before = await sent();
      while ((await sent()) < before + 1000) await sleep(50);
    }
    const { shards } = await stats(at);
    t.is(shards.middle.program, 'passer_1.so');
    system.kill('SIGINT');
    const { code, stdout, stderr } = await system.ended;
    t.is(code, 0, stderr);
    const end = JSON.parse(stdout);
    t.is(end.pools.source.leaked, 0);
    t.is(end.lost, 0);
  },
);

test.serial('apply() of the API', async (t) => {
  const at = workspace(t);
  modules(at, 'numberer', 'checker', 'passer_1', 'passer_1b');
  const first = at.file('first.toml', manifest({ name: 'api' }));
  const next = at.file('next.toml', manifest({ name: 'api', left: ['program = "passer_1b.so"'] }));
  const wrong = at.file('wrong.toml', manifest({ name: 'other' }));
  const script = at.file(
    'apply.mjs',
    `import { boot, loadManifest } from ${JSON.stringify(API)};
     const loaded = loadManifest(${JSON.stringify(first)});
     const system = await boot(loaded.plan, { manifest: loaded });
     await new Promise((go) => setTimeout(go, 500));
     const done = await system.apply(${JSON.stringify(next)}, { confirm: 0.2, bursts: 10 });
     const wrong = await system.apply(${JSON.stringify(wrong)}).catch(({ errors }) => errors[0].message);
     await new Promise((go) => setTimeout(go, 300));
     system.stop();
     const { snapshot, failures } = await system.ended;
     const late = await system.apply(${JSON.stringify(first)}).catch(({ code, message }) => code + ' ' + message);
     process.stdout.write(JSON.stringify({ done, wrong, late, failures,
       shards: snapshot.shards.map(({ sent, generation, user }) => ({ sent, generation, user })) }));`,
  );
  const { code, stdout, stderr } = await at.spawn(process.execPath, [script], 'stderr').ended;
  t.is(code, 0, stderr);
  const end = JSON.parse(stdout);
  t.like(end.done, { outcome: 'applied', generation: 2 });
  t.is(end.done.steps[0].certificates[0].trial_bursts, 10);
  t.is(end.wrong, 'system "other": a running system cannot change name from api to other');
  t.is(
    end.late,
    'VANITY_E_APPLY_STATE no manifest can be applied to the system "api": it has ended',
  );
  t.deepEqual(end.failures, []);
  t.deepEqual(
    end.shards.map(({ generation }) => generation),
    [1, 2, 1, 1],
  );
  t.like(end.shards[3].user, { seq_missing: 0, seq_reordered: 0, seq_checked: end.shards[0].sent });
});
