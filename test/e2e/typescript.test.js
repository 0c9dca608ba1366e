// TypeScript shards in whole systems: every packet and message accounted for, every failure told, nothing
// left behind.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { boot, loadManifest, loadManifestText, summarize } from '../../dist/index.js';

const at = (path) => fileURLToPath(new URL(`../fixtures/programs/${path}`, import.meta.url));
const captures = fileURLToPath(new URL('../../examples/captures/two-hosts.pcap', import.meta.url));

let systems = 0;
const nameOf = () => `ts-${process.pid}-${++systems}`;

function left(name) {
  return readdirSync('/dev/shm', { recursive: true }).filter((file) => file.includes(name));
}

// Another system may have the cores for a while.
async function bootPatiently(plan) {
  for (let tries = 60; ; --tries) {
    try {
      return await boot(plan, { metrics: '' });
    } catch (error) {
      if (error.code !== 'VANITY_E_CORE_IN_USE' || tries === 0) throw error;
      await sleep(500);
    }
  }
}

/** Boots a system, lets it run until it ends by itself or `ms` are over, and gives all that is known then. */
async function run(text, { ms = 20_000, name = nameOf() } = {}) {
  const source = `[system]\nname = "${name}"\noversubscribe = true\nwait = "futex"\n${text}`;
  const { plan } = loadManifestText(at('vanity.toml'), source);
  const system = await bootPatiently(plan);
  const timer = setTimeout(() => system.stop(), ms);
  const { snapshot, failures, warnings } = await system.ended;
  clearTimeout(timer);
  const of = (table) => Object.fromEntries(snapshot[table].map((row) => [row.name, row]));
  return {
    state: snapshot.system.state,
    failures,
    warnings,
    codes: failures.map(({ code }) => code),
    shards: of('shards'),
    channels: of('channels'),
    pools: of('pools'),
    summary: summarize(snapshot, { warnings, failures }),
    left: left(name),
  };
}

const faultsOf = (warnings) =>
  warnings.filter(({ code }) => code === 'VANITY_W_SHARD_FAULT').map(({ message }) => message);

const through = (program, { count = 200_000, overflow = 'block', more = '' } = {}) => `
[kernel]
drain_ms = 300
[shards.from]
program = "generate"
options = { count = ${count} }
[shards.ts]
program = "${program}"
${more}
[shards.to]
program = "sink"
[channels.in]
from = "from"
to = "ts"
overflow = "${overflow}"
[channels.out]
from = "ts"
to = "to"
overflow = "${overflow}"
`;

test.serial('packets go through a TypeScript shard, and the balance is exact', async (t) => {
  const { state, failures, shards, channels, pools, summary, left } = await run(
    through('forward.js'),
  );
  t.is(state, 'stopped');
  t.deepEqual(failures, []);
  t.is(shards.ts.received, 200_000);
  t.is(shards.ts.sent, 200_000);
  t.is(shards.to.consumed, 200_000);
  t.is(shards.ts.user.seen, 200_000);
  t.is(shards.ts.bytes, shards.ts.user.bytes);
  t.is(shards.ts.bytes, shards.to.bytes);
  t.is(channels.in.received, 200_000);
  t.is(channels.out.sent, 200_000);
  t.is(pools.from.leaked, 0);
  t.is(summary.lost, 0);
  t.deepEqual(left, []);
});

test.serial('its counters are those of any shard', async (t) => {
  const { shards, channels } = await run(through('forward.js'));
  const { ts } = shards;
  t.true(ts.polls >= ts.polls_busy && ts.polls_busy >= 200_000 / 32);
  t.true(ts.progress > 0 && ts.busy_ticks > 0);
  t.is(ts.burst.total, Number(ts.polls_busy));
  t.is(ts.service_ticks.total, Number(ts.polls_busy));
  t.is(ts.wakes_late, 0);
  t.is(shards.to.wakes_late, 0, 'a consumer that sleeps is woken by what JavaScript sends');
  t.true(channels.in.depth_max > 0 && channels.in.depth_max <= 1024);
  t.true(channels.out.bursts > 0);
});

