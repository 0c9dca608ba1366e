// Shards with TypeScript programs that come into a running system and go from it under load: the worker is there and
// gone, nothing is lost, nobody else notices, and whatever is wrong with such a program leaves the system as it was.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { readCapture } from './helpers/captures.js';
import { modules, workspace } from './helpers.js';

const NAME = 'apply-ts';

/** numberer > mirror > checker; `more` are further sections. */
const manifest = (more = '') => `
[system]
name = "${NAME}"
oversubscribe = true
[kernel]
stall_ms = 5000
[shards.source]
program = "numberer.so"
options = { buffers = 4096, rate = 20000 }
[shards.copy]
program = "mirror"
[shards.end]
program = "checker.so"
[channels.first]
from = "source"
to = "copy"
overflow = "block"
[channels.second]
from = "copy"
to = "end"
overflow = "block"
${more}
`;
const tap = (program = 'tap.js', more = '') => `
[shards.tap]
program = "${program}"
${more}
[channels.copies]
from = "copy"
to = "tap"
overflow = "block"
`;
/** The tap hands on to another one, and a third makes packets of its own. */
const LINE = `
[shards.last]
program = "last.js"
[shards.maker]
program = "maker.js"
options = { buffers = 64 }
[channels.on]
from = "tap"
to = "last"
overflow = "block"
[channels.made]
from = "maker"
to = "last"
overflow = "block"
`;

/** Counts what comes, and hands it on where it can. `init` and `poll` are further lines. */
const program = ({ load = '', init = '', poll = '' } = {}) => `
${load}
let seen;
let polls = 0;
export default {
  async init(shard) {
    seen = shard.counter('seen');
    ${init}
  },
  poll(shard) {
    const burst = shard.receive();
    seen.add(burst.count);
    polls += 1;
    ${poll}
    if (shard.outputCount > 0) shard.send(0, burst);
    else shard.free(burst);
    return burst.count;
  },
};
`;
const MAKER = `
let burst;
export default {
  init(shard) {
    burst = shard.makeBurst(8);
  },
  poll(shard) {
    if (shard.stopping) return 0;
    burst.clear();
    const made = shard.allocate(burst);
    for (let i = 0; i < made; i++) burst.setLength(i, 60);
    shard.send(0, burst);
    return made;
  },
};
`;

const stats = async (at) => JSON.parse((await at.run('stats', NAME, '--json')).stdout);
const until = async (at, what, holds) => {
  for (let i = 0; i < 400; i++) {
    if (holds(await stats(at))) return;
    await sleep(50);
  }
  throw new Error(`never ${what}`);
};
const flowing = async (at) => {
  const before = (await stats(at)).shards?.end?.user.seq_checked ?? 0;
  await until(at, 'flows', ({ shards }) => (shards?.end?.user.seq_checked ?? 0) > before + 1000);
};
const apply = async (at, file, ...flags) => {
  const { code, stdout, stderr } = await at.run('apply', NAME, ...file, ...flags, '--json');
  return { code, stderr, report: JSON.parse(stdout) };
};
const outcomes = ({ steps }) =>
  steps.map(({ part, name, action, outcome }) => `${action} ${part} ${name}: ${outcome}`);
const tasks = (pid) => readdirSync(`/proc/${pid}/task`).length;

/** A system that runs `first`, and how it ends whole. */
async function running(t, first) {
  const at = workspace(t);
  modules(at, 'numberer', 'checker');
  at.file('tap.js', program());
  at.file('last.js', program());
  at.file('maker.js', MAKER);
  const system = at.start('run', at.file('first.toml', first), '--json', '--quiet');
  await flowing(at);
  const end = async () => {
    system.kill('SIGINT');
    const { code, stdout, stderr } = await system.ended;
    t.is(code, 0, stderr);
    const report = JSON.parse(stdout);
    const { shards, pools } = report;
    t.is(shards.source.sent, shards.end.user.seq_checked);
    t.is(shards.end.user.seq_missing + shards.end.user.seq_reordered, 0);
    t.is(pools.source.leaked, 0);
    return report;
  };
  return { at, system, end };
}

const untouched = (t, { shards }) => {
  for (const name of ['source', 'copy', 'end']) {
    const { generation, reloads, restarts, stalls, dropped } = shards[name];
    t.deepEqual([generation, reloads, restarts, stalls, dropped], [1, 0, 0, 0, 0], name);
  }
};

