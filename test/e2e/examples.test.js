// Every example, pasted from its README, and then run once more for its figures.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { builtins } from '../../dist/manifest/builtins.js';
import { leftOut } from './helpers/left-out.js';
import { clone, missing, ROOT, shell, shellBlocks } from './helpers/paste.js';

const folders = readdirSync(join(ROOT, 'examples'), { withFileTypes: true })
  .filter((entry) => existsSync(join(entry.parentPath, entry.name, 'vanity.toml')))
  .map(({ name }) => name);

/** Pastes the README of an example; the folder in which it was. */
async function paste(t, name) {
  const folder = clone(t);
  const blocks = shellBlocks(join(ROOT, 'examples', name, 'README.md'));
  t.true(blocks.length > 0);
  const { code, stdout, stderr } = await shell(blocks.join('\n'), folder);
  t.is(code, 0, `${stdout}\n${stderr}`);
  t.notRegex(stdout, /[1-9,]+ packets lost/);
  return folder;
}

/** The same system's figures, with the balance that holds for every system. */
async function figures(t, folder, name, ...flags) {
  const line = `npx vanity run examples/${name}/vanity.toml --quiet --json ${flags.join(' ')}`;
  const { code, stdout, stderr } = await shell(line, folder);
  t.is(code, 0, `${stdout}\n${stderr}`);
  const run = JSON.parse(stdout);
  t.is(run.state, 'stopped');
  t.is(run.lost, 0);
  t.deepEqual(run.failures, []);
  for (const [pool, { taken, returned, leaked }] of Object.entries(run.pools)) {
    t.is(taken, returned, pool);
    t.is(leaked, 0, pool);
  }
  for (const [shard, { wakes_late }] of Object.entries(run.shards)) t.is(wakes_late, 0, shard);
  return run;
}

