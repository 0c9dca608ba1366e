// What bench/guest-forward.js runs in the guest: Vanity and testpmd in turn on the same two NICs. Prints one line of JSON
// for each round. The two NICs are on one wire, so packets circulate: each forwarder receives what it sent.
import { spawn } from 'node:child_process';

import { fileURLToPath } from 'node:url';
import { RunningSystem, sleep, until } from '../../test/guest/system.js';

const MANIFEST = fileURLToPath(new URL('./vanity.toml', import.meta.url));
const { VANITY_ZERO: zero, VANITY_ONE: one, VANITY_CORE: core = '1' } = process.env;
const [rounds, seconds] = process.argv.slice(2).map(Number);

async function vanity() {
  const system = new RunningSystem('guest-forward', MANIFEST, [
    `devices.zero.pci=${zero}`,
    `devices.one.pci=${one}`,
    `shards.forward.core=${core}`,
  ]);
  await system.started();
  await until(() => system.stats().shards.forward.received > 1000);
  const before = { at: performance.now(), ...system.stats().shards.forward };
  await sleep(seconds * 1000);
  const after = { at: performance.now(), ...system.stats().shards.forward };
  const report = await system.stop();
  const packets = after.received - before.received;
  return {
    packets,
    pps: (packets / (after.at - before.at)) * 1000,
    ticks: (after.busy_ticks - before.busy_ticks) / packets,
    burst: packets / (after.polls_busy - before.polls_busy),
    lost: report.lost,
    failures: report.failures,
  };
}

async function testpmd() {
  const child = spawn(
    'stdbuf', // it shows nothing for long where nobody reads lines
    [
      ...['-oL', 'dpdk-testpmd', '--lcores', `0@0,1@${core}`, '-n', '1', '-a', zero, '-a', one],
      ...['--iova-mode=pa', '--no-telemetry', '--in-memory', '--', '--forward-mode=io'],
      ...['--total-num-mbufs=4096', '--burst=64', '--rxd=256', '--txd=256'],
      ...['--record-core-cycles', '-i'],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  let out = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      out += text;
    });
  }
  const ended = new Promise((resolve) => child.on('close', resolve));
  const say = (text) => child.stdin.write(`${text}\n`);
  try {
    if (!(await until(() => out.includes('Checking link statuses'), 120_000)))
      throw new Error('no prompt');
    say('start tx_first 2');
    await sleep(500);
    say('clear port stats all');
    say('show port stats all');
    const rates = () => [...out.matchAll(/Rx-pps:\s+(\d+)/g)].map((match) => Number(match[1]));
    await until(() => rates().length === 2); // of both ports, since a moment ago
    await sleep(seconds * 1000);
    say('show port stats all');
    await until(() => rates().length === 4);
    say('stop');
    await until(() => out.includes('CPU cycles/packet'));
    return {
      packets: Number(out.match(/total io packets=(\d+)/)?.[1]),
      pps: rates()
        .slice(2)
        .reduce((sum, rate) => sum + rate, 0),
      ticks: Number(out.match(/CPU cycles\/packet=([\d.]+)/)?.[1]),
    };
  } catch (error) {
    console.error(out);
    throw error;
  } finally {
    child.stdin.end('quit\n');
    await Promise.race([ended, sleep(10_000)]);
    child.kill('SIGKILL');
    await ended;
  }
}

for (let round = 0; round < rounds; round++) {
  const sample = { vanity: await vanity(), testpmd: await testpmd() };
  console.log(`round: ${JSON.stringify(sample)}`);
}
