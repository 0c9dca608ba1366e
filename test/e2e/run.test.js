import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import test from 'ava';
import { native } from '../../dist/native.js';
import { EXAMPLE, generator, workspace } from './helpers.js';

// Systems share the cores of one machine.
const serial = test.serial;

serial(
  'a system ends by itself when its sources are done, and everything is accounted for',
  async (t) => {
    const space = workspace(t);
    const manifest = space.file('v.toml', generator({ options: 'count = 200000' }));
    const { code, stdout, stderr } = await space.run('run', manifest, '--json', '--quiet');
    t.is(code, 0, stderr);
    const result = JSON.parse(stdout);
    t.is(result.state, 'stopped');
    t.is(result.lost, 0);
    t.is(result.shards.end.consumed, 200_000);
    t.is(result.channels.first.sent, 200_000);
    t.is(result.channels.second.received, 200_000);
    for (const { depth_max: deepest, capacity } of Object.values(result.channels)) {
      t.true(deepest > 0 && deepest <= capacity, `${deepest} of ${capacity}`);
    }
    t.deepEqual(result.failures, []);
    for (const pool of Object.values(result.pools)) t.is(pool.leaked, 0);
    t.deepEqual(space.left(), []);
  },
);

serial('run --json holds every counter by its documented name', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ options: 'count = 1000' }));
  const result = JSON.parse((await space.run('run', manifest, '--json', '--quiet')).stdout);
  const missing = (table, record, renamed = {}) =>
    native
      .fields()
      .filter((field) => field.table === table && field.name !== 'name')
      .map(({ name }) => renamed[name] ?? name)
      .filter((name) => !(name in record));
  t.deepEqual(missing('shard', result.shards.end, { service_ticks: 'service_ns' }), []);
  t.deepEqual(missing('channel', result.channels.first), []);
  t.deepEqual(missing('pool', Object.values(result.pools)[0]), []);
});

serial('the example splits its capture without losing a packet', async (t) => {
  const space = workspace(t);
  const run = await space.run('run', EXAMPLE, '--duration', '500ms', '--json', '--quiet');
  t.is(run.code, 0, run.stderr);
  const { lost, ports, shards, duration_s } = JSON.parse(run.stdout);
  t.is(lost, 0);
  t.true(ports.in.rx_packets > 10_000);
  t.is(shards.left.received + shards.right.received, ports.in.rx_packets);
  t.true(shards.left.received > 0 && shards.right.received > 0, 'both workers got flows');
  t.true(duration_s >= 0.4 && duration_s < 5);
});

serial('tables on stdout, live figures on stderr', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ options: 'rate = 1000' }));
  const args = ['run', manifest, '--duration', '600ms', '--interval', '100ms'];
  const { code, stdout, stderr } = await space.run(...args);
  t.is(code, 0);
  t.regex(stdout, /^e2e: stopped after .*, 0 packets lost\n/);
  t.regex(stdout, /^middle {2}forward/m);
  t.true(stderr.split('\n').filter((line) => / {2}running {2}in /.test(line)).length >= 3);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  serial(`${signal} stops in order: nothing lost, nothing left, exit code 0`, async (t) => {
    const space = workspace(t);
    const manifest = space.file('v.toml', generator());
    const system = space.start('run', manifest, '--json', '--interval', '50ms');
    await system.said(/ {2}running {2}/);
    t.deepEqual(space.left(), ['e2e.segment']);
    system.kill(signal);
    const { code, stdout } = await system.ended;
    t.is(code, 0);
    t.is(JSON.parse(stdout).lost, 0);
    t.deepEqual(space.left(), []);
  });
}

serial('two signals at once stop at once, and still nothing is left', async (t) => {
  const space = workspace(t);
  const system = space.start('run', space.file('v.toml', generator()), '--interval', '50ms');
  await system.said(/ {2}running {2}/);
  system.kill('SIGINT');
  system.kill('SIGINT');
  const { code, signal } = await system.ended;
  t.is(signal, null);
  t.true(code === 0 || code === 130, `exit code ${code}`);
  t.deepEqual(space.left(), []);
});

