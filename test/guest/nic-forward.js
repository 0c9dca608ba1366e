// Runs examples/nic-forward between the two NICs of ends.toml until every packet has arrived, then holds the counters of
// all hops against each other. Inside the guest; jobs/nic-forward.sh names the devices.
//   node test/guest/nic-forward.js PACKETS [SETTING...]     PACKETS in all; SETTINGs are for the example
import { fileURLToPath } from 'node:url';
import { check, end, equal } from './harness.js';
import { checkEnd, RunningSystem, sleep } from './system.js';

const FORWARD = fileURLToPath(new URL('../../examples/nic-forward/vanity.toml', import.meta.url));
const ENDS = fileURLToPath(new URL('./ends.toml', import.meta.url));
const STALL_MS = 20_000;
const PRIME = 512; // of ends.toml
const [packets, ...settings] = process.argv.slice(2);
const count = Number(packets);
const { VANITY_WEST, VANITY_LEFT, VANITY_RIGHT, VANITY_EAST, VANITY_NOIOMMU } = process.env;

const place = (device, address) => [
  `devices.${device}.pci=${address}`,
  ...(VANITY_NOIOMMU ? [`devices.${device}.unsafe_noiommu=true`] : []),
];
const forward = new RunningSystem('nic-forward', FORWARD, [
  'system.oversubscribe=true',
  'shards.left.core=0',
  'shards.right.core=0', // a core has one owner, and the ends need the other
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
const hops = (from, inPort, channel, outPort, to) => ({
  sent: from.tx_packets,
  received: inPort.rx_packets,
  'into the channel': channel.sent,
  'out of the channel': channel.received,
  transmitted: outPort.tx_packets,
  arrived: to.rx_packets,
});
const eastward = hops(west, left, inside.channels['to-right'], right, east);
const westward = hops(east, right, inside.channels['to-left'], left, west);
check('as many as were wanted', eastward.sent + westward.sent >= count - PRIME, {
  eastward,
  westward,
});
for (const [way, found] of Object.entries({ eastward, westward })) {
  for (const [hop, number] of Object.entries(found)) equal(`${way}, ${hop}`, number, found.sent);
}
const both = eastward.sent + westward.sent;
equal(
  'each shard saw both ways',
  Object.values(inside.shards).map(({ received, sent }) => [received, sent]),
  [
    [both, both],
    [both, both],
  ],
);
const vectors = Object.values(inside.vectors);
const taken = vectors.reduce((sum, vector) => sum + vector.taken, 0);
console.log(`${taken} interrupts, ${vectors.map(({ raised }) => raised).join(' ')} by vector`);
check(
  'no interrupt storm',
  vectors.every(({ storms }) => storms === 0),
  vectors,
);
end();