test.serial('shards of JavaScript come and go under load, and nobody else notices', async (t) => {
  const { at, system, end } = await running(t, manifest());
  const without = at.file('without.toml', manifest());
  const all = at.file('all.toml', manifest(tap() + LINE));
  const plan = await at.run('plan', without, all);
  t.regex(plan.stdout, new RegExp(`vanity apply ${NAME}`));
  let threads;
  for (let round = 0; round < 3; round++) {
    // A program that leaves a timer behind keeps its worker up; that ends all the same.
    at.file('tap.js', program({ init: round === 1 ? 'setInterval(() => {}, 50);' : '' }));
    const there = await apply(at, [all], '--confirm', '0');
    t.is(there.code, 0, there.stderr + JSON.stringify(there.report.error));
    t.deepEqual([...outcomes(there.report)].sort(), [
      'add channel copies: done',
      'add channel made: done',
      'add channel on: done',
      'add shard last: done',
      'add shard maker: done',
      'add shard tap: done',
      'set shard copy: done',
    ]);
    await until(
      at,
      'came by',
      ({ shards }) => shards.tap.user.seen > 1000 && shards.maker.sent > 1000,
    );
    const { shards, channels } = await stats(at);
    t.like(shards.tap, { state: 'running', program: 'tap.js', faults: 0, dropped: 0 });
    t.like(channels.on, { from: 'tap', to: 'last', dropped: 0 });
    const back = await apply(
      at,
      ...(round % 2 === 0 ? [[without]] : [[], '--back']),
      '--confirm',
      '0',
    );
    t.is(back.code, 0, back.stderr + JSON.stringify(back.report.error));
    const after = await stats(at);
    t.deepEqual(Object.keys(after.shards), ['source', 'copy', 'end']);
    t.deepEqual(Object.keys(after.channels), ['first', 'second']);
    t.deepEqual(Object.keys(after.pools), ['source']);
    untouched(t, after);
    threads ??= tasks(system.pid);
    await sleep(100);
    t.true(tasks(system.pid) <= threads, 'no worker is left');
    await flowing(at);
  }
  untouched(t, await end());
});

test.serial(
  'one that the system began with goes, and comes back; it stops with another',
  async (t) => {
    const { at, end } = await running(t, manifest(tap()));
    const without = at.file('without.toml', manifest());
    const gone = await apply(at, [without], '--confirm', '0');
    t.is(gone.code, 0, gone.stderr + JSON.stringify(gone.report.error));
    t.deepEqual(outcomes(gone.report), [
      'set shard copy: done',
      'remove shard tap: done',
      'remove channel copies: done',
    ]);
    t.is((await stats(at)).shards.tap, undefined);
    const back = await apply(at, [], '--back', '--confirm', '0');
    t.is(back.code, 0, back.stderr);
    await until(at, 'came by', ({ shards }) => shards.tap.user.seen > 1000);
    const { shards, channels } = await end();
    t.is(shards.tap.user.seen, channels.copies.sent);
    untouched(t, { shards });
  },
);

test.serial('one that comes with a port writes to it, whole when it has gone', async (t) => {
  const { at, end } = await running(t, manifest());
  const without = at.file('without.toml', manifest());
  const written = `[ports.file]\ndriver = "capture"\nwrite = "copies.pcap"\ntx = "tap"`;
  const next = at.file('next.toml', manifest(tap('tap.js', written)));
  const there = await apply(at, [next], '--confirm', '0');
  t.is(there.code, 0, there.stderr + JSON.stringify(there.report.error));
  await until(at, 'wrote', ({ ports }) => ports.file.tx_packets > 1000);
  const { ports, shards } = await stats(at);
  t.like(ports.file, { state: 'up', driver: 'capture' });
  t.is(shards.tap.dropped, 0);
  const back = await apply(at, [without], '--confirm', '0');
  t.is(back.code, 0, back.stderr + JSON.stringify(back.report.error));
  t.deepEqual(Object.keys((await stats(at)).ports), []);
  // Each one after the other, as the source numbered them in its 64 flows.
  const numbers = readCapture(join(at.path, 'copies.pcap')).map(
    ({ data }) => data.readUInt32LE(42) * 64 + data.readUInt16BE(34),
  );
  t.true(numbers.length > 1000);
  t.true(numbers.every((number, i) => number === numbers[0] + i));
  untouched(t, await end());
});

