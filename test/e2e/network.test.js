// A system with two AF_PACKET ports between two namespaces, under real traffic.

import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { leftOut } from './helpers/left-out.js';
import { missing, Network } from './helpers/network.js';
import {
  cpuSeconds,
  parse,
  scratch,
  startSystem,
  startVanity,
  stats,
  until,
  writeManifest,
} from './helpers/vanity.js';

const why = missing('ping', 'iperf3');

function networked(title, body) {
  test.serial(title, async (t) => {
    t.timeout(55_000);
    if (why) return leftOut(t, why);
    const folder = scratch(t);
    await body(t, new Network(t), folder);
  });
}

/** Forwards a to b and b to a; `queues` shards for what comes in at a. */
function forwarding({ id, a, b }, queues = 1) {
  const ab = Array.from({ length: queues }, (_, i) => `ab${i}`);
  return `
[system]
name = "${id}"
oversubscribe = true
[shards]
${[...ab, 'ba'].map((name) => `${name}.program = "forward"`).join('\n')}
[ports.a]
driver = "af_packet"
interface = "${a}"
rx = ${JSON.stringify(ab)}
tx = "ba"
[ports.b]
driver = "af_packet"
interface = "${b}"
rx = "ba"
tx = ${JSON.stringify(ab)}
`;
}

async function stop(t, system) {
  system.kill('SIGINT');
  const ended = await system.ended;
  t.is(ended.code, 0, ended.stderr);
  return parse(ended);
}

/** Everything that came in went out of the other side. */
function balanced(t, { ports, lost }) {
  t.is(lost, 0);
  t.is(ports.a.rx_packets, ports.b.tx_packets);
  t.is(ports.b.rx_packets, ports.a.tx_packets);
  t.is(ports.a.rx_bytes, ports.b.tx_bytes);
  t.is(ports.b.rx_bytes, ports.a.tx_bytes);
}

networked(
  'ping goes through, and an idle system leaves the cores alone',
  async (t, net, folder) => {
    const manifest = writeManifest(folder, forwarding(net));
    const system = await startSystem(t, folder, [manifest, '--json']);
    // Neighbours are looked up first, once a second; that is not what is measured.
    await net.ping('a', net.address4(2), 2, 0.2);
    await net.ping('b', net.address6(1), 2, 0.2);
    const v4 = await net.ping('a', net.address4(2));
    const v6 = await net.ping('b', net.address6(1));
    t.log(`IPv4 round trip ${v4.avg_ms} ms (max ${v4.max_ms}), IPv6 ${v6.avg_ms} ms`);
    for (const { sent, received, avg_ms } of [v4, v6]) {
      t.is(received, sent);
      // A millisecond a crossing is the kernel's: a block of TPACKET_V3 is handed over by its timer.
      t.true(avg_ms < 20, `${avg_ms} ms`);
    }

    const before = cpuSeconds(system.pid);
    await sleep(3000);
    const share = (cpuSeconds(system.pid) - before) / 3;
    t.log(`idle: ${(share * 100).toFixed(1)} % of a core, all threads together`);
    t.true(share < 0.2);
    balanced(t, await stop(t, system));
  },
);

networked('TCP and UDP with the offloads on', async (t, net, folder) => {
  const manifest = writeManifest(folder, forwarding(net));
  const system = await startSystem(t, folder, [manifest, '--json']);
  const tcp = await net.iperf('-t', '3');
  const back = await net.iperf('-t', '2', '--reverse');
  const udp = await net.iperf('-t', '2', '-u', '-b', '100M', '-l', '1400');
  const rate = ({ sum_received }) => `${(sum_received.bits_per_second / 1e6).toFixed(0)} Mbit/s`;
  t.log(`TCP ${rate(tcp)}, reverse ${rate(back)}; UDP lost ${udp.sum.lost_packets}`);
  t.true(tcp.sum_received.bytes > 1e6);
  t.true(back.sum_received.bytes > 1e6);
  t.true(udp.sum.packets > 1000);
  const end = await stop(t, system);
  const { a, b } = end.ports;
  t.true(a.rx_bytes > tcp.sum_received.bytes);
  // A burst may find a full ring on a busy machine: then the counters say so, and nothing is lost
  // between the two ports.
  t.is(end.lost, a.rx_dropped + b.rx_dropped + a.tx_dropped + b.tx_dropped);
  t.is(a.rx_packets, b.tx_packets + b.tx_dropped);
  t.is(b.rx_packets, a.tx_packets + a.tx_dropped);
  t.is(a.rx_oversize + b.rx_oversize + a.rx_invalid + b.rx_invalid, 0);
});

networked('two receiving shards share the flows by fanout', async (t, net, folder) => {
  const manifest = writeManifest(folder, forwarding(net, 2));
  const system = await startSystem(t, folder, [manifest, '--json']);
  const udp = await net.iperf('-t', '2', '-u', '-b', '10M', '-P', '16', '-l', '1000');
  t.true(udp.sum.packets > 1000);
  const end = await stop(t, system);
  const { ab0, ab1 } = end.shards;
  t.log(`${ab0.received} and ${ab1.received} packets`);
  t.true(ab0.received > 0 && ab1.received > 0);
  t.is(ab0.received + ab1.received, end.ports.a.rx_packets);
  t.is(end.ports.a.rx_packets, end.ports.b.tx_packets + end.ports.b.tx_dropped);
});