serial('stats, top and metrics read a running system from outside', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ options: 'rate = 100000' }));
  const system = space.start('run', manifest, '--interval', '50ms', '--metrics', ':0');
  const [, url] = await system.said(/metrics: (\S+)/);
  await system.said(/ {2}running {2}/);

  const stats = JSON.parse((await space.run('stats', '--json')).stdout);
  t.is(stats.system, 'e2e');
  t.is(stats.pid, system.pid);
  t.true(stats.live);

  const top = await space.run('top', 'e2e', '--once', '--interval', '200ms');
  t.is(top.code, 0);
  t.regex(top.stdout, /^middle +forward +running/m);

  const scrape = await (await fetch(url)).text();
  t.regex(scrape, /vanity_shard_received_total\{system="e2e",shard="middle"\} [1-9]/);
  t.regex(scrape, /vanity_shard_received_total\{system="e2e",shard="end"\} [1-9]/);

  const second = await space.run('run', manifest);
  t.is(second.code, 1);
  t.regex(second.stderr, /VANITY_E_(NAME|CORE)_IN_USE/);
  t.is((await space.run('stats')).code, 0, 'the first one runs on');

  system.kill('SIGINT');
  t.is((await system.ended).code, 0);
  t.regex((await space.run('stats')).stderr, /VANITY_E_SYSTEM_NONE/);
});

serial(
  'top on a terminal: draws, quits on q, ends with its system, restores the screen',
  async (t) => {
    const space = workspace(t);
    const manifest = space.file('v.toml', generator({ options: 'rate = 1000' }));
    const system = space.start('run', manifest, '--interval', '50ms');
    await system.said(/ {2}running {2}/);

    // Into the alternate screen with the cursor hidden, and back in the end.
    const restored = (text) =>
      text.includes('\u001b[?1049h\u001b[?25l') && text.lastIndexOf('\u001b[?25h\u001b[?1049l') > 0;
    const quit = space.terminal('top', '--interval', '50ms');
    await quit.said(/middle +forward/);
    quit.type('q');
    const byKey = await quit.ended;
    t.is(byKey.code, 0);
    t.true(restored(byKey.stdout));

    const watch = space.terminal('top', '--interval', '50ms');
    await watch.said(/middle +forward/);
    system.kill('SIGINT');
    const byEnd = await watch.ended;
    t.is(byEnd.code, 0);
    t.true(restored(byEnd.stdout));
    t.regex(byEnd.stdout, /e2e has ended: stopped/);
    await system.ended;
  },
);

serial('what a killed process leaves is called stale, and the next start clears it', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ options: 'rate = 1000' }));
  const system = space.start('run', manifest, '--interval', '50ms');
  await system.said(/ {2}running {2}/);
  system.kill('SIGKILL');
  await system.ended;
  t.deepEqual(space.left(), ['e2e.segment']);
  t.regex((await space.run('stats')).stderr, /VANITY_E_SYSTEM_STALE/);
  t.deepEqual(space.left(), ['e2e.segment']);
  t.is((await space.run('run', manifest, '--duration', '100ms', '--quiet')).code, 0);
  t.deepEqual(space.left(), []);
});

serial('a metrics port in use stops the start', async (t) => {
  const space = workspace(t);
  const other = createServer();
  await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const manifest = space.file('v.toml', generator());
  const args = ['run', manifest, '--json', '--metrics', `:${other.address().port}`];
  const { code, stdout } = await space.run(...args);
  t.is(code, 1);
  t.is(JSON.parse(stdout).error.code, 'VANITY_E_METRICS_BIND');
  t.deepEqual(space.left(), []);
});

