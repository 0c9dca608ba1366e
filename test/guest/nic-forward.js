// Runs examples/nic-forward between the two NICs of ends.toml until every packet has arrived, then holds the counters of
// all hops against each other. Inside the guest; jobs/nic-forward.sh names the devices.
//   node test/guest/nic-forward.js PACKETS [SETTING...]     PACKETS in all; SETTINGs are for the example
// $VANITY_FORWARD is a manifest with more queues in place of the example's.
import { fileURLToPath } from 'node:url';
import { check, end, equal } from './harness.js';
import { checkEnd, RunningSystem, sleep } from './system.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/nic-forward/vanity.toml', import.meta.url));
const ENDS = fileURLToPath(new URL('./ends.toml', import.meta.url));
const STALL_MS = 20_000;
const PRIME = 512; // of ends.toml
const [packets, ...settings] = process.argv.slice(2);
const count = Number(packets);
const { VANITY_WEST, VANITY_LEFT, VANITY_RIGHT, VANITY_EAST, VANITY_NOIOMMU } = process.env;
const { VANITY_FORWARD = EXAMPLE } = process.env;

const place = (device, address) => [
  `devices.${device}.pci=${address}`,
  ...(VANITY_NOIOMMU ? [`devices.${device}.unsafe_noiommu=true`] : []),
];
// The parts of one side, or of one way, where there are several.
const of = (parts, name) =>
  Object.entries(parts)
    .filter(([key]) => key === name || key.startsWith(`${name}-`))
    .map(([, part]) => part);
const sum = (parts, key) => parts.reduce((all, part) => all + part[key], 0);

// A core has one owner, and the ends need the other.
const shards = VANITY_FORWARD === EXAMPLE ? [''] : ['-0', '-1', '-2', '-3'];
const forward = new RunningSystem('nic-forward', VANITY_FORWARD, [
  'system.oversubscribe=true',
  ...['left', 'right'].flatMap((side) => shards.map((n) => `shards.${side}${n}.core=0`)),
  ...place('left', VANITY_LEFT),
  ...place('right', VANITY_RIGHT),
  ...settings,
]);
await forward.started();
const ends = new RunningSystem('ends', ENDS, [
  ...place('west', VANITY_WEST),
  ...place('east', VANITY_EAST),
  `shards.both.options.count=${count}`,
]);
await ends.started();

const passed = ({ ports: { west, east } }) => [
  west.tx_packets + east.tx_packets,
  west.rx_packets + east.rx_packets,
];
const began = Date.now();
let most = 0;
for (let changed = began; !ends.over && Date.now() - changed < STALL_MS; await sleep(200)) {
  const [sent, now] = passed(ends.stats());
  if (now > most) changed = Date.now();
  most = now;
  if (now >= count - PRIME && now === sent) break;
}
const seconds = (Date.now() - began) / 1000;
const outside = await ends.stop();
const inside = await forward.stop();
console.log(`${most} packets in ${seconds.toFixed(1)} s: ${Math.round(most / seconds)} a second`);

checkEnd(inside);
checkEnd(outside);
const { left, right } = inside.ports;
const { west, east } = outside.ports;
const hops = (from, inPort, channels, outPort, to) => ({
  sent: from.tx_packets,
  received: inPort.rx_packets,
  'into the channel': sum(channels, 'sent'),
  'out of the channel': sum(channels, 'received'),
  transmitted: outPort.tx_packets,
  arrived: to.rx_packets,
});
const eastward = hops(west, left, of(inside.channels, 'to-right'), right, east);
const westward = hops(east, right, of(inside.channels, 'to-left'), left, west);
check('as many as were wanted', eastward.sent + westward.sent >= count - PRIME, {
  eastward,
  westward,
});
for (const [way, found] of Object.entries({ eastward, westward })) {
  for (const [hop, number] of Object.entries(found)) equal(`${way}, ${hop}`, number, found.sent);
}
const both = eastward.sent + westward.sent;
for (const side of ['left', 'right']) {
  const its = of(inside.shards, side);
  equal(`${side} saw both ways`, [sum(its, 'received'), sum(its, 'sent')], [both, both]);
  const queues = inside.ports[side].rx_queues;
  check(
    `${side}: every queue had packets`,
    queues.length === shards.length && queues.every((queue) => queue.packets > 0),
    queues,
  );
}
const vectors = Object.values(inside.vectors);
const taken = vectors.reduce((sum, vector) => sum + vector.taken, 0);
const devices = Object.values(inside.devices).map(({ driver, backend }) => `${driver} ${backend}`);
console.log(
  `${devices.join(', ')}: ${taken} interrupts, ${vectors.map(({ raised }) => raised).join(' ')} by vector`,
);
check(
  'no interrupt storm',
  vectors.every(({ storms }) => storms === 0),
  vectors,
);
end();