networked(
  'an interface that goes takes its port down, and nothing else',
  async (t, net, folder) => {
    const manifest = writeManifest(folder, forwarding(net));
    const system = await startSystem(t, folder, [manifest, '--json']);
    await net.ping('a', net.address4(2), 3);
    const look = () => stats(t, folder, net.id);
    const before = await look();

    net.disconnect('b');
    t.true(await until(async () => (await look()).ports.b.state === 'down'));
    // Address resolution still comes in at a: it is counted, and what cannot leave is counted lost.
    await t.throwsAsync(net.ping('a', net.address4(2), 3, 0.2));
    const during = await look();
    t.is(during.state, 'running');
    t.is(during.ports.a.state, 'up');
    t.is(during.ports.b.downs, 1);
    t.true(during.ports.a.rx_packets > before.ports.a.rx_packets);
    t.true(during.ports.b.tx_dropped > 0);
    const idle = cpuSeconds(system.pid);
    await sleep(2000);
    const share = (cpuSeconds(system.pid) - idle) / 2;
    t.log(`without its interface: ${(share * 100).toFixed(1)} % of a core`);
    t.true(share < 0.2);

    net.connect('b');
    t.true(await until(async () => (await look()).ports.b.state === 'up'));
    const again = await net.ping('a', net.address4(2), 5);
    t.true(again.received >= 4);
    const end = await stop(t, system);
    t.is(end.ports.b.downs, 1);
    t.is(end.lost, end.ports.b.tx_dropped + end.ports.a.tx_dropped);
  },
);

/** Beside what flows anyway. */
const apart = ({ id }) => `
[system]
name = "${id}"
oversubscribe = true
[shards.source]
program = "generate"
options = { rate = 1000 }
[shards.end]
program = "sink"
[channels.through]
from = "source"
to = "end"
`;

networked('ports come to a running system by apply, and go again', async (t, net, folder) => {
  const without = apart(net);
  const before = writeManifest(folder, without, 'before.toml');
  const shards = forwarding(net).replace(/\[system\][^[]*\[shards\]/, '[shards]');
  const next = writeManifest(
    folder,
    without.replace('[shards.source]', `${shards}[shards.source]`),
    'next.toml',
  );
  const system = await startSystem(t, folder, [before, '--json']);
  const apply = (file, ...flags) =>
    startVanity(t, folder, ['apply', net.id, file, '--json', ...flags]);
  const applied = async (file) => {
    const ended = await apply(file, '--confirm', '0').ended;
    t.is(ended.code, 0, ended.stdout + ended.stderr);
    return parse(ended).steps.map(({ action, part, name }) => `${action} ${part} ${name}`);
  };
  const ports = async () => Object.keys((await stats(t, folder, net.id)).ports);
  const sockets = () => readFileSync('/proc/net/packet', 'utf8').trim().split('\n').length;
  const none = sockets();
  for (let round = 0; round < 2; round++) {
    t.deepEqual(await applied(next), ['add shard ab0', 'add shard ba', 'add port a', 'add port b']);
    await net.ping('a', net.address4(2), 2, 0.2); // neighbours are looked up
    const { sent, received } = await net.ping('a', net.address4(2));
    t.is(received, sent);
    const now = await stats(t, folder, net.id);
    t.deepEqual(Object.keys(now.ports), ['a', 'b']);
    t.is(now.ports.a.target, net.a);
    t.true(now.ports.a.rx_packets >= sent);
    t.true(sockets() > none);
    // Each shard that has one of them goes, or none.
    const half = next.replace('next', 'half');
    writeFileSync(
      half,
      readFileSync(next, 'utf8')
        .replace('ba.program = "forward"\n', '')
        .replaceAll('"ba"', '"ab0"'),
    );
    const refused = await apply(half).ended;
    t.is(refused.code, 1);
    t.is(
      parse(refused).error.message,
      'port "a": a running system cannot change tx from ba to ab0',
    );
    t.deepEqual(await applied(before), [
      'remove shard ba',
      'remove shard ab0',
      'remove port a',
      'remove port b',
    ]);
    t.deepEqual(await ports(), []);
    t.is(sockets(), none);
  }

  // What is not confirmed goes as it has come.
  const waiting = apply(next, '--confirm', '60');
  t.true(await until(async () => (await ports()).length === 2));
  waiting.kill('SIGINT');
  const interrupted = await waiting.ended;
  t.is(interrupted.code, 3, interrupted.stdout + interrupted.stderr);
  t.deepEqual(await ports(), []);
  t.is(sockets(), none);
  const { lost, shards: end } = await stop(t, system);
  t.is(lost, 0);
  t.is(end.source.sent, end.end.consumed);
});