test.serial('packets that are discarded, freed and sent are counted as such', async (t) => {
  const { failures, shards, pools, summary } = await run(through('split.js', { count: 30_000 }));
  t.deepEqual(failures, []);
  t.is(shards.ts.sent, 10_000);
  t.is(shards.ts.filtered, 10_000);
  t.is(shards.ts.consumed, 10_000);
  t.is(shards.to.consumed, 10_000);
  t.is(pools.from.leaked, 0);
  t.is(summary.lost, 0);
});

test.serial(
  'a small channel with overflow = "drop" loses packets, and says how many',
  async (t) => {
    const text = through('forward.js', { overflow: 'drop' }).replaceAll(
      'overflow =',
      'capacity = 2\noverflow =',
    );
    const { failures, shards, channels, pools } = await run(text);
    t.deepEqual(failures, []);
    t.is(channels.in.sent + channels.in.dropped, 200_000);
    t.is(channels.out.sent + channels.out.dropped, shards.ts.received);
    t.is(shards.ts.dropped, channels.out.dropped);
    t.is(shards.to.consumed, channels.out.received);
    t.is(pools.from.leaked, 0);
  },
);

for (const layout of ['bulk', 'latency']) {
  test.serial(`messages from TypeScript to TypeScript, in order, layout ${layout}`, async (t) => {
    const { failures, shards, channels } = await run(
      `
[shards.writer]
program = "number-writer.js"
options = { count = 50000 }
[shards.reader]
program = "number-reader.ts"
[channels.numbers]
from = "writer"
to = "reader"
carries = "messages"
element_bytes = 24
capacity = 128
layout = "${layout}"
`,
      { ms: 1000 },
    );
    t.deepEqual(failures, []);
    t.is(shards.reader.user.right, 50_000);
    t.is(shards.reader.user.wrong, 0);
    t.is(channels.numbers.sent, 50_000);
    t.is(channels.numbers.received, 50_000);
  });
}

test.serial('doorbells are heard and rung', async (t) => {
  const inputs = [0, 1, 2, 3].map(
    (i) => `
[shards.from${i}]
program = "generate"
options = { count = 20000 }
[channels.in${i}]
from = "from${i}"
to = "${i < 3 ? 'ts' : 'to'}"
overflow = "block"
`,
  );
  const { failures, shards, summary } = await run(`${inputs.join('')}
[shards.ts]
program = "forward.js"
[shards.to]
program = "sink"
[channels.out]
from = "ts"
to = "to"
overflow = "block"
`);
  t.deepEqual(failures, []);
  t.is(shards.to.consumed, 80_000);
  t.is(shards.ts.wakes_late, 0);
  t.is(shards.to.wakes_late, 0);
  t.is(summary.lost, 0);
});

test.serial('watermarks are counted, and the program is told', async (t) => {
  const { failures, shards, channels } = await run(
    `
[shards.writer]
program = "watermarks.js"
options = { count = 50000 }
[shards.reader]
program = "number-reader.ts"
[channels.numbers]
from = "writer"
to = "reader"
carries = "messages"
element_bytes = 8
capacity = 128
high_watermark = 64
low_watermark = 16
`,
    { ms: 1000 },
  );
  t.deepEqual(failures, []);
  t.is(shards.reader.user.right, 50_000);
  const { high_watermark: high, low_watermark: low } = channels.numbers;
  t.true(high > 0 && (low === high || low === high - 1), `${high} high, ${low} low`);
  t.is(shards.writer.user.high, high);
  t.is(shards.writer.user.low, low);
});

test.serial('it receives from a port and sends to one', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vanity-typescript-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const out = join(folder, 'out.pcap');
  const { failures, shards, pools, summary } = await run(`
[shards.ts]
program = "forward.js"
[ports.in]
driver = "capture"
file = "${captures}"
rx = "ts"
[ports.out]
driver = "capture"
write = "${out}"
tx = "ts"
`);
  t.deepEqual(failures, []);
  t.true(shards.ts.received > 100);
  t.is(shards.ts.sent, shards.ts.received);
  t.is(pools.in.leaked, 0);
  t.is(statSync(out).size, statSync(captures).size, 'the capture is written as it was read');
  t.is(summary.lost, 0);
});