/** The frames of a little-endian pcap file of microseconds. */
function frames(path) {
  const bytes = readFileSync(path);
  const found = [];
  for (let at = 24; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    found.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return found;
}

/** The start of the IPv4 header behind Ethernet and its tags; undefined for other frames. */
function ipv4(frame) {
  let at = 12;
  while ([0x8100, 0x88a8].includes(frame.readUInt16BE(at))) at += 4;
  return frame.readUInt16BE(at) === 0x0800 ? frame.subarray(at + 2) : undefined;
}

function checksum(header) {
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += header.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

test('the list of examples names every folder, and every built-in is in one of them', (t) => {
  const list = readFileSync(join(ROOT, 'examples/README.md'), 'utf8');
  t.deepEqual(
    [...list.matchAll(/^\| \[([\w-]+)\]/gm)].map(([, name]) => name).sort(),
    folders.sort(),
  );
  const manifests = folders.map((name) =>
    readFileSync(join(ROOT, 'examples', name, 'vanity.toml'), 'utf8'),
  );
  for (const program of builtins.keys()) {
    t.true(
      manifests.some((text) => text.includes(`program = "${program}"`)),
      program,
    );
  }
});

test('flow-split', async (t) => {
  const folder = await paste(t, 'flow-split');
  const run = await figures(t, folder, 'flow-split', '--duration', '1s');
  t.true(run.shards.left.received > 0 && run.shards.right.received > 0);
  t.is(run.shards.left.received + run.shards.right.received, run.ports.in.rx_packets);
  t.is(run.shards.out.consumed, run.ports.in.rx_packets);
});

test('filter', async (t) => {
  if (await missing(t, 'tcpdump')) return;
  const folder = await paste(t, 'filter');
  const run = await figures(t, folder, 'filter');
  t.true(run.shards.writer.received > 0 && run.shards.rest.consumed > 0);
  const written = frames(join(folder, 'examples/filter/web.pcap'));
  t.is(written.length, run.shards.writer.received);
  t.is(run.shards.writer.received + run.shards.rest.consumed, run.ports.in.rx_packets);
  const { stdout } = await shell(
    "tcpdump -nr web.pcap 'not tcp port 80'",
    join(folder, 'examples/filter'),
  );
  t.is(stdout, '');
});

test('reload', async (t) => {
  if (await missing(t, 'cc')) return;
  const folder = clone(t);
  const [build, back] = shellBlocks(join(ROOT, 'examples/reload/README.md'));
  const there = await shell(build, folder);
  t.is(there.code, 0, there.stderr);
  t.regex(there.stdout, /^meter runs meter 2 in place of meter 1, generation 2$/m, there.stderr);
  t.regex(there.stdout, /^state {6}16 bytes migrated$/m);
  const [, received] = /^meter +\S+ +\S+ +stopped +([\d,]+)/m.exec(there.stdout);
  t.regex(there.stdout, new RegExp(`^meter +total +${received}$`, 'm'));
  t.notRegex(there.stdout, /[1-9,]+ packets lost/);
  const { stdout, stderr } = await shell(back, folder);
  t.regex(stdout, /^ {2}- long_packets: u64 at 8$/m, stderr);
  t.regex(stdout, /^refused$/m);
});

test('mirror', async (t) => {
  const folder = await paste(t, 'mirror');
  const run = await figures(t, folder, 'mirror', '--set', 'shards.make.options.rate=0');
  t.is(run.shards.copy.received, 100_000);
  t.is(run.shards.look.consumed + run.shards.end.consumed, 200_000);
  t.is(run.shards.look.user.udp, 100_000);
});

test('native-c', async (t) => {
  if (await missing(t, 'cc', 'tcpdump')) return;
  const folder = await paste(t, 'native-c');
  const run = await figures(t, folder, 'native-c');
  const { routed, expired, not_ip } = run.shards.hop.user;
  t.true(routed > 0 && expired > 0 && not_ip > 0);
  t.is(routed + expired + not_ip, run.ports.in.rx_packets);
  t.is(run.shards.hop.filtered, expired + not_ip);
  t.is(run.ports.out.tx_packets, routed);

  // Held against the capture itself: each hop is one less, and every checksum still right.
  const hops = (header) => header[8];
  const before = frames(join(ROOT, 'examples/captures/two-hosts.pcap')).map(ipv4).filter(Boolean);
  const after = frames(join(folder, 'examples/native-c/routed.pcap')).map(ipv4).filter(Boolean);
  t.deepEqual(
    after.map(hops),
    before
      .map(hops)
      .filter((n) => n > 1)
      .map((n) => n - 1),
  );
  for (const header of after) t.is(checksum(header), 0xffff);
});

test('native-cpp', async (t) => {
  if (await missing(t, 'c++')) return;
  const folder = await paste(t, 'native-cpp');
  const run = await figures(t, folder, 'native-cpp', '--duration', '1s');
  const { aggregate } = run.shards;
  const [one, two] = [run.shards['sampler-0'].user, run.shards['sampler-1'].user];
  t.true(one.sampled > 0 && two.sampled > 0);
  t.is(one.sampled + two.sampled, aggregate.user.records);
  t.is(aggregate.received, aggregate.user.records);
  t.true(aggregate.user.flows > 10);
  t.is(aggregate.user.table_full, 0);
  t.is(run.shards.out.consumed, run.ports.in.rx_packets);
  // It peeks at two channels, and still sleeps when both are empty.
  t.true(aggregate.waits > 0);
});

test('typescript', async (t) => {
  await paste(t, 'typescript');
});

// It needs a device: test/guest/jobs/accelerator.sh runs it. Here, that it is what its README says.
test('accelerator', async (t) => {
  const folder = clone(t);
  const build = shellBlocks(join(ROOT, 'examples/accelerator/README.md')).at(-1);
  const check = 'npx vanity check examples/accelerator';
  const script = `${build}${check}/vanity.toml\n${check}/msi.toml\n`;
  const { code, stdout, stderr } = await shell(script, folder);
  t.is(code, 0, `${stdout}\n${stderr}`);
  t.true(existsSync(join(folder, 'examples/accelerator/accelerator.so')));
});

test('two-port', async (t) => {
  if (process.getuid() !== 0) {
    return leftOut(t, 'it needs root');
  }
  if (await missing(t, 'ip', 'ping')) return;
  t.teardown(() => shell('examples/two-port/teardown.sh', ROOT));
  const folder = clone(t);
  const script = shellBlocks(join(ROOT, 'examples/two-port/README.md')).join('\n');
  const before = 'examples/two-port/teardown.sh';
  const { code, stdout, stderr } = await shell(script, folder, { before });
  t.is(code, 0, `${stdout}\n${stderr}`);
  t.regex(stdout, /5 received, 0% packet loss/);
  t.regex(stdout, /two-port: stopped after .*, 0 packets lost/);
});