serial('a manifest with errors starts nothing', async (t) => {
  const space = workspace(t);
  const manifest = space.file('v.toml', generator({ middle: 'forwrd' }));
  const { code, stdout, stderr } = await space.run('run', manifest);
  t.is(code, 1);
  t.is(stdout, '');
  t.regex(stderr, /VANITY_E_PROGRAM_UNKNOWN/);
  t.deepEqual(space.left(), []);
});

serial('a capture that ends in the middle: the packets before it, then the error', async (t) => {
  const space = workspace(t);
  const capture = new URL('../fixtures/captures/made-cut-in-record.pcap', import.meta.url).pathname;
  t.true(existsSync(capture));
  const manifest = space.file(
    'v.toml',
    `
[system]
name = "cut"
oversubscribe = true
[shards.rx]
program = "port-rx"
[shards.end]
program = "sink"
[channels.link]
from = "rx"
to = "end"
overflow = "block"
[ports.in]
driver = "capture"
file = "${capture}"
rx = "rx"
`,
  );
  const { code, stdout } = await space.run('run', manifest, '--json', '--quiet');
  t.is(code, 1);
  const result = JSON.parse(stdout);
  t.is(result.ports.in.state, 'failed');
  t.is(result.shards.end.consumed, result.ports.in.rx_packets);
  t.is(result.lost, 0);
  t.regex(result.failures[0].message, /\d/, 'names the offset');
});

serial('--set replaces the file of a port', async (t) => {
  const space = workspace(t);
  const set = ['--set', `ports.in.file=${join(space.path, 'absent.pcap')}`];
  const { code, stderr } = await space.run('run', EXAMPLE, ...set);
  t.is(code, 1);
  t.regex(stderr, /VANITY_E_PORT_FILE.*absent\.pcap/);
});

serial('a device that is not there stops a run before anything starts', async (t) => {
  const space = workspace(t);
  const text = `${generator({ options: 'count = 1000' })}
[devices.card]
pci = "ffff:fffe"
mmio = [{ bar = 0, offset = 0, bytes = 4096, to = "end" }]
[devices.other]
pci = "slot=nowhere"
`;
  const { code, stdout } = await space.run('run', space.file('v.toml', text), '--json');
  t.is(code, 1);
  const { error, errors } = JSON.parse(stdout);
  t.deepEqual(
    errors.map(({ code: one, line }) => [one, text.split('\n')[line - 1]]),
    [
      ['VANITY_E_DEVICE_NONE', 'pci = "ffff:fffe"'],
      ['VANITY_E_DEVICE_NONE', 'pci = "slot=nowhere"'],
    ],
    'both are told, each with its place',
  );
  t.deepEqual(error, errors[0]);
  t.deepEqual(space.left(), []);
});

serial('any number of shards runs on any machine with --sim threads', async (t) => {
  const space = workspace(t);
  // A core that no machine has, and no oversubscribe: as it stands it cannot run here.
  const text = generator({ options: 'count = 20000' })
    .replace('oversubscribe = true', 'oversubscribe = false')
    .replace('program = "sink"', 'program = "sink"\ncore = 1023\nwait = "spin"');
  const manifest = space.file('v.toml', text);
  const refused = await space.run('run', manifest, '--json', '--quiet');
  t.regex(refused.stdout + refused.stderr, /VANITY_E_CORE_ABSENT/);
  const { code, stdout, stderr } = await space.run(
    ...['run', manifest, '--sim', 'threads', '--json', '--quiet'],
  );
  t.is(code, 0, stderr);
  const { shards, lost, warnings } = JSON.parse(stdout);
  t.is(shards.end.consumed, 20_000);
  t.is(lost, 0);
  t.deepEqual(warnings, []);
  for (const shard of Object.values(shards)) {
    t.is(shard.core, null);
    t.is(shard.wait_backend, 'futex');
    t.is(shard.wakes_late, 0);
  }
  const other = await space.run('run', manifest, '--sim', 'fibres');
  t.is(other.code, 2);
  t.regex(other.stderr, /It is threads or pool/);
});