test.serial('it makes packets of its own', async (t) => {
  const { failures, shards, pools } = await run(
    `
[shards.ts]
program = "source.js"
options = { packets = 5000, buffers = 256, buffer_bytes = 256 }
[shards.to]
program = "sink"
[channels.out]
from = "ts"
to = "to"
overflow = "block"
`,
    { ms: 500 },
  );
  t.deepEqual(failures, []);
  t.is(shards.to.consumed, 5000);
  t.is(shards.to.bytes, 300_000);
  t.is(pools.ts.leaked, 0);
});

test.serial('an immediate stop in full traffic loses no buffer', async (t) => {
  const name = nameOf();
  const source = `[system]\nname = "${name}"\noversubscribe = true\n${through('forward.js', { count: 0 })}`;
  const { plan } = loadManifestText(at('vanity.toml'), source);
  const system = await bootPatiently(plan);
  await sleep(200);
  system.stop(true);
  const { snapshot, failures } = await system.ended;
  t.deepEqual(failures, []);
  t.true(snapshot.shards.find((row) => row.name === 'ts').received > 0);
  t.is(snapshot.pools[0].leaked, 0);
  t.is(snapshot.pools[0].taken, snapshot.pools[0].returned);
});

test.serial(
  'a program that throws is started anew, and every packet is accounted for',
  async (t) => {
    for (const how of ['throws', 'twice']) {
      const more = `options = { how = "${how}" }\nwatchdog = { backoff_ms = 1, max_restarts = 1000, window_ms = 1000 }`;
      const { state, failures, shards, pools, warnings, left } = await run(
        through('fragile.js', { count: 30_000, more }),
      );
      t.is(state, 'stopped', JSON.stringify(failures));
      t.true(shards.ts.faults >= 5, `${shards.ts.faults} faults`);
      const down = shards.ts.faults - shards.ts.restarts;
      t.true(down === 0 || down === 1, 'the last may be in the way of the end');
      t.is(shards.ts.user.starts, shards.ts.restarts + 1);
      t.is(shards.from.received, 30_000);
      t.is(shards.to.consumed + shards.ts.dropped, 30_000);
      t.true(shards.ts.dropped_fault > 0);
      if (down === 0) t.is(shards.ts.dropped, shards.ts.dropped_fault);
      t.is(pools.from.leaked, 0);
      const reason =
        how === 'twice'
          ? /packet \d+ of these is not held/
          : /Error: enough is enough[\s\S]*fragile\.js/;
      t.regex(faultsOf(warnings)[0], reason);
      t.deepEqual(left, []);
    }
  },
);

test.serial('one that throws too often is given up, and the rest runs on', async (t) => {
  const more = 'watchdog = { backoff_ms = 1, max_restarts = 2 }';
  const { state, codes, shards, pools } = await run(
    through('throws.js', { count: 0, overflow: 'drop', more }),
    { ms: 1500 },
  );
  t.is(state, 'failed');
  t.deepEqual(codes, ['VANITY_E_PROGRAM_FAULT']);
  t.is(shards.ts.restarts, 2);
  t.is(shards.ts.faults, 3);
  t.is(shards.from.state, 'stopped');
  t.is(pools.from.leaked, 0);
});

test.serial('a program that throws fails its shard where that is asked for', async (t) => {
  const more = 'watchdog = { on_fault = "crash" }';
  const { state, codes, failures, shards, pools, left } = await run(through('throws.js', { more }));
  t.is(state, 'failed');
  t.deepEqual(codes, ['VANITY_E_PROGRAM_THREW']);
  t.regex(failures[0].message, /shard ts: .*enough is enough[\s\S]*throws\.js:\d+/);
  t.is(shards.ts.state, 'failed');
  t.is(shards.from.state, 'stopped');
  t.is(shards.to.state, 'stopped');
  t.true(pools.from.leaked <= 32, 'only what the program held is gone');
  t.deepEqual(left, []);
});