const WRONG = {
  'is not there': [undefined, /nowhere\.js/],
  'throws as it is loaded': [{ load: 'throw new Error("at load");' }, /at load/],
  'throws in init': [{ init: 'throw new Error("in init");' }, /init threw: .*in init/],
  'ends its thread in init': [{ init: 'process.exit(7);' }, /worker thread has ended/],
};
test.serial('a program that does not begin is refused, and leaves nothing', async (t) => {
  const { at, system, end } = await running(t, manifest());
  let threads;
  for (const [how, [parts, why]] of Object.entries(WRONG)) {
    const file = parts === undefined ? 'nowhere.js' : 'wrong.js';
    if (parts) at.file(file, program(parts));
    const next = at.file('next.toml', manifest(tap(file)));
    const { code, stdout, stderr } = await at.run('apply', NAME, next, '--json');
    t.true(code === 1 || code === 3, `${how}: ${code} ${stdout}${stderr}`);
    t.regex(stdout, why, how);
    const now = await stats(at);
    t.deepEqual(Object.keys(now.shards), ['source', 'copy', 'end']);
    untouched(t, now);
    threads ??= tasks(system.pid);
    t.true(tasks(system.pid) <= threads, how);
  }
  // In the same place, one that is well.
  const good = await apply(at, [at.file('good.toml', manifest(tap()))], '--confirm', '0');
  t.is(good.code, 0, good.stderr);
  await end();
});

test.serial('one that throws before it is confirmed goes again', async (t) => {
  const { at, end } = await running(t, manifest());
  at.file('bad.js', program({ poll: 'if (polls > 2000) throw new Error("late");' }));
  const bad = at.file('bad.toml', manifest(tap('bad.js')));
  const { code, report, stderr } = await apply(at, [bad], '--confirm', '30');
  t.is(code, 3, stderr);
  t.like(report, { outcome: 'undone', generation: 1 });
  t.is(report.error.code, 'VANITY_E_APPLY_UNWELL');
  t.true(report.steps.every(({ outcome }) => outcome === 'back'));
  const now = await stats(at);
  t.deepEqual(Object.keys(now.shards), ['source', 'copy', 'end']);
  await flowing(at);
  await end();
});

test.serial(
  'whoever asked has had enough of it, or the system stops, while one begins',
  async (t) => {
    const { at, end } = await running(t, manifest());
    const slowly = (mark, init) =>
      program({
        load: 'import { writeFileSync } from "node:fs";',
        init: `writeFileSync(${JSON.stringify(join(at.path, mark))}, ''); await new Promise(${init});`,
      });
    const begins = async (mark) => {
      while (!existsSync(join(at.path, mark))) await sleep(50);
    };
    at.file('slow.js', slowly('slow', '(go) => setTimeout(go, 1500)'));
    const slow = at.file('slow.toml', manifest(tap('slow.js')));
    const waiting = at.start('apply', NAME, slow, '--confirm', '60', '--json');
    await begins('slow');
    waiting.kill('SIGINT');
    const { code, stdout } = await waiting.ended;
    t.is(code, 3, stdout);
    t.is(JSON.parse(stdout).error.code, 'VANITY_E_APPLY_INTERRUPTED');
    t.deepEqual(Object.keys((await stats(at)).shards), ['source', 'copy', 'end']);

    at.file('never.js', slowly('never', '() => setInterval(() => {}, 1000)'));
    const never = at.file('never.toml', manifest(tap('never.js')));
    const asked = at.start('apply', NAME, never, '--json');
    await begins('never');
    const since = Date.now();
    await end();
    t.true(Date.now() - since < 10_000);
    t.not((await asked.ended).code, 0);
  },
);

test.serial('one that gets other channels or settings is made anew', async (t) => {
  const { at, system, end } = await running(t, manifest(tap()));
  const more = at.file(
    'more.toml',
    manifest(`${tap()}
[shards.more]
program = "sink"
[channels.more]
from = "tap"
to = "more"
`),
  );
  let threads;
  for (let round = 0; round < 2; round++) {
    const there = await apply(at, [more], '--confirm', '0');
    t.is(there.code, 0, there.stderr + JSON.stringify(there.report.error));
    t.deepEqual(outcomes(there.report).sort(), [
      'add channel more: done',
      'add shard more: done',
      'restart channel copies: done',
      'restart shard tap: done',
      'set shard copy: done',
    ]);
    await until(at, 'came by', ({ shards }) => shards.more.received > 1000);
    t.deepEqual(Object.keys((await stats(at)).shards).sort(), [
      'copy',
      'end',
      'more',
      'source',
      'tap',
    ]);
    threads ??= tasks(system.pid);
    const slow = at.file('slow.toml', manifest(tap('tap.js', 'burst = 8')));
    const back = await apply(at, [slow], '--confirm', '0');
    t.is(back.code, 0, back.stderr + JSON.stringify(back.report.error));
    await until(at, 'came by', ({ shards }) => shards.tap.user.seen > 1000);
    await sleep(100);
    t.true(tasks(system.pid) <= threads, 'no worker is left');
  }
  untouched(t, await end());
});