test.serial('one that cannot be started again is tried, and given up', async (t) => {
  const more = 'watchdog = { backoff_ms = 1, max_restarts = 2 }';
  const { shards, warnings } = await run(through('once.js', { count: 0, overflow: 'drop', more }), {
    ms: 1500,
  });
  t.is(shards.ts.restarts, 0);
  t.is(shards.ts.faults, 3);
  t.regex(faultsOf(warnings)[1], /started anew, Error: never twice/);
});

test.serial('a program that throws in a timer, too', async (t) => {
  const { codes, failures } = await run(
    through('later-throws.js', { count: 0, more: 'watchdog = { on_fault = "crash" }' }),
  );
  t.deepEqual(codes, ['VANITY_E_PROGRAM_THREW']);
  t.regex(failures[0].message, /in a timer/);
});

test.serial('a poll that never returns is ended, and reported', async (t) => {
  const started = Date.now();
  const { state, codes, failures, left } = await run(through('endless.js'), { ms: 300 });
  t.is(state, 'failed');
  t.deepEqual(codes, ['VANITY_E_DRAIN', 'VANITY_E_STUCK']);
  t.regex(failures[1].message, /terminated: ts/);
  t.true(Date.now() - started < 5000);
  t.deepEqual(left, []);
});

test.serial('a program that ends its worker is reported', async (t) => {
  const { state, codes, failures, left } = await run(through('exits.js', { overflow: 'drop' }));
  t.is(state, 'failed');
  t.is(codes[0], 'VANITY_E_PROGRAM_THREW');
  t.regex(failures[0].message, /its worker thread has ended/);
  t.deepEqual(left, []);
});

const refused = [
  ['no-default.js', 'VANITY_E_PROGRAM_LOAD', /no-default\.js.*no default export/],
  ['no-poll.js', 'VANITY_E_PROGRAM_LOAD', /no-poll\.js.*no function poll/],
  ['syntax.mjs', 'VANITY_E_PROGRAM_LOAD', /syntax\.mjs.*SyntaxError/],
  ['init-throws.js', 'VANITY_E_PROGRAM_INIT', /shard ts: init threw: .*no channel "nowhere"/],
];
for (const [program, code, message] of refused) {
  test.serial(`${program} does not boot`, async (t) => {
    const name = nameOf();
    await t.throwsAsync(run(through(program), { name }), { code, message });
    t.deepEqual(left(name), []);
  });
}

test.serial('a poll that returns no number is an error', async (t) => {
  const { codes, failures } = await run(
    through('returns-nothing.js', { more: 'watchdog = { on_fault = "crash" }' }),
  );
  t.deepEqual(codes, ['VANITY_E_PROGRAM_THREW']);
  t.regex(failures[0].message, /poll returned undefined/);
});

test.serial('its thread has the name and the core of the shard', async (t) => {
  const name = nameOf();
  const source = `[system]\nname = "${name}"\noversubscribe = true\n${through('forward.js', { more: 'core = 0' })}`;
  const { plan } = loadManifestText(at('vanity.toml'), source);
  const system = await bootPatiently(plan);
  const ts = system.snapshot().shards.find((row) => row.name === 'ts');
  const task = `/proc/self/task/${ts.tid}`;
  t.is(readFileSync(`${task}/comm`, 'utf8').trim(), 'ts');
  t.regex(readFileSync(`${task}/status`, 'utf8'), /^Cpus_allowed_list:\t0$/m);
  system.stop();
  await system.ended;
});

test.serial(
  'the example is right for the compiler, and finds what the capture holds',
  async (t) => {
    const folder = fileURLToPath(new URL('../../examples/typescript', import.meta.url));
    const tsc = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
    const compiled = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
    t.is(compiled.status, 0, compiled.stdout);
    const { plan } = loadManifest(join(folder, 'vanity.toml'), {
      set: [`system.name=${nameOf()}`],
    });
    const system = await bootPatiently(plan);
    const { snapshot, failures } = await system.ended;
    t.deepEqual(failures, []);
    const watch = snapshot.shards.find(({ name }) => name === 'watch');
    t.is(watch.received, 1575);
    t.is(watch.user.connections, 37);
    t.is(watch.user.unheard, 0);
  },
);
